"""TLS for checks, over real handshakes on the loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet import ssl
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from pyconsul.checks.definition import CheckType
from pyconsul.checks.http import HttpProbe
from pyconsul.checks.tcp import TcpProbe
from pyconsul.checks.tls import NAMES_MAX, CheckTls
from pyconsul.net.tls_files import RealReader, TlsFiles, load_credentials
from tests.checks.certificates import Authority, pem

reactor: Any = any_reactor


class Page(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        peer = request.transport.getPeerCertificate()
        return b"hello " + (peer.get_subject().CN.encode() if peer else b"stranger")


class TlsTests(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.authority = Authority()
        certificate, key = self.authority.write(self.folder / "server", "web.test", "127.0.0.1")
        self.ca_file = self.folder / "ca.pem"
        self.ca_file.write_bytes(pem(self.authority.certificate) * 2)
        own = ssl.PrivateCertificate.loadPEM(certificate.read_bytes() + key.read_bytes())
        site = Site(Page())
        site.noisy = False
        ours = ssl.Certificate.loadPEM(pem(self.authority.certificate))
        options = ssl.CertificateOptions(
            privateKey=own.privateKey.original,
            certificate=own.original,
            trustRoot=ssl.trustRootFromCertificates([ours]),
        )
        options.requireCertificate = False
        self.port = reactor.listenSSL(0, site, options, interface="127.0.0.1")
        self.address = f"127.0.0.1:{self.port.getHost().port}"
        self.addCleanup(lambda: self.port.stopListening())
        self.trusting = TlsFiles(ca_file=str(self.ca_file))

    def using(self, files: TlsFiles) -> CheckTls:
        """The TLS of an agent that has these files."""
        credentials = load_credentials(files, RealReader())
        return CheckTls(lambda: credentials)

    async def get(self, tls: CheckTls, **fields: Any) -> tuple[str, str]:
        url = f"https://{self.address}/"
        definition = CheckType(check_id="c", kind="http", target=url, timeout_s=5.0, **fields)
        status, output = await HttpProbe(definition, reactor, tls).run()
        return status, output.replace(self.address, "X")

    async def test_believed(self) -> None:
        """By its CA, for its address or for another name that the check gives."""
        good = ("passing", "HTTP GET https://X/: 200 OK Output: hello stranger")
        self.assertEqual(await self.get(self.using(self.trusting)), good)
        self.assertEqual(await self.get(self.using(self.trusting), tls_server_name="web.test"), good)

    async def test_not_believed(self) -> None:
        """Another CA, or another name; unless nothing is to be verified."""
        for tls, name in ((CheckTls(), ""), (self.using(self.trusting), "other.test")):
            status, output = await self.get(tls, tls_server_name=name)
            self.assertEqual((status, output[:17]), ("critical", 'Get "https://X/":'))
            status, output = await self.get(tls, tls_server_name=name, tls_skip_verify=True)
            self.assertEqual((status, output[-14:]), ("passing", "hello stranger"))

    async def test_the_agents_certificate(self) -> None:
        """It is shown, whether the other side is verified or not."""
        certificate, key = self.authority.write(self.folder / "agent", "agent.test")
        files = TlsFiles(ca_file=str(self.ca_file), cert_file=str(certificate), key_file=str(key))
        for skip in (False, True):
            _, output = await self.get(self.using(files), tls_skip_verify=skip)
            self.assertTrue(output.endswith("hello agent.test"), output)

    async def test_new_certificates(self) -> None:
        """What the agent has taken over since then counts."""
        credentials = load_credentials(TlsFiles(), RealReader())
        tls = CheckTls(lambda: credentials)
        self.assertEqual((await self.get(tls))[0], "critical")
        credentials = load_credentials(self.trusting, RealReader())
        self.assertEqual((await self.get(tls))[0], "passing")

    async def test_ports(self) -> None:
        """``tcp_use_tls`` wants a handshake, too."""
        definition = CheckType(check_id="c", kind="tcp", target=self.address, tls=True, timeout_s=5.0)
        good = await TcpProbe(definition, reactor, self.using(self.trusting)).run()
        self.assertEqual(good, ("passing", f"TCP connect {self.address}: Success"))
        status, output = await TcpProbe(definition, reactor, CheckTls()).run()
        self.assertEqual(status, "critical")
        self.assertTrue(output.startswith(f"tls: failed to connect to {self.address}: "), output)

    async def test_no_tls_there(self) -> None:
        """A server that speaks something else."""

        class Plain(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")  # type: ignore[union-attr]

        await self.port.stopListening()
        factory = Factory.forProtocol(Plain)
        factory.noisy = False
        self.port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.address = f"127.0.0.1:{self.port.getHost().port}"
        status, output = await self.get(CheckTls())
        self.assertEqual(
            (status, output),
            ("critical", 'Get "https://X/": http: server gave HTTP response to HTTPS client'),
        )

    def test_sharing(self) -> None:
        """Checks of one name share their settings; a bounded number is kept."""
        tls = CheckTls()
        first = tls.creator("a.test", verify=False)
        self.assertIs(tls.creator("a.test", verify=False), first)
        self.assertIsNot(tls.creator("a.test", verify=False, protocols=(b"h2",)), first)
        for number in range(NAMES_MAX):
            tls.creator(f"{number}.test", verify=False)
        self.assertIsNot(tls.creator("a.test", verify=False), first)
        self.assertLessEqual(len(tls._kept), NAMES_MAX)
