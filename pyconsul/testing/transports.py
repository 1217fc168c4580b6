"""A simulated process's three ways to its peers: Raft messages, calls, and gossip.

They keep the contracts of ``pyconsul.interfaces``. A cut swallows what is sent; a process that has
ended refuses. What a caller cannot know it is not told: a server that dies after it did its work
looks like one that died before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pyconsul.errors import NotSent, PyconsulError, Refused, Unreachable, from_code
from pyconsul.raft.messages import Message
from pyconsul.testing.clock import SimCall
from pyconsul.testing.network import Stack

if TYPE_CHECKING:
    from pyconsul.interfaces import Address

DIAL_TIMEOUT_S = 3.0
GIVE_UP_S = 5.0
"""After a cut swallowed a request or an answer the connection breaks at most this much later."""

KEEPALIVE_S = 40.0
"""A peer that is gone without a word is noticed at most this much later."""

STREAM_PORT = 50_000
"""The port that dialled streams come from."""

_encode_message = msgspec.msgpack.Encoder().encode
_decode_message = msgspec.msgpack.Decoder(Message).decode


class RaftSocket:
    """``RaftTransport`` of a simulated server: loses, delays, doubles; in order unless told otherwise."""

    def __init__(self, stack: Stack, server_id: str, port: int = 8300) -> None:
        self.server_id = server_id
        self.address = f"{stack.ip}:{port}"
        self.received: Callable[[str, Message], None] = lambda sender, message: None
        self.unreachable: Callable[[str], None] = lambda peer: None
        self._stack = stack
        self._last_arrival: dict[str, float] = {}
        self._breaking: set[str] = set()
        stack.sockets.append(self)
        stack.network.raft[self.address] = self

    def send(self, to: str, address: str, message: Message) -> None:
        """Send ``message``, or lose it."""
        stack = self._stack
        network = stack.network
        network.sent += 1
        target = network.raft.get(address)
        if target is None or target.server_id != to or network.is_cut(stack.ip, target._stack.ip):
            network.lost += 1
            self._break(to)
            return
        if network.check_codec:
            again = _decode_message(_encode_message(message))
            assert again == message, (message, again)
        conditions = network.on(stack.ip, target._stack.ip)
        if conditions.loss and network.rng.random() < conditions.loss:
            network.lost += 1
            if network.rng.random() < 0.5:
                self._break(to)
            return
        self._deliver(target, message, conditions.reorder)
        if conditions.duplicate and network.rng.random() < conditions.duplicate:
            self._deliver(target, message, 1.0)

    def _deliver(self, target: RaftSocket, message: Message, reorder: float) -> None:
        network = self._stack.network
        clock = network.clock
        arrival = clock.now + network.delay(network.on(self._stack.ip, target._stack.ip))
        if reorder and network.rng.random() < reorder:
            arrival += network.delay(network.conditions)
        else:
            arrival = max(arrival, self._last_arrival.get(target.address, 0.0))
            self._last_arrival[target.address] = arrival
        clock.post(arrival - clock.now, target._stack.clock, target._receive, (self.server_id, message))

    def _receive(self, sender: str, message: Message) -> None:
        self.received(sender, message)

    def _break(self, peer: str) -> None:
        """The connection to ``peer`` turns out to be broken, a little later."""
        if peer not in self._breaking:
            self._breaking.add(peer)
            self._stack.clock.callLater(0.001 + 0.1 * self._stack.network.rng.random(), self._broken, peer)

    def _broken(self, peer: str) -> None:
        self._breaking.discard(peer)
        self.unreachable(peer)

    def closed(self) -> None:
        """The process has ended: whoever sent to it learns so."""
        network = self._stack.network
        if network.raft.get(self.address) is self:
            del network.raft[self.address]
        for other in network.raft.values():
            if self.address in other._last_arrival and not network.is_cut(self._stack.ip, other._stack.ip):
                other._break(self.server_id)


class _Exchange:
    """One request and its answer between two processes; settled once."""

    __slots__ = ("caller", "deferred", "executed", "replied", "server", "serving", "timer")

    def __init__(self, caller: _Exchanging, server: _Exchanging) -> None:
        self.caller = caller
        self.server = server
        self.deferred: Deferred[bytes] = Deferred(self._abandoned)
        self.timer: SimCall | None = None
        self.serving: Deferred[Any] | None = None
        self.executed = False
        self.replied = False

    def succeed(self, answer: bytes) -> None:
        """The answer is here."""
        if self._settle():
            self.deferred.callback(answer)

    def fail(self, error: PyconsulError) -> None:
        """There will be no answer, or it is an error."""
        if self._settle():
            self.deferred.errback(error)

    def timed_out(self) -> None:
        """Nobody answered in time."""
        self.timer = None
        self.fail(Unreachable("timed out waiting for an answer"))

    def broken(self) -> None:
        """The connection broke."""
        self.fail(Unreachable("the connection was lost before the answer came"))

    def caller_gone(self) -> None:
        """The server notices that nobody waits any more."""
        if self.serving is not None:
            self.serving.cancel()

    def _settle(self) -> bool:
        self.caller.outbound.pop(self, None)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        return not self.deferred.called

    def _abandoned(self, _: object) -> None:
        self._settle()


class _Exchanging:
    """What calls and gossip streams have in common."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.outbound: dict[_Exchange, None] = {}
        self.inbound: dict[_Exchange, None] = {}
        stack.sockets.append(self)  # type: ignore[arg-type]

    def _refuse(self, where: str) -> Deferred[bytes]:
        """Nobody listens there, or nothing gets there."""
        deferred: Deferred[bytes] = Deferred(lambda _: call.cancel())
        network = self._stack.network
        delay_s = 2.0 * network.delay(network.conditions)
        call = self._stack.clock.callLater(delay_s, _errback, deferred, NotSent(f"cannot reach {where}"))
        return deferred

    def _begin(
        self, server: _Exchanging, where: str, serve: Callable[[], Any], body: bytes, timeout_s: float
    ) -> Deferred[bytes]:
        """Bring a request to ``server``, where ``serve`` gives the answer or a Deferred of it."""
        here, there = self._stack, server._stack
        network = here.network
        network.sent += 1
        network.note(crc32(body))
        exchange = _Exchange(self, server)
        self.outbound[exchange] = None
        if network.is_cut(here.ip, there.ip):
            self._swallow(exchange, where, timeout_s)
            return exchange.deferred
        exchange.timer = here.clock.callLater(timeout_s, exchange.timed_out)
        server.inbound[exchange] = None
        delay_s = network.resent_delay(network.on(here.ip, there.ip))
        network.clock.post(delay_s, there.clock, server._serve, (exchange, serve))
        return exchange.deferred

    def _swallow(self, exchange: _Exchange, where: str, timeout_s: float) -> None:
        """A cut takes the request: either no connection was made, or one breaks in the end."""
        rng = self._stack.network.rng
        if rng.random() < 0.5:
            error: PyconsulError = NotSent(f"cannot reach {where}: timed out")
            delay_s = min(timeout_s, DIAL_TIMEOUT_S) * rng.random()
        else:
            error = Unreachable("the connection was lost before the answer came")
            delay_s = min(timeout_s, GIVE_UP_S) * rng.random()
        exchange.timer = self._stack.clock.callLater(delay_s, self._swallowed, exchange, error)

    def _swallowed(self, exchange: _Exchange, error: PyconsulError) -> None:
        exchange.timer = None
        exchange.fail(error)

    def _serve(self, exchange: _Exchange, serve: Callable[[], Any]) -> None:
        exchange.executed = True
        try:
            answer = serve()
        except PyconsulError as error:
            self._reply(exchange, b"", error)
        except Exception as error:
            self._bug(exchange, error)
        else:
            if isinstance(answer, Deferred):
                exchange.serving = answer
                answer.addBoth(self._served_late, exchange)
            else:
                self._reply(exchange, answer, None)

    def _served_late(self, result: bytes | Failure, exchange: _Exchange) -> None:
        exchange.serving = None
        if not isinstance(result, Failure):
            self._reply(exchange, result, None)
        elif isinstance(result.value, PyconsulError):
            self._reply(exchange, b"", result.value)
        elif exchange.caller._stack.alive and self._stack.alive:  # else it was cancelled
            self._bug(exchange, result.value)
        else:
            self.inbound.pop(exchange, None)

    def _bug(self, exchange: _Exchange, error: BaseException | None) -> None:
        self._stack.network.bugs.append(error or RuntimeError("an endpoint failed"))
        self._reply(exchange, b"", PyconsulError("internal error"))

    def _reply(self, exchange: _Exchange, answer: bytes, error: PyconsulError | None) -> None:
        here, there = self._stack, exchange.caller._stack
        self.inbound.pop(exchange, None)
        if not here.alive or not there.alive:  # a Deferred that is cleaned up after its process ended
            return
        exchange.replied = True
        network = here.network
        network.note(crc32(answer))
        if network.is_cut(here.ip, there.ip):
            network.clock.post(GIVE_UP_S * network.rng.random(), there.clock, exchange.broken, ())
            return
        delay_s = network.resent_delay(network.on(here.ip, there.ip))
        if error is None:
            network.clock.post(delay_s, there.clock, exchange.succeed, (answer,))
        else:
            copy = from_code(error.code, str(error))
            network.clock.post(delay_s, there.clock, exchange.fail, (copy,))

    def closed(self) -> None:
        """The process has ended: callers learn that there will be no answer, servers that nobody waits."""
        network = self._stack.network
        inbound, self.inbound = self.inbound, {}
        for exchange in inbound:
            there = exchange.caller._stack
            if network.is_cut(self._stack.ip, there.ip):
                delay_s = KEEPALIVE_S * network.rng.random()
            else:
                delay_s = network.delay(network.conditions)
            if there.alive:
                network.clock.post(delay_s, there.clock, exchange.broken, ())
        outbound, self.outbound = self.outbound, {}
        for exchange in outbound:
            there = exchange.server._stack
            if there.alive and not network.is_cut(self._stack.ip, there.ip):
                delay_s = network.delay(network.conditions)
                network.clock.post(delay_s, there.clock, exchange.caller_gone, ())


