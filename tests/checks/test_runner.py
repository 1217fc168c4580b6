"""When checks run, and when their results count."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.checks.definition import CheckType
from pyconsul.checks.outcome import Outcome, Tail
from pyconsul.checks.runner import CheckRunner
from pyconsul.net.wheel import Wheel


class FakeProbe:
    """Gives ``results`` one after the other; a Deferred is given as it is."""

    def __init__(self) -> None:
        self.runs = 0
        self.results: list[Any] = []

    def run(self) -> Deferred[Outcome]:
        self.runs += 1
        result = self.results.pop(0) if self.results else Outcome("passing", f"run {self.runs}")
        return result if isinstance(result, Deferred) else succeed(result)

    def timed_out(self) -> Outcome:
        return Outcome("critical", "too long")


class Middle(Random):
    def random(self) -> float:
        return 0.5


class RunnerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.wheel = Wheel(self.clock)
        self.probe = FakeProbe()
        self.told: list[tuple[str, str, str]] = []

    def runner(self, **fields: Any) -> CheckRunner:
        fields = {"interval_s": 10.0, "timeout_s": 3.0} | fields
        definition = CheckType(check_id="c", kind="tcp", **fields)
        runner = CheckRunner(
            definition, self.probe, self.wheel, Middle(), lambda *what: self.told.append(what)
        )
        runner.start()
        return runner

    def states(self) -> list[str]:
        return [status for _, status, _ in self.told]

    def test_rhythm(self) -> None:
        """First at a random moment within the interval, then each interval."""
        self.runner()
        self.clock.advance(4.9)
        self.assertEqual(self.probe.runs, 0)
        self.clock.advance(0.1)
        self.assertEqual(self.told, [("c", "passing", "run 1")])
        self.clock.pump([5.0] * 6)
        self.assertEqual(self.probe.runs, 4)

    def test_no_drift(self) -> None:
        """Runs stay at the same step, though each takes a moment."""
        self.probe.results = [Deferred() for _ in range(20)]
        slow = list(self.probe.results)
        self.runner()
        self.clock.advance(5.0)
        for number, run in enumerate(slow, 1):
            self.assertEqual(self.probe.runs, number)
            self.clock.advance(0.04)
            run.callback(Outcome("passing", ""))
            self.clock.advance(9.9)
            self.assertEqual(self.probe.runs, number)
            self.clock.advance(0.06)

    def test_together(self) -> None:
        """Runs that are due at about the same time begin in one turn of the reactor."""
        for interval_s in (9.96, 10.0, 10.04):
            self.runner(interval_s=interval_s)
        self.clock.advance(4.94)
        self.assertEqual(self.probe.runs, 0)
        self.clock.advance(0.06)
        self.assertEqual(self.probe.runs, 3)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_no_two_at_once(self) -> None:
        """The interval begins when a run is over."""
        slow: Deferred[Outcome] = Deferred()
        self.probe.results = [slow]
        self.runner()
        self.clock.advance(5)
        self.clock.advance(2)
        slow.callback(Outcome("warning", "slow"))
        self.assertEqual(self.told, [("c", "warning", "slow")])
        self.clock.advance(9.9)
        self.assertEqual(self.probe.runs, 1)
        self.clock.advance(0.1)
        self.assertEqual(self.probe.runs, 2)

    def test_too_long(self) -> None:
        """A run is cancelled when its time is over, whatever comes of that."""
        for canceller in (
            None,
            lambda run: run.callback(Outcome("passing", "late")),
            lambda run: run.errback(ZeroDivisionError()),
        ):
            self.told.clear()
            self.probe.results = [Deferred(canceller)]
            runner = self.runner()
            self.clock.advance(5)
            self.clock.advance(2.99)
            self.assertEqual(self.told, [])
            self.clock.advance(0.11)
            self.assertEqual(self.told, [("c", "critical", "too long")])
            self.clock.advance(10)
            self.assertEqual(len(self.told), 2)
            runner.stop()

    def test_a_bug(self) -> None:
        """Is logged, makes the check critical, and does not end it."""
        self.probe.results = [fail(ZeroDivisionError("oh"))]
        self.runner()
        self.clock.advance(5)
        self.assertEqual(self.told, [("c", "critical", "oh")])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(10)
        self.assertEqual(self.states(), ["critical", "passing"])

    def test_stop_before_a_run(self) -> None:
        runner = self.runner()
        runner.stop()
        runner.stop()
        self.clock.advance(100)
        self.assertEqual((self.probe.runs, self.told), (0, []))

    def test_stop_during_a_run(self) -> None:
        """The run is cancelled, and what comes of that is of no interest."""
        cancelled: list[Deferred[Any]] = []

        def canceller(run: Deferred[Any]) -> None:
            cancelled.append(run)
            run.errback(ZeroDivisionError())

        slow: Deferred[Outcome] = Deferred(canceller)
        self.probe.results = [slow]
        runner = self.runner()
        self.clock.advance(5)
        runner.stop()
        self.assertEqual(cancelled, [slow])
        self.clock.advance(100)
        self.assertEqual((self.told, self.probe.runs, self.clock.getDelayedCalls()), ([], 1, []))

    def results(self, *states: str) -> None:
        self.probe.results = [Outcome(state, "") for state in states]
        self.clock.pump([5.0] + [10.0] * (len(states) - 1))

    def test_good_results_in_a_row(self) -> None:
        """A warning is good enough; one failure begins the count anew and counts itself at once."""
        self.runner(success_before_passing=3)
        self.results("passing", "warning", "critical", "passing", "passing", "passing", "passing")
        self.assertEqual(self.states(), ["critical", "passing", "passing"])

    def test_failures_in_a_row(self) -> None:
        self.runner(failures_before_critical=2)
        self.results("critical", "passing", "critical", "critical", "critical")
        self.assertEqual(self.states(), ["passing", "critical", "critical"])

    def test_a_warning_first(self) -> None:
        """Fewer failures may make a warning of the state."""
        self.runner(failures_before_warning=2, failures_before_critical=3)
        self.results("passing", "critical", "critical", "critical", "passing")
        self.assertEqual(self.states(), ["passing", "warning", "critical", "passing"])


class TailTests(SynchronousTestCase):
    def test_the_end_is_kept(self) -> None:
        for size in (1, 3, 7, 1000):
            tail = Tail(10)
            whole = b"".join(b"%d," % at for at in range(500))
            for at in range(0, len(whole), size):
                tail.write(whole[at : at + size])
                self.assertLessEqual(len(tail._kept), 20)
            self.assertEqual((tail.text(), tail.total), (whole[-10:].decode(), len(whole)))

    def test_what_is_no_text(self) -> None:
        tail = Tail(10)
        tail.write(b"a\xff")
        self.assertEqual(tail.text(), "a�")

    def test_a_line_about_what_was_cut(self) -> None:
        tail = Tail(4)
        tail.write(b"1234")
        self.assertEqual(tail.captured(), "1234")
        tail.write(b"5")
        self.assertEqual(tail.captured(), "Captured 4 of 5 bytes\n...\n2345")
