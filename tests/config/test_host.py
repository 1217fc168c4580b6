"""What is asked of the machine, and templates in values."""

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.config.host import Host
from pyconsul.config.interfaces import interface
from pyconsul.errors import ConfigurationError

HOST = Host(
    "h",
    lambda: [
        interface("lo", "127.0.0.1/8", "loopback"),
        interface("eth0", "10.0.0.5/8"),
        interface("eth0", "fd00::5/64"),
        interface("eth1", "8.8.4.4/24"),
        interface("eth1", "2a00:1450::4/64"),
        interface("ll", "169.254.1.1/16"),
    ],
    lambda: "eth0",
)
ALL = '{{ GetAllInterfaces | include "type" "ipv4" | join "address" " " }}'


class HostTests(SynchronousTestCase):
    def test_private_and_public(self) -> None:
        """Neither loopback nor link-local addresses count."""
        self.assertEqual(HOST.private(), ["10.0.0.5"])
        self.assertEqual(HOST.public(), ["8.8.4.4"])
        self.assertEqual(HOST.public(6), ["2a00:1450::4"])

    def test_text(self) -> None:
        self.assertEqual(HOST.expanded("{{ GetPrivateIP }} x", "k"), "10.0.0.5 x")
        self.assertEqual(HOST.expanded("1.2.3.4", "k"), "1.2.3.4")

    def test_list(self) -> None:
        """One template may become several addresses, or none; other texts and providers stay as they are."""
        given = ["a b", ALL, '{{ GetInterfaceIP "none" }}', "provider=x at={{ GetPrivateIP }}"]
        self.assertEqual(
            HOST.expanded(given, "k"),
            ["a b", "127.0.0.1", "10.0.0.5", "8.8.4.4", "169.254.1.1", "provider=x at=10.0.0.5"],
        )

    def test_refused(self) -> None:
        """The key is told."""
        for value in ("{{ Nope }}", ["{{ Nope }}"]):
            error = self.assertRaises(ConfigurationError, HOST.expanded, value, "bind_addr")
            self.assertIn("bind_addr: ", str(error))
            self.assertIn('function "Nope" not defined', str(error))

    def test_this_machine(self) -> None:
        host = Host()
        self.assertTrue(host.name)
        self.assertGreaterEqual(host.files_max(), 0)
