"""Events that reach a listener in bursts."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.net.gathering import Gathering
from pyconsul.serf.coalesce import user_events
from pyconsul.serf.messages import UserEvent


class GatheringTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.heard: list[UserEvent] = []
        self.gathering = Gathering(user_events(3.0, 1.0), self.clock, self.heard.append)

    def test_later(self) -> None:
        first, second = UserEvent(1, "a", b"1", True), UserEvent(2, "a", b"2", True)
        self.gathering(first)
        self.clock.advance(0.9)
        self.gathering(second)
        self.clock.advance(0.9)
        self.assertEqual(self.heard, [])
        self.clock.advance(0.2)
        self.assertEqual(self.heard, [second])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_at_once(self) -> None:
        event = UserEvent(1, "a", b"1", False)
        self.gathering(event)
        self.assertEqual(self.heard, [event])

    def test_stopped(self) -> None:
        self.gathering(UserEvent(1, "a", b"1", True))
        self.gathering.stop()
        self.assertEqual((self.clock.getDelayedCalls(), self.heard), ([], []))
