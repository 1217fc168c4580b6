"""A replica whose disk fails, and works again: what it says, and what it still knows."""

from __future__ import annotations

import errno
from random import Random
from typing import Any
from zlib import crc32

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.environment import Environment
from pyconsul.agent.hearsay import Hearsay
from pyconsul.agent.raft_stats import stats
from pyconsul.agent.replica import Replica
from pyconsul.errors import LeadershipLost, NoLeader
from pyconsul.raft.configuration import Configuration, Server
from pyconsul.raft.events import ChangeConfiguration, ChangeKind, Role
from pyconsul.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    Heartbeat,
    InstallSnapshot,
    InstallSnapshotResponse,
    RequestVote,
)
from pyconsul.raft.snapshot import SnapshotInfo
from pyconsul.raft.timing import Timing
from pyconsul.state import commands
from pyconsul.state.fsm import FSM
from pyconsul.state.store import Store
from pyconsul.storage.frames import decode_header, scan
from pyconsul.storage.raft_storage import SegmentedStorage
from pyconsul.storage.snapshot_policy import SnapshotSettings
from pyconsul.testing.disk import SimDisk
from tests.agent.fixture import NoGossip, NotingRaft, NotingRpc, put

FULL = "raft/[0-9-]+.segment: No space left on device"
NAMES = ("a", "b", "c")


def address(name: str) -> str:
    return f"10.0.0.{NAMES.index(name)}:8300"


class Base(SynchronousTestCase):
    servers = 1

    def setUp(self) -> None:
        self.clock = Clock()
        self.disk = SimDisk(self.clock, Random(1), lambda rng: 0.01)
        self.transport = NotingRaft()
        self.store = Store()
        self.roles: list[Role] = []
        self.reopenings = 0
        environment = Environment(
            clock=self.clock,
            rng=Random(1),
            wall_time=lambda: 0.0,
            rpc_transport=NotingRpc(),
            gossip_transport=NoGossip(),
            raft_transport=self.transport,
            disk=self.disk,
        )
        storage = SegmentedStorage(self.disk, Random(2), segment_bytes=4096)
        settings = SnapshotSettings(threshold=5, interval_s=1e6, trailing_logs=0)
        self.replica = Replica(environment, "a", Timing(), storage, FSM(self.store), settings)
        self.replica.role_changed = lambda change: self.roles.append(change.role)
        self.replica.reopened = self.reopened
        self.replica.start()
        self.replica.bootstrap(Configuration([Server(name, address(name)) for name in NAMES[: self.servers]]))

    def reopened(self) -> None:
        self.reopenings += 1

    def wait(self, seconds: float) -> None:
        self.clock.pump([0.02] * round(seconds * 50))

    def write(self, key: str) -> Deferred[Any]:
        return self.replica.propose(commands.encode_kv(put(key)))

    def failed_write(self, key: str) -> None:
        """A write in which the disk fails."""
        lost = self.write(key)
        self.wait(0.1)
        self.failureResultOf(lost, LeadershipLost)

    def keys(self) -> list[str]:
        return [key for key in ("one", "two", "three", "four") if self.store.kv.get(key)[1] is not None]

    def fill(self) -> None:
        """The disk is full, and so is the file of the log."""
        self.disk.full = True
        self.disk.faults["write"] = OSError(errno.ENOSPC, "No space left on device")


