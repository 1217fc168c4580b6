"""The DNS server's protocols and its service."""

from __future__ import annotations

import struct
from random import Random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.dns.settings import DnsSettings
from pyconsul.dns.wire import parse_query
from pyconsul.net import dns
from pyconsul.net.dns import ConsulDatagrams, ConsulStream
from pyconsul.net.dns_service import PORT_TRIES, DnsService, LateDatagrams
from tests.dns.fakes import FakeAgent, question, read, row

HERE = ("127.0.0.1", 999)
SUBNET = struct.pack("!HHHBB", 8, 7, 1, 24, 0) + b"\x0a\1\2"


class FakePort:
    """Listens in name only; also a UDP transport that notes what is sent."""

    def __init__(self, port: int, protocol: Any, interface: str) -> None:
        self.at = (interface, port)
        self.protocol = protocol
        self.sent: list[tuple[bytes, Any]] = []
        self.listening = True

    def getHost(self) -> IPv4Address:
        return IPv4Address("UDP", self.at[0], self.at[1] or 1111)

    def write(self, data: bytes, address: Any) -> None:
        self.sent.append((data, address))

    def stopListening(self) -> Deferred[None]:
        self.listening = False
        if isinstance(self.protocol, DatagramProtocol):
            self.protocol.doStop()
        return succeed(None)


class FakeReactor(Clock):
    """:ivar taken: how often a port for TCP turns out to be in use."""

    taken = 0

    def listenUDP(self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 0) -> FakePort:
        listening = FakePort(port, protocol, interface)
        protocol.makeConnection(listening)
        return listening

    def listenTCP(self, port: int, factory: Any, interface: str = "") -> FakePort:
        if self.taken:
            self.taken -= 1
            raise CannotListenError(interface, port, OSError("in use"))
        return FakePort(port, factory, interface)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.agent = FakeAgent([row("a"), row("b", "192.0.2.2")])
        self.reactor = FakeReactor()
        self.service = self.started()

    def started(self, **settings: Any) -> DnsService:
        service = DnsService(
            self.agent, DnsSettings(**settings), self.reactor, self.reactor, Random(1), lambda: 17.0
        )
        service.startService()
        return service

    @property
    def udp(self) -> FakePort:
        port: FakePort = self.service.ports[0]
        return port

    def datagram(self, data: bytes, address: Any = HERE) -> list[bytes]:
        """What is sent back at once."""
        self.udp.sent.clear()
        self.udp.protocol.datagramReceived(data, address)
        self.assertTrue(all(to == address for _, to in self.udp.sent))
        return [data for data, _ in self.udp.sent]

    def stream(self) -> tuple[ConsulStream, StringTransport]:
        stream = self.service.names.buildProtocol(IPv4Address("TCP", *HERE))
        assert stream is not None
        transport = StringTransport()
        transport.abortConnection = transport.loseConnection  # type: ignore[method-assign]
        stream.makeConnection(transport)
        return stream, transport


def framed(data: bytes) -> bytes:
    return struct.pack("!H", len(data)) + data


