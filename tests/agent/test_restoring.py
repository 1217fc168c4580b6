"""A user's restore on a leader, and Raft's snapshots on a server with a disk."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.environment import Environment
from pyconsul.agent.machine import RestorePiece
from pyconsul.agent.raft_stats import stats
from pyconsul.agent.replica import Replica
from pyconsul.agent.restoring import WINDOW, Restoring
from pyconsul.errors import LeadershipLost, NoLeader, Refused
from pyconsul.raft.configuration import Configuration, Server
from pyconsul.raft.events import SnapshotFailed
from pyconsul.raft.messages import AppendEntriesResponse, Heartbeat, InstallSnapshot
from pyconsul.raft.timing import Timing
from pyconsul.state import commands
from pyconsul.state.fsm import FSM
from pyconsul.state.store import Store
from pyconsul.storage.raft_storage import SegmentedStorage
from pyconsul.storage.snapshot_policy import SnapshotSettings
from pyconsul.storage.snapshots import SnapshotFiles
from pyconsul.testing.disk import SimDisk
from tests.agent.fixture import NoGossip, NotingRaft, NotingRpc, SlowDisk, noted, put
from tests.agent.test_machine import state
from tests.raft.single import snapshot as some_snapshot


class RestoringTests(SynchronousTestCase):
    """Pieces go out a few at a time."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.proposed: list[tuple[bytes, Deferred[Any]]] = []
        self.results = noted(
            Deferred.fromCoroutine(Restoring(self.clock, self.propose).run(state(5, 9000).snapshot()))
        )

    def propose(self, data: bytes) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred()
        self.proposed.append((data, deferred))
        return deferred

    def turn(self, count: int = 1) -> None:
        for _ in range(count):
            self.clock.advance(0)

    def test_window(self) -> None:
        self.turn(10)
        self.assertEqual(len(self.proposed), WINDOW)
        answered = 0
        for _ in range(100):
            for _, deferred in self.proposed[answered:]:
                answered += 1
                deferred.callback(answered)
            self.turn()
        self.assertEqual(self.results, [answered])
        self.assertGreater(answered, 5)

    def one_fails(self, error: Exception) -> None:
        self.turn(10)
        for _, deferred in self.proposed[:1]:
            deferred.errback(error)
        for _, deferred in self.proposed[1:]:
            deferred.errback(NoLeader())

    def test_fails_before_the_end(self) -> None:
        """Nothing has changed for certain, whatever became of the piece; the servers are told."""
        for error, shown in ((NoLeader(), NoLeader), (LeadershipLost(), NoLeader), (Refused("x"), Refused)):
            self.setUp()
            self.one_fails(error)
            self.assertIsInstance(self.results[0], shown)
            self.assertEqual(len(self.proposed), WINDOW + 1)

    def test_the_end_is_lost(self) -> None:
        """Only then the outcome is not known."""
        for _ in range(100):
            self.turn()
            for data, deferred in self.proposed:
                if not deferred.called:
                    is_last = msgspec.msgpack.decode(data, type=RestorePiece).last
                    deferred.errback(LeadershipLost()) if is_last else deferred.callback(0)
        self.assertIsInstance(self.results[0], LeadershipLost)


