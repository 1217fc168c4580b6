from __future__ import annotations

import errno
from random import Random

from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import StorageDamaged
from pyconsul.raft.configuration import NONVOTER, Configuration, Server
from pyconsul.raft.snapshot import SnapshotInfo
from pyconsul.storage.snapshots import KEPT, SYNC_BYTES, SnapshotFiles, SnapshotName
from pyconsul.testing.disk import SimDisk

CONFIGURATION = Configuration([Server("a", "10.0.0.1:8300"), Server("b", "10.0.0.2:8300", NONVOTER)])
FOLDER = "raft/snapshots"


def description(index: int, term: int = 1) -> SnapshotInfo:
    """Of a snapshot that is yet to be written."""
    return SnapshotInfo(index, term, CONFIGURATION, 1, 0, 0)


class FilesTestCase(SynchronousTestCase):
    seed = 1

    def setUp(self) -> None:
        self.disk = SimDisk(Clock(), Random(self.seed), lambda rng: 0.0)
        self.disk.make_folder("raft")
        self.disk.sync_folder("")
        self.files = SnapshotFiles(self.disk, FOLDER)
        self.assertEqual(self.files.recover(), [])

    def write(self, index: int, data: bytes = b"state", term: int = 1, ms: int = 7) -> SnapshotName:
        draft = self.files.draft()
        draft.write(data)
        return draft.publish(description(index, term), ms)[0]

    def read(self, name: SnapshotName) -> bytes:
        return b"".join(self.files.pieces(name, self.files.info(name)))


class FilesTests(FilesTestCase):
    def test_written_and_read(self) -> None:
        """Also by a process that comes later; the folder's name tells term, index and time."""
        draft = self.files.draft()
        for part in (b"some ", b"", b"state"):
            draft.write(part)
        name, info = draft.publish(description(9, 2), 123)
        self.assertEqual(self.disk.list(FOLDER), ["2-9-123"])
        self.assertEqual(self.disk.list(f"{FOLDER}/2-9-123"), ["meta.json", "state"])
        self.disk.crash()
        files = SnapshotFiles(self.disk, FOLDER)
        self.assertEqual(files.recover(), [name])
        self.assertEqual(files.info(name), info)
        self.assertEqual((info.size, info.configuration), (10, CONFIGURATION))
        self.assertEqual(b"".join(files.pieces(name, info)), b"some state")
        self.assertEqual(files.find(info), name)

    def test_order(self) -> None:
        """The newest is first: by index, then term, then time; other names are passed over."""
        for index, term, ms in ((9, 1, 1), (10, 1, 1), (10, 1, 2), (10, 2, 1)):
            self.write(index, term=term, ms=ms)
        for name in ("other", "1-2", "1-x-3", "1-2-3-4"):
            self.disk.make_folder(f"{FOLDER}/{name}")
        self.assertEqual([str(name) for name in self.files.names()], ["2-10-1", "1-10-2", "1-10-1", "1-9-1"])

    def test_same_name(self) -> None:
        """Two of the same moment."""
        self.assertEqual(str(self.write(9)), "1-9-7")
        self.assertEqual(str(self.write(9)), "1-9-8")

    def test_prune(self) -> None:
        """The newest are kept."""
        for index in range(1, 6):
            self.write(index)
        self.files.prune()
        self.assertEqual([name.index for name in self.files.names()], [5, 4])
        self.assertEqual(len(self.disk.list(FOLDER)), KEPT)

    def test_unfinished_work(self) -> None:
        """Is removed at the start."""
        self.files.draft().write(b"data")
        self.assertEqual(self.disk.list(FOLDER), ["1.tmp"])
        self.assertEqual(SnapshotFiles(self.disk, FOLDER).recover(), [])
        self.assertEqual(self.disk.list(FOLDER), [])

    def test_discard(self) -> None:
        draft = self.files.draft()
        draft.discard()
        draft.write(b"data")
        draft.discard()
        self.assertEqual(self.disk.list(FOLDER), [])

    def test_not_what_was_sent(self) -> None:
        """One that comes from a leader has to be the leader's."""
        name = self.write(9, b"state")
        info = self.files.info(name)
        for data in (b"state", b"stat", b"State"):
            draft = self.files.draft()
            draft.write(data)
            if data == b"state":
                draft.publish(info, 1)
            else:
                self.assertRaises(StorageDamaged, draft.publish, info, 1)
        self.assertRaises(StorageDamaged, self.files.draft().publish, info, 1)

    def test_syncs_in_portions(self) -> None:
        """So that a large one does not hold up the log at its end."""
        draft = self.files.draft()
        draft.write(bytes(SYNC_BYTES - 1))
        self.assertEqual(draft._unsynced, SYNC_BYTES - 1)
        draft.write(b"x")
        self.assertEqual(draft._unsynced, 0)

    def test_gone(self) -> None:
        """Somebody looks for one that was dropped."""
        info = self.files.info(self.write(9))
        self.assertRaises(StorageDamaged, self.files.find, replace(info, checksum=1))
        self.files.drop(self.files.find(info))
        self.assertRaises(StorageDamaged, self.files.find, info)


