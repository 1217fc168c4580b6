"""TLS in memory: who believes whom, and what is said if somebody does not."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec.structs import replace
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, connect
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import ConfigurationError
from pyconsul.net.tls import GOSSIP, RPC, Tls, TlsOptions
from pyconsul.net.tls_files import RealReader, TlsFiles
from pyconsul.net.tls_transport import NOT_HTTPS, explain
from tests.checks.certificates import CLIENT, SERVER, Authority, pem


class Echo(Protocol):
    """Sends back in capitals what comes."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.got.append(data)
        assert self.transport is not None
        self.transport.write(data.upper())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class Listener(Echo):
    """Only listens."""

    def dataReceived(self, data: bytes) -> None:
        self.got.append(data)


class TlsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.authority, self.other = Authority(), Authority()
        self.clock = Clock()
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.folder.mkdir()
        self.why_client: list[str] = []
        self.why_server: list[str] = []

    def client_failed(self, peer: Any, why: str) -> None:
        self.why_client.append(why)

    def server_failed(self, peer: Any, why: str) -> None:
        self.why_server.append(why)

    def files(
        self, *names: str, by: Authority | None = None, believes: Authority | None = None, **how: Any
    ) -> TlsFiles:
        """The files of somebody whose certificate is for ``names``; without any there is none."""
        number = len(list(self.folder.iterdir()))
        ca = self.folder / f"ca{number}.pem"
        ca.write_bytes((believes or self.authority).pem())
        if not names:
            return TlsFiles(ca_file=str(ca))
        cert, key = (by or self.authority).write(self.folder / f"{number}", *names, **how)
        return TlsFiles(ca_file=str(ca), cert_file=str(cert), key_file=str(key))

    def tls(self, files: TlsFiles, **options: Any) -> Tls:
        return Tls(RealReader(), self.clock, TlsOptions(files=files, **options))

    def server(self, **options: Any) -> Tls:
        return self.tls(self.files("server.dc1.consul"), **options)

    def link(self, client: Tls, server: Tls, use: str = RPC, **how: Any) -> tuple[Listener, Echo, Any]:
        """Two protocols with TLS between them."""
        near, far = Listener(), Echo()
        outer = client.client(use, near, self.client_failed, **how)
        inner = server.server(use, far, self.server_failed)
        pump = connect(inner, FakeTransport(inner, True), outer, FakeTransport(outer, False))
        return near, far, pump

    def talk(self, client: Tls, server: Tls, use: str = RPC, **how: Any) -> bool:
        """Whether what the client says is answered."""
        near, _, pump = self.link(client, server, use, **how)
        assert near.transport is not None
        near.transport.write(b"hello")
        pump.flush()
        return near.got == [b"HELLO"]


