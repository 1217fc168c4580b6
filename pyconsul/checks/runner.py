"""When a check is run, and what its results make of its state."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from pyconsul.checks.definition import CheckType
from pyconsul.checks.outcome import Outcome, Probe
from pyconsul.log import make_logger
from pyconsul.net.wheel import Wheel
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

    Runs begin at whole steps of ``wheel``, so that a node with very many checks wakes up a few times a
    second for some checks each, instead of for each of them: that takes a third of the time.

    A state changes only after as many results in a row as the definition wants; until then nothing is
    reported, or a warning while failures are enough for one but not for more. An unchanged state is
    reported with each new output.
    """

    _log = make_logger("agent.checks")

    def __init__(
        self, definition: CheckType, probe: Probe, wheel: Wheel, rng: Random, notify: Notify
    ) -> None:
        self.definition = definition
        self._probe = probe
        self._wheel = wheel
        self._rng = rng
        self._notify = notify
        self._slot: int | None = None
        """Where in the wheel this waits: for the next run, or for the one that is under way to end."""
        self._run: Deferred[Outcome] | None = None
        self._too_long = False
        self._good = 0
        self._bad = 0

    def start(self) -> None:
        """Begin, at a random moment, so that the checks of a node spread out."""
        self._wait(self._rng.random() * self.definition.interval_s)

    def stop(self) -> None:
        """Report nothing more."""
        self._wait_no_longer()
        run, self._run = self._run, None
        if run is not None:
            run.cancel()

    def expire(self) -> None:
        """The wheel says that it is time."""
        self._slot = None
        if self._run is None:
            self._begin()
        else:
            self._too_long = True
            self._run.cancel()

    def _wait(self, delay_s: float) -> None:
        """Until the step that is nearest, so that the time between two runs does not grow."""
        self._slot = self._wheel.add(self, delay_s - self._wheel.step_s / 2)

    def _wait_no_longer(self) -> None:
        if self._slot is not None:
            self._wheel.remove(self, self._slot)
            self._slot = None

    def _begin(self) -> None:
        self._too_long = False
        run = self._run = maybeDeferred(self._probe.run)
        if not run.called:
            self._slot = self._wheel.add(self, self.definition.timeout_s)
        run.addBoth(self._ended, run)

    def _ended(self, result: Outcome | Failure, run: Deferred[Outcome]) -> None:
        if self._run is not run:
            return  # stopped meanwhile
        self._run = None
        self._wait_no_longer()
        self._wait(self.definition.interval_s)
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
