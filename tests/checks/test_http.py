"""Checks that make HTTP requests, against a server on the loopback."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import DNSLookupError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import ResponseNeverReceived
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

from pyconsul.checks.definition import CheckType
from pyconsul.checks.http import HttpProbe, Unverified, request_headers
from pyconsul.checks.runner import CheckRunner

reactor: Any = any_reactor


def definition(url: str, **fields: Any) -> CheckType:
    return CheckType(check_id="c", kind="http", http=url, timeout_s=5.0, interval_s=10.0, **fields)


HEADER = {"X-A": ["b"], "Accept": ["c"]}
PHRASES = {429: b"Too Many Requests"}


class Root(Resource):
    """/code/N answers N, /to/N redirects with N to /echo, /loop to itself; /hang never ends."""

    isLeaf = True

    def render(self, request: Any) -> Any:
        what, _, rest = request.path.decode().strip("/").partition("/")
        if what == "code":
            request.setResponseCode(int(rest), PHRASES.get(int(rest)))
            return b"body of " + rest.encode()
        if what == "to":
            request.setResponseCode(int(rest))
            request.setHeader(b"Location", b"/echo")
            return b"elsewhere"
        if what == "loop":
            request.redirect(b"/loop")
            return b""
        if what == "big":
            return b"0123456789" * 1000
        if what == "hang":
            request.write(b"some")
            return NOT_DONE_YET
        if what == "cut":
            request.setHeader(b"Content-Length", b"99")
            request.write(b"some")
            request.transport.loseConnection()
            return NOT_DONE_YET
        accept = request.getHeader("accept") or ""
        body = request.content.read().decode()
        return f"{request.method.decode()} {request.getHeader('x-a')} {accept} {body}".encode()


class HttpTests(TestCase):
    def setUp(self) -> None:
        site = Site(Root())
        site.noisy = False
        self.port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port.getHost().port}"

        self.addCleanup(lambda: self.port.stopListening())

    async def get(self, path: str, **fields: Any) -> tuple[str, str]:
        probe = HttpProbe(definition(self.url + path, **fields), reactor)
        status, output = await probe.run()
        return status, output.replace(self.url, "URL")

    async def test_codes(self) -> None:
        for code, status, phrase in (
            (200, "passing", "OK"),
            (299, "passing", "Unknown Status"),
            (400, "critical", "Bad Request"),
            (429, "warning", "Too Many Requests"),
            (500, "critical", "Internal Server Error"),
        ):
            found = await self.get(f"/code/{code}")
            self.assertEqual(
                found, (status, f"HTTP GET URL/code/{code}: {code} {phrase} Output: body of {code}")
            )
        status, output = await self.get("/code/304")
        self.assertEqual((status, output[:30]), ("critical", "HTTP GET URL/code/304: 304 Not"))

    async def test_requests(self) -> None:
        """Method, headers and body are those of the definition."""
        status, output = await self.get(
            "/echo", method="PUT", header={"X-A": ["b"], "Accept": ["c"]}, body="d"
        )
        self.assertEqual((status, output), ("passing", "HTTP PUT URL/echo: 200 OK Output: PUT b c d"))
        self.assertIn("GET None text/plain, text/*, */* ", (await self.get("/a b/echo?x=1"))[1])

    async def test_redirects(self) -> None:
        """Followed, with the method that the code asks for; not without end."""
        for code, method in ((301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")):
            status, output = await self.get(f"/to/{code}", method="POST", body="d")
            self.assertEqual(status, "passing")
            self.assertIn(f"HTTP POST URL/to/{code}: 200 OK Output: {method} None", output)
        status, output = await self.get("/to/302", method="HEAD")
        self.assertEqual(status, "passing")
        self.assertEqual(await self.get("/loop"), ("critical", 'Get "URL/loop": stopped after 10 redirects'))

    async def test_long_bodies(self) -> None:
        """The end is kept."""
        _, output = await self.get("/big", output_bytes_max=20)
        self.assertEqual(output, "HTTP GET URL/big: 200 OK Output: 01234567890123456789")

    async def test_a_body_cut_short(self) -> None:
        status, output = await self.get("/cut")
        self.assertEqual((status, output[:15]), ("critical", 'Get "URL/cut": '))

    async def test_nobody_there(self) -> None:
        await self.port.stopListening()
        status, output = await self.get("/")
        self.assertEqual(status, "critical")
        self.assertIn("connect: connection refused", output)

    async def test_an_answer_that_does_not_end(self) -> None:
        """The run is cancelled and its connection closed."""
        clock = Clock()
        told: Deferred[tuple[str, str]] = Deferred()
        check = definition(self.url + "/hang")
        probe = HttpProbe(check, reactor)
        reads: list[Any] = []
        outcome = probe._outcome

        def noticed(response: Any) -> Any:
            reads.append(response)
            clock.callLater(1, lambda: None)
            reactor.callLater(0, clock.advance, check.timeout_s)
            return outcome(response)

        probe._outcome = noticed  # type: ignore[method-assign]
        runner = CheckRunner(
            check, probe, clock, _Now(), lambda _, status, output: told.callback((status, output))
        )
        runner.start()
        clock.advance(0)
        status, output = await told
        self.assertEqual(status, "critical")
        self.assertIn("context deadline exceeded", output)
        self.assertEqual(len(reads), 1)
        runner.stop()


class _Now(Random):
    def random(self) -> float:
        return 0.0


@implementer(IAgent)
class FailingAgent:
    """Fails every request."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def request(self, *args: Any, **more: Any) -> Deferred[Any]:
        return fail(self.error)


