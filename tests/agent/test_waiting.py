"""Waiting for a service of this node to change."""

from __future__ import annotations

from random import Random

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.waiting import ServiceWaits


class WaitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.waits = ServiceWaits(self.clock, Random(1), 300.0, 600.0)

    def test_change(self) -> None:
        """Whoever waits for a service hears of its change, and of no other."""
        web, again, db = (self.waits.wait(name, 10.0) for name in ("web", "web", "db"))
        self.waits.changed("web")
        self.successResultOf(web)
        self.successResultOf(again)
        self.assertNoResult(db)
        self.waits.changed("web")
        self.waits.stop()
        self.successResultOf(db)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_time(self) -> None:
        """A wait ends in time or up to a sixteenth later; there is a usual time and a longest."""
        for asked, least in ((16.0, 16.0), (0.0, 300.0), (10_000.0, 600.0)):
            done = self.waits.wait("web", asked)
            self.clock.advance(least - 0.001)
            self.assertNoResult(done)
            self.clock.advance(least / 16 + 0.001)
            self.successResultOf(done)

    def test_cancelled(self) -> None:
        """Who does not wait any more is forgotten."""
        first, second = self.waits.wait("web", 10.0), self.waits.wait("web", 10.0)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.waits.changed("web")
        self.successResultOf(second)
        third = self.waits.wait("web", 10.0)
        third.cancel()
        self.failureResultOf(third, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
