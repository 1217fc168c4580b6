"""Where the agent is: addresses, environment, headers."""

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.client import kv
from pyconsul.client.endpoint import Endpoint
from pyconsul.errors import ConfigurationError
from tests.client.certificates import make_certificates


class AddressTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """Every way to write an address."""
        forms = {
            "10.0.0.1:80": ("http", "10.0.0.1", 80),
            "10.0.0.1": ("http", "10.0.0.1", 80),
            ":8500": ("http", "127.0.0.1", 8500),
            "http://h:1": ("http", "h", 1),
            "http://h:1/path": ("http", "h", 1),
            "https://h": ("https", "h", 443),
            "[::1]:8500": ("http", "::1", 8500),
            "[::1]": ("http", "::1", 80),
            "::1": ("http", "::1", 80),
        }
        for text, expected in forms.items():
            end = Endpoint(text)
            self.assertEqual((end.scheme, end.host, end.port), expected, text)

    def test_unix(self) -> None:
        """A socket file, and what the request says then."""
        end = Endpoint("unix:///run/consul.sock")
        self.assertEqual(end.unix_path, "/run/consul.sock")
        self.assertEqual(end.headers(kv.get("a")), [("Host", "localhost")])

    def test_tls_by_choice(self) -> None:
        """TLS may be asked for beside the address."""
        self.assertEqual(Endpoint("h:1", tls=True).scheme, "https")
        self.assertEqual(Endpoint("http://h:1", tls=True).scheme, "https")

    def test_nonsense(self) -> None:
        """Schemes and ports that there are not."""
        error = self.assertRaises(ConfigurationError, Endpoint, "ftp://x")
        self.assertEqual(str(error), "Unknown protocol scheme: ftp")
        for text in ("h:0", "h:65536", "h:http"):
            self.assertRaises(ConfigurationError, Endpoint, text)


class HeaderTests(SynchronousTestCase):
    def test_plain(self) -> None:
        """A read says where it goes and nothing else."""
        self.assertEqual(Endpoint("h:1").headers(kv.get("a")), [("Host", "h:1")])
        self.assertEqual(Endpoint("[::1]:1").headers(kv.get("a")), [("Host", "[::1]:1")])

    def test_secrets(self) -> None:
        """Token and basic authentication."""
        headers = dict(Endpoint("h:1", token="t", auth="u:p").headers(kv.get("a")))
        self.assertEqual(headers["X-Consul-Token"], "t")
        self.assertEqual(headers["Authorization"], "Basic dTpw")

    def test_length(self) -> None:
        """What may have a body has a length, even an empty one."""
        headers = dict(Endpoint("h:1").headers(kv.put("a", b"xyz")))
        self.assertEqual(headers["Content-Length"], "3")
        self.assertEqual(dict(Endpoint("h:1").headers(kv.delete("a")))["Content-Length"], "0")

    def test_token_that_would_split_the_request(self) -> None:
        """A token with a line break is refused."""
        end = Endpoint("h:1", token="a\r\nX: y")
        self.assertRaises(ConfigurationError, end.headers, kv.get("a"))

    def test_url(self) -> None:
        """The whole address, for people."""
        self.assertEqual(Endpoint("[::1]:1").url(kv.value("a")), "http://[::1]:1/v1/kv/a?raw")


class EnvironmentTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """Without anything, the agent on this machine."""
        end = Endpoint.from_environment({})
        self.assertEqual((end.scheme, end.host, end.port), ("http", "127.0.0.1", 8500))
        self.assertEqual((end.token, end.verify), ("", True))

    def test_all(self) -> None:
        """Every variable has its place."""
        end = Endpoint.from_environment(
            {
                "CONSUL_HTTP_ADDR": "h:1",
                "CONSUL_HTTP_TOKEN": "t",
                "CONSUL_HTTP_AUTH": "u",
                "CONSUL_HTTP_SSL": "true",
                "CONSUL_HTTP_SSL_VERIFY": "false",
                "CONSUL_CACERT": "ca",
                "CONSUL_CAPATH": "path",
                "CONSUL_CLIENT_CERT": "cert",
                "CONSUL_CLIENT_KEY": "key",
                "CONSUL_TLS_SERVER_NAME": "name",
            }
        )
        self.assertEqual(
            (end.scheme, end.host, end.token, end.auth, end.verify), ("https", "h", "t", "u", False)
        )
        files = (end.ca_file, end.ca_path, end.client_cert, end.client_key, end.server_name)
        self.assertEqual(files, ("ca", "path", "cert", "key", "name"))

    def test_arguments_win(self) -> None:
        """What is given counts for more; what is empty was not given."""
        environ = {"CONSUL_HTTP_ADDR": "h:1", "CONSUL_HTTP_TOKEN": "t"}
        end = Endpoint.from_environment(environ, address="other:2", token="")
        self.assertEqual((end.host, end.token), ("other", "t"))

    def test_truth_values(self) -> None:
        """Neither true nor false is an error that names the variable."""
        self.assertFalse(Endpoint.from_environment({"CONSUL_HTTP_SSL": "0"}).scheme == "https")
        error = self.assertRaises(ConfigurationError, Endpoint.from_environment, {"CONSUL_HTTP_SSL": "maybe"})
        self.assertIn("CONSUL_HTTP_SSL", str(error))

    def test_token_file(self) -> None:
        """A token from a file counts for more than the variable, and less than an argument."""
        path = Path(self.mktemp())
        path.write_text("from-file\n")
        environ = {"CONSUL_HTTP_TOKEN_FILE": str(path), "CONSUL_HTTP_TOKEN": "t"}
        self.assertEqual(Endpoint.from_environment(environ).token, "from-file")
        self.assertEqual(Endpoint.from_environment({}, token_file=str(path)).token, "from-file")
        self.assertEqual(Endpoint.from_environment(environ, token="given").token, "given")
        path.write_text("")
        self.assertEqual(Endpoint.from_environment(environ).token, "t")

    def test_token_file_that_is_not_there(self) -> None:
        """The text names the file."""
        error = self.assertRaises(ConfigurationError, Endpoint.from_environment, {}, token_file="/none/here")
        self.assertEqual(str(error), "Error loading token file: open /none/here: no such file or directory")

    def test_tls_files(self) -> None:
        """They are looked at when they are needed; what is wrong is said in Consul's words."""
        folder = Path(self.mktemp())
        ca, cert, key = map(str, make_certificates(folder / "made", "127.0.0.1"))
        bad, empty = folder / "bad", folder / "empty"
        bad.write_text("garbage")
        empty.mkdir()
        missing = "open /none: no such file or directory"
        cases: tuple[tuple[dict[str, Any], str], ...] = (
            ({"ca_file": "/none"}, f"Error loading CA File: {missing}"),
            ({"ca_file": str(bad)}, f"Error loading CA File: Couldn't parse PEM in: {bad}"),
            ({"ca_path": "/none"}, f"Error loading CA Path: {missing}"),
            ({"ca_path": str(empty)}, f"Error loading CA Path: no CAs found in {empty}"),
            ({"client_cert": cert}, "both client cert and client key must be provided"),
            ({"client_key": key}, "both client cert and client key must be provided"),
            ({"client_cert": "/none", "client_key": key}, missing),
            ({"client_cert": str(bad), "client_key": key}, "tls: failed to load client cert/key pair: "),
        )
        for given, why in cases:
            error = self.assertRaises(ConfigurationError, Endpoint("https://h", **given).tls_context)
            self.assertTrue(str(error).startswith(why), str(error))
        bad.unlink()
        empty.rmdir()
        (folder / "made" / "key.pem").rename(folder / "key.pem")
        end = Endpoint(
            "https://h", ca_path=str(folder / "made"), client_cert=cert, client_key=str(folder / "key.pem")
        )
        self.assertEqual(len(end.tls_context().get_ca_certs()), 1)
        self.assertIs(end.tls_context(), end.tls_context())
        self.assertEqual(len(Endpoint("https://h", ca_path=ca).tls_context().get_ca_certs()), 1)

    def test_no_verification(self) -> None:
        """Without verification any certificate will do."""
        context = Endpoint("https://h", verify=False).tls_context()
        self.assertFalse(context.check_hostname)
