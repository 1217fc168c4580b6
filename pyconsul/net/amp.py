"""Raft and RPC between servers, as AMP over TCP.

Port 8300 tells protocols apart by the first byte, as Consul does (``pyconsul.net.entrance``); ours is
``AMP_BYTE`` there, which Consul does not use. What follows are AMP boxes of two commands, ``Raft`` (a batch
of messages, not answered) and ``Call`` (an endpoint). AMP carries at most 65,535 bytes a value, so
``Body`` spreads over several keys of one box.

``Connection`` speaks AMP on the wire, and a test lets it talk to ``amp.AMP``, but it puts boxes
together and takes them apart by hand: Twisted's own protocol makes a method call for each string
and five Deferreds for each call, and a forwarded read is one call. What is written in one turn of
the reactor goes out in two pieces: the first at once, the rest together.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from pyconsul.errors import PyconsulError, Unreachable, from_code
from pyconsul.log import make_logger
from pyconsul.net.wheel import Wheel

KEY_MAX = 255
VALUE_MAX = 65_535
BOX_BYTES_MAX = 64 * 1024 * 1024
CALLS_SERVED_MAX = 50_000
KEEPALIVE = (
    ("TCP_KEEPIDLE", 5),
    ("TCP_KEEPINTVL", 2),
    ("TCP_KEEPCNT", 4),
    ("TCP_USER_TIMEOUT", 10_000),
)
"""Socket options: seconds, and for the last one milliseconds."""

_log = make_logger("agent.server.rpc")


def spread(box: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    """Put ``value`` into ``box`` under ``name``, ``name.1``, ``name.2``, ..."""
    box[name] = value[:VALUE_MAX]
    for number, start in enumerate(range(VALUE_MAX, len(value), VALUE_MAX), 1):
        box[b"%b.%d" % (name, number)] = value[start : start + VALUE_MAX]


def gather(box: dict[bytes, bytes], name: bytes) -> bytes:
    """The value that ``spread`` put into ``box``. Raises ``KeyError``."""
    first = box[name]
    if len(first) < VALUE_MAX:
        return first
    parts = [first]
    while (part := box.get(b"%b.%d" % (name, len(parts)))) is not None:
        parts.append(part)
    return b"".join(parts)


def notice_silence(handle: Any) -> None:
    """Have the kernel end a connection within half a minute after its peer has vanished.

    A call may wait for minutes (blocking queries), so without this a server that died behind a cut
    would be waited for until then.
    """
    for name, value in KEEPALIVE:
        option = getattr(socket, name, None)  # not everywhere
        if option is not None:
            with suppress(OSError):
                handle.setsockopt(socket.IPPROTO_TCP, option, value)


def serialize(pairs: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """An AMP box of ``pairs``, none above AMP's lengths, and ``body`` spread as ``spread`` does."""
    parts = [
        b"%c%b%c%c%b" % (len(name), name, len(value) >> 8, len(value) & 255, value) for name, value in pairs
    ]
    out = b"\0" + b"\0".join(parts) if parts else b""
    if len(body) <= VALUE_MAX:
        return b"%b\0\4body%c%c%b\0\0" % (out, len(body) >> 8, len(body) & 255, body)
    box: dict[bytes, bytes] = {}
    spread(box, b"body", body)
    more = [
        b"\0%c%b%c%c%b" % (len(name), name, len(value) >> 8, len(value) & 255, value)
        for name, value in box.items()
    ]
    return b"".join([out, *more, b"\0\0"])


class Body(amp.Argument):
    """Bytes of any length."""

    def toBox(self, name: bytes, strings: Any, objects: Any, proto: Any) -> None:
        spread(strings, name, objects[name.decode()])

    def fromBox(self, name: bytes, strings: Any, objects: Any, proto: Any) -> None:
        objects[name.decode()] = gather(strings, name)


class Failed(Exception):
    """An endpoint refused; the text is ``code``, a newline and what to tell the user."""


class Raft(amp.Command):
    """Messages for the receiver's Raft core: MessagePack of ``[sender, [message, ...]]``."""

    commandName = b"Raft"
    arguments = [(b"body", Body())]
    requiresAnswer = False


