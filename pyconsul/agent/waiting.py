"""Waiting for a service of this node to change, as ``/v1/agent/service/ID?hash=`` does."""

from __future__ import annotations

from random import Random

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

JITTER = 16
"""A wait ends up to so small a part of it later, at random."""


class ServiceWaits:
    """Who waits for which service.

    :param wait_s: how long if nothing is said. :param wait_max_s: how long at most.
    """

    def __init__(self, clock: IReactorTime, rng: Random, wait_s: float, wait_max_s: float) -> None:
        self._clock, self._rng = clock, rng
        self._wait_s, self._wait_max_s = wait_s, wait_max_s
        self._waiting: dict[str, dict[Deferred[None], IDelayedCall]] = {}

    def wait(self, service_id: str, wait_s: float) -> Deferred[None]:
        """Fires when the service came, changed or went, or when the time is up; 0: the usual time."""
        wait_s = min(wait_s if wait_s > 0 else self._wait_s, self._wait_max_s)
        wait_s += self._rng.random() * wait_s / JITTER
        waiting = self._waiting.setdefault(service_id, {})
        done: Deferred[None] = Deferred(lambda _: self._forget(service_id, done).cancel())

        def end() -> None:
            self._forget(service_id, done)
            done.callback(None)

        waiting[done] = self._clock.callLater(wait_s, end)
        return done

    def changed(self, service_id: str) -> None:
        """Wake whoever waits for this service."""
        for done, timer in self._waiting.pop(service_id, {}).items():
            timer.cancel()
            done.callback(None)

    def stop(self) -> None:
        """Wake everybody."""
        for service_id in list(self._waiting):
            self.changed(service_id)

    def _forget(self, service_id: str, done: Deferred[None]) -> IDelayedCall:
        waiting = self._waiting[service_id]
        timer = waiting.pop(done)
        if not waiting:
            del self._waiting[service_id]
        return timer
