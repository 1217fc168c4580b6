"""The lean reactor keeps Twisted's contract. Each test runs a reactor of its own over loopback."""

from __future__ import annotations

import datetime
import socket
import struct
from collections.abc import Callable
from time import monotonic
from typing import Any

from twisted.internet import main, ssl
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

try:
    from pyconsul.net import reactor as reactor_module
    from pyconsul.net.reactor import EagerServer, LeanReactor
except ImportError:  # no epoll on this system
    LeanReactor = None  # type: ignore[assignment, misc]

LOOPBACK = "127.0.23.9"
LIMIT_S = 10.0
BIG = b"0123456789abcdef" * 256 * 1024  # 4 MiB: more than any socket buffer takes at once


class Recorder(Protocol):
    """Collects what comes; ``when`` maps a method name to what the test does then."""

    def __init__(self, **when: Callable[..., Any]) -> None:
        self.when = when
        self.got = bytearray()
        self.lost: Any = None

    def _do(self, name: str, *arguments: Any) -> None:
        if name in self.when:
            self.when[name](self, *arguments)

    def connectionMade(self) -> None:
        self._do("made")

    def dataReceived(self, data: bytes) -> None:
        self.got += data
        self._do("data", data)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = reason
        self._do("lost")


@implementer(IHalfCloseableProtocol)
class HalfRecorder(Recorder):
    """The same, and goes on after the other side has ended its half."""

    def readConnectionLost(self) -> None:
        self._do("read_lost")

    def writeConnectionLost(self) -> None:
        self._do("write_lost")


class Serves(Factory):
    def __init__(self, *protocols: Protocol) -> None:
        self.waiting = list(protocols)

    def buildProtocol(self, addr: Any) -> Protocol:
        return self.waiting.pop(0)


class Connects(ClientFactory):
    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self.one = protocol

    def buildProtocol(self, addr: Any) -> Protocol:
        return self.one


