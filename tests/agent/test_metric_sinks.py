"""Metrics for others: their form, and how they get there."""

from __future__ import annotations

import socket
from typing import Any

from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.metric_sinks import (
    DATAGRAM_BYTES_MAX,
    RETRY_S,
    Statsd,
    Statsite,
    lines,
    make_sinks,
    packets,
    split,
)
from pyconsul.agent.metrics import Period
from pyconsul.config.groups import Telemetry as Settings
from pyconsul.errors import ConfigurationError
from pyconsul.structs.metrics import Durations


def period(*durations: float) -> Period:
    found = Durations()
    for ms in durations:
        found.add(ms)
    return Period({"raft.peers": 3.0}, {"raft.apply": 2.0}, {"kvs.apply": found} if durations else {})


GAUGE, COUNTER = "consul.raft.peers:3.000000|g", "consul.raft.apply:2.000000|c"


class LineTests(SynchronousTestCase):
    def test_kinds(self) -> None:
        """Gauges, counters, timings; a host is in the names of gauges alone."""
        self.assertEqual(
            list(lines(period(1.5), "consul.")), [GAUGE, COUNTER, "consul.kvs.apply:1.500000|ms"]
        )
        self.assertEqual(list(lines(period(), "consul.", "h1")), ["consul.h1.raft.peers:3.000000|g", COUNTER])
        self.assertEqual(next(lines(period(), "")), "raft.peers:3.000000|g")

    def test_many_timings(self) -> None:
        """Count, sum and extremes are right, in three lines at most."""
        for durations in ((4.0,), (1.0, 3.0), (1.0, 2.0, 6.0), (5.0, 1.0, 2.0, 3.0, 4.0)):
            count = total = 0.0
            seen = []
            for line in list(lines(period(*durations), "c."))[2:]:
                value, kind, *rate = line.partition(":")[2].split("|")
                self.assertEqual(kind, "ms")
                times = 1 / float(rate[0][1:]) if rate else 1.0
                count += times
                total += times * float(value)
                seen.append(float(value))
            self.assertLessEqual(len(seen), 3)
            self.assertAlmostEqual(count, len(durations), 5)
            self.assertAlmostEqual(total, sum(durations), 5)
            self.assertEqual((min(seen), max(seen)), (min(durations), max(durations)))

    def test_packets(self) -> None:
        """As many lines as fit; what does not fit into one goes alone."""
        long = "x" * (DATAGRAM_BYTES_MAX + 100)
        every = [f"consul.name{number}:1.000000|c" for number in range(100)] + [long, "last:1|c"]
        found = list(packets(iter(every)))
        self.assertEqual(b"".join(found).decode().splitlines(), every)
        self.assertTrue(all(len(one) <= DATAGRAM_BYTES_MAX for one in found if b"xx" not in one))
        self.assertLess(len(found), 10)
        self.assertEqual(list(packets(iter(()))), [])


