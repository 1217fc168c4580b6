from __future__ import annotations

import errno
from collections.abc import Iterator
from random import Random
from typing import Any

from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import StorageDamaged
from pyconsul.raft import events
from pyconsul.raft.configuration import Configuration, Server
from pyconsul.raft.core import RaftCore
from pyconsul.raft.events import PieceStored, SnapshotFailed, SnapshotReady, SnapshotTaken
from pyconsul.raft.messages import CONFIGURATION, Entry, InstallSnapshot, Message
from pyconsul.raft.snapshot import SnapshotInfo
from pyconsul.raft.timing import Timing
from pyconsul.storage import snapshotting
from pyconsul.storage.memory import MemoryStorage, Nothing
from pyconsul.storage.snapshot_policy import SnapshotPolicy, SnapshotSettings
from pyconsul.storage.snapshots import SnapshotFiles
from pyconsul.storage.snapshotting import OPEN_FILES_MAX, Snapshotting, after
from pyconsul.testing.disk import SimDisk

SERVERS = Configuration([Server("a", "10.0.0.1:8300")])
FOLDER = "raft/snapshots"
EIO = OSError(errno.EIO, "broken")


def description(index: int, term: int = 1) -> SnapshotInfo:
    return SnapshotInfo(index, term, SERVERS, 1, 0, 0)


class Machine:
    """Its state is some texts, a slice each."""

    def __init__(self) -> None:
        self.parts: list[bytes] = [b"one", b"two", b"three"]
        self.is_whole = True
        self.bug: Exception | None = None

    def slices(self) -> Iterator[bytes]:
        parts = list(self.parts)

        def give() -> Iterator[bytes]:
            for part in parts:
                if self.bug is not None:
                    raise self.bug
                yield part

        return give()

    def decoder(self) -> Decoder:
        return Decoder()

    def restore(self, state: Any) -> None:
        self.parts = [state]


class Decoder:
    """A state with an exclamation mark is not understood."""

    def __init__(self) -> None:
        self._whole = b""

    def feed(self, data: bytes) -> None:
        self._whole += data

    def finish(self) -> bytes:
        if b"!" in self._whole:
            raise StorageDamaged("what does ! mean")
        return self._whole


