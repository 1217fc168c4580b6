"""The transport, with fake and with real sockets."""

from __future__ import annotations

from typing import Any

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock, StringTransportWithDisconnection
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pyconsul.errors import Unreachable
from pyconsul.interfaces import Address
from pyconsul.net.gossip_transport import UdpTcpGossipTransport, reactor_resolver
from pyconsul.swim.messages import Ack, Ping
from pyconsul.swim.wire import DecodeError

PEER = IPv4Address("TCP", "127.0.0.1", 40000)
PING = Ping(1, "n").encode()
ACK = Ack(1).encode()


class UdpPort:
    """A UDP port that nothing goes out of."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.written: list[tuple[bytes, Address]] = []
        self.error: Exception | None = None
        self.options: list[int] = []
        self.socket = self
        self.refused_above = 1 << 20
        protocol.makeConnection(self)

    def write(self, packet: bytes, to: Address) -> None:
        if self.error is not None:
            raise self.error
        self.written.append((packet, to))

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.options.append(value)
        if value > self.refused_above:
            raise OSError("too much")

    def stopListening(self) -> None: ...


class Reactor(MemoryReactorClock):
    """A reactor in memory that knows UDP."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: set[int] = set()
        self.udp: list[tuple[int, str, UdpPort]] = []

    def listenUDP(self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192) -> UdpPort:
        if port in self.taken:
            raise error.CannotListenError(interface, port, OSError("taken"))
        found = UdpPort(protocol)
        self.udp.append((port, interface, found))
        self.size = maxPacketSize
        return found


