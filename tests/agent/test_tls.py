"""TLS as the configuration wants it, and new certificates."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.tls import TlsSettings, tls_options
from pyconsul.config.groups import AutoEncrypt
from pyconsul.config.schema import AgentConfig
from pyconsul.errors import ConfigurationError
from pyconsul.net.tls import Tls
from pyconsul.net.tls_files import RealReader, TlsFiles
from tests.checks.certificates import Authority


class OptionsTests(SynchronousTestCase):
    def options(self, **settings: Any) -> Any:
        return tls_options(replace(AgentConfig(node_name="n"), **settings))

    def test_everything(self) -> None:
        """Each setting has its place."""
        found = self.options(
            ca_file="a", ca_path="b", cert_file="c", key_file="d", verify_outgoing=True,
            verify_server_hostname=True, tls_min_version="tls13", tls_prefer_server_cipher_suites=True,
            tls_cipher_suites="TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", domain="example.",
        )  # fmt: skip
        self.assertEqual(found.files, TlsFiles(ca_file="a", ca_path="b", cert_file="c", key_file="d"))
        self.assertEqual((found.verify_outgoing, found.verify_server_hostname), (True, True))
        self.assertEqual((found.min_version, found.domain), ("tls13", "example"))
        self.assertEqual(found.ciphers, ("ECDHE-RSA-AES128-GCM-SHA256",))
        self.assertTrue(found.prefer_server_ciphers)

    def test_names(self) -> None:
        """The node's, unless there is another."""
        self.assertEqual(self.options().server_name, "n")
        self.assertEqual(self.options(server_name="other").server_name, "other")

    def test_incoming(self) -> None:
        """Each kind of connection by itself, or both."""
        for key, expected in (
            ("verify_incoming", (True, True)),
            ("verify_incoming_rpc", (True, False)),
            ("verify_incoming_https", (False, True)),
        ):
            found = self.options(**{key: True})
            self.assertEqual((found.verify_incoming_rpc, found.verify_incoming_https), expected)

    def test_what_is_not_there(self) -> None:
        """An agent that should get its certificate from servers would have none."""
        for key, settings in (
            ("auto_encrypt.tls", {"auto_encrypt": AutoEncrypt(tls=True)}),
            ("auto_config", {"auto_config": {"enabled": True}}),
        ):
            error = self.assertRaises(ConfigurationError, self.options, **settings)
            self.assertEqual(
                str(error), f"{key} is not there yet: set ca_file, cert_file and key_file instead"
            )
        self.options(auto_encrypt=AutoEncrypt(allow_tls=True), auto_config={"enabled": False})


class ReloadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.authority = Authority()
        cert, key = self.authority.write(self.folder, "x")
        ca = self.folder / "ca.pem"
        ca.write_bytes(self.authority.pem())
        self.config = AgentConfig(ca_file=str(ca), cert_file=str(cert), key_file=str(key), node_name="n")
        self.taken: list[Any] = []
        self.warned: list[str] = []
        self.tls = Tls(RealReader(), Clock(), tls_options(self.config))
        self.part = TlsSettings(self.tls, time.time, lambda: self.taken.append(self.tls.state.options))
        self.patch(self.part, "_log", self)

    def warn(self, form: str, **fields: Any) -> None:
        self.warned.append(form.format(**fields))

    def test_nothing_new(self) -> None:
        """The same files with the same contents."""
        self.assertEqual(self.part.changes(self.config, self.config), [])

    def test_new_contents(self) -> None:
        """They are taken over, and nothing of them is shown; what soon is over is said."""
        self.authority.write(self.folder, "x")
        self.assertEqual(self.part.changes(self.config, self.config), ["new certificates"])
        before = self.tls.state.credentials
        self.part.apply(self.config, self.config)
        self.assertNotEqual(self.tls.state.credentials.chain, before.chain)
        self.assertEqual(len(self.taken), 1)
        self.assertIn("certificate expires in 0 days: CN=x", self.warned)

    def test_new_settings(self) -> None:
        """One line for each."""
        new = replace(self.config, verify_outgoing=True)
        self.assertEqual(self.part.changes(self.config, new), ["verify_outgoing: False -> True"])
        self.part.apply(self.config, new)
        self.assertTrue(self.tls.dials)

    def test_bad_files(self) -> None:
        """They are refused in Consul's words, and the old ones stay."""
        before = self.tls.state
        Path(self.config.key_file).unlink()
        error = self.assertRaises(ConfigurationError, self.part.changes, self.config, self.config)
        path = self.config.key_file
        self.assertEqual(
            str(error),
            "Failed reloading tls configuration: Failed to load cert/key pair: "
            f"open {path}: no such file or directory",
        )
        self.assertIs(self.tls.state, before)

    def test_turned_off(self) -> None:
        """No files, no warnings."""
        new = AgentConfig(node_name="n")
        self.part.apply(self.config, new)
        self.assertFalse(self.tls.serves)
        self.assertEqual(self.warned, [])
