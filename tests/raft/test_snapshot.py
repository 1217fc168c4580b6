"""Snapshots as the core sees them: Raft paper, section 7."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import StorageDamaged
from pyconsul.raft import events
from pyconsul.raft.configuration import Configuration
from pyconsul.raft.core import RaftCore
from pyconsul.raft.events import (
    Apply,
    ConfigurationChanged,
    PieceStored,
    Propose,
    RestoreSnapshot,
    Role,
    SendPiece,
    SnapshotFailed,
    SnapshotReady,
    SnapshotTaken,
    StorePiece,
)
from pyconsul.raft.log import RaftLog
from pyconsul.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
)
from pyconsul.raft.progress import Progress
from pyconsul.raft.snapshot import SnapshotInfo
from pyconsul.raft.tables import Pace
from pyconsul.raft.timing import Timing
from tests.raft.single import Single, configuration, of, only, sent, snapshot

TIMING = Timing(snapshot_piece_bytes=4, snapshot_window_bytes=8)
INFO = snapshot(9)


def pieces(effects: list[Any], to: str = "b") -> list[tuple[int, int]]:
    """Offset and size of what is sent."""
    return [(e.message.offset, e.size) for e in of(effects, SendPiece) if e.to == to]


class SendingTests(SynchronousTestCase):
    """``a`` leads; ``b`` needs entries that are gone."""

    def setUp(self) -> None:
        self.one = Single(terms=[1, 1, 1], timing=TIMING)
        self.one.lead()
        self.one.ack("c")
        self.one.compact(4)
        self.begun = self.one.reject("b", 4, 0, 0)
        self.progress = self.one.core.progress["b"]
        self.context = 10

    def answer(self, offset: int, again: bool = False, index: int = 4) -> list[Any]:
        message = InstallSnapshotResponse(self.one.core.term, index, offset, again)
        return self.one.receive("b", message)

    def beat(self, match: int = 0, received: int = 0) -> list[Any]:
        self.context += 1
        return self.one.beat("b", self.context, match, received)

    def test_pieces_in_a_window(self) -> None:
        """Several are on their way; each that is stored makes room for another; the last is shorter."""
        self.assertEqual(pieces(self.begun), [(0, 4), (4, 4)])
        effect = of(self.begun, SendPiece)[0]
        self.assertEqual(effect.message, InstallSnapshot(2, snapshot(4, 1), 0, b"", "a:8300"))
        self.assertEqual((effect.to, effect.address), ("b", "b:8300"))
        self.assertEqual(pieces(self.answer(4)), [(8, 2)])
        self.assertEqual(pieces(self.answer(8)), [])
        self.assertEqual(pieces(self.answer(10)), [])
        self.assertIs(self.progress.pace, Pace.SNAPSHOT)

    def test_entries_follow(self) -> None:
        """Once it is installed."""
        self.one.feed(Propose([b"x"]))
        effects = self.one.ack("b", 4)
        self.assertEqual([m.prev_log_index for _, m in sent(effects, AppendEntries)], [4])
        self.assertIs(self.progress.pace, Pace.REPLICATE)
        self.assertIsNone(self.progress.snapshot)

    def test_heartbeat_tells_that_it_is_installed(self) -> None:
        """The answer may have been lost."""
        self.assertEqual([m.prev_log_index for _, m in sent(self.beat(4, 4), AppendEntries)], [4])

    def test_other_answers_change_nothing(self) -> None:
        """About entries, about another snapshot, beyond the end."""
        for effects in (
            self.one.ack("b", 2),
            self.one.reject("b", 4, 0, 0),
            self.answer(4, index=3),
            self.answer(11),
            self.answer(-1),
        ):
            self.assertEqual((pieces(effects), sent(effects, AppendEntries)), ([], []))
        self.assertIs(self.progress.pace, Pace.SNAPSHOT)

    def test_missed_pieces(self) -> None:
        """Are sent again, once between two heartbeats."""
        self.assertEqual(pieces(self.answer(0, again=True)), [(0, 4), (4, 4)])
        self.assertEqual(pieces(self.answer(0, again=True)), [])
        self.beat()
        self.assertEqual(pieces(self.answer(0, again=True)), [(0, 4), (4, 4)])

    def test_has_more_than_was_known(self) -> None:
        """Of a snapshot with the same content: it goes on from there."""
        self.assertEqual(pieces(self.answer(8, again=True)), [(8, 2)])

    def test_old_answers(self) -> None:
        """An answer that was overtaken does not count."""
        self.answer(8)
        self.assertEqual(pieces(self.answer(4)), [])

    def test_stalled(self) -> None:
        """It is asked how far it has come when nothing was stored between two heartbeats."""
        self.assertEqual(sent(self.beat(), InstallSnapshot), [])
        [(to, question)] = sent(self.beat(), InstallSnapshot)
        self.assertEqual((to, question.offset, question.data), ("b", 8, b""))
        self.answer(4)
        self.assertEqual(sent(self.beat(), InstallSnapshot), [])

    def test_unreachable(self) -> None:
        """It is sent nothing until it answers a heartbeat, and then what was not stored."""
        self.answer(4)
        self.one.feed(events.Unreachable("b"))
        self.assertEqual(pieces(self.one.feed(Propose([b"x"]))), [])
        self.assertEqual(pieces(self.beat()), [(4, 4), (8, 2)])

    def test_restarted_with_an_empty_disk(self) -> None:
        """It says that it has nothing; the snapshot is still the right thing."""
        self.progress.match_index = 2
        self.progress.verifying = True
        self.one.reject("b", 2, 0, 0)
        self.assertEqual(self.progress.match_index, 0)
        self.assertIs(self.progress.pace, Pace.SNAPSHOT)

    def test_newer_snapshot_meanwhile(self) -> None:
        """What has begun goes on; who comes later gets the newer one."""
        self.one.feed(Propose([b"x"]))
        self.one.ack("c")
        self.one.feed(SnapshotTaken(snapshot(6, 2)))
        self.assertEqual(pieces(self.answer(4)), [(8, 2)])
        self.one.feed(SnapshotTaken(snapshot(5, 2)))  # an older one
        self.assertEqual(self.one.core.snapshot, snapshot(6, 2))

    def test_a_stranger_answers(self) -> None:
        message = InstallSnapshotResponse(self.one.core.term, 4, 4)
        self.assertEqual(self.one.receive("z", message), [])

    def test_higher_term(self) -> None:
        """Deposes, as everywhere."""
        self.one.receive("b", InstallSnapshotResponse(9, 4, 0))
        self.assertEqual((self.one.core.role, self.one.core.term), (Role.FOLLOWER, 9))
        self.assertEqual(self.answer(4), [])

    def test_no_address(self) -> None:
        progress = Progress("z", "", 1, 0.0)
        progress.begin_snapshot(INFO)
        replication = self.one.core._leader.replication  # type: ignore[union-attr]
        replication._send_pieces(progress)
        self.assertEqual(pieces(self.one.core._s.effects, "z"), [])


class ReceivingTests(SynchronousTestCase):
    """``b`` leads term 2, and sends ``a`` a snapshot of ten bytes."""

    def setUp(self) -> None:
        self.one = Single(terms=[1, 1], term=2)
        self.one.heartbeat("b", 2)

    def piece(self, offset: int, data: bytes, info: SnapshotInfo = INFO, term: int = 2) -> list[Any]:
        return self.one.receive("b", InstallSnapshot(term, info, offset, data, "b:8300"))

    def receive_all(self, info: SnapshotInfo = INFO) -> None:
        self.piece(0, b"0123456789", info)

    def test_pieces(self) -> None:
        """Are handed to the driver in order, and answered once stored."""
        self.assertEqual(self.piece(0, b"0123"), [StorePiece(INFO, 0, b"0123")])
        self.assertEqual(self.piece(4, b"4567"), [StorePiece(INFO, 4, b"4567")])
        answer = only(self.one.feed(PieceStored(INFO, 4)), InstallSnapshotResponse)
        self.assertEqual(answer, InstallSnapshotResponse(2, 9, 4))
        self.assertEqual(self.one.core.last_log_index, 3)

    def test_gap(self) -> None:
        """A piece after one that was lost is not taken; the leader is told from where to go on."""
        self.piece(0, b"0123")
        answer = only(self.piece(8, b"89"), InstallSnapshotResponse)
        self.assertEqual(answer, InstallSnapshotResponse(2, 9, 4, True))
        self.assertEqual(only(self.piece(4, b"", snapshot(8)), InstallSnapshotResponse).offset, 0)

    def test_doubled(self) -> None:
        """A piece that is there is passed over, for its answer is on the way."""
        self.piece(0, b"0123")
        self.assertEqual(self.piece(0, b"0123"), [])

    def test_question(self) -> None:
        self.piece(0, b"0123")
        self.assertEqual(only(self.piece(8, b""), InstallSnapshotResponse).offset, 4)

    def test_another_leader_goes_on(self) -> None:
        """If its snapshot is the same."""
        self.piece(0, b"0123")
        self.one.heartbeat("c", 3)
        message = InstallSnapshot(3, INFO, 4, b"4567", "c:8300")
        self.assertEqual(of(self.one.receive("c", message), StorePiece), [StorePiece(INFO, 4, b"4567")])
        other = snapshot(12)
        effects = self.one.receive("c", InstallSnapshot(3, other, 0, b"01", "c:8300"))
        self.assertEqual(of(effects, StorePiece), [StorePiece(other, 0, b"01")])
        self.assertEqual(self.one.feed(PieceStored(INFO, 8)), [])

    def test_nonsense(self) -> None:
        """Nothing is written that no leader would send."""
        for offset, data, info in (
            (-1, b"x", INFO),
            (0, b"x" * 11, INFO),
            (0, b"x", replace(INFO, size=0)),
            (0, b"x", replace(INFO, index=0, configuration_index=0)),
            (0, b"x", replace(INFO, configuration_index=10)),
            (0, b"x", replace(INFO, term=0)),
            (0, b"x", replace(INFO, term=3)),
            (0, b"x", replace(INFO, configuration=Configuration())),
        ):
            self.assertEqual(self.piece(offset, data, info), [])

    def test_lower_term(self) -> None:
        """Is told the higher one, and not followed."""
        self.one.heartbeat("c", 5)
        answer = only(self.piece(0, b"0123", term=2), InstallSnapshotResponse)
        self.assertEqual(answer.term, 5)
        self.assertEqual(self.one.core.leader_id, "c")

    def test_higher_term_is_made_durable_first(self) -> None:
        """A snapshot on the disk is never of a term that the disk does not know."""
        self.one.auto_sync = False
        self.assertEqual(of(self.piece(0, b"0123", term=6), StorePiece), [])
        self.one.sync()
        self.assertEqual(len(of(self.piece(0, b"0123", term=6), StorePiece)), 1)

    def test_restore(self) -> None:
        """Once all is durable: state, log and configuration are those of the snapshot."""
        info = snapshot(9, 2, voters="abd", at=8)
        self.receive_all(info)
        self.one.auto_sync = False
        effects = self.one.feed(SnapshotReady(info))
        self.assertEqual(of(effects, RestoreSnapshot)[0].info, info)
        self.assertEqual(of(effects, ConfigurationChanged), [ConfigurationChanged(configuration("abd"), 8)])
        self.assertEqual(only(effects, AppendEntriesResponse), AppendEntriesResponse(2, True, 9, 0))
        core = self.one.core
        self.assertEqual((core.commit_index, core.last_applied, core.last_log_index), (9, 9, 9))
        self.assertEqual((core.last_log_term, core.durable_index, core.snapshot), (2, 9, info))
        self.one.auto_sync = True
        self.one.append("b", 2, 9, 2, 2, commit=10)
        self.assertEqual(core.last_applied, 10)
        self.assertEqual(only(self.one.heartbeat("b", 2), HeartbeatResponse).match_index, 10)

    def test_restore_with_writes_under_way(self) -> None:
        """What was to be written of the old log says nothing about the new one."""
        self.one.auto_sync = False
        self.one.append("b", 2, 3, 1, 1, 1, 1, 1, 1, 1, 1)
        info = snapshot(9, 2)
        self.receive_all(info)
        self.one.feed(SnapshotReady(info))
        self.assertEqual(self.one.core.last_log_index, 9)
        self.one.sync()
        self.assertEqual(self.one.core.durable_index, 9)

    def test_not_needed(self) -> None:
        """What the log has is committed by it; nothing is taken."""
        effects = self.piece(0, b"0", snapshot(3))
        self.assertEqual(of(effects, StorePiece), [])
        self.assertEqual([e.index for e in of(effects, Apply)[0].entries], [1, 2, 3])
        self.assertEqual(only(effects, AppendEntriesResponse), AppendEntriesResponse(2, True, 3, 0))

    def test_not_needed_any_more(self) -> None:
        """Entries have come meanwhile: it is a snapshot of what we have."""
        self.receive_all()
        self.one.append("b", 2, 3, 1, 1, 1, 1, 1, 1, 1, commit=9)
        effects = self.one.feed(SnapshotReady(INFO))
        self.assertEqual(of(effects, RestoreSnapshot), [])
        self.assertEqual(only(effects, AppendEntriesResponse).match_index, 9)
        self.assertEqual(self.one.core.snapshot, INFO)

    def test_not_needed_and_not_durable(self) -> None:
        """The answer waits for the disk."""
        self.one.auto_sync = False
        self.one.append("b", 2, 3, 1, 1)
        effects = self.piece(0, b"0", snapshot(4))
        self.assertEqual(sent(effects, AppendEntriesResponse), [])
        self.assertEqual(only(self.one.sync(), AppendEntriesResponse).match_index, 4)

    def test_leads_by_now(self) -> None:
        """A leader has everything that is committed, so it takes nothing."""
        self.receive_all()
        self.one.lead()
        self.assertEqual(of(self.one.feed(SnapshotReady(INFO)), RestoreSnapshot), [])
        self.assertEqual(self.one.core.last_log_index, 4)
        self.assertEqual(of(self.one.feed(SnapshotReady(INFO)), RestoreSnapshot), [])

    def test_failed(self) -> None:
        """The leader has to begin again."""
        self.receive_all()
        answer = only(self.one.feed(SnapshotFailed(INFO)), InstallSnapshotResponse)
        self.assertEqual((answer.offset, answer.again), (0, True))
        self.assertEqual(len(of(self.piece(0, b"0123"), StorePiece)), 1)

    def test_another_one(self) -> None:
        """What becomes of one that is not wanted any more does not matter."""
        self.receive_all()
        self.piece(0, b"01", snapshot(12))
        for event in (SnapshotReady(INFO), SnapshotFailed(INFO), PieceStored(INFO, 10)):
            self.assertEqual(self.one.feed(event), [])

    def test_candidate_hears_the_leader(self) -> None:
        self.one.campaign()
        term = self.one.core.term
        self.assertEqual(len(of(self.piece(0, b"0123", term=term), StorePiece)), 1)
        self.assertIs(self.one.core.role, Role.FOLLOWER)

    def test_no_leader(self) -> None:
        """There is nobody to answer to while none is known."""
        self.receive_all()
        self.one.time_out()
        self.assertEqual(sent(self.one.feed(PieceStored(INFO, 4)), InstallSnapshotResponse), [])


class ByHandTests(SynchronousTestCase):
    """``a`` has nothing but a state made by hand, up to entry 9 of term 2; ``b`` leads term 5."""

    def setUp(self) -> None:
        self.one = Single(empty=True, term=4)
        disk = self.one.disk
        disk.first_index, disk._durable_first, disk.snapshot_term = 10, 10, 2
        taken = replace(snapshot(9, 2), by_hand=True)
        self.one.core = RaftCore(Timing(), self.one.core._s.rng, "a", disk, disk.read, taken)
        self.one.feed(events.Tick())
        self.one.heartbeat("b", 5)

    def install(self, info: SnapshotInfo) -> list[Any]:
        return self.one.receive("b", InstallSnapshot(5, info, 0, b"0123456789", "b:8300"))

    def test_leader_goes_on_from_it(self) -> None:
        """Its log has the same entry there, and from then on all is as ever."""
        answer = only(self.one.append("b", 5, 12, 5), AppendEntriesResponse)
        self.assertEqual((answer.success, answer.hint_index, answer.hint_term), (False, 9, 2))
        answer = only(self.one.append("b", 5, 9, 2, 5, commit=10), AppendEntriesResponse)
        self.assertEqual((answer.success, answer.match_index), (True, 10))
        self.assertFalse(self.one.core._s.is_unverified)
        self.assertTrue(only(self.one.append("b", 5, 7, 1), AppendEntriesResponse).success)

    def test_leader_has_something_else(self) -> None:
        """Nothing of it is taken for the leader's: another entry there, or a log that ends before."""
        for prev, term in ((9, 3), (7, 3)):
            answer = only(self.one.append("b", 5, prev, term, 5), AppendEntriesResponse)
            self.assertFalse(answer.success)
            self.assertLessEqual(answer.hint_index, prev)

    def test_leaders_snapshot(self) -> None:
        """One that goes beyond takes its place; one that does not cannot, so an operator has to help."""
        self.assertEqual(of(self.install(snapshot(12, 4)), StorePiece)[0].info.index, 12)
        with self.assertRaises(StorageDamaged) as caught:
            self.install(snapshot(9, 3))
        self.assertIn("empty its data folder", str(caught.exception))
        self.assertRaises(StorageDamaged, self.install, snapshot(7, 3))
        self.assertTrue(only(self.install(snapshot(9, 2)), AppendEntriesResponse).success)


