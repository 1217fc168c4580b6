"""Seeds that once failed. ``tests.run`` simulates a day with others."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.testing import World
from pyconsul.testing.faults import SOUND_DISKS

SECONDS = 600.0


class KeptSeedTests(SynchronousTestCase):
    """A failing seed is a bug report: mend the cause, and keep the seed as a test of its own."""

    def test_taken_for_leaving(self) -> None:
        """A live member is never taken for one that leaves, whoever forced it to and whatever was lost."""
        for seed, seconds in ((12, 120.0), (1294, SECONDS)):
            world = World(seed, plan=SOUND_DISKS)
            self.assertGreater(world.trouble(seconds).acknowledged, 100)
