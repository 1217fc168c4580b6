"""How long answers to questions take."""

from __future__ import annotations

from collections.abc import Callable

from pyconsul.dns.wire import PTR
from pyconsul.structs.metrics import Durations


class DnsTimings:
    """Timings of one DNS server.

    :param seconds: the clock they go by.
    :ivar named: all of them, by Consul's names.
    """

    def __init__(self, seconds: Callable[[], float] = lambda: 0.0) -> None:
        self.seconds = seconds
        self.domain, self.reverse = Durations(), Durations()
        self.named = {"dns.domain_query": self.domain, "dns.ptr_query": self.reverse}

    def answered(self, question: int, begun: float) -> None:
        """A question of a type was answered; it came at ``begun``."""
        timing = self.reverse if question == PTR else self.domain
        timing.add((self.seconds() - begun) * 1e3)