class Transport:
    """Notes what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, Message]] = []

    def send(self, to: str, address: str, message: Message) -> None:
        self.sent.append((to, address, message))


class WorkTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.disk = SimDisk(self.clock, Random(1), lambda rng: 1.0)
        self.disk.make_folder("raft")
        self.machine = Machine()
        self.transport = Transport()
        self.fed: list[Any] = []
        self.taken: list[SnapshotInfo] = []
        self.start()

    def start(self, found: Any = None) -> SnapshotInfo | None:
        self.work = Snapshotting(
            self.disk,
            FOLDER,
            self.clock,
            lambda: 5.0,
            self.machine,
            self.transport,  # type: ignore[arg-type]
            self.fed.append,
            self.taken.append,
        )
        return self.work.recover(found or Nothing())

    def settle(self) -> None:
        for _ in range(30):
            self.clock.advance(1)

    def take(self, index: int = 9) -> SnapshotInfo:
        self.work.take(description(index))
        self.settle()
        return self.taken[-1]

    def names(self) -> list[str]:
        return self.disk.list(FOLDER)


class TakeTests(WorkTestCase):
    def test_take(self) -> None:
        """What the machine was when it began; then the core is told, and who compacts."""
        self.work.take(description(9))
        self.assertTrue(self.work.is_taking)
        self.machine.parts.append(b"later")
        self.settle()
        self.assertFalse(self.work.is_taking)
        [info] = self.taken
        self.assertEqual(self.fed, [SnapshotTaken(info)])
        self.assertEqual((info.index, info.size), (9, 11))
        self.machine.parts = []
        self.assertEqual(self.start(), info)
        self.assertEqual(self.machine.parts, [b"onetwothree"])

    def test_large(self) -> None:
        """It rests while the disk is behind."""
        self.patch(snapshotting, "WRITE_BYTES", 4)
        self.machine.parts = [b"%04d" % number for number in range(12)]
        self.work.take(description(9))
        resting = 0
        for _ in range(40):
            taking = self.work._taking
            if taking is not None:
                self.assertLessEqual(taking.waiting, snapshotting.WRITES_WAITING_MAX)
                resting += taking.resting
            self.clock.advance(0.5)
        self.assertGreater(resting, 3)
        self.assertEqual(self.taken[0].size, 48)

    def test_two_are_kept(self) -> None:
        for index in (1, 2, 3):
            self.take(index)
        self.assertEqual(self.names(), ["1-2-5000", "1-3-5000"])

    def test_cannot_prune(self) -> None:
        """Is no reason not to go on."""
        for index in (1, 2):
            self.take(index)
        self.disk.faults["remove"] = EIO
        self.take(3)
        self.assertEqual(len(self.names()), 3)

    def test_disk_fails(self) -> None:
        """Nothing is left of it, and the next attempt may go well."""
        for operation in ("make_folder", "write", "rename", "sync_folder"):
            self.disk.faults[operation] = EIO
            self.work.take(description(9))
            self.settle()
            self.assertEqual((self.fed, self.work.is_taking), ([], False))
            del self.disk.faults[operation]
        self.take()

    def test_disk_fails_while_it_rests(self) -> None:
        self.patch(snapshotting, "WRITE_BYTES", 4)
        self.machine.parts = [b"1234"] * 9
        self.disk.faults["write"] = EIO
        self.work.take(description(9))
        self.settle()
        self.assertFalse(self.work.is_taking)

    def test_bug(self) -> None:
        """Of the machine: it is logged, and the server goes on."""
        self.machine.bug = ValueError("bug")
        self.work.take(description(9))
        self.settle()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertFalse(self.work.is_taking)

    def test_stop(self) -> None:
        """At any moment."""
        for seconds in range(8):
            self.work.take(description(9))
            for _ in range(seconds):
                self.clock.advance(1)
            self.work.stop()
            self.settle()
            self.assertEqual(self.taken[:1], self.taken)
            self.fed.clear()
            self.taken.clear()
            self.start()

    def test_stopped_while_pruning_fails(self) -> None:
        self.work._stopped = True
        self.work._pruned(EIO)


class RecoverTests(WorkTestCase):
    def damage(self, index: int) -> None:
        self.disk.damage(f"{FOLDER}/1-{index}-5000/state", 1)

    def test_nothing(self) -> None:
        self.assertIsNone(self.start())
        self.assertEqual(self.work.notes, [])

    def test_older_one(self) -> None:
        """The newest is damaged, but the log reaches back to the one before."""
        first = self.take(5)
        self.take(9)
        self.damage(9)
        self.assertEqual(self.start(Nothing(1, "", 4, 12, 3, 1, [1] * 9)), first)
        self.assertIn("snapshot 1-9-5000 cannot be used", self.work.notes[0])

    def test_log_does_not_reach_the_older_one(self) -> None:
        """Then the file is named, and what to do."""
        self.take(5)
        self.take(9)
        self.damage(9)
        error = self.assertRaises(StorageDamaged, self.start, Nothing(1, "", 8, 12, 7, 1, [1] * 5))
        self.assertIn("raft/snapshots/1-9-5000/state: damaged", str(error))
        self.assertIn("empty its data folder", str(error))

    def test_none_at_all(self) -> None:
        """A log that begins in the middle, and nothing of what was before."""
        error = self.assertRaises(StorageDamaged, self.start, Nothing(1, "", 8, 12, 7, 1, [1] * 5))
        self.assertIn("raft/snapshots: the snapshot is missing; the log begins with entry 8", str(error))

    def test_log_has_everything(self) -> None:
        """A damaged snapshot is of no importance then."""
        self.take(5)
        self.damage(5)
        self.assertIsNone(self.start(Nothing(1, "", 1, 9, 0, 0, [1] * 9)))

    def test_not_understood(self) -> None:
        """Written by another version, say."""
        self.machine.parts = [b"new!"]
        self.take()
        self.assertIsNone(self.start())
        self.assertIn("what does ! mean", self.work.notes[0])

    def test_after(self) -> None:
        """What is left of the log: all of it, or nothing if it does not go on where the snapshot ends."""
        log = Nothing(3, "b", 5, 9, 4, 1, [1, 1, 2, 2, 3])
        for index, term, kept in ((4, 1, True), (7, 2, True), (9, 3, True), (7, 3, False), (10, 3, False)):
            left = after(log, description(index, term))
            self.assertEqual(left is None, kept, (index, term))
            if left is not None:
                self.assertEqual((left.term, left.voted_for), (3, "b"))
                self.assertEqual((left.first_index, left.last_index, left.terms), (index + 1, index, ()))
                self.assertEqual((left.snapshot_index, left.snapshot_term), (index, term))
        self.assertIsNone(after(log, None))


class SendTests(WorkTestCase):
    def send(self, info: SnapshotInfo, offset: int, size: int) -> None:
        message = InstallSnapshot(2, info, offset, b"", "10.0.0.1:8300")
        self.work.send(events.SendPiece("b", "10.0.0.2:8300", message, size))
        self.settle()

    def test_pieces(self) -> None:
        info = self.take()
        self.send(info, 0, 5)
        self.send(info, 5, 6)
        self.assertEqual([to for to, _, _ in self.transport.sent], ["b", "b"])
        self.assertEqual([m.data for _, _, m in self.transport.sent], [b"onetw", b"othree"])  # type: ignore[union-attr]

    def test_dropped_meanwhile(self) -> None:
        """What was begun can be ended, though newer ones have taken its place."""
        info = self.take(1)
        self.send(info, 0, 5)
        self.take(2)
        self.take(3)
        self.assertNotIn("1-1-5000", self.names())
        self.send(info, 5, 6)
        self.assertEqual(len(self.transport.sent), 2)

    def test_not_there(self) -> None:
        """Nothing is sent, and the follower will ask again."""
        info = self.take()
        self.send(replace(info, checksum=1), 0, 5)
        self.send(info, 9, 6)
        self.assertEqual(self.transport.sent, [])

    def test_open_files_are_bounded(self) -> None:
        for index in range(1, OPEN_FILES_MAX + 4):
            self.send(self.take(index), 0, 5)
        self.assertEqual(len(self.work._open), OPEN_FILES_MAX)
        self.work.stop()
        self.settle()
        self.assertEqual(self.work._open, {})

    def test_stopped(self) -> None:
        info = self.take()
        message = InstallSnapshot(2, info, 0)
        self.work.send(events.SendPiece("b", "10.0.0.2:8300", message, 5))
        self.work.stop()
        self.settle()
        self.assertEqual(self.transport.sent, [])


class TakeOverTests(WorkTestCase):
    """The state ``from the leader``, as a snapshot of index 20."""

    def setUp(self) -> None:
        super().setUp()
        self.info = self.made(b"from the leader")
        self.fed.clear()
        self.ready: list[bytes] = []

    def made(self, data: bytes, index: int = 20) -> SnapshotInfo:
        """What a leader says of such a snapshot."""
        disk = SimDisk(Clock(), Random(1), lambda rng: 0.0)
        files = SnapshotFiles(disk, "snapshots")
        files.recover()
        draft = files.draft()
        draft.write(data)
        return draft.publish(description(index), 1)[1]

    def store(self, offset: int, data: bytes, info: SnapshotInfo | None = None) -> None:
        self.work.store(events.StorePiece(info or self.info, offset, data))

    def store_all(self) -> None:
        self.store(0, b"from the ")
        self.store(9, b"leader")

    def kinds(self) -> list[type[Any]]:
        return [type(event) for event in self.fed]

    def test_take_over(self) -> None:
        """Stored, named, read back; the old state stays until the core says so."""
        self.work._feed = self.core
        self.store_all()
        self.assertEqual(self.fed, [])
        self.settle()
        info = self.info
        self.assertEqual(self.fed, [PieceStored(info, 9), PieceStored(info, 15), SnapshotReady(info)])
        self.assertEqual(self.ready, [b"one"])
        self.assertEqual(self.machine.parts, [b"from the leader"])
        self.assertEqual(self.names(), ["1-20-5000"])

    def core(self, event: Any) -> None:
        """A core that takes what is ready."""
        self.fed.append(event)
        if isinstance(event, SnapshotReady):
            self.ready.append(self.machine.parts[0])
            self.work.restore(events.RestoreSnapshot(1, event.info))

    def test_not_wanted(self) -> None:
        """The core has come so far without it: it stays a snapshot among others."""
        self.store_all()
        self.settle()
        self.assertEqual(self.machine.parts[0], b"one")
        self.assertIsNone(self.work._ready)

    def test_several_reads(self) -> None:
        self.patch(snapshotting, "READ_BYTES", 4)
        self.store_all()
        self.settle()
        self.assertIs(self.kinds()[-1], SnapshotReady)

    def test_another_one(self) -> None:
        """Begins: nothing is left of the first, however far it was."""
        other = self.made(b"other", 30)
        for seconds in range(8):
            self.store_all()
            for _ in range(seconds):
                self.clock.advance(1)
            was_ready = SnapshotReady in self.kinds()
            self.fed.clear()
            self.store(0, b"other", other)
            self.settle()
            self.assertEqual(self.fed, [PieceStored(other, 5), SnapshotReady(other)])
            names = [name for name in self.names() if "-20-" in name]
            self.assertEqual(len(names), int(was_ready))
            for name in self.work.files.names():
                self.work.files.drop(name)
            self.fed.clear()

    def test_out_of_order(self) -> None:
        """After a restart the driver may know less than a core that asks for the rest."""
        self.store(4, b"rest")
        self.store(0, b"from")
        self.store(5, b"rest")
        self.assertEqual(self.fed, [SnapshotFailed(self.info)] * 2)

    def test_damaged_on_the_way(self) -> None:
        """It is not what the leader says that it is."""
        self.store(0, b"from the reader")
        self.settle()
        self.assertEqual(self.kinds(), [PieceStored, SnapshotFailed])
        self.assertEqual(self.names(), [])

    def test_not_understood(self) -> None:
        """A newer leader's, say: it is dropped, for at a restart it would be in the way."""
        info = self.made(b"new!")
        self.store(0, b"new!", info)
        self.settle()
        self.assertEqual(self.kinds(), [PieceStored, SnapshotFailed])
        self.assertEqual(self.names(), [])

    def test_disk_fails(self) -> None:
        for operation in ("make_folder", "write", "rename", "sync_folder", "read", "sync"):
            self.disk.faults[operation] = EIO
            self.store_all()
            self.settle()
            self.assertIs(self.kinds()[-1], SnapshotFailed, operation)
            self.assertNotIn(SnapshotReady, self.kinds())
            del self.disk.faults[operation]
            self.fed.clear()
        self.store_all()
        self.settle()
        self.assertIs(self.kinds()[-1], SnapshotReady)

    def test_read_back_otherwise(self) -> None:
        """A disk that gives back something else than was written, or less."""
        original = self.work._take_in
        for data in (b"x", b""):

            def take_in(incoming: Any, _: bytes, data: bytes = data) -> None:
                original(incoming, data * incoming.info.size)

            self.patch(self.work, "_take_in", take_in)
            self.store_all()
            self.settle()
            self.assertIs(self.kinds()[-1], SnapshotFailed)

    def test_stop(self) -> None:
        """At any moment; what is unfinished is gone after the next start."""
        for seconds in range(6):
            self.store_all()
            for _ in range(seconds):
                self.clock.advance(1)
            self.work.stop()
            told = len(self.fed)
            self.settle()
            self.assertEqual(len(self.fed), told)
            self.start()
            self.assertEqual([name for name in self.names() if name.endswith("tmp")], [])


