"""What the simulation is good for: each of these bugs has to be found, within some seeds."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import StorageDamaged
from pyconsul.testing.kernel import SimulationFailed
from pyconsul.testing.network import CALM
from pyconsul.testing.raft_world import RaftWorld
from pyconsul.testing.safety import SafetyViolation
from tests.sim import broken
from tests.sim.test_raft_world import FAR, HARSH

SEEDS_MAX = 100


class PlantedBugTests(SynchronousTestCase):
    def finds(self, *words: str, **bug: Any) -> None:
        """Some seed raises an error that says one of ``words``, and the notes tell how to get there again."""
        for seed in range(SEEDS_MAX):
            world = RaftWorld(seed, plan=HARSH, conditions=FAR if seed % 2 else CALM, **bug)
            try:
                world.trouble(60.0)
            except (SafetyViolation, SimulationFailed, StorageDamaged) as error:
                self.assertTrue(any(word in str(error) for word in words), str(error))
                self.assertIn(f"seed {seed}, at ", error.__notes__[0])
                return
        self.fail(f"not found with {SEEDS_MAX} seeds")

    def test_vote_not_persisted(self) -> None:
        """A vote that a crash makes the voter forget."""
        make = broken.storage(broken.VoteNotPersisted)
        self.finds("voted in term", "election safety", make_storage=make)

    def test_term_not_persisted(self) -> None:
        """A term that a crash makes the server forget."""
        self.finds("forgot its term", "voted in term", make_storage=broken.storage(broken.TermNotPersisted))

    def test_answered_before_sync(self) -> None:
        """Entries that are acknowledged and then lost."""
        make = broken.storage(broken.AnsweredBeforeSync)
        self.finds("forgot its term", "have on disk", "leader completeness", "committed", make_storage=make)

    def test_truncation_lost(self) -> None:
        """Conflicting entries that stay on the disk."""
        make = broken.storage(broken.TruncationLost)
        self.finds("log matching", "state machine safety", "wrote", make_storage=make)

    def test_commit_by_count(self) -> None:
        """Entries of earlier terms, committed by the count of their copies."""
        self.finds("5.4.2", "have on disk", make_core=broken.CommitsByCount)

    def test_votes_for_anybody(self) -> None:
        """A leader that lacks what was committed."""
        self.finds("leader completeness", "dropped entries", make_core=broken.VotesForAnybody)

    def test_votes_twice(self) -> None:
        """Two votes of one server in one term."""
        self.finds("voted in term", "election safety", make_core=broken.VotesTwice)

    def test_ignores_previous_term(self) -> None:
        """Logs that do not fit together."""
        self.finds("log matching", "state machine safety", make_core=broken.IgnoresPreviousTerm)

    def test_speaks_before_sync(self) -> None:
        """Answers that promise what a crash takes back."""
        self.finds("forgot its term", "voted in term", make_core=broken.SpeaksBeforeSync)

    def test_applies_twice(self) -> None:
        """The same entries handed out again."""
        self.finds("applied entry", make_core=broken.AppliesTwice)

    def test_reads_without_asking(self) -> None:
        """Reads of a leader that is none any more."""
        self.finds("not linearizable", process=broken.ReadsWithoutAsking)

    def test_reset_lost(self) -> None:
        """A log that does not go on where the snapshot ends."""
        make = broken.storage(broken.ResetLost)
        self.finds("was expected", "log matching", "cannot be read", "wrote", make_storage=make)

    def test_snapshot_of_another_index(self) -> None:
        """An entry that is applied again after a restart."""
        self.finds("another state", process=broken.SnapshotOfAnotherIndex)

    def test_snapshot_not_synced(self) -> None:
        """A snapshot that is not there after a power cut, but the log before it is gone."""
        self.finds("damaged", process=broken.SnapshotNotSynced)
