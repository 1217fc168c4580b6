"""Gossip over real sockets: one UDP socket and one TCP listener on the same address and port.

What its streams are is in ``pyconsul.net.gossip_streams``.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IListeningPort,
    IResolutionReceiver,
)
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from pyconsul.errors import Unreachable
from pyconsul.interfaces import Address
from pyconsul.log import make_logger
from pyconsul.net.bounded_lines import BoundedLines
from pyconsul.net.gossip_streams import IncomingFactory, IncomingStream, StreamExchange
from pyconsul.net.tls import Tls
from pyconsul.swim.address import is_literal, join_host_port

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
    :ivar speaks_tls: see ``GossipTransport``.
    :ivar tls: the agent's.
    :param stream_timeout_s: how long an incoming stream may take.
    """

    def __init__(
        self, reactor: Any, host: str, port: int, stream_timeout_s: float = 10.0, tls: Tls | None = None
    ) -> None:
        self._log = make_logger("gossip")
        self.tls = tls
        self.speaks_tls: Callable[[Address], bool | None] = lambda to: False
        self._refusals = BoundedLines(reactor, lambda text: self._log.warn("{text}", text=text))
        self._reactor = reactor
        self._stream_timeout_s = stream_timeout_s
        self.address: Address = (host, port)
        self.packet_received: Callable[[bytes, Address], None] = lambda packet, source: None
        self.stream_received: Callable[[bytes, Address], bytes | None] = lambda request, source: None
        self._packets = _Packets(self)
        self._ports: list[IListeningPort] = []
        self._incoming: set[IncomingStream] = set()
        self._outgoing: set[StreamExchange] = set()

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Listen.

        :raises twisted.internet.error.CannotListenError: if the address or the port is taken.
        """
        host, port = self.address
        tries = 1 if port else _PORT_TRIES
        while True:
            tries -= 1
            tcp = self._reactor.listenTCP(port, IncomingFactory(self), backlog=_INCOMING_MAX, interface=host)
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
        tls = self.tls if self.tls is not None and self.tls.dials else None
        speaks = self.speaks_tls(to) if tls is not None else False
        exchange = StreamExchange(
            self._reactor, request, to, answer, None if speaks is False else tls, not speaks
        )
        self._outgoing.add(exchange)
        exchange.start(timeout_s, self._outgoing.discard)
        return exchange.done

    def serve(self, stream: IncomingStream, request: bytes) -> bytes | None:
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

    def opened(self, stream: IncomingStream) -> None:
        """A stream came in."""
        self._incoming.add(stream)
        stream.limit(self._reactor.callLater(self._stream_timeout_s, stream.abort))

    def closed(self, stream: IncomingStream) -> None:
        """It is gone."""
        self._incoming.discard(stream)

    def refuse(self, stream: IncomingStream, why: str) -> None:
        """A stream is closed without an answer; say so."""
        self._refusals.add(f"gossip stream from {join_host_port(*stream.peer)} refused: {why}")

    @property
    def stream_timeout_s(self) -> float:
        """How long an incoming stream may take."""
        return self._stream_timeout_s

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


def _nothing(_: object) -> None:
    return None


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