class HandshakeTests(TlsTestCase):
    """Agent to server (specs of security, section 5.2)."""

    def clients(self) -> dict[str, Tls]:
        good = self.files("client.dc1.consul", uses=(CLIENT,))
        return {
            "ca": self.tls(self.files(), verify_outgoing=True),
            "good": self.tls(good, verify_outgoing=True),
            "host": self.tls(good, verify_outgoing=True, verify_server_hostname=True),
            "other CA": self.tls(self.files("x", by=self.other), verify_outgoing=True),
            "expired": self.tls(self.files("x", hours=-1), verify_outgoing=True),
            "serverAuth": self.tls(self.files("x", uses=(SERVER,)), verify_outgoing=True),
            "believes another": self.tls(self.files("x", believes=self.other), verify_outgoing=True),
        }

    def table(self, server: Tls) -> set[str]:
        return {name for name, tls in self.clients().items() if self.talk(tls, server, datacenter="dc1")}

    def test_open_server(self) -> None:
        """It does not look at certificates, so only those who do not believe it stay away."""
        expected = {"ca", "good", "host", "other CA", "expired", "serverAuth"}
        self.assertEqual(self.table(self.server(verify_outgoing=True)), expected)
        self.assertEqual(self.table(self.server(verify_incoming_https=True)), expected)

    def test_verifying_server(self) -> None:
        """Whoever has no good certificate for clients is refused, and both sides say why."""
        self.assertEqual(self.table(self.server(verify_incoming_rpc=True)), {"good", "host"})
        self.assertEqual(
            sorted(self.why_server),
            [
                "the peer refused: unknown ca",
                "the peer shows no certificate",
                "x509: certificate has expired",
                "x509: certificate signed by unknown authority",
                "x509: certificate specifies an incompatible key usage",
            ],
        )
        self.assertEqual(self.why_client, ["x509: certificate signed by unknown authority"])

    def test_servers_that_clients_refuse(self) -> None:
        """Expired, for clients only, of another CA, or with a name that is not a server's."""
        good, host = self.clients()["good"], self.clients()["host"]
        for files, why in (
            (self.files("server.dc1.consul", hours=-1), "x509: certificate has expired"),
            (self.files("server.dc1.consul", uses=(CLIENT,)), "incompatible key usage"),
            (self.files("server.dc1.consul", by=self.other), "signed by unknown authority"),
        ):
            server = self.tls(files)
            for client in (good, host):
                self.assertFalse(self.talk(client, server, datacenter="dc1"))
                self.assertIn(why, self.why_client.pop())
        for name in ("client.dc1.consul", "server.dc2.consul", "server.dc1.example", "x.server.dc1.consul"):
            server = self.tls(self.files(name))
            self.assertTrue(self.talk(good, server, datacenter="dc1"))
            self.assertFalse(self.talk(host, server, datacenter="dc1"))
            self.assertEqual(
                self.why_client.pop(), "x509: certificate is not valid for server.dc1.consul", name
            )

    def test_other_datacenters(self) -> None:
        """The name is that of the datacenter that is meant, however odd its own name."""
        host = self.clients()["host"]
        for datacenter in ("dc2", "east_1"):
            server = self.tls(self.files(f"server.{datacenter}.consul"))
            self.assertTrue(self.talk(host, server, datacenter=datacenter))
            self.assertFalse(self.talk(host, server, datacenter="dc1"))

    def test_nothing_is_said_to_the_wrong_one(self) -> None:
        """What was written before the handshake never reaches who is not believed."""
        for files in (self.files("server.dc2.consul"), self.files("server.dc1.consul", by=self.other)):
            near, far, pump = self.link(self.clients()["host"], self.tls(files), datacenter="dc1")
            assert near.transport is not None
            near.transport.write(b"secret")
            pump.flush()
            self.assertEqual((far.got, near.lost is not None), ([], True))

    def test_gossip(self) -> None:
        """Members are all of one kind: any certificate of our CA will do, for either side."""
        for uses in ((CLIENT,), (SERVER,), ()):
            files = self.files("whatever", uses=uses)
            member = self.tls(files, verify_outgoing=True, verify_incoming_rpc=True)
            self.assertTrue(self.talk(member, member, GOSSIP), uses)
        stranger = self.tls(self.files("x", by=self.other), verify_outgoing=True)
        self.assertFalse(self.talk(stranger, member, GOSSIP))
        self.assertFalse(self.talk(member, stranger, GOSSIP))
        expired = self.tls(self.files("x", hours=-1), verify_outgoing=True)
        self.assertFalse(self.talk(member, expired, GOSSIP))

    def test_the_role(self) -> None:
        """Only a server's certificate makes a server, where servers are known by their names."""
        for name, serves in (("server.dc1.consul", True), ("client.dc1.consul", False)):
            server = self.server(verify_incoming_rpc=True, verify_outgoing=True, verify_server_hostname=True)
            far = Echo()
            inner = server.server(RPC, far, self.server_failed)
            outer = self.tls(self.files(name), verify_outgoing=True).client(
                RPC, Listener(), lambda peer, why: None
            )
            connect(inner, FakeTransport(inner, True), outer, FakeTransport(outer, False)).flush()
            self.assertEqual(server.may_serve(far.transport, "dc1"), serves)
            self.assertTrue(self.server().may_serve(far.transport, "dc1"))

    def test_no_role_without_a_certificate(self) -> None:
        """Whoever shows none is no server."""
        near, far, pump = self.link(self.clients()["ca"], self.server())
        pump.flush()
        verifying = self.server(verify_incoming_rpc=True, verify_outgoing=True, verify_server_hostname=True)
        self.assertFalse(verifying.may_serve(far.transport, "dc1"))
        self.assertIsNone(near.lost)

    def test_the_authority_in_the_middle(self) -> None:
        """Whoever is listed is believed, whether or not somebody has signed for it."""
        chain = self.files("server.dc1.consul")
        Path(chain.cert_file).write_bytes(Path(chain.cert_file).read_bytes() + self.authority.pem())
        self.assertTrue(self.talk(self.clients()["ca"], self.tls(chain)))


