"""Addresses that may take part in gossip."""

from __future__ import annotations

from pyconsul.net.networks import within
from pyconsul.serf.members import Status
from tests.net.test_gossip import PoolTestCase


class NetworkTests(PoolTestCase):
    def test_within(self) -> None:
        allowed = within(["10.0.0.0/30", "fd00::1/64"])
        found = [allowed(address) for address in ("10.0.0.3", "10.0.0.4", "fd00::9", "fe80::1")]
        self.assertEqual(found, [True, False, True, False])
        self.assertTrue(within([])("192.0.2.1"))

    def test_a_pool(self) -> None:
        """One that comes from elsewhere is not taken in, whoever speaks of it; the others are."""
        picky = self.pool(1, allowed=within(["10.0.0.0/30"]))
        self.pool(2)
        stranger = self.pool(5)
        self.joined(stranger, "10.0.0.2")
        self.assertEqual(self.joined(picky, "10.0.0.2"), 1)
        self.run_for(3.0)
        self.assertIs(self.status(picky, "n2"), Status.ALIVE)
        self.assertIsNone(self.status(picky, "n5"))
        self.assertIs(self.status(stranger, "n1"), Status.ALIVE)
