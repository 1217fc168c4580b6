"""Gossip's streams inside TLS, in memory: who is spoken to how."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, connect
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import Unreachable
from pyconsul.interfaces import Address
from pyconsul.net.gossip_transport import UdpTcpGossipTransport
from pyconsul.net.tls import Tls, TlsOptions
from pyconsul.net.tls_files import RealReader, TlsFiles
from pyconsul.swim.messages import Ack, Ping
from tests.checks.certificates import CLIENT, Authority
from tests.net.test_gossip_transport import Reactor

PEER = IPv4Address("TCP", "10.0.0.1", 40000)
PING = Ping(1, "n").encode()
ACK = Ack(1).encode()
TO = ("10.0.0.9", 8301)


class Deaf(Protocol):
    """As memberlist does: closes what begins with a byte that it does not know."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


class Noting(FakeTransport):
    """A transport that notes the first byte that is written."""

    first = b""

    def write(self, data: bytes) -> None:
        self.first = self.first or data[:1]
        super().write(data)


class GossipTlsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.authority, self.other = Authority(), Authority()
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.folder.mkdir()
        self.reactor = Reactor()
        self.warned: list[str] = []
        self.received: list[bytes] = []

    def tls(
        self, *names: str, by: Authority | None = None, uses: Any = (), hours: float = 1.0, **options: Any
    ) -> Tls:
        number = len(os.listdir(self.folder))
        ca = self.folder / f"{number}.pem"
        ca.write_bytes(self.authority.pem())
        cert, key = (by or self.authority).write(
            self.folder / f"{number}", *(names or ("n",)), uses=uses, hours=hours
        )
        files = TlsFiles(ca_file=str(ca), cert_file=str(cert), key_file=str(key))
        return Tls(RealReader(), self.reactor, TlsOptions(files=files, verify_outgoing=True, **options))

    def node(self, tls: Tls | None, speaks: bool | None = None) -> UdpTcpGossipTransport:
        """A node that believes that all others take TLS, or not."""
        made = UdpTcpGossipTransport(self.reactor, "10.0.0.1", 8301, tls=tls)
        made.speaks_tls = lambda to: speaks
        made.stream_received = self._answer
        made._log.warn = lambda form, **fields: self.warned.append(form.format(**fields))
        made.start()
        return made

    def _answer(self, request: bytes, source: Address) -> bytes:
        self.received.append(request)
        return ACK

    def meet(self, node: UdpTcpGossipTransport | None) -> bytes:
        """Connect what ``exchange`` dialled last; the first bytes that go over the wire."""
        dialled: Any = self.reactor.tcpClients[-1][2].buildProtocol(PEER)
        server: Any = Deaf()
        if node is not None:
            factories: list[Any] = [port[1] for port in self.reactor.tcpServers]
            server = next(one for one in factories if one._owner is node).buildProtocol(PEER)
        near, far = Noting(dialled, False, peerAddress=PEER), FakeTransport(server, True, peerAddress=PEER)
        connect(server, far, dialled, near).flush()
        return near.first

    def exchange(self, node: UdpTcpGossipTransport, answer: bool = True) -> Deferred[bytes]:
        return node.exchange(PING, TO, 5.0, answer)

    def test_inside(self) -> None:
        """Two who have certificates, for whatever they are good."""
        one, two = self.node(self.tls(uses=(CLIENT,)), True), self.node(self.tls(uses=(CLIENT,)))
        done = self.exchange(one)
        self.assertEqual(self.meet(two), b"\x16")
        self.assertEqual((self.successResultOf(done), self.received), (ACK, [PING]))
        self.assertEqual((self.warned, self.reactor.getDelayedCalls()), ([], []))

    def test_without_an_answer(self) -> None:
        """What is only sent arrives, too."""
        one, two = self.node(self.tls(), True), self.node(self.tls())
        two.stream_received = lambda request, source: self.received.append(request)
        done = self.exchange(one, False)
        self.meet(two)
        self.assertEqual((self.successResultOf(done), self.received), (b"", [PING]))

    def test_plain(self) -> None:
        """Others are spoken to as ever, and all who speak so are answered, also by who verifies."""
        for tls, speaks in ((self.tls(), False), (None, True)):
            one, two = self.node(tls, speaks), self.node(self.tls(verify_incoming_rpc=True))
            done = self.exchange(one)
            self.assertEqual(self.meet(two), PING[:1])
            self.assertEqual(self.successResultOf(done), ACK)

    def test_only_incoming(self) -> None:
        """Who does not verify others does not speak TLS to them."""
        tls = self.tls()
        tls.take(tls.read(TlsOptions(files=tls.state.options.files)))
        done = self.exchange(self.node(tls, True))
        self.assertEqual(self.meet(self.node(tls)), PING[:1])
        self.assertEqual(self.successResultOf(done), ACK)

    def test_unknown(self) -> None:
        """TLS is tried first, and if that is not understood, once more without."""
        done = self.exchange(self.node(self.tls()))
        self.assertEqual(self.meet(None), b"\x16")
        self.assertNoResult(done)
        self.assertEqual(len(self.reactor.tcpClients), 2)
        self.assertEqual(self.meet(self.node(None)), PING[:1])
        self.assertEqual(self.successResultOf(done), ACK)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_unknown_that_speaks_tls(self) -> None:
        """It is not spoken to otherwise, even if there is something wrong."""
        done = self.exchange(self.node(self.tls()))
        self.meet(self.node(self.tls()))
        self.assertEqual(self.successResultOf(done), ACK)
        done = self.exchange(self.node(self.tls()))
        self.meet(self.node(self.tls(by=self.other)))
        error = self.failureResultOf(done, Unreachable).value
        self.assertEqual(
            str(error), "dial tcp 10.0.0.9:8301: TLS: x509: certificate signed by unknown authority"
        )
        self.assertEqual(
            self.warned, ["gossip stream from 10.0.0.1:40000 refused: TLS: the peer refused: unknown ca"]
        )

    def test_one_that_should(self) -> None:
        """Who says that it takes TLS is not spoken to without."""
        done = self.exchange(self.node(self.tls(), True))
        self.meet(None)
        error = self.failureResultOf(done, Unreachable).value
        self.assertEqual(str(error), "dial tcp 10.0.0.9:8301: TLS: the peer closed the connection")
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_refused(self) -> None:
        """Who verifies lets nobody in without a good certificate; both sides know why."""
        verifying = self.tls(verify_incoming_rpc=True)
        for bad, why in (
            (self.tls(by=self.other), "x509: certificate signed by unknown authority"),
            (self.tls(hours=-1), "x509: certificate has expired"),
        ):
            done = self.exchange(self.node(bad, True))
            self.meet(self.node(verifying))
            error = self.failureResultOf(done, Unreachable).value
            self.assertIn("dial tcp 10.0.0.9:8301: TLS: the peer refused: ", str(error))
            self.assertEqual(self.warned.pop(), f"gossip stream from 10.0.0.1:40000 refused: TLS: {why}")
        self.assertEqual(self.received, [])
        self.assertTrue(self.successResultOf(self._taken(verifying)))

    def _taken(self, verifying: Tls) -> Deferred[bytes]:
        done = self.exchange(self.node(self.tls(), True))
        self.meet(self.node(verifying))
        return done

    def test_without_a_certificate(self) -> None:
        """TLS is nothing for who has none."""
        done = self.exchange(self.node(self.tls(), True))
        self.meet(self.node(None))
        self.failureResultOf(done, Unreachable)
        (line,) = self.warned
        self.assertIn("refused: it speaks TLS, but this agent has no certificate", line)

    def test_too_slow(self) -> None:
        """All of it has its time, also the second try."""
        done = self.exchange(self.node(self.tls()))
        dialled: Any = self.reactor.tcpClients[-1][2].buildProtocol(PEER)
        dialled.makeConnection(FakeTransport(dialled, False))
        self.reactor.advance(5.1)
        error = self.failureResultOf(done, Unreachable).value
        self.assertIn("10.0.0.9:8301: ", str(error))
        dialled.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(self.reactor.tcpClients), 1)
