"""How many requests a client agent may make (``limits.rpc_rate``, ``limits.rpc_max_burst``)."""

from __future__ import annotations

import math

from twisted.internet.interfaces import IReactorTime

from pyconsul.config.groups import Limits
from pyconsul.errors import RateLimited


class RequestRate:
    """A bucket of permits that fills at a rate and is full at the start.

    :param clock: tells the time.
    :ivar refused: how many requests were not allowed.
    """

    def __init__(self, limits: Limits, clock: IReactorTime) -> None:
        self._clock = clock
        self.refused = 0
        self.configure(limits)

    def configure(self, limits: Limits) -> None:
        """Take another rate and size; the bucket is full again."""
        self._rate = limits.rpc_rate if limits.rpc_rate >= 0 else math.inf
        self._permits = self._size = float(limits.rpc_max_burst)
        self._filled_at = self._clock.seconds()

    def take(self) -> None:
        """One request is made; raises ``RateLimited`` if it may not be."""
        if self._rate == math.inf:
            return
        now = self._clock.seconds()
        passed, self._filled_at = max(0.0, now - self._filled_at), now
        self._permits = min(self._size, self._permits + passed * self._rate)
        if self._permits < 1.0:
            self.refused += 1
            raise RateLimited("RPC rate limit exceeded")
        self._permits -= 1.0

    def is_limited(self) -> bool:
        """Whether there is a limit at all."""
        return self._rate != math.inf
