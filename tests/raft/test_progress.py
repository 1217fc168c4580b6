"""The table of a follower's states in ``progress``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft.progress import Progress
from pyconsul.raft.tables import Pace, Step


class ProgressTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.progress = Progress("b", "b:8300", next_index=11, now=0.0)

    def replicate(self, match: int = 10) -> Progress:
        self.progress.acknowledged(match)
        return self.progress

    def test_probe_sends_once(self) -> None:
        progress = self.progress
        self.assertEqual((progress.pace, progress.waiting), (Pace.PROBE, False))
        progress.sent(15)
        self.assertEqual((progress.next_index, progress.waiting), (11, True))

    def test_acknowledged_probe_starts_the_pipeline(self) -> None:
        self.progress.sent(15)
        self.progress.acknowledged(15)
        self.assertEqual((self.progress.pace, self.progress.next_index), (Pace.REPLICATE, 16))

    def test_pipeline(self) -> None:
        progress = self.replicate()
        for last in (12, 14, 16):
            progress.sent(last)
        self.assertEqual((progress.next_index, list(progress.inflight)), (17, [12, 14, 16]))
        progress.acknowledged(14)
        self.assertEqual((progress.match_index, list(progress.inflight)), (14, [16]))
        progress.acknowledged(12)
        self.assertEqual(progress.match_index, 14)

    def test_acknowledged_beyond_what_was_sent(self) -> None:
        """It had entries from another leader."""
        progress = self.replicate()
        progress.acknowledged(20)
        self.assertEqual((progress.match_index, progress.next_index), (20, 21))

    def test_stale_rejects(self) -> None:
        progress = self.progress
        self.assertTrue(progress.ignores_reject(10))  # nothing was sent
        progress.sent(15)
        self.assertFalse(progress.ignores_reject(10))
        self.assertTrue(progress.ignores_reject(9))
        self.replicate().sent(15)
        self.assertTrue(progress.ignores_reject(10))
        self.assertFalse(progress.ignores_reject(12))
        self.assertTrue(progress.ignores_reject(16))

    def test_reject_probes_but_never_below_match(self) -> None:
        progress = self.replicate()
        progress.sent(15)
        progress.probe(Step.REJECTED, 3)
        self.assertEqual((progress.pace, progress.next_index, progress.waiting), (Pace.PROBE, 11, False))
        self.assertEqual(list(progress.inflight), [])

    def test_unreachable_waits_for_a_heartbeat(self) -> None:
        progress = self.replicate()
        progress.sent(15)
        progress.unreachable()
        self.assertEqual((progress.pace, progress.next_index, progress.waiting), (Pace.PROBE, 11, True))
        progress.heartbeat_sent(7, 1.0)
        self.assertTrue(progress.lost(7, 0))

    def test_unreachable_with_nothing_on_its_way(self) -> None:
        """The next answer to a heartbeat ends the wait all the same."""
        progress = self.replicate()
        progress.unreachable()
        progress.heartbeat_sent(7, 1.0)
        self.assertTrue(progress.lost(7, 10))

    def test_unreachable_forgets_older_heartbeats(self) -> None:
        """One that was answered before the connection broke says nothing about what came after."""
        progress = self.replicate()
        progress.heartbeat_sent(6, 1.0)
        progress.unreachable()
        self.assertFalse(progress.lost(6, 0))

    def test_lost(self) -> None:
        """What was sent before a heartbeat and has not come when that is answered."""
        progress = self.replicate()
        progress.sent(15)
        progress.heartbeat_sent(7, 1.0)
        progress.sent(20)
        self.assertFalse(progress.lost(6, 0))  # an older heartbeat
        self.assertTrue(progress.lost(7, 14))
        progress.heartbeat_sent(8, 1.0)
        self.assertFalse(progress.lost(8, 20))

    def test_slow_disk_is_not_lost(self) -> None:
        """Received but not acknowledged: wait for the disk."""
        progress = self.replicate()
        progress.sent(15)
        progress.heartbeat_sent(7, 1.0)
        self.assertFalse(progress.lost(7, 15))

    def test_answer_to_a_later_heartbeat_counts(self) -> None:
        """The heartbeat that remembered may itself be lost."""
        progress = self.replicate()
        progress.sent(15)
        progress.heartbeat_sent(7, 1.0)
        progress.sent(20)
        progress.heartbeat_sent(8, 1.0)
        self.assertEqual(progress.mark_context, 7)
        self.assertTrue(progress.lost(8, 10))
        self.assertFalse(progress.lost(8, 10))

    def test_round_trip(self) -> None:
        """How long the latest answer took; one that does not come takes longer and longer."""
        progress = self.replicate()
        progress.heartbeat_sent(7, 10.0)
        self.assertTrue(progress.heartbeat_answered(7, 10.5))
        self.assertEqual(progress.round_trip_s, 0.5)
        self.assertFalse(progress.heartbeat_answered(7, 12.0))
        progress.late(12.0)
        self.assertEqual(progress.round_trip_s, 0.5)
        progress.heartbeat_sent(8, 12.0)
        progress.heartbeat_sent(9, 14.0)
        self.assertEqual(progress.round_trip_s, 2.0)
        self.assertTrue(progress.heartbeat_answered(9, 15.0))
        self.assertEqual(progress.round_trip_s, 3.0)
        progress.heartbeat_sent(10, 15.0)
        self.assertTrue(progress.heartbeat_answered(10, 15.25))
        self.assertEqual(progress.round_trip_s, 0.25)