class OnlyServerTests(Base):
    def setUp(self) -> None:
        super().setUp()
        self.wait(3.0)
        self.assertTrue(self.replica.ready)
        one = self.write("one")
        self.wait(0.1)
        self.successResultOf(one)

    def test_full(self) -> None:
        """Whoever writes hears of the file and the cause; what is there can be read; then it goes on."""
        self.fill()
        lost = self.write("two")
        self.wait(0.1)
        error = self.failureResultOf(lost, LeadershipLost)
        self.assertRegex(str(error.value), f"^leadership lost while committing log: {FULL}$")
        self.assertEqual(self.roles[-1], Role.FOLLOWER)
        self.assertFalse(self.replica.is_stopped)
        self.assertEqual((self.replica.is_leader, self.replica.ready, self.keys()), (False, False, ["one"]))
        for refused in (
            self.write("three"),
            self.replica.propose(b""),
            self.replica.transfer(),
            self.replica.restore(self.store.snapshot()),
            self.replica.change(ChangeConfiguration(ChangeKind.ADD_VOTER, "b", address("b"))),
        ):
            error = self.failureResultOf(refused, NoLeader)
            self.assertRegex(str(error.value), "^No cluster leader: raft/.*: No space left on device$")
        found = stats(self.replica, 0.0)
        self.assertEqual((found["state"], found["storage_error"]), ("Shutdown", self.replica.trouble))
        self.wait(20.0)
        self.assertEqual(self.reopenings, 0)
        self.disk.mend()
        self.wait(6.0)
        self.assertEqual((self.reopenings, self.replica.trouble), (1, ""))
        self.assertTrue(self.replica.ready)
        self.assertNotIn("storage_error", stats(self.replica, 0.0))
        four = self.write("four")
        self.wait(0.1)
        self.successResultOf(four)
        self.assertIn("one", self.keys())
        self.assertIn("four", self.keys())

    def test_nothing_is_applied_twice(self) -> None:
        """The log is read again from where the snapshot ends; what was applied stays as it is."""
        for key in ("two", "three"):
            self.write(key)
            self.wait(0.1)
        before = self.store.digest()
        index = self.replica.applied_index
        self.disk.faults["sync"] = OSError(errno.EIO, "Input/output error")
        self.failed_write("four")
        self.disk.mend()
        self.wait(1.0)
        self.assertEqual((self.store.digest(), self.replica.applied_index), (before, index))
        self.wait(6.0)
        self.assertTrue(self.replica.ready)
        self.assertGreater(self.replica.applied_index, index)
        self.assertEqual(self.replica.core.last_applied, self.replica.applied_index)

    def test_a_snapshot_waits(self) -> None:
        """None is taken of a state that the log, read again, has not come up to yet."""
        for key in ("two", "three", "four"):
            self.write(key)
            self.wait(0.1)
        self.disk.faults["sync"] = OSError(errno.EIO, "Input/output error")
        self.failed_write("one")
        self.disk.mend()
        while not self.reopenings:
            self.clock.advance(0.01)
        policy = self.replica.policy
        assert policy is not None
        self.assertFalse(policy.take())
        self.wait(6.0)
        self.assertTrue(policy.take())
        self.wait(1.0)
        self.assertIsNotNone(self.replica.core.snapshot)

    def test_a_snapshot_fails(self) -> None:
        """A snapshot that finds no room changes nothing, leaves nothing behind, and is taken later."""
        self.disk.full = True
        policy = self.replica.policy
        assert policy is not None
        for key in ("two", "three"):
            self.write(key)
            self.wait(0.1)
        self.assertTrue(policy.take())
        self.wait(1.0)
        self.assertIsNone(self.replica.core.snapshot)
        self.assertEqual(self.disk.list("raft/snapshots"), [])
        self.assertEqual(self.replica.trouble, "")
        four = self.write("four")
        self.wait(0.1)
        self.successResultOf(four)
        self.disk.mend()
        self.assertTrue(policy.take())
        self.wait(1.0)
        self.assertIsNotNone(self.replica.core.snapshot)

    def test_read_fails(self) -> None:
        """A log that cannot be read is as one that cannot be written."""

        def handle(now: float, event: object) -> list[Any]:
            raise OSError(errno.EIO, "Input/output error", "raft/x")

        self.patch(self.replica.core, "handle", handle)
        self.failed_write("two")
        self.assertEqual(self.replica.trouble, "raft/x: Input/output error")
        self.wait(6.0)
        self.assertEqual(self.reopenings, 1)
        self.assertTrue(self.replica.ready)

    def test_stop(self) -> None:
        """A server that ends while its disk does not work leaves nothing running."""
        self.fill()
        self.failed_write("two")
        self.replica.stop()
        self.assertTrue(self.replica.is_stopped)
        self.wait(10.0)
        self.assertEqual((self.reopenings, self.clock.getDelayedCalls()), (0, []))


