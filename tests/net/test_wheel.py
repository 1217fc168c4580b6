"""The coarse timer."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.net.wheel import Wheel


class Waiting:
    def __init__(self) -> None:
        self.expired = 0

    def expire(self) -> None:
        self.expired += 1


class WheelTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.wheel = Wheel(self.clock)

    def test_expires_once_and_not_early(self) -> None:
        """A wait ends after its delay, at most one step late, and once."""
        waiting = Waiting()
        self.wheel.add(waiting, 1.0)
        self.clock.advance(0.99)
        self.assertEqual(waiting.expired, 0)
        self.clock.advance(0.12)
        self.assertEqual(waiting.expired, 1)
        self.clock.advance(5)
        self.assertEqual(waiting.expired, 1)

    def test_an_earlier_wait_moves_the_timer(self) -> None:
        """A short wait added behind a long one is not held up by it."""
        long, short = Waiting(), Waiting()
        self.wheel.add(long, 60.0)
        self.wheel.add(short, 0.5)
        self.clock.advance(0.7)
        self.assertEqual((long.expired, short.expired), (0, 1))
        self.clock.advance(59.5)
        self.assertEqual(long.expired, 1)

    def test_removed_waits_leave_no_timer(self) -> None:
        """Removing the last wait leaves the wheel to run out by itself."""
        waiting = Waiting()
        slot = self.wheel.add(waiting, 1.0)
        self.wheel.remove(waiting, slot)
        self.wheel.remove(waiting, slot)
        self.clock.advance(2)
        self.assertEqual(waiting.expired, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_in_one_slot(self) -> None:
        """Everybody in a slot is told in one turn, in the order of arrival."""
        order: list[int] = []

        class Numbered:
            def __init__(self, number: int) -> None:
                self.number = number

            def expire(self) -> None:
                order.append(self.number)

        for number in range(1000):
            self.wheel.add(Numbered(number), 0.3)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0.5)
        self.assertEqual(order, list(range(1000)))

    def test_stop(self) -> None:
        """After ``stop`` nobody is told."""
        waiting = Waiting()
        self.wheel.add(waiting, 0.1)
        self.wheel.stop()
        self.clock.advance(1)
        self.assertEqual(waiting.expired, 0)
