"""The client that waits, against prepared answers."""

import socket
import ssl
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.client import agent, kv
from pyconsul.client.blocking import Client
from pyconsul.client.call import ResponseError, TransportError, UnexpectedResponse
from pyconsul.client.endpoint import Endpoint
from tests.client.canned import ADDRESS, CannedServer, response
from tests.client.certificates import make_certificates


class ClientTests(SynchronousTestCase):
    def serve(self, *answers: bytes | None) -> tuple[CannedServer, Client]:
        server = CannedServer(answers)
        self.addCleanup(server.close)
        client = Client(Endpoint(server.address, token="secret"))
        self.addCleanup(client.close)
        return server, client

    def test_exchange(self) -> None:
        """The request goes out whole, the answer comes back decoded."""
        server, client = self.serve(response(200, b"true"))
        self.assertTrue(client.do(kv.put("a", b"value", flags=3)))
        self.assertEqual(server.lines, ["PUT /v1/kv/a?flags=3"])
        self.assertEqual(server.bodies, [b"value"])
        self.assertEqual(server.header("X-Consul-Token"), "secret")
        self.assertEqual(server.header("Host"), server.address)

    def test_ask(self) -> None:
        """The index comes along with the value."""
        _, client = self.serve(response(200, b"v", "X-Consul-Index: 12\r\n"))
        answer = client.ask(kv.value("a"))
        self.assertEqual((answer.value, answer.index), (b"v", 12))

    def test_the_connection_is_kept(self) -> None:
        """A second call goes over the same connection; the server here has one at a time."""
        server, client = self.serve(response(200, b"a"), response(200, b"b"))
        self.assertEqual([client.do(kv.value("x")), client.do(kv.value("y"))], [b"a", b"b"])
        self.assertEqual(len(server.requests), 2)

    def test_a_connection_that_was_closed(self) -> None:
        """A kept connection that the agent closed is replaced without a word."""
        _, client = self.serve(response(200, b"a"), None, response(200, b"b"))
        self.assertEqual([client.do(kv.value("x")), client.do(kv.value("y"))], [b"a", b"b"])

    def test_connection_close(self) -> None:
        """An agent that says so gets a new connection for the next call."""
        _, client = self.serve(response(200, b"a", "Connection: close\r\n"), response(200, b"b"))
        self.assertEqual([client.do(kv.value("x")), client.do(kv.value("y"))], [b"a", b"b"])

    def test_no_answer(self) -> None:
        """A fresh connection that closes without an answer is an error."""
        server, client = self.serve(None)
        error = self.assertRaises(TransportError, client.do, kv.value("x"))
        self.assertEqual(str(error), f'Get "http://{server.address}/v1/kv/x?raw": EOF')

    def test_refused(self) -> None:
        """Nobody listens: the text is that of Consul."""
        client = Client(Endpoint("127.0.24.20:1"))
        error = self.assertRaises(TransportError, client.do, agent.leave())
        self.assertEqual(
            str(error),
            'Put "http://127.0.24.20:1/v1/agent/leave": dial tcp 127.0.24.20:1: connect: connection refused',
        )

    def test_no_such_socket(self) -> None:
        """The same for a socket file."""
        client = Client(Endpoint("unix:///none/here"))
        error = self.assertRaises(TransportError, client.do, agent.leave())
        self.assertIn("dial unix /none/here: connect: no such file or directory", str(error))

    def test_unix_socket(self) -> None:
        """An agent may listen on a socket file."""
        folder = tempfile.mkdtemp()  # short, since such paths must be
        path = f"{folder}/s"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        with CannedServer([response(200, b"v")], listener) as server:
            self.assertEqual(Client(Endpoint(f"unix://{path}")).do(kv.value("x")), b"v")
            self.assertEqual(server.header("Host"), "localhost")
        Path(path).unlink()
        Path(folder).rmdir()

    def test_refusal(self) -> None:
        """The agent's reason is what is raised."""
        _, client = self.serve(response(500, b"agent: No node found with name 'n'"))
        error = self.assertRaises(UnexpectedResponse, client.do, agent.force_leave("n"))
        self.assertEqual(str(error), "Unexpected response code: 500 (agent: No node found with name 'n')")

    def test_late(self) -> None:
        """An answer that does not come in time is an error."""
        server, client = self.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", None)
        call = kv.value("x")
        call.timeout_s = 0.05
        error = self.assertRaises(TransportError, client.do, call)
        self.assertIn("timed out", str(error))
        self.assertIn(server.address, str(error))

    def test_chunked(self) -> None:
        """A body in chunks, with extensions and trailers, and the connection is kept."""
        body = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: r\r\n\r\n"
        _, client = self.serve(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body, response(200, b"next")
        )
        self.assertEqual(client.do(kv.value("x")), b"abcde")
        self.assertEqual(client.do(kv.value("x")), b"next")

    def test_body_to_the_end(self) -> None:
        """Without a length the body ends with the connection."""
        _, client = self.serve(b"HTTP/1.0 200 OK\r\n\r\nto the end")
        self.assertEqual(client.do(kv.value("x")), b"to the end")

    def test_interim_answer(self) -> None:
        """100 Continue is no answer."""
        _, client = self.serve(b"HTTP/1.1 100 Continue\r\n\r\n" + response(200, b"v"))
        self.assertEqual(client.do(kv.value("x")), b"v")

    def test_answers_without_a_body(self) -> None:
        """204 has no body, whatever its headers say."""
        _, client = self.serve(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.assertEqual(client.response(agent.leave()).status, 204)

    def test_malformed(self) -> None:
        """What is not HTTP is an error, and nothing else breaks."""
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for answer in (
            b"junk\r\n\r\n",
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n",
            chunked + b"zz\r\n",
            chunked + b"-1\r\n",
        ):
            _, client = self.serve(answer)
            self.assertRaises(ResponseError, client.do, kv.value("x"))

    def test_cut_short(self) -> None:
        """A connection that ends in the middle is an error."""
        for answer in (
            b"HTTP/1.1 200 OK\r\nConte",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5",
        ):
            _, client = self.serve(answer)
            self.assertRaises(ResponseError, client.do, kv.value("x"))

    def test_too_long_a_head(self) -> None:
        """Heads and chunk lines have a limit."""
        long = b"x" * 200_000
        _, client = self.serve(b"HTTP/1.1 200 OK\r\nA: " + long)
        self.assertRaises(ResponseError, client.do, kv.value("x"))
        _, client = self.serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + long)
        self.assertRaises(ResponseError, client.do, kv.value("x"))

    def test_stream(self) -> None:
        """A body is handed on as it comes."""
        _, client = self.serve(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
        )
        self.assertEqual(b"".join(client.stream(kv.value("x"))), b"abc")

    def test_stream_refused(self) -> None:
        """A stream that does not begin raises like any call."""
        _, client = self.serve(response(500, b"why"))
        self.assertRaises(UnexpectedResponse, list, client.stream(agent.self()))

    def test_stream_that_breaks(self) -> None:
        """No answer at all is an error of the connection."""
        _, client = self.serve(None)
        self.assertRaises(TransportError, list, client.stream(agent.self()))

    def test_context(self) -> None:
        """Leaving the block closes the connection; a new call opens another."""
        server, client = self.serve(response(200, b"a"), response(200, b"b"))
        with client:
            client.do(kv.value("x"))
        self.assertEqual(client.do(kv.value("x")), b"b")
        self.assertEqual(len(server.requests), 2)

    def test_endpoint_of_the_environment(self) -> None:
        """Without an endpoint, the environment names it."""
        self.patch(__import__("os"), "environ", {"CONSUL_HTTP_ADDR": "h:9"})
        self.assertEqual((Client().endpoint.host, Client().endpoint.port), ("h", 9))


class TlsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ca, cert, key = make_certificates(Path(self.mktemp()), ADDRESS)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        listener = context.wrap_socket(socket.create_server((ADDRESS, 0)), server_side=True)
        self.server = CannedServer([response(200, b"v")], listener)
        self.addCleanup(self.server.close)

    def test_verified(self) -> None:
        """An agent whose certificate our CA signed is asked."""
        client = Client(Endpoint(f"https://{self.server.address}", ca_file=str(self.ca)))
        self.addCleanup(client.close)
        self.assertEqual(client.do(kv.value("x")), b"v")

    def test_by_name(self) -> None:
        """The name to expect may be another than the address."""
        end = Endpoint(
            f"https://{self.server.address}", ca_file=str(self.ca), server_name="server.dc1.consul"
        )
        client = Client(end)
        self.addCleanup(client.close)
        self.assertEqual(client.do(kv.value("x")), b"v")

    def test_unknown_ca(self) -> None:
        """Without our CA nothing is sent."""
        client = Client(Endpoint(f"https://{self.server.address}"))
        error = self.assertRaises(TransportError, client.do, kv.value("x"))
        self.assertTrue(str(error).endswith(": x509: certificate signed by unknown authority"), str(error))
        self.assertEqual(self.server.requests, [])

    def test_wrong_name(self) -> None:
        """Nor if the certificate is for somebody else."""
        end = Endpoint(f"https://{self.server.address}", ca_file=str(self.ca), server_name="other.test")
        error = self.assertRaises(TransportError, Client(end).do, kv.value("x"))
        self.assertIn(": x509: Hostname mismatch, certificate is not valid for 'other.test'", str(error))
