"""Questions that are passed on."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.names import dns as names_dns
from twisted.names.error import DomainError
from twisted.names.server import DNSServerFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pyconsul.dns.settings import DnsSettings
from pyconsul.dns.wire import AAAA, CNAME, A, Record, name_bytes
from pyconsul.net import dns_recursors
from pyconsul.net.dns_recursors import Recursors, recursor_address
from tests.dns.fakes import question, read

reactor: Any = any_reactor


class FakePort:
    """One connected UDP socket."""

    def __init__(self, protocol: Any, interface: str) -> None:
        self.protocol = protocol
        self.interface = interface
        self.to: tuple[str, int] | None = None
        self.sent = b""
        self.open = True

    def connect(self, host: str, port: int) -> None:
        if host == "host.test":
            raise ValueError("no address")
        self.to = (host, port)

    def write(self, data: bytes) -> None:
        self.sent = data

    def stopListening(self) -> None:
        self.open = False

    def answer(self, code: int = 0, **changes: bytes) -> None:
        data = changes.get("ident", self.sent[:2]) + b"\x81" + bytes((0x80 | code,))
        self.protocol.datagramReceived(data + self.sent[4:12] + changes.get("asked", self.sent[12:]), self.to)


class FakeReactor(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.ports: list[FakePort] = []
        self.full = False

    def listenUDP(self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 0) -> FakePort:
        if self.full:
            raise CannotListenError(interface, port, OSError())
        made = FakePort(protocol, interface)
        self.ports.append(made)
        return made


class UdpTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.recursors = Recursors(self.reactor, self.reactor, Random(3))
        self.configure("10.0.0.1", "10.0.0.2:5353", "[2001:db8::1]:54")

    def configure(self, *addresses: str) -> None:
        self.recursors.configure(DnsSettings(recursors=addresses, recursor_timeout_s=2.0))

    def ask(self) -> Deferred[bytes | None]:
        return self.recursors.ask(question("WWW.example.test"), tcp=False)

    @property
    def port(self) -> FakePort:
        return self.reactor.ports[-1]

    def test_an_answer(self) -> None:
        """From the first that is asked; with another id on the way, and the old one in the end."""
        answer = self.ask()
        self.assertEqual(
            (self.port.to, self.port.sent[2:]), (("10.0.0.1", 53), question("WWW.example.test")[2:])
        )
        self.assertNotEqual(self.port.sent[:2], b"\x12\x34")
        self.port.answer(asked=self.port.sent[12:].lower())
        data = self.successResultOf(answer)
        assert data is not None
        self.assertEqual(data[:4], b"\x12\x34\x81\x80")
        self.assertFalse(self.port.open)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.port.answer()

    def test_the_next_one(self) -> None:
        """After a timeout, after SERVFAIL and REFUSED, and when nobody listens there."""
        for fate in (
            lambda: self.reactor.advance(2.0),
            lambda: self.port.answer(2),
            lambda: self.port.answer(5),
            lambda: self.port.protocol.connectionRefused(),
        ):
            answer = self.ask()
            first = self.port
            fate()
            self.assertFalse(first.open)
            self.assertEqual(self.port.to, ("10.0.0.2", 5353))
            self.port.answer(3)
            self.assertIsNotNone(self.successResultOf(answer))

    def test_nobody(self) -> None:
        answer = self.ask()
        for _ in range(3):
            self.assertNoResult(answer)
            self.reactor.advance(2.0)
        self.assertIsNone(self.successResultOf(answer))
        self.assertEqual((self.port.to, self.port.interface), (("2001:db8::1", 54), "::"))
        self.configure()
        self.assertFalse(self.recursors)
        self.assertIsNone(self.successResultOf(self.ask()))

    def test_what_is_not_the_answer(self) -> None:
        """Other ids, other questions, no answers: as if nothing had come."""
        answer = self.ask()
        self.port.answer(ident=b"xx")
        self.port.answer(asked=question("other.test")[12:])
        self.port.protocol.datagramReceived(self.port.sent, self.port.to)
        self.port.protocol.datagramReceived(b"", self.port.to)
        self.assertNoResult(answer)
        self.port.answer()
        self.assertIsNotNone(self.successResultOf(answer))

    def test_an_answer_without_a_question(self) -> None:
        """Some servers leave it out when they fail."""
        self.configure("10.0.0.1")
        answer = self.ask()
        self.port.protocol.datagramReceived(self.port.sent[:2] + b"\x81\x82" + bytes(8), self.port.to)
        self.assertIsNone(self.successResultOf(answer))

    def test_no_socket(self) -> None:
        self.reactor.full = True
        self.assertIsNone(self.successResultOf(self.ask()))
        self.reactor.full = False
        self.configure("host.test")
        self.assertIsNone(self.successResultOf(self.ask()))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_too_many(self) -> None:
        self.patch(dns_recursors, "QUESTIONS_MAX", 1)
        first = self.ask()
        self.assertIsNone(self.successResultOf(self.ask()))
        self.port.answer()
        self.assertIsNotNone(self.successResultOf(first))
        self.assertNoResult(self.ask())

    def test_stop(self) -> None:
        answer = self.ask()
        self.recursors.stop()
        self.assertIsNone(self.successResultOf(answer))
        self.assertFalse(self.port.open)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_records(self) -> None:
        """Addresses and CNAMEs of a host; nothing if the answer cannot be read."""
        found = self.recursors.records("www.example.test.", A)
        message = names_dns.Message(answer=1)
        message.fromStr(self.port.sent)
        message.answer = 1
        message.answers = [
            names_dns.RRHeader("www.example.test", CNAME, ttl=9, payload=names_dns.Record_CNAME("x.test")),
            names_dns.RRHeader("x.test", A, ttl=8, payload=names_dns.Record_A("10.9.9.9")),
            names_dns.RRHeader("x.test", AAAA, ttl=7, payload=names_dns.Record_AAAA("::1")),
            names_dns.RRHeader("x.test", 16, ttl=7, payload=names_dns.Record_TXT(b"no")),
        ]
        self.port.protocol.datagramReceived(message.toStr(), self.port.to)
        target = name_bytes("x.test")
        self.assertEqual(
            self.successResultOf(found),
            [
                Record(name_bytes("www.example.test"), CNAME, 9, b"", target),
                Record(target, A, 8, b"\x0a\x09\x09\x09"),
                Record(target, AAAA, 7, bytes(15) + b"\1"),
            ],
        )
        for tail in (b"\xc0\xff", b"\xc0\x0c\0\1", b"\xc0\x13"):
            found = self.recursors.records("x", A)
            data = bytearray(self.port.sent + tail)
            data[2:4], data[6:8] = b"\x81\x80", b"\0\1"
            self.port.protocol.datagramReceived(bytes(data), self.port.to)
            self.assertEqual(self.successResultOf(found), [])
        found = self.recursors.records("x", A)
        self.recursors.stop()
        self.assertEqual(self.successResultOf(found), [])


class AddressTests(SynchronousTestCase):
    def test_forms(self) -> None:
        for text, address in (
            ("10.0.0.1", ("10.0.0.1", 53)),
            ("10.0.0.1:5353", ("10.0.0.1", 5353)),
            ("2001:db8::1", ("2001:db8::1", 53)),
            ("[2001:db8::1]", ("2001:db8::1", 53)),
            ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
        ):
            self.assertEqual(recursor_address(text), address)
        self.assertRaises(ValueError, recursor_address, "10.0.0.1:x")


class Knows:
    """A resolver of twisted.names that knows one name."""

    def query(self, query: Any, timeout: Any = None) -> Deferred[Any]:
        if query.name.name != b"www.example.test":
            return fail(DomainError())
        record = names_dns.RRHeader(query.name.name, A, ttl=60, payload=names_dns.Record_A("10.9.9.9"))
        return succeed(([record], [], []))


class RealTests(TestCase):
    """Against a server of twisted.names, over real sockets."""

    def setUp(self) -> None:
        factory = DNSServerFactory(clients=[Knows()])
        factory.noisy = False
        protocol = names_dns.DNSDatagramProtocol(factory)
        protocol.noisy = False
        self.tcp = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.port = self.tcp.getHost().port
        self.udp = reactor.listenUDP(self.port, protocol, interface="127.0.0.1")
        self.recursors = Recursors(reactor, reactor, Random(1))
        self.recursors.configure(DnsSettings(recursors=(f"127.0.0.1:{self.port}",), recursor_timeout_s=5.0))
        self.addCleanup(self.udp.stopListening)
        self.addCleanup(self.tcp.stopListening)

    async def test_both_transports(self) -> None:
        for tcp in (False, True):
            data = await self.recursors.ask(question("www.example.test"), tcp)
            assert data is not None
            found = read(data)
            self.assertEqual((found["id"], found["answer"]), (0x1234, ["www.example.test 60 A 10.9.9.9"]))
            data = await self.recursors.ask(question("none.test"), tcp)
            assert data is not None
            self.assertEqual(read(data)["rcode"], "NXDOMAIN")

    async def test_nobody_there(self) -> None:
        """A refused connection is no answer; where the kernel does not tell, the timeout does."""
        free = reactor.listenTCP(0, DNSServerFactory(), interface="127.0.0.1")
        port = free.getHost().port
        await free.stopListening()
        self.recursors.configure(DnsSettings(recursors=(f"127.0.0.1:{port}",), recursor_timeout_s=0.2))
        for tcp in (False, True):
            self.assertIsNone(await self.recursors.ask(question("www.example.test"), tcp))

    async def test_a_connection_closed(self) -> None:
        """Without an answer."""

        class Rude(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.loseConnection()  # type: ignore[union-attr]

        factory = Factory.forProtocol(Rude)
        factory.noisy = False
        rude = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(rude.stopListening)
        self.recursors.configure(DnsSettings(recursors=(f"127.0.0.1:{rude.getHost().port}",)))
        self.assertIsNone(await self.recursors.ask(question("www.example.test"), True))

    async def test_an_end_while_connecting(self) -> None:
        answer = self.recursors.ask(question("www.example.test"), True)
        self.recursors.stop()
        self.assertIsNone(await answer)
