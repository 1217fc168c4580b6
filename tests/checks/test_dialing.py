"""Addresses, connections, and what is said of those that fail."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import reactor as any_reactor
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pyconsul.checks.dialing import dial, dial_problem, lost_reason, split_address

reactor: Any = any_reactor


class DialTests(TestCase):
    async def test_names_and_addresses(self) -> None:
        """Each kind of host leads to the port."""
        factory = Factory.forProtocol(Protocol)
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        for host in ("127.0.0.1", "localhost"):
            mine = Protocol()
            self.assertIs(await dial(reactor, host, port.getHost().port, mine), mine)
            mine.transport.abortConnection()  # type: ignore[union-attr]

    async def test_version_6(self) -> None:
        try:
            port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="::1")
        except OSError:
            self.skipTest("no IPv6 here")
        self.addCleanup(port.stopListening)
        mine = await dial(reactor, "::1", port.getHost().port, Protocol())
        self.assertEqual(mine.transport.getPeer().host, "::1")
        mine.transport.abortConnection()


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
            ("host:70000", "invalid port"),
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

    def test_other_networks(self) -> None:
        found = dial_problem(Failure(ConnectionRefusedError()), "h:1", "unix")
        self.assertEqual(found, "dial unix h:1: connect: connection refused")

    def test_lost_connections(self) -> None:
        """Below TLS the reason is one of OpenSSL's, or of whoever compares names."""
        handshake = [("SSL routines", "", "wrong version number")]
        unknown = [("SSL routines", "", "certificate verify failed")]
        for error, text in (
            (ConnectionDone(), "EOF"),
            (ConnectionLost(), "read: connection reset by peer"),
            (SSL.Error(handshake), "tls: first record does not look like a TLS handshake"),
            (SSL.Error(unknown), "tls: certificate verify failed"),
            (SSL.Error(), "tls: connection closed during the handshake"),
            (ValueError("oh"), "oh"),
            (ValueError(), "ValueError"),
        ):
            self.assertEqual(lost_reason(Failure(error)), text)
        self.assertTrue(lost_reason(Failure(VerificationError(errors=[]))).startswith("x509: "))