class DiskTestCase(SynchronousTestCase):
    """One server on a simulated disk."""

    servers = 1
    address = "10.0.0.0:8300"
    settings = SnapshotSettings(threshold=20, interval_s=1.0, trailing_logs=5)

    def setUp(self) -> None:
        self.disk_clock = Clock()
        self.disk = SimDisk(self.disk_clock, Random(1), lambda rng: 0.001)
        self.start()

    def start(self, run: bool = True) -> None:
        self.clock = Clock()
        self.disk.attach(self.clock)
        self.transport = NotingRaft()
        self.store = Store()
        environment = Environment(
            clock=self.clock,
            rng=Random(1),
            wall_time=lambda: 1.0,
            rpc_transport=NotingRpc(),
            gossip_transport=NoGossip(),
            raft_transport=self.transport,
            disk=self.disk,
        )
        storage = SegmentedStorage(self.disk, Random(2), segment_bytes=1024)
        fsm = FSM(self.store)
        self.replica = Replica(environment, "a", Timing(), storage, fsm, self.settings, self.address)
        if not run:
            return
        self.replica.start()
        servers = [Server(name, f"10.0.0.{n}:8300") for n, name in enumerate("abc"[: self.servers])]
        self.replica.bootstrap(Configuration(servers))
        self.run_for(3.0)

    def run_for(self, seconds: float) -> None:
        self.clock.pump([0.01] * round(seconds * 100))

    def write(self, count: int) -> None:
        for number in range(count):
            self.replica.propose(commands.encode_kv(put(f"k{number % 10}", b"v" * 50)))
            self.run_for(0.02)

    def crash(self) -> None:
        self.replica.driver.stop()
        self.disk.crash(power_cut=False)
        self.start()


class SnapshotTests(DiskTestCase):
    def test_restart(self) -> None:
        """From the snapshot and the entries after it; the log was compacted."""
        self.write(60)
        self.run_for(3.0)
        digest, core = self.store.digest(), self.replica.core
        assert core.snapshot is not None
        self.assertGreater(core.snapshot.index, 40)
        self.assertGreater(core.log.base_index, 20)
        shown = stats(self.replica, 0.0)
        self.assertEqual(shown["last_snapshot_index"], str(core.snapshot.index))
        self.assertEqual(shown["last_snapshot_term"], str(core.snapshot.term))
        self.crash()
        assert self.replica.started_from is not None
        self.assertEqual(self.replica.started_from, core.snapshot)
        self.assertTrue(self.replica.ready)
        self.assertEqual(self.store.digest(), digest)
        self.assertEqual(self.replica.notes, [])

    def test_restart_at_once(self) -> None:
        """The store is at the snapshot before anything is applied."""
        self.write(60)
        self.run_for(3.0)
        self.replica.stop()
        self.disk.close()
        self.disk.crash(power_cut=False)
        self.start(run=False)
        assert self.replica.started_from is not None
        self.assertEqual(self.replica.applied_index, self.replica.started_from.index)
        self.assertGreater(len(self.store.kv), 0)

    def test_not_while_it_is_restored(self) -> None:
        """A user's restore is under way: what has come of it is in no snapshot."""
        self.replica.machine._restoring = self.replica.machine.decoder()  # type: ignore[assignment]
        self.write(60)
        self.run_for(3.0)
        self.assertIsNone(self.replica.core.snapshot)


class UserRestoreTests(DiskTestCase):
    def restore(self, store: Store) -> list[Any]:
        return noted(self.replica.restore(store.snapshot()))

    def test_restore(self) -> None:
        """Fires with the index at which the state is there; it survives a restart."""
        self.write(5)
        results = self.restore(state(5000, 3000))
        self.assertIsInstance(self.restore(state(1))[0], Refused)
        self.run_for(3.0)
        self.assertEqual(results, [5001])
        self.assertEqual(len(self.store.kv), 3000)
        assert self.replica.core.snapshot is not None  # at once: the log before is of no use
        self.assertGreaterEqual(self.replica.core.snapshot.index, 5)
        self.write(30)
        self.run_for(4.0)
        assert self.replica.core.snapshot is not None
        digest = self.store.digest()
        self.crash()
        self.assertEqual(self.store.digest(), digest)
        self.assertGreater(self.store.index, 5001)
        self.assertEqual(self.restore(state(1)), [])
        self.run_for(1.0)
        self.assertEqual(len(self.store.kv), 3)

    def test_not_leading(self) -> None:
        self.transport.received("b", Heartbeat(self.replica.core.term + 1, 0, 1, "10.0.0.1:8300"))
        self.assertIsInstance(self.restore(state(5))[0], NoLeader)
        self.assertIsInstance(noted(self.replica._propose_piece(b""))[0], NoLeader)

    def test_deposed(self) -> None:
        """In the midst: nothing has changed."""
        self.write(5)
        digest = self.store.digest()
        results = self.restore(state(5000, 3000))
        self.transport.received("b", Heartbeat(self.replica.core.term + 1, 0, 1, "10.0.0.1:8300"))
        self.run_for(1.0)
        self.assertIsInstance(results[0], NoLeader)
        self.assertEqual(self.store.digest(), digest)


