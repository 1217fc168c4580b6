"""Checks that send a datagram."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import DNSLookupError
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import TestCase

from pyconsul.checks.definition import CheckType
from pyconsul.checks.outcome import Outcome
from pyconsul.checks.udp import UdpProbe

reactor: Any = any_reactor


def probe(address: str, using: Any = reactor) -> UdpProbe:
    return UdpProbe(CheckType(check_id="c", kind="udp", target=address, timeout_s=5.0), using)


class Echo(DatagramProtocol):
    noisy = False

    def __init__(self, answers: bool) -> None:
        self.answers = answers
        self.heard: Deferred[None] = Deferred()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        if self.answers:
            self.transport.write(datagram * 2, addr)  # type: ignore[union-attr]
        self.heard.callback(None)


class UdpTests(TestCase):
    def listen(self, answers: bool) -> tuple[Echo, str]:
        echo = Echo(answers)
        port = reactor.listenUDP(0, echo, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return echo, f"127.0.0.1:{port.getHost().port}"

    async def test_an_answer(self) -> None:
        _, address = self.listen(True)
        self.assertEqual(await probe(address).run(), ("passing", f"UDP connect {address}: Success"))

    async def test_silence_is_fine(self) -> None:
        """The runner gives up after the timeout, which is a good sign."""
        echo, address = self.listen(False)
        check = probe(address)
        run: Deferred[Outcome] = check.run()
        await echo.heard
        run.addErrback(lambda _: None)
        run.cancel()
        self.assertEqual(check.timed_out(), ("passing", f"UDP connect {address}: Success"))

    async def test_nobody_there(self) -> None:
        unused = reactor.listenUDP(0, DatagramProtocol(), interface="127.0.0.1")
        address = f"127.0.0.1:{unused.getHost().port}"
        await unused.stopListening()
        status, output = await probe(address).run()
        self.assertEqual((status, output), ("critical", f"read udp {address}: read: connection refused"))

    async def test_names(self) -> None:
        """Looked up; those that mean nothing are critical."""
        _, address = self.listen(True)
        port = address.rpartition(":")[2]
        self.assertEqual((await probe(f"localhost:{port}").run()).status, "passing")

        class NoNames:
            def resolve(self, name: str) -> Any:
                return fail(DNSLookupError())

        status, output = await probe("nowhere:1", NoNames()).run()
        self.assertEqual((status, output), ("critical", "dial udp: lookup nowhere: no such host"))
        status, output = await probe("nowhere").run()
        self.assertIn("dial udp: address nowhere: missing port", output)