class Port:
    def __init__(self) -> None:
        self.sent: list[tuple[bytes, tuple[str, int]]] = []
        self.closed = False

    def write(self, data: bytes, to: tuple[str, int]) -> None:
        self.sent.append((data, to))

    def stopListening(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


class Reactor(MemoryReactorClock):
    """Resolves one name, and has ports that note what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.port = Port()
        self.opened: list[str] = []
        self.asked: list[str] = []
        self.known = {"localhost": "127.0.0.1", "192.0.2.1": "192.0.2.1"}

    def listenUDP(self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192) -> Any:
        self.opened.append(interface)
        return self.port

    def resolve(self, name: str, timeout: Any = ()) -> Any:
        self.asked.append(name)
        return succeed(self.known[name]) if name in self.known else fail(OSError("no such host"))


class StatsdTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()

    def sink(self, host: str = "localhost", *tags: str) -> Statsd:
        sink = Statsd(self.reactor, (host, 8125), "consul.", "", tags)
        sink.startService()
        self.addCleanup(sink.stopService)
        return sink

    def test_sends(self) -> None:
        """All of it in a packet, to the host's address, which is looked up once."""
        sink = self.sink()
        sink.push(period())
        sink.push(period())
        packet = f"{GAUGE}\n{COUNTER}\n".encode()
        self.assertEqual(self.reactor.port.sent, [(packet, ("127.0.0.1", 8125))] * 2)
        self.assertEqual(self.reactor.asked, ["localhost"])

    def test_tags(self) -> None:
        """DogStatsD's are on each line."""
        self.sink("localhost", "a:b", "c").push(period())
        ((packet, _),) = self.reactor.port.sent
        self.assertEqual(packet.decode(), f"{GAUGE}|#a:b,c\n{COUNTER}|#a:b,c\n")

    def test_unknown_host(self) -> None:
        """It is looked for again later, and until then nothing is sent."""
        sink = self.sink("elsewhere")
        for _ in range(5):
            sink.push(period())
        self.assertEqual((self.reactor.asked, self.reactor.port.sent), (["elsewhere"], []))
        self.reactor.known["elsewhere"] = "192.0.2.7"
        self.reactor.advance(RETRY_S)
        sink.push(period())
        self.assertEqual([to for _, to in self.reactor.port.sent], [("192.0.2.7", 8125)])

    def test_addresses(self) -> None:
        """The port is of the address's kind."""
        self.sink("::1").push(period())
        self.sink("192.0.2.1").push(period())
        self.assertEqual(self.reactor.opened, ["::", ""])
        self.assertEqual([to for _, to in self.reactor.port.sent], [("::1", 8125), ("192.0.2.1", 8125)])

    def test_stop(self) -> None:
        """Nothing is sent any more, and stopping twice is no trouble."""
        sink = self.sink()
        sink.push(period())
        sink.stopService()
        sink.stopService()
        sink.push(period())
        self.assertEqual((self.reactor.port.closed, len(self.reactor.port.sent)), (True, 1))


class Transport:
    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming


class StatsiteTests(SynchronousTestCase):
    def test_sends(self) -> None:
        """Lines over the connection, while there is one and it is read."""
        made: list[Any] = []

        def init(service: Any, endpoint: Any, factory: Any, clock: Any) -> None:
            made.append(factory)

        self.patch(ClientService, "__init__", init)
        sink = Statsite(Reactor(), ("127.0.0.1", 8127), "consul.", "h1")
        sink.push(period())  # nobody is there
        stream, transport = made[0].buildProtocol(None), Transport()
        stream.makeConnection(transport)
        sink.push(period())
        told = f"consul.h1.raft.peers:3.000000|g\n{COUNTER}\n".encode()
        self.assertEqual(transport.written, told)
        stream.pauseProducing()
        sink.push(period())
        self.assertEqual(transport.written, told)
        stream.resumeProducing()
        sink.push(period())
        self.assertEqual(transport.written, told * 2)
        stream.stopProducing()
        stream.connectionLost()
        sink.push(period())
        self.assertEqual(transport.written, told * 2)


class MakeTests(SynchronousTestCase):
    def test_none(self) -> None:
        self.assertEqual(make_sinks(Settings(), "consul.", Reactor()), [])

    def test_all(self) -> None:
        """Hosts are in names for two of them, unless that is switched off."""
        addresses: dict[str, Any] = {
            "statsd_address": "192.0.2.1:8125",
            "statsite_address": "[::1]:8127",
            "dogstatsd_addr": "localhost:8126",
        }
        for disabled, host in ((False, socket.gethostname()), (True, "")):
            settings = Settings(**addresses, dogstatsd_tags=("a:b",), disable_hostname=disabled)
            statsd, statsite, dog = make_sinks(settings, "consul.", Reactor())
            assert isinstance(statsd, Statsd) and isinstance(dog, Statsd)
            self.assertIsInstance(statsite, Statsite)
            self.assertEqual([sink._inserted for sink in (statsd, statsite, dog)], [host, host, ""])
            self.assertEqual((statsd._suffix, dog._suffix), ("", "|#a:b"))

    def test_addresses(self) -> None:
        """What is none is named."""
        self.assertEqual(split("x", "h:1"), ("h", 1))
        self.assertEqual(split("x", "[2001:db8::1]:65535"), ("2001:db8::1", 65535))
        for text in ("h", ":1", "h:", "h:x", "h:0", "h:65536", "h:-1", "h:²"):
            error = self.assertRaises(ConfigurationError, split, "statsd_address", text)
            self.assertEqual(str(error), f"telemetry.statsd_address: {text!r} is not HOST:PORT")
