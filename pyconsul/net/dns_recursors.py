"""Passing questions about other names on to recursors, one after the other until one answers.

A question goes out as it came in, and its answer goes back as it came, but for the id. Each question
has a socket of its own that is connected to the recursor, so an answer that somebody makes up has to
guess a port, an id and the address.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.names import dns as names_dns
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure

from pyconsul.dns.settings import DnsSettings
from pyconsul.dns.wire import AAAA, CNAME, REFUSED, SERVFAIL, A, Record, name_bytes
from pyconsul.log import make_logger

DNS_PORT = 53
QUESTIONS_MAX = 2048
ANSWER_BYTES_MAX = 65535


def recursor_address(text: str) -> tuple[str, int]:
    """Host and port of ``IP``, ``IP:PORT``, ``[IP6]`` or ``[IP6]:PORT``.

    :raises ValueError: if the port is none.
    """
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    return host, int(port) if port else DNS_PORT


class Recursors:
    """The recursors of a DNS server.

    :param reactor: for UDP ports and TCP connections.
    """

    def __init__(self, reactor: Any, clock: IReactorTime, rng: Random) -> None:
        self._reactor = reactor
        self._clock = clock
        self._rng = rng
        self._addresses: list[tuple[str, int]] = []
        self._timeout_s = 2.0
        self._waiting: set[_Asking] = set()

    def __bool__(self) -> bool:
        return bool(self._addresses)

    def configure(self, settings: DnsSettings) -> None:
        """Use other recursors for questions from now on."""
        self._addresses = [recursor_address(text) for text in settings.recursors]
        self._timeout_s = settings.recursor_timeout_s

    def ask(self, data: bytes, tcp: bool) -> Deferred[bytes | None]:
        """The answer to the message ``data``; ``None`` if no recursor gives one in time."""
        if len(self._waiting) >= QUESTIONS_MAX or not self._addresses:
            return succeed(None)
        asking = _Asking(self, data, tcp, list(self._addresses))
        self._waiting.add(asking)
        asking.next()
        return asking.answer

    def records(self, host: str, type_: int) -> Deferred[list[Record]]:
        """The addresses and CNAMEs of ``host``; none if they cannot be found out."""
        message = names_dns.Message(id=0, recDes=1)
        message.addQuery(host.rstrip(".").encode(), type_, names_dns.IN)
        answer: Deferred[Any] = self.ask(message.toStr(), tcp=False)
        answer.addCallback(_records)
        answer.addErrback(self._unreadable)
        return answer

    def _unreadable(self, failure: Failure) -> list[Record]:
        _log.debug("unreadable answer of a recursor: {why}", why=failure.value)
        return []

    def stop(self) -> None:
        """Give up on everything that waits."""
        for asking in list(self._waiting):
            asking.give_up()


_log = make_logger("agent.dns")


class _Asking:
    """One question on its way past the recursors."""

    def __init__(
        self, recursors: Recursors, data: bytes, tcp: bool, addresses: Sequence[tuple[str, int]]
    ) -> None:
        self.answer: Deferred[bytes | None] = Deferred()
        self._recursors = recursors
        self._data = data
        self._tcp = tcp
        self._left = list(addresses)
        self._attempt: _Attempt | None = None

    def next(self) -> None:
        """Ask the next recursor."""
        if not self._left:
            self.give_up()
            return
        address = self._left.pop(0)
        recursors = self._recursors
        ident = recursors._rng.getrandbits(16).to_bytes(2, "big")
        kind = _TcpAttempt if self._tcp else _UdpAttempt
        self._attempt = kind(self, ident + self._data[2:])
        self._attempt.begin(recursors._reactor, recursors._clock, address, recursors._timeout_s)

    def answered(self, data: bytes) -> None:
        """A recursor answered."""
        self._attempt = None
        if data[3] & 0xF in (SERVFAIL, REFUSED):
            self.next()
            return
        self._done(self._data[:2] + data[2:])

    def failed(self) -> None:
        """A recursor did not answer in time, or cannot be reached."""
        self._attempt = None
        self.next()

    def give_up(self) -> None:
        """There is no answer."""
        self._left.clear()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.close()
        self._done(None)

    def _done(self, data: bytes | None) -> None:
        self._recursors._waiting.discard(self)
        self.answer.callback(data)


class _Attempt:
    """One question to one recursor: ends in ``answered`` or ``failed`` once, within the timeout."""

    def __init__(self, asking: _Asking, data: bytes) -> None:
        self._asking: _Asking | None = asking
        self._data = data
        self._timer: IDelayedCall | None = None

    def begin(self, reactor: Any, clock: IReactorTime, address: tuple[str, int], timeout_s: float) -> None:
        self._timer = clock.callLater(timeout_s, self.end, None)
        self.send(reactor, address)

    def send(self, reactor: Any, address: tuple[str, int]) -> None:
        raise NotImplementedError

    def release(self) -> None:
        """Close the socket."""
        raise NotImplementedError

    def received(self, data: bytes) -> None:
        """Take ``data`` if it is the answer to this question."""
        size = len(self._data)
        if len(data) >= 12 and data[:2] == self._data[:2] and data[2] & 0x80:
            end = 12
            while end < size and self._data[end]:
                end += 1 + self._data[end]
            end += 5
            if data[12:end].lower() == self._data[12:end].lower() or not any(data[4:6]):
                self.end(data)

    def end(self, data: bytes | None) -> None:
        """Report, once."""
        asking = self._asking
        if asking is None:
            return
        self.close()
        if data is None:
            asking.failed()
        else:
            asking.answered(data)

    def close(self) -> None:
        """Report nothing any more."""
        self._asking = None
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        self.release()


class _UdpAttempt(_Attempt, DatagramProtocol):
    noisy = False

    def __init__(self, asking: _Asking, data: bytes) -> None:
        super().__init__(asking, data)
        self._port: Any = None

    def send(self, reactor: Any, address: tuple[str, int]) -> None:
        try:
            self._port = reactor.listenUDP(
                0, self, interface="::" if ":" in address[0] else "", maxPacketSize=ANSWER_BYTES_MAX
            )
            self._port.connect(*address)
            self._port.write(self._data)
        except (CannotListenError, OSError, ValueError):
            self.end(None)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.received(datagram)

    def connectionRefused(self) -> None:
        self.end(None)

    def release(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            port.stopListening()


class _TcpAttempt(_Attempt):
    def __init__(self, asking: _Asking, data: bytes) -> None:
        super().__init__(asking, data)
        self._connection: _Connection | None = None
        self._connecting: Deferred[Any] | None = None

    def send(self, reactor: Any, address: tuple[str, int]) -> None:
        endpoint = HostnameEndpoint(reactor, address[0], address[1])
        self._connecting = endpoint.connect(Factory.forProtocol(_Connection))
        self._connecting.addCallbacks(self._connected, lambda failure: self.end(None))

    def _connected(self, connection: _Connection) -> None:
        self._connecting = None
        self._connection = connection
        connection.attempt = self
        connection.sendString(self._data)

    def release(self) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.attempt = None
            connection.transport.abortConnection()  # type: ignore[union-attr]


class _Connection(Int16StringReceiver):
    attempt: _TcpAttempt | None = None

    def stringReceived(self, string: bytes) -> None:
        if self.attempt is not None:
            self.attempt.received(string)

    def connectionLost(self, reason: Failure = Failure) -> None:  # type: ignore[assignment]
        if self.attempt is not None:
            self.attempt.end(None)


def _records(data: bytes | None) -> list[Record]:
    """Addresses and CNAMEs among the answers of a message."""
    if data is None:
        return []
    message = names_dns.Message()
    message.fromStr(data)
    records = []
    for header in message.answers:
        payload: Any = header.payload
        owner = name_bytes(header.name.name.decode())
        if header.type in (A, AAAA):
            records.append(Record(owner, header.type, header.ttl, payload.address))
        elif header.type == CNAME:
            records.append(Record(owner, CNAME, header.ttl, b"", name_bytes(payload.name.name.decode())))
    return records
