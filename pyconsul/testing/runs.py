"""Many runs of the simulation, on several processors, and what they come to together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from time import monotonic

from msgspec import Struct

from pyconsul.testing.faults import PLAN, FaultPlan
from pyconsul.testing.workload import Load
from pyconsul.testing.world import OPERATORS, Summary, World


class Settings(Struct, frozen=True):
    """What all runs have in common. :ivar hours: virtual hours of faults in each run."""

    servers: int
    hours: float
    clients: int
    keys: int
    fault_gap_s: float
    check_codec: bool = False


class Run(Struct):
    """One run. :ivar failure: what went wrong, with what is needed to see it again; or empty."""

    seed: int
    summary: Summary
    failure: str
    story: list[str]

    def __str__(self) -> str:
        return self.failure or str(self.summary)


def simulate(settings: Settings, seed: int) -> Run:
    """Make one run."""
    world = World(
        seed,
        settings.servers,
        load=Load(clients=settings.clients, keys=settings.keys),
        plan=FaultPlan(gap_s=settings.fault_gap_s, weights=(*PLAN.weights, *OPERATORS)),
        check_codec=settings.check_codec,
    )
    failure = ""
    try:
        world.trouble(settings.hours * 3600.0)
    except Exception as error:
        notes = getattr(error, "__notes__", ())
        failure = "\n".join((f"seed {seed}: {type(error).__name__}: {error}", *notes))
    return Run(seed, world.summary(), failure, world.log)


def simulate_all(
    settings: Settings, seeds: Iterable[int], jobs: int, prepare: Callable[[], None]
) -> Iterator[Run]:
    """Make a run for each seed, in that order, with up to ``jobs`` processes.

    :param prepare: called in each process before its first run.
    """
    run = partial(simulate, settings)
    if jobs == 1:
        prepare()
        yield from map(run, seeds)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), prepare) as pool:
        yield from pool.map(run, seeds)


class Totals:
    """What runs came to."""

    def __init__(self, jobs: int) -> None:
        self.runs = 0
        self.failed = 0
        self._jobs = jobs
        self._begun = monotonic()
        self._seeds: list[int] = []
        self._seconds = 0.0
        self._processor_s = 0.0
        self._faults: Counter[str] = Counter()
        self._numbers: Counter[str] = Counter()
        self._recovery_s = 0.0

    def add(self, run: Run) -> None:
        """Take one in."""
        summary = run.summary
        self.runs += 1
        self.failed += bool(run.failure)
        self._seeds.append(run.seed)
        self._seconds += summary.seconds
        self._processor_s += summary.seconds / max(summary.speed, 1e-9)
        self._faults.update(summary.faults)
        self._recovery_s = max(self._recovery_s, summary.recovery_s)
        for name in ("checks", "elections", "committed", "operations", "acknowledged", "locks"):
            self._numbers[name] += getattr(summary, name)

    def __str__(self) -> str:
        n = self._numbers
        took_s = max(monotonic() - self._begun, 1e-9)
        faults = ", ".join(f"{kind} {count}" for kind, count in sorted(self._faults.items()))
        return (
            f"{self._seconds / 3600.0:.2f} hours simulated in {self.runs} runs, seeds {min(self._seeds)} to "
            f"{max(self._seeds)}, in {took_s:.0f} s by {self._jobs} processes: "
            f"{self._seconds / max(self._processor_s, 1e-9):.0f} x real time for each, "
            f"{self._seconds / took_s:.0f} x for all; "
            f"{n['operations']} operations, {n['acknowledged']} writes acknowledged, "
            f"{n['committed']} entries, {n['elections']} elections, {n['locks']} locks taken, "
            f"{n['checks']} checks of Raft, "
            f"writable {self._recovery_s:.1f} s after mending at the latest; "
            f"{self._faults.total()} faults ({faults}); {self.failed} violations"
        )