class Call(amp.Command):
    """Call the endpoint ``method`` with its request struct as MessagePack."""

    commandName = b"Call"
    arguments = [(b"method", amp.Unicode()), (b"body", Body())]
    response = [(b"body", Body())]
    errors = {Failed: b"FAILED"}


class Pending:
    """A call that waits for its answer."""

    __slots__ = ("connection", "deferred", "slot", "tag")

    def __init__(self, connection: Connection, tag: bytes, deferred: Deferred[bytes]) -> None:
        self.connection = connection
        self.tag = tag
        self.deferred = deferred
        self.slot = 0

    def expire(self) -> None:
        """Nobody answered in time; an answer that comes later is dropped."""
        self.connection.forget(self.tag)
        self.deferred.errback(Unreachable("timed out waiting for an answer"))


class Connection(Protocol):
    """One AMP connection, either side.

    :param served: answers ``Call``: method and body to bytes or a Deferred of bytes.
    :param raft: takes the body of ``Raft``.
    """

    noisy = False
    transport: Any = None

    def __init__(
        self,
        clock: IReactorTime,
        wheel: Wheel,
        served: Callable[[str, bytes], Any],
        raft: Callable[[bytes], None],
    ) -> None:
        self._clock = clock
        self._wheel = wheel
        self._served = served
        self._raft = raft
        self._pending: dict[bytes, Pending] = {}
        self._serving: set[Deferred[Any]] = set()
        self._next_tag = 0
        self._received = b""
        self._box: dict[bytes, bytes] = {}
        self._box_bytes = 0
        self._corked = False
        self._out: list[bytes] = []
        self.lost = False
        self.paused = False
        self.on_lost: Callable[[], None] = lambda: None
        self.on_resumed: Callable[[], None] = lambda: None

    # ------------------------------------------------------------ sending

    def _send(self, *pairs: tuple[bytes, bytes], body: bytes = b"") -> None:
        """Send a box of short ``pairs`` and a body of any length."""
        data = serialize(pairs, body)
        if self._corked:
            self._out.append(data)
            return
        self._corked = True
        self._clock.callLater(0, self._uncork)
        self.transport.write(data)

    def _uncork(self) -> None:
        self._corked = False
        if self._out:
            out, self._out = self._out, []
            if not self.lost:
                self.transport.write(b"".join(out))

    def send_raft(self, body: bytes) -> None:
        """Send a batch of messages, at once."""
        self.transport.write(serialize(((amp.COMMAND, b"Raft"),), body))

    def call(self, method: str, body: bytes, timeout_s: float) -> Deferred[bytes]:
        """Call an endpoint; fails with ``PyconsulError`` in every case."""
        self._next_tag += 1
        tag = b"%x" % self._next_tag
        deferred: Deferred[bytes] = Deferred(lambda _: self._abandon(tag))
        pending = self._pending[tag] = Pending(self, tag, deferred)
        pending.slot = self._wheel.add(pending, timeout_s)
        self._send((amp.COMMAND, b"Call"), (amp.ASK, tag), (b"method", method.encode()[:KEY_MAX]), body=body)
        return deferred

    def forget(self, tag: bytes) -> None:
        """Expect no answer to ``tag``."""
        self._pending.pop(tag, None)

    def _abandon(self, tag: bytes) -> None:
        pending = self._pending.pop(tag, None)
        if pending is not None:
            self._wheel.remove(pending, pending.slot)

    # ------------------------------------------------------------ receiving

    def dataReceived(self, data: bytes) -> None:
        """Take boxes out of what has come; a pair that is not whole waits for more."""
        if self._received:
            data = self._received + data
        try:
            self._received = data[self._take_pairs(data) :]
        except Exception:
            _log.failure("closing an AMP connection that sent what cannot be understood")
            self._received = b""
            self.transport.abortConnection()

    def _take_pairs(self, data: bytes) -> int:
        """Add each whole pair to the box and handle each whole box; where the rest begins."""
        box = self._box
        at, end = 0, len(data)
        while at + 2 <= end:
            length = data[at] << 8 | data[at + 1]
            if not length:
                self._box, self._box_bytes = {}, 0
                self._box_received(box)
                if self.lost:
                    return end
                box = self._box
                at += 2
                continue
            if length > KEY_MAX:
                raise ValueError("a key that is too long for AMP")
            value_at = at + length + 4
            if value_at > end:
                break
            value_end = value_at + (data[value_at - 2] << 8 | data[value_at - 1])
            if value_end > end:
                break
            self._box_bytes += value_end - at
            if self._box_bytes > BOX_BYTES_MAX:
                raise ValueError("a box that is too large")
            box[data[at + 2 : value_at - 2]] = data[value_at:value_end]
            at = value_end
        return at

    def _box_received(self, box: dict[bytes, bytes]) -> None:
        tag = box.get(amp.ANSWER)
        if tag is not None:
            pending = self._settle(tag)
            if pending is not None:
                pending.deferred.callback(gather(box, b"body"))
        elif (tag := box.get(amp.ERROR)) is not None:
            pending = self._settle(tag)
            if pending is not None:
                pending.deferred.errback(_error_of(box))
        elif (command := box.get(amp.COMMAND)) == b"Raft":
            self._raft(gather(box, b"body"))
        elif command == b"Call":
            self._serve(box)
        else:
            self.transport.abortConnection()

    def _settle(self, tag: bytes) -> Pending | None:
        pending = self._pending.pop(tag, None)
        if pending is not None:
            self._wheel.remove(pending, pending.slot)
        return pending

    def _serve(self, box: dict[bytes, bytes]) -> None:
        tag = box[amp.ASK]
        if len(self._serving) >= CALLS_SERVED_MAX:
            self._answer_error(tag, PyconsulError("too many calls at once on one connection"))
            return
        try:
            answer = self._served(box[b"method"].decode(), gather(box, b"body"))
        except PyconsulError as error:
            self._answer_error(tag, error)
            return
        except Exception:
            _log.failure("a bug in the endpoint {method}", method=box.get(b"method"))
            self._answer_error(tag, PyconsulError("internal error"))
            return
        if type(answer) is bytes:
            self._answer(tag, answer)
            return
        self._serving.add(answer)
        answer.addBoth(self._served_late, tag, answer)

    def _served_late(self, result: bytes | Failure, tag: bytes, serving: Deferred[Any]) -> None:
        self._serving.discard(serving)
        if self.lost:
            return
        if not isinstance(result, Failure):
            self._answer(tag, result)
        elif isinstance(result.value, PyconsulError):
            self._answer_error(tag, result.value)
        else:
            _log.failure("a bug in an endpoint", failure=result)
            self._answer_error(tag, PyconsulError("internal error"))

    def _answer(self, tag: bytes, body: bytes) -> None:
        self._send((amp.ANSWER, tag), body=body)

    def _answer_error(self, tag: bytes, error: PyconsulError) -> None:
        text = f"{error.code}\n{error}".encode()[:VALUE_MAX]
        self._send((amp.ERROR, tag), (amp.ERROR_CODE, b"FAILED"), (amp.ERROR_DESCRIPTION, text))

    # ------------------------------------------------------------ life

    def connectionMade(self) -> None:
        """Learn when the peer does not keep up, and when it is gone without a word."""
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
            plain = getattr(self.transport, "plain", self.transport)  # under TLS
            if hasattr(plain, "getHandle"):
                notice_silence(plain.getHandle())
        self.transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """The transport's buffer is full (IPushProducer)."""
        self.paused = True

    def resumeProducing(self) -> None:
        """There is room again (IPushProducer)."""
        self.paused = False
        self.on_resumed()

    def stopProducing(self) -> None:
        """The connection is going away (IPushProducer)."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone: fail what waits, stop what is served."""
        self.lost = True
        self.on_lost()  # first, lest somebody whose call fails makes the next one here
        pending, self._pending = self._pending, {}
        for waiting in pending.values():
            self._wheel.remove(waiting, waiting.slot)
            waiting.deferred.errback(Unreachable("the connection was lost before the answer came"))
        serving, self._serving = self._serving, set()
        for deferred in serving:
            deferred.cancel()


def _error_of(box: dict[bytes, bytes]) -> PyconsulError:
    code, _, text = box.get(amp.ERROR_DESCRIPTION, b"").decode("utf-8", "replace").partition("\n")
    return from_code(code, text) if text or code else PyconsulError("the peer gave no reason")
