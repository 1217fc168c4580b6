"""Checks that send a datagram."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol

from pyconsul.checks.definition import CheckType
from pyconsul.checks.dialing import split_address
from pyconsul.checks.outcome import Outcome
from pyconsul.structs.catalog import CRITICAL, PASSING

PAYLOAD = b"pyconsul"


class UdpProbe:
    """Critical if the other side says that nobody listens (ICMP); any answer, or none, is passing.

    UDP knows no acknowledgement: who answers nothing may still be well. A run so takes all of its
    ``timeout`` when nothing comes back.
    """

    def __init__(self, definition: CheckType, reactor: Any) -> None:
        self._address = definition.target
        self._reactor = reactor

    def run(self) -> Deferred[Outcome]:
        """Send one."""
        return Deferred.fromCoroutine(self._send())

    def timed_out(self) -> Outcome:
        """Nothing came back, which is fine."""
        return Outcome(PASSING, f"UDP connect {self._address}: Success")

    async def _send(self) -> Outcome:
        try:
            host, port = split_address(self._address)
        except ValueError as error:
            return Outcome(CRITICAL, f"dial udp: {error}")
        try:
            numeric = await self._reactor.resolve(host)
        except OSError:
            return Outcome(CRITICAL, f"dial udp: lookup {host}: no such host")
        except Exception as error:
            return Outcome(CRITICAL, f"dial udp: lookup {host}: {error}")
        question = _Question(numeric, port)
        local = "::" if ":" in numeric else ""
        listening = self._reactor.listenUDP(0, question, interface=local)
        try:
            refused = await question.done
        finally:
            listening.stopListening()
        if refused:
            return Outcome(CRITICAL, f"read udp {self._address}: read: connection refused")
        return Outcome(PASSING, f"UDP connect {self._address}: Success")


class _Question(DatagramProtocol):
    """One datagram.

    :ivar done: fires with whether it was refused.
    """

    noisy = False

    def __init__(self, host: str, port: int) -> None:
        self._peer = (host, port)
        self.done: Deferred[bool] = Deferred()

    def startProtocol(self) -> None:
        """Send; a connected socket also hears of refusals."""
        transport: Any = self.transport
        transport.connect(*self._peer)
        try:
            transport.write(PAYLOAD)
        except OSError:
            self._end(True)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Somebody is there."""
        self._end(False)

    def connectionRefused(self) -> None:
        """Nobody listens."""
        self._end(True)

    def stopProtocol(self) -> None:
        """A reactor with epoll ends a socket that an ICMP error came for."""
        self._end(True)

    def _end(self, refused: bool) -> None:
        if not self.done.called:
            self.done.callback(refused)
