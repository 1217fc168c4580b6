"""The door of the server port."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.net.entrance import FIRST_BYTE_TIMEOUT_S, Doorman, Entrance, RpcLimits


class Recorder(Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


class EntranceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.refusals: list[str] = []
        limits = RpcLimits(connections_per_client_max=2, first_byte_timeout_s=1.5)
        self.entrance = Entrance(self.clock, {b"P": Recorder}, limits, self.refusals.append)

    def connect(self, host: str) -> StringTransportWithDisconnection | None:
        protocol = self.entrance.buildProtocol(IPv4Address("TCP", host, 1))
        if protocol is None:
            return None
        transport = StringTransportWithDisconnection()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return transport

    def test_too_many(self) -> None:
        """Of one address; places that are free again are used."""
        first = self.connect("192.0.2.1")
        self.assertIsNotNone(self.connect("192.0.2.1"))
        self.assertIsNone(self.connect("192.0.2.1"))
        self.assertEqual(self.refusals, ["too many RPC connections from 192.0.2.1"])
        self.assertIsNotNone(self.connect("192.0.2.2"))
        assert first is not None
        first.loseConnection()
        self.assertIsNotNone(self.connect("192.0.2.1"))
        self.assertIsNone(self.connect("192.0.2.1"))

    def test_all_gone(self) -> None:
        """Nothing is remembered of who has no connection."""
        one = self.connect("192.0.2.1")
        assert one is not None
        one.loseConnection()
        self.assertEqual(self.entrance._open, {})

    def test_without_limit(self) -> None:
        self.entrance.limits = RpcLimits()
        self.assertEqual([self.connect("192.0.2.1") for _ in range(300)].count(None), 0)

    def test_silence(self) -> None:
        """The limit is that of the configuration; zero is none."""
        one = self.connect("192.0.2.1")
        assert one is not None
        self.clock.advance(1.6)
        self.assertTrue(one.disconnected)
        self.entrance.limits = RpcLimits(first_byte_timeout_s=0)
        two = self.connect("192.0.2.1")
        assert two is not None
        self.assertEqual(self.clock.getDelayedCalls(), [])
        two.loseConnection()


class DoormanTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.refusals: list[str] = []
        self.inner = Recorder()
        self.doorman = Doorman(self.clock, {b"P": lambda: self.inner}, self.refusals.append)
        self.transport = StringTransportWithDisconnection()
        self.transport.protocol = self.doorman
        self.doorman.makeConnection(self.transport)

    def test_hands_over(self) -> None:
        """The rest of the first segment and all later ones go to who was chosen."""
        self.doorman.dataReceived(b"Pab")
        self.doorman.dataReceived(b"Pcd")
        self.assertEqual(self.inner.data, b"abPcd")
        self.transport.loseConnection()
        self.assertTrue(self.inner.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unknown_byte(self) -> None:
        """Nobody speaks Consul's Raft here."""
        self.doorman.dataReceived(b"\x01rest")
        self.assertTrue(self.transport.disconnected)
        self.assertEqual(self.inner.data, b"")
        (text,) = self.refusals
        self.assertTrue(text.endswith(" refused: unrecognized RPC byte 1"), text)

    def test_with_and_without_tls(self) -> None:
        """What could be spoken, but is not wanted, has a reason of its own."""
        for byte, why in (
            (b"P", "it does not speak TLS, which verify_incoming demands"),
            (b"\x03", "it speaks TLS, but this server has no certificate (cert_file and key_file)"),
        ):
            doorman = Doorman(self.clock, {}, self.refusals.append)
            transport = StringTransportWithDisconnection()
            transport.protocol = doorman
            doorman.makeConnection(transport)
            doorman.dataReceived(byte + b"rest")
            self.assertTrue(transport.disconnected)
            self.assertTrue(self.refusals[-1].endswith(why), self.refusals)

    def test_silence(self) -> None:
        """A connection that says nothing is closed."""
        self.clock.advance(FIRST_BYTE_TIMEOUT_S + 0.1)
        self.assertTrue(self.transport.disconnected)
