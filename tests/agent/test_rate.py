"""The bucket of permits for requests."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.rate import RequestRate
from pyconsul.config.groups import Limits
from pyconsul.errors import RateLimited


class RequestRateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def taken(self, rate: RequestRate, wanted: int = 100) -> int:
        """How many of so many requests may be made now."""
        for number in range(wanted):
            try:
                rate.take()
            except RateLimited as error:
                self.assertEqual((str(error), error.http_status), ("RPC rate limit exceeded", 429))
                return number
        return wanted

    def rate(self, **limits: Any) -> RequestRate:
        return RequestRate(Limits(**limits), self.clock)

    def test_without_limit(self) -> None:
        """As by default."""
        rate = self.rate()
        self.assertFalse(rate.is_limited())
        self.assertEqual(self.taken(rate, 5000), 5000)

    def test_burst_and_rate(self) -> None:
        rate = self.rate(rpc_rate=10.0, rpc_max_burst=5)
        self.assertTrue(rate.is_limited())
        self.assertEqual(self.taken(rate), 5)
        self.assertEqual(self.taken(rate), 0)
        self.clock.advance(0.25)
        self.assertEqual(self.taken(rate), 2)
        self.clock.advance(100)
        self.assertEqual(self.taken(rate), 5)

    def test_none_at_all(self) -> None:
        self.assertEqual(self.taken(self.rate(rpc_rate=0.0, rpc_max_burst=0)), 0)

    def test_another_limit(self) -> None:
        rate = self.rate(rpc_rate=0.0, rpc_max_burst=1)
        self.assertEqual(self.taken(rate), 1)
        rate.configure(Limits(rpc_rate=0.0, rpc_max_burst=3))
        self.assertEqual(self.taken(rate), 3)
        rate.configure(Limits())
        self.assertEqual(self.taken(rate), 100)
