"""``start_join``: be let in or end; ``retry_join``: go on until somebody lets this agent in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from pyconsul.log import make_logger

FIRST_RETRIES_S = (0.25, 0.5, 1.0, 2.0)

Join: TypeAlias = Callable[[Sequence[str]], Deferred[int]]
"""Joins a pool through any of some addresses; fires with how many answered."""


class StartJoin:
    """Joins through ``addresses``, once.

    :ivar gave_up: called if that did not work; the agent ends with exit status 1.
    """

    def __init__(self, join: Join, addresses: Sequence[str]) -> None:
        self._log = make_logger("agent")
        self._join = join
        self._addresses = list(addresses)
        self._stopped = False
        self.gave_up: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Join now."""
        if self._addresses:
            self._join(self._addresses).addCallbacks(self._joined, self._failed)

    def stop(self) -> None:
        """It does not matter any more whether it works."""
        self._stopped = True

    def _joined(self, count: int) -> None:
        self._log.info("Join completed. Synced with {count} initial agents", count=count)

    def _failed(self, failure: Failure) -> None:
        if not self._stopped:
            self._log.error("{why}", why=failure.getErrorMessage())
            self.gave_up()


class RetryJoin:
    """Joins through ``addresses``, again every ``interval_s`` until it worked.

    Consul waits the whole interval (30 s) after the first failure, so servers started together by
    hand find each other late. The first few retries here come sooner. And it goes on quietly until
    as many have answered as there are addresses: halves that started while they were cut off
    from each other know nothing of each other, and nothing else would bring them together.

    :param cluster: ``LAN`` or ``WAN``, for the log.
    :param attempts_max: give up after so many failures; 0 means never.
    :ivar gave_up: called then; the agent ends with exit status 1.
    """

    def __init__(
        self,
        join: Join,
        addresses: Sequence[str],
        interval_s: float,
        attempts_max: int,
        clock: IReactorTime,
        cluster: str = "LAN",
    ) -> None:
        self._log = make_logger("agent")
        self._join = join
        self._cluster = cluster
        self._addresses = list(addresses)
        self._interval_s = interval_s
        self._attempts_max = attempts_max
        self._clock = clock
        self._attempt = 0
        self._has_joined = False
        self._call: IDelayedCall | None = None
        self._stopped = False
        self.gave_up: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Make the first attempt."""
        self._stopped = False
        if self._addresses:
            self._call = self._clock.callLater(0, self._try)

    def stop(self) -> None:
        """Try no more."""
        self._stopped = True
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _try(self) -> None:
        self._call = None
        self._join(self._addresses).addCallbacks(self._joined, self._failed)

    def _joined(self, count: int) -> None:
        if self._stopped:
            return
        if count < len(self._addresses):
            self._call = self._clock.callLater(self._interval_s, self._try)
        if self._has_joined:
            return
        self._has_joined = True
        self._log.info("({cluster}) joined: number_of_nodes={count}", cluster=self._cluster, count=count)

    def _failed(self, failure: Failure) -> None:
        if self._stopped:
            return
        if self._has_joined:
            self._call = self._clock.callLater(self._interval_s, self._try)
            return
        if self._attempts_max and self._attempt + 1 >= self._attempts_max:
            self._log.error("max join {cluster} retry exhausted, exiting", cluster=self._cluster)
            self.gave_up()
            return
        early = self._attempt < len(FIRST_RETRIES_S)
        delay_s = min(self._interval_s, FIRST_RETRIES_S[self._attempt]) if early else self._interval_s
        self._attempt += 1
        self._log.warn(
            "Join cluster failed, will retry: cluster={cluster} retry_interval={delay_s}s error={why}",
            cluster=self._cluster, delay_s=delay_s, why=failure.getErrorMessage(),
        )  # fmt: skip
        self._call = self._clock.callLater(delay_s, self._try)
