"""What the simulation is good for: bugs made by hand, each of which it has to find."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.sim.mutants import MUTANTS

AREAS = {"raft", "storage", "reads", "writes", "snapshots", "membership", "fsm", "sessions"}


class MutantTests(SynchronousTestCase):
    def setUp(self) -> None:
        # Errors in Deferreds of servers that crashed: nobody was left to look at them.
        self.addCleanup(self.flushLoggedErrors)

    def find(self, area: str) -> None:
        for mutant in MUTANTS:
            if mutant.area == area:
                found = mutant.find()
                assert found is not None, mutant.name
                seed, error = found
                self.assertIn(f"seed {seed}, at ", error.__notes__[0])

    def test_raft(self) -> None:
        """Votes, terms, the log, what is committed."""
        self.find("raft")

    def test_storage(self) -> None:
        """What is said to be durable and is not."""
        self.find("storage")

    def test_reads(self) -> None:
        """Of all modes, and those that wait."""
        self.find("reads")

    def test_writes(self) -> None:
        """Whose outcome is not known."""
        self.find("writes")

    def test_snapshots(self) -> None:
        """Taken, kept and restored."""
        self.find("snapshots")

    def test_membership(self) -> None:
        """Who counts, and when that changes."""
        self.find("membership")

    def test_machine(self) -> None:
        """What log entries do."""
        self.find("fsm")

    def test_sessions(self) -> None:
        """Who has a lock, and how long."""
        self.find("sessions")

    def test_table(self) -> None:
        """There are many, with names of their own, and no area is left out."""
        self.assertGreaterEqual(len(MUTANTS), 30)
        self.assertEqual(len({mutant.name for mutant in MUTANTS}), len(MUTANTS))
        self.assertEqual({mutant.area for mutant in MUTANTS}, AREAS)

    def test_nothing_without_a_bug(self) -> None:
        """The same worlds with the same seeds are well when nothing is wrong."""
        worlds = {(mutant.world, mutant.seed): None for mutant in MUTANTS}
        self.assertGreater(len(worlds), 5)
        for world, seed in worlds:
            world(seed).trouble(60.0)
