"""Settings without effect yet: what goes together, and that the user hears of them."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.config.host import Host
from pyconsul.config.schema import AgentConfig
from pyconsul.config.sources import Sources, load
from pyconsul.errors import ConfigurationError

HOST = Host("host", list)

REFUSED = {
    "auto_encrypt { allow_tls = true }": "auto_encrypt.allow_tls can only be used on a server.",
    "server = true auto_encrypt { tls = true }": "auto_encrypt.tls can only be used on a client.",
    "auto_config { foo = 1 }": "invalid config key auto_config.foo",
    "auto_config { enabled = true }": "without configuring TLS for server communications",
    "auto_config { authorization { enabled = true } }": "without providing a TLS certificate",
    'connect { ca_provider = "foo" }': "foo is not a valid CA provider",
    'connect { ca_provider = "vault" }': "must provide a Vault token",
    "connect { enable_mesh_gateway_wan_federation = true }": "requires 'connect.enabled=true'",
    "connect { enabled = true enable_mesh_gateway_wan_federation = true }": "requires 'server = true'",
    'server = true node_name = "a/b" connect { enabled = true enable_mesh_gateway_wan_federation = true }':
        "not contain '/'",
    'config_entries { bootstrap { kind = "mesh" } }':
        "config_entries.bootstrap[0]: invalid config entry kind: mesh",
    'config_entries { bootstrap = [{ kind = "proxy-defaults" }, { name = "x" }] }':
        "config_entries.bootstrap[1]: it has no kind",
}  # fmt: skip

TAKEN = (
    "server = true auto_encrypt { allow_tls = true }",
    'auto_encrypt { tls = true ip_san = ["1.2.3.4"] }',
    'auto_config { enabled = true intro_token = "x" } verify_outgoing = true',
    'auto_config { authorization { enabled = true } } cert_file = "x"',
    'connect { ca_provider = "vault" ca_config { Token = "x" } }',
    "server = true connect { enabled = true enable_mesh_gateway_wan_federation = true }",
    'config_entries { bootstrap { Kind = "service-defaults" Name = "web" } }',
    'acl { enabled = true default_policy = "deny" tokens { master = "x" agent = "y" } }',
    'acl { disabled_ttl = "nonsense" }',
)


class LaterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def load(self, text: str, dev: bool = False) -> AgentConfig:
        return load(Sources(flags={"data_dir": str(self.folder)}, fragments=(text,), dev=dev), HOST)

    def warnings(self, text: str, dev: bool = False) -> list[str]:
        """The names of what has no effect."""
        start = "Accepted, but without effect yet: "
        found = [one for one in self.load(text, dev).warnings if one.startswith(start)]
        return [name for one in found for name in one.removeprefix(start).split(", ")]

    def test_refused(self) -> None:
        for text, expected in REFUSED.items():
            error = self.assertRaises(ConfigurationError, self.load, text)
            self.assertIn(expected, str(error), text)

    def test_taken(self) -> None:
        for text in TAKEN:
            self.load(text)

    def test_without_effect(self) -> None:
        """What was given and is not as by default is named, once."""
        text = 'acl { enabled = true tokens { agent = "x" } } auto_encrypt { tls = true }'
        names = ["acl.enabled", "acl.tokens.agent", "auto_encrypt.tls"]
        self.assertEqual(self.warnings(text), names)
        self.assertEqual(self.warnings('acl { enabled = false } acl_token = "x"'), ["acl.tokens.default"])

    def test_with_effect(self) -> None:
        """What else there is, and what -dev sets by itself."""
        self.assertEqual(self.warnings('node_name = "x" ports { http = 1 }'), [])
        self.assertEqual(self.warnings("", dev=True), [])
