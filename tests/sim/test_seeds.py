"""Many seeds of five servers in trouble: ten simulated minutes each."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.testing import World
from pyconsul.testing.faults import SOUND_DISKS

SECONDS = 600.0
SEEDS_PER_TEST = 6


class SeedTests(SynchronousTestCase):
    """A failing seed is a bug report: mend the cause, and keep the seed as a test of its own."""

    def run_seeds(self, first: int) -> None:
        """Run ``SEEDS_PER_TEST`` worlds; each checks itself and raises what it finds."""
        for seed in range(first, first + SEEDS_PER_TEST):
            summary = World(seed).trouble(SECONDS)
            print(summary)
            self.assertGreater(summary.acknowledged, 100)
            self.assertGreater(sum(summary.faults.values()), 10)

    def test_seeds_0(self) -> None:
        """Seeds 1 to 6."""
        self.run_seeds(1)

    def test_seeds_1(self) -> None:
        """Seeds 7 to 12."""
        self.run_seeds(7)

    def test_seeds_2(self) -> None:
        """Seeds 13 to 18."""
        self.run_seeds(13)

    def test_seeds_3(self) -> None:
        """Seeds 19 to 24."""
        self.run_seeds(19)

    def test_seeds_4(self) -> None:
        """Seeds 25 to 30."""
        self.run_seeds(25)

    def test_seeds_5(self) -> None:
        """Seeds 31 to 36."""
        self.run_seeds(31)


class KeptSeedTests(SynchronousTestCase):
    """Seeds that once failed."""

    def test_taken_for_leaving(self) -> None:
        """A live member is never taken for one that leaves, whoever forced it to and whatever was lost."""
        for seed, seconds in ((12, 120.0), (1294, SECONDS)):
            world = World(seed, plan=SOUND_DISKS)
            self.assertGreater(world.trouble(seconds).acknowledged, 100)
