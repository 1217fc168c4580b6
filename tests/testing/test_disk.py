"""The simulated disk loses what a real one may lose, and nothing else."""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.testing.disk import SimDisk, flash


def content(disk: SimDisk, path: str = "f") -> bytes:
    """All bytes of a file."""
    file = disk.open(path)
    return file.read(file.size(), 0)


def outcomes(prepare: Callable[[SimDisk], None], look: Callable[[SimDisk], object]) -> list[object]:
    """What a power cut after ``prepare`` leaves, for many seeds."""
    found = []
    for seed in range(300):
        disk = SimDisk(Clock(), Random(seed))
        prepare(disk)
        disk.crash()
        found.append(look(disk))
    return found


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = SimDisk(Clock(), Random(1))

    def test_reads_and_writes(self) -> None:
        """As a file of the operating system does."""
        file = self.disk.open("f", create=True)
        self.assertEqual((file.size(), file.read(10, 0), file.read(10, 5)), (0, b"", b""))
        file.write([b"abc", b"def"], 0)
        file.write([b"XY"], 2)
        self.assertEqual(file.read(100, 0), b"abXYef")
        self.assertEqual(file.read(2, 1), b"bX")
        file.write([b"z"], 8)
        self.assertEqual(content(self.disk), b"abXYef\0\0z")
        file.truncate(3)
        self.assertEqual(content(self.disk), b"abX")
        file.truncate(5)
        self.assertEqual(content(self.disk), b"abX\0\0")

    def test_allocated_zeros_take_no_memory(self) -> None:
        """A terabyte costs nothing; allocation never cuts."""
        file = self.disk.open("f", create=True)
        file.allocate(1 << 40)
        self.assertEqual((file.size(), file.read(4, 1 << 39)), (1 << 40, bytes(4)))
        file.allocate(10)
        self.assertEqual(file.size(), 1 << 40)
        file.write([b"abc"], 2)
        self.assertEqual(file.read(8, 0), b"\0\0abc\0\0\0")

    def test_names(self) -> None:
        """Folders, renames and removals."""
        disk = self.disk
        with self.assertRaises(FileNotFoundError):
            disk.open("f")
        with self.assertRaises(FileNotFoundError):
            disk.open("a/f", create=True)
        disk.make_folder("a")
        disk.make_folder("a/b")
        disk.open("a/b/f", create=True).write([b"x"], 0)
        disk.make_folder("a")
        self.assertEqual(
            (disk.list(""), disk.list("a"), disk.list("a/b"), disk.list("c")), (["a"], ["b"], ["f"], [])
        )
        disk.open("a/b/g", create=True)
        disk.rename("a/b/f", "a/b/g")
        self.assertEqual((disk.list("a/b"), content(disk, "a/b/g")), (["g"], b"x"))
        disk.rename("a/b", "a/c")
        self.assertEqual(content(disk, "a/c/g"), b"x")
        disk.remove("a/c/g")
        disk.remove("a/c")
        self.assertEqual(disk.list("a"), [])

    def test_errors(self) -> None:
        """They are those of the operating system."""
        disk = self.disk
        disk.make_folder("a")
        disk.open("a/f", create=True)
        for call, error in (
            (lambda: disk.remove("g"), FileNotFoundError),
            (lambda: disk.rename("g", "h"), FileNotFoundError),
            (lambda: disk.sync_folder("g"), FileNotFoundError),
            (lambda: disk.rename("a/f", "f"), OSError),
            (lambda: disk.remove("a"), OSError),
            (lambda: disk.open("a"), IsADirectoryError),
        ):
            with self.assertRaises(error):
                call()

    def test_faults(self) -> None:
        """An operation fails as long as it is told to."""
        file = self.disk.open("f", create=True)
        self.disk.faults["sync"] = OSError(5, "Input/output error")
        for _ in range(2):
            with self.assertRaises(OSError):
                file.sync()
        file.write([b"x"], 0)
        self.disk.faults.clear()
        file.sync()

    def test_damage(self) -> None:
        """One byte is another one, for good."""
        file = self.disk.open("f", create=True)
        file.write([b"abc"], 0)
        file.sync()
        self.disk.sync_folder("")
        self.disk.damage("f", 1, flip=1)
        self.disk.crash()
        self.assertEqual(content(self.disk), b"acc")

    def test_closed(self) -> None:
        """A closed file cannot be used."""
        file = self.disk.open("f", create=True)
        file.close()
        with self.assertRaises(OSError):
            file.size()

    def test_removed_files_take_no_memory(self) -> None:
        """Once a removal is durable nothing of the file is kept."""
        for _ in range(3):
            self.disk.open("g", create=True).write([b"x"], 0)
            self.disk.open("h", create=True).write([b"y"], 0)
            self.disk.sync_folder("")
            self.disk.remove("g")
            self.disk.open("i", create=True).write([b"z"], 0)
            self.disk.sync_folder("")
            self.disk.rename("i", "h")
            self.disk.sync_folder("")
        self.assertEqual(len(self.disk._dirty), 1)
        self.disk.crash(power_cut=False)
        self.assertEqual(content(self.disk, "h"), b"z")


