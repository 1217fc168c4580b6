"""Snapshots among whole servers and in Raft alone."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import PyconsulError
from pyconsul.state.store import Store
from pyconsul.storage.snapshot_policy import SnapshotSettings
from pyconsul.storage.snapshotting import Snapshotting
from pyconsul.testing.faults import FaultPlan
from pyconsul.testing.raft_world import PLAN_WITH_OPERATORS, RaftWorld
from pyconsul.testing.workload import Load
from pyconsul.testing.world import World
from tests.agent.fixture import noted

CALM_PLAN = FaultPlan(gap_s=1e9)
HARSH = replace(PLAN_WITH_OPERATORS, gap_s=1.0, length_s=1.0)


class CountingTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        # Errors in Deferreds of servers that crashed: nobody was left to look at them.
        self.addCleanup(self.flushLoggedErrors, PyconsulError)
        self.addCleanup(gc.collect)
        self.counts = dict.fromkeys(("take", "send", "store", "restore", "recover"), 0)
        for name in self.counts:
            self.count(name)

    def count(self, name: str) -> None:
        original = getattr(Snapshotting, name)

        def counted(work: Snapshotting, *arguments: Any) -> Any:
            result = original(work, *arguments)
            self.counts[name] += name != "recover" or result is not None
            return result

        self.patch(Snapshotting, name, counted)


class RaftTests(CountingTestCase):
    def test_trouble(self) -> None:
        """All that can happen to snapshots happens, and nothing is wrong after it."""
        for seed, servers in enumerate((5, 3, 4, 7, 2, 1)):
            RaftWorld(seed, servers, plan=HARSH, check_codec=seed % 2 == 0).trouble(60.0)
        for name, count in self.counts.items():
            self.assertGreater(count, 2, name)

    def test_changing_servers(self) -> None:
        """Where a server lacked its vote only as far as a deposed leader knew, or did so again."""
        RaftWorld(68, 4, plan=HARSH).trouble(60.0)

    def test_all_that_is_kept_is_a_snapshot(self) -> None:
        """No entries are kept for anybody."""
        settings = SnapshotSettings(threshold=1, interval_s=0.2, trailing_logs=0)
        for seed in range(1, 7):
            RaftWorld(seed, 3, plan=HARSH, snapshots=settings).trouble(30.0)
        self.assertGreater(self.counts["restore"], 5)


class WorldTests(CountingTestCase):
    def calm(self, seed: int = 1, servers: int = 3) -> World:
        world = World(seed, servers, plan=CALM_PLAN, load=Load(think_s=0.02))
        world.start()
        world.run(5.0)
        return world

    def test_who_was_away(self) -> None:
        """A server that lacks what the others have forgotten gets a snapshot, and so does a new disk."""
        world = self.calm()
        [leader] = world.leaders()
        away = next(node for node in world.nodes if node is not leader)
        world.crash(away)
        world.clients.start()
        world.watchers.start()
        world.run(40.0)
        self.assertGreater(world.agent(leader.number).raft.core.log.base_index, 100)
        world.boot(away)
        world.settle()
        self.assertGreater(self.counts["restore"], 0)

    def test_restart_replays_little(self) -> None:
        """What is read of the log at the start is what was written since the snapshot."""
        world = self.calm(2, 1)
        world.clients.start()
        world.run(30.0)
        world.clients.stop()
        world.run(10.0)
        node = world.nodes[0]
        world.crash(node)
        world.boot(node)
        raft = world.agent(1).raft
        assert raft.started_from is not None
        self.assertLess(raft.core.last_log_index - raft.started_from.index, 300)
        self.assertGreater(raft.started_from.index, 300)


class UserRestoreTests(CountingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.begin()

    def begin(self) -> None:
        self.world = World(3, 3, plan=CALM_PLAN)
        self.addCleanup(setattr, self, "world", None)
        self.world.start()
        self.world.run(10.0)
        [leader] = self.world.leaders()
        self.leader = leader

    def state(self) -> Store:
        store = Store()
        for number in range(3000):
            store.kv.set(100_000 + number, f"k{number:05d}", b"v" * 300, 0)
        store.index = 103_000
        return store

    def digests(self) -> set[str]:
        return {node.process.agent.store.digest() for node in self.world.nodes if node.process is not None}

    def keys(self) -> set[int]:
        return {len(node.process.agent.store.kv) for node in self.world.nodes if node.process is not None}

    def alike(self) -> None:
        """All servers come to have the same state: one may not know yet what was committed just now."""
        self.world.run_while(lambda: len(self.digests()) > 1, 1.0, "the same state everywhere")

    def test_everywhere(self) -> None:
        """The state is on all servers, also on one that was away, and survives that all lose power."""
        raft = self.world.agent(self.leader.number).raft
        away = next(node for node in self.world.nodes if node is not self.leader)
        self.world.crash(away)
        index = self.world.result_of(raft.restore(self.state().snapshot()))
        self.assertEqual(index, 103_001)
        self.world.boot(away)
        self.world.run(20.0)
        self.alike()
        self.assertEqual(self.keys(), {3000})
        for node in self.world.nodes:
            self.world.crash(node)
        for node in self.world.nodes:
            self.world.boot(node)
        self.world.run(30.0)
        self.alike()
        self.assertEqual(self.keys(), {3000})

    def test_leader_dies(self) -> None:
        """At any moment: afterwards all have the new state, or none has."""
        outcomes = set()
        for delay_ms in (1, 3, 5, 7, 10, 15, 20, 30, 50, 100, 200):
            raft = self.world.agent(self.leader.number).raft
            noted(raft.restore(self.state().snapshot()))
            self.world.run(delay_ms / 1000.0)
            self.world.crash(self.leader)
            self.world.run_while(lambda: not self.world.leaders(), 30.0, "another leader")
            self.world.boot(self.leader)
            self.world.run(20.0)
            self.assertEqual(len(self.digests()), 1)
            outcomes |= self.keys()
            [self.leader] = self.world.leaders()
            if self.keys() == {3000}:
                self.world.collect()
                self.begin()
        self.assertEqual(outcomes, {0, 3000})
