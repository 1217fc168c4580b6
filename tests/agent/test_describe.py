"""``/v1/agent/self``."""

from __future__ import annotations

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from pyconsul import __version__
from pyconsul.agent.describe import HIDDEN, config_summary, debug_config, tagged_addresses
from pyconsul.config.schema import AgentConfig

KEY = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s="


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

    def test_settings(self) -> None:
        """Groups are nested, durations are texts, lists are lists; all of it can be written as JSON."""
        shown = debug_config(AgentConfig(recursors=("192.0.2.1",)))
        self.assertEqual(shown["ports"]["http"], 8500)
        self.assertEqual(shown["retry_interval"], "30s")
        self.assertEqual(shown["recursors"], ["192.0.2.1"])
        self.assertIs(shown["server"], False)
        msgspec.json.encode(shown)

    def test_secrets(self) -> None:
        """Keys and tokens are hidden wherever they stand; that there is none may be known."""
        config = AgentConfig(
            encrypt=KEY,
            services=({"name": "web", "token": "deadbeef", "check": {"Token": "deadbeef", "ttl": "1s"}},),
            checks=({"name": "c", "header": {"X-Consul-Token": ["deadbeef"]}, "token": ""},),
        )
        shown = debug_config(config)
        self.assertEqual(shown["encrypt"], HIDDEN)
        text = msgspec.json.encode(shown).decode()
        self.assertNotIn(KEY, text)
        self.assertNotIn("deadbeef", text)
        self.assertEqual(
            shown["services"], [{"name": "web", "token": HIDDEN, "check": {"Token": HIDDEN, "ttl": "1s"}}]
        )
        self.assertEqual(shown["checks"][0]["token"], "")
        self.assertEqual(debug_config(AgentConfig())["encrypt"], "")


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