class RpcSocket(_Exchanging):
    """``RpcTransport`` of a simulated process; a server sets ``handler``."""

    def __init__(self, stack: Stack, port: int = 8300) -> None:
        super().__init__(stack)
        self.address = f"{stack.ip}:{port}"
        self.handler: Callable[[str, bytes], Any] = _serves_nothing
        stack.network.rpc[self.address] = self

    def call(self, address: str, method: str, body: bytes, timeout_s: float) -> Deferred[bytes]:
        """Call an endpoint of the process at ``address``."""
        server = self._stack.network.rpc.get(address)
        if server is None:
            return self._refuse(address)
        return self._begin(server, address, lambda: server.handler(method, body), body, timeout_s)

    def abandon(self, address: str) -> None:
        """Calls to that process fail. It goes on with them: nobody hears of what it does for them."""
        for exchange in [e for e in self.outbound if e.server is self._stack.network.rpc.get(address)]:
            exchange.broken()

    def closed(self) -> None:
        """The process has ended."""
        if self._stack.network.rpc.get(self.address) is self:
            del self._stack.network.rpc[self.address]
        super().closed()


class GossipSocket(_Exchanging):
    """``GossipTransport`` of a simulated process: packets like UDP, streams like TCP."""

    def __init__(self, stack: Stack, port: int = 8301) -> None:
        super().__init__(stack)
        self.address: Address = (stack.ip, port)
        self.packet_received: Callable[[bytes, Address], None] = lambda packet, source: None
        self.stream_received: Callable[[bytes, Address], bytes | None] = lambda request, source: None
        self.speaks_tls: Callable[[Address], bool | None] = lambda to: False
        stack.network.gossip[self.address] = self

    def send(self, packet: bytes, to: Address) -> None:
        """Send a packet, or lose it."""
        stack = self._stack
        network = stack.network
        network.sent += 1
        network.note(crc32(packet))
        target = network.gossip.get(to)
        if target is None or network.is_cut(stack.ip, target._stack.ip):
            network.lost += 1
            return
        conditions = network.on(stack.ip, target._stack.ip)
        rng = network.rng
        if conditions.loss and rng.random() < conditions.loss:
            network.lost += 1
            return
        arguments = (packet, self.address)
        network.clock.post(network.delay(conditions), target._stack.clock, target._receive, arguments)
        if conditions.duplicate and rng.random() < conditions.duplicate:
            network.clock.post(network.delay(conditions), target._stack.clock, target._receive, arguments)

    def _receive(self, packet: bytes, source: Address) -> None:
        self.packet_received(packet, source)

    def exchange(self, request: bytes, to: Address, timeout_s: float, answer: bool) -> Deferred[bytes]:
        """Send a stream request; fires with the answer, empty if none is expected."""
        server = self._stack.network.gossip.get(to)
        where = f"{to[0]}:{to[1]}"
        if server is None:
            return self._refuse(where)
        source = (self.address[0], STREAM_PORT)

        def serve() -> bytes:
            got = server.stream_received(request, source)
            if not answer:
                return b""
            if got is None:
                raise Unreachable("the stream was closed without an answer")
            return got

        return self._begin(server, where, serve, request, timeout_s)

    def closed(self) -> None:
        """The process has ended."""
        if self._stack.network.gossip.get(self.address) is self:
            del self._stack.network.gossip[self.address]
        super().closed()


def _serves_nothing(method: str, body: bytes) -> bytes:
    raise Refused(f"rpc: can't find service {method}")


def _errback(deferred: Deferred[bytes], error: PyconsulError) -> None:
    if not deferred.called:
        deferred.errback(error)
