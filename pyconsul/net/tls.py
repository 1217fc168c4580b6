"""TLS between agents and towards clients: from settings and files to connections.

================  =======================================================================
``verify_*``      what it means
================  =======================================================================
outgoing          we speak TLS to servers, and their certificate has to be of our CA
server hostname   and be for ``server.DATACENTER.DOMAIN``
incoming, rpc     who connects to the server port has to speak TLS with such a certificate
incoming, https   whoever connects to the HTTPS port has to have one
================  =======================================================================

Without ``incoming`` a server takes both, plain and TLS, as soon as it has a certificate, so that a
datacenter can be moved over step by step. Nothing here loads OpenSSL before there is something to do.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

from pyconsul.errors import ConfigurationError, NotSent
from pyconsul.late_tls import provide as provide_tls
from pyconsul.net.tls_files import NO_CREDENTIALS, Credentials, Reader, TlsFiles, load_credentials

if TYPE_CHECKING:
    from OpenSSL import SSL
    from twisted.internet.interfaces import IReactorTime
    from twisted.internet.protocol import Protocol
    from twisted.python.failure import Failure

    from pyconsul.net.tls_transport import TlsTransport

TLS_BYTE = b"\x03"
"""The first byte of a connection to the server port that goes on with TLS, Consul's own."""

HANDSHAKE_BYTE = b"\x16"
"""How TLS itself begins."""

Failed: TypeAlias = Callable[[Any, str], None]
"""Told with whom a handshake went wrong, an ``IAddress``, and why."""

HTTP_1_1 = b"http/1.1"
HANDSHAKE_TIMEOUT_S = 5.0
VERSIONS = {
    "tls10": "TLS1_VERSION",
    "tls11": "TLS1_1_VERSION",
    "tls12": "TLS1_2_VERSION",
    "tls13": "TLS1_3_VERSION",
}
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:RSA+AESGCM:RSA+AES:!aNULL:!eNULL:!MD5"
WEAK = ":@SECLEVEL=0"
"""What OpenSSL wants to hear before it speaks versions below 1.2."""

RPC, HTTPS, GOSSIP = "rpc", "https", "gossip"


class TlsFailed(NotSent):
    """There is no TLS between us and a server; the text says why."""


class TlsOptions(Struct, frozen=True, kw_only=True):
    """What the configuration says of TLS.

    :ivar ciphers: names of OpenSSL's, up to TLS 1.2; empty: good ones.
    :ivar server_name: what to ask servers for where their names are not checked.
    :ivar domain: without a dot at its end.
    """

    files: TlsFiles = TlsFiles()
    verify_incoming_rpc: bool = False
    verify_incoming_https: bool = False
    verify_outgoing: bool = False
    verify_server_hostname: bool = False
    min_version: str = "tls12"
    ciphers: tuple[str, ...] = ()
    prefer_server_ciphers: bool = False
    server_name: str = ""
    domain: str = "consul"


class TlsState(Struct, frozen=True):
    """Options, and what was in the files then."""

    options: TlsOptions = TlsOptions()
    credentials: Credentials = NO_CREDENTIALS


