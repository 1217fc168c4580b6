"""Joining by means of providers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.names import dns, server
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pyconsul.agent import discovery
from pyconsul.agent.discovery import TIMEOUT_S, Discovery, addresses_in, parse
from pyconsul.errors import ConfigurationError, Refused

reactor: Any = any_reactor


class ParseTests(SynchronousTestCase):
    def test_options(self) -> None:
        """Values with spaces stand in quotes."""
        found = parse('provider=exec command="/bin/echo a b"')
        self.assertEqual(found, ("exec", {"command": "/bin/echo a b"}))
        self.assertEqual(parse("provider=file path=/x"), ("file", {"path": "/x"}))
        self.assertEqual(parse("provider=dns-srv name=_x._tcp.y resolver=h:53")[0], "dns-srv")

    def test_mistakes(self) -> None:
        """Each names what was wrong."""
        for text, why in (
            ("provider=aws tag_key=x", "discover: unknown provider aws (known: dns-srv, exec, file)"),
            ("provider=file path", '"path" is not key=value'),
            ("provider=file", "missing a required argument: 'path'"),
            ("provider=file path=x pth=y", "got an unexpected keyword argument 'pth'"),
            ("provider=exec", "missing a required argument: 'command'"),
            ('provider=exec command="x', "No closing quotation"),
        ):
            self.assertIn(why, str(self.assertRaises(ConfigurationError, parse, text)))

    def test_lines(self) -> None:
        self.assertEqual(addresses_in("a\n\n# no\n b:1 # yes\n"), ["a", "b:1"])


class Base:
    """Notes what is joined."""

    joined: list[list[str]]

    def join(self, addresses: Sequence[str]) -> Deferred[int]:
        self.joined.append(list(addresses))
        return succeed(len(addresses))

    def discover(self, *addresses: str, using: Any = reactor) -> Deferred[int]:
        self.joined = []
        return Discovery(self.join, addresses, using)(addresses)


class DiscoveryTests(Base, TestCase):
    async def test_plain_addresses(self) -> None:
        self.assertEqual(await self.discover("a", "b"), 2)
        self.assertEqual(self.joined, [["a", "b"]])

    async def test_files(self) -> None:
        """Read anew each time; addresses from elsewhere are joined as well, each once."""
        path = Path(self.mktemp())
        path.write_text("10.0.0.1\n10.0.0.2:8301\n")
        await self.discover(f"provider=file path={path}", "10.0.0.2:8301", "10.0.0.3")
        self.assertEqual(self.joined, [["10.0.0.1", "10.0.0.2:8301", "10.0.0.3"]])

    async def test_programs(self) -> None:
        await self.discover("provider=exec command=\"printf '10.0.0.1\\n10.0.0.2\\n'\"")
        self.assertEqual(self.joined, [["10.0.0.1", "10.0.0.2"]])

    async def test_trouble(self) -> None:
        """What fails is logged; the others still count. Without any there is nothing to join."""
        for text in (
            "provider=file path=/no/such/file",
            "provider=exec command=/no/such/program",
            "provider=exec command=false",
            'provider=exec command=" "',
        ):
            await self.discover(text, "10.0.0.3")
            self.assertEqual(self.joined, [["10.0.0.3"]])
            with self.assertRaisesRegex(Refused, "No servers to join"):
                await self.discover(text)

    async def test_dns(self) -> None:
        """SRV records, the best first, with the addresses that came along."""

        class Zone:
            def query(self, query: Any, timeout: Any = None) -> Any:
                def srv(priority: int, weight: int, port: int, target: str) -> Any:
                    payload = dns.Record_SRV(priority, weight, port, target)
                    return dns.RRHeader(query.name.name, dns.SRV, payload=payload)

                records = [srv(2, 1, 3, "c.test"), srv(1, 1, 2, "b.test"), srv(1, 9, 1, "a.test")]
                record = dns.Record_A("10.0.0.1")
                return succeed((records, [], [dns.RRHeader("a.test", dns.A, payload=record)]))

        port = reactor.listenUDP(0, dns.DNSDatagramProtocol(_server(Zone())), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        resolver = f"127.0.0.1:{port.getHost().port}"
        await self.discover(f"provider=dns-srv name=_consul._tcp.test resolver={resolver}")
        self.assertEqual(self.joined, [["10.0.0.1:1", "b.test:2", "c.test:3"]])


def _server(zone: Any) -> Any:
    factory = server.DNSServerFactory(clients=[zone])
    factory.noisy = False
    return factory


class PackageTests(Base, TestCase):
    """Providers of other packages."""

    def setUp(self) -> None:
        points = [
            EntryPoint(name, f"tests.agent.test_discovery:{name}", discovery.GROUP)
            for name in ("plain", "asking", "stuck")
        ]
        self.patch(discovery, "offered", lambda: {point.name: point for point in points})

    async def test_both_ways(self) -> None:
        """In a thread, or in the reactor's if it asks for the reactor."""
        await self.discover("provider=plain zone=a", "provider=asking")
        self.assertEqual(self.joined, [["10.0.0.1-a", "10.0.0.2"]])

    def test_too_slow(self) -> None:
        clock = Clock()
        done = self.discover("provider=stuck", "10.0.0.3", using=clock)
        self.assertNoResult(done)
        clock.advance(TIMEOUT_S)
        self.assertEqual(self.successResultOf(done), 1)
        self.assertEqual(self.joined, [["10.0.0.3"]])

    def test_known(self) -> None:
        error = self.assertRaises(ConfigurationError, parse, "provider=gce")
        self.assertIn("(known: asking, dns-srv, exec, file, plain, stuck)", str(error))


def plain(zone: str) -> list[str]:
    return [f"10.0.0.1-{zone}" if os.getpid() else ""]


async def asking(reactor: Any) -> list[str]:
    await succeed(None)
    return ["10.0.0.2"]


def stuck(reactor: Any) -> Deferred[list[str]]:
    return Deferred()
