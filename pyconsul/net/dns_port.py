"""A UDP port that does less per datagram than Twisted's, and keeps more of them in the kernel."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReactorUDP
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.udp import Port

from pyconsul.log import make_logger

DATAGRAM_BYTES_MAX = 8192
DATAGRAMS_PER_WAKE = 64
RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024

_log = make_logger("agent.dns")


class LeanPort(Port):
    """Reads up to 64 datagrams a wake-up and sends without looking twice.

    A datagram that the kernel does not take is lost, as datagrams are. Addresses are handed over as
    the socket gives them, with the scope of an IPv6 address, and are taken back so.
    """

    def createInternetSocket(self) -> socket.socket:
        """With room for bursts; the kernel gives as much as it allows."""
        made: socket.socket = super().createInternetSocket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        return made

    def doRead(self) -> None:
        """Hand over what has come."""
        receive = self.socket.recvfrom
        received = self.protocol.datagramReceived
        for _ in range(DATAGRAMS_PER_WAKE):
            try:
                data, address = receive(DATAGRAM_BYTES_MAX)
            except OSError:
                return
            try:
                received(data, address)
            except Exception:
                _log.failure("bug while a datagram was handled")

    def write(self, datagram: bytes, addr: Any = None) -> None:
        """Send, or lose, a datagram."""
        try:
            self.socket.sendto(datagram, addr)
        except OSError:
            pass


def listen_udp(reactor: Any, port: int, protocol: DatagramProtocol, interface: str) -> Any:
    """A listening UDP port on any reactor; lean where the reactor waits on descriptors.

    :raises twisted.internet.error.CannotListenError: if the address is in use.
    """
    if IReactorFDSet.providedBy(reactor) and IReactorUDP.providedBy(reactor):
        listening = LeanPort(port, protocol, interface, DATAGRAM_BYTES_MAX, reactor)
        listening.startListening()
        return listening
    return reactor.listenUDP(port, protocol, interface=interface, maxPacketSize=DATAGRAM_BYTES_MAX)
