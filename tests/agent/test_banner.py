"""What is printed before the log, line by line (specs of the command line, section 2)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul import __version__
from pyconsul.agent.banner import banner
from pyconsul.config.groups import AutoEncrypt, Ports
from pyconsul.config.schema import AgentConfig

ID = "47f10f2d-e7ee-6ad7-3394-875f9329c327"


class BannerTests(SynchronousTestCase):
    def test_dev_server(self) -> None:
        """As Consul 1.8.7 prints it for ``-dev -node n1``, but for the version."""
        config = AgentConfig(
            node_name="n1", server=True, dev=True, advertise_addr="127.0.0.1", ports=Ports(grpc=8502)
        )
        expected = f"""\
==> Starting Consul agent...
           Version: '{__version__}'
           Node ID: '{ID}'
         Node name: 'n1'
        Datacenter: 'dc1' (Segment: '<all>')
            Server: true (Bootstrap: false)
       Client Addr: [127.0.0.1] (HTTP: 8500, HTTPS: -1, gRPC: 8502, DNS: 8600)
      Cluster Addr: 127.0.0.1 (LAN: 8301, WAN: 8302)
           Encrypt: Gossip: false, TLS-Outgoing: false, TLS-Incoming: false, Auto-Encrypt-TLS: false

==> Log data will now stream in as it occurs:
"""
        self.assertEqual(banner(config, ID), expected)

    def test_client(self) -> None:
        """A client is in no bootstrap mode and in the default segment; several addresses stand in a row."""
        config = AgentConfig(
            node_name="c1",
            datacenter="dc2",
            client_addr=("127.0.0.1", "::1"),
            advertise_addr="192.0.2.7",
            ports=Ports(http=80, serf_lan=1, serf_wan=-1, dns=53),
        )
        lines = banner(config, ID).split("\n")
        self.assertEqual(lines[4], "        Datacenter: 'dc2' (Segment: '')")
        self.assertEqual(lines[5], "            Server: false (Bootstrap: false)")
        self.assertEqual(
            lines[6], "       Client Addr: [127.0.0.1 ::1] (HTTP: 80, HTTPS: -1, gRPC: -1, DNS: 53)"
        )
        self.assertEqual(lines[7], "      Cluster Addr: 192.0.2.7 (LAN: 1, WAN: -1)")

    def test_bootstrap(self) -> None:
        """Expecting one server is bootstrap mode."""
        for config in (
            AgentConfig(server=True, bootstrap=True),
            AgentConfig(server=True, bootstrap_expect=1),
        ):
            self.assertIn("            Server: true (Bootstrap: true)\n", banner(config, ID))
        self.assertIn("(Bootstrap: false)", banner(AgentConfig(server=True, bootstrap_expect=3), ID))

    def test_encryption(self) -> None:
        """Each way in which something is encrypted; the key itself is not shown."""
        key = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s="
        config = AgentConfig(
            encrypt=key, verify_outgoing=True, verify_incoming=True, auto_encrypt=AutoEncrypt(tls=True)
        )
        text = banner(config, ID)
        expected = "Gossip: true, TLS-Outgoing: true, TLS-Incoming: true, Auto-Encrypt-TLS: true"
        self.assertIn(f"           Encrypt: {expected}\n", text)
        self.assertNotIn(key, text)