class TakingTests(SynchronousTestCase):
    def test_description(self) -> None:
        """Term and configuration at the index; nothing while these are not durable or not known."""
        one = Single(terms=[1, 1])
        one.append("b", 2, 3, 1, 2, commit=4)
        self.assertEqual(one.core.describe_snapshot(4), SnapshotInfo(4, 2, configuration("abc"), 1, 0, 0))
        self.assertIsNone(one.core.describe_snapshot(0))
        one.auto_sync = False
        one.append("b", 2, 4, 2, 2, commit=5)
        self.assertIsNone(one.core.describe_snapshot(5))
        one.sync()
        self.assertIsNotNone(one.core.describe_snapshot(5))
        one.heartbeat("b", 3)
        self.assertIsNone(one.core.describe_snapshot(5))
        self.assertIsNone(Single(empty=True).core.describe_snapshot(0))

    def test_configuration_is_newer(self) -> None:
        """Specs, section 5: refused, for the one that was in force is not known any more."""
        one = Single(voters="abc", terms=[1])
        one.core._s.membership.append(3, configuration("abcd"))
        one.core._s.membership.commit(3)
        self.assertIsNone(one.core.describe_snapshot(2))

    def test_start(self) -> None:
        """From a snapshot and the log after it, some of which the snapshot covers, too."""
        one = Single("abc", terms=[1, 1, 2], term=2)
        taken = snapshot(3, voters="abc")
        core = type(one.core)(Timing(), one.core._s.rng, "a", one.disk, one.disk.read, taken)
        self.assertEqual((core.commit_index, core.last_applied, core.last_log_index), (3, 3, 4))
        self.assertEqual((core.configuration_index, core.snapshot), (1, taken))
        core.handle(0.0, events.Tick())
        core.handle(0.1, events.MessageReceived("b", Heartbeat(2, 0, 1, "b:8300")))
        effects = core.handle(0.2, events.MessageReceived("b", AppendEntries(2, 4, 2, 4, [], "b:8300")))
        self.assertEqual([entry.index for entry in of(list(effects), Apply)[0].entries], [4])


class LogTests(SynchronousTestCase):
    def test_reset(self) -> None:
        """Nothing is left, and it goes on behind the snapshot."""
        one = Single(terms=[1, 2, 2], term=2)
        log: RaftLog = one.core.log
        log.reset(9, 3)
        self.assertEqual((log.base_index, log.base_term, log.last_index, log.last_term), (9, 3, 9, 3))
        self.assertEqual((log.term_at(9), log.term_at(4), log.cached_first), (3, None, 10))
