"""Large work in small steps, beside everything else."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.http.turns import TURN_S, Turns
from tests.http.fakes import TurningClock


class Slow(TurningClock):
    """Time passes while somebody works."""

    def spend(self, seconds: float) -> None:
        self.rightNow += seconds


class Work:
    def __init__(self, clock: Slow, done: list[str], name: str, steps: int, cost_s: float = 0.0) -> None:
        self.clock, self.done, self.name, self.left, self.cost_s = clock, done, name, steps, cost_s

    def step(self) -> bool:
        self.done.append(self.name)
        self.clock.spend(self.cost_s)
        self.left -= 1
        return self.left > 0


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Slow()
        self.turns = Turns(self.clock)
        self.done: list[str] = []

    def add(self, name: str, steps: int, cost_s: float = 0.0) -> Work:
        work = Work(self.clock, self.done, name, steps, cost_s)
        self.turns.add(work)
        return work

    def turn(self, others_s: float = 0.0) -> str:
        """What is done in the next turn of the reactor, after ``others_s`` of other work."""
        before = len(self.done)
        self.clock.spend(others_s)
        self.clock.advance(0)
        return "".join(self.done[before:])

    def test_one_after_the_other(self) -> None:
        """All go on alike, a step a turn if nobody else has anything to do; then nothing is due."""
        self.add("a", 3)
        self.add("b", 1)
        self.assertEqual([self.turn() for _ in range(5)], ["a", "b", "a", "a", ""])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.add("c", 1)
        self.assertEqual(self.turn(), "c")

    def test_half_the_time(self) -> None:
        """As much as everything else has had, but not more than is good for those who wait."""
        step_s = TURN_S / 8  # which floats can add up
        self.add("a", 100, step_s)
        counts = [len(self.turn(others * step_s)) for others in (0, 1, 3, 8, 80)]
        self.assertEqual(counts, [1, 1, 3, 8, 8])

    def test_added_twice(self) -> None:
        """It takes its turns once."""
        work = self.add("a", 2)
        self.turns.add(work)
        self.assertEqual([self.turn() for _ in range(3)], ["a", "a", ""])

    def test_dropped(self) -> None:
        """It is not asked again; nor is there a turn for nobody."""
        work = self.add("a", 5)
        self.turn()
        self.turns.drop(work)
        self.turns.drop(work)
        self.assertEqual([self.turn(), self.clock.getDelayedCalls()], ["", []])
