"""``/v1/agent/self``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul import __version__
from pyconsul.agent.describe import config_summary, tagged_addresses
from pyconsul.config.schema import AgentConfig


class DescribeTests(SynchronousTestCase):
    def test_summary(self) -> None:
        """The part that tools look at."""
        self.assertEqual(
            config_summary(AgentConfig(node_name="n1", server=True), "the-id"),
            {
                "Datacenter": "dc1",
                "NodeName": "n1",
                "NodeID": "the-id",
                "Revision": "",
                "Server": True,
                "Version": __version__,
            },
        )


class TaggedAddressTests(SynchronousTestCase):
    def test_kinds(self) -> None:
        """An address is listed by its kind, unless that kind has one of its own."""
        config = AgentConfig(advertise_addr="10.0.0.1", advertise_addr_wan="192.0.2.1")
        expected = {"lan": "10.0.0.1", "lan_ipv4": "10.0.0.1", "wan": "192.0.2.1", "wan_ipv4": "192.0.2.1"}
        self.assertEqual(tagged_addresses(config), expected)
        config = AgentConfig(advertise_addr="fd00::1", advertise_addr_ipv4="10.0.0.1")
        expected = {
            "lan": "fd00::1", "lan_ipv4": "10.0.0.1", "lan_ipv6": "fd00::1",
            "wan": "fd00::1", "wan_ipv6": "fd00::1",
        }  # fmt: skip
        self.assertEqual(tagged_addresses(config), expected)
