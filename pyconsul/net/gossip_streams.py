"""The streams of a gossip pool: one request and at most one answer each, plain or inside TLS.

memberlist knows no TLS. Its streams begin with the type of a message, of which none is the byte that TLS
begins with, so both are taken on one port. Whether to speak TLS to somebody is known from a tag of his; of
whom nothing is known yet, as when joining, TLS is tried, and if what comes back cannot be TLS, or nothing
does, it is tried without. Encryption by gossip's own keys goes on inside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from pyconsul.errors import PyconsulError, Unreachable
from pyconsul.interfaces import Address
from pyconsul.net.tls import GOSSIP, HANDSHAKE_BYTE, Tls, why_lost
from pyconsul.swim.address import join_host_port
from pyconsul.swim.stream import StreamFramer
from pyconsul.swim.wire import DecodeError

if TYPE_CHECKING:
    from pyconsul.net.gossip_transport import UdpTcpGossipTransport


class IncomingFactory(Factory):
    """Makes the streams that come in."""

    noisy = False

    def __init__(self, owner: UdpTcpGossipTransport) -> None:
        self._owner = owner

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """See ``IProtocolFactory``."""
        if self._owner.full:
            return None
        assert isinstance(addr, (IPv4Address, IPv6Address))
        return IncomingStream(self._owner, (addr.host, addr.port))


class IncomingStream(Protocol):
    """One request and its answer, plain or inside TLS, as the first byte tells."""

    def __init__(self, owner: UdpTcpGossipTransport, peer: Address) -> None:
        self._owner = owner
        self.peer = peer
        self._framer: StreamFramer | None = StreamFramer()
        self._limit: IDelayedCall | None = None
        self._begun = False
        self._tls: Protocol | None = None

    def limit(self, call: IDelayedCall) -> None:
        """``call`` ends the stream; it is cancelled when the stream ends by itself."""
        self._limit = call

    def connectionMade(self) -> None:
        """Count it."""
        self._owner.opened(self)

    def dataReceived(self, data: bytes) -> None:
        """Bytes from outside."""
        if self._tls is not None:
            self._tls.dataReceived(data)
        elif self._begun or data[:1] != HANDSHAKE_BYTE:
            self._begun = True
            self.take(data, self.transport)
        else:
            self._speak_tls(data)

    def _speak_tls(self, data: bytes) -> None:
        tls = self._owner.tls
        if tls is None or not tls.serves:
            self._owner.refuse(self, "it speaks TLS, but this agent has no certificate (cert_file, key_file)")
            self.abort()
            return
        timeout_s = self._owner.stream_timeout_s
        self._tls = tls.server(GOSSIP, _Inside(self), self._no_tls, timeout_s)
        self._tls.makeConnection(self.transport)
        self._tls.dataReceived(data)

    def _no_tls(self, peer: object, why: str) -> None:
        self._owner.refuse(self, f"TLS: {why}")

    def take(self, data: bytes, transport: Any) -> None:
        """Bytes of the request; the answer goes to ``transport``."""
        if self._framer is None:
            return
        try:
            request = self._framer.feed(data)
        except DecodeError:
            self._framer = None
            self.abort()
            return
        if request is None:
            return
        self._framer = None
        answer = self._owner.serve(self, request)
        if answer:
            transport.write(answer)
        transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over."""
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        self._owner.closed(self)
        if self._tls is not None:
            self._tls.connectionLost(reason)

    def abort(self) -> None:
        """Close without waiting for anything."""
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]


class _Inside(Protocol):
    """What comes out of TLS."""

    def __init__(self, stream: IncomingStream) -> None:
        self._stream = stream

    def dataReceived(self, data: bytes) -> None:
        self._stream.take(data, self.transport)


