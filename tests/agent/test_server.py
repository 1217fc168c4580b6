"""Server agents: one alone, and three over a network in memory."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.server import ServerAgent, raft_timing
from pyconsul.config.groups import Autopilot, Performance
from pyconsul.config.schema import AgentConfig
from pyconsul.errors import BadRequest, NoLeader, NoPath, Refused
from pyconsul.interfaces import LATER
from pyconsul.raft.events import ChangeConfiguration, ChangeKind, Role
from pyconsul.raft.leader import Leader
from pyconsul.raft.messages import Heartbeat
from pyconsul.raft.timing import Timing
from pyconsul.serf.members import MemberEvent, Status
from pyconsul.structs.catalog import NodeService, NodeSpecificRequest, RegisterRequest
from pyconsul.structs.kv import IndexedDirEntries
from pyconsul.structs.query import DCSpecificRequest
from tests.agent.fixture import SlowDisk, get, noted, put
from tests.agent.world import World, node_id


class Notes:
    """A log that is kept as a list of texts."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def info(self, text: str, **fields: object) -> None:
        self._lines.append(text.format(**fields))

    warn = info


class Watcher:
    """Notes that it was woken."""

    def __init__(self) -> None:
        self.armed = False
        self.watch: Any = None
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1


def values(reply: Any) -> list[bytes | None]:
    return [row.value for row in reply.entries]


