"""Writes that are passed on: many in one call, each with its own outcome, none made twice."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent import batching as module
from pyconsul.agent.batching import Batches, PassedWrites
from pyconsul.agent.client import ClientAgent
from pyconsul.agent.forwarding import Forwarder, encode
from pyconsul.agent.server import ServerAgent
from pyconsul.endpoints.base import Method
from pyconsul.endpoints.declared import DeclaredMethods
from pyconsul.errors import LeadershipLost, NoLeader, NotSent, PyconsulError, Refused, Unreachable
from pyconsul.interfaces import LATER, Waiter
from pyconsul.structs.batch import BatchReply, BatchRequest
from pyconsul.structs.catalog import RegisterRequest
from pyconsul.structs.session import Session, SessionRequest
from tests.agent.fixture import NotingRpc, get, noted, put
from tests.agent.world import World

KVS = DeclaredMethods()["KVS.Apply"]


class BatchesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.rpc = NotingRpc()
        self.requests: list[BatchRequest] = []
        call = self.rpc.call

        def noting(address: str, method: str, body: bytes, timeout_s: float) -> Deferred[bytes]:
            self.assertEqual(method, "Batch.Apply")
            self.requests.append(msgspec.msgpack.decode(body, type=BatchRequest))
            return call(address, method, body, timeout_s)

        self.rpc.call = noting  # type: ignore[method-assign]
        self.address = "192.0.2.1:8300"
        self.failed: list[str] = []
        self.again: list[Any] = []
        forwarder = Forwarder(self.rpc, self.clock, Random(1), 7.0)
        self.batches = Batches(forwarder, lambda: self.address, self.make, self.failed.append, hops=1)

    def make(self, method: Method, request: Any) -> Deferred[Any]:
        """The usual way."""
        self.assertIs(method, KVS)
        self.again.append(request.dir_ent.key)
        return fail(Refused("the usual way"))

    def submit(self, key: str = "k", value: bytes = b"v") -> Deferred[Any]:
        waiter: Deferred[Any] = Deferred()
        self.batches.submit(KVS, put(key, value), waiter)
        return waiter

    def turn(self) -> None:
        self.clock.advance(0)

    def answer(self, *outcomes: bytes | tuple[str, str]) -> None:
        self.rpc.calls.pop(0)[2].callback(encode(BatchReply(outcomes=list(outcomes))))

    def test_one_call_a_turn(self) -> None:
        first, second = self.submit("a"), self.submit("b")
        self.assertEqual(self.requests, [])
        self.turn()
        (request,) = self.requests
        self.assertEqual((request.hops, [name for name, _ in request.writes]), (1, ["KVS.Apply"] * 2))
        keys = [msgspec.msgpack.decode(body, type=KVS.request).dir_ent.key for _, body in request.writes]  # type: ignore[attr-defined]
        self.assertEqual(keys, ["a", "b"])
        self.answer(encode(True), encode(False))
        self.assertIs(self.successResultOf(first), True)
        self.assertIs(self.successResultOf(second), False)
        self.submit()
        self.turn()
        self.assertEqual(len(self.requests), 2)

    def test_bounds(self) -> None:
        """A call has so many writes and so many bytes; one write alone may be larger."""
        self.patch(module, "WRITES_MAX", 3)
        self.patch(module, "BYTES_MAX", 2_000)
        for size in (1, 1, 1, 1, 9_000, 700, 700, 700, 1):
            self.submit(value=b"v" * size)
        self.turn()
        self.assertEqual([len(request.writes) for request in self.requests], [3, 1, 1, 2, 2])

    def test_errors(self) -> None:
        """Each write has its own; those about which nothing was done are made in the usual way."""
        waiting = [self.submit(key) for key in "abcde"]
        self.turn()
        self.answer(
            ("REFUSED", "no"), encode(True), (NoLeader.code, "who?"), (LeadershipLost.code, "lost"), b"\xc1"
        )
        errors = [None if n == 1 else self.failureResultOf(one).value for n, one in enumerate(waiting)]
        self.assertIs(self.successResultOf(waiting[1]), True)
        self.assertEqual(str(errors[0]), "rpc error making call: no")
        self.assertEqual((str(errors[2]), self.again), ("the usual way", ["c"]))
        self.assertIsInstance(errors[3], LeadershipLost)
        self.assertIn("cannot decode the reply of KVS.Apply", str(errors[4]))
        self.assertEqual(self.failed, [])

    def test_too_short(self) -> None:
        """A write of which nothing is said may have been made."""
        first, second = self.submit("a"), self.submit("b")
        self.turn()
        self.answer(encode(True))
        self.assertIs(self.successResultOf(first), True)
        self.failureResultOf(second, PyconsulError)
        self.assertEqual(self.again, [])

    def test_no_answer(self) -> None:
        """Only what was certainly not sent, or refused for want of a leader, is made again."""
        for error, again, failed in (
            (NotSent("x"), ["k"], 1),
            (NoLeader(), ["k"], 0),
            (Unreachable("x"), [], 1),
            (Refused("x"), [], 0),
        ):
            self.again.clear()
            self.failed.clear()
            waiter = self.submit()
            self.turn()
            self.rpc.calls.pop(0)[2].errback(error)
            self.failureResultOf(waiter, Refused if again else type(error))
            self.assertEqual((self.again, self.failed), (again, [self.address] * failed))

    def test_nowhere(self) -> None:
        """When nobody can be asked at the end of the turn."""
        waiter = self.submit()
        self.address = ""
        self.turn()
        self.failureResultOf(waiter, Refused)
        self.assertEqual((self.again, self.requests), (["k"], []))


class PassedWritesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.waiters: list[Waiter] = []
        self.replies: dict[str, Any] = {"now": True, "later": LATER}
        self.passed = PassedWrites(self.begin)

    def begin(self, name: str, body: bytes, waiter: Waiter, hops: int) -> Any:
        self.assertEqual((body, hops), (b"x", 1))
        reply = self.replies[name]
        if reply is LATER:
            self.waiters.append(waiter)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def apply(self, *names: str) -> Any:
        found = self.passed.apply(BatchRequest(writes=[(name, b"x") for name in names], hops=1))
        return found if isinstance(found, Deferred) else found.outcomes

    def test_at_once(self) -> None:
        self.replies["refused"] = Refused("no")
        self.assertEqual(self.apply("now", "refused"), [encode(True), (Refused.code, "no")])
        self.assertEqual(self.apply(), [])

    def test_later(self) -> None:
        """One reply for all, in their order, when the last is known."""
        slow: Deferred[Any] = Deferred()
        self.replies["slow"] = slow
        waiting = self.apply("later", "now", "slow", "later")
        first, second = self.waiters
        second.callback(False)
        slow.errback(NoLeader("none"))
        self.assertNoResult(waiting)
        first.errback(LeadershipLost("lost"))
        expected = [(LeadershipLost.code, "lost"), encode(True), (NoLeader.code, "none"), encode(False)]
        self.assertEqual(self.successResultOf(waiting).outcomes, expected)

    def test_a_bug(self) -> None:
        """It is logged, and does not keep the others from their outcomes."""
        self.replies["bug"] = ValueError("a bug")
        outcomes = self.apply("bug", "now")
        self.assertEqual(outcomes, [(PyconsulError.code, "internal error"), encode(True)])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_nobody_waits_any_more(self) -> None:
        """The connection is gone: what becomes of the writes is told to nobody."""
        waiting = self.apply("later")
        waiting.addErrback(lambda failure: None)
        waiting.cancel()
        self.waiters[0].callback(True)

    def test_bounded(self) -> None:
        self.patch(module, "WRITES_MAX", 2)
        self.assertEqual(len(self.apply("now", "now", "now")), 2)


class WholeTests(SynchronousTestCase):
    """Three servers and a client agent."""

    def setUp(self) -> None:
        self.world = World()
        self.addCleanup(self.world.stop)
        self.leader, self.follower, self.other = self.world.cluster()
        self.client = self.world.client(9, retry_join=("10.0.0.1",))
        self.client.startService()
        self.world.until(lambda: self.client._choice.current() is not None)
        self.calls: list[tuple[str, str]] = []
        for server in (self.leader, self.follower, self.other):
            self.note(server)

    def note(self, server: ServerAgent) -> None:
        transport = server.environment.rpc_transport
        handler = transport.handler

        def noting(method: str, body: bytes) -> Any:
            if method != "HTTP.Read":
                self.calls.append((server.node_name, method))
            return handler(method, body)

        transport.handler = noting

    def ask(self, agent: ServerAgent | ClientAgent, method: str, request: Any) -> list[Any]:
        """What the waiter is told."""
        waiter: Deferred[Any] = Deferred()
        self.assertIs(agent.ask(method, request, waiter=waiter), LATER)
        return noted(waiter)

    def all_told(self, waiting: list[list[Any]]) -> None:
        self.world.until(lambda: all(waiting))

    def value(self, key: str) -> Any:
        row = self.leader.store.kv.row(key)
        return None if row is None else row.value

    def test_writes(self) -> None:
        """Of all kinds, through any agent, in one call each way."""
        for agent in (self.follower, self.client):
            self.calls.clear()
            value = agent.node_name.encode()
            results = [self.ask(agent, "KVS.Apply", put(f"k{n}", value)) for n in range(20)]
            node = RegisterRequest(node="n9", address="192.0.2.9")
            results.append(self.ask(agent, "Catalog.Register", node))
            session = SessionRequest(op="create", session=Session(node=self.leader.node_name))
            results.append(self.ask(agent, "Session.Apply", session))
            self.all_told(results)
            self.assertEqual([result[0] for result in results[:20]], [True] * 20)
            self.assertEqual(self.value("k19"), value)
            self.assertIsNotNone(self.leader.store.sessions.get(results[-1][0])[1])
            self.assertEqual(self.calls.count((self.leader.node_name, "Batch.Apply")), 1)
            self.assertLessEqual(len([call for call in self.calls if call[1] == "Batch.Apply"]), 2)

    def test_refused(self) -> None:
        """An error of one is that of no other; Consul's words in front tell how far it came."""
        bad = msgspec.structs.replace(put("a"), op="nonsense")
        for agent in (self.follower, self.client):
            wrong, right = self.ask(agent, "KVS.Apply", bad), self.ask(agent, "KVS.Apply", put("a"))
            self.all_told([wrong, right])
            self.assertTrue(str(wrong[0]).startswith("rpc error making call: "), wrong)
            self.assertIs(right[0], True)

    def test_the_leader_dies(self) -> None:
        """What has come to nobody is made at the next leader; what may have been made is not made again."""
        self.world.kill(self.leader)
        waiting = [self.ask(self.follower, "KVS.Apply", put("a", b"new")) for _ in range(3)]
        self.all_told(waiting)
        self.world.until(lambda: self.world.leader)
        again = noted(self.follower.ask("KVS.Apply", put("b", b"new")))
        self.world.until(lambda: again)
        self.assertIs(again[0], True)

    def test_not_to_be_passed_on(self) -> None:
        """Reads, what nobody knows, and what is for another datacenter."""
        for method, request in (
            ("KVS.Get", get("a")),
            ("KVS.Nonsense", put("a")),
            ("KVS.Apply", msgspec.structs.replace(put("a"), datacenter="dc9")),
        ):
            with self.assertRaises(Refused):
                self.leader._begin_passed(method, encode(request), Deferred(), 0)

    def test_hops(self) -> None:
        """What was passed on before is not passed on again: two servers might do so for ever."""
        body = encode(put("a"))
        self.assertIs(self.follower._begin_passed("KVS.Apply", body, Deferred(), 0), LATER)
        with self.assertRaises(NoLeader):
            self.follower._begin_passed("KVS.Apply", body, Deferred(), 1)
