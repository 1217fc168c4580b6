"""Dependent defaults, and what does not go together."""

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.config.host import Host
from pyconsul.config.schema import AgentConfig
from pyconsul.config.sources import Sources, load
from pyconsul.config.validate import gossip_key_problem
from pyconsul.errors import ConfigurationError

HOST = Host("host", [("lo", "127.0.0.1"), ("eth0", "10.0.0.5")])
KEY = "MDEyMzQ1Njc4OWFiY2RlZg=="

REFUSED: list[tuple[str, str]] = [
    ('data_dir = ""', "data_dir cannot be empty"),
    ('data_dir = "/dev/null"', 'data_dir "/dev/null" is not a directory'),
    ('datacenter = "a.b"', 'datacenter cannot be "a.b". Please use only [a-z0-9-_]'),
    ('datacenter = ""', "datacenter cannot be empty"),
    ("server = true bootstrap = true bootstrap_expect = 3",
     "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive"),
    ("bootstrap = true", "'bootstrap = true' requires 'server = true'"),
    ("bootstrap_expect = 1", "'bootstrap = true' requires 'server = true'"),
    ("bootstrap_expect = 3", "'bootstrap_expect > 0' requires 'server = true'"),
    ("bootstrap_expect = -1", "bootstrap_expect cannot be -1. Must be greater than or equal to zero"),
    ('encrypt = "!!"', "encrypt has invalid key: illegal base64 data at input byte 0"),
    ('encrypt = "short"', "encrypt has invalid key: illegal base64 data at input byte 4"),
    ('encrypt = "MDEyMw=="', "encrypt has invalid key: key size must be 16, 24 or 32 bytes"),
    ('ui = true ui_dir = "x"',
     "Both the ui and ui-dir flags were specified, please provide only one.\n"
     "If trying to use your own web UI resources, use the ui-dir flag.\n"
     "The web UI is included in the binary so use ui to enable it"),
    ('advertise_addr = "0.0.0.0"', "Advertise address cannot be 0.0.0.0, :: or [::]"),
    ('advertise_addr_wan = "[::]"', "Advertise WAN address cannot be 0.0.0.0, :: or [::]"),
    ('advertise_addr = "foo"', "1 error occurred:\n\t* advertise_addr: invalid ip address: foo\n\n"),
    ('advertise_addr_ipv4 = "::1"', "advertise_addr_ipv4: invalid ipv4 address: ::1"),
    ('bind_addr = "foo"', "1 error occurred:\n\t* bind_addr: invalid ip address: foo\n\n"),
    ('bind_addr = " "', "bind_addr cannot be empty"),
    ('bind_addr = "127.0.0.1 127.0.0.2"',
     "bind_addr cannot contain multiple addresses. Use 'addresses.{dns,http,https}' instead."),
    ('client_addr = "foo"', "1 error occurred:\n\t* client_addr: invalid ip address: foo\n\n"),
    ('addresses { dns = "unix:///x" }', "DNS address cannot be a unix socket"),
    ("performance { raft_multiplier = 0 }",
     "performance.raft_multiplier cannot be 0. Must be between 1 and 10"),
    ("dns_config { udp_answer_limit = -1 }",
     "dns_config.udp_answer_limit cannot be -1. Must be greater than or equal to zero"),
    ("dns_config { a_record_limit = -1 }",
     "dns_config.a_record_limit cannot be -1. Must be greater than or equal to zero"),
    ("check_output_max_size = 0", "check_output_max_size must be positive"),
    ("protocol = 1", "Protocol version '1' too low. Must be in range: [2, 3]"),
    ("protocol = 4", "Protocol version '4' too high. Must be in range: [2, 3]"),
    ("raft_protocol = 4", "Failed to start Raft: Protocol version 4 must be >= 1 and <= 3"),
    ('reconnect_timeout = "1h"', "reconnect_timeout must be >= 8h"),
    ('log_level = "zz"',
     "Invalid log level: zz. Valid log levels are: [TRACE DEBUG INFO WARN ERR ERROR]"),
    ('segment = "x"', "Network segments are not supported in this version of Consul"),
    ('primary_gateways = ["x"]', "'primary_gateways' should only be configured in a secondary datacenter"),
    ('node_meta { "" = "x" }',
     "node_meta invalid: Couldn't load metadata pair ('', 'x'): Key cannot be blank"),
    ('node_meta { "a b" = "x" }',
     "node_meta invalid: Couldn't load metadata pair ('a b', 'x'): Key contains invalid characters"),
    ('node_meta { consul-x = "1" }',
     "node_meta invalid: Couldn't load metadata pair ('consul-x', '1'): "
     "Key prefix 'consul-' is reserved for internal use"),
]  # fmt: skip

WARNED: list[tuple[str, str]] = [
    ("server = true bootstrap_expect = 2", "expecting 2 servers"),
    ("server = true bootstrap_expect = 2", "no failure tolerance"),
    ("server = true bootstrap_expect = 4", "even number of servers"),
    ("server = true bootstrap_expect = 3", "bootstrap_expect > 0: expecting 3 servers"),
    ("server = true bootstrap_expect = 1", "this is the same as Bootstrap mode"),
    ("server = true bootstrap = true", "bootstrap = true: do not enable unless necessary"),
    ('node_name = "a b"', 'Node name "a b" will not be discoverable via DNS'),
    (f'node_name = "{"x" * 64}"', "it is too long"),
]


class ValidateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def load(self, text: str, host: Host = HOST, **options: Any) -> AgentConfig:
        return load(Sources(flags={"data_dir": str(self.folder)}, fragments=(text,), **options), host)

    def test_refused(self) -> None:
        """Each problem with Consul's text."""
        for text, expected in REFUSED:
            error = self.assertRaises(ConfigurationError, self.load, text)
            self.assertEqual(str(error), expected, text)

    def test_refused_in_dev(self) -> None:
        """What development mode does not allow."""
        error = self.assertRaises(
            ConfigurationError, load, Sources(dev=True, flags={"bootstrap_expect": 3}), HOST
        )
        self.assertEqual(str(error), "'bootstrap_expect > 0' not allowed in dev mode")
        error = self.assertRaises(ConfigurationError, load, Sources(dev=True, flags={"server": False}), HOST)
        self.assertEqual(str(error), "data_dir cannot be empty")

    def test_big_metadata(self) -> None:
        """Limits of node metadata."""
        many = " ".join(f'k{number} = "v"' for number in range(65))
        for text, reason in (
            (f"node_meta {{ {many} }}", "cannot contain more than 64 key/value pairs"),
            (f'node_meta {{ {"k" * 129} = "v" }}', "Key is too long (limit: 128 characters)"),
            (f'node_meta {{ k = "{"v" * 513}" }}', "Value is too long (limit: 512 characters)"),
        ):
            self.assertIn(reason, str(self.assertRaises(ConfigurationError, self.load, text)))

    def test_warnings(self) -> None:
        """What may be, but should be known."""
        for text, expected in WARNED:
            self.assertIn(expected, "\n".join(self.load(text).warnings))
        self.assertEqual(self.load("").warnings, ())

    def test_identity(self) -> None:
        """Names, datacenter and domain."""
        config = self.load('datacenter = "DC1" domain = "Example.COM" alt_domain = "x."')
        facts = (config.node_name, config.datacenter, config.primary_datacenter)
        self.assertEqual(facts, ("host", "dc1", "dc1"))
        self.assertEqual((config.domain, config.alt_domain), ("example.com.", "x."))

    def test_one_server(self) -> None:
        """Expecting one server is bootstrapping."""
        config = self.load("server = true bootstrap_expect = 1")
        self.assertEqual((config.bootstrap, config.bootstrap_expect), (True, 0))

    def test_addresses(self) -> None:
        """What follows from the bind and the client address."""
        config = self.load(
            'bind_addr = "[::1]" client_addr = "10.0.0.1 10.0.0.2" addresses { http = "10.0.0.3" }'
        )
        facts = (config.bind_addr, config.advertise_addr, config.advertise_addr_wan, config.serf_lan)
        self.assertEqual(facts, ("::1",) * 4)
        self.assertEqual(config.addresses.dns, ("10.0.0.1", "10.0.0.2"))
        self.assertEqual(config.addresses.http, ("10.0.0.3",))
        config = self.load('advertise_addr = "10.9.9.9" serf_wan = "10.8.8.8"')
        facts = (config.bind_addr, config.advertise_addr, config.advertise_addr_wan, config.serf_wan)
        self.assertEqual(facts, ("0.0.0.0", "10.9.9.9", "10.9.9.9", "10.8.8.8"))

    def test_advertised(self) -> None:
        """A wildcard is advertised as the one private address, if there is one."""
        self.assertEqual(self.load("").advertise_addr, "10.0.0.5")
        two = Host("h", [("a", "10.0.0.1"), ("b", "10.0.0.2")])
        error = self.assertRaises(ConfigurationError, self.load, "", two)
        self.assertIn("Multiple private IPv4 addresses found.", str(error))
        public = self.load("", Host("h", [("a", "8.8.4.4")]))
        self.assertEqual(public.advertise_addr, "8.8.4.4")
        self.assertIn("No private IPv4 address found", public.warnings[0])
        self.assertEqual(self.load("", Host("h", [])).advertise_addr, "127.0.0.1")

    def test_template(self) -> None:
        """A bind address may be a template."""
        self.assertEqual(self.load('bind_addr = "{{ GetPrivateIP }}"').bind_addr, "10.0.0.5")

    def test_signals(self) -> None:
        """Clients leave when they are asked to end, servers do not; settings say otherwise."""
        client, server = self.load(""), self.load("server = true")
        self.assertEqual((client.leave_on_terminate, client.skip_leave_on_interrupt), (True, False))
        self.assertEqual((server.leave_on_terminate, server.skip_leave_on_interrupt), (False, True))
        told = self.load("server = true leave_on_terminate = true skip_leave_on_interrupt = false")
        self.assertEqual((told.leave_on_terminate, told.skip_leave_on_interrupt), (True, False))

    def test_ui_path(self) -> None:
        """The path of the web interface has slashes around it."""
        self.assertEqual(self.load('ui_content_path = "a/b"').ui_content_path, "/a/b/")
        self.assertEqual(self.load('ui_content_path = "/"').ui_content_path, "/")

    def test_gossip_keys(self) -> None:
        """Three sizes are right."""
        self.assertEqual(gossip_key_problem(KEY), "")
        self.assertEqual(self.load(f'encrypt = "{KEY}"').encrypt, KEY)