class LeanReactorTests(SynchronousTestCase):
    if LeanReactor is None:
        skip = "needs epoll"

    def setUp(self) -> None:
        self.reactor: Any = LeanReactor()
        self.timed_out = False
        self.addCleanup(self._close)

    def _close(self) -> None:
        for reader in list(self.reactor._internalReaders):
            reader.connectionLost(None)
        self.reactor._poller.close()

    def run_reactor(self) -> None:
        """Run until a test's protocol stops it; fail if none does."""

        def late() -> None:
            self.timed_out = True
            self.reactor.stop()

        call = self.reactor.callLater(LIMIT_S, late)
        self.reactor.run(installSignalHandlers=False)
        if call.active():
            call.cancel()
        self.assertFalse(self.timed_out, "nothing more happened")

    def stop(self, *_: Any) -> None:
        if self.reactor.running:
            self.reactor.callLater(0, self._stop_once)

    def _stop_once(self) -> None:
        if self.reactor.running and not self.reactor._stopped:
            self.reactor.stop()

    def connect(self, server: Protocol, client: Protocol) -> None:
        port = self.reactor.listenTCP(0, Serves(server), interface=LOOPBACK)
        self.reactor.connectTCP(LOOPBACK, port.getHost().port, Connects(client))

    def test_server_transport_is_eager(self) -> None:
        """Ports of ``listenTCP`` make eager transports, and what is written is sent before the turn ends."""
        seen = []

        def made(server: Recorder) -> None:
            server.transport.write(b"at once")  # type: ignore[union-attr]
            seen.append((type(server.transport), bytes(server.transport.dataBuffer)))  # type: ignore[union-attr]
            seen.append(server.transport._tempDataBuffer)  # type: ignore[union-attr]

        self.connect(Recorder(made=made), client := Recorder(data=self.stop))
        self.run_reactor()
        self.assertEqual(seen, [(EagerServer, b""), []])
        self.assertEqual(client.got, b"at once")

    def test_more_than_the_kernel_takes(self) -> None:
        """The rest of a partial send follows in order, and ``loseConnection`` waits for it."""

        def made(server: Recorder) -> None:
            server.transport.write(BIG)  # type: ignore[union-attr]
            server.transport.writeSequence([b"and ", b"the end"])  # type: ignore[union-attr]
            server.transport.loseConnection()  # type: ignore[union-attr]

        self.connect(Recorder(made=made), client := Recorder(lost=self.stop))
        self.run_reactor()
        self.assertEqual(client.got, BIG + b"and the end")

    def test_echo(self) -> None:
        """Reads and writes in both directions."""

        def echo(server: Recorder, data: bytes) -> None:
            server.transport.write(data)  # type: ignore[union-attr]

        def enough(client: Recorder, data: bytes) -> None:
            if len(client.got) == len(BIG):
                self.stop()

        client = Recorder(made=lambda c: c.transport.write(BIG), data=enough)
        self.connect(Recorder(data=echo), client)
        self.run_reactor()
        self.assertEqual(client.got, BIG)

    def test_streaming_producer(self) -> None:
        """A push producer is paused when the queue is full and resumed when it is gone."""
        events: list[str] = []

        class Pushes:
            left = 64

            def __init__(self, transport: Any) -> None:
                self.transport = transport
                self.paused = False

            def resumeProducing(self) -> None:
                events.append("resume")
                self.paused = False
                while self.left and not self.paused:
                    self.left -= 1
                    self.transport.write(b"x" * 65536)
                if not self.left:
                    self.transport.unregisterProducer()
                    self.transport.loseConnection()

            def pauseProducing(self) -> None:
                events.append("pause")
                self.paused = True

            def stopProducing(self) -> None:
                events.append("stop")

        def made(server: Recorder) -> None:
            producer = Pushes(server.transport)
            server.transport.registerProducer(producer, True)  # type: ignore[union-attr]
            producer.resumeProducing()

        self.connect(Recorder(made=made), client := Recorder(lost=self.stop))
        self.run_reactor()
        self.assertEqual(len(client.got), 64 * 65536)
        self.assertIn("pause", events)
        self.assertNotIn("stop", events)

    def test_pull_producer(self) -> None:
        """A pull producer is asked again each time its data is gone, though sends succeed at once."""

        class Pulled:
            left = 5

            def __init__(self, transport: Any) -> None:
                self.transport = transport

            def resumeProducing(self) -> None:
                self.left -= 1
                self.transport.write(b"%d" % self.left)
                if not self.left:
                    self.transport.unregisterProducer()
                    self.transport.loseConnection()

            def stopProducing(self) -> None:
                raise AssertionError("not asked for")

        def made(server: Recorder) -> None:
            server.transport.registerProducer(Pulled(server.transport), False)  # type: ignore[union-attr]

        self.connect(Recorder(made=made), client := Recorder(lost=self.stop))
        self.run_reactor()
        self.assertEqual(client.got, b"43210")

    def test_half_close(self) -> None:
        """When the client ends its half, a protocol that knows halves can still answer."""

        def read_lost(server: Recorder) -> None:
            server.transport.write(b"got " + bytes(server.got))  # type: ignore[union-attr]
            server.transport.loseConnection()  # type: ignore[union-attr]

        def made(client: Recorder) -> None:
            client.transport.write(b"all")  # type: ignore[union-attr]
            client.transport.loseWriteConnection()  # type: ignore[union-attr]

        self.connect(HalfRecorder(read_lost=read_lost), client := Recorder(made=made, lost=self.stop))
        self.run_reactor()
        self.assertEqual(client.got, b"got all")

    def test_half_close_by_us(self) -> None:
        """``loseWriteConnection`` sends what is queued, then only reads."""

        def made(server: Recorder) -> None:
            server.transport.write(b"last words")  # type: ignore[union-attr]
            server.transport.loseWriteConnection()  # type: ignore[union-attr]

        def read_lost(client: Recorder) -> None:
            client.transport.write(b"still heard")  # type: ignore[union-attr]
            client.transport.loseConnection()  # type: ignore[union-attr]

        server = HalfRecorder(made=made, lost=self.stop, read_lost=lambda s: s.transport.loseConnection())
        self.connect(server, client := HalfRecorder(read_lost=read_lost))
        self.run_reactor()
        self.assertEqual((bytes(client.got), bytes(server.got)), (b"last words", b"still heard"))

    def test_exception_in_a_protocol(self) -> None:
        """It is logged and costs that connection only."""

        def broken(server: Recorder, data: bytes) -> None:
            raise ZeroDivisionError("a bug")

        port = self.reactor.listenTCP(
            0, Serves(Recorder(data=broken), good := Recorder(data=self.stop)), interface=LOOPBACK
        )
        at = port.getHost().port
        second = Recorder(made=lambda c: c.transport.write(b"well"))
        first = Recorder(
            made=lambda c: c.transport.write(b"boom"),
            lost=lambda c: self.reactor.connectTCP(LOOPBACK, at, Connects(second)),
        )
        self.reactor.connectTCP(LOOPBACK, at, Connects(first))
        self.run_reactor()
        self.assertEqual(good.got, b"well")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_reset(self) -> None:
        """Writing to a client that has reset the connection loses it, later and with a reason."""
        inside: list[bool] = []

        def data(server: Recorder, _: bytes) -> None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.close()
            inside.append(True)
            for _attempt in range(3):
                server.transport.write(b"into the void")  # type: ignore[union-attr]
            inside.clear()

        def lost(server: Recorder) -> None:
            self.assertEqual(inside, [])
            self.stop()

        server = Recorder(data=data, lost=lost)
        port = self.reactor.listenTCP(0, Serves(server), interface=LOOPBACK)
        raw = socket.create_connection((LOOPBACK, port.getHost().port))
        raw.sendall(b"hello")
        self.run_reactor()
        self.assertIsNotNone(server.lost)

    def test_write_after_the_end(self) -> None:
        """A write on a lost or aborted connection does nothing."""

        def made(server: Recorder) -> None:
            server.transport.abortConnection()  # type: ignore[union-attr]
            server.transport.write(b"too late")  # type: ignore[union-attr]

        def lost(server: Recorder) -> None:
            server.transport.write(b"far too late")  # type: ignore[union-attr]
            self.stop()

        self.connect(Recorder(made=made, lost=lost), client := Recorder())
        self.run_reactor()
        self.assertEqual(client.got, b"")

    def test_tls_port(self) -> None:
        """``listenSSL`` works, with more data than one record or buffer holds."""
        context = _certificate().options()

        def made(server: Recorder) -> None:
            server.transport.write(BIG)  # type: ignore[union-attr]
            server.transport.loseConnection()  # type: ignore[union-attr]

        port = self.reactor.listenSSL(0, Serves(Recorder(made=made)), context, interface=LOOPBACK)
        client = Recorder(lost=self.stop)
        self.reactor.connectSSL(
            LOOPBACK, port.getHost().port, Connects(client), ssl.CertificateOptions(verify=False)
        )
        self.run_reactor()
        self.assertEqual(client.got, BIG)

    def test_start_tls(self) -> None:
        """An eager transport can change to TLS; later writes are encrypted.

        They are large ones, since Twisted leaves small ones to a timer of the global reactor.
        """
        context = _certificate().options()

        def asked(server: Recorder, data: bytes) -> None:
            server.transport.write(b"plain ")  # type: ignore[union-attr]
            server.transport.startTLS(context)  # type: ignore[union-attr]
            server.transport.write(BIG)  # type: ignore[union-attr]

        def data(client: Recorder, _: bytes) -> None:
            if client.got == b"plain ":
                client.transport.startTLS(ssl.CertificateOptions(verify=False))  # type: ignore[union-attr]
            if len(client.got) == len(b"plain ") + len(BIG):
                self.stop()

        client = Recorder(made=lambda c: c.transport.write(b"please"), data=data)
        self.connect(Recorder(data=asked), client)
        self.run_reactor()
        self.assertEqual(client.got, b"plain " + BIG)

    def test_reading_nothing(self) -> None:
        """A read that comes too early is no end; an error is one."""

        class Socket:
            error: OSError

            def recv(self, size: int) -> bytes:
                raise self.error

        transport: Any = EagerServer.__new__(EagerServer)
        transport.socket = Socket()
        transport.socket.error = BlockingIOError()
        self.assertIsNone(transport.doRead())
        transport.socket.error = ConnectionResetError()
        self.assertIs(transport.doRead(), main.CONNECTION_LOST)

    def test_interrupted_poll(self) -> None:
        """A signal during the wait is no error; other errors are."""

        class Poller:
            error: OSError

            def poll(self, timeout: float, events_max: int) -> list[Any]:
                raise self.error

            def close(self) -> None: ...

        self.reactor._poller.close()
        self.reactor._poller = Poller()
        self.reactor._poller.error = InterruptedError(4, "interrupted")
        self.reactor.doPoll(None)
        self.reactor._poller.error = OSError(9, "bad descriptor")
        self.assertRaises(OSError, self.reactor.doPoll, 0.0)

    def test_stay_awake(self) -> None:
        """Until something comes or the time is over, and never for longer than until the next timed call."""

        class Poller:
            def __init__(self) -> None:
                self.timeouts: list[float] = []
                self.events: list[list[Any]] = []

            def poll(self, timeout: float, events_max: int) -> list[Any]:
                self.timeouts.append(timeout)
                return self.events.pop(0) if self.events else []

            def close(self) -> None: ...

        def polled(timeout: float | None, *events: list[Any]) -> list[float]:
            poller.timeouts, poller.events = [], list(events)
            self.reactor.doPoll(timeout)
            return poller.timeouts

        self.reactor._poller.close()
        self.reactor._poller = poller = Poller()
        self.patch(reactor_module, "PROCESSORS", 2)
        self.assertEqual(polled(5.0), [5.0])
        self.reactor.stay_awake(LIMIT_S)
        self.assertEqual(polled(None, [], [], [(99, 1)]), [0, 0, 0])
        self.assertEqual(polled(0.0, [(99, 1)]), [0.0])
        self.assertEqual(polled(0.001)[-2:], [0, 0.001])
        self.reactor.stay_awake(LIMIT_S)
        self.reactor.stay_awake(0.0)
        self.assertEqual(polled(None), [-1])
        self.patch(reactor_module, "PROCESSORS", 1)
        self.reactor.stay_awake(LIMIT_S)
        self.assertEqual(polled(None), [-1])

    def test_closed_in_the_same_round(self) -> None:
        """An event for a descriptor that an earlier event has closed is passed over."""

        class Poller:
            def poll(self, timeout: float, events_max: int) -> list[Any]:
                return [(99, 1), (98, 4)]

            def close(self) -> None: ...

        self.reactor._poller.close()
        self.reactor._poller = Poller()
        self.reactor.doPoll(0.0)


class PluginTests(SynchronousTestCase):
    def test_known_by_name(self) -> None:
        """``twistd -r pyconsul`` finds it."""
        from twisted.application.reactors import getReactorTypes

        modules: dict[str, str] = {kind.shortName: kind.moduleName for kind in getReactorTypes()}  # type: ignore[attr-defined]
        self.assertEqual(modules["pyconsul"], "pyconsul.net.reactor")

    def test_install(self) -> None:
        """``install`` makes it the process's reactor."""
        if LeanReactor is None:
            self.skipTest("needs epoll")
        from pyconsul.net import reactor

        installed: list[Any] = []
        self.patch(main, "installReactor", installed.append)
        reactor.install()
        self.assertIsInstance(installed[0], LeanReactor)
        self.assertLess(abs(installed[0].seconds() - monotonic()), 60.0)
        for reader in list(installed[0]._internalReaders):
            reader.connectionLost(None)
        installed[0]._poller.close()


def _certificate() -> ssl.PrivateCertificate:
    """A key and a certificate that it signed itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    begin = datetime.datetime(2020, 1, 1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    loaded: ssl.PrivateCertificate = ssl.PrivateCertificate.loadPEM(pem)
    return loaded