class ProblemTests(SynchronousTestCase):
    def outcome(self, url: str, error: Exception | None = None) -> tuple[str, str]:
        probe = HttpProbe(definition(url), Clock(), FailingAgent(error or ZeroDivisionError()))
        return self.successResultOf(probe.run())

    def test_urls(self) -> None:
        for url in ("::bad", "127.0.0.1:80/x", "/x", ""):
            self.assertEqual(self.outcome(url), ("critical", f'parse "{url}": missing protocol scheme'))
        self.assertIn("Port", self.outcome("http://x:99999/")[1])

    def test_schemes(self) -> None:
        probe = HttpProbe(definition("ftp://x/"), reactor)
        status, output = self.successResultOf(probe.run())
        self.assertEqual(status, "critical")
        self.assertIn("ftp", output)

    def test_failures(self) -> None:
        for error, text in (
            (DNSLookupError(), "dial tcp: lookup x: no such host"),
            (ResponseNeverReceived([Failure(ZeroDivisionError())]), "ZeroDivisionError"),
            (ResponseNeverReceived([Failure(ValueError("oh"))]), "oh"),
            (ValueError(), "ValueError"),
        ):
            self.assertEqual(self.outcome("http://x/", error), ("critical", f'Get "http://x/": {text}'))


class TlsTests(SynchronousTestCase):
    def test_any_certificate(self) -> None:
        """``tls_skip_verify``: no verification, but the name is told to the server."""
        from OpenSSL import SSL

        creator: Any = Unverified().creatorForNetloc(b"host.test", 443)
        connection = creator.clientConnectionForTLS(None)
        self.assertEqual(connection.get_context().get_verify_mode(), SSL.VERIFY_NONE)
        agent: Any = HttpProbe(definition("https://x", tls_skip_verify=True), Clock())._agent
        self.assertIsInstance(agent._endpointFactory._policyForHTTPS, Unverified)


class HeaderTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        headers = request_headers({"user-agent": ["mine"], "X-A": ["b", "c"]})
        self.assertEqual(headers.getRawHeaders("User-Agent"), ["mine"])
        self.assertEqual(headers.getRawHeaders("x-a"), ["b", "c"])
        self.assertEqual(request_headers({}).getRawHeaders("user-agent"), ["Consul Health Check"])
