"""``retry_join``: go on until somebody lets this agent in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from pyconsul.log import make_logger
from pyconsul.net.gossip import GossipPool

FIRST_RETRIES_S = (0.25, 0.5, 1.0, 2.0)


class RetryJoin:
    """Joins through ``addresses``, again every ``interval_s`` until it worked.

    Consul waits the whole interval (30 s) after the first failure, so servers started together by
    hand find each other late. The first few retries here come sooner.

    :param attempts_max: give up after so many failures; 0 means never.
    :ivar gave_up: called then; the agent ends with exit status 1.
    """

    def __init__(
        self,
        pool: GossipPool,
        addresses: Sequence[str],
        interval_s: float,
        attempts_max: int,
        clock: IReactorTime,
    ) -> None:
        self._log = make_logger("agent")
        self._pool = pool
        self._addresses = list(addresses)
        self._interval_s = interval_s
        self._attempts_max = attempts_max
        self._clock = clock
        self._attempt = 0
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
        self._pool.join(self._addresses).addCallbacks(self._joined, self._failed)

    def _joined(self, count: int) -> None:
        self._log.info("Join completed. Synced with {count} initial agents", count=count)

    def _failed(self, failure: Failure) -> None:
        if self._stopped:
            return
        if self._attempts_max and self._attempt + 1 >= self._attempts_max:
            self._log.error("max join retry exhausted, exiting")
            self.gave_up()
            return
        early = self._attempt < len(FIRST_RETRIES_S)
        delay_s = min(self._interval_s, FIRST_RETRIES_S[self._attempt]) if early else self._interval_s
        self._attempt += 1
        self._log.warn(
            "Join failed, will retry in {delay_s} s: {why}", delay_s=delay_s, why=failure.getErrorMessage()
        )
        self._call = self._clock.callLater(delay_s, self._try)
