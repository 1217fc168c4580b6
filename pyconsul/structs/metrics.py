"""What an agent counts and measures, in the shape of ``/v1/agent/metrics``."""

from msgspec import Struct, field


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
