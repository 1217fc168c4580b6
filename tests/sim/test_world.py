from __future__ import annotations

import gc
import subprocess
import sys
from typing import Any

from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import PyconsulError
from pyconsul.serf.members import Status
from pyconsul.testing.faults import FaultPlan
from pyconsul.testing.history import CONSISTENT, PUT, History
from pyconsul.testing.kernel import SimulationFailed
from pyconsul.testing.workload import Load
from pyconsul.testing.world import World

CALM_PLAN = FaultPlan(gap_s=1e9)


class WorldTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        # Errors in Deferreds of servers that crashed: nobody was left to look at them.
        self.addCleanup(self.flushLoggedErrors, PyconsulError)
        self.addCleanup(gc.collect)  # now, lest the next world take what this one leaves for its own


class WorldTests(WorldTestCase):
    def test_trouble(self) -> None:
        """Whole servers come through faults of all kinds."""
        for seed, servers in ((1, 5), (2, 3), (3, 1)):
            world = World(seed, servers, plan=FaultPlan(gap_s=3.0, length_s=3.0))
            summary = world.trouble(60.0)
            self.assertGreater(summary.acknowledged, 20)
            self.assertGreater(sum(summary.faults.values()), 5)
            self.assertLess(summary.recovery_s, 5.0)
            self.assertGreater(summary.checks, 500)
            self.assertIn(f"seed {seed}: ", str(summary))

    def test_speed(self) -> None:
        """Virtual time goes much faster than real time; the bound leaves room for slow machines."""
        self.assertGreater(World(4, plan=FaultPlan(gap_s=5.0)).trouble(60.0).speed, 2.0)

    def test_calm(self) -> None:
        """Without faults: one election, no failures, the servers in each other's gossip and catalog."""
        world = World(1, 3, plan=CALM_PLAN, load=Load(think_s=0.05), lockers=0)
        summary = world.trouble(20.0)
        self.assertEqual((summary.faults, summary.elections), ({}, 1))
        self.assertGreater(summary.acknowledged, 500)
        for number in (1, 2, 3):
            agent = world.agent(number)
            self.assertEqual(
                {m.name for m in agent.members() if m.status is Status.ALIVE}, {"s1", "s2", "s3"}
            )
            self.assertEqual({node.node for node in agent.store.catalog.nodes()}, {"s1", "s2", "s3"})
            self.assertEqual(len(agent.raft.core.configuration.servers), 3)

    def test_asking(self) -> None:
        """A test may ask any server, as HTTP would, and let time pass for the answer."""
        world = World(2, 3, plan=CALM_PLAN)
        world.start()
        world.run(5.0)
        put = History().invoke(1, PUT, "a", b"1")
        for number in (1, 2, 3):
            process = world.nodes[number - 1].process
            assert process is not None
            self.assertIs(world.result_of(as_deferred(process.perform(put, None))), True)
            value, index = world.result_of(as_deferred(process._get("a", CONSISTENT)))
            self.assertEqual(value, b"1")
            self.assertGreater(index, 0)

    def test_failure_is_seen(self) -> None:
        """A member that fails is found by gossip, and written into the catalog by the leader."""
        world = World(3, 3, plan=CALM_PLAN)
        world.start()
        world.run(10.0)
        [leader] = world.leaders()
        victim = next(node for node in world.nodes if node is not leader)
        world.crash(victim)

        def health() -> str:
            found = world.agent(leader.number).store.catalog.node_check(victim.name, "serfHealth")
            return found.status if found is not None else "unknown"

        world.run_while(lambda: health() != "critical", 60.0, "a failed member in the catalog")
        world.boot(victim)
        world.run_while(lambda: health() != "passing", 60.0, "its return")

    def test_halves(self) -> None:
        """Servers that start while they are cut off from each other come together."""
        world = World(4, 5, plan=CALM_PLAN)
        here, there = ([node.ip for node in part] for part in (world.nodes[:2], world.nodes[2:]))
        world.network.partition(here, there)
        for node in world.nodes:
            world.boot(node)
        world.run(20.0)
        world.network.heal()
        world.run_while(lambda: not world._all_alive(), 60.0, "one pool")

    def test_same_everywhere(self) -> None:
        """A seed means one run, whatever the hashes of the process are."""
        program = (
            "from pyconsul.testing.world import World\n"
            "world = World(5, 3)\n"
            "print(world.trouble(30.0).digest)\n"
        )
        digests = {
            subprocess.run(
                [sys.executable, "-c", program],
                env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
                capture_output=True,
                text=True,
                check=True,
                timeout=100,
            ).stdout
            for seed in "12"
        }
        self.assertEqual(len(digests), 1, digests)
        self.assertNotEqual(digests, {""})


def as_deferred(answer: Any) -> Any:
    return answer if hasattr(answer, "addCallback") else succeed(answer)


class FailureTests(WorldTestCase):
    def test_no_majority(self) -> None:
        """A world that cannot get well says what is missing."""
        world = World(1, 3, plan=CALM_PLAN)
        world.boot(world.nodes[0])
        error = self.assertRaises(
            SimulationFailed, world.run_while, lambda: not world.leaders(), 20.0, "a leader"
        )
        self.assertIn("a leader: not within 20.0 s", str(error))
