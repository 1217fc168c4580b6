"""Gossip over real sockets: one UDP socket and one TCP listener on the same address and port."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHostResolution,
    IListeningPort,
    IResolutionReceiver,
)
from twisted.internet.protocol import ClientFactory, DatagramProtocol, Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from pyconsul.errors import PyconsulError, Unreachable
from pyconsul.interfaces import Address
from pyconsul.log import make_logger
from pyconsul.swim.address import is_literal, join_host_port
from pyconsul.swim.stream import StreamFramer
from pyconsul.swim.wire import DecodeError

_PACKET_MAX = 65536
_RECEIVE_BUFFER = 2 << 20
_RECEIVE_BUFFER_MIN = 64 << 10
_INCOMING_MAX = 128
"""Streams served at a time; further ones are dropped."""

_PORT_TRIES = 16


class UdpTcpGossipTransport:
    """``GossipTransport`` over UDP and TCP.

    :ivar address: where it listens; the port is known once it has started.
    :ivar packet_received: what takes packets.
    :ivar stream_received: what answers stream requests.
    :param port: 0 for any that is free.
    :param stream_timeout_s: how long an incoming stream may take.
    """

    def __init__(self, reactor: Any, host: str, port: int, stream_timeout_s: float = 10.0) -> None:
        self._log = make_logger("gossip")
        self._reactor = reactor
        self._stream_timeout_s = stream_timeout_s
        self.address: Address = (host, port)
        self.packet_received: Callable[[bytes, Address], None] = lambda packet, source: None
        self.stream_received: Callable[[bytes, Address], bytes | None] = lambda request, source: None
        self._packets = _Packets(self)
        self._ports: list[IListeningPort] = []
        self._incoming: set[_IncomingStream] = set()
        self._outgoing: set[_Exchange] = set()

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Listen.

        :raises twisted.internet.error.CannotListenError: if the address or the port is taken.
        """
        host, port = self.address
        tries = 1 if port else _PORT_TRIES
        while True:
            tries -= 1
            tcp = self._reactor.listenTCP(port, _IncomingFactory(self), backlog=_INCOMING_MAX, interface=host)
            found = port or tcp.getHost().port
            try:
                udp = self._reactor.listenUDP(found, self._packets, interface=host, maxPacketSize=_PACKET_MAX)
            except error.CannotListenError:
                tcp.stopListening()
                if not tries:
                    raise
                continue
            self._ports = [tcp, udp]
            self.address = (host, found)
            self._enlarge_buffer(udp)
            return

    @staticmethod
    def _enlarge_buffer(port: Any) -> None:
        """A burst of packets must not be lost while the reactor is busy."""
        handle = getattr(port, "socket", None)
        size = _RECEIVE_BUFFER
        while handle is not None and size >= _RECEIVE_BUFFER_MIN:
            try:
                handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
            except OSError:
                size //= 2
            else:
                return

    def stop(self) -> Deferred[None]:
        """Close everything at once; fires when the port is free again."""
        ports, self._ports = self._ports, []
        for stream in list(self._incoming):
            stream.abort()
        for exchange in list(self._outgoing):
            exchange.fail(Unreachable("shutting down"))
        return gatherResults([maybeDeferred(port.stopListening) for port in ports]).addCallback(_nothing)

    # ------------------------------------------------------------ packets

    def send(self, packet: bytes, to: Address) -> None:
        """Send a packet; what goes wrong is as if it were lost on the way."""
        transport = self._packets.transport
        if transport is None or not self._ports:
            return
        try:
            transport.write(packet, to)
        except (OSError, ValueError, error.MessageLengthError) as problem:
            self._log.debug("cannot send to {host}: {why}", host=to[0], why=problem)

    # ------------------------------------------------------------ streams

    def exchange(self, request: bytes, to: Address, timeout_s: float, answer: bool) -> Deferred[bytes]:
        """Send a stream request; fires with the whole answer, empty if ``answer`` is false.

        It fails with ``Unreachable``, or ``DecodeError`` if the answer cannot be followed.
        """
        exchange = _Exchange(self._reactor, request, to, answer)
        self._outgoing.add(exchange)
        exchange.start(timeout_s, self._outgoing.discard)
        return exchange.done

    def serve(self, stream: _IncomingStream, request: bytes) -> bytes | None:
        """The answer to a request that came in; errors are logged and give none."""
        try:
            return self.stream_received(request, stream.peer)
        except Exception:
            self._log.failure("a gossip stream broke the node's state")
            return None

    def deliver(self, packet: bytes, source: Address) -> None:
        """Hand a packet on; errors are logged."""
        try:
            self.packet_received(packet, source)
        except Exception:
            self._log.failure("a gossip packet broke the node's state")

    def opened(self, stream: _IncomingStream) -> None:
        """A stream came in."""
        self._incoming.add(stream)
        stream.limit(self._reactor.callLater(self._stream_timeout_s, stream.abort))

    def closed(self, stream: _IncomingStream) -> None:
        """It is gone."""
        self._incoming.discard(stream)

    @property
    def full(self) -> bool:
        """Whether no more streams are taken."""
        return len(self._incoming) >= _INCOMING_MAX