class DamageTests(FilesTestCase):
    def damaged(self, name: SnapshotName, text: str) -> None:
        error = self.assertRaises(StorageDamaged, self.read, name)
        self.assertIn(f"{FOLDER}/{name}/", str(error))
        self.assertIn(text, str(error))

    def test_state(self) -> None:
        name = self.write(9, b"state")
        self.disk.damage(f"{FOLDER}/{name}/state", 3)
        self.damaged(name, "the checksum is")

    def test_state_is_cut(self) -> None:
        name = self.write(9, b"state")
        self.disk.open(f"{FOLDER}/{name}/state").truncate(4)
        self.damaged(name, "has 4 bytes, not 5")

    def test_meta(self) -> None:
        name = self.write(9)
        self.disk.damage(f"{FOLDER}/{name}/meta.json", 3)
        self.damaged(name, "the checksum is wrong")
        self.disk.open(f"{FOLDER}/{name}/meta.json").truncate(0)
        self.damaged(name, "damaged")

    def test_meta_of_another(self) -> None:
        """A folder that somebody has renamed."""
        name = self.write(9)
        self.disk.rename(f"{FOLDER}/{name}", f"{FOLDER}/1-10-7")
        self.damaged(SnapshotName(10, 1, 7), "is not the description")

    def test_missing(self) -> None:
        name = self.write(9)
        self.disk.remove(f"{FOLDER}/{name}/state")
        info = self.files.info(name)
        error = self.assertRaises(StorageDamaged, list, self.files.pieces(name, info))
        self.assertIn("cannot be read", str(error))
        self.disk.remove(f"{FOLDER}/{name}/meta.json")
        self.damaged(name, "cannot be read")

    def test_unreadable(self) -> None:
        name = self.write(9)
        self.disk.faults["read"] = OSError(errno.EIO, "broken")
        self.damaged(name, "broken")

    def test_shorter_than_it_says(self) -> None:
        """A disk that gives back less than it has."""
        name = self.write(9, b"state")
        info = self.files.info(name)

        class Short:
            def size(self) -> int:
                return info.size

            def read(self, size: int, offset: int) -> bytes:
                return b""

            def close(self) -> None:
                pass

        self.patch(self.files, "open", lambda name: Short())
        error = self.assertRaises(StorageDamaged, list, self.files.pieces(name, info))
        self.assertIn("at offset 0", str(error))


class CrashTests(SynchronousTestCase):
    def live(self, disk: SimDisk, rng: Random, first: int, reported: int) -> tuple[bool, int]:
        """Start, check what is there, write snapshots until the power goes; whether that was all of them."""
        files = SnapshotFiles(disk, FOLDER)
        names = files.recover()
        for name in names:
            self.assertEqual(b"".join(files.pieces(name, files.info(name))), b"%d " % name.index * 99)
        self.assertGreaterEqual(max((name.index for name in names), default=0), reported)

        def work() -> None:
            nonlocal reported
            for index in range(first, first + 4):
                draft = files.draft()
                for _ in range(9):
                    draft.write(b"%d " % index * 11)
                draft.publish(description(index), 1)
                reported = index
                files.prune()

        whole = disk.cut_short(work, rng.randrange(150))
        disk.crash(power_cut=rng.random() < 0.8)
        return whole, reported

    def test_whole_or_not_at_all(self) -> None:
        """Whenever the power goes: what has a name is whole, and the newest that was reported is there."""
        outcomes = []
        for seed in range(400):
            rng = Random(seed)
            disk = SimDisk(Clock(), rng, lambda rng: 0.0)
            disk.make_folder("raft")
            disk.sync_folder("")
            reported = 0
            for life in range(4):
                disk.cut_short(SnapshotFiles(disk, FOLDER).recover, rng.randrange(12))
                disk.crash()
                whole, reported = self.live(disk, rng, 10 * life + 1, reported)
                outcomes.append(whole)
        self.assertGreater(outcomes.count(True), 100)
        self.assertGreater(outcomes.count(False), 300)
