"""What becomes of a log whose disk failed: nothing that was durable is lost, and nothing else is believed."""

from __future__ import annotations

import errno
from random import Random
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import StorageDamaged
from pyconsul.storage.mending import LOOK_MAX_S, LOOK_S, Mending, Opened, said
from pyconsul.storage.raft_storage import SegmentedStorage
from pyconsul.storage.snapshotting import Snapshotting
from pyconsul.testing.disk import SimDisk
from pyconsul.testing.raft_world import DataMachine
from tests.agent.fixture import NotingRaft
from tests.storage.worlds import World, entries, entry

EIO = OSError(errno.EIO, "Input/output error")


class Base(SynchronousTestCase):
    """A log of three entries on a disk, and what waits for that disk."""

    segment_bytes = 4096

    def setUp(self) -> None:
        self.world = World(self.segment_bytes)
        self.disk = self.world.disk
        self.world.append(1, entries(1, 3))
        self.opened: list[Opened] = []
        self.refusals: list[Exception] = []
        self.mending = Mending(self.disk, self.world.clock, self.make_work, self.take)

    def make_work(self) -> Snapshotting:
        clock: Any = self.world.clock
        return Snapshotting(
            self.disk,
            "raft/snapshots",
            clock,
            lambda: 0.0,
            DataMachine(),
            NotingRaft(),
            lambda event: None,
            lambda info: None,
        )

    def take(self, opened: Opened) -> None:
        if self.refusals:
            raise self.refusals.pop()
        self.opened.append(opened)

    def fail_on(self, operation: str, error: OSError = EIO) -> None:
        """Have a write fail, and begin to wait."""
        self.disk.faults[operation] = error
        self.world.storage.append(2, [entry(4)])
        self.world.settle()
        [(_, found)] = self.world.failures
        self.mending.begin(self.world.storage, 3, found)
        self.assertEqual(self.mending.error, said(found))

    def wait(self, seconds: float = LOOK_S) -> None:
        for _ in range(int(seconds)):
            self.world.clock.advance(1.0)
        self.world.settle()