class _Packets(DatagramProtocol):
    """The UDP side."""

    def __init__(self, owner: UdpTcpGossipTransport) -> None:
        self._owner = owner

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self._owner.deliver(datagram, (addr[0], addr[1]))


class _IncomingFactory(Factory):
    noisy = False

    def __init__(self, owner: UdpTcpGossipTransport) -> None:
        self._owner = owner

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        if self._owner.full:
            return None
        assert isinstance(addr, (IPv4Address, IPv6Address))
        return _IncomingStream(self._owner, (addr.host, addr.port))


class _IncomingStream(Protocol):
    """One request and its answer."""

    def __init__(self, owner: UdpTcpGossipTransport, peer: Address) -> None:
        self._owner = owner
        self.peer = peer
        self._framer: StreamFramer | None = StreamFramer()
        self._limit: IDelayedCall | None = None

    def limit(self, call: IDelayedCall) -> None:
        """``call`` ends the stream; it is cancelled when the stream ends by itself."""
        self._limit = call

    def connectionMade(self) -> None:
        self._owner.opened(self)

    def dataReceived(self, data: bytes) -> None:
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
        assert self.transport is not None
        if answer:
            self.transport.write(answer)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        self._owner.closed(self)

    def abort(self) -> None:
        """Close without waiting for anything."""
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]


class _Exchange(ClientFactory):
    """One request to somebody else, and what becomes of it."""

    noisy = False

    def __init__(self, reactor: Any, request: bytes, to: Address, answer: bool) -> None:
        self._reactor = reactor
        self._to = to
        self.request = request
        self.answer = answer
        self.done: Deferred[bytes] = Deferred(lambda _: self.fail(Unreachable("cancelled")))
        self._finished: Callable[[_Exchange], None] | None = None
        self._timer: IDelayedCall | None = None
        self._connector: Any = None

    def start(self, timeout_s: float, finished: Callable[[_Exchange], None]) -> None:
        """Connect; all of it may take ``timeout_s``."""
        self._finished = finished
        host, port = self._to
        self._timer = self._reactor.callLater(timeout_s, self._timed_out)
        self._connector = self._reactor.connectTCP(host, port, self, timeout=timeout_s)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return _OutgoingStream(self)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.fail(Unreachable(f"dial tcp {join_host_port(*self._to)}: {_dial_error(reason)}"))

    def _timed_out(self) -> None:
        self.fail(Unreachable(f"dial tcp {join_host_port(*self._to)}: i/o timeout"))

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
    def __init__(self, exchange: _Exchange) -> None:
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
        if self._exchange.answer:
            self._exchange.fail(Unreachable("EOF"))
        else:
            self._exchange.succeed(b"")


def _nothing(_: object) -> None:
    return None


def _dial_error(reason: Failure) -> str:
    """Why a connection could not be made, as Go programs say it."""
    if isinstance(reason.value, error.ConnectionRefusedError):
        return "connect: connection refused"
    if isinstance(reason.value, error.TimeoutError | error.TCPTimedOutError):
        return "i/o timeout"
    if isinstance(reason.value, error.NoRouteError):
        return "connect: no route to host"
    return f"connect: {reason.getErrorMessage()}"


def reactor_resolver(reactor: Any) -> Callable[[str], Deferred[Sequence[str]]]:
    """A resolver of host names for ``GossipPool``, by the reactor's own."""

    def resolve(host: str) -> Deferred[Sequence[str]]:
        if is_literal(host):  # the reactor would start a thread even for these
            return succeed([host])
        receiver = _Addresses(host)
        reactor.nameResolver.resolveHostName(receiver, host)
        return receiver.done

    return resolve


@implementer(IResolutionReceiver)
class _Addresses:
    """Collects the addresses of a host."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._found: list[str] = []
        self.done: Deferred[Sequence[str]] = Deferred()

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None: ...

    def addressResolved(self, address: IAddress) -> None:
        host = getattr(address, "host", "")
        if host and host not in self._found:
            self._found.append(host)

    def resolutionComplete(self) -> None:
        if self._found:
            self.done.callback(self._found)
        else:
            self.done.errback(Unreachable(f"lookup {self._host}: no such host"))