class DatagramTests(Case):
    def test_an_answer(self) -> None:
        (answer,) = self.datagram(question("web.service.consul", ident=77))
        self.assertEqual((read(answer)["id"], len(read(answer)["answer"])), (77, 2))

    def test_the_memo(self) -> None:
        """From the third time on nobody is asked, until the store says that something has changed."""
        data = question("web.service.consul", "SRV")
        for _ in range(2):
            self.datagram(data)
        self.assertEqual(len(self.agent.asked), 2)
        orders = set()
        for ident in range(60):
            (answer,) = self.datagram(ident.to_bytes(2, "big") + data[2:])
            self.assertEqual(read(answer)["id"], ident)
            orders.add(tuple(read(answer)["answer"]))
        self.assertEqual(len(orders), 2)
        self.assertEqual(len(self.agent.asked), 2)
        self.agent.rows.pop()
        (watcher,) = self.agent.watchers
        watcher.wake()
        (answer,) = self.datagram(data)
        self.assertEqual(len(read(answer)["answer"]), 1)
        self.assertEqual(len(self.agent.asked), 3)

    def test_timings(self) -> None:
        """All answers count, those of the memo as taking no time."""
        for _ in range(5):
            self.datagram(question("web.service.consul"))
        self.datagram(question("1.0.0.127.in-addr.arpa", "PTR"))
        stream, transport = self.stream()
        stream.dataReceived(framed(question("web.service.consul")))
        self.assertTrue(transport.value())
        counts = {name: timing.take().count for name, timing in self.service.timings.named.items()}
        self.assertEqual(counts, {"dns.domain_query": 6, "dns.ptr_query": 1})

    def test_different_questions_do_not_mix(self) -> None:
        """Type, EDNS, flags and the spelling of the name all belong to the question."""
        asked = [
            question("web.service.consul"),
            question("WEB.service.consul"),
            question("web.service.consul", "SRV"),
            question("web.service.consul", edns=1232),
            question("web.service.consul", edns=1232, options=SUBNET),
            question("web.service.consul", flags=0),
        ]
        first = [self.datagram(data)[0] for data in asked]
        for _ in range(5):
            for data, before in zip(asked, first, strict=True):
                (answer,) = self.datagram(data)
                self.assertEqual((len(answer), answer[:4]), (len(before), before[:4]))
                self.assertEqual(answer[12 : len(data) - 11], before[12 : len(data) - 11])

    def test_names_that_do_not_exist_are_kept_too(self) -> None:
        data = question("none.service.consul")
        for _ in range(5):
            (answer,) = self.datagram(data)
            self.assertEqual(read(answer)["rcode"], "NXDOMAIN")
        self.assertEqual(len(self.agent.asked), 2)

    def test_answers_of_others_are_not_kept(self) -> None:
        """What this node did not read from its own store."""
        self.agent.arms = False
        for _ in range(5):
            self.datagram(question("web.service.consul"))
        self.assertEqual(len(self.agent.asked), 5)

    def test_nothing_is_kept_if_it_may_become_too_old(self) -> None:
        for settings, kept in (
            ({"max_stale_s": 10.0}, False),
            ({"max_stale_s": 10.0, "allow_stale": False}, True),
            ({}, True),
        ):
            self.service = self.started(**settings)
            for _ in range(3):
                self.datagram(question("web.service.consul"))
            self.assertEqual(bool(self.service.names.memo.entries), kept)

    def test_a_client_agent(self) -> None:
        """Answers come when the servers have answered."""
        self.agent.deferred = True
        self.assertEqual(self.datagram(question("web.service.consul")), [])
        self.assertEqual(self.datagram(question("a.node.consul", ident=9)), [])
        self.agent.flush()
        self.assertEqual([read(data)["rcode"] for data, _ in self.udp.sent], ["NOERROR"] * 2)

    def test_an_answer_in_several_steps(self) -> None:
        """Is not kept, and the store need not watch over its first step."""
        self.agent.rows.append(row("c", "192.0.2.3", "inner", address="web.service.consul"))
        for _ in range(3):
            (answer,) = self.datagram(question("inner.service.consul"))
            self.assertEqual(len(read(answer)["answer"]), 3)
        self.assertEqual(self.service.names.memo.entries, {})
        self.assertEqual(len(self.agent.watchers), 2)
        self.assertEqual(self.agent.forgotten, self.agent.watchers)

    def test_too_many_at_once(self) -> None:
        """More than can be waited for are lost."""
        self.patch(dns, "QUESTIONS_MAX", 2)
        self.agent.deferred = True
        for _ in range(5):
            self.datagram(question("web.service.consul"))
        self.assertEqual(len(self.agent.waiting), 2)
        self.agent.flush()
        self.datagram(question("web.service.consul"))
        self.assertEqual(len(self.agent.waiting), 1)

    def test_an_answer_after_the_end(self) -> None:
        self.agent.deferred = True
        self.datagram(question("web.service.consul"))
        port = self.udp
        self.service.stopService()
        self.agent.flush()
        self.assertEqual(port.sent, [])

    def test_what_is_no_question(self) -> None:
        """Answered by a bare header, or not at all."""
        good = question("web.service.consul")
        for data, flags in (
            (good[:2] + b"\x29\0" + good[4:], b"\xa9\4"),
            (good[:4] + b"\0\0" + good[6:], b"\x81\1"),
            (good[:4] + b"\0\2" + good[6:], b"\x81\1"),
            (good[:6] + b"\0\1" + good[8:], b"\x81\1"),
            (good[:10] + b"\0\x09" + good[12:], b"\x81\1"),
            (good[:12] + b"\xc0\x0c\0\1\0\1", b"\x81\1"),
            (good[:12] + b"\x50" + b"x" * 80 + good[12:], b"\x80\1"),
            (good[:16], b"\x80\1"),
        ):
            self.assertEqual(self.datagram(data), [data[:2] + flags + bytes(8)], data)
        for data in (b"", good[:11], good[:2] + b"\x81" + good[3:]):
            self.assertEqual(self.datagram(data), [], data)

    def test_noise(self) -> None:
        """Whatever comes, nothing breaks."""
        rng = Random(11)
        good = question("web.service.consul", "SRV", edns=1232, options=SUBNET)
        for _ in range(2000):
            data = bytearray(good)
            for _ in range(rng.randrange(1, 8)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            self.assertLessEqual(len(self.datagram(bytes(data[: rng.randrange(len(data) + 1)]))), 1)

    def test_an_unusual_question(self) -> None:
        """With a second record besides EDNS, twisted.names reads it; the answer is the same."""
        plain = question("web.service.consul", "SRV", edns=1232, options=SUBNET)
        more = plain[:11] + b"\2" + plain[12:] + b"\1x\0\0\1\0\1\0\0\0\0\0\4\1\2\3\4"
        (expected,) = self.datagram(plain)
        (answer,) = self.datagram(more)
        expected_read, answer_read = read(expected), read(answer)
        for part in ("id", "rcode", "flags", "edns", "options", "size"):
            self.assertEqual(answer_read[part], expected_read[part])
        self.assertEqual(sorted(answer_read["answer"]), sorted(expected_read["answer"]))
        (again,) = self.datagram(more[:10] + b"\0\1" + question("web.service.consul")[12:] + more[-15:])
        self.assertEqual(read(again)["edns"], 0)

    def test_unusual_questions_are_not_kept(self) -> None:
        plain = question("web.service.consul")
        for _ in range(4):
            self.datagram(plain[:11] + b"\2" + plain[12:] + b"\0\0\1\0\1\0\0\0\0\0\0" * 2)
        self.assertEqual(self.service.names.memo.entries, {})

    def test_a_bug_is_an_answer(self) -> None:
        self.agent.error = ZeroDivisionError()
        (answer,) = self.datagram(question("web.service.consul"))
        self.assertEqual(read(answer)["rcode"], "SERVFAIL")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class StreamTests(Case):
    def test_several_questions(self) -> None:
        """On one connection, in pieces."""
        stream, transport = self.stream()
        data = framed(question("web.service.consul", ident=1)) + framed(question("a.node.consul", ident=2))
        for at in range(len(data)):
            stream.dataReceived(data[at : at + 1])
        sent = transport.value()
        size = struct.unpack_from("!H", sent)[0]
        self.assertEqual(read(sent[2 : 2 + size])["id"], 1)
        self.assertEqual(read(sent[4 + size :])["id"], 2)

    def test_no_limit_of_udp(self) -> None:
        self.agent.rows = [row(f"n{at}", f"10.0.0.{at}") for at in range(40)]
        stream, transport = self.stream()
        stream.dataReceived(framed(question("web.service.consul")))
        self.assertEqual(len(read(transport.value()[2:])["answer"]), 40)

    def test_what_is_no_question(self) -> None:
        stream, transport = self.stream()
        good = question("web.service.consul")
        stream.dataReceived(framed(good[:2] + b"\x29\0" + good[4:]) + framed(b"x"))
        self.assertEqual(transport.value(), b"\0\x0c\x12\x34\xa9\4" + bytes(8))

    def test_an_unusual_question(self) -> None:
        stream, transport = self.stream()
        plain = question("web.service.consul")
        stream.dataReceived(framed(plain[:11] + b"\1" + plain[12:] + b"\1x\0\0\1\0\1\0\0\0\0\0\4\1\2\3\4"))
        self.assertEqual(len(read(transport.value()[2:])["answer"]), 2)

    def test_a_client_that_asks_too_much(self) -> None:
        """Is not read from while too many of its questions wait."""
        self.patch(dns, "QUESTIONS_PER_CONNECTION_MAX", 3)
        self.agent.deferred = True
        stream, transport = self.stream()
        stream.dataReceived(framed(question("web.service.consul")) * 8)
        self.assertEqual(len(self.agent.waiting), 3)
        self.assertEqual(transport.producerState, "paused")
        for _ in range(5):
            self.agent.flush()
            self.reactor.advance(0)
        self.assertEqual(transport.value().count(b"\x12\x34\x85"), 8)
        self.assertEqual(transport.producerState, "producing")

    def test_a_client_that_does_not_read(self) -> None:
        """Is not read from either."""
        stream, transport = self.stream()
        producer: Any = transport.producer
        producer.pauseProducing()
        stream.dataReceived(framed(question("web.service.consul")))
        self.assertEqual(transport.value(), b"")
        producer.resumeProducing()
        self.reactor.advance(0)
        self.assertNotEqual(transport.value(), b"")
        producer.stopProducing()

    def test_idle(self) -> None:
        """A connection ends when nothing comes and nothing waits."""
        stream, transport = self.stream()
        self.reactor.advance(dns.IDLE_S - 1)
        self.agent.deferred = True
        stream.dataReceived(framed(question("web.service.consul")))
        self.reactor.advance(dns.IDLE_S + 1)
        self.assertFalse(transport.disconnecting)
        self.agent.flush()
        self.reactor.advance(dns.IDLE_S + 1)
        self.assertTrue(transport.disconnecting)

    def test_gone_before_the_answer(self) -> None:
        self.agent.deferred = True
        stream, transport = self.stream()
        stream.dataReceived(framed(question("web.service.consul")))
        stream.connectionLost(None)
        self.agent.flush()
        self.assertEqual(transport.value(), b"")
        self.assertEqual(self.service.names.connections, [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_too_many_connections(self) -> None:
        self.patch(dns, "CONNECTIONS_MAX", 1)
        self.stream()
        self.assertIsNone(self.service.names.buildProtocol(None))

    def test_bugs(self) -> None:
        """They are logged, and what waits is counted right."""
        stream, _ = self.stream()
        self.datagram(question("web.service.consul"))
        protocols: list[Any] = [stream, self.udp.protocol]
        for protocol in protocols:
            failing: Deferred[Any] = Deferred()
            self.service.names.responder.answer = lambda *_, failing=failing: failing  # type: ignore[method-assign]
            protocol.ask(parse_query(question("a.consul")), b"", ("192.0.2.1", 5))
            self.assertEqual(protocol._waiting, 1)
            failing.errback(ZeroDivisionError())
            self.assertEqual(protocol._waiting, 0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)


class ServiceTests(Case):
    def test_where_it_listens(self) -> None:
        service = self.started(addresses=("127.0.0.1", "::1"), port=8600)
        at = [port.at for port in service.ports]
        self.assertEqual(at, [("127.0.0.1", 8600)] * 2 + [("::1", 8600)] * 2)

    def test_before_the_first_question(self) -> None:
        """A service that nobody has asked takes settings, and ends, without what answers."""
        self.service.configure(DnsSettings(service_ttl_s={"*": 8}))
        waiting = self.udp.protocol
        self.assertIsInstance(waiting, LateDatagrams)
        idle = self.started()
        self.successResultOf(idle.stopService())
        self.assertNotIn("names", vars(idle))
        (answer,) = self.datagram(question("web.service.consul"))
        self.assertEqual(read(answer)["answer"][0].split()[1], "8")
        self.assertIsInstance(self.udp.protocol, ConsulDatagrams)
        self.udp.sent.clear()
        waiting.datagramReceived(question("web.service.consul"), HERE)  # read by the port with the first one
        self.assertEqual(len(self.udp.sent), 1)

    def test_streams_come_late(self) -> None:
        """A connection is made by the same that answers questions by UDP."""
        stream = self.service.ports[1].protocol.buildProtocol(IPv4Address("TCP", *HERE))
        self.assertIsInstance(stream, ConsulStream)
        self.assertIs(stream.factory, self.service.names)

    def test_any_port(self) -> None:
        """Both transports get the same."""
        self.assertEqual(self.started(port=0).ports[1].at[1], 1111)

    def test_port_in_use(self) -> None:
        """Any number that both have free will do; if one is told, it has to be that one."""
        self.reactor.taken = 2
        self.assertEqual(len(self.started(port=0).ports), 2)
        self.reactor.taken = 100
        self.assertRaises(CannotListenError, self.started, port=0)
        self.assertEqual(self.reactor.taken, 100 - PORT_TRIES)
        self.reactor.taken = 1
        self.assertRaises(CannotListenError, self.started, port=8600)

    def test_the_end(self) -> None:
        _, transport = self.stream()
        data = question("web.service.consul")
        for _ in range(2):
            self.datagram(data)
        ports = self.service.ports
        self.successResultOf(self.service.stopService())
        self.assertEqual([port.listening for port in ports], [False, False])
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.agent.forgotten, self.agent.watchers)

    def test_new_settings(self) -> None:
        """Nothing that was kept under the old ones is used."""
        data = question("web.service.consul")
        for _ in range(3):
            self.datagram(data)
        self.service.configure(DnsSettings(service_ttl_s={"*": 8}))
        (answer,) = self.datagram(data)
        self.assertEqual(read(answer)["answer"][0].split()[1], "8")
