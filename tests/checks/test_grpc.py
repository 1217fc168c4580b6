"""gRPC and HTTP/2 ping checks: against a real gRPC server where one is installed, and a stand-in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pyconsul.checks.definition import CheckType
from pyconsul.checks.tls import CheckTls

reactor: Any = any_reactor
NO_H2 = "" if find_spec("h2") else "h2 is not installed"
NO_GRPC = NO_H2 or ("" if find_spec("grpc") else "grpcio is not installed")


def definition(kind: str, target: str, **fields: Any) -> CheckType:
    return CheckType(check_id="c", kind=kind, target=target, timeout_s=5.0, **fields)


def grpc_probe(target: str, **fields: Any) -> Any:
    from pyconsul.checks.grpc import GrpcProbe

    return GrpcProbe(definition("grpc", target, **fields), reactor, CheckTls())


def ping_probe(target: str, **fields: Any) -> Any:
    from pyconsul.checks.h2ping import H2PingProbe

    return H2PingProbe(definition("h2ping", target, **fields), reactor, CheckTls())


class RealGrpcTests(TestCase):
    """A server of the grpcio package."""

    if NO_GRPC:
        skip = NO_GRPC

    def setUp(self) -> None:
        import grpc

        answers = {
            b"": b"\x08\x01",
            b"a/b": b"\x08\x01",
            b"bad": b"\x08\x02",
            b"odd": b"\x08\x03",
            b"no": b"",
        }

        def check(request: bytes, context: Any) -> Any:
            name = request[2:]
            if name == b"broken":
                raise ValueError("oh")
            if name not in answers:
                context.abort(grpc.StatusCode.NOT_FOUND, "unknown service é%")
            return answers[name]

        handlers = {"Check": grpc.unary_unary_rpc_method_handler(check)}
        self.server: Any = grpc.server(ThreadPoolExecutor(2))
        handler = grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers)
        self.server.add_generic_rpc_handlers((handler,))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()
        self.addCleanup(lambda: deferToThread(self.server.stop(None).wait))

    async def test_health(self) -> None:
        unhealthy = "gRPC application didn't report service healthy"
        for name, status, output in (
            ("", "passing", f"gRPC check {self.address}: success"),
            ("/", "passing", f"gRPC check {self.address}/: success"),
            ("/a/b", "passing", f"gRPC check {self.address}/a/b: success"),
            ("/bad", "critical", unhealthy),
            ("/odd", "critical", unhealthy),
            ("/no", "critical", unhealthy),
            ("/none", "critical", "rpc error: code = NotFound desc = unknown service é%"),
            ("/broken", "critical", "rpc error: code = Unknown desc = Exception calling application: oh"),
        ):
            self.assertEqual(await grpc_probe(self.address + name).run(), (status, output))

    async def test_other_services_only(self) -> None:
        """A server that knows no health service says so."""
        import grpc

        server: Any = grpc.server(ThreadPoolExecutor(1))
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        self.addCleanup(lambda: deferToThread(server.stop(None).wait))
        status, output = await grpc_probe(address).run()
        self.assertEqual((status, output[:39]), ("critical", "rpc error: code = Unimplemented desc = "))

    async def test_ping(self) -> None:
        found = await ping_probe(self.address).run()
        self.assertEqual(found, ("passing", "HTTP2 ping was successful"))


class Scripted(Protocol):
    """An HTTP/2 server that does what its factory says when a request has come."""

    over = False

    def connectionMade(self) -> None:
        from h2.config import H2Configuration
        from h2.connection import H2Connection

        self.h2: Any = H2Connection(H2Configuration(client_side=False))
        self.h2.initiate_connection()
        self.send()

    def send(self) -> None:
        self.transport.write(self.h2.data_to_send())  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        from h2.events import StreamEnded

        if self.over:
            return
        for event in self.h2.receive_data(data):
            if isinstance(event, StreamEnded):
                self.over = True
                factory: Any = self.factory
                factory.act(self.h2)
        self.send()


class StandInTests(TestCase):
    if NO_H2:
        skip = NO_H2

    def listen(self, protocol: type[Protocol], act: Any = None) -> str:
        factory: Any = Factory.forProtocol(protocol)
        factory.noisy = False
        factory.act = act
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"127.0.0.1:{port.getHost().port}"

    async def answer(self, act: Any) -> tuple[str, str]:
        status, output = await grpc_probe(self.listen(Scripted, act)).run()
        return status, output

    async def test_odd_answers(self) -> None:
        ok = [(":status", "200"), ("content-type", "application/grpc")]

        def no_trailers(h2: Any) -> None:
            h2.send_headers(1, ok, end_stream=True)

        def not_grpc(h2: Any) -> None:
            h2.send_headers(1, [(":status", "404")], end_stream=True)

        def strange_code(h2: Any) -> None:
            h2.send_headers(1, [*ok, ("grpc-status", "99")], end_stream=True)

        def reset(h2: Any) -> None:
            h2.reset_stream(1, 2)

        def goodbye(h2: Any) -> None:
            h2.close_connection(11)

        for act, told in (
            (no_trailers, "code = Unknown desc = server closed the stream without sending trailers"),
            (not_grpc, "code = Unknown desc = unexpected HTTP status code received from server: 404"),
            (strange_code, "code = Code(99) desc = "),
            (reset, "code = Unavailable desc = stream terminated by RST_STREAM with error code: 2"),
            (goodbye, "code = Unavailable desc = connection closed by the server: error code 11"),
        ):
            self.assertEqual(await self.answer(act), ("critical", f"rpc error: {told}"))

    async def test_no_http2(self) -> None:
        """Something else answers, or closes."""

        class Other(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9)  # type: ignore[union-attr]

        class Closing(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.loseConnection()  # type: ignore[union-attr]

        for protocol, told in ((Other, "connection error"), (Closing, "connection closed")):
            address = self.listen(protocol)
            status, output = await grpc_probe(address).run()
            self.assertEqual(status, "critical")
            self.assertIn(f"rpc error: code = Unavailable desc = {told}", output)
            status, output = await ping_probe(address).run()
            self.assertEqual(status, "critical")
            self.assertIn(f"HTTP2 ping to {address} failed: {told}", output)

    async def test_nobody_there(self) -> None:
        unused = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        address = f"127.0.0.1:{unused.getHost().port}"
        await unused.stopListening()
        refused = f"dial tcp {address}: connect: connection refused"
        text = f'connection error: desc = "transport: Error while dialing {refused}"'
        found = await grpc_probe(address).run()
        self.assertEqual(found, ("critical", f"rpc error: code = Unavailable desc = {text}"))
        found = await ping_probe(address).run()
        self.assertEqual(found, ("critical", f"Failed to dial to {address}: {refused}"))
        self.assertIn("missing port in address", (await grpc_probe("nowhere").run()).output)
        self.assertIn("missing port in address", (await ping_probe("nowhere", tls=True).run()).output)

    async def test_no_tls_there(self) -> None:
        class Plain(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"who is there?")  # type: ignore[union-attr]

        address = self.listen(Plain)
        for probe in (grpc_probe(address, tls=True), ping_probe(address, tls=True)):
            status, output = await probe.run()
            self.assertEqual(status, "critical")
            self.assertIn("tls: ", output)

    async def test_no_answer(self) -> None:
        check = grpc_probe(self.listen(Protocol))
        run = check.run()
        run.addErrback(lambda _: None)
        run.cancel()
        text = "rpc error: code = DeadlineExceeded desc = context deadline exceeded"
        self.assertEqual(check.timed_out(), ("critical", text))
        self.assertEqual(ping_probe("x:1").timed_out().status, "critical")


class MessageTests(SynchronousTestCase):
    if NO_H2:
        skip = NO_H2

    def test_requests(self) -> None:
        from pyconsul.checks.grpc import health_request

        self.assertEqual(health_request(""), b"\0\0\0\0\0")
        self.assertEqual(health_request("ab"), b"\0\0\0\0\x04\x0a\x02ab")
        self.assertEqual(health_request("x" * 300)[5:9], b"\x0a\xac\x02x")

    def test_answers(self) -> None:
        """What makes no sense is unknown."""
        from pyconsul.checks.grpc import serving_status

        for body, status in (
            (b"\0\0\0\0\x02\x08\x01", 1),
            (b"\0\0\0\0\x02\x08\x02", 2),
            (b"\0\0\0\0\0", 0),
            (b"\1\0\0\0\x02\x08\x01", 0),
            (b"\0\0\0\0\x03\x08\x01", 0),
            (b"\0\0", 0),
            (b"", 0),
            (b"\0\0\0\0\x02\x10\x01", 0),
        ):
            self.assertEqual(serving_status(body), status, body)
