"""Dependent defaults, and what does not go together."""

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.config.host import Host
from pyconsul.config.interfaces import interface
from pyconsul.config.schema import AgentConfig
from pyconsul.config.sources import Sources, load
from pyconsul.config.validate import gossip_key_problem
from pyconsul.errors import ConfigurationError

HOST = Host(
    "host", lambda: [interface("lo", "127.0.0.1/8"), interface("eth0", "10.0.0.5/8")], files_max=lambda: 1024
)
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
    ('advertise_addr_ipv4 = "::1"', "advertise_addr_ipv4 must be an ipv4 address"),
    ('advertise_addr_ipv6 = "10.0.0.1"', "advertise_addr_ipv6 must be an ipv6 address"),
    ('advertise_addr = "[::1]"', "1 error occurred:\n\t* advertise_addr: invalid ip address: [::1]\n\n"),
    ('recursors = ["10.0.0.1", "[::]"]', "DNS recursor address cannot be 0.0.0.0, :: or [::]"),
    ('bind_addr = "::"', "No public IPv6 address found. Please configure one with 'advertise'."),
    ('bind_addr = "[::1]"', "1 error occurred:\n\t* bind_addr: invalid ip address: [::1]\n\n"),
    ('primary_datacenter = "a b"', 'primary_datacenter cannot be "a b". Please use only [a-z0-9-_]'),
    ('ui_content_path = "/x y"',
     "ui-content-path can only contain alphanumeric, -, _, or /. received: /x y/"),
    ("ports { http = 8600 }", "HTTP address 127.0.0.1:8600 already configured for DNS"),
    ("ports { https = 8500 }", "HTTPS address 127.0.0.1:8500 already configured for HTTP"),
    ('addresses { http = "127.0.0.1 127.0.0.1" }', "HTTP address 127.0.0.1:8500 already configured for HTTP"),
    ('addresses { http = "unix:///a" https = "unix:///a" } ports { https = 1 }',
     "HTTPS address /a already configured for HTTP"),
    ("ports { server = 8301 }",
     "Serf Advertise LAN address 10.0.0.5:8301 already configured for RPC Advertise"),
    ("ports { serf_wan = 8301 }",
     "Serf Advertise WAN address 10.0.0.5:8301 already configured for Serf Advertise LAN"),
    ('client_addr = "10.0.0.5" ports { dns = 8300 }',
     "RPC Advertise address 10.0.0.5:8300 already configured for DNS"),
    ("ports { sidecar_max_port = 1 }",
     "sidecar_min_port must be less than sidecar_max_port. To disable, set both to zero."),
    ("ports { expose_min_port = 30000 }",
     "expose_min_port must be less than expose_max_port. To disable, set both to zero."),
    ("autopilot { max_trailing_logs = -1 }",
     "autopilot.max_trailing_logs cannot be -1. Must be greater than or equal to zero"),
    ("cache { entry_fetch_rate = 0 }", "cache.entry_fetch_rate must be strictly positive, was: 0"),
    ("cache { entry_fetch_max_burst = -1 }",
     "cache.entry_fetch_max_burst must be strictly positive, was: -1"),
    ("limits { http_max_conns_per_client = 1005 }",
     "system allows a max of 1024 file descriptors, "
     "but limits.http_max_conns_per_client: 1005 needs at least 1025"),
    ("raft_protocol = 4", "Failed to start Raft: Protocol version 4 must be >= 1 and <= 3"),
    ("raft_protocol = -1", "Failed to start Raft: Protocol version -1 must be >= 1 and <= 3"),
    ('recursors = ["1.1.1.1:x"]', "Invalid recursor address: 1.1.1.1:x: unknown port x"),
    ('recursors = ["[::1]:70000"]', "Invalid recursor address: [::1]:70000: unknown port 70000"),
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


def host(*addresses: str) -> Host:
    """A machine with these addresses."""
    return Host("h", lambda: [interface(f"e{number}", text) for number, text in enumerate(addresses)])


WARNED: list[tuple[str, str]] = [
    ("server = true bootstrap_expect = 2", "expecting 2 servers"),
    ("server = true bootstrap_expect = 2", "no failure tolerance"),
    ("server = true bootstrap_expect = 4", "even number of servers"),
    ("server = true bootstrap_expect = 3", "bootstrap_expect > 0: expecting 3 servers"),
    ("server = true bootstrap_expect = 1", "this is the same as Bootstrap mode"),
    ("server = true bootstrap = true bootstrap_expect = 1", "this is the same as Bootstrap mode"),
    ('reconnect_timeout = "1h"', "reconnect_timeout should be 8h at least"),
    ('reconnect_timeout_wan = "1h"', "reconnect_timeout_wan should be 8h at least"),
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
            'bind_addr = "::1" client_addr = "10.0.0.1 10.0.0.2" addresses { http = "10.0.0.3" }'
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
        two = host("10.0.0.1/8", "10.0.0.2/8")
        error = self.assertRaises(ConfigurationError, self.load, "", two)
        self.assertIn("Multiple private IPv4 addresses found.", str(error))
        public = self.load("", host("8.8.4.4/24"))
        self.assertEqual(public.advertise_addr, "8.8.4.4")
        self.assertIn("No private IPv4 address found", public.warnings[0])
        self.assertEqual(self.load("", host()).advertise_addr, "127.0.0.1")

    def test_advertised_ipv6(self) -> None:
        """The wildcard of IPv6 is advertised as the one public address."""
        one, two = "2a00:1450::1/64", "2a00:1450::2/64"
        for text in ("::", "[::]"):
            config = self.load(f'bind_addr = "{text}"', host(one, "10.0.0.1/8", "fd00::1/64"))
            self.assertEqual((config.bind_addr, config.advertise_addr), ("::", "2a00:1450::1"))
        error = self.assertRaises(ConfigurationError, self.load, 'bind_addr = "::"', host(one, two))
        self.assertIn("Multiple public IPv6 addresses found.", str(error))

    def test_ports_that_do_not_conflict(self) -> None:
        """Other addresses, listeners that are off, and ranges that are off or of one port."""
        for text in (
            'addresses { http = "127.0.0.2" } ports { http = 8600 }',
            "ports { dns = -1 http = -1 https = -1 }",
            'advertise_addr_wan = "10.0.0.9" ports { serf_wan = 8301 }',
            "ports { sidecar_min_port = 0 sidecar_max_port = 0 }",
            "ports { expose_min_port = 5 expose_max_port = 5 }",
        ):
            self.load(text)

    def test_defaults_instead_of_nothing(self) -> None:
        """Zero means the default."""
        config = self.load(
            'protocol = 0 raft_protocol = 0 reconnect_timeout = "-1s" reconnect_timeout_wan = "0s"'
        )
        self.assertEqual((config.protocol, config.raft_protocol), (2, 3))
        self.assertEqual((config.reconnect_timeout, config.reconnect_timeout_wan), (259200.0, 259200.0))

    def test_unlimited_files(self) -> None:
        """Where the limit is not known, nothing is said of it."""
        unknown = Host("h", list, files_max=lambda: 0)
        self.load("limits { http_max_conns_per_client = 100000 }", unknown)

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