class MendingTests(Base):
    def test_works_again(self) -> None:
        """The disk is looked at every two seconds; once it works, the log is what is on it."""
        self.fail_on("sync")
        self.wait(20.0)
        self.assertEqual(self.opened, [])
        self.disk.faults.clear()
        self.wait(4.0)
        [opened] = self.opened
        self.assertEqual(self.mending.error, "")
        self.assertIn(opened.found.last_index, (3, 4))
        self.assertEqual(opened.storage.read(1, 4, 1 << 20), entries(1, 3))
        self.assertIsNone(opened.snapshot)
        persisted: list[int] = []
        opened.storage.persisted = persisted.append
        opened.storage.append(1, [entry(opened.found.last_index + 1)])
        self.world.settle()
        self.assertEqual(persisted, [1])

    def test_what_was_not_synced(self) -> None:
        """An entry that only the page cache has is written again before anybody believes in it."""
        self.fail_on("sync")
        self.disk.faults.clear()
        self.wait()
        [opened] = self.opened
        self.assertEqual(opened.found.last_index, 4)
        for seed in range(20):
            self.disk._rng = Random(seed)
            self.disk.crash()
            self.disk.attach(self.world.clock)
            storage = SegmentedStorage(self.disk, Random(1), segment_bytes=4096)
            self.assertEqual(storage.recover().last_index, 4)

    def test_full(self) -> None:
        """On a full disk nothing is tried but one small file; what the log had reserved is given back."""
        self.disk.full = True
        self.fail_on("write", OSError(errno.ENOSPC, "No space left on device"))
        self.disk.faults.clear()
        self.wait(10.0)
        self.assertEqual(self.opened, [])
        self.assertRegex(self.mending.error, "^raft/probe.new: No space left on device$")
        self.assertEqual([name for name in self.disk.list("raft") if name.endswith(".new")], [])
        self.disk.full = False
        self.wait()
        self.assertEqual(self.opened[0].found.last_index, 3)
        self.assertNotIn("probe.new", self.disk.list("raft"))

    def test_lost(self) -> None:
        """A log that has less than what was durable is not taken; the disk is looked at less often."""
        self.fail_on("sync")
        self.disk.faults.clear()
        name = self.world.segments()[-1]
        before = self.disk.open(f"raft/{name}")
        data = before.read(4096, 64)
        before.write((bytes(4096 - 64),), 64)
        self.wait()
        self.assertEqual(self.opened, [])
        self.assertRegex(self.mending.error, "^raft: the log ends with entry 0, though entry 3 was durable; ")
        looks = []
        for second in range(300):
            operations = self.disk.operations
            self.world.clock.advance(1.0)
            if self.disk.operations > operations:
                looks.append(second)
        self.assertEqual(looks[-1] - looks[-2], LOOK_MAX_S + 1.0)  # and the second that a job takes
        before = self.disk.open(f"raft/{name}")
        before.write((data,), 64)
        self.wait(LOOK_MAX_S)
        self.assertEqual(len(self.opened), 1)

    def test_refused(self) -> None:
        """If what was found cannot be used after all, it is tried again."""
        self.fail_on("sync")
        self.disk.faults.clear()
        self.refusals = [StorageDamaged("raft/x: damaged"), OSError(5, "bad", "raft/x")]
        self.wait()
        self.assertEqual(self.mending.error, "raft/x: damaged")
        self.wait(40.0)
        self.assertEqual(len(self.opened), 1)

    def test_stop(self) -> None:
        """Nothing is found any more, before and while the disk is looked at."""
        self.fail_on("sync")
        self.disk.faults.clear()
        self.world.clock.advance(LOOK_S)  # a job is under way
        self.mending.stop()
        self.world.settle()
        self.assertEqual((self.opened, self.world.clock.getDelayedCalls()), ([], []))
        again = Mending(self.disk, self.world.clock, self.make_work, self.take)
        again.begin(self.world.storage, 3, EIO)
        again.stop()
        self.wait(10.0)
        self.assertEqual(self.opened, [])


class SmallSegmentTests(SynchronousTestCase):
    def test_no_room_for_a_whole_one(self) -> None:
        """Where a file of the usual size does not fit, a small one does."""
        clock = Clock()
        disk = SimDisk(clock, Random(1), lambda rng: 1.0)
        room = [3000]
        allocate = type(disk.open("x", create=True)).allocate

        def limited(self: Any, size: int) -> None:
            if size > room[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            allocate(self, size)

        self.patch(type(disk.open("x")), "allocate", limited)
        storage = SegmentedStorage(disk, Random(2), segment_bytes=4096)
        persisted: list[int] = []
        storage.persisted = persisted.append
        storage.recover()
        for index in range(1, 40):
            storage.append(index, [entry(index)])
            for _ in range(4):
                clock.advance(1)
        self.assertEqual(persisted[-1], 39)
        sizes = [size for path, size in disk.files("raft") if path.endswith(".segment")]
        self.assertGreater(len(sizes), 5)
        self.assertEqual(storage.read(1, 40, 1 << 20), entries(1, 39))
        room[0] = 0
        failed: list[str] = []
        storage.failed = lambda seq, error: failed.append(said(error))
        for index in range(40, 60):
            storage.append(index, [entry(index)])
            for _ in range(4):
                clock.advance(1)
        self.assertEqual(len(failed), 1)
        self.assertRegex(failed[0], "^raft/[0-9]+.new: No space left on device$")
        self.assertEqual([name for name in disk.list("raft") if name.endswith(".new")], [])

    def test_said(self) -> None:
        """The file comes first if there is one."""
        self.assertEqual(said(OSError(5, "bad", "raft/x")), "raft/x: bad")
        self.assertEqual(said(OSError(5, "bad")), "bad")
        self.assertEqual(said(OSError("only this")), "only this")
        self.assertEqual(said(ValueError()), "ValueError()")
