"""Client agents: they know servers by gossip alone, and answer nothing themselves."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.client import ClientAgent
from pyconsul.config.groups import Limits
from pyconsul.errors import (
    NoLeader,
    NoServers,
    NotSent,
    RateLimited,
    Refused,
    Unreachable,
)
from pyconsul.net.gossip import MemberEvent
from pyconsul.serf.members import Member, Status
from pyconsul.structs.catalog import NodeService
from pyconsul.structs.kv import IndexedDirEntries
from pyconsul.structs.query import DCSpecificRequest
from tests.agent.fixture import NotingRpc, get, member, noted, put
from tests.agent.world import World, node_id

ENCODED = msgspec.msgpack.encode(IndexedDirEntries(index=7))


class ClientTests(SynchronousTestCase):
    """With calls that the tests answer."""

    def setUp(self) -> None:
        self.world = World()
        self.addCleanup(self.world.stop)
        self.agent = self.world.client(9)
        self.rpc = NotingRpc()
        self.agent._forwarder._transport = self.rpc
        self.found: dict[str, Member] = {}
        self.agent.members = lambda segment="": list(self.found.values())  # type: ignore[method-assign]

    def event(self, found: Member, kind: str = "join") -> None:
        self.found[found.name] = found
        if kind == "reap":
            del self.found[found.name]
        self.agent._heard(MemberEvent(kind, found))

    def servers(self, *numbers: int) -> None:
        for number in numbers:
            self.event(member(number, server=True))

    def called(self) -> str:
        """The address of the oldest call."""
        return self.rpc.calls[0][0]

    def answer(self, result: Any = ENCODED) -> None:
        """Answer the oldest call."""
        done = self.rpc.calls.pop(0)[2]
        if isinstance(result, Exception):
            done.errback(result)
        else:
            done.callback(result)

    def test_passes_on(self) -> None:
        """Request and reply go through as they are, whatever the method."""
        self.servers(1)
        answer = noted(self.agent.ask("KVS.Get", get("a")))
        self.assertEqual([call[:2] for call in self.rpc.calls], [("127.0.0.1:8300", "KVS.Get")])
        self.answer()
        self.assertEqual(answer[0].index, 7)
        leader = noted(self.agent.ask("Status.Leader", DCSpecificRequest()))
        self.answer(msgspec.msgpack.encode("127.0.0.1:8300"))
        self.assertEqual(leader, ["127.0.0.1:8300"])
        self.assertRaises(Refused, self.agent.ask, "KVS.Nope", get("a"))

    def test_rate(self) -> None:
        """No more requests leave than the configuration allows, and none is passed on unseen."""
        self.servers(1)
        self.assertIsNotNone(self.agent.relay(b"/v1/kv/a"))
        self.agent._rate.configure(Limits(rpc_rate=0.0, rpc_max_burst=2))
        for _ in range(2):
            self.agent.ask("KVS.Get", get("a"))
        self.assertRaises(RateLimited, self.agent.ask, "KVS.Get", get("a"))
        self.assertIsNone(self.agent.relay(b"/v1/kv/a"))
        self.assertEqual(self.agent.totals()["client.rpc.exceeded"], 1)

    def test_no_servers(self) -> None:
        """Without a server the request waits for one, up to the hold time."""
        answers = noted(self.agent.ask("KVS.Get", get("a")))
        self.world.run_for(6.9)
        self.assertEqual(answers, [])
        self.world.run_for(0.3)
        self.assertIsInstance(answers[0], NoServers)
        self.assertEqual(str(answers[0]), "No known Consul servers")

    def test_a_server_appears(self) -> None:
        """Whoever waits is served at once; a client or a failed server is no help."""
        noted(self.agent.ask("KVS.Apply", put("a")))
        self.event(member(2))
        self.event(member(3, Status.FAILED, server=True), "failed")
        self.event(member(4, server=True, dc="dc2"))
        self.assertEqual([name for _, name, _ in self.rpc.calls], ["Status.Ping"])
        self.answer(NotSent("gone"))
        self.servers(1)
        self.assertEqual(self.called(), "127.0.0.1:8300")

    def test_rotation(self) -> None:
        """A server that cannot be reached is left for the next; a read goes on there by itself."""
        self.servers(1, 2, 3)
        answers = noted(self.agent.ask("KVS.Get", get("a")))
        seen = []
        for error in (Unreachable("broke"), NotSent("refused"), NotSent("refused")):
            seen.append(self.called())
            self.answer(error)
            self.world.run_for(1.0)
        self.assertEqual(len(set(seen)), 3)
        self.assertEqual(self.called(), seen[0])
        self.answer()
        self.assertEqual(answers[0].index, 7)
        noted(self.agent.ask("KVS.Get", get("b")))
        self.assertEqual(self.called(), seen[0])

    def test_a_write_that_may_have_been_made(self) -> None:
        """Is not made again, but the next one goes to another server."""
        self.servers(1, 2)
        answers = noted(self.agent.ask("KVS.Apply", put("a")))
        first = self.called()
        self.answer(Unreachable("broke"))
        self.assertIsInstance(answers[0], Unreachable)
        noted(self.agent.ask("KVS.Apply", put("a")))
        self.assertNotEqual(self.called(), first)

    def test_errors_of_the_server(self) -> None:
        """What a server says is no reason to leave it."""
        self.servers(1, 2)
        first = noted(self.agent.ask("KVS.Apply", put("a")))
        address = self.called()
        self.answer(Refused("no"))
        self.assertEqual(str(first[0]), "rpc error making call: no")
        second = noted(self.agent.ask("KVS.Apply", put("a")))
        self.assertEqual(self.called(), address)
        self.answer(NoLeader())
        self.assertEqual(second, [])
        self.world.run_for(1.0)
        self.assertEqual(self.called(), address)

    def test_nonsense(self) -> None:
        """A reply that cannot be read is an error like others."""
        self.servers(1)
        answers = noted(self.agent.ask("KVS.Get", get("a")))
        self.answer(b"\xc1")
        self.assertIn("cannot decode the reply of KVS.Get: ", str(answers[0]))

    def test_gone(self) -> None:
        """A server that leaves, fails, is forgotten or is none any more is not asked."""
        for gone, kind in (
            (member(1, Status.LEFT, server=True), "leave"),
            (member(1, Status.FAILED, server=True), "failed"),
            (member(1, server=True), "reap"),
            (member(1), "update"),
        ):
            self.servers(1)
            self.assertEqual(self.agent._choice.current(), "127.0.0.1:8300")
            self.event(gone, kind)
            self.assertIsNone(self.agent._choice.current(), kind)

    def test_other_clients_cost_nothing(self) -> None:
        """In a large pool most events are about clients."""
        self.servers(1)
        looked: list[None] = []

        def members(segment: str = "") -> list[Member]:
            looked.append(None)
            return []

        self.agent.members = members  # type: ignore[method-assign]
        for status in (Status.ALIVE, Status.FAILED, Status.LEFT):
            self.event(member(5, status))
        self.assertEqual(looked, [])

    def test_sync_when_servers_appear(self) -> None:
        """The first server that is found is told of this node at once."""
        self.agent.startService()
        self.world.run_for(20.0)
        self.servers(1)
        self.world.run_for(0.1)
        self.assertEqual(self.rpc.calls[0][1], "Catalog.NodeServices")

    def test_stop(self) -> None:
        """Whoever waits for a server is told; nobody comes back later."""
        self.agent.startService()
        answers = noted(self.agent.ask("KVS.Get", get("a")))
        self.world.run_for(1.0)
        self.successResultOf(self.agent.stopService())
        self.assertIsInstance(answers[0], NoServers)
        self.assertEqual(self.agent.clock.getDelayedCalls(), [])

    def test_stats(self) -> None:
        """What ``info`` says of a client."""
        self.servers(1, 2)
        self.assertEqual(
            self.agent.consul_stats(), {"acl": "disabled", "known_servers": "2", "server": "false"}
        )

    def test_never_armed(self) -> None:
        """Nobody can be told from here that something has changed."""

        class Watcher:
            armed = False
            watch: Any = None

            def wake(self) -> None:
                raise AssertionError

        watcher = Watcher()
        self.servers(1)
        noted(self.agent.ask("KVS.Get", get("a"), watcher))
        self.answer()
        self.assertFalse(watcher.armed)
        self.agent.forget(watcher)

    def test_waiting_together(self) -> None:
        """Others may join a blocking read for a thirty-second of its wait."""
        self.assertEqual(self.agent.shared_time_s(get("a", 5, 64.0)), 2.0)
        self.assertEqual(self.agent.shared_time_s(get("a", 5, 0.0)), 300.0 / 32)
        self.assertEqual(self.agent.shared_time_s(get("a", 5, 10_000.0)), 600.0 / 32)


class WholeTests(SynchronousTestCase):
    """A client of three servers."""

    def setUp(self) -> None:
        self.world = World()
        self.addCleanup(self.world.stop)
        self.leader, *self.followers = self.world.cluster()
        self.agent: ClientAgent = self.world.client(9, retry_join=("10.0.0.1",))
        self.agent.startService()
        self.world.run_for(3.0)

    def done(self, answer: Any) -> Any:
        results = noted(answer)
        self.world.until(lambda: results)
        if isinstance(results[0], Exception):
            raise results[0]
        return results[0]

    def services(self, name: str = "n9") -> list[str]:
        return [row.id for row in self.leader.store.catalog.node_services(name)[2]]

    def test_requests(self) -> None:
        """Writes, reads and reads that wait."""
        self.assertTrue(self.done(self.agent.ask("KVS.Apply", put("a"))))
        reply = self.done(self.agent.ask("KVS.Get", get("a")))
        self.assertEqual((reply.entries[0].value, reply.consistency_level), (b"v", "leader"))
        waiting = noted(self.agent.ask("KVS.Get", get("a", reply.index, 60.0)))
        self.world.run_for(5.0)
        self.assertEqual(waiting, [])
        self.done(self.agent.ask("KVS.Apply", put("a", b"new")))
        self.world.run_for(1.0)
        self.assertEqual(waiting[0].entries[0].value, b"new")

    def test_registered(self) -> None:
        """The leader registers the node, the node itself the rest, and neither spoils the other's part."""
        row = self.leader.store.catalog.node("n9")
        assert row is not None
        self.assertEqual(
            (row.id, row.address, row.meta), (node_id(9), "10.0.0.9", {"consul-network-segment": ""})
        )
        self.assertEqual(row.tagged_addresses, self.agent.node.tagged_addresses)
        check = self.leader.store.catalog.node_check("n9", "serfHealth")
        assert check is not None
        self.assertEqual(check.status, "passing")
        index = self.leader.store.index
        self.world.run_for(300.0)
        self.assertEqual(self.leader.store.index, index)

    def test_services(self) -> None:
        """What is registered here is in the catalog a moment later."""
        self.agent.local.add_service(NodeService(id="web1", service="web", port=80))
        self.world.run_for(0.5)
        self.assertEqual(self.services(), ["web1"])
        self.agent.deregister_service("web1")
        self.world.run_for(0.5)
        self.assertEqual(self.services(), [])

    def test_the_server_dies(self) -> None:
        """The client goes on with another."""
        self.done(self.agent.ask("KVS.Apply", put("a")))
        address = self.agent._choice.current()
        used = next(
            server for server in self.world.agents if server.config.advertise_addr + ":8300" == address
        )
        self.world.kill(used)
        reply = self.done(self.agent.ask("KVS.Get", get("a")))
        self.assertEqual(reply.entries[0].value, b"v")
        self.assertNotEqual(self.agent._choice.current(), address)

    def test_leaves(self) -> None:
        """A client that leaves is deregistered."""
        self.agent.local.add_service(NodeService(id="web1", service="web", port=80))
        self.world.run_for(0.5)
        self.done(self.agent.leave())
        self.done(self.agent.stopService())
        self.world.run_for(2.0)
        self.assertIsNone(self.leader.store.catalog.node("n9"))

    def test_fails_and_returns(self) -> None:
        """A client that dies is critical but keeps its services."""
        self.agent.local.add_service(NodeService(id="web1", service="web", port=80))
        self.world.run_for(0.5)
        self.world.kill(self.agent)
        self.world.run_for(60.0)
        check = self.leader.store.catalog.node_check("n9", "serfHealth")
        assert check is not None
        self.assertEqual((check.status, self.services()), ("critical", ["web1"]))
        again = self.world.client(9, retry_join=("10.0.0.2",))
        again.startService()
        self.world.run_for(5.0)
        check = self.leader.store.catalog.node_check("n9", "serfHealth")
        assert check is not None
        self.assertEqual((check.status, self.services()), ("passing", []))

    def test_a_leader_that_knows_nobody_yet(self) -> None:
        """A server that was just started does not take a client out that it has not met yet."""
        self.agent.local.add_service(NodeService(id="web1", service="web", port=80))
        self.world.run_for(0.5)
        self.world.network.partition(["10.0.0.9"], [f"10.0.0.{number}" for number in (1, 2, 3)])
        self.leader._duties.stop()
        self.leader.pool._core.roster.records.pop("n9")  # type: ignore[union-attr]
        self.leader._duties.start()
        self.world.run_for(120.0)
        self.assertEqual(self.services(), ["web1"])
        self.world.network.heal()
        self.world.run_for(120.0)
        self.assertEqual(self.services(), ["web1"])
        check = self.leader.store.catalog.node_check("n9", "serfHealth")
        assert check is not None
        self.assertEqual(check.status, "passing")
