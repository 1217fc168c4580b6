"""The real disk, in a real temporary folder, with its real thread."""

from __future__ import annotations

import os
import select
import shutil
import stat
import threading
from collections.abc import Sequence
from random import Random
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from pyconsul.errors import ConfigurationError, StorageDamaged
from pyconsul.storage import disk as disk_module
from pyconsul.storage.disk import LOCK_NAME, PARTS_MAX, RealDisk
from pyconsul.storage.raft_storage import SegmentedStorage
from tests.storage.worlds import entries, entry

WITHIN_S = 30
FRAME = 40 + len(entry(1).data)


class Reactor(Clock):
    """Calls its readers, and whatever is due, when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []
        self.turns = 0

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.remove(reader)

    def turn(self) -> None:
        """Do what is due, or else wait for a reader to be ready and call it."""
        self.turns += 1
        if self.calls:
            self.advance(0)
            return
        ready, _, _ = select.select(self.readers, [], [], WITHIN_S)
        assert ready, "the thread did not report"
        for reader in ready:
            reader.doRead()


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = os.path.join(self.mktemp(), "data")
        self.reactor = Reactor()
        self.disk = self.make()
        self.done: list[BaseException | None] = []

    def make(self, root: str = "") -> RealDisk:
        disk = RealDisk(root or self.root, self.reactor)
        self.addCleanup(disk.close)
        return disk

    def mode(self, path: str = "") -> int:
        return stat.S_IMODE(os.stat(os.path.join(self.root, path)).st_mode)


class FileTests(Case):
    def test_reads_and_writes(self) -> None:
        """What is written is read; files are their owner's alone."""
        file = self.disk.open("f", create=True)
        self.addCleanup(file.close)
        self.assertEqual((file.size(), file.read(10, 0)), (0, b""))
        file.write([b"abc"], 0)
        file.write([b"de", b"", b"f"], 3)
        file.sync()
        self.assertEqual((file.read(100, 1), file.size()), (b"bcdef", 6))
        again = self.disk.open("f", create=True)
        self.addCleanup(again.close)
        self.assertEqual(again.read(3, 0), b"abc")
        file.truncate(2)
        self.assertEqual(again.read(3, 0), b"ab")
        self.assertEqual((self.mode("f"), self.mode(), self.mode(LOCK_NAME)), (0o600, 0o700, 0o600))

    def test_allocate(self) -> None:
        """Zeros are reserved; nothing is ever cut."""
        file = self.disk.open("f", create=True)
        self.addCleanup(file.close)
        file.write([b"abc"], 0)
        file.allocate(10_000)
        self.assertEqual((file.size(), file.read(5, 0)), (10_000, b"abc\0\0"))
        file.allocate(5)
        self.assertEqual(file.size(), 10_000)

    def test_allocate_elsewhere(self) -> None:
        """Systems without posix_fallocate extend the file."""
        self.patch(disk_module, "os", _Without("posix_fallocate"))
        file = self.disk.open("f", create=True)
        self.addCleanup(file.close)
        file.allocate(100)
        self.assertEqual(file.size(), 100)

    def test_many_parts(self) -> None:
        """More than one system call takes."""
        parts = [b"%06d" % number for number in range(PARTS_MAX * 2 + 7)]
        file = self.disk.open("f", create=True)
        self.addCleanup(file.close)
        file.write(parts, 3)
        self.assertEqual(file.read(1 << 20, 3), b"".join(parts))

    def test_short_writes(self) -> None:
        """The system may write less than it is given; the rest follows."""
        self.patch(disk_module, "os", _Short())
        file = self.disk.open("f", create=True)
        self.addCleanup(file.close)
        file.write([b"0123456789"], 0)
        file.write([b"abcdef", b"ghij"], 10)
        self.assertEqual(file.read(100, 0), b"0123456789abcdefghij")

    def test_names(self) -> None:
        """Folders, renames and removals."""
        disk = self.disk
        self.assertEqual(disk.list("a"), [])
        disk.make_folder("a")
        disk.make_folder("a")
        self.assertEqual(self.mode("a"), 0o700)
        for name in ("g", "f"):
            disk.open(f"a/{name}", create=True).close()
        self.assertEqual(disk.list("a"), ["f", "g"])
        disk.rename("a/f", "a/g")
        disk.sync_folder("a")
        self.assertEqual(disk.list("a"), ["g"])
        with self.assertRaises(OSError):
            disk.remove("a")
        disk.remove("a/g")
        disk.remove("a")
        disk.sync_folder("")
        self.assertEqual(disk.list(""), [LOCK_NAME])
        with self.assertRaises(FileNotFoundError):
            disk.open("a/f")

    def test_closed_twice(self) -> None:
        """The second time does nothing, in particular not to another file."""
        file = self.disk.open("f", create=True)
        file.close()
        other = self.disk.open("g", create=True)
        self.addCleanup(other.close)
        file.close()
        self.assertEqual(other.size(), 0)
        with self.assertRaises(OSError):
            file.size()


