"""Servers of several datacenters in one pool."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.base import BaseAgent
from pyconsul.agent.environment import Environment
from pyconsul.agent.federation import EXECUTE_TIMEOUT_S
from pyconsul.agent.server import ServerAgent
from pyconsul.agent.servers import is_server, join_address
from pyconsul.agent.wan import FLOOD_S, wan_tags
from pyconsul.config.groups import Autopilot
from pyconsul.errors import NoPath, PyconsulError, Refused
from pyconsul.serf.members import Status
from pyconsul.storage.memory import MemoryStorage
from pyconsul.structs.catalog import NodeService, RegisterRequest
from pyconsul.structs.coordinate import Coordinate
from pyconsul.structs.keyring import LIST, KeyringRequest
from pyconsul.structs.prepared import (
    PreparedQuery,
    PreparedQueryExecuteRequest,
    PreparedQueryRequest,
    QueryDatacenterOptions,
    ServiceQuery,
)
from pyconsul.structs.query import DCSpecificRequest
from pyconsul.swim.keyring import Keyring
from pyconsul.testing.clock import NodeClock
from pyconsul.testing.disk import SimDisk
from tests.agent.fixture import get, member, put
from tests.agent.world import World


class MemberTests(SynchronousTestCase):
    def test_servers(self) -> None:
        """Who is let in says all that servers say."""
        self.assertTrue(is_server(member(1, server=True, vsn="2")))
        odds: list[dict[str, Any]] = [
            {"role": "node"},
            {"port": "x"},
            {"port": "70000"},
            {"vsn": ""},
            {"build": "new:"},
        ]
        for odd in odds:
            self.assertFalse(is_server(member(1, server=True, **({"vsn": "2"} | odd))), odd)

    def test_where_they_are_joined(self) -> None:
        server: dict[str, Any] = {"server": True, "vsn": "2"}
        self.assertEqual(join_address(member(3, wan_join_port="8302", **server)), "127.0.0.3:8302")
        for port in ("", "0", "x", "99999"):
            self.assertIsNone(join_address(member(3, wan_join_port=port, **server)))
        self.assertIsNone(join_address(member(3, wan_join_port="8302")))

    def test_tags(self) -> None:
        self.assertEqual(wan_tags({"dc": "dc1", "wan_join_port": "1"}), {"dc": "dc1"})


class WanTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(wan=True)
        self.addCleanup(self.world.stop)

    def server(self, number: int, dc: str = "dc1", **more: Any) -> ServerAgent:
        """A server that has started."""
        settings: dict[str, Any] = {"datacenter": dc, "bootstrap_expect": 1, "disable_coordinates": False}
        agent = self.world.server(number, **(settings | more))
        agent.startService()
        return agent

    def two(self, **more: Any) -> tuple[ServerAgent, ServerAgent]:
        """Servers of two datacenters that lead and know each other."""
        here = self.server(1, **more)
        there = self.server(2, "dc2", retry_join_wan=("10.0.0.1",), **more)
        self.world.until(lambda: here.raft.ready and there.raft.ready and self.sees(here, "n2.dc2"))
        return here, there

    def sees(self, agent: ServerAgent, name: str, status: Status = Status.ALIVE) -> bool:
        found = {known.name: known.status for known in agent.wan_members() or ()}
        return found.get(name) is status

    def result(self, asked: Any) -> Any:
        self.world.run_for(1.0)
        return self.successResultOf(asked)


class PoolTests(WanTestCase):
    def test_members(self) -> None:
        """Names tell the datacenter; only servers are there, with their own tags."""
        here, there = self.two()
        self.world.until(lambda: self.sees(there, "n1.dc1"))
        (found,) = (known for known in there.wan_members() or () if known.name == "n1.dc1")
        self.assertEqual((found.addr, found.port, found.tags["dc"]), ("10.0.0.1", 8302, "dc1"))
        self.assertNotIn("wan_join_port", found.tags)
        self.assertEqual(here.pool.local.tags["wan_join_port"], "8302")
        self.assertEqual(len(here.members()), 1)
        stats = here.stats()
        self.assertEqual((stats["serf_wan"]["members"], stats["consul"]["known_datacenters"]), ("2", "2"))

    def test_who_is_no_server(self) -> None:
        """A client agent is not let in, whatever it says."""
        here = self.server(1)
        client = self.world.client(9)
        client.startService()
        client.pool.join(["10.0.0.1:8302"])
        self.world.run_for(1.0)
        self.assertEqual([known.name for known in here.wan_members() or ()], ["n1.dc1"])

    def test_clients_have_none(self) -> None:
        client = self.world.client(9)
        self.assertIsNone(client.wan_members())
        refused = self.failureResultOf(client.join_wan(["10.0.0.1"]), Refused)
        self.assertEqual(str(refused.value), "Must be a server to join WAN cluster")

    def test_switched_off(self) -> None:
        self.world.wan = False
        server = self.server(1)
        self.world.until(lambda: server.raft.ready)
        self.assertIsNone(server.wan_members())
        refused = self.failureResultOf(server.join_wan(["10.0.0.2"]), Refused)
        self.assertEqual(str(refused.value), "WAN Federation is disabled")
        self.assertNotIn("wan_join_port", server.pool.local.tags)
        self.assertNotIn("serf_wan", server.stats())
        self.assertEqual(server.ask("Catalog.ListDatacenters", DCSpecificRequest()), ["dc1"])
        self.assertEqual(server.ask("Coordinate.ListDatacenters", DCSpecificRequest()), [])
        self.assertRaises(NoPath, server.ask, "KVS.Get", get("a", datacenter="dc2"))

    def test_neighbours_are_brought_along(self) -> None:
        """It is enough that one server of a datacenter is joined, whenever the others come."""
        here, there = self.two()
        third = self.server(3, bootstrap_expect=0, retry_join=("10.0.0.1",))
        self.world.until(lambda: self.sees(there, "n3.dc1") and self.sees(third, "n2.dc2"), 5.0)
        self.assertTrue(self.sees(here, "n3.dc1"))

    def test_one_that_cannot_be_brought_along(self) -> None:
        """It is tried again, as long as it lives."""
        here, there = self.two()
        self.world.network.cut("10.0.0.1", "10.0.0.3")
        third = self.server(3, bootstrap_expect=0)
        self.world.run_for(1.0)
        self.assertFalse(self.sees(there, "n3.dc1"))
        self.world.network.heal()
        joined = here.pool.join(["10.0.0.3"])
        self.world.until(lambda: joined.called and self.sees(there, "n3.dc1"), 5.0)
        self.world.kill(third)
        assert here.federation.wan is not None
        here.federation.wan.pool.force_leave("n3.dc1", prune=True)
        self.world.run_for(2 * FLOOD_S)
        self.assertFalse(self.sees(there, "n3.dc1"))

    def test_leaves(self) -> None:
        """Who leaves is seen to, and its datacenter with it."""
        here, there = self.two()
        there.leave()
        self.world.until(lambda: self.sees(here, "n2.dc2", Status.LEFT))
        self.assertEqual(here.ask("Catalog.ListDatacenters", DCSpecificRequest()), ["dc1"])
        self.assertRaises(NoPath, here.ask, "KVS.Get", get("a", datacenter="dc2"))
        self.world.run_for(20.0)
        self.assertTrue(there.left.called)

    def test_fails(self) -> None:
        """A dead server is noticed in the WAN's own time; its datacenter stays known."""
        here, there = self.two()
        self.world.kill(there)
        self.world.run_for(10.0)
        self.assertTrue(self.sees(here, "n2.dc2"))
        self.world.until(lambda: self.sees(here, "n2.dc2", Status.FAILED), 60.0)
        self.assertEqual(here.ask("Catalog.ListDatacenters", DCSpecificRequest()), ["dc1", "dc2"])
        here.force_leave("n2.dc2", wan=True)
        self.assertTrue(self.sees(here, "n2.dc2", Status.LEFT))
        self.assertEqual(here.ask("Catalog.ListDatacenters", DCSpecificRequest()), ["dc1"])

    def test_force_leave(self) -> None:
        """A name of the own datacenter means the node in both pools."""
        here, there = self.two(autopilot=Autopilot(cleanup_dead_servers=False))
        third = self.server(3, bootstrap_expect=0, retry_join=("10.0.0.1",))
        self.world.until(lambda: self.sees(there, "n3.dc1"))
        self.world.kill(third)
        self.world.until(lambda: self.sees(there, "n3.dc1", Status.FAILED), 90.0)
        here.force_leave("n3")
        self.assertTrue(self.sees(here, "n3.dc1", Status.LEFT))
        self.world.until(lambda: self.sees(there, "n3.dc1", Status.LEFT), 5.0)
        here.force_leave("n3", prune=True)
        self.assertEqual([known.name for known in here.members()], ["n1"])
        self.assertRaisesRegex(Refused, "No node found with name 'n3'", here.force_leave, "n3")
        self.assertRaisesRegex(Refused, "No node found with name 'n2.dc2'", here.force_leave, "n2.dc2")
        self.assertRaisesRegex(Refused, "with name 'n2'", here.force_leave, "n2", wan=True)

    def test_finds_back(self) -> None:
        """A restarted server needs no command."""
        here = self.server(1)
        disk = SimDisk(NodeClock(self.world.clock), self.world.network.rng)
        for folder in ("raft", "raft/snapshots"):
            disk.make_folder(folder)
        environment = self.world.environment

        def with_disk(number: int, server: bool = True) -> Environment:
            made = environment(number, server)
            disk.attach(made.clock)
            return replace(made, disk=disk)

        self.patch(self.world, "environment", with_disk)
        there = self.server(2, "dc2", retry_join_wan=("10.0.0.1",))
        self.world.until(lambda: self.sees(here, "n2.dc2") and self.sees(there, "n1.dc1"))
        self.world.run_for(2.0)
        self.world.kill(there)
        self.world.until(lambda: self.sees(here, "n2.dc2", Status.FAILED), 60.0)
        again = self.server(2, "dc2")
        self.world.until(lambda: self.sees(here, "n2.dc2") and self.sees(again, "n1.dc1"), 5.0)
        self.assertIn("remote.snapshot", disk.list("serf"))


