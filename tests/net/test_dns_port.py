"""The UDP port of the DNS server."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pyconsul.net.dns_port import DATAGRAMS_PER_WAKE, LeanPort, listen_udp

reactor: Any = any_reactor


class Echo(DatagramProtocol):
    noisy = False

    def __init__(self) -> None:
        self.came: list[bytes] = []
        self.done: Deferred[None] = Deferred()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.came.append(datagram)
        if datagram == b"bug":
            raise ZeroDivisionError
        self.transport.write(datagram[::-1], addr)  # type: ignore[union-attr]
        if datagram == b"end":
            self.done.callback(None)


class LeanPortTests(TestCase):
    def setUp(self) -> None:
        self.echo = Echo()
        self.port = listen_udp(reactor, 0, self.echo, "127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.client.close)
        self.client.settimeout(5)
        self.client.connect(("127.0.0.1", self.port.getHost().port))

    async def test_datagrams(self) -> None:
        """Come, are answered, and outlive a bug."""
        self.assertIsInstance(self.port, LeanPort)
        for data in (b"one", b"bug", b"end"):
            self.client.send(data)
        await self.echo.done
        self.assertEqual([self.client.recv(99), self.client.recv(99)], [b"eno", b"dne"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_no_more_than_so_many_at_once(self) -> None:
        """So that a flood leaves time for others."""
        for at in range(DATAGRAMS_PER_WAKE + 5):
            self.client.send(b"%d" % at)
        self.port.doRead()
        self.assertEqual(len(self.echo.came), DATAGRAMS_PER_WAKE)
        self.port.doRead()
        self.assertEqual(len(self.echo.came), DATAGRAMS_PER_WAKE + 5)

    def test_what_cannot_be_sent_is_lost(self) -> None:
        self.port.write(b"x" * 70000, ("127.0.0.1", 9))

    def test_room_for_bursts(self) -> None:
        size = self.port.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        plain = self.client.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.assertGreaterEqual(size, plain)


class OtherReactorTests(SynchronousTestCase):
    def test_any_reactor_will_do(self) -> None:
        """Where there are no descriptors to wait on, it gives the port itself."""
        given: list[Any] = []

        class Reactor:
            def listenUDP(self, *args: Any, **more: Any) -> str:
                given.append((args, more))
                return "port"

        echo = Echo()
        self.assertEqual(listen_udp(Reactor(), 53, echo, "::1"), "port")
        self.assertEqual(given, [((53, echo), {"interface": "::1", "maxPacketSize": 8192})])
