"""Disks that fill up, fail, tear writes, forget what a sync did not reach, and rot."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import PyconsulError, StorageDamaged
from pyconsul.storage import recovery
from pyconsul.storage.raft_storage import SegmentedStorage
from pyconsul.testing import faults
from pyconsul.testing.faults import DISK_KINDS, PLAN, FaultPlan
from pyconsul.testing.kernel import SimulationFailed
from pyconsul.testing.raft_world import PLAN_WITH_OPERATORS, RaftProcess, RaftWorld
from pyconsul.testing.safety import SafetyViolation
from pyconsul.testing.world import World

SIZES = (5, 3, 1, 2, 4, 7, 5, 5)


def with_bad_disks(plan: FaultPlan, times: float, **changes: Any) -> FaultPlan:
    """``plan`` with so many more faults of disks."""
    weights = ((kind, weight * times if kind in DISK_KINDS else weight) for kind, weight in plan.weights)
    return replace(plan, weights=tuple(weights), **changes)


ALONE = with_bad_disks(PLAN_WITH_OPERATORS, 4.0, gap_s=1.0, length_s=1.0)
SYNC_AND_POWER = FaultPlan(0.7, 0.7, (("disk_errors", 4.0), ("power_cut", 4.0), ("power_cut_many", 2.0)))
WHOLE = with_bad_disks(PLAN, 3.0, gap_s=4.0, length_s=3.0)


def raft_world(seed: int, **arguments: Any) -> RaftWorld:
    """A Raft group on bad disks."""
    return RaftWorld(seed, SIZES[seed % len(SIZES)], plan=ALONE, **arguments)


class RaftTests(SynchronousTestCase):
    def test_seeds(self) -> None:
        """Raft stays safe on bad disks, servers come back by themselves, and rot is found out."""
        refusals = mended = 0
        for seed in range(24):
            world = raft_world(seed)
            world.trouble(60.0)
            self.assertGreater(world.clients.acknowledged, 5)
            refusals += world.faults.refusals
            mended += sum("works again" in line for line in world.log)
        self.assertGreater(refusals, 3)
        self.assertGreater(mended, 40)

    def test_kept_seeds(self) -> None:
        """A snapshot that could not be read for a moment was called damaged, and its server told to
        empty its data folder."""
        for seed in (28, 103, 120, 180, 207, 235):
            raft_world(seed).trouble(60.0)

    def test_same_again(self) -> None:
        """A seed means one run."""
        digests = set()
        for _ in range(2):
            world = raft_world(8)
            world.trouble(20.0)
            digests.add(world.trace.digest())
        self.assertEqual(len(digests), 1)


class WholeServerTests(SynchronousTestCase):
    def setUp(self) -> None:
        # Errors in Deferreds of servers that crashed: nobody was left to look at them.
        self.addCleanup(self.flushLoggedErrors, PyconsulError)
        self.addCleanup(gc.collect)

    def test_seeds(self) -> None:
        """Whole servers as well, with Autopilot to put new ones in the place of those that rotted."""
        refusals = 0
        for seed in range(12):
            world = World(seed, (5, 3, 1, 5)[seed % 4], plan=WHOLE)
            self.assertGreater(world.trouble(120.0).acknowledged, 50)
            refusals += world.faults.refusals
        self.assertGreater(refusals, 0)


class SyncErrorIgnored(SegmentedStorage):
    """What could not be synced is called durable."""

    def _ran(self, error: BaseException | None) -> None:
        super()._ran(None)


class AppliesAgain(RaftProcess):
    """After the disk failed, everything that is in the log is applied once more."""

    def _apply(self, effect: Any) -> None:
        self.applied_index = min(self.applied_index, effect.entries[0].index - 1)
        super()._apply(effect)


class PlantedBugTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(self.flushLoggedErrors, PyconsulError)
        self.addCleanup(gc.collect)

    def finds(self, make: Callable[[int], RaftWorld], seeds: int) -> None:
        for seed in range(seeds):
            try:
                make(seed).trouble(60.0)
            except (SafetyViolation, SimulationFailed, StorageDamaged) as error:
                print(f"seed {seed}: {error!r}")
                return
        self.fail("not found")

    def test_sync_error_ignored(self) -> None:
        """A storage that does not look at what a sync says."""

        def storage(disk: Any, rng: Any) -> SegmentedStorage:
            return SyncErrorIgnored(disk, rng, segment_bytes=1024)

        self.finds(lambda seed: raft_world(seed, make_storage=storage), 10)

    def test_page_cache_believed(self) -> None:
        """After a sync that failed the log is read again, but what only the page cache has is believed."""
        self.patch(faults, "DISK_FAULTS", ("sync",))
        self.group(2).trouble(40.0)
        self.patch(recovery, "_write_again", lambda segment, data, durable: None)
        self.finds(self.group, 30)

    def group(self, seed: int) -> RaftWorld:
        """A group whose disks fail to sync, and lose power."""
        return RaftWorld(seed, (5, 3, 1)[seed % 3], plan=SYNC_AND_POWER)

    def test_applied_again(self) -> None:
        """A server that forgets what it has applied."""
        self.finds(lambda seed: raft_world(seed, process=AppliesAgain), 10)