class JoinTests(WanTestCase):
    def gave_up(self, agent: BaseAgent) -> list[None]:
        """Start an agent; notes whether it gives up."""
        noted: list[None] = []
        for joining in agent.joins:
            joining.gave_up = lambda: noted.append(None)
        agent.startService()
        self.world.run_for(10.0)
        return noted

    def test_at_the_start(self) -> None:
        """Once; without success the agent ends."""
        here = self.server(1)
        there = self.world.server(2, datacenter="dc2", start_join_wan=("10.0.0.1",))
        self.assertEqual(self.gave_up(there), [])
        self.assertTrue(self.sees(here, "n2.dc2"))
        lonely = self.world.server(3, datacenter="dc3", start_join_wan=("10.0.0.9",))
        self.assertEqual(self.gave_up(lonely), [None])
        client = self.world.client(9, start_join_wan=("10.0.0.1",), retry_join_wan=("10.0.0.1",))
        self.assertEqual(self.gave_up(client), [None])

    def test_for_some_time(self) -> None:
        agent = self.world.server(
            2, retry_join_wan=("10.0.0.1",), retry_interval_wan=1.0, retry_max_wan=2, datacenter="dc2"
        )
        self.assertEqual(self.gave_up(agent), [None])


class AskTests(WanTestCase):
    def test_other_datacenters(self) -> None:
        """Requests find their way, from servers and clients, to whoever leads there."""
        here, there = self.two()
        client = self.world.client(9, retry_join=("10.0.0.1",))
        client.startService()
        self.world.run_for(2.0)
        self.assertTrue(self.result(client.ask("KVS.Apply", put("a", datacenter="dc2"))))
        reply = self.result(here.ask("KVS.Get", get("a", datacenter="dc2")))
        self.assertEqual((reply.entries[0].value, reply.known_leader), (b"v", True))
        self.assertIsNone(here.store.kv.get("a")[1])
        self.assertIsNotNone(there.store.kv.get("a")[1])
        wrong = client.ask("KVS.Get", get("a", datacenter="dc9"))
        self.world.run_for(1.0)
        text = str(self.failureResultOf(wrong, NoPath).value)
        self.assertEqual(text, "rpc error making call: No path to datacenter")

    def test_waits_there(self) -> None:
        here, there = self.two()
        index = self.result(here.ask("KVS.Get", get("a", datacenter="dc2"))).index
        waiting = here.ask("KVS.Get", get("a", index, 60.0, datacenter="dc2"))
        self.world.run_for(5.0)
        self.assertNoResult(waiting)
        there.ask("KVS.Apply", put("a"))
        self.assertGreater(self.result(waiting).index, index)

    def test_snapshots(self) -> None:
        here, there = self.two()
        self.result(there.ask("KVS.Apply", put("a", b"there")))
        stream = self.result(here.snapshot("dc2", "", False))
        archive = b""
        while piece := self.result(stream.read()):
            archive += piece
        self.assertGreater(len(archive), 500)
        from io import BytesIO

        self.result(there.ask("KVS.Apply", put("a", b"changed")))
        restored = here.restore_snapshot(BytesIO(archive), "dc2", "")
        self.world.run_for(5.0)
        self.successResultOf(restored)
        row = there.store.kv.get("a")[1]
        assert row is not None
        self.assertEqual(row.value, b"there")
        self.failureResultOf(here.snapshot("dc9", "", False), NoPath)
        self.failureResultOf(here.restore_snapshot(BytesIO(archive), "dc9", ""), NoPath)


