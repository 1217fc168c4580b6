"""Where the agent is and how to speak to it, from arguments and from the environment."""

from __future__ import annotations

from pyconsul.client.call import Call
from pyconsul.errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from typing import Any

DEFAULT_ADDRESS = "127.0.0.1:8500"


class Endpoint:
    """An agent's HTTP address, with the token and the certificates to use there.

    :param address: ``host:port``, ``http://host:port``, ``https://...`` or ``unix:///path``.
    :param auth: ``user:password`` for basic authentication.
    :param verify: whether to check the agent's certificate.

    Raises ``ConfigurationError`` for an address that makes no sense.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        token: str = "",
        auth: str = "",
        tls: bool = False,
        verify: bool = True,
        ca_file: str = "",
        ca_path: str = "",
        client_cert: str = "",
        client_key: str = "",
        server_name: str = "",
    ) -> None:
        scheme, mark, rest = address.partition("://")
        if not mark:
            scheme, rest = ("https" if tls else "http"), address
        if scheme not in ("http", "https", "unix"):
            raise ConfigurationError(f"Unknown protocol scheme: {scheme}")
        self.scheme = "https" if scheme == "http" and tls else scheme
        self.unix_path = ""
        if scheme == "unix":
            self.scheme, self.unix_path = "http", rest
            self.host, self.port = "127.0.0.1", 80
        else:
            self.host, self.port = _host_and_port(rest.partition("/")[0], 443 if scheme == "https" else 80)
        self.token, self.auth, self.verify = token, auth, verify
        self.ca_file, self.ca_path = ca_file, ca_path
        self.client_cert, self.client_key = client_cert, client_key
        self.server_name = server_name
        self._context: ssl.SSLContext | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], **given: Any) -> Endpoint:
        """The endpoint that ``CONSUL_HTTP_ADDR`` and its companions name; ``given`` wins if not empty."""
        from_file = given.pop("token_file", "") or environ.get("CONSUL_HTTP_TOKEN_FILE", "")
        settings: dict[str, Any] = {
            "address": environ.get("CONSUL_HTTP_ADDR") or DEFAULT_ADDRESS,
            "token": environ.get("CONSUL_HTTP_TOKEN", ""),
            "auth": environ.get("CONSUL_HTTP_AUTH", ""),
            "tls": _is_true(environ, "CONSUL_HTTP_SSL", False),
            "verify": _is_true(environ, "CONSUL_HTTP_SSL_VERIFY", True),
            "ca_file": environ.get("CONSUL_CACERT", ""),
            "ca_path": environ.get("CONSUL_CAPATH", ""),
            "client_cert": environ.get("CONSUL_CLIENT_CERT", ""),
            "client_key": environ.get("CONSUL_CLIENT_KEY", ""),
            "server_name": environ.get("CONSUL_TLS_SERVER_NAME", ""),
        }
        settings.update({key: value for key, value in given.items() if value not in ("", None)})
        if from_file and not given.get("token"):
            try:
                with open(from_file, encoding="utf-8") as file:
                    settings["token"] = file.read().strip() or settings["token"]
            except OSError as error:
                reason = (error.strerror or "").lower()
                raise ConfigurationError(f"Error loading token file: open {from_file}: {reason}") from None
        return cls(**settings)

    def headers(self, call: Call[Any]) -> list[tuple[str, str]]:
        """The headers of a request; raises ``ConfigurationError`` if the token cannot be one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        headers = [("Host", f"{host}:{self.port}" if not self.unix_path else "localhost")]
        if self.token:
            if not self.token.isprintable() or not self.token.isascii():
                raise ConfigurationError("the token has characters that no token has")
            headers.append(("X-Consul-Token", self.token))
        if self.auth:
            import binascii

            user, _, password = self.auth.partition(":")
            pair = binascii.b2a_base64(f"{user}:{password}".encode(), newline=False)
            headers.append(("Authorization", f"Basic {pair.decode()}"))
        if call.body or call.method != "GET":
            headers.append(("Content-Length", str(len(call.body))))
        return headers

    def url(self, call: Call[Any]) -> str:
        """The whole address of a request, for error texts and for Twisted."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{call.target()}"

    def tls_context(self) -> ssl.SSLContext:
        """How to speak TLS to this agent; raises ``ConfigurationError`` for files that are no use.

        They are read once. The texts are Consul's.
        """
        if self._context is None:
            self._context = self._make_context()
        return self._context

    def _make_context(self) -> ssl.SSLContext:
        import ssl

        context = ssl.create_default_context() if not (self.ca_file or self.ca_path) else _believing_nobody()
        if self.ca_file:
            _believe(context, self.ca_file, "Error loading CA File: ")
        elif self.ca_path:
            for path in _files_below(self.ca_path):
                _believe(context, path, "Error loading CA Path: ")
        if bool(self.client_cert) != bool(self.client_key):
            raise ConfigurationError("both client cert and client key must be provided")
        if self.client_cert:
            for path in (self.client_cert, self.client_key):
                _readable(path, "")
            try:
                context.load_cert_chain(self.client_cert, self.client_key)
            except ssl.SSLError as error:
                problem = (error.reason or "no PEM data").lower().replace("_", " ")
                pair = f"{self.client_cert}, {self.client_key}"
                raise ConfigurationError(
                    f"tls: failed to load client cert/key pair: {problem} ({pair})"
                ) from None
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _believing_nobody() -> ssl.SSLContext:
    import ssl

    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _readable(path: str, start: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise ConfigurationError(f"{start}open {path}: {(error.strerror or '').lower()}") from None


def _believe(context: ssl.SSLContext, path: str, start: str) -> None:
    """Add the authorities in a file to those that are believed."""
    import ssl

    _readable(path, start)
    try:
        context.load_verify_locations(path)
    except (OSError, ssl.SSLError):
        raise ConfigurationError(f"{start}Couldn't parse PEM in: {path}") from None


def _files_below(folder: str) -> list[str]:
    import os

    if not os.path.isdir(folder):
        _readable(folder, "Error loading CA Path: ")
        return [folder]
    found = sorted(os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)
    if not found:
        raise ConfigurationError(f"Error loading CA Path: no CAs found in {folder}")
    return found


def _host_and_port(text: str, default: int) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    no_port = ":" not in text or text.endswith("]") or ":" in host and not host.startswith("[")
    if no_port:
        host, port = text, str(default)
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigurationError(f"invalid port in address {text}")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def _is_true(environ: Mapping[str, str], name: str, default: bool) -> bool:
    text = environ.get(name, "")
    if not text:
        return default
    if text.lower() in ("1", "t", "true"):
        return True
    if text.lower() in ("0", "f", "false"):
        return False
    raise ConfigurationError(f"{name}: not a truth value: {text}")