class Tls:
    """TLS of one agent. What connects after ``take`` has the new settings, what is open stays.

    :ivar state: what is in force.
    :param reader: reads the files.
    """

    def __init__(self, reader: Reader, clock: IReactorTime, options: TlsOptions | None = None) -> None:
        """Read the files of ``options``; raises ``ConfigurationError``."""
        self._reader = reader
        self._clock = clock
        self._contexts: dict[tuple[str, bool], SSL.Context] = {}
        self.state = TlsState()
        if options is not None:
            self.take(self.read(options))

    def read(self, options: TlsOptions) -> TlsState:
        """What would be in force with these options; changes nothing.

        :raises ConfigurationError: if it cannot be.
        """
        state = TlsState(options, load_credentials(options.files, self._reader))
        if options.verify_outgoing and not state.credentials.authorities:
            raise ConfigurationError("VerifyOutgoing set, and no CA certificate provided!")
        if options.verify_incoming_rpc or options.verify_incoming_https:
            if not state.credentials.authorities:
                raise ConfigurationError("VerifyIncoming set but no CA certificates were provided")
            if not state.credentials.chain:
                raise ConfigurationError("VerifyIncoming requires a Cert and Key pair")
        if state.credentials.chain:
            _make_context(state, RPC, True)  # which fails if OpenSSL takes something amiss
        return state

    def take(self, state: TlsState) -> None:
        """Go by these from now on."""
        self.state = state
        self._contexts = {}

    # ------------------------------------------------------------ what there is

    @property
    def serves(self) -> bool:
        """Whether we can be spoken TLS to: there is a certificate to show."""
        return bool(self.state.credentials.chain)

    @property
    def dials(self) -> bool:
        """Whether we speak TLS to others."""
        return self.state.options.verify_outgoing

    @property
    def required(self) -> bool:
        """Whether the server port takes nothing else."""
        return self.state.options.verify_incoming_rpc

    def _context(self, use: str, incoming: bool) -> SSL.Context:
        found = self._contexts.get((use, incoming))
        if found is None:
            found = self._contexts[use, incoming] = _make_context(self.state, use, incoming)
        return found

    # ------------------------------------------------------------ connections

    def server(
        self,
        use: str,
        inner: Protocol,
        failed: Failed,
        timeout_s: float = HANDSHAKE_TIMEOUT_S,
    ) -> TlsTransport:
        """TLS for a connection that came in, around ``inner``.

        :param use: ``RPC`` or ``GOSSIP``; for HTTPS there is ``https_factory``.
        """
        made: TlsTransport = _library().incoming(
            self._context(use, True), inner, self._clock, failed, timeout_s
        )
        return made

    def client(
        self,
        use: str,
        inner: Protocol,
        failed: Failed,
        datacenter: str = "",
        first: bytes = b"",
        timeout_s: float = HANDSHAKE_TIMEOUT_S,
    ) -> TlsTransport:
        """TLS for a connection that we made, around ``inner``.

        :param datacenter: of the server, whose certificate has to be for it if that is wanted.
        :param first: what goes before TLS.
        """
        options = self.state.options
        checked = use == RPC and options.verify_server_hostname
        name = server_name(datacenter, options.domain) if checked else options.server_name
        made: TlsTransport = _library().outgoing(
            self._context(use, False), inner, self._clock, failed, timeout_s,
            name=name, checked=checked, first=first,
        )  # fmt: skip
        return made

    def https_factory(self, inner: Any, failed: Failed, timeout_s: float) -> Any:
        """A factory of HTTPS connections around those of ``inner``.

        Of those who only connect and close again, as load balancers do, ``failed`` is not told.
        """
        return _library().HttpsFactory(
            lambda: self._context(HTTPS, True), inner, self._clock, failed, timeout_s
        )

    def may_serve(self, transport: Any, datacenter: str) -> bool:
        """Whether who connected by TLS may act as a server of ``datacenter``: send messages of Raft.

        A client's certificate is not enough where servers have to have certificates of their own.
        """
        options = self.state.options
        if not (options.verify_server_hostname and options.verify_incoming_rpc):
            return True
        return not _library().name_problem(transport, server_name(datacenter, options.domain))


def why_lost(reason: Failure) -> str:
    """Why a TLS connection was lost, for people."""
    text: str = _library().explain(reason.value)
    return text


def _library() -> Any:
    """The module that needs OpenSSL."""
    provide_tls()
    return import_module("pyconsul.net.tls_transport")


def server_name(datacenter: str, domain: str) -> str:
    """What the certificates of a datacenter's servers are for."""
    return f"server.{datacenter}.{domain}"


def _make_context(state: TlsState, use: str, incoming: bool) -> SSL.Context:
    """Settings of one kind of connection.

    :raises ConfigurationError: if OpenSSL refuses them.
    """
    library = _library()
    from OpenSSL import SSL

    options, credentials = state.options, state.credentials
    context = SSL.Context(SSL.TLS_METHOD)
    try:
        version = options.min_version or "tls12"
        context.set_min_proto_version(getattr(SSL, VERSIONS[version]))
        ciphers = ":".join(options.ciphers) or CIPHERS
        context.set_cipher_list((ciphers + (WEAK if version in ("tls10", "tls11") else "")).encode())
        if options.prefer_server_ciphers:
            context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
        context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # a resumed session is not verified again
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        if credentials.chain:
            context.use_certificate(credentials.chain[0])
            for certificate in credentials.chain[1:]:
                context.add_extra_chain_cert(certificate)
            context.use_privatekey(credentials.key)
    except SSL.Error as error:
        raise ConfigurationError(f"Failed to load cert/key pair: tls: {library.explain(error)}") from None
    verify = {
        HTTPS: options.verify_incoming_https, RPC: options.verify_incoming_rpc,
        GOSSIP: options.verify_incoming_rpc,
    }[use] if incoming else True  # fmt: skip
    if verify:
        library.believe(context, credentials.authorities, any_use=use == GOSSIP)
    if use == HTTPS:
        context.set_alpn_select_callback(
            lambda _, offered: HTTP_1_1 if HTTP_1_1 in offered else SSL.NO_OVERLAPPING_PROTOCOLS
        )
    return context
