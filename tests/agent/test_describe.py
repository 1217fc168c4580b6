"""``/v1/agent/self``."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pyconsul import __version__
from pyconsul.agent.describe import ConfigDescription, config_summary, runtime_stats, tagged_addresses
from pyconsul.config.schema import AgentConfig
from pyconsul.structs.catalog import Node


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

    def test_encoded_once(self) -> None:
        """Nothing is encoded again until the configuration or the node is another one."""
        config = AgentConfig(node_name="n1", server=True)
        node = Node(id="the-id", node="n1", address="10.0.0.1", meta={"k": "v"})
        description = ConfigDescription(config, "the-id")
        parts = description.parts(config, node)
        self.assertIs(description.parts(config, node), parts)
        self.assertEqual(msgspec.json.decode(parts["Config"])["NodeName"], "n1")
        self.assertEqual(parts["Meta"], {"k": "v"})
        changed = replace(config, check_update_interval=7.0)
        shown = msgspec.json.decode(description.parts(changed, node)["DebugConfig"])
        self.assertEqual(shown["CheckUpdateInterval"], "7s")
        moved = msgspec.structs.replace(node, tagged_addresses={"lan": "10.0.0.2"})
        shown = msgspec.json.decode(description.parts(changed, moved)["DebugConfig"])
        self.assertEqual(shown["TaggedAddresses"], {"lan": "10.0.0.2"})

    def test_runtime(self) -> None:
        """The number of threads is counted each time."""
        self.assertGreaterEqual(int(runtime_stats()["goroutines"]), 1)
        self.assertIn("version", runtime_stats())


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
