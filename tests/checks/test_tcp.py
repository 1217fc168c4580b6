"""Checks that connect."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from pyconsul.checks.definition import CheckType
from pyconsul.checks.tcp import TcpProbe
from pyconsul.checks.tls import CheckTls

reactor: Any = any_reactor


def probe(address: str) -> TcpProbe:
    return TcpProbe(CheckType(check_id="c", kind="tcp", target=address, timeout_s=5.0), reactor, CheckTls())


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

    async def test_bugs_are_not_hidden(self) -> None:
        """What is no trouble with a connection is left to whoever runs the check."""
        broken = TcpProbe(CheckType(check_id="c", kind="tcp", target="127.0.0.1:1"), None, CheckTls())
        with self.assertRaises(AttributeError):
            await broken.run()
