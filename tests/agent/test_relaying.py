"""Reads that are passed on as they came: many in one call, and in the usual way where that is not to be."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent import relaying as module
from pyconsul.agent.client import ClientAgent
from pyconsul.agent.forwarding import Forwarder
from pyconsul.agent.relaying import RelayedReads, Relaying
from pyconsul.agent.server import ServerAgent
from pyconsul.errors import Refused, Unreachable
from pyconsul.http.answer import Answer, text
from pyconsul.http.app import make_surface
from pyconsul.http.facts import Facts
from pyconsul.http.settings import HttpSettings
from pyconsul.http.surface import Surface
from pyconsul.structs.kv import DirEntry, KVSRequest
from pyconsul.structs.relay import Relayed, RelayReply, RelayRequest
from tests.agent.fixture import NotingRpc, put
from tests.agent.world import World
from tests.http.fakes import FakeAgent

FACTS = Facts([(b"Host", b"agent")])


def relayed(body: bytes) -> Relayed:
    return Relayed(body, b"application/json", 7, True, 0, "", ())


class RelayingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.rpc = NotingRpc()
        self.bodies: list[bytes] = []
        call = self.rpc.call

        def noting(address: str, method: str, body: bytes, timeout_s: float) -> Deferred[bytes]:
            self.bodies.append(body)
            return call(address, method, body, timeout_s)

        self.rpc.call = noting  # type: ignore[method-assign]
        self.address = "192.0.2.1:8300"
        self.failed: list[str] = []
        forwarder = Forwarder(self.rpc, self.clock, Random(1), 7.0)
        self.relaying = Relaying(forwarder, lambda: self.address, self.failed.append)

    def relay(self, target: bytes) -> Deferred[Relayed | None]:
        found = self.relaying.relay(target)
        assert found is not None
        return found[1]

    def asked(self) -> RelayRequest:
        return msgspec.msgpack.decode(self.bodies[-1], type=RelayRequest)

    def answer(self, *answers: Relayed | None) -> None:
        reply = msgspec.msgpack.encode(RelayReply(answers=list(answers)))
        self.rpc.calls.pop(0)[2].callback(reply)

    def test_one_call_a_turn(self) -> None:
        first, second = self.relay(b"/a"), self.relay(b"/b")
        self.assertEqual(self.rpc.calls, [])
        self.clock.advance(0)
        ((address, method, _),) = self.rpc.calls
        self.assertEqual((address, method), (self.address, "HTTP.Read"))
        self.assertEqual(self.asked(), RelayRequest(targets=[b"/a", b"/b"]))
        self.answer(relayed(b"1"), None)
        self.assertEqual(self.successResultOf(first), relayed(b"1"))
        self.assertIsNone(self.successResultOf(second))

    def test_joining(self) -> None:
        """Whoever asks for the same before it is sent may have the same answer, later no more."""
        found = self.relaying.relay(b"/a")
        assert found is not None
        self.assertTrue(found[0].takes(0.0))
        self.assertIsNone(self.relaying.relay(b"/a"))
        self.clock.advance(0)
        self.assertFalse(found[0].takes(0.0))
        self.relay(b"/a")

    def test_full(self) -> None:
        """A batch is bounded: what is above begins another."""
        self.patch(module, "TARGETS_MAX", 2)
        for target in (b"/a", b"/b", b"/c"):
            self.relay(target)
        self.assertEqual(self.asked().targets, [b"/a", b"/b"])
        self.clock.advance(0)
        self.assertEqual((len(self.rpc.calls), self.asked().targets), (2, [b"/c"]))

    def test_nowhere(self) -> None:
        """Without a server, or when it has gone before the end of the turn."""
        first = self.relay(b"/a")
        self.address = ""
        self.clock.advance(0)
        self.assertIsNone(self.successResultOf(first))
        self.assertIsNone(self.relaying.relay(b"/a"))
        self.assertEqual((self.rpc.calls, self.failed), ([], []))

    def test_failure(self) -> None:
        """All are asked in the usual way then, of another server."""
        waiting = [self.relay(b"/a"), self.relay(b"/b")]
        self.clock.advance(0)
        self.rpc.calls.pop()[2].errback(Unreachable("gone"))
        self.assertEqual([self.successResultOf(one) for one in waiting], [None, None])
        self.assertEqual(self.failed, [self.address])

    def test_refused(self) -> None:
        """By a server that cannot do this: it is as good as before for everything else."""
        waiting = self.relay(b"/a")
        self.clock.advance(0)
        self.rpc.calls.pop()[2].errback(Refused("rpc: can't find service HTTP.Read"))
        self.assertIsNone(self.successResultOf(waiting))
        self.assertEqual(self.failed, [])

    def test_nonsense(self) -> None:
        """A reply that cannot be read, or is too short, is none."""
        first = self.relay(b"/a")
        self.clock.advance(0)
        self.rpc.calls.pop()[2].callback(b"\xc1")
        self.assertIsNone(self.successResultOf(first))
        waiting = [self.relay(b"/a"), self.relay(b"/b")]
        self.clock.advance(0)
        self.answer(relayed(b"1"))
        self.assertEqual([self.successResultOf(one) for one in waiting], [relayed(b"1"), None])

    def test_cancelled(self) -> None:
        """Whoever has gone misses his answer, the others get theirs."""
        first, second = self.relay(b"/a"), self.relay(b"/b")
        first.addErrback(lambda _: None)
        self.clock.advance(0)
        first.cancel()
        self.answer(relayed(b"1"), relayed(b"2"))
        self.assertEqual(self.successResultOf(second), relayed(b"2"))


class FakeSurface:
    """Answers from a dict."""

    def __init__(self, answers: dict[bytes, Any]) -> None:
        self.answers = answers

    def get(self, target: bytes, facts: Facts) -> Any:
        return self.answers[target]


class RelayedReadsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.made = 0
        self.later: Deferred[Any] = Deferred()
        self.surface = FakeSurface(
            {
                b"/a": Answer(b"a", index=7, known_leader=True, headers=((b"X-Odd", b"1"),)),
                b"/large": Answer(bytes(100), index=7),
                b"/text": text(500, "no"),
                b"/missing": Answer(status=404, index=7),
                b"/plain": Answer(b"x"),
                b"/later": self.later,
            }
        )
        self.agent = FakeAgent()
        self.reads = RelayedReads(self.agent, self.make)

    def make(self, agent: Any) -> Any:
        self.made += 1
        self.assertIs(agent, self.agent)
        return self.surface

    def read(self, *targets: bytes) -> Any:
        reply = self.reads.read(RelayRequest(targets=list(targets)))
        return reply if isinstance(reply, Deferred) else reply.answers

    def test_plain(self) -> None:
        """An answer goes with all that is told of it, any other than a usual one does not."""
        answers = self.read(b"/a", b"/text", b"/missing", b"/plain")
        told = Relayed(b"a", b"application/json", 7, True, 0, "", ((b"X-Odd", b"1"),))
        self.assertEqual(answers, [told, None, None, None])
        self.read(b"/a")
        self.assertEqual(self.made, 1)

    def test_later(self) -> None:
        """The reply waits for all."""
        waiting = self.read(b"/a", b"/later")
        self.assertNoResult(waiting)
        self.later.callback(Answer(b"b", index=8))
        self.assertEqual([answer.body for answer in self.successResultOf(waiting).answers], [b"a", b"b"])

    def test_bounds(self) -> None:
        """So many targets, and so many bytes."""
        self.patch(module, "REPLY_BYTES_MAX", 150)
        answers = self.read(b"/large", b"/large", b"/a")
        self.assertEqual([answer is None for answer in answers], [False, True, True])
        self.patch(module, "TARGETS_MAX", 2)
        self.assertEqual(len(self.read(b"/a", b"/a", b"/a")), 2)


class WholeTests(SynchronousTestCase):
    """Three servers and a client agent, as their HTTP interfaces answer."""

    def setUp(self) -> None:
        self.world = World()
        self.addCleanup(self.world.stop)
        self.leader, self.follower, _ = self.servers = self.world.cluster()
        self.client = self.world.client(9, retry_join=("10.0.0.1",))
        self.client.startService()
        self.world.until(lambda: self.client._choice.current() is not None)
        self.served: list[tuple[str, str]] = []
        for server in self.servers:
            self.note(server)
        self.surfaces = {agent.node_name: self.surface(agent) for agent in self.world.agents}
        self.write("a", b"1")

    def note(self, server: ServerAgent) -> None:
        transport = server.environment.rpc_transport
        handler = transport.handler

        def noting(method: str, body: bytes) -> Any:
            self.served.append((server.node_name, method))
            return handler(method, body)

        transport.handler = noting

    def surface(self, agent: ServerAgent | ClientAgent) -> Surface:
        return make_surface(agent, HttpSettings(), Clock(), lambda: 1.0)

    def write(self, key: str, value: bytes) -> None:
        done = self.leader.ask("KVS.Apply", put(key, value))
        self.world.until(lambda: done.called)

    def get(self, agent: ServerAgent | ClientAgent, target: str) -> Answer:
        found = self.surfaces[agent.node_name].get(target.encode(), FACTS)
        if not isinstance(found, Deferred):
            return found
        answers: list[Answer] = []
        found.addCallback(answers.append)
        self.world.until(lambda: answers)
        return answers[0]

    def methods(self) -> set[str]:
        served, self.served = self.served, []
        return {method for _, method in served}

    def test_same_answers(self) -> None:
        """A client agent asks in the usual way at first, then passes on; always what the leader would say."""
        self.write("t/1", b"x")
        for target in (
            "/v1/kv/a",
            "/v1/kv/a?raw",
            "/v1/kv/t/?recurse&pretty",
            "/v1/kv/t/?keys&consistent",
            "/v1/catalog/nodes",
            "/v1/health/service/consul?passing",
            "/v1/session/list",
            "/v1/coordinate/nodes",
        ):
            right = self.get(self.leader, target)
            for agent in (self.client, self.follower):
                for known in (False, True, True):
                    self.served.clear()
                    self.assertEqual(self.get(agent, target), right, (target, agent.node_name, known))
                    self.assertEqual("HTTP.Read" in self.methods(), known and agent is self.client, target)

    def test_changes(self) -> None:
        """What is passed on is never old."""
        for number in range(6):
            value = b"%d" % number
            self.write("a", value)
            for agent in (self.client, self.follower):
                self.assertEqual(self.get(agent, "/v1/kv/a?raw").body, value)

    def test_gone(self) -> None:
        """What is not there any more is no plain answer."""
        for _ in range(2):
            self.assertEqual(self.get(self.client, "/v1/kv/a").status, 200)
        done = self.leader.ask("KVS.Apply", KVSRequest(op="delete", dir_ent=DirEntry(key="a")))
        self.world.until(lambda: done.called)
        answer = self.get(self.client, "/v1/kv/a")
        self.assertEqual((answer.status, answer.body), (404, b""))
        self.assertEqual(answer.index, self.get(self.leader, "/v1/kv/a").index)

    def test_the_leader_dies(self) -> None:
        """Reads go on with the next one."""
        for agent in (self.client, self.follower):
            for _ in range(2):
                self.get(agent, "/v1/kv/a")
        self.world.kill(self.leader)
        for agent in (self.client, self.follower):
            answer = self.get(agent, "/v1/kv/a")
            self.assertEqual((answer.status, answer.known_leader), (200, True))

    def test_stale(self) -> None:
        """Any server answers; a follower does so itself."""
        for agent in (self.client, self.follower):
            for _ in range(3):
                self.assertEqual(self.get(agent, "/v1/kv/a?stale&raw").body, b"1")
        self.served.clear()
        self.get(self.follower, "/v1/kv/a?stale&raw")
        self.assertEqual(self.methods(), set())
