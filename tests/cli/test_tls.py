"""``tls ca create`` and ``tls cert create``, also beside real Consul's."""

from __future__ import annotations

import os
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.cli import certificates
from pyconsul.cli.certificates import Authority, make_certificate
from pyconsul.cli.tls import SERVER_WARNING
from pyconsul.errors import ConfigurationError
from pyconsul.net.tls_files import RealReader, TlsFiles, load_credentials
from tests.cli.support import Result, run
from tests.cluster.peers import missing_peers, peers_folder

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
USING = "==> Using consul-agent-ca.pem and consul-agent-ca-key.pem\n"


class Base(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.folder.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)

    def ok(self, *arguments: str) -> str:
        result = run("tls", *arguments)
        self.assertEqual((result.status, result.err), (0, ""))
        return result.out

    def fails(self, *arguments: str) -> str:
        result: Result = run("tls", *arguments)
        self.assertEqual(result.status, 1)
        return result.err

    def certificate(self, name: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.folder / name).read_bytes())


def extensions(certificate: x509.Certificate) -> dict[str, str]:
    """All of them by name, but for those that identify a key."""
    identifying = (x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier)
    return {
        f"{found.oid._name}{' critical' if found.critical else ''}": str(found.value)
        for found in certificate.extensions
        if not isinstance(found.value, identifying)
    }


