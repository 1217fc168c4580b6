"""Default reads of whole servers are linearizable, as long as clocks go at nearly the same rate.

How nearly is what the lease leaves of the heartbeat timeout: by Consul's timing a clock may go twice
as fast as another. Beyond that the simulation finds reads of what was overwritten before they began.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.replica import Replica
from pyconsul.errors import PyconsulError
from pyconsul.testing.faults import FaultPlan
from pyconsul.testing.kernel import SimulationFailed
from pyconsul.testing.linearizability import check
from pyconsul.testing.workload import Load
from pyconsul.testing.world import World

KINDS = (
    ("pause_leader", 1.0),
    ("isolate_leader", 1.0),
    ("mute_leader", 1.0),
    ("deaf_leader", 1.0),
    ("slow_network", 0.5),
    ("kill_leader", 0.5),
    ("transfer", 0.5),
)
PLAN = FaultPlan(gap_s=4.0, length_s=4.0, weights=KINDS)
READING = Load(
    think_s=0.02, keys=3, weights=(3.0, 5.0, 0.0, 0.0, 0.0), modes=(1.0, 0.0, 0.0), timeouts_s=(1.0,)
)
"""Clients that do little but read in the default mode, and soon go elsewhere."""


class DefaultReadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(self.flushLoggedErrors, PyconsulError)

    def world(self, seed: int, drift: float = 0.001) -> World:
        return World(seed, 3, plan=PLAN, load=READING, watchers=0, drift=drift)

    def test_within_the_bound(self) -> None:
        """Clocks that differ by almost a factor of two, stalls, cuts and transfers: no stale read."""
        for seed in range(4):
            self.assertGreater(self.world(seed, drift=0.3).trouble(60.0).acknowledged, 100)

    def slow_leader(self, rate: float) -> bool:
        """Whether reads go wrong when a leader whose clock has this rate is cut off."""
        wrong = False
        for seed in range(3):
            world = World(seed, 3, plan=PLAN, load=READING, watchers=0)
            slow = world.nodes[0]
            slow.rate = rate
            world.start()
            world.run(10.0)
            [leader] = world.leaders()
            if leader is not slow:
                world.result_of(world.agent(leader.number).raft.transfer(slow.id))
            world.clients.start()
            world.run(5.0)
            self.assertEqual(world.leaders(), [slow])
            for other in world.nodes[1:]:
                world.network.cut(slow.ip, other.ip)
            world.run(8.0)
            wrong = wrong or check(world.clients.history) is not None
        return wrong

    def test_beyond_the_bound(self) -> None:
        """A leader whose clock goes at a fifth of the others' takes its lease for valid for too long."""
        self.assertFalse(self.slow_leader(0.55))
        self.assertTrue(self.slow_leader(0.2))

    def test_without_a_lease(self) -> None:
        """That a leader steps down when it hears no majority is not enough: it may have stood still."""
        self.patch(Replica, "holds_lease", True)
        stalls = FaultPlan(gap_s=4.0, length_s=6.0, weights=(("pause_leader", 1.0),))
        for seed in range(8):
            try:
                World(seed, 3, plan=stalls, load=READING, watchers=0).trouble(60.0)
            except SimulationFailed as error:
                self.assertIn("not linearizable", str(error))
                return
        self.fail("not found")
