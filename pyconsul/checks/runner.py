"""When a check is run, and what its results make of its state."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from pyconsul.checks.definition import CheckType
from pyconsul.checks.outcome import Outcome, Probe
from pyconsul.log import make_logger
from pyconsul.structs.catalog import CRITICAL, WARNING

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
    reported, or a warning while failures are enough for one but not for more. An unchanged state is
    reported with each new output.
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
        status = self._counted(outcome.status)
        if status:
            self._notify(self.definition.check_id, status, outcome.output)

    def _counted(self, status: str) -> str:
        """The state that a result leads to; empty if it is not enough for a change."""
        definition = self.definition
        if status != CRITICAL:
            self._bad = 0
            self._good += 1
            return status if self._good >= definition.success_before_passing else ""
        self._good = 0
        self._bad += 1
        if self._bad >= definition.failures_before_critical:
            return CRITICAL
        warns = 0 < definition.failures_before_warning <= self._bad
        return WARNING if warns else ""
