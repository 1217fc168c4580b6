"""Services that have been critical for too long go (``deregister_critical_service_after``)."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

INTERVAL_S = 30.0


class Reaper:
    """Looks for them, as often as Consul does.

    :param reap: deregisters those that are due.
    """

    def __init__(self, reap: Callable[[], object], clock: IReactorTime) -> None:
        self._reap, self._clock = reap, clock
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Look from now on."""
        self._call = self._clock.callLater(INTERVAL_S, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self._call = self._clock.callLater(INTERVAL_S, self._look)
        self._reap()
