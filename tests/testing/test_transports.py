from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import NoLeader, NotSent, PyconsulError, Refused, Unreachable
from pyconsul.raft.messages import AppendEntries, Entry, Message, TimeoutNow
from pyconsul.testing.clock import NodeClock, SimClock
from pyconsul.testing.network import CALM, Conditions, SimNetwork, Stack
from pyconsul.testing.transports import GossipSocket, RaftSocket, RpcSocket

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"


class NetworkTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = SimClock()
        self.network = SimNetwork(self.clock, Random(1))

    def stack(self, ip: str) -> Stack:
        return self.network.plug(ip, NodeClock(self.clock))

    def run_for(self, seconds: float) -> None:
        self.clock.run_until(self.clock.now + seconds)

    def end(self, stack: Stack) -> None:
        stack.clock.kill()
        self.network.unplug(stack)


class FaultTests(NetworkTestCase):
    def test_cut_and_heal(self) -> None:
        """Cuts have a direction; healing undoes all of them, and special links."""
        self.network.cut(A, B, both=False)
        self.assertTrue(self.network.is_cut(A, B))
        self.assertFalse(self.network.is_cut(B, A))
        self.network.cut(A, C)
        self.assertTrue(self.network.is_cut(C, A))
        self.network.links[A, B] = Conditions(loss=1.0)
        self.assertEqual(self.network.on(A, B).loss, 1.0)
        self.assertEqual(self.network.on(B, A), CALM)
        self.network.heal()
        self.assertFalse(self.network.is_cut(A, B))
        self.assertEqual(self.network.on(A, B), CALM)

    def test_partition(self) -> None:
        """Only what crosses the line is cut."""
        self.network.partition([A, B], [C])
        self.assertEqual(self.network.cuts, {(A, C), (C, A), (B, C), (C, B)})

    def test_delays(self) -> None:
        """Delays stay within their conditions; losses on a connection cost retransmissions."""
        conditions = Conditions(delay_s=0.1, jitter_s=0.1, tail=1.0, tail_s=0.5)
        delays = [self.network.delay(conditions) for _ in range(200)]
        self.assertTrue(0.1 <= min(delays) < 0.3 < 0.5 < max(delays) <= 0.7)
        self.assertLess(self.network.resent_delay(CALM), 0.1)
        self.assertGreater(self.network.resent_delay(Conditions(loss=1.0)), 5.0)


