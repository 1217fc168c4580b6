"""Trying again, and when not to."""

from random import Random
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent import forwarding
from pyconsul.agent.forwarding import Forwarder, blocking_time_s
from pyconsul.endpoints.declared import DeclaredMethods
from pyconsul.errors import LeadershipLost, NoLeader, NotSent, PyconsulError, Refused, Unreachable
from pyconsul.structs.kv import IndexedDirEntries, KeyRequest


class Transport:
    """An RpcTransport that notes calls and answers when told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, bytes, float]] = []
        self.answer: Deferred[bytes] = Deferred()
        self.handler: Any = None

    def abandon(self, address: str) -> None:
        pass

    def call(self, address: str, method: str, body: bytes, timeout_s: float) -> Deferred[bytes]:
        self.calls.append((address, method, body, timeout_s))
        return self.answer


class ForwarderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.transport = Transport()
        self.forwarder = Forwarder(self.transport, self.clock, Random(1), 7.0)

    def test_call(self) -> None:
        """A call sends the request struct and gives the reply struct."""
        method = DeclaredMethods()["KVS.Get"]
        answer = self.forwarder.call("127.0.0.2:8300", method, KeyRequest(key="a"))
        address, name, body, timeout_s = self.transport.calls[0]
        self.assertEqual((address, name, timeout_s), ("127.0.0.2:8300", "KVS.Get", 30.0))
        self.assertEqual(msgspec.msgpack.decode(body, type=KeyRequest).key, "a")
        self.transport.answer.callback(msgspec.msgpack.encode(IndexedDirEntries(index=5)))
        self.assertEqual(self.successResultOf(answer).index, 5)

    def test_blocking_calls_wait_longer(self) -> None:
        """The timeout of a blocking read covers its wait, its random extra and some grace."""
        method = DeclaredMethods()["KVS.Get"]
        request = KeyRequest(key="a", min_query_index=3, max_query_time=160_000_000_000)
        self.forwarder.call("x:1", method, request).addErrback(lambda f: None)
        self.assertEqual(self.transport.calls[0][3], 160 + 10 + 10)

    def test_blocking_time(self) -> None:
        """Absent or negative is the default, and no wait is above the maximum."""
        self.assertEqual(blocking_time_s(KeyRequest()), 300)
        self.assertEqual(blocking_time_s(KeyRequest(max_query_time=-1)), 300)
        self.assertEqual(blocking_time_s(KeyRequest(max_query_time=2_000_000_000)), 2)
        self.assertEqual(blocking_time_s(KeyRequest(max_query_time=10**13)), 600)

    def persist(self, outcomes: list[Any], is_read: bool = True) -> tuple[Deferred[Any], list[Any]]:
        left = list(outcomes)

        def attempt() -> Any:
            outcome = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(outcome, Exception):
                if isinstance(outcome, Unreachable):
                    failing: Deferred[Any] = Deferred()
                    failing.errback(outcome)
                    return failing
                raise outcome
            return outcome

        return self.forwarder.persist(attempt, is_read=is_read), left

    def test_first_answer(self) -> None:
        """An answer at once needs no clock."""
        answer, _ = self.persist(["yes"])
        self.assertEqual(self.successResultOf(answer), "yes")

    def test_until_there_is_a_leader(self) -> None:
        """Without a leader the request waits for one."""
        answer, _ = self.persist([NoLeader(), NoLeader(), "yes"], is_read=False)
        self.assertNoResult(answer)
        self.clock.pump([0.3] * 6)
        self.assertEqual(self.successResultOf(answer), "yes")

    def test_hurry(self) -> None:
        """Who pauses tries at once when there is a leader; the pause does not end a second time."""
        answer, _ = self.persist([NoLeader(), "yes"])
        self.forwarder.hurry()
        self.assertEqual(self.successResultOf(answer), "yes")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.forwarder.hurry()

    def test_gives_up(self) -> None:
        """After the hold time the last error is told."""
        answer, _ = self.persist([NoLeader()])
        self.clock.pump([0.25] * 27)
        self.assertNoResult(answer)
        self.clock.pump([0.25] * 6)
        self.failureResultOf(answer, NoLeader)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def waiting(self, wait_s: float) -> tuple[Deferred[Any], list[tuple[float, Deferred[Any]]]]:
        """A blocking read; its attempts, each with what it was to wait."""
        attempts: list[tuple[float, Deferred[Any]]] = []

        def attempt(request: KeyRequest) -> Deferred[Any]:
            attempts.append((request.max_query_time / 1e9, Deferred()))
            return attempts[-1][1]

        request = KeyRequest(key="a", min_query_index=3, max_query_time=int(wait_s * 1e9))
        return self.forwarder.persist_with(request, attempt, is_read=True), attempts

    def test_who_waits_goes_on_elsewhere(self) -> None:
        """A blocking read whose server fails after longer than the hold time waits on, for what is left."""
        answer, attempts = self.waiting(60)
        for _ in range(2):
            self.clock.advance(20)
            attempts[-1][1].errback(Unreachable("hangs"))
            self.assertNoResult(answer)
            self.clock.advance(1)
        self.assertEqual([round(wait_s) for wait_s, _ in attempts], [60, 39, 18])
        attempts[-1][1].callback("yes")
        self.assertEqual(self.successResultOf(answer), "yes")

    def test_the_end_of_a_wait(self) -> None:
        """If the server fails just when the wait is over, another one gives what there is."""
        answer, attempts = self.waiting(20)
        self.clock.advance(20.5)
        attempts[0][1].errback(Unreachable("hangs"))
        self.clock.advance(1)
        self.assertEqual(attempts[1][0], 1e-9)
        attempts[1][1].callback("yes")
        self.assertEqual(self.successResultOf(answer), "yes")

    def test_who_waits_is_told_in_the_end(self) -> None:
        """Where no server is left, the hold time begins when the last one failed."""
        answer, attempts = self.waiting(60)
        self.clock.advance(20)
        attempts[0][1].errback(Unreachable("hangs"))
        while len(attempts) < 30 and not answer.called:
            self.clock.advance(0.2)
            if not attempts[-1][1].called:
                attempts[-1][1].errback(NoLeader())
        self.failureResultOf(answer, NoLeader)
        self.assertLess(self.clock.seconds(), 28)
        answer, attempts = self.waiting(10)
        self.clock.advance(21)
        attempts[0][1].errback(Unreachable("hangs"))
        self.failureResultOf(answer, Unreachable)

    def test_a_write_that_may_have_been_made(self) -> None:
        """A write whose connection broke is never made twice; a read is."""
        write, _ = self.persist([Unreachable("broke"), "yes"], is_read=False)
        self.failureResultOf(write, Unreachable)
        read, _ = self.persist([Unreachable("broke"), "yes"], is_read=True)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(read), "yes")

    def test_a_write_that_was_not_sent(self) -> None:
        """A write that never left is safe to repeat."""
        write, _ = self.persist([NotSent("refused"), "yes"], is_read=False)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(write), "yes")

    def test_final_errors(self) -> None:
        """What trying again cannot mend is told at once."""
        for error in (Refused("no"), LeadershipLost(), PyconsulError("x")):
            answer, _ = self.persist([error, "yes"])
            self.failureResultOf(answer, type(error))

    def test_cancel(self) -> None:
        """Who gives up is not kept waiting for, neither between attempts nor in one."""
        answer, _ = self.persist([NoLeader()])
        answer.addErrback(lambda f: None)
        answer.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        cancelled: list[object] = []
        inner: Deferred[Any] = Deferred(cancelled.append)
        answer = self.forwarder.persist(lambda: inner, is_read=True)
        answer.addErrback(lambda f: None)
        answer.cancel()
        self.assertEqual(len(cancelled), 1)

    def test_bugs(self) -> None:
        """A bug in an attempt ends the wait, in the first as in a later one; so does one in the answer."""
        for error in (ZeroDivisionError("a bug"), AttributeError("another")):
            answer, _ = self.persist([error])
            self.failureResultOf(answer, type(error))
            answer, _ = self.persist([NoLeader(), error])
            self.clock.advance(1)
            self.failureResultOf(answer, type(error))
        failing: Deferred[Any] = Deferred()
        answer = self.forwarder.persist(lambda: failing, is_read=True)
        failing.errback(ZeroDivisionError("a bug"))
        self.failureResultOf(answer, ZeroDivisionError)

    def test_nonsense(self) -> None:
        """A reply that cannot be read is an error like others."""
        method = DeclaredMethods()["KVS.Get"]
        answer = self.forwarder.call("127.0.0.2:8300", method, KeyRequest(key="a"))
        self.transport.answer.callback(b"junk")
        failure = self.failureResultOf(answer, PyconsulError)
        self.assertIn("cannot decode the reply of KVS.Get: ", failure.getErrorMessage())

    def test_bound(self) -> None:
        """Only so many may wait for a leader; the rest is told at once."""
        self.patch(forwarding, "PAUSING_MAX", 2)
        waiting = [self.persist([NoLeader(), "yes"])[0] for _ in range(2)]
        answer, _ = self.persist([NoLeader(), "yes"])
        self.failureResultOf(answer, NoLeader)
        self.clock.advance(1)
        for answer in waiting:
            self.assertEqual(self.successResultOf(answer), "yes")
        self.assertEqual(self.forwarder.pausing, {})

    def test_stop(self) -> None:
        """Whoever pauses makes a last attempt; nobody pauses after that."""
        lucky, unlucky = self.persist([NoLeader(), "yes"])[0], self.persist([NoLeader()])[0]
        self.forwarder.stop()
        self.assertEqual(self.successResultOf(lucky), "yes")
        self.failureResultOf(unlucky, NoLeader)
        self.failureResultOf(self.persist([NoLeader(), "yes"])[0], NoLeader)
        self.assertEqual((self.forwarder.pausing, self.clock.getDelayedCalls()), ({}, []))

    def test_cancelled_by_another_that_hurries(self) -> None:
        """Of two that pause the first may send the second away."""
        first, second = self.persist([NoLeader(), "yes"])[0], self.persist([NoLeader(), "yes"])[0]
        second.addErrback(lambda failure: failure.trap(CancelledError) and None)
        first.addCallback(lambda answer: second.cancel())
        self.forwarder.hurry()
        self.assertIsNone(self.successResultOf(second))
        self.assertEqual((self.forwarder.pausing, self.clock.getDelayedCalls()), ({}, []))

    def test_configured_times(self) -> None:
        """The longest wait of a blocking read is a setting, and its calls wait as long."""
        forwarder = Forwarder(self.transport, self.clock, Random(1), 7.0, (16.0, 1600.0))
        method = DeclaredMethods()["KVS.Get"]
        for asked_s, timeout_s in ((0, 16 + 1 + 10), (1600, 1600 + 100 + 10), (5000, 1600 + 100 + 10)):
            request = KeyRequest(key="a", min_query_index=3, max_query_time=asked_s * 10**9)
            forwarder.call("x:1", method, request)
            self.assertEqual(self.transport.calls[-1][3], timeout_s)
