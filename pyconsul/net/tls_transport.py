"""TLS over any transport: Twisted's, with shorter ways where nothing has to be waited for.

Importing this loads OpenSSL, so only ``pyconsul.net.tls`` does, once there is something to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from OpenSSL.crypto import X509StoreFlags
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from cryptography import x509

    from pyconsul.net.tls import Failed

RECORD_HEADER = 5
RECORD_MAX = 16_384
SEALED_MAX = RECORD_MAX + 512
APPLICATION_DATA = 23
INVALID_PURPOSE = 26
LINGER_S = 1.0
"""How long the peer has, after it was told why there is no TLS, to close the connection itself."""


UNKNOWN = "x509: certificate signed by unknown authority"
PROBLEMS = {
    **dict.fromkeys((2, 7, 18, 19, 20, 21), UNKNOWN),
    9: "x509: certificate is not yet valid",
    10: "x509: certificate has expired",
    INVALID_PURPOSE: "x509: certificate specifies an incompatible key usage",
    47: "x509: certificate is for a name that its authority may not vouch for",
    79: "x509: certificate of an authority that is none",
}
"""Numbers of OpenSSL's (``X509_V_ERR_*``) in the words of Go programs."""

CLOSED = "the peer closed the connection"
REASONS = {
    "wrong version number": "the peer does not speak TLS",
    "packet length too long": "the peer does not speak TLS",
    "http request": "the peer speaks HTTP without TLS",
    "unexpected eof while reading": CLOSED,
    "peer did not return a certificate": "the peer shows no certificate",
    "no shared cipher": "no cipher suite in common",
    "unsupported protocol": "no version of TLS in common",
}
ALERT = " alert "

HTTP_METHODS = (b"GET ", b"PUT ", b"POST", b"DELE", b"HEAD", b"OPTI", b"PATC")
NOT_HTTPS = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"


def believe(context: SSL.Context, authorities: Sequence[x509.Certificate], any_use: bool) -> None:
    """Have connections demand a certificate that one of ``authorities`` has signed.

    :param any_use: do not look at what it is for: a client's will do where a server's is shown.
    """
    from OpenSSL.crypto import X509

    store = context.get_cert_store()
    assert store is not None
    for authority in authorities:
        store.add_cert(X509.from_cryptography(authority))
    store.set_flags(X509StoreFlags.PARTIAL_CHAIN)  # an authority in the middle is one, too

    def verified(connection: SSL.Connection, _: object, number: int, depth: int, good: int) -> bool:
        if good or (any_use and number == INVALID_PURPOSE and depth == 0):
            return True
        transport = connection.get_app_data()
        if transport is not None:
            transport.problem = PROBLEMS.get(number, f"x509: certificate is not valid (error {number})")
        return False

    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verified)


def explain(error: BaseException) -> str:
    """Why a handshake failed, for people."""
    if isinstance(error, ConnectionClosed):
        return CLOSED
    if not isinstance(error, SSL.Error):
        return str(error)
    found = error.args[0] if error.args else ()
    reason = found[-1][-1] if found and isinstance(found, list) else ""
    if ALERT in reason:
        return f"the peer refused: {reason.partition(ALERT)[2]}"
    return REASONS.get(reason, reason or CLOSED)


def name_problem(transport: Any, name: str) -> str:
    """Why the peer's certificate is not for ``name``; empty if it is."""
    from service_identity import CertificateError, VerificationError
    from service_identity.pyopenssl import verify_hostname

    if transport.getPeerCertificate() is None:
        return "the peer shows no certificate"
    try:
        verify_hostname(transport.getHandle(), name)
    except (VerificationError, CertificateError, ValueError):
        return f"x509: certificate is not valid for {name}"
    return ""