def days(certificate: x509.Certificate) -> int:
    return (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days


def names(certificate: x509.Certificate) -> list[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in found]


class AuthorityTests(Base):
    def test_create(self) -> None:
        """Two files, for five years; the key is nobody else's; existing ones stay."""
        said = "==> Saved consul-agent-ca.pem\n==> Saved consul-agent-ca-key.pem\n"
        self.assertEqual(self.ok("ca", "create"), said)
        made = self.certificate("consul-agent-ca.pem")
        made.verify_directly_issued_by(made)
        self.assertEqual(days(made), 1825)
        self.assertEqual(stat.S_IMODE((self.folder / "consul-agent-ca-key.pem").stat().st_mode), 0o600)
        self.assertEqual(self.fails("ca", "create"), "consul-agent-ca.pem already exists.\n")
        (self.folder / "consul-agent-ca.pem").unlink()
        self.assertEqual(self.fails("ca", "create"), "consul-agent-ca-key.pem already exists.\n")

    def test_flags(self) -> None:
        """Days, the domain, and names that it may vouch for."""
        self.ok(
            "ca", "create", "-domain=bar", "-days=10", "-name-constraint", "-additional-name-constraint=x.org"
        )
        made = self.certificate("bar-agent-ca.pem")
        constraints = made.extensions.get_extension_for_class(x509.NameConstraints)
        self.assertEqual((days(made), constraints.critical), (10, True))
        trees = [tree.value for tree in constraints.value.permitted_subtrees or ()]
        self.assertEqual(trees, ["x.org", "bar", "localhost"])
        self.assertIn("-days", self.fails("ca", "create", "-days=0"))
        self.fails("ca", "create", "-domain=ü", "-name-constraint")
        self.assertIn("parse error", self.fails("ca", "create", "-days=abc"))
        self.assertIn("out of range", self.fails("ca", "create", "-days=99999999"))


class CertificateTests(Base):
    def setUp(self) -> None:
        super().setUp()
        self.ok("ca", "create")
        self.ca = self.certificate("consul-agent-ca.pem")

    def test_server(self) -> None:
        """What it is for, and a number that counts up."""
        saved = "==> Saved dc1-server-consul-{0}.pem\n==> Saved dc1-server-consul-{0}-key.pem\n"
        for number in range(2):
            expected = f"{SERVER_WARNING}\n{USING}{saved.format(number)}"
            self.assertEqual(self.ok("cert", "create", "-server"), expected)
        made = self.certificate("dc1-server-consul-1.pem")
        made.verify_directly_issued_by(self.ca)
        self.assertEqual(names(made), ["server.dc1.consul", "localhost", "127.0.0.1"])
        self.assertEqual(days(made), 365)
        own = made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        self.assertEqual(own, "server.dc1.consul")
        usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(list(usage), [SERVER, CLIENT])
        pair = TlsFiles(cert_file="dc1-server-consul-1.pem", key_file="dc1-server-consul-1-key.pem")
        self.assertEqual(load_credentials(pair, RealReader()).chain, (made,))
        self.assertEqual(stat.S_IMODE((self.folder / "dc1-server-consul-1-key.pem").stat().st_mode), 0o600)

    def test_others(self) -> None:
        """A client's is for both, one for people for anything and for no address."""
        self.assertEqual(
            self.ok("cert", "create", "-client", "-dc=dc2"),
            f"{USING}==> Saved dc2-client-consul-0.pem\n==> Saved dc2-client-consul-0-key.pem\n",
        )
        self.ok("cert", "create", "-cli")
        client, cli = (self.certificate(name) for name in ("dc2-client-consul-0.pem", "dc1-cli-consul-0.pem"))
        self.assertEqual(names(client), ["client.dc2.consul", "localhost", "127.0.0.1"])
        self.assertEqual(names(cli), ["cli.dc1.consul", "localhost"])
        usage = client.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(list(usage), [CLIENT, SERVER])
        self.assertRaises(
            x509.ExtensionNotFound, cli.extensions.get_extension_for_class, x509.ExtendedKeyUsage
        )

    def test_more_names(self) -> None:
        """All that flags add come before what is always there."""
        self.ok(
            "cert", "create", "-server", "-node=n1", "-additional-dnsname=foo.org", "-additional-dnsname=",
            "-additional-ipaddress=10.0.0.1", "-additional-ipaddress=::1", "-days=3",
        )  # fmt: skip
        made = self.certificate("dc1-server-consul-0.pem")
        expected = ["foo.org", "n1.server.dc1.consul", "server.dc1.consul", "localhost", "10.0.0.1", "::1"]
        self.assertEqual((names(made), days(made)), ([*expected, "127.0.0.1"], 3))

    def test_refused(self) -> None:
        """Consul's words, where it has some."""
        which = "Please provide either -server, -client, or -cli\n"
        for arguments, why in (
            ((), which),
            (("-server", "-client"), which),
            (("-cli", "-node=x"), "-node requires -server\n"),
            (
                ("-server", "-domain=nope"),
                "Error reading CA: open nope-agent-ca.pem: no such file or directory\n",
            ),
            (("-server", "-key=gone"), "Error reading CA key: open gone: no such file or directory\n"),
            (("-server", "-ca="), "Please provide the ca\n"),
            (("-server", "-key="), "Please provide the key\n"),
            (("-server", "-additional-ipaddress=foo"), "invalid IP address: foo\n"),
            (
                ("-server", "-days=0"),
                "x509: certificate has expired or is not yet valid: -days must be positive\n",
            ),
            (("-server", "-ca=consul-agent-ca-key.pem"), "no PEM-encoded certificate found\n"),
            (("-server", "-key=consul-agent-ca.pem"), "no PEM-encoded private key found\n"),
        ):
            self.assertEqual(self.fails("cert", "create", *arguments), why)
        self.ok("ca", "create", "-domain=other")
        self.assertEqual(
            self.fails("cert", "create", "-cli", "-key=other-agent-ca-key.pem"),
            "the private key is not that of the CA\n",
        )
        self.assertIn(
            "open no/where-cli-consul-0.pem: ", self.fails("cert", "create", "-cli", "-dc=no/where")
        )
        self.fails("cert", "create", "-cli", "-dc=ü")
        self.assertEqual([path for path in os.listdir() if path.startswith("dc1")], [])

    def test_names_beyond_the_constraint(self) -> None:
        """Nobody would believe such a certificate, so there is none."""
        self.ok("ca", "create", "-domain=bar", "-name-constraint")
        self.ok("cert", "create", "-server", "-domain=bar")
        error = self.fails("cert", "create", "-server", "-domain=bar", "-additional-dnsname=foo.org")
        self.assertEqual(error, "x509: the CA is not authorized to sign for foo.org\n")

    def test_an_old_authority(self) -> None:
        """Nor by one whose time is over."""
        pair = certificates.make_authority(datetime.now(UTC) - timedelta(days=9), 3)
        authority = certificates.read_authority(*pair)
        now = datetime.now(UTC)
        error = self.assertRaises(
            ConfigurationError, make_certificate, authority, "cli", ["a", "localhost"], [], now, 1
        )
        self.assertIn("that of the CA", str(error))

    def test_foreign_authorities(self) -> None:
        """Keys of other kinds sign, too, and certificates that do not identify theirs are named by it."""
        key = ed25519.Ed25519PrivateKey.generate()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "old")])
        now = datetime.now(UTC)
        ca = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, None)
        )  # fmt: skip
        pair = make_certificate(Authority(ca, key), "client", ["a", "localhost"], [], now, 1)
        made = x509.load_pem_x509_certificate(pair.certificate)
        made.verify_directly_issued_by(ca)

    def test_an_encrypted_key(self) -> None:
        """It is of no use without its password."""
        text = (self.folder / "consul-agent-ca-key.pem").read_bytes()
        key = serialization.load_pem_private_key(text, None)
        (self.folder / "locked.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"x"),
            )
        )
        self.assertEqual(
            self.fails("cert", "create", "-cli", "-key=locked.pem"), "the private key is encrypted\n"
        )


