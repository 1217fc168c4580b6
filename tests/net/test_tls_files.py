"""What is in PEM files, out of a folder in memory."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import ConfigurationError
from pyconsul.net.tls_files import NO_CREDENTIALS, RealReader, TlsFiles, age_warnings, load_credentials
from tests.checks.certificates import Authority


class Memory:
    """A ``Reader`` of files that are not on any disk."""

    def __init__(self, **files: bytes) -> None:
        self.files = {name.replace("_", "."): text for name, text in files.items()}
        self.unreadable: set[str] = set()

    def read(self, path: str) -> bytes:
        if path in self.unreadable:
            raise PermissionError(errno.EACCES, "Permission denied")
        if path not in self.files:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return self.files[path]

    def below(self, path: str) -> Sequence[str]:
        if path == "nowhere":
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return sorted(name for name in self.files if name.startswith(path + "/"))


def key_text(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, password: bytes = b"") -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption(),
    )


class FilesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.authority = Authority()
        cert, key = self.authority.write(Path(self.mktemp()), "server.dc1.consul")
        self.memory = Memory(
            ca_pem=self.authority.pem(), cert_pem=cert.read_bytes(), key_pem=key.read_bytes()
        )

    def problem(self, **files: str) -> str:
        """Why these files are no good."""
        error = self.assertRaises(ConfigurationError, load_credentials, TlsFiles(**files), self.memory)
        return str(error)


class AuthorityTests(FilesTestCase):
    def test_nothing(self) -> None:
        """Without files nothing is read; a certificate without its key is none."""
        self.assertIs(load_credentials(TlsFiles(), self.memory), NO_CREDENTIALS)
        self.assertIs(load_credentials(TlsFiles(cert_file="gone"), self.memory), NO_CREDENTIALS)
        self.assertIs(load_credentials(TlsFiles(key_file="gone"), self.memory), NO_CREDENTIALS)

    def test_a_file(self) -> None:
        """All certificates in it count, whatever stands between; those that are broken do not."""
        other = Authority()
        broken = self.authority.pem().replace(b"MII", b"MMM")
        self.memory.files["ca.pem"] = b"text\n" + self.authority.pem() + broken + other.pem() + b"more"
        found = load_credentials(TlsFiles(ca_file="ca.pem", ca_path="nowhere"), self.memory)
        self.assertEqual(found.authorities, (self.authority.certificate, other.certificate))
        self.assertEqual(found.chain, ())

    def test_a_folder(self) -> None:
        """All files below it count."""
        other = Authority()
        self.memory.files |= {"cas/a": other.pem(), "cas/b/c": self.authority.pem()}
        found = load_credentials(TlsFiles(ca_path="cas"), self.memory)
        self.assertEqual(found.authorities, (other.certificate, self.authority.certificate))

    def test_problems(self) -> None:
        """The text names the file and the reason."""
        self.memory.files |= {"bad": b"garbage", "bads/x": b"", "broken": b"-----BEGIN CERTIFICATE-----\nA"}
        self.memory.unreadable.add("ca.pem")
        no_file = "no such file or directory"
        self.assertEqual(self.problem(ca_file="gone"), f"Error loading from gone: open gone: {no_file}")
        self.assertEqual(
            self.problem(ca_file="ca.pem"), "Error loading from ca.pem: open ca.pem: permission denied"
        )
        for path in ("bad", "broken"):
            self.assertEqual(
                self.problem(ca_file=path),
                f"Error loading from {path}: Couldn't parse PEM: no certificate in it",
            )
        self.assertIn("Error loading from bads/x: Couldn't parse PEM", self.problem(ca_path="bads"))
        self.assertEqual(self.problem(ca_path="empty"), "Error loading from CAPath: no CAs found (empty)")
        self.assertEqual(
            self.problem(ca_path="nowhere"), f"Error loading from CAPath: open nowhere: {no_file}"
        )


class PairTests(FilesTestCase):
    def pair_problem(self, cert: bytes | None = None, key: bytes | None = None) -> str:
        self.memory.files["c"] = self.memory.files["cert.pem"] if cert is None else cert
        self.memory.files["k"] = self.memory.files["key.pem"] if key is None else key
        text = self.problem(cert_file="c", key_file="k")
        start = "Failed to load cert/key pair: tls: "
        self.assertTrue(text.startswith(start), text)
        return text.removeprefix(start)

    def test_a_pair(self) -> None:
        """The certificate may be followed by those above it; nothing secret is shown."""
        self.memory.files["cert.pem"] += self.authority.pem()
        found = load_credentials(TlsFiles(cert_file="cert.pem", key_file="key.pem"), self.memory)
        self.assertEqual(found.chain[1], self.authority.certificate)
        self.assertEqual(found.chain[0].public_key(), found.key.public_key())
        self.assertEqual(repr(found), "Credentials(0 authorities, 2 own)")

    def test_keys(self) -> None:
        """Of both kinds, also with what OpenSSL writes before those of elliptic curves."""
        parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        self.memory.files["key.pem"] = parameters + self.memory.files["key.pem"]
        load_credentials(TlsFiles(cert_file="cert.pem", key_file="key.pem"), self.memory)

    def test_missing(self) -> None:
        text = "Failed to load cert/key pair: open gone: no such file or directory"
        self.assertEqual(self.problem(cert_file="gone", key_file="key.pem"), text)
        self.assertEqual(self.problem(cert_file="cert.pem", key_file="gone"), text)

    def test_problems(self) -> None:
        """Consul's words, and the file."""
        own, key = self.memory.files["cert.pem"], self.memory.files["key.pem"]
        other = key_text(ec.generate_private_key(ec.SECP256R1()))
        secret = key_text(ec.generate_private_key(ec.SECP256R1()), b"password")
        foreign = key_text(rsa.generate_private_key(65537, 2048))
        no_match = "private key does not match public key (k)"
        self.assertEqual(self.pair_problem(key=other), no_match)
        self.assertEqual(
            self.pair_problem(key=foreign), "private key type does not match public key type (k)"
        )
        self.assertEqual(self.pair_problem(key=secret), "the private key is encrypted (k)")
        self.assertEqual(self.pair_problem(key=b"x"), "failed to find any PEM data in key input (k)")
        self.assertIn("found a certificate rather than a key", self.pair_problem(key=own))
        self.assertEqual(self.pair_problem(key=key[:60] + key[80:]), "failed to parse private key (k)")
        self.assertEqual(self.pair_problem(cert=b"x"), "failed to find any PEM data in certificate input (c)")
        self.assertIn("PEM inputs may have been switched (c)", self.pair_problem(cert=key))
        self.assertIn("failed to parse the certificate", self.pair_problem(cert=own.replace(b"MII", b"MMM")))