class RaftSocketTests(NetworkTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.stacks = {ip: self.stack(ip) for ip in (A, B)}
        self.a = RaftSocket(self.stacks[A], "a")
        self.b = RaftSocket(self.stacks[B], "b")
        self.received: list[tuple[str, Message]] = []
        self.broken: list[str] = []
        self.b.received = lambda sender, message: self.received.append((sender, message))
        self.a.unreachable = self.broken.append

    def send(self, count: int = 1) -> None:
        for term in range(count):
            self.a.send("b", "10.0.0.2:8300", TimeoutNow(term))

    def terms(self) -> list[int]:
        return [message.term for _, message in self.received]

    def test_in_order(self) -> None:
        """Messages arrive once, in order, with their sender."""
        self.send(50)
        self.assertEqual(self.received, [])
        self.run_for(1.0)
        self.assertEqual(self.terms(), list(range(50)))
        self.assertEqual(self.received[0], ("a", TimeoutNow(0)))
        self.assertEqual(self.broken, [])

    def test_codec_check(self) -> None:
        """With the check on, messages are compared with what a decoder makes of them."""
        self.network.check_codec = True
        message = AppendEntries(3, 1, 2, 1, [Entry(2, 2, 0, b"x")])
        self.a.send("b", "10.0.0.2:8300", message)
        self.run_for(1.0)
        self.assertEqual(self.received, [("a", message)])

    def test_loss(self) -> None:
        """Some are lost, and sometimes the sender learns of it."""
        self.network.conditions = Conditions(loss=0.5)
        for _ in range(40):
            self.send()
            self.run_for(0.2)
        self.assertTrue(5 < len(self.received) < 35)
        self.assertEqual(self.network.lost, 40 - len(self.received))
        self.assertTrue(1 < len(self.broken) < self.network.lost)

    def test_duplicates(self) -> None:
        """Some come twice."""
        self.network.conditions = Conditions(duplicate=1.0)
        self.send(10)
        self.run_for(1.0)
        self.assertEqual(sorted(self.terms()), sorted([*range(10)] * 2))

    def test_reorder(self) -> None:
        """Some overtake others."""
        self.network.conditions = Conditions(reorder=0.5)
        self.send(50)
        self.run_for(1.0)
        self.assertEqual(sorted(self.terms()), [*range(50)])
        self.assertNotEqual(self.terms(), [*range(50)])

    def test_cut(self) -> None:
        """A cut swallows messages; the sender is told, once for all of them."""
        self.network.cut(A, B, both=False)
        self.send(5)
        self.run_for(1.0)
        self.assertEqual((self.received, self.broken), ([], ["b"]))
        self.network.heal()
        self.send()
        self.run_for(1.0)
        self.assertEqual(len(self.received), 1)

    def test_nobody_there(self) -> None:
        """A port without a process, or with one that has another id, is unreachable."""
        self.a.send("x", "10.0.0.9:8300", TimeoutNow(1))
        self.a.send("y", "10.0.0.2:8300", TimeoutNow(1))
        self.run_for(1.0)
        self.assertEqual(sorted(self.broken), ["x", "y"])
        self.assertEqual(self.received, [])

    def test_pause(self) -> None:
        """A paused process gets its messages when it goes on."""
        self.stacks[B].clock.pause()
        self.send(3)
        self.run_for(5.0)
        self.assertEqual(self.received, [])
        self.stacks[B].clock.resume()
        self.run_for(0.1)
        self.assertEqual(self.terms(), [0, 1, 2])

    def test_crash(self) -> None:
        """What was on its way to a dead process is lost, and who sent it learns so; a successor is new."""
        self.send()
        self.end(self.stacks[B])
        self.run_for(1.0)
        self.assertEqual((self.received, self.broken), ([], ["b"]))
        again = RaftSocket(self.stack(B), "b")
        again.received = self.b.received
        self.send()
        self.run_for(1.0)
        self.assertEqual(len(self.received), 1)
        self.end(self.stacks[B])  # the dead one does not unplug its successor
        self.send()
        self.run_for(1.0)
        self.assertEqual(len(self.received), 2)


class RpcSocketTests(NetworkTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.stacks = {ip: self.stack(ip) for ip in (A, B)}
        self.a = RpcSocket(self.stacks[A])
        self.b = RpcSocket(self.stacks[B])
        self.served: list[tuple[str, bytes]] = []
        self.waiting: Deferred[bytes] = Deferred()
        self.b.handler = self.serve

    def serve(self, method: str, body: bytes) -> Any:
        self.served.append((method, body))
        if method == "Refuse":
            raise Refused("no")
        if method == "Bug":
            raise ZeroDivisionError
        if method == "Wait":
            return self.waiting
        return body.upper()

    def call(self, method: str = "Up", timeout_s: float = 10.0, to: str = "10.0.0.2:8300") -> Deferred[bytes]:
        return self.a.call(to, method, b"body", timeout_s)

    def test_answer(self) -> None:
        """A call takes time there and back."""
        deferred = self.call()
        self.assertNoResult(deferred)
        self.run_for(1.0)
        self.assertEqual(self.successResultOf(deferred), b"BODY")
        self.assertEqual(self.served, [("Up", b"body")])
        self.assertEqual(self.clock.pending(), [])
        self.assertEqual((self.a.outbound, self.b.inbound), ({}, {}))

    def test_late_answer(self) -> None:
        """A handler may take its time."""
        deferred = self.call("Wait")
        self.run_for(5.0)
        self.assertNoResult(deferred)
        self.waiting.callback(b"late")
        self.run_for(1.0)
        self.assertEqual(self.successResultOf(deferred), b"late")

    def test_errors(self) -> None:
        """The peer's error comes as what it was, with its text."""
        deferred = self.call("Refuse")
        waiting = self.call("Wait")
        self.run_for(1.0)
        self.assertEqual(str(self.failureResultOf(deferred, Refused).value), "no")
        self.waiting.errback(NoLeader())
        self.run_for(1.0)
        self.failureResultOf(waiting, NoLeader)

    def test_bugs(self) -> None:
        """What is no expected error is kept for the world to raise."""
        deferred = self.call("Bug")
        waiting = self.call("Wait")
        self.run_for(1.0)
        self.failureResultOf(deferred, PyconsulError)
        self.waiting.errback(KeyError("bug"))
        self.run_for(1.0)
        self.failureResultOf(waiting, PyconsulError)
        self.assertEqual([type(bug) for bug in self.network.bugs], [ZeroDivisionError, KeyError])

    def test_serves_nothing(self) -> None:
        """A process without a handler refuses."""
        deferred = self.b.call("10.0.0.1:8300", "Up", b"", 1.0)
        self.run_for(1.0)
        self.assertIn("can't find service Up", str(self.failureResultOf(deferred, Refused).value))

    def test_timeout(self) -> None:
        """The caller waits so long, and an answer that comes later is dropped."""
        deferred = self.call("Wait", timeout_s=2.0)
        self.run_for(1.9)
        self.assertNoResult(deferred)
        self.run_for(0.2)
        self.failureResultOf(deferred, Unreachable)
        self.waiting.callback(b"late")
        self.run_for(1.0)

    def test_nobody_there(self) -> None:
        """A closed port is known not to have got the call."""
        deferred = self.call(to="10.0.0.9:8300")
        self.run_for(1.0)
        self.failureResultOf(deferred, NotSent)

    def test_nobody_there_and_cancelled(self) -> None:
        """A call that is refused may be given up before."""
        deferred = self.call(to="10.0.0.9:8300")
        deferred.cancel()
        self.failureResultOf(deferred, CancelledError)
        self.run_for(1.0)

    def test_cut_before(self) -> None:
        """A cut swallows the call: sometimes that is known, sometimes not; always soon."""
        self.network.cut(A, B)
        deferreds = [self.call() for _ in range(40)]
        self.run_for(6.0)
        kinds = {self.failureResultOf(deferred, Unreachable).type for deferred in deferreds}
        self.assertEqual(kinds, {NotSent, Unreachable})
        self.assertEqual((self.served, self.a.outbound), ([], {}))

    def test_cut_on_the_way_back(self) -> None:
        """The call was made, but nobody learns of it."""
        self.network.cut(B, A, both=False)
        deferred = self.call()
        self.run_for(6.0)
        self.assertNotIsInstance(self.failureResultOf(deferred, Unreachable).value, NotSent)
        self.assertEqual(len(self.served), 1)

    def test_server_dies(self) -> None:
        """Whether it did the work before it died cannot be known."""
        on_its_way = self.call()
        self.end(self.stacks[B])
        self.run_for(1.0)
        self.assertNotIsInstance(self.failureResultOf(on_its_way, Unreachable).value, NotSent)
        self.assertEqual(self.served, [])

    def test_server_dies_at_work(self) -> None:
        """The same when the call was being served; what is cleaned up later goes nowhere."""
        deferred = self.call("Wait")
        self.run_for(1.0)
        self.end(self.stacks[B])
        self.run_for(1.0)
        self.failureResultOf(deferred, Unreachable)
        self.waiting.errback(KeyError("torn down"))
        self.run_for(1.0)
        self.assertEqual(self.network.bugs, [])

    def test_server_dies_behind_a_cut(self) -> None:
        """Nobody tells the caller; its own timeout does, or the keepalive."""
        deferred = self.call("Wait", timeout_s=5.0)
        self.run_for(1.0)
        self.network.cut(A, B)
        self.end(self.stacks[B])
        self.run_for(3.0)
        self.assertNoResult(deferred)
        self.run_for(3.0)
        self.failureResultOf(deferred, Unreachable)

    def test_caller_dies(self) -> None:
        """The server learns that nobody waits, and the answer goes nowhere."""
        deferred = self.call("Wait")
        self.run_for(1.0)
        self.end(self.stacks[A])
        self.run_for(1.0)
        self.assertTrue(self.waiting.called)
        self.assertNoResult(deferred)
        self.assertEqual((self.network.bugs, self.b.inbound), ([], {}))

    def test_caller_dies_before_it_is_served(self) -> None:
        """The call is made all the same."""
        self.call()
        self.end(self.stacks[A])
        self.run_for(1.0)
        self.assertEqual(len(self.served), 1)

    def test_cancel(self) -> None:
        """The caller may give up."""
        deferred = self.call("Wait")
        self.run_for(1.0)
        deferred.cancel()
        self.failureResultOf(deferred, CancelledError)
        self.waiting.callback(b"late")
        self.run_for(1.0)
        self.assertEqual(self.a.outbound, {})

    def test_paused_server(self) -> None:
        """It answers when it goes on, if somebody still waits."""
        self.stacks[B].clock.pause()
        patient, impatient = self.call(timeout_s=10.0), self.call(timeout_s=1.0)
        self.run_for(5.0)
        self.failureResultOf(impatient, Unreachable)
        self.stacks[B].clock.resume()
        self.run_for(1.0)
        self.assertEqual(self.successResultOf(patient), b"BODY")
        self.assertEqual(len(self.served), 2)


class GossipSocketTests(NetworkTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.stacks = {ip: self.stack(ip) for ip in (A, B)}
        self.a = GossipSocket(self.stacks[A])
        self.b = GossipSocket(self.stacks[B])
        self.received: list[tuple[bytes, Any]] = []
        self.b.packet_received = lambda packet, source: self.received.append((packet, source))
        self.b.stream_received = self.answer

    def answer(self, request: bytes, source: object) -> bytes:
        self.received.append((request, source))
        return b"answer"

    def test_packets(self) -> None:
        """Packets arrive with the address they came from, or not at all."""
        self.a.send(b"x", (B, 8301))
        self.a.send(b"x", (C, 8301))
        self.run_for(1.0)
        self.assertEqual(self.received, [(b"x", (A, 8301))])
        self.network.cut(A, B)
        self.a.send(b"x", (B, 8301))
        self.run_for(1.0)
        self.assertEqual((len(self.received), self.network.lost), (1, 2))

    def test_loss_and_duplicates(self) -> None:
        """Some are lost, some come twice."""
        self.network.conditions = Conditions(loss=0.3)
        for _ in range(50):
            self.a.send(b"x", (B, 8301))
        self.run_for(1.0)
        self.assertTrue(20 < len(self.received) < 50)
        self.network.conditions = Conditions(duplicate=1.0)
        self.received.clear()
        self.a.send(b"y", (B, 8301))
        self.run_for(1.0)
        self.assertEqual(len(self.received), 2)

    def test_exchange(self) -> None:
        """A stream request is answered; without an expected answer it is only delivered."""
        asked = self.a.exchange(b"push", (B, 8301), 5.0, True)
        told = self.a.exchange(b"user", (B, 8301), 5.0, False)
        self.run_for(1.0)
        self.assertEqual(self.successResultOf(asked), b"answer")
        self.assertEqual(self.successResultOf(told), b"")
        self.assertEqual({request for request, _ in self.received}, {b"push", b"user"})

    def test_no_answer(self) -> None:
        """A stream that is closed without an answer is an error, as is one that nobody takes."""
        self.b.stream_received = lambda request, source: None
        asked = self.a.exchange(b"push", (B, 8301), 5.0, True)
        nobody = self.a.exchange(b"push", (C, 8301), 5.0, True)
        self.run_for(1.0)
        self.failureResultOf(asked, Unreachable)
        self.failureResultOf(nobody, NotSent)

    def test_closed(self) -> None:
        """A dead process hears nothing."""
        self.end(self.stacks[B])
        self.a.send(b"x", (B, 8301))
        asked = self.a.exchange(b"push", (B, 8301), 5.0, True)
        self.run_for(1.0)
        self.failureResultOf(asked, NotSent)
        self.assertEqual(self.received, [])
        self.assertFalse(self.stacks[B].alive)
