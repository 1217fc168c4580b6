"""The protocols of the DNS server: those of twisted.names in front of ``pyconsul.dns``.

A plain question is answered from the memo or with our own few ``struct`` calls. A message of any
other form goes the way of twisted.names: it decodes the message, and ``Names`` answers it.
"""

from __future__ import annotations

import struct
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.names import dns as names_dns
from twisted.names.server import DNSServerFactory
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from pyconsul.dns.wire import (
    FORMERR,
    NOTIMP,
    OPCODE_MASK,
    OPT,
    Query,
    bare_answer,
    parse_query,
    subnet_answer,
)
from pyconsul.log import make_logger
from pyconsul.net.dns_memo import Kept, Memo
from pyconsul.net.dns_recursors import Recursors
from pyconsul.net.dns_responder import Answer, Responder

QUESTIONS_MAX = 8192
"""Questions by UDP whose answer is waited for; more are dropped, as if they had been lost."""
CONNECTIONS_MAX = 1024
QUESTIONS_PER_CONNECTION_MAX = 128
IDLE_S = 10.0
HEADER_BYTES = 12
ADDITIONAL_MAX = 4

_counts = struct.Struct("!2xHHHHH")
_header = struct.Struct("!HHHHHH")
_opt = struct.Struct("!xHHIH")

_log = make_logger("agent.dns")


class ConsulDatagrams(names_dns.DNSDatagramProtocol):
    """Questions by UDP."""

    noisy = False

    def __init__(self, controller: Names, reactor: IReactorTime) -> None:
        super().__init__(controller, reactor)
        self._entries = controller.memo.entries
        self._timing = controller.responder.timings.domain
        self._waiting = 0

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        """Answer, at once if the memo knows the question."""
        kept = self._entries.get(data[2:])
        if kept is not None:
            self._timing.at_once += 1
            self.transport.write(data[:2] + kept.next(), addr)
            return
        query = parse_query(data)
        if query is None:
            self.controller.unusual(data, self, addr)
        else:
            self.ask(query, data, addr, self.controller.memo.place(data[2:]))

    def ask(self, query: Query, data: bytes, addr: Any, kept: Kept | None = None) -> None:
        """Answer a question that is not in the memo; ``kept`` is the place for the answer there."""
        if self._waiting >= QUESTIONS_MAX:
            return
        query.peer = addr[0]
        answer = self.controller.responder.answer(query, data, kept)
        if isinstance(answer, Deferred):
            self._waiting += 1
            answer.addCallbacks(self._answered, self._failed, callbackArgs=(addr,))
            if kept is not None:  # part of it may have been read here
                self.controller.memo.keep(kept, b"", None)
            return
        if kept is not None:
            self.controller.memo.keep(kept, answer.data, answer.make)
        self.transport.write(answer.data, addr)

    def _answered(self, answer: Answer, addr: Any) -> None:
        self._waiting -= 1
        if self.transport is not None:
            self.transport.write(answer.data, addr)

    def _failed(self, failure: Failure) -> None:
        self._waiting -= 1
        _log.failure("bug while a question was answered", failure=failure)

    def send(self, data: bytes, addr: Any) -> None:
        """Send an answer that was made elsewhere."""
        self.transport.write(data, addr)


class ConsulStream(names_dns.DNSProtocol, TimeoutMixin):
    """Questions by TCP, any number on one connection.

    Reading stops while too many are unanswered, and while the client does not read its answers.
    """

    def __init__(self, controller: Names, reactor: IReactorTime) -> None:
        super().__init__(controller, reactor)
        self._waiting = 0
        self._blocked = False
        self._open = False

    def connectionMade(self) -> None:
        super().connectionMade()
        self._open = True
        self.transport.registerProducer(_Reading(self), True)  # type: ignore[union-attr]
        self.setTimeout(IDLE_S)

    def connectionLost(self, reason: Any = None) -> None:
        self._open = False
        self.setTimeout(None)
        super().connectionLost(reason)

    def stringReceived(self, data: bytes) -> None:
        """One message."""
        self.resetTimeout()
        query = parse_query(data, tcp=True)
        if query is None:
            self.controller.unusual(data, self, None)
        else:
            self.ask(query, data, None)

    def ask(self, query: Query, data: bytes, addr: None) -> None:
        """Answer a question."""
        query.peer = getattr(self.transport.getPeer(), "host", "")  # type: ignore[union-attr]
        answer = self.controller.responder.answer(query, data)
        if not isinstance(answer, Deferred):
            self.sendString(answer.data)
            return
        self._waiting += 1
        if self._waiting >= QUESTIONS_PER_CONNECTION_MAX:
            self.pauseProducing()
        answer.addCallbacks(self._answered, self._failed)

    def send(self, data: bytes, addr: None) -> None:
        """Send an answer that was made elsewhere."""
        self.sendString(data)

    def block(self, blocked: bool) -> None:
        """The client does not read its answers, or does so again."""
        self._blocked = blocked
        if blocked:
            self.pauseProducing()
        else:
            self._resume_soon()

    def timeoutConnection(self) -> None:
        """Nothing came for a while."""
        if self._waiting:
            self.setTimeout(IDLE_S)
        else:
            self.transport.abortConnection()  # type: ignore[union-attr]

    def _answered(self, answer: Answer) -> None:
        self._waiting -= 1
        if self._open:
            self.resetTimeout()
            self.sendString(answer.data)
            self._resume_soon()

    def _failed(self, failure: Failure) -> None:
        self._waiting -= 1
        _log.failure("bug while a question was answered", failure=failure)
        self._resume_soon()

    def _resume_soon(self) -> None:
        """Not at once: this may run inside the loop that takes messages out of what was read."""
        if self.paused:
            self._reactor.callLater(0, self._resume)

    def _resume(self) -> None:
        full = self._waiting >= QUESTIONS_PER_CONNECTION_MAX
        if self.paused and self._open and not self._blocked and not full:
            self.resumeProducing()


