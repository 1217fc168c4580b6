"""The client with Deferreds, against prepared answers on the real reactor."""

from pathlib import Path
from typing import Any

from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from pyconsul.client import agent, kv
from pyconsul.client import twisted as module
from pyconsul.client.call import ResponseError, TransportError, UnexpectedResponse
from pyconsul.client.endpoint import Endpoint
from pyconsul.client.twisted import Client
from pyconsul.errors import ConfigurationError
from tests.client.canned import ADDRESS, CannedServer, response
from tests.client.certificates import make_certificates


class ClientTests(TestCase):
    def serve(self, *answers: bytes | None) -> tuple[CannedServer, Client]:
        server = CannedServer(answers)
        self.addCleanup(server.close)
        client = Client(reactor, Endpoint(server.address, token="secret"))
        self.addCleanup(client.close)
        return server, client

    async def test_exchange(self) -> None:
        """The request goes out whole, the answer comes back decoded."""
        server, client = self.serve(response(200, b"true"))
        self.assertTrue(await client.do(kv.put("a", b"value")))
        self.assertEqual(server.lines, ["PUT /v1/kv/a"])
        self.assertEqual(server.bodies, [b"value"])
        self.assertEqual(server.header("X-Consul-Token"), "secret")

    async def test_ask(self) -> None:
        """The index comes along with the value."""
        _, client = self.serve(response(200, b"v", "X-Consul-Index: 12\r\n"))
        answer = await client.ask(kv.value("a"))
        self.assertEqual((answer.value, answer.index), (b"v", 12))

    async def test_refusal(self) -> None:
        """The agent's reason is what the Deferred fails with."""
        _, client = self.serve(response(500, b"why"))
        error: object = await self.assertFailure(_anything(client.do(agent.leave())), UnexpectedResponse)
        self.assertEqual(str(error), "Unexpected response code: 500 (why)")

    async def test_refused(self) -> None:
        """Nobody listens."""
        client = Client(reactor, Endpoint("127.0.24.20:1"))
        error: object = await self.assertFailure(_anything(client.do(agent.leave())), TransportError)
        self.assertIn('Put "http://127.0.24.20:1/v1/agent/leave": ', str(error))

    async def test_no_answer(self) -> None:
        """A connection that closes without an answer is an error of the connection."""
        _, client = self.serve(None)
        await self.assertFailure(client.do(kv.put("a", b"")), TransportError)

    async def test_cut_short(self) -> None:
        """A body that ends too early is no answer."""
        _, client = self.serve(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nab")
        await self.assertFailure(client.do(kv.value("a")), ResponseError)

    async def test_bad_token(self) -> None:
        """A token that cannot be sent fails the call and nothing else."""
        client = Client(reactor, Endpoint(token="a\nb"))
        await self.assertFailure(client.do(kv.value("a")), ConfigurationError)

    async def test_unix_socket(self) -> None:
        """An agent may listen on a socket file."""
        path = self.mktemp()
        port = reactor.listenUNIX(path, Site(_tree()))  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        client = Client(reactor, Endpoint(f"unix://{path}"))
        self.addCleanup(client.close)
        self.assertEqual(await client.do(kv.value("a")), b"stored")


def _anything(done: Deferred[None]) -> Deferred[Any]:
    return done


def _tree() -> Resource:
    root = Resource()
    inner = root
    for name in (b"v1", b"kv"):
        child = Resource()
        inner.putChild(name, child)
        inner = child
    inner.putChild(b"a", Data(b"stored", "text/plain"))
    return root


class TlsTests(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.ca, self.cert, self.key = make_certificates(self.folder, ADDRESS)
        context = ssl.DefaultOpenSSLContextFactory(str(self.key), str(self.cert))
        port: Any = reactor.listenSSL(0, Site(_tree()), context, interface=ADDRESS)  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.address = f"https://{ADDRESS}:{port.getHost().port}"

    def client(self, **options: Any) -> Client:
        client = Client(reactor, Endpoint(self.address, **options))
        self.addCleanup(client.close)
        return client

    async def test_verified(self) -> None:
        """An agent whose certificate our CA signed is asked; the CA may lie in a folder."""
        client = self.client(ca_file=str(self.ca), client_cert=str(self.cert), client_key=str(self.key))
        self.assertEqual(await client.do(kv.value("a")), b"stored")
        (self.folder / "key.pem").unlink()
        client = self.client(ca_path=str(self.folder), server_name="server.dc1.consul")
        self.assertEqual(await client.do(kv.value("a")), b"stored")

    async def test_unknown_ca(self) -> None:
        """Without our CA nothing is asked."""
        await self.assertFailure(self.client().do(kv.value("a")), TransportError)

    async def test_not_verified(self) -> None:
        """If the user says so, any certificate will do."""
        self.assertEqual(await self.client(verify=False).do(kv.value("a")), b"stored")

    async def test_files_that_are_not_there(self) -> None:
        """A CA file that cannot be read fails the call."""
        client = self.client(ca_file="/none/here")
        await self.assertFailure(client.do(kv.value("a")), ConfigurationError)


class _Response:
    """An answer whose body the test delivers."""

    code, phrase, headers = 200, b"OK", Headers({b"A": [b"b"]})

    def deliverBody(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(_Transport())


class _Transport:
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class _Agent:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.sent: Deferred[Any] = Deferred()

    def request(self, *arguments: Any) -> Deferred[Any]:
        return self.sent


class LimitTests(TestCase):
    def setUp(self) -> None:
        self.clock, self.agent = Clock(), _Agent()
        self.client = Client(self.clock, Endpoint("h:1"), self.agent)  # type: ignore[arg-type]

    def test_no_answer_in_time(self) -> None:
        """A call ends at its deadline."""
        call = kv.value("a")
        done = self.client.do(call)
        self.clock.advance(call.timeout_s)
        error = self.failureResultOf(done, TransportError).value
        self.assertEqual(str(error), 'Get "http://h:1/v1/kv/a?raw": timed out waiting for the answer')

    def test_body_not_in_time(self) -> None:
        """So does one whose body never ends, and its connection is broken."""
        found = _Response()
        done = self.client.do(kv.value("a"))
        self.agent.sent.callback(found)
        self.clock.advance(60)
        self.failureResultOf(done, TransportError)
        self.assertTrue(found.protocol.transport.aborted)

    def test_body_too_long(self) -> None:
        """A body beyond the limit is refused; what comes later is ignored."""
        self.patch(module, "BODY_MAX_BYTES", 4)
        found = _Response()
        done = self.client.do(kv.value("a"))
        self.agent.sent.callback(found)
        found.protocol.dataReceived(b"abc")
        found.protocol.dataReceived(b"de")
        self.failureResultOf(done, ResponseError)
        found.protocol.connectionLost(Failure(ResponseDone()))
        self.assertTrue(found.protocol.transport.aborted)

    def test_body(self) -> None:
        """The pieces of a body come together."""
        found = _Response()
        done = self.client.response(kv.value("a"))
        self.agent.sent.callback(found)
        found.protocol.dataReceived(b"ab")
        found.protocol.dataReceived(b"c")
        found.protocol.connectionLost(Failure(ResponseDone()))
        answer = self.successResultOf(done)
        self.assertEqual((answer.body, answer.headers), (b"abc", {"a": "b"}))
