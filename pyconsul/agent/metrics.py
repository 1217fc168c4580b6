"""What an agent measures: gauges read when somebody asks, counters from figures that only grow.

Nothing is counted for this on the way of a request: each figure is one that some part of the agent has
anyway. Names are Consul's (specs of the run-time surface, section 7); as in go-metrics, counters are
those of the last full interval of ten seconds.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pyconsul.interfaces import WallTime
from pyconsul.structs.metrics import Gauge, Metrics, Sampled

INTERVAL_S = 10.0

Figures = Callable[[], Mapping[str, float]]


class Telemetry:
    """Gauges and counters of one agent.

    :param gauges: names, without prefix, and values as they are now.
    :param totals: the same of what only grows.
    """

    def __init__(
        self, prefix: str, gauges: Figures, totals: Figures, clock: IReactorTime, wall_time: WallTime
    ) -> None:
        self._prefix = f"{prefix}." if prefix else ""
        self._gauges, self._totals = gauges, totals
        self._clock, self._wall_time = clock, wall_time
        self._before: Mapping[str, float] = {}
        self._grown: dict[str, float] = {}
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Begin the first interval."""
        self._before = self._totals()
        self._call = self._clock.callLater(INTERVAL_S, self._interval)

    def stop(self) -> None:
        """Count no more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _interval(self) -> None:
        now = self._totals()
        self._grown = {name: total - self._before.get(name, 0) for name, total in now.items()}
        self._before = now
        self._call = self._clock.callLater(INTERVAL_S, self._interval)

    def show(self) -> Metrics:
        """Everything, by name."""
        stamp = datetime.fromtimestamp(int(self._wall_time()), UTC)
        gauges = {**self._gauges(), **runtime()}
        return Metrics(
            timestamp=f"{stamp:%Y-%m-%d %H:%M:%S} +0000 UTC",
            gauges=[Gauge(name=self._prefix + name, value=value) for name, value in sorted(gauges.items())],
            points=[],
            counters=[self._counter(name, count) for name, count in sorted(self._grown.items()) if count > 0],
            samples=[],
        )

    def _counter(self, name: str, count: float) -> Sampled:
        return Sampled(
            name=self._prefix + name,
            count=int(count),
            rate=count / INTERVAL_S,
            sum=count,
            min=1,
            max=1,
            mean=1,
        )


def runtime() -> dict[str, float]:
    """Figures of this process; ``num_goroutines`` are its threads, the nearest thing there is."""
    collected = gc.get_stats()
    return {
        "runtime.alloc_bytes": resident_bytes(),
        "runtime.sys_bytes": resident_bytes(),
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