class StreamExchange(ClientFactory):
    """One request to somebody else, and what becomes of it.

    :param tls: speak TLS, if there is one.
    :param may_be_plain: if nobody answers in TLS, try without.
    """

    noisy = False

    def __init__(
        self,
        reactor: Any,
        request: bytes,
        to: Address,
        answer: bool,
        tls: Tls | None = None,
        may_be_plain: bool = True,
    ) -> None:
        self._reactor = reactor
        self._to = to
        self._tls = tls
        self._may_be_plain = may_be_plain
        self.request = request
        self.answer = answer
        self.done: Deferred[bytes] = Deferred(lambda _: self.fail(Unreachable("cancelled")))
        self._finished: Callable[[StreamExchange], None] | None = None
        self._timer: IDelayedCall | None = None
        self._timeout_s = 0.0
        self._connector: Any = None
        self._stream: Protocol | None = None
        self._outer: Any = None

    def start(self, timeout_s: float, finished: Callable[[StreamExchange], None]) -> None:
        """Connect; all of it may take ``timeout_s``."""
        self._finished = finished
        self._timeout_s = timeout_s
        self._timer = self._reactor.callLater(timeout_s, self._timed_out)
        self._connect()

    def _connect(self) -> None:
        host, port = self._to
        self._connector = self._reactor.connectTCP(host, port, self, timeout=self._timeout_s)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """See ``IProtocolFactory``."""
        self._stream = stream = _OutgoingStream(self)
        if self._tls is None:
            return stream
        self._outer = self._tls.client(GOSSIP, stream, self._no_tls, timeout_s=self._timeout_s)
        return self._outer  # type: ignore[no-any-return]

    def _no_tls(self, peer: object, why: str) -> None:
        """There was no handshake; who said nothing that may be TLS is perhaps one who does not speak it."""
        self._stream = None  # nothing that it says counts any more
        if self._finished is None:
            return
        if self._may_be_plain and not self._outer.heard:
            self._tls = None
            self._connect()
        else:
            self.fail(self._problem(f"TLS: {why}"))

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """Nobody is there."""
        self.fail(self._problem(_dial_error(reason)))

    def _timed_out(self) -> None:
        self.fail(self._problem("i/o timeout"))

    def _problem(self, why: str) -> Unreachable:
        return Unreachable(f"dial tcp {join_host_port(*self._to)}: {why}")

    def lost(self, stream: Protocol, reason: Failure) -> None:
        """A stream ended before its answer."""
        if stream is not self._stream:
            return
        if not self.answer:
            self.succeed(b"")
        elif self._tls is None or reason.check(ConnectionClosed):
            self.fail(Unreachable("EOF"))
        else:
            self.fail(self._problem(f"TLS: {why_lost(reason)}"))

    def succeed(self, answer: bytes) -> None:
        """The answer is there."""
        if self._settle():
            self.done.callback(answer)

    def fail(self, problem: PyconsulError) -> None:
        """There will be no answer."""
        if self._settle():
            self.done.errback(problem)

    def _settle(self) -> bool:
        if self._finished is None:
            return False
        finished, self._finished = self._finished, None
        finished(self)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._connector is not None:
            self._connector.disconnect()
        return True


class _OutgoingStream(Protocol):
    def __init__(self, exchange: StreamExchange) -> None:
        self._exchange = exchange
        self._framer = StreamFramer()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._exchange.request)
        if not self._exchange.answer:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        try:
            answer = self._framer.feed(data)
        except DecodeError as problem:
            self._exchange.fail(problem)
            return
        if answer is not None:
            self._exchange.succeed(answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._exchange.lost(self, reason)


def _dial_error(reason: Failure) -> str:
    """Why a connection could not be made, as Go programs say it."""
    if isinstance(reason.value, error.ConnectionRefusedError):
        return "connect: connection refused"
    if isinstance(reason.value, error.TimeoutError | error.TCPTimedOutError):
        return "i/o timeout"
    if isinstance(reason.value, error.NoRouteError):
        return "connect: no route to host"
    return f"connect: {reason.getErrorMessage()}"
