"""Connections to other servers inside TLS, over loopback."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pyconsul.errors import NotSent, Unreachable
from pyconsul.net import entrance, greeting, peers
from pyconsul.net.greeting import Greeting
from pyconsul.net.peers import AmpNetwork
from pyconsul.net.tls import Tls, TlsFailed, TlsOptions
from pyconsul.net.tls_files import RealReader, TlsFiles
from pyconsul.raft.messages import Heartbeat, Message
from tests.checks.certificates import CLIENT, Authority

HOST = "127.0.26.2"
reactor: Any = any_reactor


class Log:
    """Notes warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, form: str, **fields: Any) -> None:
        self.lines.append(form.format(**fields))


class TlsNetworkTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.authority, self.other = Authority(), Authority()
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.folder.mkdir()
        self.log = Log()
        self.patch(peers, "_log", self.log)
        self.patch(peers, "TLS_AGAIN_S", 0.01)

    def tls(self, *names: str, by: Authority | None = None, **options: Any) -> Tls:
        how = {key: options.pop(key) for key in ("uses", "hours") if key in options}
        number = len(os.listdir(self.folder))
        ca = self.folder / f"{number}.pem"
        ca.write_bytes(self.authority.pem())
        files = TlsFiles(ca_file=str(ca))
        if names:
            cert, key = (by or self.authority).write(self.folder / f"{number}", *names, **how)
            files = TlsFiles(ca_file=str(ca), cert_file=str(cert), key_file=str(key))
        return Tls(RealReader(), reactor, TlsOptions(files=files, **options))

    def network(self, name: str, tls: Tls | None) -> AmpNetwork:
        made = AmpNetwork(reactor, name, tls=tls)
        made.datacenter_of = lambda address: "dc1"
        self.addCleanup(made.close)
        return made

    def serve(self, tls: Tls | None) -> AmpNetwork:
        """A server; ``address`` is where."""
        server = self.network("server", tls)
        server.handler = lambda method, body: method.encode() + body
        self.got: list[Message] = []
        self.heard: Deferred[None] = Deferred()

        def received(sender: str, message: Message) -> None:
            self.got.append(message)
            if not self.heard.called:
                self.heard.callback(None)

        server.received = received
        port = reactor.listenTCP(0, server.make_factory(), interface=HOST)
        self.addCleanup(port.stopListening)
        self.address = f"{HOST}:{port.getHost().port}"
        return server

    def call(self, tls: Tls | None, body: bytes = b"!") -> Deferred[bytes]:
        return self.network("client", tls).call(self.address, "A", body, 5.0)

    async def refusal(self, tls: Tls | None) -> str:
        """Why a call was certainly not made."""
        try:
            await self.call(tls)
        except NotSent as error:
            return str(error)
        raise AssertionError("it was made")

    async def test_both_ways(self) -> None:
        """Calls and Raft, large ones too, between those who believe each other."""
        options: dict[str, Any] = {
            "verify_outgoing": True,
            "verify_incoming_rpc": True,
            "verify_server_hostname": True,
        }
        self.serve(self.tls("server.dc1.consul", **options))
        other = self.network("other", self.tls("server.dc1.consul", **options))
        body = b"x" * 1_000_000
        self.assertEqual(await other.call(self.address, "A", body, 5.0), b"A" + body)
        other.send("server", self.address, Heartbeat(1, 2, 3))
        await self.heard
        self.assertEqual(self.got, [Heartbeat(1, 2, 3)])
        client = self.tls("client.dc1.consul", uses=(CLIENT,), **options)
        self.assertEqual(await self.call(client), b"A!")
        self.assertEqual(self.log.lines, [])

    async def test_step_by_step(self) -> None:
        """A server that has a certificate takes both, plain and TLS, until it verifies."""
        tls = self.tls("server.dc1.consul")
        server = self.serve(tls)
        dialler = self.tls("client.dc1.consul", verify_outgoing=True)
        self.assertEqual(await self.call(None), b"A!")
        self.assertEqual(await self.call(dialler), b"A!")
        tls.take(self.tls("server.dc1.consul", verify_incoming_rpc=True).state)
        server.tls_changed()
        self.assertEqual(await self.call(dialler), b"A!")
        await self.assertFailure(self.call(None), Unreachable)
        (line,) = self.log.lines
        self.assertTrue(line.endswith("refused: it does not speak TLS, which verify_incoming demands"), line)

    async def test_a_server_without_certificate(self) -> None:
        """It says so; who dialled knows that nothing was sent."""
        self.serve(None)
        await self.refusal(self.tls("x", verify_outgoing=True))
        self.assertEqual(len(self.log.lines), 2)
        self.assertIn("it speaks TLS, but this server has no certificate", self.log.lines[0])
        self.assertIn(f"no TLS with the server at {self.address}: the peer closed", self.log.lines[1])

    async def test_refused_certificates(self) -> None:
        """Both sides name the other and the reason, and no call has an unknown outcome."""
        self.serve(self.tls("server.dc1.consul", verify_incoming_rpc=True))
        for client, ours, theirs in (
            (self.tls(verify_outgoing=True), "shows no certificate", "the peer refused: "),
            (self.tls("x", by=self.other, verify_outgoing=True), "unknown authority", "the peer refused: "),
            (self.tls("x", hours=-1, verify_outgoing=True), "has expired", "the peer refused: "),
        ):
            self.assertIn(theirs, await self.refusal(client))
            server_line, client_line = sorted(self.log.lines)
            self.assertTrue(server_line.startswith("RPC connection from 127."), server_line)
            self.assertIn(ours, server_line)
            self.assertIn(f"no TLS with the server at {self.address}: {theirs}", client_line)
            self.log.lines.clear()

    async def test_the_wrong_server(self) -> None:
        """A certificate for something else is none, where names are looked at."""
        self.serve(self.tls("client.dc1.consul"))
        looking = self.tls("x", verify_outgoing=True, verify_server_hostname=True)
        why = "x509: certificate is not valid for server.dc1.consul"
        self.assertIn(why, await self.refusal(looking))
        self.assertIn(f"no TLS with the server at {self.address}: {why}", self.log.lines)
        self.assertEqual(await self.call(self.tls("x", verify_outgoing=True)), b"A!")

    async def test_clients_take_no_part_in_raft(self) -> None:
        """A client's certificate is good for calls, not for consensus."""
        options: dict[str, Any] = {
            "verify_outgoing": True,
            "verify_incoming_rpc": True,
            "verify_server_hostname": True,
        }
        self.serve(self.tls("server.dc1.consul", **options))
        client = self.network("client", self.tls("client.dc1.consul", **options))
        broken: Deferred[str] = Deferred()
        client.unreachable = broken.callback
        client.send("server", self.address, Heartbeat(1, 2, 3))
        await broken
        self.assertEqual(self.got, [])
        self.assertIn("refused: its certificate is not that of a server", self.log.lines[0])

    async def test_said_once(self) -> None:
        """Trying again and again does not fill the log."""
        self.serve(self.tls("server.dc1.consul", verify_incoming_rpc=True))
        client = self.network("client", self.tls(verify_outgoing=True))
        for _ in range(5):
            await self.assertFailure(client.call(self.address, "A", b"", 5.0), NotSent)
        self.assertEqual(len([line for line in self.log.lines if line.startswith("no TLS")]), 1)

    async def test_a_server_that_never_answers(self) -> None:
        """It is given up."""
        self.patch(peers, "TLS_TIMEOUT_S", 0.1)
        factory = Factory.forProtocol(Protocol)
        port = reactor.listenTCP(0, factory, interface=HOST)
        self.addCleanup(port.stopListening)
        self.address = f"{HOST}:{port.getHost().port}"
        self.assertIn("takes too long", await self.refusal(self.tls(verify_outgoing=True)))

    async def test_a_server_that_answers_something_else(self) -> None:
        """Inside TLS there is somebody else."""
        self.patch(greeting, "AMP_BYTE", b"Q")
        self.patch(entrance, "MISSING", {})
        self.assertEqual(entrance.AMP_BYTE, b"P")
        self.serve(self.tls("server.dc1.consul"))
        self.assertIn("the peer closed", await self.refusal(self.tls("x", verify_outgoing=True)))
        self.assertIn("unrecognized RPC byte 81", self.log.lines[0])


class GreetingTests(SynchronousTestCase):
    def greeting(self) -> tuple[Greeting, StringTransportWithDisconnection]:
        made = Greeting(lambda: self.fail("no connection is to be made"))
        transport = StringTransportWithDisconnection()
        transport.protocol = made
        made.makeConnection(transport)
        return made, transport

    def test_something_else(self) -> None:
        """A server that answers with another byte is none of ours."""
        made, transport = self.greeting()
        self.assertEqual(transport.value(), entrance.AMP_BYTE)
        made.dataReceived(b"Q")
        self.assertTrue(transport.disconnected)
        error = self.failureResultOf(made.done, TlsFailed).value
        self.assertEqual(str(error), "the server answers something else")

    def test_given_up(self) -> None:
        """Who no longer waits closes the connection."""
        made, transport = self.greeting()
        made.done.addErrback(lambda failure: None)
        made.done.cancel()
        self.assertTrue(transport.disconnected)