class AgeTests(FilesTestCase):
    def warnings(self, **later: float) -> list[str]:
        """What is said of a certificate that is good for an hour and was for two, and of its authority's."""
        files = TlsFiles(ca_file="ca.pem", cert_file="cert.pem", key_file="key.pem")
        found = load_credentials(files, self.memory)
        lines = age_warnings(found, datetime.now(UTC) + timedelta(**later))
        return [line.partition(":")[0] for line in lines]

    def test_ages(self) -> None:
        """It has not begun, is over, or soon will be."""
        self.assertEqual(self.warnings(hours=-3), ["certificate is not yet valid"] * 2)
        self.assertEqual(self.warnings(), ["certificate expires in 0 days"] * 2)
        self.assertEqual(self.warnings(hours=2), ["certificate has expired"] * 2)
        cert, key = self.authority.write(Path(self.mktemp()), "x", hours=24.0 * 100)
        self.memory.files |= {"cert.pem": cert.read_bytes(), "key.pem": key.read_bytes()}
        self.assertEqual(self.warnings(), ["certificate expires in 0 days"])


class RealReaderTests(SynchronousTestCase):
    def test_reads(self) -> None:
        """Files, folders with all below them, and a file in place of a folder."""
        root = Path(self.mktemp())
        (root / "b").mkdir(parents=True)
        (root / "b" / "c").write_bytes(b"1")
        (root / "a").write_bytes(b"2")
        reader = RealReader()
        self.assertEqual(reader.read(str(root / "a")), b"2")
        self.assertEqual(list(reader.below(str(root))), [str(root / "a"), str(root / "b" / "c")])
        self.assertEqual(list(reader.below(str(root / "a"))), [str(root / "a")])
        self.assertRaises(FileNotFoundError, reader.below, str(root / "gone"))

    def test_a_folder_as_a_file(self) -> None:
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder)
        error = self.assertRaises(
            ConfigurationError, load_credentials, TlsFiles(ca_file=folder), RealReader()
        )
        self.assertEqual(str(error), f"Error loading from {folder}: read {folder}: is a directory")