class FollowerTests(Base):
    servers = 3

    def setUp(self) -> None:
        super().setUp()
        self.wait(0.2)
        self.send(1, 1, [Entry(2, 2, 1, b"")])
        self.send(2, 2, [self.entry(3, "one"), self.entry(4, "two")], commit=4)
        self.assertEqual(self.keys(), ["one", "two"])

    def entry(self, index: int, key: str) -> Entry:
        return Entry(2, index, 0, commands.encode_kv(put(key)))

    def send(self, prev: int, prev_term: int, entries: list[Entry], commit: int = 1) -> list[Any]:
        """Entries of the leader's; what the server answers."""
        self.transport.sent.clear()
        self.transport.received("b", AppendEntries(2, prev, prev_term, commit, entries, address("b")))
        self.wait(0.2)
        return [message for _, message in self.transport.sent if type(message) is AppendEntriesResponse]

    def test_no_more_acknowledgements(self) -> None:
        """Nothing is acknowledged while the disk does not work; the leader is known all the time."""
        self.disk.faults["sync"] = OSError(errno.EIO, "Input/output error")
        self.assertEqual(self.send(4, 2, [self.entry(5, "three")], commit=5), [])
        self.assertRegex(self.replica.trouble, "^raft/.*.segment: Input/output error$")
        self.assertEqual(self.send(5, 2, [self.entry(6, "four")], commit=5), [])
        self.assertEqual((self.replica.leader_id, self.replica.leader_address), ("b", address("b")))
        self.transport.received("c", RequestVote(3, 9, 3, False, False, address("c")))
        self.wait(0.5)
        self.assertEqual(self.transport.sent, [])
        self.assertEqual(self.replica.core.term, 2)
        self.disk.mend()
        self.wait(3.0)
        self.assertEqual(self.reopenings, 1)
        self.assertIn(self.replica.core.last_log_index, (4, 5))
        self.assertEqual(self.keys(), ["one", "two", "three"])  # applied before the sync failed
        answers = self.send(4, 2, [self.entry(5, "three"), self.entry(6, "four")], commit=6)
        self.assertEqual([(a.success, a.match_index) for a in answers], [(True, 6)])
        self.assertEqual(self.keys(), ["one", "two", "three", "four"])
        self.assertEqual(self.replica.applied_index, 6)

    def test_a_snapshot_behind_us(self) -> None:
        """The leader's snapshot may be older than what was applied before the disk failed."""
        self.disk.faults["sync"] = OSError(errno.EIO, "Input/output error")
        self.send(4, 2, [self.entry(5, "three"), self.entry(6, "four")], commit=6)
        self.assertEqual(self.replica.applied_index, 6)
        before = self.store.digest()
        data = b"".join(self.replica.machine.slices())
        self.lose(5)
        self.disk.mend()
        self.wait(3.0)
        core = self.replica.core
        self.assertEqual(core.last_log_index, 4)
        info = SnapshotInfo(5, 2, core.configuration, 1, len(data), crc32(data))
        self.transport.received("b", InstallSnapshot(2, info, 0, data, address("b")))
        self.wait(1.0)
        answers = [m for _, m in self.transport.sent if type(m) is InstallSnapshotResponse]
        self.assertEqual(len(answers), 1)
        self.assertEqual((core.last_applied, self.replica.applied_index), (5, 6))
        self.assertEqual(self.send(5, 2, [self.entry(6, "four")], commit=6)[0].match_index, 6)
        self.assertEqual((core.last_applied, self.replica.applied_index), (6, 6))
        self.assertEqual(self.store.digest(), before)

    def lose(self, index: int) -> None:
        """The page cache drops what a failed sync left of the entries from ``index`` on."""
        [(path, size)] = [file for file in self.disk.files("raft") if file[0].endswith(".segment")]
        file = self.disk.open(path)
        data = file.read(size, 0)
        header = decode_header(data, path)
        start = scan(data, header, 1 << 60, path).offsets[index - header.first]
        file.write((bytes(size - start),), start)


class HearsayTests(SynchronousTestCase):
    def test_who_leads(self) -> None:
        """Whoever spoke last as a leader, in the highest term, and not too long ago."""
        clock = Clock()
        hearsay = Hearsay(clock, Timing())
        self.assertEqual((hearsay.leader_id, hearsay.address), ("", ""))
        hearsay.heard("b", Heartbeat(5, 0, 1, address("b")))
        hearsay.heard("c", Heartbeat(4, 0, 1, address("c")))
        hearsay.heard("c", RequestVote(6, 9, 3, False, False, address("c")))
        self.assertEqual((hearsay.leader_id, hearsay.address), ("b", address("b")))
        clock.advance(10.0)
        self.assertEqual((hearsay.leader_id, hearsay.address), ("", ""))