class TransferTests(DiskTestCase):
    """A leader's snapshot comes to a follower over the transport."""

    def made(self) -> tuple[Any, bytes]:
        """A snapshot of another server: what is said of it, and its bytes."""
        self.write(60)
        self.run_for(3.0)
        info = self.replica.core.snapshot
        files = SnapshotFiles(self.disk, "raft/snapshots")
        return info, b"".join(files.pieces(files.find(info), info))  # type: ignore[arg-type]

    def test_take_over_and_send_on(self) -> None:
        info, data = self.made()
        digest = self.store.digest()
        self.disk = SimDisk(self.disk_clock, Random(1), lambda rng: 0.001)
        self.servers = 3
        replaced: list[int] = []
        self.start()
        self.replica.machine.replaced = lambda: replaced.append(len(self.store.kv))
        waiting: list[Any] = []
        for offset in range(0, len(data), 500):
            message = InstallSnapshot(9, info, offset, data[offset : offset + 500], "10.0.0.1:8300")
            self.transport.received("b", message)
            self.run_for(0.05)
            self.transport.received("b", message)
            if not offset:
                confirmed: Deferred[None] = Deferred()
                waiting = noted(confirmed)
                self.replica._until_applied.wait(info.index, [confirmed])
        self.run_for(0.1)
        self.assertEqual(self.replica.applied_index, info.index)
        self.assertEqual((replaced, waiting), ([10], [None]))
        self.assertNotEqual(digest, "")
        answers = [m for _, m in self.transport.sent if isinstance(m, AppendEntriesResponse)]
        self.assertEqual(answers[-1].match_index, info.index)
        self.crash()
        self.assertEqual((self.replica.started_from, len(self.store.kv)), (info, 10))

    def test_crash_before_the_log_is_reset(self) -> None:
        """The snapshot is there and the log is still the old one: it is dropped at the start."""
        info, data = self.made()
        self.disk = SimDisk(self.disk_clock, Random(1), lambda rng: 0.001)
        self.servers = 3
        self.start()
        files = SnapshotFiles(self.disk, "raft/snapshots")
        draft = files.draft()
        draft.write(data)
        draft.publish(info, 1)
        for starts in range(1, 4):  # each time the only server is elected, and appends something
            self.crash()
            self.assertEqual(self.replica.recovered.first_index, info.index + 1)
            self.assertEqual(self.replica.core.last_log_index, info.index + starts)

    def test_without_a_disk(self) -> None:
        """A server that keeps nothing cannot take a snapshot over."""
        environment = Environment(
            clock=self.clock,
            rng=Random(1),
            wall_time=lambda: 1.0,
            rpc_transport=NotingRpc(),
            gossip_transport=NoGossip(),
            raft_transport=self.transport,
        )
        replica = Replica(environment, "a", Timing(), SlowDisk(), FSM(Store()))
        fed: list[Any] = []
        replica.driver.observer = lambda event, effects: fed.append(event)
        self.transport.received("b", InstallSnapshot(9, some_snapshot(5), 0, b"x", "b:8300"))
        self.transport.received("b", InstallSnapshot(9, some_snapshot(5), 0, b"x", "b:8300"))
        self.assertIsInstance(fed[-1], SnapshotFailed)
        self.assertEqual((replica.notes, replica.policy), ([], None))

    def test_stopped(self) -> None:
        """What the disk reports after the end is of no interest."""
        self.replica._stopped = True
        self.replica._taken(some_snapshot(5))
        self.replica._restored(None)  # type: ignore[arg-type]
        self.assertIsNone(self.replica.core.snapshot)
