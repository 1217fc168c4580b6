"""Reads that wait: who is woken, who waits on, and that nothing is left behind."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent import blocking
from pyconsul.agent.blocking import Parking
from pyconsul.agent.forwarding import shared_time_s
from pyconsul.endpoints.base import Method, Read
from pyconsul.errors import NoLeader, Refused
from pyconsul.net.wheel import Wheel
from pyconsul.state.watches import Watches
from pyconsul.structs.kv import IndexedDirEntries, KeyRequest
from tests.agent.fixture import get
from tests.http.fakes import TurningClock


class ParkingTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.watches = Watches()
        self.index = 5
        self.at_once = False
        self.watched: tuple[Any, ...] = (("kv", "a"),)
        self.trouble: Exception | None = None
        self.elsewhere: Deferred[Any] | None = None
        self.left: list[float] = []
        self.parking = Parking(
            self.watches, Wheel(self.clock), self.clock, Random(1), self.answer, self.leave
        )
        self.method = Method("KVS.Get", "read", KeyRequest, IndexedDirEntries, "", self.read)

    def read(self, request: Any) -> Read:
        trouble, self.trouble = self.trouble, None
        if trouble is not None:
            raise trouble
        return Read(self.index, f"reply {self.index}", self.watched, self.at_once)

    def answer(self, read: Read, request: Any) -> Any:
        return read.reply

    def leave(self, method: Method, request: Any, until: float) -> Deferred[Any] | None:
        self.left.append(until)
        return self.elsewhere

    def park(self, wait_s: float = 10.0, index: int = 5) -> Deferred[Any]:
        request = get("a", index, wait_s)
        return self.parking.park(self.method, request, self.read(request), self.clock.seconds())

    def touch(self, key: str = "a") -> None:
        self.watches.touch_entry(key)
        self.watches.fire()

    def assert_nothing_left(self) -> None:
        self.assertEqual((self.parking.count, len(self.watches)), (0, 0))
        self.assertEqual(self.parking.wheel._slots, {})


class BlockingTests(ParkingTestCase):
    def test_at_once(self) -> None:
        """A read that must not wait any longer is answered on the next wake-up, whatever its index."""
        parked = self.park()
        self.touch()
        self.assertNoResult(parked)
        self.at_once = True
        self.touch()
        self.assertEqual(self.successResultOf(parked), "reply 5")
        self.assert_nothing_left()

    def test_woken(self) -> None:
        """A change answers with what there is now."""
        parked = self.park()
        self.assertNoResult(parked)
        self.assertEqual((self.parking.count, len(self.watches)), (1, 1))
        self.index = 6
        self.touch("b")
        self.assertNoResult(parked)
        self.touch()
        self.assertEqual(self.successResultOf(parked), "reply 6")
        self.assert_nothing_left()

    def test_an_answer_that_cannot_be_made(self) -> None:
        """A bug: whoever waits hears of it, and nothing is left."""
        parked = self.park()

        def broken(read: Read, request: Any) -> Any:
            raise ValueError("a bug")

        self.parking.answer = broken
        self.index = 6
        self.touch()
        self.failureResultOf(parked, ValueError)
        self.assert_nothing_left()

    def test_the_index_has_not_moved(self) -> None:
        """A wake-up for nothing: it goes on waiting, on what it read this time."""
        parked = self.park()
        self.watched = (("kv", "b"), ("kv", "c"))
        self.touch()
        self.assertNoResult(parked)
        self.assertEqual((self.parking.count, len(self.watches)), (1, 2))
        self.index = 6
        self.touch("a")
        self.assertNoResult(parked)
        self.touch("c")
        self.assertEqual(self.successResultOf(parked), "reply 6")
        self.assert_nothing_left()

    def test_expiry(self) -> None:
        """The wait is up to a sixteenth longer than asked: clients come back spread out.

        Half of that it always is, so that others may join.
        """
        times = []
        waiting = [self.park(16.0) for _ in range(20)]
        for parked in waiting:
            parked.addCallback(lambda _: times.append(self.clock.seconds()))
        self.clock.pump([0.05] * 400)
        self.assertEqual(len(times), 20)
        self.assertEqual(shared_time_s(16.0), 0.5)
        self.assertGreaterEqual(min(times), 16.5)
        self.assertLessEqual(max(times), 17.0 + 0.2)
        self.assertGreater(len(set(times)), 3)
        self.assert_nothing_left()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_same_again(self) -> None:
        """After the time is over the data is as it was read."""
        parked = self.park(1.0)
        self.clock.advance(2.0)
        self.assertEqual(self.successResultOf(parked), "reply 5")

    def test_configured_times(self) -> None:
        """Default and longest wait are settings."""
        self.parking.times = (2.0, 4.0)
        default, longest = self.park(0.0), self.park(60.0)
        self.clock.advance(2.5)
        self.successResultOf(default)
        self.assertNoResult(longest)
        self.clock.advance(2.0)
        self.successResultOf(longest)

    def test_cancelled(self) -> None:
        """Who goes away leaves nothing behind."""
        parked, other = self.park(), self.park()
        parked.cancel()
        self.failureResultOf(parked, CancelledError)
        self.assertEqual((self.parking.count, len(self.watches)), (1, 1))
        self.index = 6
        self.touch()
        self.successResultOf(other)
        self.assert_nothing_left()

    def test_cancelled_by_another_wake_up(self) -> None:
        """Of two that are woken by one change the first may send the second away."""
        first, second = self.park(), self.park()
        first.addCallback(lambda _: second.cancel())
        self.index = 6
        self.touch()
        self.failureResultOf(second, CancelledError)
        self.assert_nothing_left()

    def test_cancelled_by_another_expiry(self) -> None:
        """So may the first of two that expire at once; those after them expire all the same."""
        first = self.park(1.0)
        second, third = self.park(1.0), self.park(1.0)
        first.addCallback(lambda _: second.cancel())
        self.clock.advance(5.0)
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)
        self.successResultOf(third)
        self.assert_nothing_left()

    def test_released(self) -> None:
        """After a restore all are answered, newer or not; who parks after that waits."""
        parked = self.park()
        self.watches.wake_all()
        self.assertNoResult(parked)
        self.parking.release()
        self.assertEqual(self.successResultOf(parked), "reply 5")
        self.assert_nothing_left()
        self.assertNoResult(self.park())

    def test_goes_on_elsewhere(self) -> None:
        """This server leads no longer: the request waits at another, and its answer is ours."""
        parked = self.park(10.0)
        self.elsewhere = Deferred()
        self.watches.wake_all()
        self.assertNoResult(parked)
        self.assert_nothing_left()
        self.assertGreaterEqual(self.left[0], 10.0)
        self.elsewhere.callback("from there")
        self.assertEqual(self.successResultOf(parked), "from there")

    def test_fails_elsewhere(self) -> None:
        """Its failure is ours as well; an answer at once is fine."""
        parked, quick = self.park(), self.park()
        answers = [succeed("at once"), Deferred[Any]()]
        self.parking.leave = lambda method, request, until: answers.pop()
        failing = answers[-1]
        self.watches.wake_all()
        failing.errback(NoLeader())
        self.failureResultOf(parked, NoLeader)
        self.assertEqual(self.successResultOf(quick), "at once")
        self.assert_nothing_left()

    def test_cancelled_elsewhere(self) -> None:
        """Who goes away then is not waited for there either."""
        cancelled: list[object] = []
        parked = self.park()
        self.elsewhere = Deferred(cancelled.append)
        self.watches.wake_all()
        parked.cancel()
        self.assertEqual(len(cancelled), 1)
        self.failureResultOf(parked, CancelledError)
        self.assert_nothing_left()

    def test_errors(self) -> None:
        """Whatever goes wrong on a wake-up, whoever waits hears of it, and others are woken."""
        for trouble in (Refused("gone"), ZeroDivisionError("a bug")):
            self.index = 5
            parked, other = self.park(), self.park()
            self.trouble = trouble
            self.index = 6
            self.touch()
            self.failureResultOf(parked, type(trouble))
            self.assertEqual(self.successResultOf(other), "reply 6")
            self.assert_nothing_left()

    def test_trouble_with_moving(self) -> None:
        """The same if the request cannot be moved."""

        def leave(method: Method, request: Any, until: float) -> None:
            raise Refused("no")

        parked = self.park()
        self.parking.leave = leave
        self.watches.wake_all()
        self.failureResultOf(parked, Refused)
        self.assert_nothing_left()

    def test_many(self) -> None:
        """One change wakes all that wait for it, each once."""
        waiting = [self.park() for _ in range(100)]
        answered: list[Any] = []
        for parked in waiting:
            parked.addCallback(answered.append)
        self.index = 6
        self.touch()
        self.clock.advance(0)
        self.assertEqual(answered, ["reply 6"] * 100)
        self.assert_nothing_left()


class ManyTests(ParkingTestCase):
    """Many that one write wakes."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = TurningClock()
        self.parking = Parking(
            self.watches, Wheel(self.clock), self.clock, Random(1), self.answer, self.leave
        )
        self.patch(blocking, "LOOK_AT_ONCE_MAX", 2)
        self.patch(blocking, "LOOKS_TURN_S", 0.0)

    def answered(self, parked: list[Deferred[Any]]) -> list[int]:
        return [number for number, deferred in enumerate(parked) if deferred.called]

    def test_by_turns(self) -> None:
        """They look one after the other, as they came, each once."""
        parked = [self.park() for _ in range(4)]
        self.index = 6
        self.touch()
        for number in range(4):
            self.assertEqual(self.answered(parked), [*range(number)])
            self.clock.advance(0)
        self.assertEqual(self.answered(parked), [0, 1, 2, 3])
        self.assert_nothing_left()
        self.clock.advance(0)
        (wheel,) = self.clock.getDelayedCalls()
        self.assertGreater(wheel.getTime(), 1.0)

    def test_few_at_once(self) -> None:
        """Meanwhile few others do not wait."""
        parked = [self.park() for _ in range(4)]
        self.touch()
        self.watched = (("kv", "b"),)
        other = self.park()
        self.index = 6
        self.touch("b")
        self.assertEqual(self.answered([*parked, other]), [4])

    def test_changed_again(self) -> None:
        """They find what is there when they look, and wait on if that is nothing new."""
        parked = [self.park() for _ in range(3)]
        self.touch()
        self.clock.advance(0)
        self.index = 7
        self.touch()  # whoever has looked by now looks again
        self.assertEqual(self.answered(parked), [0])
        for _ in range(2):
            self.clock.advance(0)
        self.assertEqual([self.successResultOf(one) for one in parked], ["reply 7"] * 3)
        self.assert_nothing_left()

    def test_gone(self) -> None:
        """Nobody looks for a client that went away."""
        parked = [self.park() for _ in range(3)]
        self.index = 6
        self.touch()
        parked[0].cancel()
        self.failureResultOf(parked[0], CancelledError)
        looks = len(self.left)
        for _ in range(3):
            self.clock.advance(0)
        self.assertEqual((self.answered(parked), len(self.left)), ([0, 1, 2], looks + 2))
        self.assert_nothing_left()

    def test_time_is_over(self) -> None:
        """Who has no time left looks at once: there may be nothing new, or a leader elsewhere."""
        cases: list[tuple[int, Any]] = [(6, None), (5, None), (5, Deferred())]
        for index, elsewhere in cases:
            parked = [self.park(), *(self.park(1000.0) for _ in range(2))]
            self.touch()
            self.index, self.elsewhere = index, elsewhere
            deferred, *others = parked
            self.parking._woken[0].expire()
            if elsewhere is not None:
                self.assertNoResult(deferred)
                elsewhere.callback("from elsewhere")
                self.assertEqual(self.successResultOf(deferred), "from elsewhere")
            else:
                self.assertEqual(self.successResultOf(deferred), f"reply {index}")
            self.elsewhere, self.index = None, 5
            for other in others:
                other.cancel()
                self.failureResultOf(other, CancelledError)
            self.assertEqual((self.parking.count, len(self.watches)), (0, 0))
            for _ in parked:
                self.clock.advance(0)

    def test_released(self) -> None:
        """All that wait for their turn are answered with the others."""
        parked = [self.park() for _ in range(3)]
        self.touch()
        self.watched = (("kv", "b"),)
        parked += [self.park() for _ in range(3)]
        self.parking.release()
        self.assertEqual(self.answered(parked), [*range(6)])
        self.assert_nothing_left()

    def test_a_bug(self) -> None:
        """The others have their turns all the same."""
        parked = [self.park() for _ in range(3)]
        self.index = 6
        self.touch()
        self.trouble = ValueError("a bug")
        for _ in range(3):
            self.clock.advance(0)
        self.failureResultOf(parked[0], ValueError)
        self.assertEqual([self.successResultOf(one) for one in parked[1:]], ["reply 6"] * 2)
