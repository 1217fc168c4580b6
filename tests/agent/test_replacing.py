"""Servers that are replaced: at the same address with nothing left, and at another with everything."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.environment import Environment
from pyconsul.agent.server import ServerAgent
from pyconsul.config.groups import Autopilot
from pyconsul.interfaces import RaftStorage
from pyconsul.raft.configuration import NONVOTER, VOTER, Server
from pyconsul.storage.memory import MemoryStorage
from pyconsul.structs.operator import (
    AutopilotSetConfigRequest,
    RaftRemovePeerRequest,
    TransferLeaderRequest,
)
from pyconsul.structs.query import DCSpecificRequest
from pyconsul.testing.clock import NodeClock
from pyconsul.testing.transports import GossipSocket, RaftSocket, RpcSocket
from tests.agent.fixture import noted, put
from tests.agent.world import World, node_id


class Base(SynchronousTestCase):
    """Three servers and, mostly, a short time to become stable."""

    stable_s = 4.0

    def setUp(self) -> None:
        self.world = World()
        self.addCleanup(self.world.stop)
        self.leader, self.one, self.two = self.world.cluster(
            autopilot=Autopilot(server_stabilization_time=self.stable_s)
        )

    def start(self, number: int, name: str, identity: str, storage: RaftStorage | None = None) -> ServerAgent:
        """A server of this name and id at 10.0.0.<number>."""
        ip, clock = f"10.0.0.{number}", NodeClock(self.world.clock)
        stack = self.world.network.plug(ip, clock)
        self.world.clocks[ip], self.world.stacks[ip] = clock, stack
        environment = Environment(
            clock=clock,
            rng=Random(number),
            wall_time=lambda: 1_700_000_000.0,
            rpc_transport=RpcSocket(stack),
            gossip_transport=GossipSocket(stack),
            raft_transport=RaftSocket(stack, identity),
        )
        config = self.world.config(
            number, server=True, node_name=name, retry_join=(self.leader.config.advertise_addr,)
        )
        agent = ServerAgent(config, environment, identity, storage or MemoryStorage())
        self.world.agents.append(agent)
        agent.startService()
        return agent

    def in_force(self) -> dict[str, Server]:
        return {server.id: server for server in self.leader.raft.core.configuration.servers}

    def move(self) -> tuple[ServerAgent, ServerAgent]:
        """Kill a server and start it with its disk at another address; both of its lives."""
        old = self.one
        storage = old.raft._storage
        assert isinstance(storage, MemoryStorage)
        self.world.kill(old)
        return old, self.start(9, old.node_name, old.node_id, storage)

    def write(self) -> None:
        """The group goes on."""
        results = noted(self.leader.ask("KVS.Apply", put("a")))
        self.world.until(lambda: results, 2.0)
        self.assertEqual(results, [True])


class ReplacingTests(Base):
    def test_same_address(self) -> None:
        """A disk was lost: the server under its old name and address has a new id, and no vote at first."""
        lost = self.one
        number = int(lost.config.advertise_addr.rpartition(".")[2])
        self.world.kill(lost)
        new = self.start(number, lost.node_name, node_id(77))
        self.world.until(lambda: node_id(77) in self.in_force(), 30.0)
        self.assertNotIn(lost.node_id, self.in_force())
        self.assertEqual(self.in_force()[node_id(77)], Server(node_id(77), lost.rpc_address, NONVOTER))
        self.write()
        self.world.until(lambda: self.in_force()[node_id(77)].suffrage == VOTER, 20.0)
        self.write()
        self.world.until(lambda: new.store.digest() == self.leader.store.digest(), 5.0)

    def test_same_id(self) -> None:
        """A server that died is gone when it comes to another address: it begins without a vote."""
        old, moved = self.move()
        self.world.until(lambda: old.node_id not in self.in_force(), 60.0)
        self.world.until(lambda: old.node_id in self.in_force(), 120.0)
        self.assertEqual(self.in_force()[old.node_id], Server(old.node_id, "10.0.0.9:8300", NONVOTER))
        self.world.until(lambda: self.in_force()[old.node_id].suffrage == VOTER, 20.0)
        self.write()
        self.world.until(lambda: moved.store.digest() == self.leader.store.digest(), 5.0)


    def test_same_name(self) -> None:
        """A new machine elsewhere takes over the name of a dead one, in gossip, catalog and Raft."""
        dead = self.one
        self.world.kill(dead)
        new = self.start(9, dead.node_name, node_id(77))
        self.world.until(lambda: node_id(77) in self.in_force(), 150.0)
        self.world.until(lambda: self.in_force()[node_id(77)].suffrage == VOTER, 20.0)
        self.assertNotIn(dead.node_id, self.in_force())
        row = self.leader.store.catalog.node(dead.node_name)
        assert row is not None
        self.assertEqual((row.id, row.address), (node_id(77), "10.0.0.9"))
        self.write()
        self.world.until(lambda: new.store.digest() == self.leader.store.digest(), 5.0)


class PatientTests(Base):
    stable_s = 120.0

    def test_same_id(self) -> None:
        """One that has not been given up by then keeps its vote."""
        old, moved = self.move()
        self.world.until(lambda: self.in_force()[old.node_id].address == "10.0.0.9:8300", 100.0)
        self.assertEqual(self.in_force()[old.node_id].suffrage, VOTER)
        self.write()
        self.world.until(lambda: moved.store.digest() == self.leader.store.digest(), 5.0)
        self.world.run_for(150.0)
        self.assertEqual(self.in_force()[old.node_id], Server(old.node_id, "10.0.0.9:8300"))
        self.assertEqual(len(self.in_force()), 3)


class OperatorTests(Base):
    """What operators do, by way of a follower."""

    def ask(self, method: str, request: object) -> Any:
        results = noted(self.one.ask(method, request))
        self.world.until(lambda: results)
        if isinstance(results[0], Exception):
            raise results[0]
        return results[0]

    def test_views(self) -> None:
        """The same from everywhere; health comes from the leader."""
        found = self.ask("Operator.RaftGetConfiguration", DCSpecificRequest())
        rows = [(row.node, row.leader, row.voter) for row in found.servers]
        self.assertEqual(len(rows), 3)
        self.assertIn((self.leader.node_name, True, True), rows)
        health = self.ask("Operator.ServerHealth", DCSpecificRequest())
        self.assertTrue(health.healthy, health)
        self.assertEqual(health.failure_tolerance, 1)
        config = self.ask("Operator.AutopilotGetConfiguration", DCSpecificRequest())
        self.assertEqual(config.server_stabilization_time, int(self.stable_s * 1e9))

    def test_set(self) -> None:
        """A change of Autopilot's configuration is stored everywhere."""
        row = self.leader.store.autopilot.row
        assert row is not None
        self.assertIs(
            self.ask("Operator.AutopilotSetConfiguration", AutopilotSetConfigRequest(config=row, cas=True)),
            True,
        )
        self.assertIs(
            self.ask("Operator.AutopilotSetConfiguration", AutopilotSetConfigRequest(config=row, cas=True)),
            False,
        )

    def test_remove_and_transfer(self) -> None:
        """A live server that is removed comes back by gossip, without a vote."""
        self.ask("Operator.RaftRemovePeerByID", RaftRemovePeerRequest(id=self.two.node_id))
        self.world.until(lambda: self.in_force().get(self.two.node_id), 90.0)
        self.world.until(lambda: self.in_force()[self.two.node_id].suffrage == VOTER, 30.0)
        reply = self.ask("Operator.TransferLeader", TransferLeaderRequest(id=self.two.node_id))
        self.assertTrue(reply.success)
        self.world.until(lambda: self.two.raft.ready, 5.0)
        self.assertIsNone(self.leader.autopilot.health())
        self.assertIsNotNone(self.two.autopilot.health())
