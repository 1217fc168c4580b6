"""When a check is run, and what its results make of its state."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from pyconsul.checks import definition as kinds
from pyconsul.checks.definition import CheckType
from pyconsul.checks.outcome import Outcome, Probe
from pyconsul.checks.ttl import TtlCheck
from pyconsul.late_tls import provide as provide_tls
from pyconsul.log import make_logger
from pyconsul.structs.catalog import CRITICAL, HealthCheck

Notify = Callable[[str, str, str], object]
"""Takes a check's id, its state and its output."""


class Runner(Protocol):
    """A check that is being watched over."""

    definition: CheckType

    def start(self) -> None: ...

    def stop(self) -> None: ...


class CheckRunner:
    """Runs a probe time and again: for the first time at random within the interval, then an interval
    after each result. Two runs never overlap; a run that takes too long is cancelled.

    A state changes only after as many results in a row as the definition wants; until then nothing is
    reported. An unchanged state is reported with each new output.
    """

    _log = make_logger("agent.checks")

    def __init__(
        self, definition: CheckType, probe: Probe, clock: IReactorTime, rng: Random, notify: Notify
    ) -> None:
        self.definition = definition
        self._probe = probe
        self._clock = clock
        self._rng = rng
        self._notify = notify
        self._next: IDelayedCall | None = None
        self._run: Deferred[Outcome] | None = None
        self._deadline: IDelayedCall | None = None
        self._too_long = False
        self._good = 0
        self._bad = 0

    def start(self) -> None:
        """Begin, at a random moment, so that the checks of a node spread out."""
        self._next = self._clock.callLater(self._rng.random() * self.definition.interval_s, self._begin)

    def stop(self) -> None:
        """Report nothing more."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        run, self._run = self._run, None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if run is not None:
            run.cancel()

    def _begin(self) -> None:
        self._next = None
        self._too_long = False
        run = self._run = maybeDeferred(self._probe.run)
        if not run.called:
            self._deadline = self._clock.callLater(self.definition.timeout_s, self._give_up)
        run.addBoth(self._ended, run)

    def _give_up(self) -> None:
        self._deadline = None
        self._too_long = True
        if self._run is not None:
            self._run.cancel()

    def _ended(self, result: Outcome | Failure, run: Deferred[Outcome]) -> None:
        if self._run is not run:
            return  # stopped meanwhile
        self._run = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._next = self._clock.callLater(self.definition.interval_s, self._begin)
        if self._too_long:  # whatever became of it when it was cancelled
            outcome = self._probe.timed_out()
        elif isinstance(result, Failure):
            self._log.failure("bug in check {check}", failure=result, check=self.definition.check_id)
            outcome = Outcome(CRITICAL, str(result.value))
        else:
            outcome = result
        if self._counts(outcome.status):
            self._notify(self.definition.check_id, outcome.status, outcome.output)

    def _counts(self, status: str) -> bool:
        if status == CRITICAL:
            self._good = 0
            self._bad += 1
            return self._bad >= self.definition.failures_before_critical
        self._bad = 0
        self._good += 1
        return self._good >= self.definition.success_before_passing


class Unsupported:
    """Stands in for a type of check that this agent cannot run."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def run(self) -> Deferred[Outcome]:
        """Critical, always."""
        done: Deferred[Outcome] = Deferred()
        done.callback(Outcome(CRITICAL, f"Checks of type {self._kind} are not supported by this agent"))
        return done

    def timed_out(self) -> Outcome:
        """Does not happen."""
        return Outcome(CRITICAL, "")


def make_check(
    definition: CheckType,
    clock: IReactorTime,
    rng: Random,
    notify: Notify,
    reactor: Any,
    read_checks: Callable[[str, str], list[HealthCheck] | Deferred[Any] | None] | None = None,
) -> Runner:
    """What watches over a check, to be started.

    :param clock: for intervals, timeouts and TTLs.
    :param reactor: for connections and processes.
    :param read_checks: for alias checks: takes node and service (either may be empty: this node; the
        node itself) and gives their checks, or ``None`` if there is no such thing.
    """
    kind = definition.kind
    if kind == kinds.TTL:
        return TtlCheck(definition, clock, notify)
    probe: Probe
    if kind == kinds.HTTP:
        provide_tls()
        from pyconsul.checks.http import HttpProbe  # twisted.web takes long to import

        probe = HttpProbe(definition, reactor)
    elif kind == kinds.TCP:
        from pyconsul.checks.tcp import TcpProbe

        probe = TcpProbe(definition, reactor)
    elif kind == kinds.SCRIPT:
        from pyconsul.checks.script import ScriptProbe

        probe = ScriptProbe(definition, reactor)
    elif kind == kinds.ALIAS and read_checks is not None:
        from pyconsul.checks.alias import AliasProbe

        probe = AliasProbe(definition, read_checks)
    else:
        probe = Unsupported(kind)
    return CheckRunner(definition, probe, clock, rng, notify)