class ConsulTests(Base):
    """Beside the real binary."""

    skip = missing_peers("consul")

    def theirs(self, *arguments: str) -> str:
        folder = self.folder / "theirs"
        folder.mkdir(exist_ok=True)
        command = [str(peers_folder() / "consul"), "tls", *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60).stdout

    def test_the_same(self) -> None:
        """Output, file names and what stands in the certificates."""
        more = ("-additional-dnsname=foo.org", "-additional-ipaddress=10.0.0.1")
        for arguments, file in (
            (("ca", "create"), "consul-agent-ca.pem"),
            (("ca", "create", "-domain=bar", "-name-constraint", "-days=9"), "bar-agent-ca.pem"),
            (("cert", "create", "-server", "-node=n1", *more), "dc1-server-consul-0.pem"),
            (("cert", "create", "-client", "-dc=dc2", "-days=7"), "dc2-client-consul-0.pem"),
            (("cert", "create", "-cli"), "dc1-cli-consul-0.pem"),
            (("cert", "create", "-server", "-domain=bar"), "dc1-server-bar-0.pem"),
        ):
            self.assertEqual(self.ok(*arguments), self.theirs(*arguments))
            ours, real = self.certificate(file), self.certificate(f"theirs/{file}")
            self.assertEqual(extensions(ours), extensions(real), file)
            self.assertEqual(days(ours), days(real))
            if "agent-ca" not in file:
                self.assertEqual(ours.subject, real.subject)

    def test_with_their_authority(self) -> None:
        """One signs with the other's CA, and OpenSSL believes both."""
        self.ok("ca", "create")
        self.theirs("ca", "create")
        ours = [f"-ca={self.folder}/consul-agent-ca.pem", f"-key={self.folder}/consul-agent-ca-key.pem"]
        self.assertIn("Saved", self.theirs("cert", "create", "-client", *ours))
        self.ok(
            "cert",
            "create",
            "-client",
            "-ca=theirs/consul-agent-ca.pem",
            "-key=theirs/consul-agent-ca-key.pem",
        )
        self.certificate("theirs/dc1-client-consul-0.pem").verify_directly_issued_by(
            self.certificate("consul-agent-ca.pem")
        )
        self.certificate("dc1-client-consul-0.pem").verify_directly_issued_by(
            self.certificate("theirs/consul-agent-ca.pem")
        )
