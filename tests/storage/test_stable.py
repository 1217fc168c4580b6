"""Term and vote on the disk."""

from __future__ import annotations

from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import StorageDamaged
from pyconsul.storage.stable import StableState
from pyconsul.testing.disk import SimDisk


class StableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = SimDisk(Clock(), Random(1))
        self.disk.make_folder("raft")
        self.disk.sync_folder("")
        self.state = StableState(self.disk, "raft")

    def test_round_trip(self) -> None:
        """What was saved last is loaded, also after the power went."""
        self.assertIsNone(self.state.load())
        for term, vote in ((0, ""), (7, "a-b"), (1 << 40, "x" * 1000), (1 << 41, "ü")):
            self.state.save(term, vote)
            self.disk.crash()
            self.assertEqual(StableState(self.disk, "raft").load(), (term, vote))
        self.assertEqual(self.disk.list("raft"), ["state"])

    def test_all_or_nothing(self) -> None:
        """A power cut at any moment leaves the old ones or the new ones."""
        found = set()
        for seed in range(300):
            disk = SimDisk(Clock(), Random(seed))
            disk.make_folder("raft")
            disk.sync_folder("")
            StableState(disk, "raft").save(1, "old")
            whole = disk.cut_short(lambda: StableState(disk, "raft").save(2, "newer"), seed % 9)  # noqa: B023
            disk.crash()
            loaded = StableState(disk, "raft").load()
            self.assertIn(loaded, [(1, "old"), (2, "newer")])
            if whole:
                self.assertEqual(loaded, (2, "newer"))
            found.add((whole, loaded))
        self.assertEqual(len(found), 3)

    def test_rests_of_an_earlier_try(self) -> None:
        """A longer temporary file that was left over does not get into the new one."""
        self.disk.open("raft/state.new", create=True).write([b"x" * 500], 0)
        self.state.save(3, "v")
        self.assertEqual(self.state.load(), (3, "v"))

    def test_damage(self) -> None:
        """Any changed byte, and any cut, is noticed."""
        self.state.save(9, "somebody")
        size = self.disk.open("raft/state").size()
        for place in range(size):
            self.disk.damage("raft/state", place)
            with self.assertRaisesRegex(StorageDamaged, "^raft/state: damaged at offset 0"):
                self.state.load()
            self.disk.damage("raft/state", place)
        self.assertEqual(self.state.load(), (9, "somebody"))
        for keep in range(size):
            self.disk.open("raft/state").truncate(keep)
            with self.assertRaises(StorageDamaged):
                self.state.load()
            self.state.save(9, "somebody")
        self.disk.open("raft/state").write([b"x"], size)
        with self.assertRaises(StorageDamaged):
            self.state.load()