class LockTests(Case):
    def test_one_agent_to_a_folder(self) -> None:
        """The second one is told which folder it is, until the first has gone."""
        with self.assertRaisesRegex(ConfigurationError, f"{self.root} is in use by another agent"):
            self.make()
        self.disk.close()
        self.make()

    def test_other_folders(self) -> None:
        """Two agents in one process do not disturb each other."""
        self.make(self.root + "2")

    def test_unusable(self) -> None:
        """A folder that cannot be made is a mistake in the configuration."""
        path = self.mktemp()
        with open(path, "w"):
            pass
        with self.assertRaisesRegex(ConfigurationError, f"{path}/x cannot be used: Not a directory"):
            self.make(f"{path}/x")

    def test_without_locks(self) -> None:
        """Where there is no flock nobody looks."""
        self.patch(disk_module, "fcntl", None)
        self.make()


class JobTests(Case):
    def test_on_the_reactor_and_in_order(self) -> None:
        """Jobs run in one other thread, their ends are told on the reactor."""
        threads: list[int] = []
        told: list[int] = []
        for number in range(50):
            self.disk.submit(
                lambda: threads.append(threading.get_ident()),
                lambda error, number=number: told.append(number),  # type: ignore[misc]
            )
        self.assertTrue(verifyObject(IReadDescriptor, self.disk))
        self.assertEqual(told, [])
        while len(told) < 50:
            self.reactor.turn()
        self.assertEqual(told, list(range(50)))
        self.assertEqual(len(set(threads)), 1)
        self.assertNotEqual(threads[0], threading.get_ident())

    def test_many_ends_one_wakeup(self) -> None:
        """What ended before the reactor looked costs it one turn."""
        for _ in range(20):
            self.disk.submit(lambda: None, self.done.append)
        gate = threading.Event()
        self.disk.submit(gate.set, self.done.append)
        self.assertTrue(gate.wait(WITHIN_S))
        self.reactor.turn()
        self.assertGreaterEqual(len(self.done), 20)

    def test_error(self) -> None:
        """It goes to who asked, and the thread lives on."""
        self.disk.submit(lambda: self.disk.remove("nothing"), self.done.append)
        self.disk.submit(lambda: None, self.done.append)
        while len(self.done) < 2:
            self.reactor.turn()
        self.assertIsInstance(self.done[0], FileNotFoundError)
        self.assertIsNone(self.done[1])

    def test_bug_in_done(self) -> None:
        """It is logged, and the others are told."""
        self.disk.submit(lambda: None, lambda error: 1 / 0)  # type: ignore[arg-type]
        self.disk.submit(lambda: None, self.done.append)
        while not self.done:
            self.reactor.turn()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_close(self) -> None:
        """What is queued is done and told before it returns."""
        gate = threading.Event()
        self.disk.submit(lambda: self.assertTrue(gate.wait(WITHIN_S)), self.done.append)
        for _ in range(5):
            self.disk.submit(lambda: None, self.done.append)
        gate.set()
        self.disk.close()
        self.disk.close()
        self.assertEqual(self.done, [None] * 6)
        self.assertEqual(self.reactor.readers, [])
        with self.assertRaises(RuntimeError):
            self.disk.submit(lambda: None, self.done.append)

    def test_pipe(self) -> None:
        """Systems without eventfd use a pipe, which may be full."""
        self.patch(disk_module, "os", _Without("eventfd"))
        self.disk.submit(lambda: None, self.done.append)
        self.reactor.turn()
        self.assertEqual(self.done, [None])
        for _ in range(20_000):
            self.disk._wake()
        self.disk.submit(lambda: None, self.done.append)
        while len(self.done) < 2:
            self.reactor.turn()

    def test_woken_for_nothing(self) -> None:
        """A look without news does no harm, nor does the end of the reactor."""
        self.disk.submit(lambda: None, self.done.append)
        self.reactor.turn()
        self.disk.doRead()
        self.disk.connectionLost(None)  # type: ignore[arg-type]
        self.assertEqual((self.done, self.disk.logPrefix()), ([None], "disk"))


