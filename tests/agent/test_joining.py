"""``retry_join``."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.joining import RetryJoin, StartJoin
from pyconsul.errors import PyconsulError


class Pool:
    """Notes attempts; the tests fire them."""

    def __init__(self) -> None:
        self.attempts: list[tuple[list[str], Deferred[int]]] = []

    def join(self, addresses: Sequence[str]) -> Deferred[int]:
        done: Deferred[int] = Deferred()
        self.attempts.append((list(addresses), done))
        return done


class JoiningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.pool = Pool()
        self.gave_up = 0

    def joining(
        self, interval_s: float = 30.0, attempts_max: int = 0, addresses: Sequence[str] = ("a", "b:1")
    ) -> RetryJoin:
        made = RetryJoin(self.pool.join, addresses, interval_s, attempts_max, self.clock)

        def give_up() -> None:
            self.gave_up += 1

        made.gave_up = give_up
        made.start()
        self.clock.advance(0)
        return made

    def fail_next(self) -> None:
        self.pool.attempts.pop()[1].errback(PyconsulError("nobody there"))

    def test_nobody_to_join(self) -> None:
        """Without addresses nothing happens."""
        self.joining(addresses=())
        self.assertEqual((self.pool.attempts, self.clock.getDelayedCalls()), ([], []))

    def test_some_did_not_answer(self) -> None:
        """Who was not there yet is asked again, quietly and for good, until all have answered."""
        self.joining(attempts_max=1)
        self.pool.attempts.pop()[1].callback(1)
        self.clock.advance(30.0)
        self.fail_next()
        self.clock.advance(30.0)
        self.pool.attempts.pop()[1].callback(2)
        self.assertEqual((self.clock.getDelayedCalls(), self.gave_up), ([], 0))
        stopped = self.joining()
        stopped.stop()
        self.pool.attempts.pop()[1].callback(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_joined(self) -> None:
        """All addresses are tried; once it worked that is all."""
        self.joining()
        addresses, done = self.pool.attempts.pop()
        self.assertEqual(addresses, ["a", "b:1"])
        done.callback(2)
        self.clock.advance(1000)
        self.assertEqual(self.pool.attempts, [])

    def test_retries(self) -> None:
        """The first retries come soon, then one every interval, for ever."""
        self.joining()
        waits = []
        for _ in range(7):
            self.fail_next()
            (call,) = self.clock.getDelayedCalls()
            waits.append(call.getTime() - self.clock.seconds())
            self.clock.advance(waits[-1])
            self.assertEqual(len(self.pool.attempts), 1)
        self.assertEqual(waits, [0.25, 0.5, 1.0, 2.0, 30.0, 30.0, 30.0])
        self.assertEqual(self.gave_up, 0)

    def test_short_interval(self) -> None:
        """A configured interval is never exceeded."""
        self.joining(interval_s=0.4)
        for wait_s in (0.25, 0.4, 0.4):
            self.fail_next()
            self.assertEqual(self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds(), wait_s)
            self.clock.advance(wait_s)

    def test_gives_up(self) -> None:
        """After so many attempts the agent is told to end, once."""
        self.joining(attempts_max=2)
        self.fail_next()
        self.assertEqual(self.gave_up, 0)
        self.clock.advance(0.25)
        self.fail_next()
        self.assertEqual((self.gave_up, self.clock.getDelayedCalls()), (1, []))

    def test_stop_between_attempts(self) -> None:
        """Nothing is tried any more."""
        joining = self.joining()
        self.fail_next()
        joining.stop()
        joining.stop()
        self.clock.advance(100)
        self.assertEqual(self.pool.attempts, [])

    def test_stop_during_an_attempt(self) -> None:
        """Its failure is of no interest then, nor a reason to give up."""
        joining = self.joining(attempts_max=1)
        joining.stop()
        self.fail_next()
        self.assertEqual((self.gave_up, self.clock.getDelayedCalls()), (0, []))

    def test_joined_after_stop(self) -> None:
        """Nor is its success."""
        joining = self.joining()
        joining.stop()
        self.pool.attempts.pop()[1].callback(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_started_again(self) -> None:
        """An agent that is started again joins again."""
        joining = self.joining()
        joining.stop()
        self.fail_next()
        joining.start()
        self.clock.advance(0)
        self.fail_next()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)


class StartTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pool = Pool()
        self.gave_up: list[None] = []

    def joining(self, *addresses: str) -> StartJoin:
        made = StartJoin(self.pool.join, addresses)
        made.gave_up = lambda: self.gave_up.append(None)
        made.start()
        return made

    def test_nobody_to_join(self) -> None:
        self.joining()
        self.assertEqual(self.pool.attempts, [])

    def test_once(self) -> None:
        """Either it works at once, or the agent ends."""
        self.joining("a", "b")
        addresses, done = self.pool.attempts.pop()
        self.assertEqual(addresses, ["a", "b"])
        done.callback(1)
        self.assertEqual((self.pool.attempts, self.gave_up), ([], []))
        self.joining("a")
        self.pool.attempts.pop()[1].errback(PyconsulError("nobody there"))
        self.assertEqual((self.pool.attempts, self.gave_up), ([], [None]))

    def test_stopped(self) -> None:
        joining = self.joining("a")
        joining.stop()
        self.pool.attempts.pop()[1].errback(PyconsulError("shutting down"))
        self.assertEqual(self.gave_up, [])