class ProtocolTests(TlsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.tls(self.files(), verify_outgoing=True)

    def test_sizes(self) -> None:
        """Whatever is written arrives, in order, also in pieces that are no records."""
        near, _, pump = self.link(self.client, self.server())
        transport: Any = near.transport
        transport.write(b"early")
        pump.flush()
        for size in (1, 16_383, 16_384, 16_385, 200_000):
            near.got.clear()
            transport.write(b"x" * size)
            transport.writeSequence([b"y", b"z"])
            pump.flush()
            self.assertEqual(b"".join(near.got), b"X" * size + b"YZ")

    def test_in_pieces(self) -> None:
        """Records may come cut, or several at a time."""
        near, far, pump = self.link(self.client, self.server())
        transport: Any = near.transport
        pump.flush()
        written: list[bytes] = []
        self.patch(transport, "plain", Gathering(written))
        transport.write(b"one")
        transport.write(b"two")
        data = b"".join(written)
        receive = pump.server.dataReceived
        receive(data[:3])
        receive(data[3:40])
        receive(data[40:])
        self.assertEqual(b"".join(far.got), b"onetwo")

    def test_garbage(self) -> None:
        """What is no record ends the connection."""
        _, far, pump = self.link(self.client, self.server())
        pump.flush()
        pump.server.dataReceived(b"\x17\x03\x03\x00\x02xx")
        pump.flush()
        self.assertEqual((far.got, far.lost is not None), ([], True))
        self.assertEqual(self.why_server, [])

    def test_writing_too_late(self) -> None:
        """What cannot be sealed any more ends the connection."""
        near, _, pump = self.link(self.client, self.server())
        pump.flush()
        transport: Any = near.transport
        transport._tlsConnection.shutdown()
        transport.write(b"x")
        transport.write(b"y")
        pump.flush()
        self.assertIsNotNone(near.lost)

    def test_closing(self) -> None:
        """Each side hears it when the other has said all."""
        near, far, pump = self.link(self.client, self.server())
        pump.flush()
        assert near.transport is not None
        near.transport.write(b"last")
        near.transport.loseConnection()
        pump.flush()
        self.assertEqual(far.got, [b"last"])
        assert far.lost is not None and near.lost is not None
        self.assertEqual(self.why_client + self.why_server, [])

    def test_first_bytes(self) -> None:
        """They go before TLS."""
        outer = self.client.client(RPC, Listener(), self.client_failed, first=b"\x03")
        far = FakeTransport(outer, False)
        outer.makeConnection(far)
        self.assertEqual(bytes(far.getOutBuffer()[:2]), b"\x03\x16")

    def test_somebody_without_tls(self) -> None:
        """Whoever answers something else, or nothing, is named."""
        for answer, why in ((b"nonsense and more", "the peer does not speak TLS"), (b"", "the peer closed")):
            outer = self.client.client(RPC, Listener(), self.client_failed)
            plain = Listener()
            pump = connect(plain, FakeTransport(plain, True), outer, FakeTransport(outer, False))
            transport: Any = plain.transport
            if answer:
                transport.write(answer)
            else:
                transport.loseConnection()
            pump.flush()
            self.assertIn(why, self.why_client.pop())
            self.assertFalse(outer.heard)

    def test_too_slow(self) -> None:
        """A handshake has its time, and no longer."""
        inner = self.server().server(RPC, Echo(), self.server_failed, 5.0)
        client = Echo()
        pump = connect(inner, FakeTransport(inner, True), client, FakeTransport(client, False))
        self.clock.advance(4.9)
        pump.flush()
        self.assertIsNone(client.lost)
        self.clock.advance(0.2)
        pump.flush()
        self.assertEqual(self.why_server, ["the TLS handshake takes too long"])
        self.assertIsNotNone(client.lost)
        self.link(self.client, self.server())[2].flush()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_versions(self) -> None:
        """No version below the least, and nothing in common is said to be that."""
        new = self.server(min_version="tls13")
        old = self.tls(self.files(), verify_outgoing=True, ciphers=("ECDHE-ECDSA-AES128-GCM-SHA256",))
        self.assertTrue(self.talk(old, new))
        old.take(old.state)
        old._context(RPC, False).set_max_proto_version(SSL.TLS1_2_VERSION)
        outer = old.client(RPC, Listener(), self.client_failed)
        inner = new.server(RPC, Echo(), self.server_failed)
        connect(inner, FakeTransport(inner, True), outer, FakeTransport(outer, False)).flush()
        self.assertEqual(self.why_server, ["no version of TLS in common"])
        for version in ("tls10", "tls11", ""):
            self.assertTrue(self.talk(self.client, self.server(min_version=version)))
        self.assertTrue(self.talk(self.client, self.server(prefer_server_ciphers=True)))

    def test_reasons(self) -> None:
        """Whatever there is, there are words for it."""
        self.assertEqual(explain(ValueError("odd")), "odd")
        self.assertEqual(explain(SSL.Error([("a", "b", "strange thing")])), "strange thing")
        self.assertEqual(explain(SSL.Error()), "the peer closed the connection")


class HostileTests(TlsTestCase):
    def test_mutations(self) -> None:
        """Whatever somebody sends instead of a handshake, nothing is raised, and the connection ends."""
        rng = Random(7)
        client, server = (
            self.tls(self.files("x"), verify_outgoing=True),
            self.server(verify_incoming_rpc=True),
        )
        flights = self.flights(client, server)
        for _ in range(300):
            inner = server.server(RPC, Echo(), self.server_failed, 5.0)
            wire = FakeTransport(inner, True)
            inner.makeConnection(wire)
            for flight in flights:
                mutated = bytearray(flight)
                for _ in range(rng.randrange(4)):
                    mutated[rng.randrange(len(mutated))] = rng.randrange(256)
                cut = rng.randrange(len(mutated) + 1) if rng.random() < 0.2 else len(mutated)
                inner.dataReceived(bytes(mutated[:cut]) + rng.randbytes(rng.randrange(2) * 40))
            self.clock.advance(6.0)
            self.assertTrue(wire.disconnecting or wire.disconnected or inner._lostTLSConnection)
            inner.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(self.why_server), 300)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def flights(self, client: Tls, server: Tls) -> list[bytes]:
        """What a client sends in a handshake."""
        sent: list[bytes] = []
        outer = client.client(RPC, Listener(), self.client_failed)
        inner = server.server(RPC, Echo(), self.server_failed)
        receive = inner.dataReceived

        def note(data: bytes) -> None:
            sent.append(data)
            receive(data)

        self.patch(inner, "dataReceived", note)
        connect(inner, FakeTransport(inner, True), outer, FakeTransport(outer, False)).flush()
        self.assertGreater(len(sent), 1)
        return sent


