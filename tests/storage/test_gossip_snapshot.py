"""The file in which a pool remembers who was there, on a simulated disk."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.serf.members import FAILED, JOIN, LEAVE, REAP, UPDATE, Member, MemberEvent, Status
from pyconsul.serf.snapshot import Previous
from pyconsul.storage import gossip_snapshot
from pyconsul.storage.gossip_snapshot import SnapshotFile
from pyconsul.testing.disk import SimDisk

PATH = "serf/local.snapshot"


def event(kind: str, name: str = "a", addr: str = "10.0.0.1") -> MemberEvent:
    return MemberEvent(kind, Member(name, addr, 8301, {}, Status.ALIVE, 1, 5, 2, 2, 5, 4))


class SnapshotTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.disk = SimDisk(self.clock, Random(1), lambda rng: 0.1)
        self.disk.attach(self.clock)
        self.file, self.found = self.opened()

    def opened(self, **more: Any) -> tuple[SnapshotFile, Previous]:
        """The file as a process that starts finds it."""
        file = SnapshotFile(self.disk, PATH, self.clock, **more)
        return file, file.open()

    def text(self, path: str = PATH) -> str:
        """What the file holds."""
        file = self.disk.open(path)
        return file.read(file.size(), 0).decode()


class WritingTests(SnapshotTestCase):
    def test_nothing_yet(self) -> None:
        self.assertEqual((self.found, self.text()), (Previous(), ""))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lines(self) -> None:
        """They are gathered for half a second; nothing is said twice."""
        self.file.member_event(event(JOIN))
        self.file.member_event(event(JOIN, "b", "::1"))
        self.file.clocks(1, 0, 0)
        self.assertEqual(self.text(), "")
        self.clock.advance(0.5)
        self.assertEqual(self.text(), "alive: a 10.0.0.1:8301\nalive: b [::1]:8301\nclock: 1\n")
        for kind in (JOIN, UPDATE, FAILED, LEAVE, REAP):
            self.file.member_event(event(kind))
        self.file.clocks(1, 0, 0)
        self.file.clocks(1, 2, 3)
        self.file.clocks(4, 2, 3)
        self.clock.advance(0.5)
        self.assertTrue(
            self.text().endswith("clock: 1\nnot-alive: a\nclock: 4\nevent-clock: 2\nquery-clock: 3\n")
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.file.member_event(event(JOIN, "b", "10.0.0.2"))  # another address is news
        self.file.close()
        self.assertEqual(self.opened()[1], Previous({"b": "10.0.0.2:8301"}, 4, 2, 3))

    def test_after_a_leave(self) -> None:
        self.file.member_event(event(JOIN))
        self.file.left()
        self.assertTrue(self.text().endswith("leave\n"))
        self.file.left()
        self.file.member_event(event(LEAVE))
        self.file.clocks(9, 9, 9)
        self.file.close()
        self.assertEqual(self.text().count("\n"), 2)
        self.assertEqual(self.opened()[1], Previous())
        self.assertEqual(self.opened(rejoin_after_leave=True)[1].alive, {"a": "10.0.0.1:8301"})

    def test_going_back_after_a_leave(self) -> None:
        file, _ = self.opened(rejoin_after_leave=True)
        file.member_event(event(JOIN))
        file.left()
        file.close()
        self.assertEqual(self.opened(rejoin_after_leave=True)[1].alive, {"a": "10.0.0.1:8301"})

    def test_a_torn_end(self) -> None:
        """What a crash left of the last line does not spoil the next one."""
        self.disk.open(PATH).write([b"alive: a 10.0.0.1:8301\nnot-al"], 0)
        file, found = self.opened()
        self.assertEqual((found.alive, found.problems), ({"a": "10.0.0.1:8301"}, ["not-al"]))
        file.member_event(event(JOIN, "b"))
        file.close()
        self.assertEqual(set(self.opened()[1].alive), {"a", "b"})

    def test_only_the_end_is_read(self) -> None:
        self.patch(gossip_snapshot, "READ_MAX", 30)
        self.disk.open(PATH).write([b"clock: 5\n" * 100 + b"alive: a 1.2.3.4:8301\n"], 0)
        _, found = self.opened()
        self.assertEqual(found.alive, {"a": "1.2.3.4:8301"})


class CompactionTests(SnapshotTestCase):
    def churn(self, count: int, name: str = "x" * 100) -> None:
        """A member that comes and goes."""
        for _ in range(count):
            self.file.member_event(event(JOIN, name))
            self.file.member_event(event(FAILED, name))

    def test_written_anew(self) -> None:
        self.file.member_event(event(JOIN))
        self.file.clocks(7, 8, 9)
        self.churn(700)
        self.clock.advance(0.5)
        self.file.member_event(event(JOIN, "late"))  # while it is written anew
        self.clock.advance(0.01)
        self.assertGreater(len(self.text()), 128 * 1024)
        for _ in range(20):
            self.clock.advance(0.1)
        self.assertEqual(
            self.text(),
            "alive: a 10.0.0.1:8301\nclock: 7\nevent-clock: 8\nquery-clock: 9\nalive: late 10.0.0.1:8301\n",
        )
        self.assertEqual(self.disk.list("serf"), ["local.snapshot"])
        self.file.close()

    def test_more_than_may_wait(self) -> None:
        """The lines are dropped, for everything is written anew instead."""
        self.patch(gossip_snapshot, "_WAITING_MAX", 1000)
        self.file.member_event(event(JOIN))
        self.churn(10)
        for _ in range(20):
            self.clock.advance(0.1)
        self.file.close()
        self.assertEqual(self.opened()[1].alive, {"a": "10.0.0.1:8301"})

    def test_closed_meanwhile(self) -> None:
        self.file.member_event(event(JOIN))
        self.churn(700)
        self.clock.advance(0.5)
        self.file.member_event(event(JOIN, "late"))
        self.file.close()
        for _ in range(20):
            self.clock.advance(0.1)
        self.assertEqual(set(self.opened()[1].alive), {"a", "late"})


class _Broken:
    """A disk on which an operation fails."""

    def __init__(self, disk: SimDisk, operation: str) -> None:
        self._disk, self._operation = disk, operation

    def __getattr__(self, name: str) -> Any:
        if name == self._operation:
            raise OSError(28, "No space left on device")
        found = getattr(self._disk, name)
        return self._open if name == "open" else found

    def _open(self, path: str, create: bool = False) -> Any:
        return _BrokenFile(self._disk.open(path, create), self._operation)


class _BrokenFile:
    def __init__(self, file: Any, operation: str) -> None:
        self._file, self._operation = file, operation

    def __getattr__(self, name: str) -> Any:
        if name == self._operation:
            raise OSError(28, "No space left on device")
        return getattr(self._file, name)


class TroubleTests(SnapshotTestCase):
    def test_a_disk_that_fails(self) -> None:
        """The pool goes on without it, whatever it is that fails."""
        for operation in ("open", "write", "sync", "rename", "truncate"):
            disk: Any = _Broken(self.disk, operation)
            self.file = SnapshotFile(disk, "serf/other.snapshot", self.clock)
            self.assertEqual(self.file.open(), Previous())
            for _ in range(700):
                self.file.member_event(event(JOIN, "x" * 100))
                self.file.member_event(event(FAILED, "x" * 100))
            for _ in range(20):
                self.clock.advance(0.1)
            self.file.member_event(event(JOIN))
            self.file.clocks(1, 2, 3)
            self.file.left()
            self.file.close()
            self.assertEqual(self.clock.getDelayedCalls(), [])
            if "other.snapshot" in self.disk.list("serf"):
                self.disk.remove("serf/other.snapshot")
