"""What an agent counts and measures, in the shape of ``/v1/agent/metrics``."""

from __future__ import annotations

from math import inf, sqrt

from msgspec import Struct, field


class Durations:
    """How long something took, each time since this was last taken; in milliseconds.

    :ivar at_once: how many times it was over in no time worth measuring: cheaper to count than ``add``.
    """

    __slots__ = ("at_once", "count", "max", "min", "squares", "sum")

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.count = self.at_once = 0
        self.sum = self.squares = 0.0
        self.min, self.max = inf, 0.0

    def add(self, ms: float, times: int = 1) -> None:
        """It happened again, or several times, each of which took so long."""
        self.count += times
        self.sum += ms * times
        self.squares += ms * ms * times
        if ms < self.min:
            self.min = ms
        if ms > self.max:
            self.max = ms

    def take(self) -> Durations:
        """All of it, of which nothing stays here."""
        taken = Durations()
        taken.merge(self)
        self._clear()
        return taken

    def merge(self, other: Durations) -> None:
        """What ``other`` has happened here, too."""
        self.count += other.count + other.at_once
        self.sum += other.sum
        self.squares += other.squares
        self.min = min(self.min, 0.0 if other.at_once else other.min)
        self.max = max(self.max, other.max)

    @property
    def mean(self) -> float:
        """0 if it did not happen."""
        return self.sum / self.count if self.count else 0.0

    @property
    def deviation(self) -> float:
        """The standard deviation; 0 for less than two."""
        spread = self.count * self.squares - self.sum * self.sum
        return sqrt(max(0.0, spread) / (self.count * (self.count - 1))) if self.count > 1 else 0.0


class Gauge(Struct, rename="pascal", kw_only=True, frozen=True):
    """A value as it is now."""

    name: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)


class Sampled(Struct, rename="pascal", kw_only=True, frozen=True):
    """Something that happened, or was measured, a number of times.

    :ivar rate: per second.
    """

    name: str
    count: int
    rate: float
    sum: float
    min: float
    max: float
    mean: float
    stddev: float = 0.0
    labels: dict[str, str] = field(default_factory=dict)


class Metrics(Struct, rename="pascal", kw_only=True, frozen=True):
    """All of it. ``timestamp`` is in UTC."""

    timestamp: str
    gauges: list[Gauge]
    points: list[Gauge]
    counters: list[Sampled]
    samples: list[Sampled]
