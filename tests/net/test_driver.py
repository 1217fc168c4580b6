"""The loop between a core and the world."""

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.net.driver import Driver


class Echo:
    """An effect."""

    def __init__(self, event: object) -> None:
        self.event = event


class Scripted:
    """A core that answers each event with an echo and has the deadline it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, object]] = []
        self.deadline: float | None = None

    def handle(self, now: float, event: object) -> list[Echo]:
        self.seen.append((now, event))
        if event == "tick":
            self.deadline = None
        return [Echo(event)]

    def next_deadline(self) -> float | None:
        return self.deadline


class DriverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.core = Scripted()
        self.done: list[object] = []
        self.effect: Callable[[Any], None] = lambda effect: self.done.append(effect.event)
        self.driver = Driver(self.core, {Echo: lambda effect: self.effect(effect)}, self.clock, "tick")

    def test_effects_follow_events(self) -> None:
        """Each event's effects are performed."""
        self.driver.feed("a")
        self.driver.feed("b")
        self.assertEqual(self.done, ["a", "b"])

    def test_an_event_from_an_effect_waits_its_turn(self) -> None:
        """An effect that leads back here is handled after the event it came from, not inside it."""
        order: list[object] = []

        def effect(echo: Echo) -> None:
            order.append(("begin", echo.event))
            if echo.event == "a":
                self.driver.feed("b")
            order.append(("end", echo.event))

        self.effect = effect
        self.driver.feed("a")
        self.assertEqual(order, [("begin", "a"), ("end", "a"), ("begin", "b"), ("end", "b")])

    def test_tick_at_the_deadline(self) -> None:
        """The core hears ``tick`` when its deadline has come, and only then."""
        self.core.deadline = 2.0
        self.driver.start()
        self.clock.advance(1.9)
        self.assertEqual(self.core.seen, [])
        self.clock.advance(0.2)
        self.assertEqual(self.core.seen, [(2.1, "tick")])

    def test_a_deadline_that_moved_away_keeps_the_timer(self) -> None:
        """The timer is kept when the deadline moves back, and looks again when it fires."""
        self.core.deadline = 1.0
        self.driver.start()
        self.core.deadline = 3.0
        self.driver.feed("a")
        self.clock.advance(1.5)
        self.assertEqual([event for _, event in self.core.seen], ["a"])
        self.clock.advance(1.6)
        self.assertEqual([event for _, event in self.core.seen], ["a", "tick"])

    def test_a_nearer_deadline_moves_the_timer(self) -> None:
        """A deadline that comes nearer is met."""
        self.core.deadline = 10.0
        self.driver.start()
        self.core.deadline = 1.0
        self.driver.feed("a")
        self.clock.advance(1.0)
        self.assertEqual([event for _, event in self.core.seen], ["a", "tick"])

    def test_stopped(self) -> None:
        """A stopped driver calls the core no more, whatever comes."""
        self.core.deadline = 1.0
        self.driver.start()
        self.driver.stop()
        self.driver.feed("a")
        self.clock.advance(5)
        self.assertEqual(self.core.seen, [])
        self.assertEqual(len(self.driver._inbox), 0, "what comes late is not kept")

    def test_observer(self) -> None:
        """The observer sees an event with its effects before they are performed."""
        seen: list[tuple[object, int, int]] = []
        self.driver.observer = lambda event, effects: seen.append((event, len(effects), len(self.done)))
        self.driver.feed("a")
        self.assertEqual(seen, [("a", 1, 0)])
