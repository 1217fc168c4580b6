"""When is looked for services that are due."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.reaping import INTERVAL_S, Reaper


class ReaperTests(SynchronousTestCase):
    def test_interval(self) -> None:
        """Every thirty seconds while it runs."""
        clock, looked = Clock(), []
        reaper = Reaper(lambda: looked.append(clock.seconds()), clock)
        reaper.stop()
        reaper.start()
        for _ in range(7):
            clock.advance(INTERVAL_S / 3)
        self.assertEqual(looked, [INTERVAL_S, 2 * INTERVAL_S])
        reaper.stop()
        self.assertEqual(clock.getDelayedCalls(), [])
