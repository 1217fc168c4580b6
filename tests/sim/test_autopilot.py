"""Whole servers under Autopilot: who is removed, who comes back, and that healing hurts nobody."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import PyconsulError
from pyconsul.raft.configuration import VOTER
from pyconsul.serf.members import Status
from pyconsul.testing.faults import FaultPlan
from pyconsul.testing.history import PUT, History
from pyconsul.testing.kernel import SimNode
from pyconsul.testing.world import ServerProcess, World

CALM_PLAN = FaultPlan(gap_s=1e9)
Node = SimNode[ServerProcess]


class AutopilotWorldTests(SynchronousTestCase):
    def setUp(self) -> None:
        # Errors in Deferreds of servers that crashed: nobody was left to look at them.
        self.addCleanup(self.flushLoggedErrors, PyconsulError)

    def start(self, seed: int, servers: int = 3) -> World:
        """A world in which the first leader has led for a while."""
        self.number = 0
        self.world = World(seed, servers, plan=CALM_PLAN)
        self.world.start()
        self.world.run(15.0)
        return self.world

    def leader(self) -> Node | None:
        """The one that leads in the highest term, if any; one that is cut off may not know yet."""
        terms = {node.name: self.world.agent(node.number).raft.core.term for node in self.world.leaders()}
        return max(self.world.leaders(), key=lambda node: terms[node.name], default=None)

    def leads(self) -> Node:
        """The leader, which there has to be."""
        leader = self.leader()
        assert leader is not None
        return leader

    def votes(self, observer: Node) -> dict[str, bool]:
        """The configuration as a server has it: who is in it, and who has a vote."""
        names = {node.id: node.name for node in self.world.nodes}
        servers = self.world.agent(observer.number).raft.core.configuration.servers
        return {names[server.id]: server.suffrage == VOTER for server in servers}

    def until(self, condition: Callable[[], bool], within_s: float, what: str) -> float:
        return self.world.run_while(lambda: not condition(), within_s, what)

    def isolate(self, node: Node) -> None:
        self.world.network.partition([node.ip], [other.ip for other in self.world.nodes if other is not node])

    def write(self, node: Node, within_s: float) -> None:
        """A write by way of ``node``, which has to be quick."""
        assert node.process is not None
        self.number += 1
        put = History().invoke(99, PUT, "probe", b"%d" % self.number)
        done: Deferred[bool] = maybeDeferred(node.process.perform, put, None)
        self.assertIs(self.world.result_of(done, within_s), True)

    def test_crash_and_return(self) -> None:
        """A dead server is removed; when it is back it is added without a vote, and gets one later."""
        world = self.start(1)
        leader = self.leads()
        victim = next(node for node in world.nodes if node is not leader)
        world.crash(victim)
        world.run(8.0)
        self.assertEqual(len(self.votes(leader)), 3)
        self.until(lambda: victim.name not in self.votes(leader), 20.0, "its removal")
        world.boot(victim)
        self.until(lambda: self.votes(leader).get(victim.name) is False, 10.0, "its return")
        waited = self.until(lambda: self.votes(leader).get(victim.name) is True, 20.0, "its vote")
        self.assertGreater(waited, 8.0)
        self.until(lambda: self.votes(victim) == self.votes(leader), 2.0, "that it knows")
        self.assertEqual(self.leader(), leader)

    def test_restart(self) -> None:
        """A server that is restarted keeps its vote all the time."""
        world = self.start(2)
        leader = self.leads()
        victim = next(node for node in world.nodes if node is not leader)
        index = world.agent(leader.number).raft.core.configuration_index
        for _ in range(3):
            world.crash(victim)
            world.run(9.0)
            world.boot(victim)
            world.run(9.0)
        self.assertEqual(world.agent(leader.number).raft.core.configuration_index, index)

    def healing(self, seed: int, cut_off_leader: bool) -> None:
        world = self.start(seed)
        first = self.leads()
        victim = first if cut_off_leader else next(node for node in world.nodes if node is not first)
        self.isolate(victim)

        def removed() -> bool:
            leader = self.leader()
            return leader is not None and leader is not victim and victim.name not in self.votes(leader)

        self.until(removed, 60.0, "its removal")
        leader, elections = self.leads(), world.checker.elections
        world.run(20.0)
        world.network.heal()
        healed = world.clock.now
        while not self.votes(leader).get(victim.name):
            self.write(leader, 0.5)
            world.run(0.1)
            self.assertLess(world.clock.now - healed, 60.0, "it has no vote after so long")
        self.write(victim, 0.5)
        self.assertEqual((self.leader(), world.checker.elections), (leader, elections))

    def test_healing_a_follower(self) -> None:
        """A server that was cut off and removed comes back without an election or a pause."""
        for seed in (3, 4):
            self.healing(seed, cut_off_leader=False)

    def test_healing_a_leader(self) -> None:
        """So does one that led before."""
        for seed in (5, 6):
            self.healing(seed, cut_off_leader=True)

    def test_gossip_alone_is_not_believed(self) -> None:
        """A server whose packets are lost, but which Raft reaches, is not removed."""
        world = self.start(7)
        leader = self.leads()
        victim = next(node for node in world.nodes if node is not leader)
        for address, socket in list(world.network.gossip.items()):
            if address[0] == victim.ip:
                del world.network.gossip[address]
                self.assertIsNotNone(socket)
        index = world.agent(leader.number).raft.core.configuration_index
        agent = world.agent(leader.number)
        self.until(
            lambda: any(m.name == victim.name and m.status is Status.FAILED for m in agent.members()),
            60.0,
            "gossip that calls it failed",
        )
        world.run(40.0)
        self.assertEqual(agent.raft.core.configuration_index, index)
        health = agent.autopilot.health()
        assert health is not None
        self.assertEqual([server.healthy for server in health.servers].count(False), 1)

    def test_not_too_many(self) -> None:
        """Two of five are removed, two of the three that are left are not."""
        world = self.start(8, 5)
        leader = self.leads()
        others = [node for node in world.nodes if node is not leader]
        for node in others[:2]:
            world.crash(node)
        self.until(lambda: len(self.votes(leader)) == 3, 60.0, "their removal")
        for node in others[2:]:
            world.crash(node)
        world.run(60.0)
        self.assertEqual(len(self.votes(leader)), 3)
        for node in others:
            world.boot(node)
        self.until(
            lambda: bool(world.leaders()) and list(self.votes(self.leads()).values()) == [True] * 5,
            240.0,
            "all five with their votes",
        )

    def test_restart_of_all(self) -> None:
        """A new leader whose gossip knows nobody yet removes nobody."""
        world = self.start(9, 5)
        for node in world.nodes:
            world.crash(node)
        for node in world.nodes:
            world.boot(node)
        world.run(60.0)
        self.assertEqual(self.votes(self.leads()), {f"s{number}": True for number in range(1, 6)})
        self.assertEqual(world.agent(1).raft.core.configuration_index, 1)

    def test_same_everywhere(self) -> None:
        """The stored configuration is the same on all servers, and the leader's health is good."""
        world = self.start(10)
        agents = [world.agent(number) for number in (1, 2, 3)]
        rows = [agent.store.autopilot.row for agent in agents]
        self.assertIsNotNone(rows[0])
        self.assertEqual(rows, [rows[0]] * 3)
        health = world.agent(self.leads().number).autopilot.health()
        assert health is not None
        self.assertEqual((health.healthy, health.failure_tolerance, len(health.servers)), (True, 1, 3))
