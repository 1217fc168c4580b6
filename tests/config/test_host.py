"""The machine's addresses, and templates over them."""

import sys

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.config.host import Host
from pyconsul.errors import ConfigurationError

HOST = Host("h", [("lo", "127.0.0.1"), ("eth0", "10.0.0.5"), ("eth1", "8.8.4.4"), ("ll", "169.254.1.1")])


class HostTests(SynchronousTestCase):
    def test_private_and_public(self) -> None:
        """Neither loopback nor link-local addresses count."""
        self.assertEqual(HOST.private(), ["10.0.0.5"])
        self.assertEqual(HOST.public(), ["8.8.4.4"])

    def test_templates(self) -> None:
        """The three functions, alone and within a text."""
        self.assertEqual(HOST.expand("{{ GetPrivateIP }}", "k"), "10.0.0.5")
        self.assertEqual(HOST.expand("{{GetPublicIP}}", "k"), "8.8.4.4")
        self.assertEqual(HOST.expand('{{ GetInterfaceIP "eth0" }} x', "k"), "10.0.0.5 x")
        self.assertEqual(HOST.expand("1.2.3.4", "k"), "1.2.3.4")

    def test_refused(self) -> None:
        """Unknown functions, missing addresses, and what is no template."""
        for text, reason in {
            "{{ GetAllInterfaces }}": "unknown address template",
            "{{ GetInterfaceIP }}": "unknown address template",
            '{{ GetInterfaceIP "none" }}': "no address for template",
            "{{ GetPrivateIP | attr }}": "cannot parse address template",
        }.items():
            error = self.assertRaises(ConfigurationError, HOST.expand, text, "bind_addr")
            self.assertIn(f"bind_addr: {reason}", str(error))

    def test_this_machine(self) -> None:
        """A real machine has a name and, on Linux, a loopback interface."""
        host = Host()
        self.assertTrue(host.name)
        if sys.platform == "linux":
            self.assertIn("127.0.0.1", [address for _, address in host.interfaces])

    def test_other_systems(self) -> None:
        """Elsewhere no interfaces are known, and nothing breaks."""
        self.patch(sys, "platform", "other")
        self.assertEqual(Host().interfaces, [])