class _Without:
    """The module ``os`` of a system that lacks some of it."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __getattr__(self, name: str) -> Any:
        if name in self._names:
            raise AttributeError(name)
        return getattr(os, name)


class _Short(_Without):
    """One that never writes much at once."""

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        return os.pwrite(fd, bytes(data)[:3], offset)

    def pwritev(self, fd: int, parts: Sequence[bytes], offset: int) -> int:
        return os.pwrite(fd, b"".join(parts)[:5], offset)


class LogTests(Case):
    """The log on a real disk."""

    def setUp(self) -> None:
        super().setUp()
        self.persisted: list[int] = []
        self.storage = self.start()

    def start(self, segment_bytes: int = 8192) -> SegmentedStorage:
        storage = SegmentedStorage(self.disk, Random(1), segment_bytes=segment_bytes)
        storage.persisted = self.persisted.append
        self.recovered = storage.recover()
        return storage

    def until(self, seq: int) -> None:
        while not self.persisted or self.persisted[-1] < seq:
            self.reactor.turn()

    def log_file(self) -> str:
        [name] = [name for name in self.disk.list("raft") if name.endswith(".segment")]
        return os.path.join(self.root, "raft", name)

    def again(self) -> SegmentedStorage:
        """Another agent starts on the folder as it is now."""
        self.disk.close()
        self.disk = self.make()
        return self.start()

    def test_life(self) -> None:
        """All calls, many files, and everything back."""
        seq = 0
        storage = self.storage
        for first in range(1, 1000, 20):
            seq += 1
            storage.append(seq, entries(first, first + 19))
            if first % 100 == 1:
                self.until(seq)
        storage.save_state(seq + 1, 4, "me")
        storage.truncate(seq + 2, 900)
        storage.append(seq + 3, entries(900, 1100, term=4))
        self.until(seq + 3)
        first_kept = storage.compact(500)
        self.assertTrue(300 < first_kept <= 500)
        self.assertEqual(storage.read(first_kept, first_kept + 3, 1000), entries(first_kept, first_kept + 2))
        storage.close()
        storage = self.again()
        found = self.recovered
        self.assertEqual(
            (found.term, found.voted_for, found.first_index, found.last_index), (4, "me", first_kept, 1100)
        )
        everything = entries(first_kept, 899) + entries(900, 1100, term=4)
        self.assertEqual(storage.read(first_kept, 1101, 1 << 20), everything)
        self.assertEqual(storage.notes, [])

    def test_cut_at_each_byte_of_the_last_record(self) -> None:
        """A file that ends anywhere in the last entry, or has zeros from there, loses that entry alone."""
        self.storage.append(1, entries(1, 2))
        self.until(1)
        self.storage.append(2, [entry(3)])
        self.until(2)
        path = self.log_file()
        shutil.copy(path, "whole")
        start, end = 64 + 2 * FRAME, 64 + 3 * FRAME
        for cut in range(start, end):
            for zeros in (0, 500):
                shutil.copy("whole", path)
                os.truncate(path, cut)
                os.truncate(path, cut + zeros)
                storage = self.again()
                self.assertEqual(self.recovered.last_index, 2)
                self.assertEqual(storage.read(1, 3, 1000), entries(1, 2))
                self.assertEqual(len(storage.notes), 1 if cut > start else 0)
                self.assertEqual(os.path.getsize(path), max(cut + zeros, cut))
        self.persisted.clear()
        storage.append(1, entries(3, 5, term=2))
        self.until(1)
        self.again()
        self.assertEqual(list(self.recovered.terms), [1, 1, 2, 2, 2])

    def test_damage_is_named(self) -> None:
        """A server with a bad entry in its log does not start."""
        for seq in (1, 2):
            self.storage.append(seq, [entry(seq)])
            self.until(seq)
        with open(self.log_file(), "r+b") as file:
            file.seek(64 + 45)
            file.write(b"?")
        with self.assertRaisesRegex(StorageDamaged, "^raft/0+1-0+1.segment: damaged at offset 64: "):
            self.again()


class ReactorTests(TestCase):
    async def test_with_a_real_reactor(self) -> None:
        """The reactor is woken by what the thread has done."""
        from twisted.internet import reactor
        from twisted.internet.defer import Deferred

        disk = RealDisk(self.mktemp(), reactor)
        self.addCleanup(disk.close)
        storage = SegmentedStorage(disk, Random(1))
        self.assertEqual(storage.recover().last_index, 0)
        for seq in range(1, 4):
            durable: Deferred[int] = Deferred()
            storage.persisted = durable.callback
            storage.append(seq, [entry(seq)])
            self.assertEqual(await durable.addTimeout(WITHIN_S, reactor), seq)
        storage.close()