class Gathering:
    """A transport that keeps what is written."""

    def __init__(self, written: list[bytes]) -> None:
        self.write = written.append


class TakingTests(TlsTestCase):
    def test_new_files(self) -> None:
        """They count from the next connection on; what is open goes on as it was."""
        server = self.server()
        client = self.tls(self.files(), verify_outgoing=True)
        near, _, pump = self.link(client, server)
        pump.flush()
        files = server.state.options.files
        cert, key = self.other.write(self.folder / "new", "server.dc1.consul")
        os.replace(cert, files.cert_file)
        os.replace(key, files.key_file)
        self.assertTrue(self.talk(client, server))
        state = server.read(server.state.options)
        self.assertNotEqual(state.credentials.texts, server.state.credentials.texts)
        server.take(state)
        self.assertFalse(self.talk(client, server))
        assert near.transport is not None
        near.transport.write(b"still")
        pump.flush()
        self.assertEqual(near.got, [b"STILL"])

    def test_bad_files(self) -> None:
        """They change nothing."""
        server = self.server()
        before = server.state
        Path(before.options.files.key_file).write_bytes(b"no key")
        self.assertRaises(ConfigurationError, server.read, before.options)
        self.assertIs(server.state, before)

    def test_keys_that_openssl_refuses(self) -> None:
        """They are refused at once, not with the first connection."""
        files = self.files("x")
        key = rsa.generate_private_key(65537, 1024)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(1)).sign(key, SHA256())
        )  # fmt: skip
        Path(files.cert_file).write_bytes(pem(certificate))
        Path(files.key_file).write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )
        error = self.assertRaises(ConfigurationError, self.tls, files)
        self.assertEqual(str(error), "Failed to load cert/key pair: tls: ee key too small")

    def test_what_is_missing(self) -> None:
        """Verifying takes somebody to believe and, for who is connected to, something to show."""
        pair, ca = self.files("x"), self.files()
        no_ca = replace(pair, ca_file="")
        for files, options, why in (
            (no_ca, {"verify_outgoing": True}, "VerifyOutgoing set, and no CA certificate"),
            (no_ca, {"verify_incoming_rpc": True}, "VerifyIncoming set but no CA certificates"),
            (ca, {"verify_incoming_https": True}, "VerifyIncoming requires a Cert and Key pair"),
        ):
            self.assertIn(why, str(self.assertRaises(ConfigurationError, self.tls, files, **options)))

    def test_nothing(self) -> None:
        """Without settings there is no TLS."""
        nothing = Tls(RealReader(), self.clock)
        self.assertEqual((nothing.serves, nothing.dials, nothing.required), (False, False, False))
        some = self.server(verify_outgoing=True, verify_incoming_rpc=True)
        self.assertEqual((some.serves, some.dials, some.required), (True, True, True))


