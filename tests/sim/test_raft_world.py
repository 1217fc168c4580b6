from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.testing.faults import FaultPlan
from pyconsul.testing.network import CALM, Conditions
from pyconsul.testing.raft_world import PLAN_WITH_OPERATORS, RaftWorld
from pyconsul.testing.workload import Load

HARSH = replace(PLAN_WITH_OPERATORS, gap_s=1.0, length_s=1.0)
FAR = Conditions(delay_s=0.01, jitter_s=0.3)


class RaftWorldTests(SynchronousTestCase):
    def test_trouble(self) -> None:
        """Groups of all sizes stay safe through faults of all kinds, and live once these end."""
        for seed, servers in enumerate((5, 3, 1, 2, 4, 7, 5, 5)):
            world = RaftWorld(seed, servers, plan=HARSH, conditions=FAR if seed % 2 else CALM)
            world.trouble(40.0)
            self.assertGreater(world.clients.acknowledged, 5)
            self.assertGreater(world.faults.count, 15)
            world.run_while(partial(self.leaderless, world), 10.0, "one leader")

    def leaderless(self, world: RaftWorld) -> bool:
        return len(world.leaders()) != 1

    def test_messages_survive_encoding(self) -> None:
        """What cores say is what they mean once it went through the codec."""
        world = RaftWorld(3, 3, plan=HARSH, check_codec=True)
        world.trouble(20.0)
        self.assertGreater(world.clients.acknowledged, 5)

    def test_calm(self) -> None:
        """Without faults there is one election, and nothing that clients ask fails."""
        world = RaftWorld(1, plan=FaultPlan(gap_s=1e9), load=Load(think_s=0.05))
        for node in world.nodes:
            world.boot(node)
        world.run_while(lambda: not world.leaders(), 10.0, "a leader")
        world.clients.start()
        world.run(10.0)
        world.settle()
        self.assertEqual(world.checker.elections, 1)
        self.assertGreater(world.clients.acknowledged, 300)

    def test_same_again(self) -> None:
        """A seed means one run: the same one after the other, and other ones for other seeds."""

        def digest(seed: int) -> str:
            world = RaftWorld(seed, 3, plan=HARSH)
            world.trouble(15.0)
            return world.trace.digest()

        self.assertEqual(digest(5), digest(5))
        self.assertNotEqual(digest(5), digest(6))

    def test_same_elsewhere(self) -> None:
        """The same also in a process that hashes strings differently."""
        program = (
            "from pyconsul.testing.raft_world import RaftWorld\n"
            "world = RaftWorld(5, 3)\n"
            "world.trouble(30.0)\n"
            "print(world.trace.digest())\n"
        )
        digests = {
            subprocess.run(
                [sys.executable, "-c", program],
                env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            ).stdout
            for seed in "12"
        }
        self.assertEqual(len(digests), 1, digests)