class Base(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.addCleanup(self.world.stop)

    def done(self, answer: Any) -> Any:
        """The answer, however long it takes."""
        results = noted(answer)
        self.world.until(lambda: results)
        if isinstance(results[0], Exception):
            raise results[0]
        return results[0]

    def fails(self, kind: type[Exception], answer: Any) -> float:
        """Expect an error; gives how long it took."""
        begun = self.world.clock.now
        self.assertRaises(kind, self.done, answer)
        return self.world.clock.now - begun

    def write(self, agent: ServerAgent, key: str = "a", value: bytes = b"v") -> None:
        self.assertIs(self.done(agent.ask("KVS.Apply", put(key, value))), True)


class AloneTests(Base):
    """A ``-dev`` server."""

    def setUp(self) -> None:
        super().setUp()
        self.disk = SlowDisk()
        self.agent = self.world.server(1, self.disk, dev=True)

    def start(self) -> None:
        self.agent.startService()
        self.world.until(lambda: self.agent.raft.ready)
        self.world.run_for(1.0)

    def test_timing(self) -> None:
        """A -dev server waits for nobody; others scale Consul's timing."""
        self.assertEqual(raft_timing(AgentConfig(dev=True)), Timing.dev())
        config = AgentConfig(performance=Performance(raft_multiplier=3))
        self.assertEqual(raft_timing(config), Timing.scaled(3))

    def test_write_and_read(self) -> None:
        """A read is answered at once, with what tells about it."""
        self.start()
        self.write(self.agent)
        reply = self.agent.ask("KVS.Get", get("a"))
        self.assertEqual(values(reply), [b"v"])
        self.assertEqual(reply.index, reply.entries[0].modify_index)
        self.assertEqual(
            (reply.known_leader, reply.last_contact, reply.consistency_level), (True, 0, "leader")
        )
        stale = self.agent.ask("KVS.Get", get("a", allow_stale=True))
        self.assertEqual(stale.consistency_level, "stale")
        confirmed = self.done(self.agent.ask("KVS.Get", get("a", require_consistent=True)))
        self.assertEqual((values(confirmed), confirmed.consistency_level), ([b"v"], "consistent"))

    def test_index_is_never_zero(self) -> None:
        """Clients would wait for nothing with an index of 0."""
        self.start()
        self.assertEqual(self.agent.ask("KVS.Get", get("none")).index, 1)

    def test_a_watcher_with_a_bug(self) -> None:
        """It is told and forgotten; the write that woke it is acknowledged, and so is the next."""
        self.start()

        class Broken:
            def wake(self) -> None:
                raise ValueError("a bug")

        self.agent.store.watches.register((("kv", "a"),), Broken())
        self.write(self.agent)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.write(self.agent, value=b"w")
        self.assertEqual(values(self.agent.ask("KVS.Get", get("a"))), [b"w"])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_refusals(self) -> None:
        """Unknown methods and datacenters, and what an endpoint does not like."""
        self.start()
        error = self.assertRaises(Refused, self.agent.ask, "KVS.Nope", get("a"))
        self.assertEqual(str(error), "rpc: can't find service KVS.Nope")
        error = self.assertRaises(NoPath, self.agent.ask, "KVS.Get", get("a", datacenter="dc2"))
        self.assertEqual(str(error), "No path to datacenter")
        self.assertRaises(NoPath, self.agent.ask, "KVS.Apply", put("a", datacenter="dc2"))
        self.assertRaises(Refused, self.agent.ask, "KVS.Apply", put(""))
        self.agent.ask("KVS.Get", get("a", datacenter="dc1"))

    def test_serve(self) -> None:
        """The same over the wire's encoding."""
        self.start()
        encode = msgspec.msgpack.encode
        self.assertEqual(self.done(self.agent.serve("KVS.Apply", encode(put("a")))), encode(True))
        reply = self.agent.serve("KVS.Get", encode(get("a")))
        self.assertEqual(values(msgspec.msgpack.decode(reply, type=IndexedDirEntries)), [b"v"])
        for body in (b"", b"\xc1", encode([1, 2]), encode({"Op": 7}), encode(put("a"))[:-1]):
            error = self.assertRaises(BadRequest, self.agent.serve, "KVS.Apply", body)
            self.assertIn("cannot decode the request of KVS.Apply: ", str(error))
        self.assertRaises(Refused, self.agent.serve, "KVS.Nope", b"")
        self.assertRaises(Refused, self.agent.serve, "", b"")

    def test_node_methods(self) -> None:
        """Some questions need no leader."""
        self.assertEqual(self.agent.ask("Status.Leader", DCSpecificRequest()), "")
        self.assertEqual(self.agent.ask("Catalog.ListDatacenters", DCSpecificRequest()), ["dc1"])
        self.start()
        self.assertEqual(self.agent.ask("Status.Leader", DCSpecificRequest()), "10.0.0.1:8300")
        self.assertEqual(self.agent.ask("Status.Peers", DCSpecificRequest()), ["10.0.0.1:8300"])

    def test_before_there_is_a_leader(self) -> None:
        """Requests wait for one; a stale read has to as long as there is no log."""
        self.agent.startService()
        answers = [
            self.agent.ask("KVS.Apply", put("a")),
            self.agent.ask("KVS.Get", get("a")),
            self.agent.ask("KVS.Get", get("a", require_consistent=True)),
        ]
        for answer in answers:
            self.assertNoResult(answer)
        self.assertTrue(self.done(answers[0]))
        self.assertEqual(self.done(answers[1]).index, 1)
        self.done(answers[2])
        self.assertLess(self.world.clock.now, 1.0)

    def test_no_leader(self) -> None:
        """After the hold time they fail."""
        agent = self.world.server(2, bootstrap_expect=3)
        agent.startService()
        for request in (get("a"), get("a", require_consistent=True), get("a", allow_stale=True)):
            took = self.fails(NoLeader, agent.ask("KVS.Get", request))
            self.assertTrue(7.0 <= took < 7.2, took)
        self.fails(NoLeader, agent.ask("KVS.Apply", put("a")))

    def test_blocking(self) -> None:
        """A read waits for something newer; its answer comes with the change."""
        self.start()
        self.write(self.agent)
        index = self.agent.ask("KVS.Get", get("a")).index
        waiting = noted(self.agent.ask("KVS.Get", get("a", index, 60.0)))
        self.write(self.agent, "b")
        self.assertEqual(waiting, [])
        self.write(self.agent, "a", b"new")
        self.assertEqual(values(waiting[0]), [b"new"])
        self.assertEqual(values(self.agent.ask("KVS.Get", get("a", index, 60.0))), [b"new"])
        self.assertEqual(self.agent.parking.count, 0)

    def test_blocking_confirmed(self) -> None:
        """A consistent read may wait too."""
        self.start()
        self.write(self.agent)
        index = self.agent.ask("KVS.Get", get("a")).index
        waiting = noted(self.agent.ask("KVS.Get", get("a", index, 60.0, require_consistent=True)))
        self.world.run_for(1.0)
        self.assertEqual((waiting, self.agent.parking.count), ([], 1))
        self.write(self.agent, "a", b"new")
        self.assertEqual(values(waiting[0]), [b"new"])

    def test_blocking_times(self) -> None:
        """Without a wait of its own a read waits as long as is configured."""
        agent = self.world.server(2, dev=True, default_query_time=3.0, max_query_time=6.0)
        agent.startService()
        self.world.until(lambda: agent.raft.ready)
        for wait_s, least_s in ((0.0, 3.0), (100.0, 6.0)):
            begun = self.world.clock.now
            self.done(agent.ask("KVS.Get", get("a", 10**6, wait_s)))
            self.assertTrue(least_s <= self.world.clock.now - begun <= least_s * 17 / 16 + 0.2)

    def test_watcher(self) -> None:
        """Whoever keeps an answer is told when it is out of date, once, unless he takes it back."""
        self.start()
        self.write(self.agent)
        first, second, third = Watcher(), Watcher(), Watcher()
        self.agent.ask("KVS.Get", get("a"), first)
        self.agent.ask("KVS.Get", get("a", allow_stale=True), second)
        self.agent.ask("KVS.Get", get("a"), third)
        self.assertTrue(first.armed and second.armed)
        self.agent.forget(third)
        for value in (b"1", b"2"):
            self.write(self.agent, "a", value)
        self.assertEqual((first.woken, second.woken, third.woken), (1, 1, 0))

    def test_watcher_not_armed(self) -> None:
        """Answers that come when something changes are not watched."""
        self.start()
        watcher = Watcher()
        self.done(self.agent.ask("KVS.Get", get("a", 10**6, 1.0), watcher))
        self.assertFalse(watcher.armed)
        self.assertEqual(len(self.agent.store.watches), 0)

    def test_registers_itself(self) -> None:
        """The node, its serfHealth check and the consul service, with nothing left to sync."""
        self.start()
        found = self.agent.ask("Catalog.NodeServices", NodeSpecificRequest(node="n1")).node_services
        self.assertEqual(list(found.services), ["consul"])
        self.assertEqual(found.node.meta, {"consul-network-segment": ""})
        self.assertEqual(found.node.tagged_addresses["wan"], "10.0.0.1")
        index = self.agent.store.index
        self.world.run_for(300.0)
        self.assertEqual(self.agent.store.index, index)

    def test_the_disk_fails(self) -> None:
        """A server that can promise nothing answers as none that leads; what waits is told."""
        self.start()
        self.write(self.agent)
        index = self.agent.ask("KVS.Get", get("a")).index
        watcher = Watcher()
        self.agent.ask("KVS.Get", get("a"), watcher)
        waiting = noted(self.agent.ask("KVS.Get", get("a", index, 300.0)))
        stale = noted(self.agent.ask("KVS.Get", get("a", index, 300.0, allow_stale=True)))
        self.disk.broken = OSError("no space left")
        write = noted(self.agent.ask("KVS.Apply", put("b")))
        self.world.run_for(0.1)
        self.assertEqual([type(result).__name__ for result in write], ["LeadershipLost"])
        self.assertEqual(watcher.woken, 1)
        self.world.run_for(8.0)
        self.assertEqual([type(result).__name__ for result in waiting + stale], ["NoLeader", "NoLeader"])
        self.fails(NoLeader, self.agent.ask("KVS.Get", get("a")))
        self.fails(NoLeader, self.agent.ask("KVS.Apply", put("a")))
        reply = self.agent.ask("KVS.Get", get("a", allow_stale=True))
        self.assertEqual((values(reply), reply.known_leader), ([b"v"], False))
        self.assertEqual(self.agent.stats()["raft"]["state"], "Shutdown")
        self.done(self.agent.leave())  # and it can still leave

    def test_stop(self) -> None:
        """Whoever waits is told, and no timer is left."""
        self.start()
        index = self.agent.ask("KVS.Get", get("a")).index
        waiting = [
            noted(self.agent.ask("KVS.Get", get("a", index, 300.0))),
            noted(self.agent.ask("KVS.Get", get("a", index, 300.0, allow_stale=True))),
            noted(self.agent.ask("KVS.Apply", put("a"))),
            noted(self.agent.ask("KVS.Get", get("a", require_consistent=True))),
        ]
        self.successResultOf(self.agent.stopService())
        self.assertEqual([type(results[0]) for results in waiting], [NoLeader] * 4)
        self.assertEqual(self.agent.parking.count, 0)
        self.world.run_for(0.01)
        self.assertEqual(self.agent.clock.getDelayedCalls(), [])
        self.assertRaises(NoLeader, self.done, self.agent.ask("KVS.Apply", put("a")))

    def test_stopped_before_it_was_started(self) -> None:
        """If something before it could not be started."""
        self.successResultOf(self.agent.stopService())
        self.assertEqual(self.agent.clock.getDelayedCalls(), [])

    def test_leave(self) -> None:
        """The only server just goes; to ask twice is fine; ``left`` tells whoever runs the agent."""
        self.start()
        left = noted(self.agent.left)
        first, second = self.agent.leave(), self.agent.leave()
        first.addErrback(lambda failure: failure.trap(CancelledError))
        first.cancel()
        self.done(second)
        self.assertEqual(left, [None])
        self.done(self.agent.leave())
        self.assertEqual(self.agent.members()[0].status, Status.LEFT)
        self.assertIsNotNone(self.agent.store.catalog.node("n1"))

    def test_leave_that_goes_wrong(self) -> None:
        """Whatever happens, the agent may be ended afterwards."""
        self.start()

        def fail() -> Deferred[None]:
            raise ZeroDivisionError("a bug")

        self.agent.pool.leave = fail  # type: ignore[method-assign]
        self.done(self.agent.leave())
        self.assertTrue(self.agent.left.called)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_describe(self) -> None:
        """``/v1/agent/self`` and ``info`` have all their sections."""
        self.start()
        shown = self.agent.describe()
        self.assertEqual(sorted(shown), ["Config", "Coord", "DebugConfig", "Member", "Meta", "Stats"])
        self.assertEqual(msgspec.json.decode(shown["Config"])["NodeName"], "n1")
        self.assertEqual(shown["Member"].tags["role"], "consul")
        stats = shown["Stats"]
        self.assertEqual(sorted(stats), ["agent", "build", "consul", "raft", "runtime", "serf_lan"])
        self.assertEqual((stats["consul"]["leader"], stats["consul"]["bootstrap"]), ("true", "false"))
        self.assertEqual(stats["consul"]["leader_addr"], "10.0.0.1:8300")
        for section in stats.values():
            for value in section.values():
                self.assertIsInstance(value, str)

    def test_tags(self) -> None:
        """What a server tells others about itself."""
        tags = self.agent.tags()
        self.assertEqual(
            (tags["role"], tags["port"], tags["dc"], tags["id"]), ("consul", "8300", "dc1", node_id(1))
        )
        self.assertNotIn("bootstrap", tags)
        self.assertEqual(self.world.server(2, bootstrap=True).tags()["bootstrap"], "1")
        self.assertEqual(self.world.server(3, bootstrap_expect=1).tags()["bootstrap"], "1")
        self.assertEqual(self.world.server(4, bootstrap_expect=3).tags()["expect"], "3")

    def test_accepted_members(self) -> None:
        """Members of another datacenter or segment, or with our id, are none of ours."""
        self.start()
        own = self.agent.pool.local
        for changes, text in (
            ({"dc": "dc2"}, "Member 'x' part of wrong datacenter 'dc2'"),
            ({"segment": "s"}, "Member 'x' part of wrong segment 's' (expected '')"),
            ({"id": node_id(1)}, f"Member 'x' has conflicting node ID '{node_id(1)}' with this agent's ID"),
            ({}, None),
        ):
            found = replace(own, name="x", tags=own.tags | {"id": "other"} | changes)
            self.assertEqual(self.agent._accept_member(found), text)
        gone = replace(own, name="old", status=Status.LEFT)
        self.assertIsNone(self.agent._accept_member(gone))
        self.assertIsNone(self.agent._accept_member(own))
        self.assertIsNone(self.agent._accept_member(replace(own, name="serf", tags={})))

    def test_members_with_the_same_id(self) -> None:
        """Machines made from one image: the second has to wait until the first is gone."""
        self.start()
        own = self.agent.pool.local
        first = replace(own, name="a", tags=own.tags | {"id": "other"})
        second = replace(first, name="b")
        self.assertIsNone(self.agent._accept_member(first))
        self.agent._heard(MemberEvent("join", first))
        self.assertIsNone(self.agent._accept_member(first))
        text = "Member 'b' has conflicting node ID 'other' with member 'a'"
        self.assertEqual(self.agent._accept_member(second), text)
        self.agent._heard(MemberEvent("join", second))  # it was there before
        self.assertIsNone(self.agent._accept_member(first))
        self.agent._heard(MemberEvent("reap", second))
        for event in (
            MemberEvent("failed", replace(first, status=Status.FAILED)),
            MemberEvent("update", replace(first, tags=own.tags | {"id": "new"})),
            MemberEvent("update", replace(first, tags={})),
            MemberEvent("reap", first),
        ):
            self.agent._heard(MemberEvent("join", first))
            self.assertEqual(self.agent._accept_member(second), text)
            self.agent._heard(event)
            self.assertIsNone(self.agent._accept_member(second), event)
        self.assertEqual(self.agent._ids, {"n1": node_id(1)})
        self.assertEqual(self.agent._alive_by_id, {node_id(1): "n1"})

    def test_force_leave(self) -> None:
        """Only members can be made to leave."""
        self.start()
        error = self.assertRaises(Refused, self.agent.force_leave, "nonode", False)
        self.assertEqual(str(error), "agent: No node found with name 'nonode'")


class ClusterTests(Base):
    """Three servers."""

    def cluster(self, **settings: Any) -> tuple[ServerAgent, ServerAgent, ServerAgent]:
        leader, one, two = self.world.cluster(**settings)
        return leader, one, two

    def test_forwarding(self) -> None:
        """A write or read is answered by any server, though only the leader can do it."""
        leader, follower, _ = self.cluster()
        self.write(follower)
        reply = self.done(follower.ask("KVS.Get", get("a")))
        self.assertEqual((values(reply), reply.consistency_level), ([b"v"], "leader"))
        reply = self.done(follower.ask("KVS.Get", get("a", require_consistent=True)))
        self.assertEqual((values(reply), reply.consistency_level), ([b"v"], "consistent"))
        self.assertEqual(values(leader.ask("KVS.Get", get("a"))), [b"v"])
        self.fails(Refused, follower.ask("KVS.Apply", put("")))

    def test_stale(self) -> None:
        """A follower answers a stale read by itself, and says how old that may be."""
        leader, follower, _ = self.cluster()
        self.write(leader)
        self.world.run_for(1.0)
        watcher = Watcher()
        reply = follower.ask("KVS.Get", get("a", allow_stale=True), watcher)
        self.assertEqual(
            (values(reply), reply.consistency_level, reply.known_leader), ([b"v"], "stale", True)
        )
        self.assertTrue(0 < reply.last_contact < 1e9, reply.last_contact)
        self.assertTrue(watcher.armed)
        self.write(leader, "a", b"new")
        self.world.run_for(1.0)
        self.assertEqual(watcher.woken, 1)

    def test_a_follower_asks_up_to_where(self) -> None:
        """And answers itself, as the leader would; such an answer is watched here."""
        leader, follower, _ = self.cluster()
        for number, more in enumerate(({}, {"require_consistent": True})):
            self.write(leader, "a", b"%d" % number)
            watcher = Watcher()
            reply = self.done(follower.ask("KVS.Get", get("a", **more), watcher))
            self.assertEqual((values(reply), reply.known_leader), ([b"%d" % number], True))
            self.assertEqual(reply.last_contact, 0)
            self.assertTrue(watcher.armed)

    def test_a_follower_passes_on_what_waits(self) -> None:
        """A blocking read waits at the leader, who surely hears of the change."""
        leader, follower, _ = self.cluster()
        self.write(leader)
        watcher, index = Watcher(), leader.ask("KVS.Get", get("a")).index
        waiting = noted(follower.ask("KVS.Get", get("a", index, 60.0), watcher))
        self.world.run_for(0.1)
        self.assertEqual((leader.parking.count, follower.parking.count, watcher.armed), (1, 0, False))
        self.write(leader, "a", b"new")
        self.world.until(lambda: waiting)

    def test_a_follower_without_an_answer(self) -> None:
        """If the leader does not say up to where, the read is passed on."""
        leader, follower, _ = self.cluster()
        self.write(leader)
        self.patch(Leader, "asked_for_index", lambda *arguments: None)
        reading = noted(follower.ask("KVS.Get", get("a", require_consistent=True)))
        self.world.run_for(0.5)
        self.assertEqual(reading, [])
        self.world.until(lambda: reading)
        self.assertEqual(values(reading[0]), [b"v"])

    def test_replicas_agree(self) -> None:
        """All have the same, members and consul services included."""
        agents = self.cluster()
        self.write(agents[1])
        self.world.run_for(2.0)
        self.assertEqual(len({agent.store.digest() for agent in agents}), 1)
        self.assertEqual([row.node for row in agents[0].store.catalog.nodes()], ["n1", "n2", "n3"])
        for agent in agents:
            self.assertEqual(len(agent.ask("Status.Peers", DCSpecificRequest())), 3)

    def test_blocking_at_a_follower(self) -> None:
        """The request waits at the leader; whoever goes away is not waited for."""
        leader, follower, _ = self.cluster()
        self.write(leader)
        index = leader.ask("KVS.Get", get("a")).index
        waiting = noted(follower.ask("KVS.Get", get("a", index, 60.0)))
        gone = follower.ask("KVS.Get", get("a", index, 60.0))
        self.world.run_for(1.0)
        self.assertEqual((leader.parking.count, follower.parking.count), (2, 0))
        gone.addErrback(lambda failure: failure.trap(CancelledError))
        gone.cancel()
        self.write(leader, "a", b"new")
        self.world.run_for(1.0)
        self.assertEqual(values(waiting[0]), [b"new"])

    def test_the_leader_dies(self) -> None:
        """Another takes over; reads and writes that come meanwhile wait for it."""
        leader, one, two = self.cluster(autopilot=Autopilot(cleanup_dead_servers=False))
        self.write(leader)
        self.world.kill(leader)
        self.world.run_for(0.2)
        write, read = one.ask("KVS.Apply", put("b")), two.ask("KVS.Get", get("a"))
        self.assertEqual(values(self.done(read)), [b"v"])
        self.assertTrue(self.done(write))
        new = next(agent for agent in (one, two) if agent.raft.ready)
        self.world.run_for(60.0)
        check = new.store.catalog.node_check(leader.node_name, "serfHealth")
        assert check is not None
        self.assertEqual(check.status, "critical")
        self.assertEqual(len(new.raft.core.configuration.servers), 3)

    def depose(self, leader: ServerAgent) -> None:
        """Make the leader learn of a later term."""
        term = leader.raft.core.term + 1
        message = Heartbeat(term, 0, 1, "10.0.0.9:8300")
        leader.raft._transport.received("stranger", message)
        self.assertFalse(leader.raft.is_leader)

    def test_leadership_moves_away_from_parked_reads(self) -> None:
        """They go on at the new leader, and no kept answer outlives the old one."""
        leader, one, two = self.cluster()
        self.write(leader)
        index = leader.ask("KVS.Get", get("a")).index
        begun = self.world.clock.now
        default = noted(leader.ask("KVS.Get", get("a", index, 60.0)))
        confirmed = noted(leader.ask("KVS.Get", get("a", index, 60.0, require_consistent=True)))
        stale = noted(leader.ask("KVS.Get", get("a", index, 300.0, allow_stale=True)))
        unchanged = noted(leader.ask("KVS.Get", get("never", 10**6, 60.0)))
        watcher = Watcher()
        leader.ask("KVS.Get", get("a"), watcher)
        self.world.run_for(30.0)
        self.assertEqual(leader.parking.count, 4)
        self.depose(leader)
        self.assertEqual((watcher.woken, leader.parking.count), (1, 1))
        self.world.until(lambda: self.world.leader)
        new = next(agent for agent in (leader, one, two) if agent.raft.ready)
        self.world.run_for(2.0)
        self.assertEqual(new.parking.count, 3 + (new is leader))
        self.write(new, "a", b"new")
        self.world.run_for(1.0)
        for results in (default, confirmed, stale):
            self.assertEqual(values(results[0]), [b"new"])
        # What is left of the time goes along, so that a client is not kept waiting for twice as long.
        self.world.until(lambda: unchanged)
        self.assertLess(self.world.clock.now - begun, 60.0 * 17 / 16 + 5.0)
        for agent in (leader, one, two):
            self.assertEqual(agent.parking.count, 0)

    def test_deposed_before_it_was_proposed(self) -> None:
        """A write or read that nothing was done about yet is made at the next leader."""
        leader, _, _ = self.cluster()
        write = leader.ask("KVS.Apply", put("a"))
        read = leader.ask("KVS.Get", get("a", require_consistent=True))
        told: Deferred[Any] = Deferred()
        self.assertIs(leader.ask("KVS.Apply", put("b"), waiter=told), LATER)
        self.depose(leader)
        self.assertTrue(self.done(write))
        self.assertTrue(self.done(told))
        self.done(read)

    def test_a_waiter_is_told(self) -> None:
        """Of what became of its write, or of its error; never within the call."""
        leader, _, _ = self.cluster()
        results = []
        for request in (put("a"), replace(put("a"), op="unlock")):
            told: Deferred[Any] = Deferred()
            self.assertIs(leader.ask("KVS.Apply", request, waiter=told), LATER)
            self.assertFalse(told.called)
            results.append(told)
        self.assertTrue(self.done(results[0]))
        self.assertRaises(Refused, self.done, results[1])

        def refuse(command: bytes, waiter: Any) -> None:
            raise NoLeader()

        self.patch(leader.raft, "submit", refuse)  # it leads no longer, and was not told yet
        self.patch(leader.raft, "propose", lambda command: fail(NoLeader()))
        again = leader.ask("KVS.Apply", put("a"), waiter=Deferred())
        self.assertIsInstance(again, Deferred)
        again.cancel()
        self.failureResultOf(again, CancelledError)

    def test_confirmed_but_deposed_before_it_parks(self) -> None:
        """A confirmed read never waits at a server that does not lead: it would hear of nothing."""
        leader, _, _ = self.cluster()
        self.write(leader)
        index = leader.ask("KVS.Get", get("a")).index
        confirming: list[Any] = []
        self.patch(leader.raft, "confirm", lambda waiter, leased: confirming.append(waiter))
        waiting = noted(leader.ask("KVS.Get", get("a", index, 60.0, require_consistent=True)))
        self.world.run_for(0.2)
        self.depose(leader)
        confirming[0].callback(None)
        self.assertEqual(leader.parking.count, 0)
        self.world.until(lambda: self.world.leader)
        self.world.run_for(1.0)
        self.write(leader, "a", b"new")
        self.world.until(lambda: waiting)
        self.assertEqual(values(waiting[0]), [b"new"])

    def test_duties_move(self) -> None:
        """Only the leader keeps the catalog in step."""
        leader, one, two = self.cluster()
        self.assertEqual([agent._duties._running for agent in (leader, one, two)], [True, False, False])
        self.depose(leader)
        self.assertFalse(leader._duties._running)
        self.world.until(lambda: self.world.leader)
        for agent in (leader, one, two):
            self.assertEqual(agent._duties._running, agent.raft.ready)

    def test_a_follower_leaves(self) -> None:
        """It goes from catalog and Raft, and answers for a while, so that others learn of it."""
        leader, follower, _ = self.cluster()
        begun = self.world.clock.now
        self.done(follower.leave())
        self.assertGreaterEqual(self.world.clock.now - begun, 5.0)
        self.done(follower.stopService())
        self.world.until(lambda: len(leader.raft.core.configuration.servers) == 2)
        self.world.until(lambda: leader.store.catalog.node(follower.node_name) is None)
        self.write(leader)

    def test_removed_server_passes_on(self) -> None:
        """Until it ends: no leader speaks to it any more, but it knows who stayed."""
        _, follower, _ = self.cluster(performance=Performance(raft_multiplier=1, leave_drain_time=60.0))
        leaving = noted(follower.leave())
        self.world.until(lambda: not follower._standing.has_vote)
        self.world.until(lambda: not follower.raft.leader_address)
        self.write(follower)
        self.assertEqual(leaving, [])

    def test_the_leader_leaves(self) -> None:
        """It hands over first; no write is lost or refused, and it goes like any other."""
        leader, one, two = self.cluster()
        term = leader.raft.core.term
        leaving = noted(leader.leave())
        writes = [noted(agent.ask("KVS.Apply", put(f"k{n}"))) for n, agent in enumerate((leader, one, two))]
        self.world.until(lambda: all(writes))
        self.assertEqual(writes, [[True]] * 3)
        self.world.until(lambda: leaving)
        self.assertIs(leader.raft.core.role, Role.FOLLOWER)
        self.assertEqual(one.raft.core.term, term + 1)
        self.done(leader.stopService())
        new = next(agent for agent in (one, two) if agent.raft.ready)
        self.world.until(lambda: len(new.raft.core.configuration.servers) == 2)
        self.world.until(lambda: new.store.catalog.node(leader.node_name) is None)

    def test_the_leader_ends(self) -> None:
        """It hands over when it is asked to, and nothing else of it changes."""
        leader, one, two = self.cluster()
        self.done(leader.hand_over())
        self.assertFalse(leader.raft.is_leader)
        self.world.until(lambda: one.raft.ready or two.raft.ready, 1.0)
        self.done(leader.hand_over())  # there is nothing to do now
        self.assertEqual(len(leader.raft.core.configuration.servers), 3)

    def test_vote(self) -> None:
        """A server says when it loses its vote, and does not campaign; a leader goes."""
        leader, one, two = self.cluster()
        for agent in (one, leader):
            self.world.until(lambda: self.world.leader)
            change = ChangeConfiguration(ChangeKind.DEMOTE_VOTER, agent.node_id)
            current = self.world.leader
            assert current is not None
            said: list[str] = []
            agent._standing._log = Notes(said)
            changed = noted(current.raft.change(change))  # a leader may be gone before it can answer
            self.world.until(lambda agent=agent: not agent._standing.has_vote, 5.0)  # type: ignore[misc]
            self.world.until(lambda changed=changed: changed, 5.0)  # type: ignore[misc]
            self.assertIn("this server has no vote and does not campaign", said[0])
            self.assertFalse(agent.raft.is_leader)
        self.world.until(lambda: two.raft.ready)

    def test_nobody_to_hand_over_to(self) -> None:
        """A leader whose followers do not answer leaves all the same."""
        leader, one, two = self.cluster()
        self.world.kill(one)
        self.world.kill(two)
        self.done(leader.leave())
        self.assertTrue(leader.left.called)

    def test_a_server_joins_later(self) -> None:
        """A fourth server becomes a voter, and gets all that it missed."""
        leader, _, _ = self.cluster()
        late = self.world.server(4, bootstrap_expect=3, retry_join=("10.0.0.1",))
        late.startService()
        self.world.until(lambda: len(leader.raft.core.configuration.servers) == 4)
        self.world.until(lambda: late.store.index == leader.store.index)
        self.write(late)
        self.world.run_for(1.0)
        self.assertEqual(late.store.digest(), leader.store.digest())

    def test_two_servers_fail_to_bootstrap(self) -> None:
        """Fewer than expected write no configuration; the third makes it complete."""
        agents = [self.world.server(n, bootstrap_expect=3, retry_join=("10.0.0.1",)) for n in (1, 2)]
        for agent in agents:
            agent.startService()
        self.world.run_for(20.0)
        self.assertEqual([agent.raft.core.last_log_index for agent in agents], [0, 0])
        self.world.server(3, bootstrap_expect=3, retry_join=("10.0.0.1",)).startService()
        self.world.until(lambda: self.world.leader)

    def test_services_of_a_node(self) -> None:
        """What is registered with one server's agent is in the catalog of all, and survives strays."""
        leader, follower, _ = self.cluster()
        follower.local.add_service(NodeService(id="web1", service="web", port=80))
        self.world.run_for(1.0)
        for agent in self.world.agents:
            assert isinstance(agent, ServerAgent)
            self.assertIsNotNone(agent.store.catalog.service_of(follower.node_name, "web1"))
        stray = RegisterRequest(
            node=follower.node_name,
            address="10.0.0.9",
            skip_node_update=True,
            service=NodeService(id="stray", service="stray"),
        )
        self.done(leader.ask("Catalog.Register", stray))
        self.world.run_for(130.0)
        found = leader.ask("Catalog.NodeServices", NodeSpecificRequest(node=follower.node_name))
        self.assertEqual(sorted(found.node_services.services), ["consul", "web1"])
