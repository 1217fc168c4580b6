"""Connections to the other servers: dialled when needed, kept, and bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from pyconsul.errors import NotSent, Refused
from pyconsul.log import make_logger
from pyconsul.net.amp import AMP_BYTE, Connection, Entrance, RpcLimits
from pyconsul.net.wheel import Wheel
from pyconsul.raft.messages import Message

DIAL_TIMEOUT_S = 3.0
DIAL_AGAIN_S = 0.1
RAFT_MESSAGES_WAITING_MAX = 1_024
CALLS_WAITING_MAX = 10_000

_log = make_logger("agent.server.rpc")


class RaftBatch(msgspec.Struct, array_like=True):
    """The body of the AMP command ``Raft``."""

    sender: str
    messages: list[Message]


_encode = msgspec.msgpack.Encoder().encode
_decode_batch = msgspec.msgpack.Decoder(RaftBatch).decode


class _Link:
    """The connection to one address: none, being dialled, or there."""

    __slots__ = ("address", "connection", "dialling", "flushing", "not_before", "peer", "raft", "waiting")

    def __init__(self, address: str) -> None:
        self.address = address
        self.connection: Connection | None = None
        self.dialling: Deferred[Any] | None = None
        self.not_before = 0.0
        self.waiting: list[tuple[str, bytes, float, Deferred[bytes]]] = []
        self.raft: list[Message] = []
        self.peer = ""
        self.flushing = False


UNLIMITED = RpcLimits()


class AmpNetwork:
    """``RaftTransport`` and ``RpcTransport`` over AMP.

    Raft has connections of its own, so that a large reply never holds up a heartbeat.

    :param server_id: what our Raft messages say they come from; empty on a client agent.
    :param limits: what others may take of the server port.
    """

    def __init__(self, reactor: Any, server_id: str = "", limits: RpcLimits = UNLIMITED) -> None:
        self._reactor = reactor
        self._clock: IReactorTime = reactor
        self._server_id = server_id
        self._wheel = Wheel(reactor)
        self._raft_links: dict[str, _Link] = {}
        self._rpc_links: dict[str, _Link] = {}
        self._inbound: set[Connection] = set()
        self._closed = False
        self._limits = limits
        self._entrance: Entrance | None = None
        self.received: Callable[[str, Message], None] = lambda sender, message: None
        self.unreachable: Callable[[str], None] = lambda peer: None
        self.handler: Callable[[str, bytes], Any] = _serves_nothing

    # ------------------------------------------------------------ raft

    def send(self, to: str, address: str, message: Message) -> None:
        """Send ``message`` with the others of this turn of the reactor; drop it rather than wait."""
        if self._closed:
            return
        link = self._raft_links.get(address)
        if link is None:
            link = self._raft_links[address] = _Link(address)
        link.peer = to
        if len(link.raft) >= RAFT_MESSAGES_WAITING_MAX:
            return
        link.raft.append(message)
        if link.connection is None:
            self._dial(link)
        elif not link.flushing:
            link.flushing = True
            self._clock.callLater(0, self._flush, link)

    def _flush(self, link: _Link) -> None:
        link.flushing = False
        if link.connection is None or not link.raft or link.connection.paused:
            return
        messages, link.raft = link.raft, []
        link.connection.send_raft(_encode(RaftBatch(self._server_id, messages)))

    def _raft_received(self, body: bytes) -> None:
        batch = _decode_batch(body)
        for message in batch.messages:
            self.received(batch.sender, message)

    # ------------------------------------------------------------ rpc

    def call(self, address: str, method: str, body: bytes, timeout_s: float) -> Deferred[bytes]:
        """Call an endpoint of the server at ``address`` (``ip:port``)."""
        link = self._rpc_links.get(address)
        if link is None:
            link = self._rpc_links[address] = _Link(address)
        if link.connection is not None:
            return link.connection.call(method, body, timeout_s)
        deferred: Deferred[bytes] = Deferred()
        if self._closed or len(link.waiting) >= CALLS_WAITING_MAX:
            deferred.errback(NotSent(f"no connection to {address}"))
            return deferred
        link.waiting.append((method, body, timeout_s, deferred))
        link.not_before = 0.0
        self._dial(link)
        return deferred

    # ------------------------------------------------------------ connections

    def _dial(self, link: _Link) -> None:
        if link.dialling is not None or self._clock.seconds() < link.not_before:
            return
        host, _, port = link.address.rpartition(":")
        host = host.strip("[]")
        kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
        endpoint = kind(self._reactor, host, int(port), timeout=DIAL_TIMEOUT_S)
        factory = Factory.forProtocol(
            lambda: Connection(self._clock, self._wheel, self.handler, self._raft_received)
        )
        factory.noisy = False
        link.dialling = endpoint.connect(factory)
        link.dialling.addCallbacks(
            self._connected, self._not_connected, callbackArgs=(link,), errbackArgs=(link,)
        )

    def _connected(self, connection: Connection, link: _Link) -> None:
        link.dialling = None
        if self._closed:
            connection.transport.abortConnection()
            return
        link.connection = connection
        connection.on_lost = lambda: self._lost(link)
        connection.on_resumed = lambda: self._flush(link)
        connection.transport.write(AMP_BYTE)
        self._flush(link)
        waiting, link.waiting = link.waiting, []
        for method, body, timeout_s, deferred in waiting:
            if not deferred.called:
                connection.call(method, body, timeout_s).chainDeferred(deferred)

    def _not_connected(self, failure: Failure, link: _Link) -> None:
        link.dialling = None
        link.not_before = self._clock.seconds() + DIAL_AGAIN_S
        waiting, link.waiting = link.waiting, []
        for *_, deferred in waiting:
            if not deferred.called:
                deferred.errback(NotSent(f"cannot reach {link.address}: {failure.getErrorMessage()}"))
        if link.raft:
            link.raft.clear()
            self.unreachable(link.peer)

    def _lost(self, link: _Link) -> None:
        link.connection = None
        link.raft.clear()
        if link.peer and not self._closed:
            self.unreachable(link.peer)

    def abandon(self, address: str) -> None:
        """Close the connection for calls: what waits for an answer fails, the next call dials anew.

        Raft keeps its own connection, since it has its own ways to see that a peer does not answer.
        """
        link = self._rpc_links.pop(address, None)
        if link is not None:
            self._drop(link)

    @staticmethod
    def _drop(link: _Link) -> None:
        if link.dialling is not None:
            link.dialling.cancel()
        if link.connection is not None:
            link.connection.transport.abortConnection()

    def make_factory(self) -> Any:
        """The factory of the server port."""

        def speaker() -> Connection:
            connection = Connection(self._clock, self._wheel, self.handler, self._raft_received)
            self._inbound.add(connection)
            connection.on_lost = lambda: self._inbound.discard(connection)
            return connection

        self._entrance = Entrance(self._clock, {AMP_BYTE: speaker}, self._limits)
        return self._entrance

    def configure(self, limits: RpcLimits) -> None:
        """Have other limits for what connects from now on."""
        self._limits = limits
        if self._entrance is not None:
            self._entrance.limits = limits

    def close(self) -> None:
        """Drop every connection."""
        self._closed = True
        for link in [*self._raft_links.values(), *self._rpc_links.values()]:
            self._drop(link)
        for connection in list(self._inbound):
            connection.transport.abortConnection()
        self._wheel.stop()


def _serves_nothing(method: str, body: bytes) -> bytes:
    raise Refused(f"rpc: can't find service {method}")