class FailoverTests(WanTestCase):
    """A prepared query that finds nothing at home."""

    def define(self, agent: ServerAgent, name: str, *datacenters: str) -> None:
        failover = QueryDatacenterOptions(datacenters=list(datacenters))
        query = PreparedQuery(name=name, service=ServiceQuery(service="web", failover=failover))
        self.result(agent.ask("PreparedQuery.Apply", PreparedQueryRequest(op="create", query=query)))

    def execute(self, agent: BaseAgent, name: str, wait_s: float = 1.0) -> tuple[str, int, list[str], bool]:
        asked = maybeDeferred(
            agent.ask, "PreparedQuery.Execute", PreparedQueryExecuteRequest(query_id_or_name=name)
        )
        self.world.run_for(wait_s)
        reply = self.successResultOf(asked)
        nodes = [row.node.node for row in reply.nodes]
        return reply.datacenter, reply.failovers, nodes, reply.known_leader

    def register(self, agent: ServerAgent) -> None:
        request = RegisterRequest(
            node=agent.node_name, service=NodeService(id="web", service="web"), skip_node_update=True
        )
        self.result(agent.ask("Catalog.Register", request))

    def test_two_datacenters(self) -> None:
        """The other one answers, by its own health; what it has no instance of is no error."""
        here, there = self.two()
        client = self.world.client(9, retry_join=("10.0.0.1",))
        client.startService()
        self.world.run_for(2.0)
        for agent in (here, there):
            self.define(agent, "q", "dc1", "dc2", "dc9")
        self.assertEqual(self.execute(here, "q"), ("dc2", 1, [], True))
        self.register(there)
        self.world.run_for(2.0)
        for asked in (here, client):
            self.assertEqual(self.execute(asked, "q"), ("dc2", 1, ["n2"], True))
        self.assertEqual(self.execute(there, "q"), ("dc2", 0, ["n2"], True))
        self.register(here)
        self.world.run_for(2.0)
        self.assertEqual(self.execute(here, "q"), ("dc1", 0, ["n1"], True))

    def test_a_datacenter_that_hangs(self) -> None:
        """It holds a query up for some seconds only."""
        here, there = self.two()
        self.define(here, "q", "dc2")
        self.patch(there.environment.rpc_transport, "handler", lambda method, body: Deferred())
        self.assertEqual(self.execute(here, "q", 2 * EXECUTE_TIMEOUT_S + 1.0), ("dc1", 1, [], True))


