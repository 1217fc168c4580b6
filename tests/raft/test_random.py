"""Random runs: crashes, cuts, loss, slow disks, changes; ``Safety`` looks after every event.

A failure names its seed: ``Storm(seed).run()`` repeats it exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft import events
from pyconsul.raft.events import ChangeKind
from pyconsul.raft.timing import Timing
from tests.raft.harness import FAST_DISK_S, Cluster, Node

SEEDS = 240
STEPS = 250
SETTLE_WITHIN_S = 30.0
EVENTS_MAX = 150_000


class Storm:
    """One run over a cluster of 1 to 5 voters, with a nonvoter and a newcomer at times."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.size = self.rng.choice((1, 2, 3, 3, 3, 5))
        timing = Timing(
            entries_per_append_max=self.rng.choice((256, 256, 1, 3)),
            bytes_per_append_max=self.rng.choice((64 * 1024, 64 * 1024, 100)),
            inflight_appends_max=self.rng.choice((128, 128, 2)),
        )
        self.cluster = Cluster(self.size, seed, self.rng.choice((0, 0, 1)), timing)
        self.spare = [self.cluster.add("x").id] if self.rng.random() < 0.3 else []
        self.number = 0
        calm = self.rng.random() < 0.3
        self.actions: list[tuple[Callable[[], None], int]] = [
            (self.propose, 30),
            (self.read, 8),
            (self.crash, 1 if calm else 6),
            (self.crash_a_leader, 2 if calm else 6),
            (self.restart, 8),
            (self.cut, 2 if calm else 7),
            (self.heal, 6),
            (self.weather, 4),
            (self.slow_disk, 3),
            (self.pause, 0 if calm else 3),
            (self.break_connection, 3),
            (self.change, 4),
            (self.transfer, 3),
        ]

    def run(self) -> Cluster:
        """Let the storm pass, then everybody has to agree."""
        rng, cluster = self.rng, self.cluster
        functions = [function for function, _ in self.actions]
        weights = [weight for _, weight in self.actions]
        cluster.run(rng.uniform(0.0, 2.5))
        for _ in range(STEPS):
            rng.choices(functions, weights)[0]()
            assert cluster.events < EVENTS_MAX, "messages breed messages"
            cluster.run(rng.choice((0.0, 0.001, 0.004, 0.02, 0.1, 0.5)) * (0.5 + rng.random()))
        self.settle()
        return cluster

    def settle(self) -> None:
        """Everything works again: a leader emerges and all of its servers catch up."""
        cluster = self.cluster
        cluster.heal()
        cluster.loss = cluster.doubled = 0.0
        cluster.reorders = False
        cluster.delay_s = (0.001, 0.003)
        for node in cluster.nodes.values():
            node.disk_s = FAST_DISK_S
            if not node.alive:
                node.start()

        def settled() -> bool:
            leader = cluster.leader
            if leader is None or leader.core.log.term_at(leader.core.commit_index) != leader.core.term:
                return False
            return cluster.agreed(leader.id, *(server.id for server in leader.core.configuration.servers))

        cluster.run_until(settled, SETTLE_WITHIN_S)
        assert cluster.events < EVENTS_MAX, f"{cluster.events} events: messages breed messages"

    # ------------------------------------------------------------ what may happen

    def node(self) -> Node:
        return self.rng.choice(list(self.cluster.nodes.values()))

    def leader(self) -> Node | None:
        """Any server that thinks it leads, deposed or not."""
        leaders = [node for node in self.cluster.nodes.values() if node.leads]
        return self.rng.choice(leaders) if leaders else None

    def propose(self) -> None:
        leader = self.leader()
        if leader is not None:
            commands = []
            for _ in range(self.rng.choice((1, 1, 2, 5, 30))):
                self.number += 1
                commands.append(b"%d" % self.number * self.rng.choice((1, 1, 1, 5_000)))
            leader.propose(*commands)

    def read(self) -> None:
        leader = self.leader()
        if leader is not None:
            self.cluster.read(leader)

    def crash(self) -> None:
        node = self.node()
        if node.alive:
            node.crash(self.rng.randint(0, 3))

    def crash_a_leader(self) -> None:
        """Just after it was asked to write, when little of it has got through (figure 8)."""
        leader = self.leader()
        if leader is not None:
            self.number += 1
            leader.propose(b"%d" % self.number)
            self.cluster.run(self.rng.uniform(0.0, 0.006))
            if leader.alive:
                leader.crash(self.rng.randint(0, 3))

    def restart(self) -> None:
        dead = [node for node in self.cluster.nodes.values() if not node.alive]
        if dead:
            self.rng.choice(dead).start()

    def cut(self) -> None:
        ids = list(self.cluster.nodes)
        if self.rng.random() < 0.4:
            self.cluster.cut.add((self.rng.choice(ids), self.rng.choice(ids)))
        else:
            self.cluster.isolate(*self.rng.sample(ids, self.rng.randint(1, max(1, len(ids) // 2))))

    def heal(self) -> None:
        self.cluster.heal()

    def weather(self) -> None:
        cluster = self.cluster
        cluster.loss = self.rng.choice((0.0, 0.0, 0.05, 0.3))
        cluster.doubled = self.rng.choice((0.0, 0.0, 0.2))
        cluster.reorders = self.rng.random() < 0.4
        cluster.delay_s = self.rng.choice(
            ((0.001, 0.003), (0.001, 0.003), (0.0, 0.05), (0.02, 0.4), (0.0, 3.0))
        )

    def slow_disk(self) -> None:
        self.node().disk_s = self.rng.choice((FAST_DISK_S, 0.1, 1.0))

    def pause(self) -> None:
        """Most often a leader that will not know that it was deposed, and is then asked to read."""
        node = self.leader() or self.node()
        node.pause(self.rng.choice((0.3, 2.0, 4.0)))

    def break_connection(self) -> None:
        node, peer = self.node(), self.node()
        if node.alive:
            node.feed(events.Unreachable(peer.id))

    def change(self) -> None:
        leader = self.leader()
        if leader is not None and self.size > 1:
            leader.change(self.rng.choice(list(ChangeKind)), self.rng.choice([*self.cluster.nodes]))

    def transfer(self) -> None:
        leader = self.leader()
        if leader is not None:
            leader.feed(events.TransferLeadership(self.rng.choice(["", *self.cluster.nodes])))


class RandomTests(SynchronousTestCase):
    """Paper, figure 3, under everything that a network and disks may do."""

    def storms(self, first: int, end: int) -> None:
        committed = 0
        elections = 0
        for seed in range(first, end):
            try:
                cluster = Storm(seed).run()
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}") from error
            committed += len(cluster.safety.committed)
            elections += len(cluster.safety.leaders)
        self.assertGreater(committed / (end - first), 30)
        self.assertGreater(elections / (end - first), 2)

    def test_storms_1(self) -> None:
        """The first quarter of the seeds."""
        self.storms(0, SEEDS // 4)

    def test_storms_2(self) -> None:
        """The second quarter."""
        self.storms(SEEDS // 4, SEEDS // 2)

    def test_storms_3(self) -> None:
        """The third quarter."""
        self.storms(SEEDS // 2, SEEDS * 3 // 4)

    def test_storms_4(self) -> None:
        """The last quarter."""
        self.storms(SEEDS * 3 // 4, SEEDS)

    def test_repeatable(self) -> None:
        """The same seed is the same run."""
        runs = [Storm(11).run() for _ in range(2)]
        self.assertEqual(*[(run.now, run.events, run.safety.leaders) for run in runs])
