"""Settings of TLS: what goes together. The texts are those of Consul 1.8.7."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.config.host import Host
from pyconsul.config.schema import AgentConfig
from pyconsul.config.sources import Sources, load
from pyconsul.config.tls import CIPHER_SUITES, cipher_suites
from pyconsul.errors import ConfigurationError

HOST = Host("host", list)
CA, PAIR = 'ca_file = "ca" ', 'cert_file = "c" key_file = "k" '
NO_CA = "VerifyIncoming set but no CA certificates were provided"
NO_PAIR = "VerifyIncoming requires either a Cert and Key pair in the configuration file, or auto_encrypt/"
NO_CA_OUT = "VerifyOutgoing set, and no CA certificate provided!"

REFUSED = {
    'tls_min_version = "TLS12"': "TLSMinVersion: value TLS12 not supported, please specify one of [tls10, ",
    'tls_cipher_suites = "TLS_RSA_WITH_RC4_128_SHA"': 'unsupported cipher "TLS_RSA_WITH_RC4_128_SHA"',
    'tls_cipher_suites = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,x"': 'unsupported cipher "x"',
    "verify_incoming = true": NO_CA,
    "verify_incoming_https = true": NO_CA,
    f"verify_incoming_rpc = true {PAIR}": NO_CA,
    f"verify_incoming = true {CA}": NO_PAIR,
    f'verify_incoming = true {CA} cert_file = "c"': NO_PAIR,
    f"verify_outgoing = true {PAIR}": NO_CA_OUT,
    "verify_server_hostname = true": NO_CA_OUT,
}  # fmt: skip

TAKEN = (
    'tls_min_version = "tls13"',
    'tls_min_version = ""',
    'tls_cipher_suites = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"',
    f"verify_incoming = true verify_outgoing = true {CA} {PAIR}",
    'verify_outgoing = true ca_path = "cas"',
    "auto_encrypt { tls = true } verify_incoming = true verify_outgoing = true",
)


class TlsSettingsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def load(self, text: str) -> AgentConfig:
        return load(Sources(flags={"data_dir": str(self.folder)}, fragments=(text,)), HOST)

    def test_refused(self) -> None:
        for text, expected in REFUSED.items():
            error = self.assertRaises(ConfigurationError, self.load, text)
            self.assertIn(expected, str(error), text)

    def test_taken(self) -> None:
        """Files need not be there: they are looked at when an agent starts."""
        for text in TAKEN:
            self.load(text)

    def test_names_imply_verifying(self) -> None:
        """Whoever looks at names speaks TLS."""
        self.assertTrue(self.load(f"verify_server_hostname = true {CA}").verify_outgoing)

    def test_cipher_suites(self) -> None:
        """OpenSSL knows them by other names."""
        config = self.load(TAKEN[2])
        found = [CIPHER_SUITES[suite] for suite in cipher_suites(config)]
        self.assertEqual(found, ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-SHA"])
        self.assertEqual(cipher_suites(AgentConfig()), [])

    def test_warnings(self) -> None:
        """What an agent starts with, though it will not do what is wanted."""
        half = self.load('cert_file = "c" ports { https = 8501 }').warnings
        self.assertIn("cert_file and key_file only have an effect together.", half)
        self.assertIn("ports.https is set without cert_file and key_file: nobody can connect to it.", half)
        whole = self.load(f"ports {{ https = 8501 }} {PAIR}").warnings
        self.assertEqual([text for text in whole if "cert_file" in text], [])