class DistanceTests(WanTestCase):
    def test_coordinates(self) -> None:
        here, _ = self.two()
        self.world.run_for(60.0)
        maps = here.ask("Coordinate.ListDatacenters", DCSpecificRequest())
        shown = [(m.datacenter, m.area_id, [row.node for row in m.coordinates]) for m in maps]
        self.assertEqual(shown, [("dc1", "wan", ["n1"]), ("dc2", "wan", ["n2"])])
        rtt_s = maps[0].coordinates[0].coord.distance_to(maps[1].coordinates[0].coord)
        self.assertTrue(0.001 < rtt_s < 0.02, rtt_s)

    def test_nearest_first(self) -> None:
        """The median of a datacenter's servers counts; without a distance, the name."""
        here = self.server(1)
        for number, dc in ((2, "dc9"), (3, "dc5"), (4, "aa"), (5, "dc9"), (6, "bb")):
            self.server(number, dc, retry_join_wan=("10.0.0.1",), bootstrap_expect=0)
        self.world.until(lambda: len(here.wan_members() or ()) == 6)
        ask = lambda: here.ask("Catalog.ListDatacenters", DCSpecificRequest())  # noqa: E731
        self.assertEqual(ask(), ["dc1", "aa", "bb", "dc5", "dc9"])
        assert here.federation.wan is not None and here.federation.wan.coordinates is not None
        for name, far in (("n2.dc9", 0.01), ("n5.dc9", 0.03), ("n3.dc5", 0.02), ("n6.bb", 0.5)):
            here.federation.wan.coordinates.peers[name] = Coordinate(height=far)
        self.assertEqual(ask(), ["dc1", "dc5", "dc9", "bb", "aa"])

    def test_without_coordinates(self) -> None:
        here, _ = self.two(disable_coordinates=True)
        self.assertEqual(here.ask("Coordinate.ListDatacenters", DCSpecificRequest()), [])
        self.assertEqual(here.ask("Catalog.ListDatacenters", DCSpecificRequest()), ["dc1", "dc2"])