class PolicyTests(WorkTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.storage = MemoryStorage()
        configuration = Entry(1, 1, CONFIGURATION, SERVERS.encode())
        log = [configuration, *(Entry(1, index, 0, b"x") for index in range(2, 51))]
        self.storage.append(1, log)
        found = Nothing(1, "", 1, 50, 0, 0, [1] * 50)
        self.core = RaftCore(Timing(), Random(1), "a", found, self.storage.read)
        self.work._feed = lambda event: self.core.handle(0.0, event)  # type: ignore[assignment]
        self.applied = 40
        settings = SnapshotSettings(threshold=20, interval_s=10.0, trailing_logs=15)
        self.policy = SnapshotPolicy(
            settings,
            self.clock,
            Random(1),
            self.core,
            self.storage,
            self.work,
            self.machine,
            lambda: self.applied,
        )
        self.work._tell_taken = self.policy.taken
        self.core._s.commit(50)

    def look(self) -> None:
        """Wait until it has looked, and until all that comes of it is done."""
        for _ in range(30):
            self.clock.advance(1)

    def test_taken_and_compacted(self) -> None:
        """At what is applied; some entries are kept for who is a little behind."""
        self.policy.start()
        self.look()
        assert self.core.snapshot is not None
        self.assertEqual(self.core.snapshot.index, 40)
        self.assertEqual((self.core.log.base_index, self.storage._first), (35, 36))

    def test_interval(self) -> None:
        """It is looked at every random(interval)."""
        self.policy.start()
        self.clock.advance(9.9)
        self.assertFalse(self.work.is_taking)
        self.clock.advance(10.2)
        self.assertTrue(self.work.is_taking)

    def test_threshold(self) -> None:
        """Only if there is something new, and enough of it."""
        self.policy.settings = SnapshotSettings(threshold=51, interval_s=10.0)
        self.policy.start()
        self.look()
        self.assertIsNone(self.core.snapshot)
        self.assertTrue(self.policy.take())
        self.assertFalse(self.policy.take())  # is on its way
        self.look()
        self.assertFalse(self.policy.take())  # nothing new
        self.applied = 50
        self.assertTrue(self.policy.take())

    def test_bytes(self) -> None:
        """A log that is large is worth a snapshot, but not one that is larger than the log."""
        self.policy.settings = SnapshotSettings(threshold=99, interval_s=10.0, log_bytes=300)
        self.policy.start()
        self.look()
        self.assertIsNone(self.core.snapshot)
        self.policy.settings = SnapshotSettings(threshold=99, interval_s=10.0, log_bytes=30)
        self.look()
        assert self.core.snapshot is not None
        self.assertEqual(self.core.snapshot.index, 40)
        size = self.core.snapshot.size
        self.applied = 50
        self.core._s.snapshot = replace(self.core.snapshot, size=self.storage.bytes_after(40) + 1)
        self.policy.settings = SnapshotSettings(threshold=99, interval_s=10.0, log_bytes=1)
        self.look()
        self.assertEqual(self.core.snapshot.index, 40)
        self.core._s.snapshot = replace(self.core.snapshot, size=self.storage.bytes_after(40))
        self.look()
        self.assertEqual((self.core.snapshot.index, self.core.snapshot.size > 0), (50, size > 0))

    def test_soon(self) -> None:
        """Once, and not in the turn in which that is said."""
        self.policy.soon()
        self.policy.soon()
        self.assertFalse(self.work.is_taking)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0)
        self.assertTrue(self.work.is_taking)
        self.policy.soon()
        self.policy.stop()
        self.look()
        assert self.core.snapshot is not None
        self.assertEqual(self.core.snapshot.index, 40)

    def test_not_now(self) -> None:
        """While the machine is not whole, or it is not known what to say of the snapshot."""
        self.machine.is_whole = False
        self.assertFalse(self.policy.take())
        self.machine.is_whole = True
        self.applied = 0
        self.assertFalse(self.policy.take())

    def test_stop(self) -> None:
        self.policy.stop()
        self.policy.start()
        self.policy.stop()
        self.look()
        self.assertIsNone(self.core.snapshot)

    def test_who_is_sent_a_snapshot_finds_the_entries_after_it(self) -> None:
        """As long as that goes on."""

        class Progress:
            snapshot = description(30)

        class Idle:
            snapshot = None

        self.patch(type(self.core), "progress", {"b": Progress(), "c": Idle()})
        self.policy.settings = SnapshotSettings(trailing_logs=0)
        self.policy.take()
        self.look()
        self.assertEqual(self.core.log.base_index, 30)

    def test_nothing_to_compact(self) -> None:
        self.policy.settings = SnapshotSettings(trailing_logs=100)
        self.policy.take()
        self.look()
        self.assertEqual(self.core.log.base_index, 0)
