"""What an agent measures: gauges read when somebody asks, counters from figures that only grow, timings.

Next to nothing is done for this on the way of a request: counters are numbers that some part of the
agent adds to, and names, rates and filters are for who asks. Names are Consul's
(``pyconsul.agent.metric_names``); as in go-metrics, counters and timings are those of the last full
interval of ten seconds.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from msgspec import Struct
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pyconsul.interfaces import WallTime
from pyconsul.structs.metrics import Durations, Gauge, Metrics, Sampled

INTERVAL_S = 10.0
PUSH_S = 1.0
"""How often sinks are told; a divisor of the interval."""

Figures = Callable[[], Mapping[str, float]]


class Period(Struct):
    """What happened within some time, by name without prefix. Gauges are those of its end."""

    gauges: Mapping[str, float] = {}
    counters: dict[str, float] = {}
    timings: dict[str, Durations] = {}

    def add(self, later: Period) -> None:
        """Make this one longer."""
        for name, count in later.counters.items():
            self.counters[name] = self.counters.get(name, 0.0) + count
        for name, timing in later.timings.items():
            self.timings.setdefault(name, Durations()).merge(timing)


class Filter:
    """Which names are of interest (``telemetry.prefix_filter`` and ``filter_default``).

    The longest prefix that fits decides.
    """

    def __init__(self, prefixes: Sequence[str], default: bool) -> None:
        self._allowed = {text[1:]: text[0] == "+" for text in prefixes if text[:1] in ("+", "-")}
        self._default = default

    def allows(self, name: str) -> bool:
        """Whether ``name``, with the agent's prefix, is wanted."""
        fitting = [prefix for prefix in self._allowed if name.startswith(prefix)]
        return self._allowed[max(fitting, key=len)] if fitting else self._default


class Telemetry:
    """What one agent measures.

    :param gauges: names, without prefix, and values as they are now.
    :param totals: the same of what only grows.
    :ivar timings: by name, from each part of the agent that has some.
    :ivar sinks: told of all that happened, every second.
    :ivar filter: which names, with their prefix, are told to anybody.
    """

    def __init__(
        self, prefix: str, gauges: Figures, totals: Figures, clock: IReactorTime, wall_time: WallTime
    ) -> None:
        self.prefix = f"{prefix}." if prefix else ""
        self.timings: list[Mapping[str, Durations]] = []
        self.sinks: list[Callable[[Period], None]] = []
        self.filter = Filter((), True)
        self._gauges, self._totals = gauges, totals
        self._clock, self._wall_time = clock, wall_time
        self._before: Mapping[str, float] = {}
        self._coming, self._last = Period(), Period()
        self._left_s = INTERVAL_S
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Begin the first interval."""
        self._before = self._totals()
        self._wait()

    def stop(self) -> None:
        """Count no more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _wait(self) -> None:
        self._step_s = PUSH_S if self.sinks else INTERVAL_S
        self._call = self._clock.callLater(self._step_s, self._step)

    def _step(self) -> None:
        self._left_s -= self._step_s
        self._wait()
        period = self._happened()
        self._coming.add(period)
        if self._left_s <= 0:
            self._left_s = INTERVAL_S
            self._last, self._coming = self._coming, Period()
        if self.sinks:
            period.gauges = self.gauges()
            for sink in self.sinks:
                sink(period)

    def _happened(self) -> Period:
        """What happened since this was last asked."""
        before, now = self._before, self._totals()
        self._before = now
        period = Period()
        for name, total in now.items():
            grown = total - before.get(name, 0)
            if grown > 0 and self._allows(name):
                period.counters[name] = grown
        for timings in self.timings:
            for name, timing in timings.items():
                taken = timing.take()
                if taken.count and self._allows(name):
                    period.timings[name] = taken
        return period

    def _allows(self, name: str) -> bool:
        return self.filter.allows(self.prefix + name)

    def gauges(self) -> dict[str, float]:
        """Those that are wanted, as they are now."""
        return {name: value for name, value in {**self._gauges(), **runtime()}.items() if self._allows(name)}

    def show(self) -> Metrics:
        """Everything, by name."""
        stamp = datetime.fromtimestamp(int(self._wall_time()), UTC)
        prefix, last = self.prefix, self._last
        return Metrics(
            timestamp=f"{stamp:%Y-%m-%d %H:%M:%S} +0000 UTC",
            gauges=[Gauge(name=prefix + name, value=value) for name, value in sorted(self.gauges().items())],
            points=[],
            counters=[_counter(prefix + name, count) for name, count in sorted(last.counters.items())],
            samples=[_sample(prefix + name, timing) for name, timing in sorted(last.timings.items())],
        )


def _counter(name: str, count: float) -> Sampled:
    return Sampled(name=name, count=int(count), rate=count / INTERVAL_S, sum=count, min=1, max=1, mean=1)


def _sample(name: str, timing: Durations) -> Sampled:
    return Sampled(
        name=name,
        count=timing.count,
        rate=timing.sum / INTERVAL_S,
        sum=timing.sum,
        min=timing.min,
        max=timing.max,
        mean=timing.mean,
        stddev=timing.deviation,
    )


def runtime() -> dict[str, float]:
    """Figures of this process; ``num_goroutines`` are its threads, the nearest thing there is."""
    collected = gc.get_stats()
    resident = resident_bytes()
    return {
        "runtime.alloc_bytes": resident,
        "runtime.sys_bytes": resident,
        "runtime.heap_objects": sys.getallocatedblocks(),
        "runtime.num_goroutines": threading.active_count(),
        "runtime.total_gc_runs": sum(generation["collections"] for generation in collected),
    }


def resident_bytes() -> int:
    """Memory of this process, 0 where the system does not say."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
