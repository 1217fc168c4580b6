"""How long a member stays suspected before it counts as dead."""

from __future__ import annotations

from math import floor, log, log10

from msgspec import Struct, field


class Suspicion(Struct):
    """A timeout that shrinks as others confirm the suspicion.

    Source: Lifeguard (2017), Local Health Aware Suspicion.

    :ivar min_s: shortest timeout, reached after ``k`` confirmations.
    :ivar max_s: timeout before anyone confirms.
    :ivar k: confirmations that count; below 1 the timeout is ``min_s`` from the start.
    :ivar started: when the suspicion began, on the core's clock.
    :ivar accuser: who began it, and therefore does not confirm it.
    """

    min_s: float
    max_s: float
    k: int
    started: float
    accuser: str = ""
    confirmed_by: set[str] = field(default_factory=set)

    def confirm(self, accuser: str) -> bool:
        """Take in another accuser; tells whether that was news and moved the deadline."""
        if len(self.confirmed_by) >= self.k or accuser == self.accuser or accuser in self.confirmed_by:
            return False
        self.confirmed_by.add(accuser)
        return True

    def deadline(self) -> float:
        """When the member is declared dead, on the core's clock."""
        if self.k < 1:
            return self.started + self.min_s
        share = log(len(self.confirmed_by) + 1) / log(self.k + 1)
        total = self.max_s - share * (self.max_s - self.min_s)
        return self.started + max(self.min_s, floor(total * 1000.0) / 1000.0)


def suspicion_for(
    nodes: int, mult: int, max_timeout_mult: int, probe_interval_s: float, now: float, accuser: str
) -> Suspicion:
    """The suspicion of one of ``nodes`` known nodes that begins ``now``."""
    scale = max(1.0, floor(log10(max(1.0, nodes)) * 1000.0) / 1000.0)
    min_s = mult * scale * probe_interval_s
    k = mult - 2
    if nodes - 2 < k:
        k = 0
    return Suspicion(min_s, min_s * max_timeout_mult, k, now, accuser)
