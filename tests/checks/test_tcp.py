"""Checks that connect."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.error import ConnectionRefusedError, DNSLookupError, TimeoutError
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pyconsul.checks.definition import CheckType
from pyconsul.checks.tcp import TcpProbe, dial_problem, split_address

reactor: Any = any_reactor


def probe(address: str) -> TcpProbe:
    return TcpProbe(CheckType(check_id="c", kind="tcp", tcp=address, timeout_s=5.0), reactor)


class TcpTests(TestCase):
    async def test_a_port(self) -> None:
        """Passing while somebody listens, critical after."""
        factory = Factory.forProtocol(Protocol)
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        address = f"127.0.0.1:{port.getHost().port}"
        self.assertEqual(await probe(address).run(), ("passing", f"TCP connect {address}: Success"))
        await port.stopListening()
        self.assertEqual(
            await probe(address).run(), ("critical", f"dial tcp {address}: connect: connection refused")
        )

    async def test_no_address(self) -> None:
        self.assertEqual(
            await probe("127.0.0.1").run(),
            ("critical", "dial tcp: address 127.0.0.1: missing port in address"),
        )

    def test_timeout(self) -> None:
        self.assertEqual(probe("x:1").timed_out(), ("critical", "dial tcp x:1: i/o timeout"))

    def test_bugs_are_not_hidden(self) -> None:
        failure = Failure(ZeroDivisionError())
        self.assertIs(probe("x:1")._failed(failure), failure)


class AddressTests(SynchronousTestCase):
    def test_forms(self) -> None:
        self.assertEqual(split_address("host:80"), ("host", 80))
        self.assertEqual(split_address("[::1]:80"), ("::1", 80))
        self.assertEqual(split_address(":80"), ("localhost", 80))

    def test_mistakes(self) -> None:
        for text, problem in (
            ("host", "missing port"),
            ("[::1]", "missing port"),
            ("::1:80", "too many colons"),
            ("host:http", "unknown port"),
            ("host:70000", "unknown port"),
        ):
            self.assertIn(problem, str(self.assertRaises(ValueError, split_address, text)))


class ProblemTests(SynchronousTestCase):
    def test_texts(self) -> None:
        for error, text in (
            (ConnectionRefusedError(), "dial tcp h:1: connect: connection refused"),
            (DNSLookupError(), "dial tcp: lookup h: no such host"),
            (TimeoutError(), "dial tcp h:1: User timeout caused connection failure."),
            (ZeroDivisionError(), None),
        ):
            self.assertEqual(dial_problem(Failure(error), "h:1"), text)