@implementer(ISSLTransport)
class TlsTransport(TLSMemoryBIOProtocol):
    """TLS around a protocol, whose transport this is.

    :ivar problem: why the peer's certificate was not believed.
    :ivar plain: the transport below.
    :ivar lingers: the peer may read why it is refused before the connection is closed.
    :ivar tells_of_all: also of those who close the connection without a word.
    :ivar heard: whether the peer said anything at all that may be TLS.
    """

    problem = ""
    heard = False
    first = b""
    name = ""
    name_checked = False
    plain: Any = None
    lingers = False
    tells_of_all = True
    _ending = False
    _limit: IDelayedCall | None = None
    _told = False

    def __init__(self, factory: TlsFactory, wrapped: Any, connect: bool = True) -> None:
        super().__init__(factory, wrapped, connect)
        self.failed = factory.failed

    # ------------------------------------------------------------ the handshake

    def makeConnection(self, transport: Any) -> None:
        """Say what goes before TLS, and begin; the handshake has to be done in time."""
        self.plain = transport
        if self.first:
            transport.write(self.first)
        factory: Any = self.factory
        if factory.timeout_s > 0:
            self._limit = factory.clock.callLater(factory.timeout_s, self._too_late)
        super().makeConnection(transport)

    def _too_late(self) -> None:
        self._limit = None
        if not self._handshakeDone:
            self.problem = self.problem or "the TLS handshake takes too long"
            self.abortConnection()

    def _checkHandshakeStatus(self) -> None:
        super()._checkHandshakeStatus()
        if self._handshakeDone:
            self._in_time()
            if self.name_checked and (problem := name_problem(self, self.name)):
                self._handshakeDone = False
                self.problem = problem
                self.abortConnection()

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:
        """There is no handshake: tell the peer why, and let it read that.

        It may have sent more meanwhile. Closing at once would then make the kernel reset the connection,
        and what we say could be lost.
        """
        lingers = self.lingers and not (self._handshakeDone or self._ending or reason is None)
        if not lingers or not hasattr(self.plain, "loseWriteConnection"):
            super()._tlsShutdownFinished(reason)
        elif not self._lostTLSConnection:
            self._in_time()
            self._reason = reason
            self._lostTLSConnection = True
            self._tell()
            self._flushSendBIO()
            factory: Any = self.factory
            self._limit = factory.clock.callLater(LINGER_S, self.plain.abortConnection)
            self.plain.loseWriteConnection()

    def _tell(self) -> None:
        """Say why there was no handshake, if there was none."""
        if not self._handshakeDone and not self._told:
            self._told = True
            cause = self._reason.value if self._reason is not None else SSL.Error()
            why = self.problem or explain(cause)
            if why != CLOSED or self.tells_of_all:
                self.failed(self.plain.getPeer(), why)

    def _in_time(self) -> None:
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        self._limit = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over; the protocol hears it."""
        self._in_time()
        self._ending = True
        self._tell()
        super().connectionLost(reason)

    # ------------------------------------------------------------ bytes

    def dataReceived(self, data: bytes) -> None:
        """A whole record is opened and passed on at once; Twisted would look for another one first."""
        if self._lostTLSConnection:
            return
        if (
            not self._handshakeDone
            or self._appSendBuffer
            or data[0] != APPLICATION_DATA
            or len(data) < RECORD_HEADER
            or len(data) != RECORD_HEADER + (data[3] << 8 | data[4])
        ):
            self.heard = self.heard or data[0] in (21, 22)
            super().dataReceived(data)
            return
        connection: Any = self._tlsConnection
        connection.bio_write(data)
        try:
            plain = connection.recv(RECORD_MAX)
        except (SSL.WantReadError, SSL.ZeroReturnError):
            self._flushReceiveBIO()  # which hears the same again, and knows what to do
            return
        except SSL.Error:
            self._tlsShutdownFinished(Failure())
            return
        if not self._aborted:
            self.wrappedProtocol.dataReceived(plain)

    def _write(self, data: bytes) -> None:
        """Seal and send at once what fits into a record."""
        if self._lostTLSConnection:
            return
        if len(data) > RECORD_MAX or not self._handshakeDone or self._appSendBuffer:
            super()._write(data)
            return
        connection: Any = self._tlsConnection
        try:
            connection.send(data)
        except SSL.Error:  # not that it wants to read first: there is no renegotiation
            self._tlsShutdownFinished(Failure())
            return
        self.plain.write(connection.bio_read(SEALED_MAX))


class TlsFactory(TLSMemoryBIOFactory):
    """What ``TlsTransport`` needs around it.

    :param make: makes OpenSSL's side of a connection.
    """

    protocol = TlsTransport

    def __init__(
        self,
        make: Callable[[Any], SSL.Connection],
        inner: Any,
        clock: IReactorTime,
        failed: Failed,
        timeout_s: float,
    ) -> None:
        self.wrappedFactory = inner
        self.protocols = {}
        self.clock = self._clock = clock
        self.failed = failed
        self.timeout_s = timeout_s
        self._creatorCallable = make


def _side(context: SSL.Context, transport: TlsTransport, incoming: bool) -> SSL.Connection:
    connection = SSL.Connection(context, None)
    connection.set_app_data(transport)
    if incoming:
        connection.set_accept_state()
    else:
        connection.set_connect_state()
        if transport.name:
            connection.set_tlsext_host_name(transport.name.encode("utf-8"))
    return connection


def incoming(
    context: SSL.Context,
    inner: Protocol,
    clock: IReactorTime,
    failed: Failed,
    timeout_s: float,
) -> TlsTransport:
    """TLS for a connection that came in, around ``inner``."""
    factory = TlsFactory(lambda transport: _side(context, transport, True), None, clock, failed, timeout_s)
    transport = TlsTransport(factory, inner)
    transport.lingers = True
    return transport


def outgoing(
    context: SSL.Context,
    inner: Protocol,
    clock: IReactorTime,
    failed: Failed,
    timeout_s: float,
    *,
    name: str,
    checked: bool,
    first: bytes,
) -> TlsTransport:
    """TLS for a connection that we made, around ``inner``.

    :param name: to ask for; if ``checked`` the certificate has to be for it.
    :param first: what goes before TLS.
    """
    factory = TlsFactory(lambda transport: _side(context, transport, False), None, clock, failed, timeout_s)
    transport = TlsTransport(factory, inner)
    transport.name, transport.name_checked, transport.first = name, checked, first
    return transport


class HttpsTransport(TlsTransport):
    """TLS for HTTP: who speaks it without is told so."""

    lingers = True
    tells_of_all = False

    def dataReceived(self, data: bytes) -> None:
        """See ``TlsTransport``; only the first bytes are looked at."""
        if not self.heard and not self._handshakeDone and data[:4] in HTTP_METHODS:
            self.problem = "the peer speaks HTTP without TLS"
            self._aborted = True  # nothing of it is for the protocol
            self.plain.write(NOT_HTTPS)
            self.plain.loseConnection()
            return
        super().dataReceived(data)


class HttpsFactory(TlsFactory):
    """HTTPS connections around those that ``inner`` makes.

    :param context: gives the settings of the next one.
    """

    protocol = HttpsTransport

    def __init__(
        self,
        context: Callable[[], SSL.Context],
        inner: Any,
        clock: IReactorTime,
        failed: Failed,
        timeout_s: float,
    ) -> None:
        super().__init__(lambda transport: _side(context(), transport, True), inner, clock, failed, timeout_s)