class _Reading:
    """The producer of a connection's answers is what its client asks."""

    def __init__(self, stream: ConsulStream) -> None:
        self._stream = stream

    def pauseProducing(self) -> None:
        self._stream.block(True)

    def resumeProducing(self) -> None:
        self._stream.block(False)

    def stopProducing(self) -> None:
        pass


class Names(DNSServerFactory):
    """What twisted.names calls a server: hands out connections, answers the messages it decodes.

    :ivar memo: answers to questions by UDP.
    """

    noisy = False

    def __init__(
        self, responder: Responder, memo: Memo, recursors: Recursors, reactor: IReactorTime
    ) -> None:
        super().__init__()
        self.responder = responder
        self.memo = memo
        self._recursors = recursors
        self._reactor = reactor

    def stop(self) -> None:
        """Close all connections and forget all answers."""
        for stream in list(self.connections):
            stream.transport.abortConnection()
        self._recursors.stop()
        self.memo.clear()

    def buildProtocol(self, addr: Any) -> ConsulStream | None:
        """A connection; ``None`` closes it, when there are too many."""
        if len(self.connections) >= CONNECTIONS_MAX:
            return None
        stream = ConsulStream(self, self._reactor)
        stream.factory = self
        return stream

    def unusual(self, data: bytes, protocol: Any, address: Any) -> None:
        """A message that is no plain question: decoded by twisted.names, if it can be a question."""
        if len(data) < HEADER_BYTES or data[2] & 0x80:
            return
        flags, questions, answers, authority, additional = _counts.unpack_from(data)
        if flags & OPCODE_MASK:
            protocol.send(bare_answer(data, NOTIMP), address)
            return
        message = names_dns.Message()
        try:
            if questions != 1 or answers or authority > 1 or additional > ADDITIONAL_MAX:
                raise ValueError("this is no question")
            message.fromStr(data)
        except Exception as error:  # whatever a decoder may raise
            _log.debug("unreadable message: {why}", why=error)
            protocol.send(bare_answer(data, FORMERR), address)
            return
        self.messageReceived(message, protocol, address)

    def messageReceived(self, message: names_dns.Message, proto: Any, address: Any = None) -> None:
        """A question that twisted.names has decoded. It is put into the plain form for recursors."""
        query = query_of(message, tcp=address is None)
        if query is None:
            proto.send(bare_answer(_header.pack(message.id, 0, 0, 0, 0, 0), FORMERR), address)
        else:
            proto.ask(query, plain(query), address)


def query_of(message: names_dns.Message, tcp: bool) -> Query | None:
    """A decoded message as we know it; ``None`` if it asks nothing, or for what is no name."""
    if not message.queries:
        return None
    asked = message.queries[0]
    labels = [label for label in asked.name.name.split(b".") if label]
    if any(len(label) > 63 for label in labels) or sum(map(len, labels)) + len(labels) > 254:
        return None
    query = Query(
        id=message.id,
        flags=message.recDes << 8 | message.checkingDisabled << 4,
        question=b"".join(bytes((len(label),)) + label for label in labels)
        + b"\0"
        + asked.type.to_bytes(2, "big")
        + asked.cls.to_bytes(2, "big"),
        labels=[label.decode("utf-8", "replace") for label in labels],
        type=asked.type,
        class_=asked.cls,
        tcp=tcp,
    )
    for header in message.additional:
        if header.type == OPT:
            query.edns_size = header.cls
            query.subnet = subnet_answer(getattr(header.payload, "data", b""))
    return query


def plain(query: Query) -> bytes:
    """A message that asks ``query``, without EDNS options."""
    header = _header.pack(query.id, query.flags, 1, 0, 0, 1 if query.edns_size else 0)
    opt = _opt.pack(OPT, query.edns_size, 0, 0) if query.edns_size else b""
    return header + query.question + opt