class KeyringTests(WanTestCase):
    def test_all_pools(self) -> None:
        """The WAN, the LAN here, and the LANs of other datacenters by way of their servers."""
        key = "pUqJrVyVRj5jsiYEkM/tFQ=="
        for number, dc in ((1, "dc1"), (2, "dc2")):
            world = self.world
            agent = ServerAgent(
                world.config(number, server=True, datacenter=dc, bootstrap_expect=1,
                             retry_join_wan=("10.0.0.1",)),
                world.environment(number), f"00000000-0000-4000-8000-{number:012}", MemoryStorage(),
                Keyring.from_base64([key]), wan_keyring=Keyring.from_base64([key]),
            )  # fmt: skip
            world.agents.append(agent)
            agent.startService()
        here, there = world.agents
        assert isinstance(here, ServerAgent) and isinstance(there, ServerAgent)
        world.until(lambda: self.sees(here, "n2.dc2") and self.sees(there, "n1.dc1"))
        reply = self.result(here.ask("Internal.KeyringOperation", KeyringRequest(operation=LIST)))
        shown = [(found.wan, found.datacenter, found.keys, found.num_nodes) for found in reply.responses]
        self.assertEqual(
            shown, [(True, "dc1", {key: 2}, 2), (False, "dc1", {key: 1}, 1), (False, "dc2", {key: 1}, 1)]
        )
        world.kill(there)
        failed = here.ask("Internal.KeyringOperation", KeyringRequest(operation=LIST))
        world.run_for(10.0)
        self.failureResultOf(failed, PyconsulError)
        local = here.ask("Internal.KeyringOperation", KeyringRequest(operation=LIST, local_only=True))
        self.assertEqual(len(self.result(local).responses), 1)