class PowerCutTests(SynchronousTestCase):
    def test_synced_stays(self) -> None:
        """Content and names that were synced are there, whatever came before."""

        def prepare(disk: SimDisk) -> None:
            file = disk.open("f", create=True)
            file.write([b"abcdef"], 0)
            file.write([b"XX"], 4)
            file.truncate(5)
            file.sync()
            disk.sync_folder("")

        self.assertEqual(set(outcomes(prepare, content)), {b"abcdX"})

    def test_unsynced_write(self) -> None:
        """It survives as a whole, not at all, or a piece of it."""

        def prepare(disk: SimDisk) -> None:
            file = disk.open("f", create=True)
            file.write([b"...."], 0)
            file.sync()
            disk.sync_folder("")
            file.write([b"abcd"], 2)

        found = outcomes(prepare, content)
        self.assertGreater(found.count(b"...."), 60)
        self.assertGreater(found.count(b"..abcd"), 60)
        pieces = set(found) - {b"....", b"..abcd"}
        self.assertIn(b"..a.", pieces)
        self.assertIn(b"...b", pieces)
        self.assertIn(b"....\0d", pieces)

    def test_any_order(self) -> None:
        """Of two writes either may survive alone; where they overlap the later one wins."""

        def prepare(disk: SimDisk) -> None:
            file = disk.open("f", create=True)
            file.write([b"."], 0)
            file.sync()
            disk.sync_folder("")
            file.write([b"aa"], 0)
            file.write([b"bb"], 1)

        found = outcomes(prepare, content)
        for possible in (b".", b"aa", b".bb", b"abb"):
            self.assertGreater(found.count(possible), 10, possible)
        pieces = {b"a", b".a", b".b", b".\0b", b"ab", b"aab", b"a\0b", b".ab"}
        self.assertLessEqual(set(found), {b".", b"aa", b".bb", b"abb"} | pieces)

    def test_unsynced_size(self) -> None:
        """A cut and an extension happen or not; what was cut off may be back."""

        def prepare(disk: SimDisk) -> None:
            file = disk.open("f", create=True)
            file.write([b"abcdef"], 0)
            file.sync()
            disk.sync_folder("")
            file.truncate(3)
            file.allocate(4)

        self.assertEqual(set(outcomes(prepare, content)), {b"abcdef", b"abc", b"abc\0", b"abcd"})

    def test_unsynced_names(self) -> None:
        """Each creation, rename and removal is there or not; a rename is never half there."""

        def prepare(disk: SimDisk) -> None:
            for name in "ab":
                disk.open(name, create=True)
            disk.sync_folder("")
            disk.open("n", create=True)
            disk.rename("a", "c")
            disk.remove("b")

        found = set(outcomes(prepare, lambda disk: "".join(disk.list(""))))
        self.assertEqual(found, {"ab", "abn", "a", "an", "bc", "bcn", "c", "cn"})

    def test_content_of_a_surviving_name(self) -> None:
        """A rename that survives says nothing about the content."""

        def prepare(disk: SimDisk) -> None:
            disk.open("f", create=True).write([b"old"], 0)
            disk.open("f").sync()
            disk.sync_folder("")
            disk.open("g", create=True).write([b"new"], 0)
            disk.rename("g", "f")

        found = outcomes(prepare, content)
        self.assertLessEqual({b"old", b"new", b"", b"n"}, set(found))

    def test_process_dies(self) -> None:
        """Everything stays, but what was not synced may still be lost when the power goes later."""

        def prepare(disk: SimDisk) -> None:
            disk.open("f", create=True).write([b"abc"], 0)
            disk.sync_folder("")
            disk.crash(power_cut=False)
            assert content(disk) == b"abc"

        self.assertLessEqual({b"", b"abc"}, set(outcomes(prepare, content)))

    def test_files_of_the_dead(self) -> None:
        """A process that is gone can do nothing any more."""
        disk = SimDisk(Clock(), Random(1))
        file = disk.open("f", create=True)
        disk.crash(power_cut=False)
        for call in (lambda: file.write([b"x"], 0), lambda: file.read(1, 0), file.sync, file.size):
            with self.assertRaises(OSError):
                call()

    def test_same_seed_same_loss(self) -> None:
        """A run depends on nothing but its seed."""

        def run(seed: int) -> list[bytes]:
            disk = SimDisk(Clock(), Random(seed))
            for name in "abcdef":
                disk.open(name, create=True).write([name.encode() * 9], 0)
            disk.sync_folder("")
            disk.crash()
            return [content(disk, name) for name in "abcdef"]

        self.assertEqual([run(seed) for seed in range(30)], [run(seed) for seed in range(30)])


class JobTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.disk = SimDisk(self.clock, Random(1), lambda rng: 1.0)
        self.file = self.disk.open("f", create=True)
        self.disk.sync_folder("")
        self.done: list[object] = []

    def test_in_order_and_later(self) -> None:
        """One after the other, each after its time."""
        for place in range(3):
            self.disk.submit(lambda: None, lambda error, place=place: self.done.append(place))  # type: ignore[misc]
        self.assertEqual(self.done, [])
        for expected in ([0], [0, 1], [0, 1, 2]):
            self.clock.advance(1)
            self.assertEqual(self.done, expected)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_error(self) -> None:
        """It goes to who asked, and the next job is done."""
        error = OSError(5, "Input/output error")
        self.disk.faults["sync"] = error
        self.disk.submit(self.file.sync, self.done.append)
        self.disk.submit(lambda: None, self.done.append)
        self.clock.pump([1, 1])
        self.assertEqual(self.done, [error, None])

    def test_sync_covers_what_was_written_before(self) -> None:
        """What is written after the job was submitted is not called durable."""
        self.file.write([b"before"], 0)
        self.disk.submit(self.file.sync, self.done.append)
        self.file.write([b"after"], 6)
        self.clock.advance(1)
        self.assertEqual(self.done, [None])
        lost = 0
        for _ in range(50):
            self.disk.crash()
            self.assertEqual(content(self.disk)[:6], b"before")
            lost += content(self.disk) == b"before"
            self.file = self.disk.open("f")
            self.file.truncate(6)
            self.file.sync()
            self.file.write([b"after"], 6)
        self.assertGreater(lost, 5)

    def test_sync_covers_what_the_job_wrote(self) -> None:
        """Also next to what was written before."""
        self.file.write([b"ab"], 0)

        def job() -> None:
            self.file.write([b"cd"], 2)
            self.file.sync()

        self.disk.submit(job, self.done.append)
        self.clock.advance(1)
        self.disk.crash()
        self.assertEqual(content(self.disk), b"abcd")

    def test_crash_in_the_middle(self) -> None:
        """The job under way is done in part, no job is reported, none is done later."""
        seen = set()
        for seed in range(200):
            clock = Clock()
            disk = SimDisk(clock, Random(seed))

            def job(disk: SimDisk = disk) -> None:
                for name in "abc":
                    disk.open(name, create=True)
                    disk.sync_folder("")

            disk.submit(job, self.done.append)
            disk.submit(lambda disk=disk: disk.open("z", create=True), self.done.append)  # type: ignore[misc]
            disk.crash()
            seen.add("".join(disk.list("")))
            clock.advance(10)
            self.assertEqual(clock.getDelayedCalls(), [])
        self.assertEqual(self.done, [])
        self.assertEqual(seen, {"", "a", "ab", "abc", "abcz"})

    def test_crash_after_a_failing_job(self) -> None:
        """A job that fails while the power goes does no harm."""
        for seed in range(20):
            disk = SimDisk(Clock(), Random(seed))
            disk.submit(lambda disk=disk: disk.remove("nothing"), self.done.append)  # type: ignore[misc]
            disk.crash()
            self.assertEqual(disk.list(""), [])

    def test_close(self) -> None:
        """What is queued is done and reported; then the disk takes no job until a process starts."""
        for _ in range(3):
            self.disk.submit(lambda: None, self.done.append)
        self.disk.close()
        self.assertEqual(self.done, [None] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        with self.assertRaises(RuntimeError):
            self.disk.submit(lambda: None, self.done.append)
        clock = Clock()
        self.disk.attach(clock)
        self.disk.submit(lambda: None, self.done.append)
        clock.advance(1)
        self.assertEqual(self.done, [None] * 4)

    def test_latency(self) -> None:
        """Mostly fast, sometimes slow, never nothing."""
        rng = Random(1)
        times = sorted(flash(rng) for _ in range(1000))
        self.assertGreater(times[0], 0)
        self.assertLess(times[900], 0.004)
        self.assertGreater(times[-1], 0.05)


class FailingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = SimDisk(Clock(), Random(1))
        self.file = self.disk.open("f", create=True)
        self.file.allocate(8)
        self.file.write([b"abcd"], 0)
        self.file.sync()
        self.disk.sync_folder("")

    def fail_sync(self) -> None:
        self.disk.faults["sync"] = OSError(errno.EIO, "Input/output error")
        self.assertRaises(OSError, self.file.sync)
        self.disk.mend()

    def contents(self) -> set[bytes]:
        """What power cuts leave, again and again."""
        found = set()
        for seed in range(60):
            again = FailingTests("again")
            again.setUp()
            again.disk._rng = Random(seed)
            self.prepare(again)
            again.disk.crash()
            found.add(content(again.disk))
        return found

    def prepare(self, again: FailingTests) -> None:
        raise NotImplementedError

    def again(self) -> None:
        """Not a test, but the name of one for ``contents``."""

    def test_full(self) -> None:
        """Nothing grows; what has its place already is written; room comes back."""
        self.disk.full = True
        self.file.write([b"xy"], 6)
        for grow in (
            lambda: self.file.write([b"z"], 8),
            lambda: self.file.allocate(9),
            lambda: self.disk.open("g", create=True),
            lambda: self.disk.make_folder("h"),
        ):
            self.assertEqual(self.assertRaises(OSError, grow).errno, errno.ENOSPC)
        self.assertEqual((content(self.disk), self.disk.list("")), (b"abcd\0\0xy", ["f"]))
        self.assertFalse(self.disk.is_sound)
        self.disk.mend()
        self.assertTrue(self.disk.is_sound)
        self.file.write([b"z"], 8)

    def test_short_writes(self) -> None:
        """A write that fails may have been done in part."""
        self.disk.full = self.disk.short_writes = True
        sizes = set()
        for _ in range(50):
            self.assertRaises(OSError, self.file.write, [b"123456"], 4)
            sizes.add(len(content(self.disk)))
            self.file.truncate(8)
        self.assertEqual(sizes, {8, 9, 10})

    def test_now_and_then(self) -> None:
        """An operation may fail not always."""
        self.disk.faults["read"] = OSError(errno.EIO, "Input/output error")
        self.disk.fault_chance = 0.5
        failures = 0
        for _ in range(100):
            try:
                self.file.read(1, 0)
            except OSError:
                failures += 1
        self.assertTrue(20 < failures < 80)

    def test_forsaken(self) -> None:
        """What a failed sync did not reach can be read, but a later sync does not make it durable."""

        def prepare(again: FailingTests) -> None:
            again.file.write([b"1234"], 2)
            again.fail_sync()
            again.file.sync()
            assert content(again.disk) == b"ab1234\0\0"

        self.prepare = prepare  # type: ignore[method-assign]
        found = self.contents()
        self.assertIn(b"abcd\0\0\0\0", found)
        self.assertIn(b"ab1234\0\0", found)

    def test_written_again(self) -> None:
        """What is written over it and synced is durable, and so much only."""

        def prepare(again: FailingTests) -> None:
            again.file.write([b"123456"], 1)
            again.fail_sync()
            again.file.write([b"34"], 3)
            again.file.write([b"9"], 8)
            again.file.sync()

        self.prepare = prepare  # type: ignore[method-assign]
        found = self.contents()
        self.assertEqual({(data[3:5], data[8:]) for data in found}, {(b"34", b"9")})
        self.assertIn(b"abc34\0\0\x009", found)
        self.assertIn(b"a123456\x009", found)

    def test_written_again_later(self) -> None:
        """A write that is not synced does not make up for anything; one of the whole does."""

        def prepare(again: FailingTests) -> None:
            again.file.write([b"12"], 2)
            again.fail_sync()
            again.disk.submit(again.file.sync, lambda error: None)
            again.file.write([b"12"], 2)
            again.disk._jobs[0][1]()  # the first job covers what was written before it was submitted

        self.prepare = prepare  # type: ignore[method-assign]
        self.assertIn(b"ab12\0\0\0\0", self.contents())
        self.file.write([b"12"], 2)
        self.fail_sync()
        self.file.truncate(4)
        self.file.write([b"xx"], 2)
        self.file.sync()
        self.disk.crash()
        self.assertEqual(content(self.disk), b"abxx")

    def test_files_and_wipe(self) -> None:
        """All files are found below a folder; a new disk has none."""
        self.disk.make_folder("a")
        self.disk.open("a/b", create=True).write([b"12"], 0)
        self.assertEqual(self.disk.files(""), [("a/b", 2), ("f", 4)])
        self.assertEqual(self.disk.files("a"), [("a/b", 2)])
        self.disk.wipe()
        self.assertEqual((self.disk.files(""), self.disk.list("")), ([], []))
