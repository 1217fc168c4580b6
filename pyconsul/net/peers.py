"""Connections to the other servers: dialled when needed, kept, and bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import ClientCreator, Protocol
from twisted.python.failure import Failure

from pyconsul.errors import NotSent, Refused
from pyconsul.log import make_logger
from pyconsul.net.bounded_lines import BoundedLines
from pyconsul.net.entrance import AMP_BYTE, Doorman, Entrance, RpcLimits, Speakers
from pyconsul.net.tls import RPC, TLS_BYTE, Tls, TlsFailed
from pyconsul.net.wheel import Wheel
from pyconsul.raft.messages import Heartbeat, HeartbeatResponse, Message, ReadIndex, ReadIndexResponse

if TYPE_CHECKING:
    from pyconsul.net.amp import Connection

DIAL_TIMEOUT_S = 3.0
TLS_TIMEOUT_S = 5.0
DIAL_AGAIN_S = 0.1
TLS_AGAIN_S = 1.0
"""A certificate that is no good will hardly be better a moment later, and looking at it is work."""

RAFT_MESSAGES_WAITING_MAX = 1_024
CALLS_WAITING_MAX = 10_000

AT_ONCE = frozenset((Heartbeat, HeartbeatResponse, ReadIndex, ReadIndexResponse))
"""Small messages that reads wait for, one at a time: they do not wait for others of their turn."""

_log = make_logger("agent.server.rpc")


class RaftBatch(msgspec.Struct, array_like=True):
    """The body of the AMP command ``Raft``."""

    sender: str
    messages: list[Message]


_encode = msgspec.msgpack.Encoder().encode
_decode_batch = msgspec.msgpack.Decoder(RaftBatch).decode


class _Link:
    """The connection to one address: none, being dialled, or there."""

    __slots__ = (
        "address", "connection", "dialling", "flushing", "not_before", "peer", "problem", "raft", "waiting",
    )  # fmt: skip

    def __init__(self, address: str) -> None:
        self.address = address
        self.connection: Connection | None = None
        self.dialling: Deferred[Any] | None = None
        self.not_before = 0.0
        self.waiting: list[tuple[str, bytes, float, Deferred[bytes]]] = []
        self.raft: list[Message] = []
        self.peer = ""
        self.flushing = False
        self.problem = ""
        """Why there is no TLS, as it was logged last."""


UNLIMITED = RpcLimits()


class AmpNetwork:
    """``RaftTransport`` and ``RpcTransport`` over AMP, inside TLS where that is wanted.

    Raft has connections of its own, so that a large reply never holds up a heartbeat.

    :ivar datacenter_of: which datacenter the server at an address is of.
    :param server_id: what our Raft messages say they come from; empty on a client agent.
    :param limits: what others may take of the server port.
    """

    def __init__(
        self, reactor: Any, server_id: str = "", limits: RpcLimits = UNLIMITED, tls: Tls | None = None
    ) -> None:
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
        self._tls = tls
        self._refusals = BoundedLines(reactor, lambda text: _log.warn("{text}", text=text))
        self.datacenter_of: Callable[[str], str] = lambda address: ""
        self.received: Callable[[str, Message], None] = lambda sender, message: None
        self.unreachable: Callable[[str], None] = lambda peer: None
        self.handler: Callable[[str, bytes], Any] = _serves_nothing

    # ------------------------------------------------------------ raft

    def send(self, to: str, address: str, message: Message) -> None:
        """Send ``message``, mostly with the others of this turn of the reactor; drop it rather than wait."""
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
        elif type(message) in AT_ONCE:
            self._flush(link)
        elif not link.flushing:
            link.flushing = True
            self._clock.callLater(0, self._turn_ends, link)

    def _turn_ends(self, link: _Link) -> None:
        link.flushing = False
        self._flush(link)

    def _flush(self, link: _Link) -> None:
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
        if self._tls is None or not self._tls.dials:
            link.dialling = self._dial_plainly(host, int(port))
        else:
            link.dialling = self._dial_tls(host, int(port), link.address, self._tls)
        link.dialling.addCallbacks(
            self._connected, self._not_connected, callbackArgs=(link,), errbackArgs=(link,)
        )

    def _dial_plainly(self, host: str, port: int) -> Deferred[Connection]:
        def greet(connection: Connection) -> Connection:
            connection.transport.write(AMP_BYTE)
            return connection

        making = ClientCreator(self._reactor, self._connection, self._raft_received)
        dialling: Deferred[Any] = making.connectTCP(host, port, timeout=DIAL_TIMEOUT_S)
        return dialling.addCallback(greet)

    def _dial_tls(self, host: str, port: int, address: str, tls: Tls) -> Deferred[Connection]:
        from pyconsul.net.greeting import Greeting

        greeting = Greeting(lambda: self._connection(self._raft_received))
        datacenter = self.datacenter_of(address)
        making = ClientCreator(
            self._reactor, tls.client, RPC, greeting, greeting.failed, datacenter, TLS_BYTE, TLS_TIMEOUT_S
        )
        dialling: Deferred[Any] = making.connectTCP(host, port, timeout=DIAL_TIMEOUT_S)
        dialling.addCallback(lambda _: greeting.done)
        return dialling.addTimeout(DIAL_TIMEOUT_S + TLS_TIMEOUT_S, self._clock)

    def _connection(self, raft: Callable[[bytes], None]) -> Connection:
        from pyconsul.net.amp import Connection  # not before somebody is to be spoken to

        return Connection(self._clock, self._wheel, self.handler, raft)

    def _connected(self, connection: Connection, link: _Link) -> None:
        link.dialling = None
        link.problem = ""
        if self._closed:
            connection.transport.abortConnection()
            return
        link.connection = connection
        connection.on_lost = lambda: self._lost(link)
        connection.on_resumed = lambda: self._flush(link)
        self._flush(link)
        waiting, link.waiting = link.waiting, []
        for method, body, timeout_s, deferred in waiting:
            if not deferred.called:
                connection.call(method, body, timeout_s).chainDeferred(deferred)

    def _not_connected(self, failure: Failure, link: _Link) -> None:
        link.dialling = None
        without_tls = failure.check(TlsFailed) is not None
        link.not_before = self._clock.seconds() + (TLS_AGAIN_S if without_tls else DIAL_AGAIN_S)
        problem = failure.getErrorMessage()
        if without_tls and problem != link.problem and not self._closed:
            link.problem = problem
            _log.warn("no TLS with the server at {address}: {why}", address=link.address, why=problem)
        waiting, link.waiting = link.waiting, []
        for *_, deferred in waiting:
            if not deferred.called:
                deferred.errback(NotSent(f"cannot reach {link.address}: {problem}"))
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

    # ------------------------------------------------------------ the server port

    def make_factory(self) -> Any:
        """The factory of the server port."""
        self._entrance = Entrance(self._clock, self._speakers(), self._limits, self._refusals.add)
        return self._entrance

    def _speakers(self) -> Speakers:
        found: dict[bytes, Callable[[], Protocol]] = {}
        if self._tls is None or not self._tls.required:
            found[AMP_BYTE] = lambda: self._accepted(self._raft_received)
        if self._tls is not None and self._tls.serves:
            found[TLS_BYTE] = self._accept_tls
        return found

    def _accepted(self, raft: Callable[[bytes], None]) -> Connection:
        connection = self._connection(raft)
        self._inbound.add(connection)
        connection.on_lost = lambda: self._inbound.discard(connection)
        return connection

    def _accept_tls(self) -> Protocol:
        """TLS, and inside it who says by his first byte again what he speaks."""
        tls = self._tls
        assert tls is not None

        def taken() -> Connection:
            transport.write(AMP_BYTE)  # see Greeting
            may_serve = tls.may_serve(transport, self.datacenter_of(""))
            return self._accepted(self._raft_received if may_serve else refuse)

        def refuse(body: bytes) -> None:
            peer = transport.getPeer().host
            self._refusals.add(f"Raft messages from {peer} refused: its certificate is not that of a server")
            transport.abortConnection()

        timeout_s = self._limits.first_byte_timeout_s
        inner = Doorman(self._clock, {AMP_BYTE: taken}, self._refusals.add, timeout_s)
        transport = tls.server(RPC, inner, self._no_tls, timeout_s)
        return transport

    def _no_tls(self, peer: Any, why: str) -> None:
        self._refusals.add(f"RPC connection from {peer.host} refused: TLS: {why}")

    def configure(self, limits: RpcLimits) -> None:
        """Have other limits for what connects from now on."""
        self._limits = limits
        if self._entrance is not None:
            self._entrance.limits = limits

    def tls_changed(self) -> None:
        """Have what connects from now on use TLS as it now is."""
        if self._entrance is not None:
            self._entrance.speakers = self._speakers()

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