class Wire(StringTransportWithDisconnection):
    """The wire of one stream."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()


class TransportTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.transport = UdpTcpGossipTransport(self.reactor, "127.0.0.1", 8301)
        self.transport.start()
        self.port = self.reactor.udp[-1][2]

    def incoming(self) -> tuple[Any, Wire]:
        """A stream from somebody; its protocol is ``None`` if it was dropped."""
        protocol = self.reactor.tcpServers[-1][1].buildProtocol(PEER)
        wire = Wire()
        if protocol is not None:
            wire.protocol = protocol
            protocol.makeConnection(wire)
        return protocol, wire

    def outgoing(self, answer: bool = True) -> tuple[Deferred[bytes], Any, Wire]:
        """A stream to somebody, connected."""
        done = self.transport.exchange(PING, ("127.0.0.9", 8301), 5.0, answer)
        protocol: Any = self.reactor.tcpClients[-1][2].buildProtocol(PEER)
        wire = Wire()
        wire.protocol = protocol
        protocol.makeConnection(wire)
        return done, protocol, wire


class PacketTests(TransportTestCase):
    def test_listens(self) -> None:
        self.assertEqual(self.reactor.tcpServers[-1][0], 8301)
        self.assertEqual(self.reactor.udp[-1][:2], (8301, "127.0.0.1"))
        self.assertEqual(self.reactor.size, 65536)
        self.assertEqual(self.port.options, [2 << 20, 1 << 20])

    def test_receives(self) -> None:
        got: list[Any] = []
        self.transport.packet_received = lambda packet, source: got.append((packet, source))
        self.port.protocol.datagramReceived(b"x", ("10.0.0.1", 5))
        self.assertEqual(got, [(b"x", ("10.0.0.1", 5))])

    def test_errors_of_the_receiver_are_logged(self) -> None:
        def broken(data: bytes, source: Address) -> None:
            raise ValueError("a bug")

        self.transport.packet_received = broken
        self.transport.stream_received = broken
        self.port.protocol.datagramReceived(b"x", ("10.0.0.1", 5))
        protocol, wire = self.incoming()
        protocol.dataReceived(PING)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)
        self.assertEqual((wire.value(), wire.connected), (b"", False))

    def test_sends(self) -> None:
        self.transport.send(b"x", ("10.0.0.1", 5))
        for problem in (OSError("no route"), error.MessageLengthError(), ValueError("no address")):
            self.port.error = problem
            self.transport.send(b"y", ("10.0.0.1", 5))
        self.port.error = None
        self.transport.stop()
        self.transport.send(b"z", ("10.0.0.1", 5))
        self.assertEqual(self.port.written, [(b"x", ("10.0.0.1", 5))])

    def test_not_started(self) -> None:
        transport = UdpTcpGossipTransport(Reactor(), "127.0.0.1", 8301)
        transport.send(b"x", ("10.0.0.1", 5))
        self.successResultOf(transport.stop())

    def test_taken_ports(self) -> None:
        """A fixed port fails at once, any other is looked for a few times."""
        reactor = Reactor()
        reactor.taken = {8301}
        fixed = UdpTcpGossipTransport(reactor, "127.0.0.1", 8301)
        self.assertRaises(error.CannotListenError, fixed.start)
        reactor.taken = {0}  # what the port of a fake listener is called
        some = UdpTcpGossipTransport(reactor, "127.0.0.1", 0)
        before = len(reactor.tcpServers)
        self.assertRaises(error.CannotListenError, some.start)
        self.assertEqual(len(reactor.tcpServers) - before, 16)


class IncomingTests(TransportTestCase):
    def test_answered(self) -> None:
        got: list[Any] = []

        def serve(request: bytes, source: Address) -> bytes:
            got.append((request, source))
            return ACK

        self.transport.stream_received = serve
        protocol, wire = self.incoming()
        protocol.dataReceived(PING[:4])
        self.assertEqual(got, [])
        protocol.dataReceived(PING[4:] + b"more")
        self.assertEqual(got, [(PING, ("127.0.0.1", 40000))])
        self.assertEqual((wire.value(), wire.connected), (ACK, False))
        protocol.dataReceived(PING)
        self.assertEqual(len(got), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_answer(self) -> None:
        protocol, wire = self.incoming()
        protocol.dataReceived(PING)
        self.assertEqual((wire.value(), wire.connected), (b"", False))

    def test_garbage(self) -> None:
        protocol, wire = self.incoming()
        protocol.dataReceived(b"\x63")
        self.assertTrue(wire.aborted)

    def test_stalled(self) -> None:
        protocol, wire = self.incoming()
        protocol.dataReceived(PING[:4])
        self.reactor.advance(9.9)
        self.assertFalse(wire.aborted)
        self.reactor.advance(0.2)
        self.assertTrue(wire.aborted)

    def test_bound(self) -> None:
        streams = [self.incoming() for _ in range(129)]
        self.assertIsNone(streams[128][0])
        streams[0][1].loseConnection()
        self.assertIsNotNone(self.incoming()[0])
        self.successResultOf(self.transport.stop())
        self.assertTrue(streams[1][1].aborted)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class OutgoingTests(TransportTestCase):
    def test_answered(self) -> None:
        done, protocol, wire = self.outgoing()
        self.assertEqual(wire.value(), PING)
        protocol.dataReceived(ACK[:3])
        self.assertNoResult(done)
        protocol.dataReceived(ACK[3:])
        self.assertEqual(self.successResultOf(done), ACK)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.connectors[-1]._disconnected, True)

    def test_no_answer_wanted(self) -> None:
        done, _, wire = self.outgoing(answer=False)
        self.assertEqual((wire.value(), wire.connected), (PING, False))
        self.assertEqual(self.successResultOf(done), b"")

    def test_closed_without_an_answer(self) -> None:
        done, _, wire = self.outgoing()
        wire.loseConnection()
        self.assertEqual(str(self.failureResultOf(done, Unreachable).value), "EOF")

    def test_garbage(self) -> None:
        done, protocol, _ = self.outgoing()
        protocol.dataReceived(b"\x63")
        self.failureResultOf(done, DecodeError)

    def test_timeout(self) -> None:
        done, _, _ = self.outgoing()
        self.reactor.advance(5.1)
        self.assertIn("i/o timeout", str(self.failureResultOf(done, Unreachable).value))

    def test_dial_errors(self) -> None:
        for problem, text in (
            (error.ConnectionRefusedError(), "connect: connection refused"),
            (error.TimeoutError(), "i/o timeout"),
            (error.NoRouteError(), "connect: no route to host"),
            (error.ConnectError(string="odd"), "connect: An error occurred while connecting: odd."),
        ):
            done = self.transport.exchange(PING, ("127.0.0.9", 8301), 5.0, True)
            factory: Any = self.reactor.tcpClients[-1][2]
            factory.clientConnectionFailed(None, Failure(problem))
            error_text = str(self.failureResultOf(done, Unreachable).value)
            self.assertEqual(error_text, f"dial tcp 127.0.0.9:8301: {text}")

    def test_cancelled_and_stopped(self) -> None:
        done, _, _ = self.outgoing()
        done.cancel()
        self.assertEqual(str(self.failureResultOf(done, Unreachable).value), "cancelled")
        done, _, _ = self.outgoing()
        self.successResultOf(self.transport.stop())
        self.assertEqual(str(self.failureResultOf(done, Unreachable).value), "shutting down")


class ResolverTests(SynchronousTestCase):
    def test_names(self) -> None:
        class Names:
            def resolveHostName(self, receiver: Any, host: str) -> None:
                receiver.resolutionBegan(None)
                for address in ("10.0.0.1", "10.0.0.1", "10.0.0.2") if host == "known" else ():
                    receiver.addressResolved(IPv4Address("TCP", address, 0))
                receiver.resolutionComplete()

        class WithNames:
            nameResolver = Names()

        resolve = reactor_resolver(WithNames())
        self.assertEqual(self.successResultOf(resolve("known")), ["10.0.0.1", "10.0.0.2"])
        failure = self.failureResultOf(resolve("unknown"), Unreachable)
        self.assertEqual(str(failure.value), "lookup unknown: no such host")


class RealSocketTests(TestCase):
    async def test_both_ways(self) -> None:
        """A packet and a stream between two real transports; then nobody is there."""
        from twisted.internet import reactor

        one, two = (UdpTcpGossipTransport(reactor, "127.0.0.1", 0) for _ in range(2))
        one.start()
        two.start()
        try:
            came: Deferred[Any] = Deferred()
            two.packet_received = lambda packet, source: came.callback((packet, source))
            two.stream_received = lambda request, source: ACK if request == PING else None
            one.send(b"hello" * 1000, two.address)
            self.assertEqual(await came, (b"hello" * 1000, one.address))
            self.assertEqual(await one.exchange(PING, two.address, 5.0, True), ACK)
            self.assertEqual(await one.exchange(PING, two.address, 5.0, False), b"")
            with self.assertRaises(Unreachable) as caught:
                await one.exchange(Ack(9).encode(), two.address, 5.0, True)
            self.assertEqual(str(caught.exception), "EOF")
        finally:
            await two.stop()
        with self.assertRaises(Unreachable) as caught:
            await one.exchange(PING, two.address, 5.0, True)
        self.assertIn("connection refused", str(caught.exception))
        await one.stop()