class HttpsTests(TlsTestCase):
    def https(self, **options: Any) -> Any:
        factory = self.server(**options).https_factory(Factory.forProtocol(Echo), self.server_failed, 5.0)
        self.made = factory.buildProtocol(None)
        return self.made

    def test_plain_http(self) -> None:
        """Who speaks HTTP without TLS is told, in HTTP."""
        inner, client = self.https(), Listener()
        pump = connect(inner, FakeTransport(inner, True), client, FakeTransport(client, False))
        assert client.transport is not None
        client.transport.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        pump.flush()
        self.assertEqual(b"".join(client.got), NOT_HTTPS)
        self.assertEqual(self.why_server, ["the peer speaks HTTP without TLS"])

    def test_certificates(self) -> None:
        """They are asked for if that is wanted."""
        for wanted in (False, True):
            for has in (False, True):
                files = self.files(*(["c"] if has else []))
                outer = self.tls(files, verify_outgoing=True).client(
                    RPC, near := Listener(), lambda peer, why: None
                )
                inner = self.https(verify_incoming_https=wanted)
                pump = connect(inner, FakeTransport(inner, True), outer, FakeTransport(outer, False))
                assert near.transport is not None
                near.transport.write(b"hello")
                pump.flush()
                self.assertEqual(near.got == [b"HELLO"], has or not wanted)

    def test_who_only_looks(self) -> None:
        """Nobody is told of a connection without a word."""
        self.https().makeConnection(FakeTransport(self.made, True))
        self.made.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.why_server, self.clock.getDelayedCalls()), ([], []))

    def test_without_a_certificate(self) -> None:
        """Nobody gets in, but nothing breaks."""
        empty = Tls(RealReader(), self.clock, TlsOptions())
        inner = empty.https_factory(Factory.forProtocol(Echo), self.server_failed, 5.0).buildProtocol(None)
        outer = self.tls(self.files(), verify_outgoing=True).client(RPC, Listener(), self.client_failed)
        connect(inner, FakeTransport(inner, True), outer, FakeTransport(outer, False)).flush()
        self.assertEqual(len(self.why_server), 1)
