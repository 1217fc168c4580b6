from random import Random
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pyconsul.testing.clock import NodeClock, SimClock


class SimClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = SimClock()
        self.clock = self.world.root
        self.calls: list[Any] = []

    def test_interfaces(self) -> None:
        """Node clocks and their calls are what Twisted code expects."""
        verifyObject(IReactorTime, self.clock)
        verifyObject(IDelayedCall, self.clock.callLater(1.0, self.calls.append, 1))

    def test_order(self) -> None:
        """Calls run by time, and at the same time in the order in which they were made."""
        self.clock.callLater(2.0, self.calls.append, "c")
        self.clock.callLater(1.0, self.calls.append, "a")
        self.clock.callLater(1.0, self.calls.append, "b")
        self.clock.callLater(0.0, self.calls.append, "at once")
        self.world.run_until(1.5)
        self.assertEqual(self.calls, ["at once", "a", "b"])
        self.assertEqual(self.clock.seconds(), 1.5)
        self.world.run_until(3.0)
        self.assertEqual(self.calls, ["at once", "a", "b", "c"])
        self.assertEqual(self.world.events, 4)

    def test_keywords(self) -> None:
        """Keyword arguments get through."""
        self.clock.callLater(0.0, lambda *a, **k: self.calls.append((a, k)), 1, two=2)
        self.assertTrue(self.world.step())
        self.assertEqual(self.calls, [((1,), {"two": 2})])

    def test_step(self) -> None:
        """One call at a time; cancelled ones do not count."""
        self.clock.callLater(1.0, self.calls.append, 1).cancel()
        self.clock.callLater(2.0, self.calls.append, 2)
        self.assertTrue(self.world.step())
        self.assertEqual((self.calls, self.world.now >= 2.0), ([2], True))
        self.assertFalse(self.world.step())

    def test_calls_from_calls(self) -> None:
        """What a call asks for at once is done before time goes on."""
        self.clock.callLater(1.0, lambda: self.clock.callLater(0, lambda: self.calls.append(self.world.now)))
        self.clock.callLater(1.0, self.calls.append, "first")
        self.world.run_until(1.0001)
        self.assertEqual(self.calls[0], "first")
        self.assertAlmostEqual(self.calls[1], 1.0, places=5)

    def test_cancel(self) -> None:
        """A cancelled call is not made, and says so."""
        call = self.clock.callLater(1.0, self.calls.append, 1)
        self.assertTrue(call.active())
        call.cancel()
        self.assertFalse(call.active())
        self.assertRaises(AlreadyCancelled, call.cancel)
        self.assertRaises(AlreadyCancelled, call.reset, 1.0)
        self.world.run_until(2.0)
        self.assertEqual(self.calls, [])

    def test_called(self) -> None:
        """A call that was made can be neither cancelled nor moved."""
        call = self.clock.callLater(1.0, self.calls.append, 1)
        self.world.run_until(2.0)
        self.assertFalse(call.active())
        self.assertRaises(AlreadyCalled, call.cancel)
        self.assertRaises(AlreadyCalled, call.delay, 1.0)

    def test_reset_and_delay(self) -> None:
        """Calls move in both directions."""
        later = self.clock.callLater(1.0, self.calls.append, "later")
        sooner = self.clock.callLater(9.0, self.calls.append, "sooner")
        later.delay(4.0)
        sooner.reset(2.0)
        self.assertAlmostEqual(later.getTime(), 5.0, places=5)
        self.world.run_until(3.0)
        self.assertEqual(self.calls, ["sooner"])
        self.world.run_until(6.0)
        self.assertEqual(self.calls, ["sooner", "later"])

    def test_delayed_calls(self) -> None:
        """Only what is to be made is listed, and only the clock's own."""
        mine = self.clock.callLater(2.0, self.calls.append, 1)
        first = self.clock.callLater(1.0, self.calls.append, 1)
        self.clock.callLater(3.0, self.calls.append, 1).cancel()
        other = NodeClock(self.world)
        theirs = other.callLater(1.0, self.calls.append, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [first, mine])
        self.assertEqual(other.getDelayedCalls(), [theirs])

    def test_trace(self) -> None:
        """Every call that is made is reported."""
        numbers: list[float] = []
        self.world.trace = numbers.append
        self.clock.callLater(1.0, self.calls.append, 1)
        self.clock.callLater(0.5, self.calls.append, 1).cancel()
        self.world.run_until(2.0)
        self.assertEqual(len(numbers), 2)
        self.assertAlmostEqual(numbers[0], 1.0, places=5)

    def test_many(self) -> None:
        """A random schedule runs in order."""
        rng = Random(1)
        expected = []
        for number in range(500):
            delay = rng.random() * 10.0
            call = self.clock.callLater(delay, self.calls.append, number)
            if rng.random() < 0.3:
                call.cancel()
                continue
            if rng.random() < 0.3:
                call.reset(delay := rng.random() * 10.0)
            expected.append((call.getTime(), number))
        self.world.run_until(10.1)
        times = {number: time for time, number in expected}
        self.assertEqual(sorted(self.calls), sorted(times))
        in_order = [times[number] for number in self.calls]
        self.assertEqual(in_order, sorted(in_order))


class NodeClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = SimClock()
        self.clock = NodeClock(self.world)
        self.calls: list[Any] = []

    def test_drift_and_offset(self) -> None:
        """A fast clock reaches its deadlines early in world time, but never before itself."""
        clock = NodeClock(self.world, rate=1.01, offset=50.0)
        self.assertEqual(clock.seconds(), 50.0)
        clock.callLater(10.0, lambda: self.calls.append((self.world.now, clock.seconds())))
        self.world.run_until(20.0)
        [(world, local)] = self.calls
        self.assertAlmostEqual(world, 10.0 / 1.01, places=5)
        self.assertGreaterEqual(local, 60.0)

    def test_never_early(self) -> None:
        """Whoever waits for a deadline finds that it has been reached."""
        rng = Random(2)
        for _ in range(300):
            clock = NodeClock(self.world, rate=rng.uniform(0.99, 1.01), offset=rng.uniform(0, 1000))
            deadline = clock.seconds() + rng.random() * 3.0
            clock.callLater(
                deadline - clock.seconds(), lambda d=deadline, c=clock: self.calls.append(c.seconds() >= d)
            )
            self.world.run_until(self.world.now + rng.random())
        self.world.run_until(self.world.now + 10.0)
        self.assertEqual(self.calls, [True] * 300)

    def test_step_by(self) -> None:
        """A step changes what the clock shows, not when calls are made."""
        self.clock.callLater(1.0, self.calls.append, 1)
        self.clock.step_by(-0.5)
        self.assertEqual(self.clock.seconds(), -0.5)
        self.world.run_until(1.1)
        self.assertEqual(self.calls, [1])

    def test_pause(self) -> None:
        """A paused process finds afterwards what came due, in order; the rest keeps its time."""
        self.clock.callLater(2.0, self.calls.append, "b")
        self.clock.callLater(1.0, self.calls.append, "a")
        dropped = self.clock.callLater(1.5, self.calls.append, "dropped")
        self.clock.callLater(9.0, self.calls.append, "c")
        self.clock.pause()
        self.world.run_until(5.0)
        self.assertEqual(self.calls, [])
        self.assertEqual(len(self.clock.getDelayedCalls()), 4)
        dropped.cancel()
        self.clock.resume()
        self.world.run_until(5.0)
        self.assertEqual(self.calls, ["a", "b"])
        self.world.run_until(10.0)
        self.assertEqual(self.calls, ["a", "b", "c"])

    def test_resume_from_sleep(self) -> None:
        """Who slept waiting for packets takes those first, each peer's in order, and then its timers."""
        orders = set()
        for seed in range(20):
            self.calls = []
            clock = NodeClock(self.world)
            clock.pause()
            clock.callLater(0.1, self.calls.append, "timer")
            for number in (1, 2):
                for peer in "ab":
                    self.world.post(0.2 * number, clock, self.came, (peer, number))
            self.world.run_until(self.world.now + 1.0)
            clock.resume(Random(seed))
            self.world.run_until(self.world.now)
            orders.add(" ".join(self.calls))
        self.assertEqual(orders, {"a1 a2 b1 b2 timer", "b1 b2 a1 a2 timer"})

    def came(self, peer: str, number: int) -> None:
        self.calls.append(f"{peer}{number}")

    def test_resume_of_a_running_one(self) -> None:
        """Nothing happens."""
        self.clock.resume()
        self.assertEqual(self.clock.state, 0)

    def test_kill(self) -> None:
        """None of a killed process's calls is made, and cancelling them does no harm."""
        call = self.clock.callLater(1.0, self.calls.append, 1)
        held = self.clock.callLater(0.1, self.calls.append, 2)
        self.clock.pause()
        self.world.run_until(0.5)
        self.clock.kill()
        self.clock.pause()
        self.clock.resume()
        late = self.clock.callLater(1.0, self.calls.append, 3)
        self.world.run_until(5.0)
        self.assertEqual(self.calls, [])
        call.cancel()
        held.cancel()
        late.cancel()

    def test_forget_killed(self) -> None:
        """The heap keeps nothing of the dead; the living go on."""
        self.clock.callLater(1.0, self.calls.append, 1)
        self.world.root.callLater(1.0, self.calls.append, 2)
        self.world.root.callLater(0.5, self.calls.append, 3)
        self.clock.kill()
        self.world.forget_killed()
        self.assertEqual(len(self.world.pending()), 2)
        self.world.run_until(2.0)
        self.assertEqual(self.calls, [3, 2])
