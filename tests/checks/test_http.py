"""Checks that make HTTP requests, against a server on the loopback."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from pyconsul.checks.definition import CheckType
from pyconsul.checks.http import HttpProbe, place
from pyconsul.checks.runner import CheckRunner
from pyconsul.checks.tls import CheckTls
from pyconsul.net.wheel import Wheel

reactor: Any = any_reactor


def definition(url: str, **fields: Any) -> CheckType:
    return CheckType(check_id="c", kind="http", target=url, timeout_s=5.0, interval_s=10.0, **fields)


HEADER = {"X-A": ["b"], "Accept": ["c"]}
PHRASES = {429: b"Too Many Requests"}


class Root(Resource):
    """/code/N answers N, /to/N redirects with N to /echo, /loop to itself.

    /hang never ends, /silent never begins.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: Deferred[None] = Deferred()

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
        if what in ("hang", "silent") and not self.asked.called:
            self.asked.callback(None)
        if what == "silent":
            return NOT_DONE_YET
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
        self.root = Root()
        site = Site(self.root)
        site.noisy = False
        self.port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port.getHost().port}"

        self.addCleanup(lambda: self.port.stopListening())

    async def get(self, path: str, **fields: Any) -> tuple[str, str]:
        probe = HttpProbe(definition(self.url + path, **fields), reactor, CheckTls())
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
        """The code has been heard, and that is what counts."""
        self.assertEqual(await self.get("/cut"), ("passing", "HTTP GET URL/cut: 200 OK Output: some"))

    async def test_nobody_there(self) -> None:
        await self.port.stopListening()
        status, output = await self.get("/")
        self.assertEqual(status, "critical")
        self.assertIn("connect: connection refused", output)

    async def timed_out(self, path: str) -> tuple[str, str]:
        """What a runner says of an answer that does not end."""
        clock = Clock()
        told: Deferred[tuple[str, str]] = Deferred()
        check = definition(self.url + path)
        probe = HttpProbe(check, reactor, CheckTls())
        runner = CheckRunner(
            check, probe, Wheel(clock), _Now(), lambda _, status, output: told.callback((status, output))
        )
        runner.start()
        clock.advance(0.1)
        await self.root.asked
        if path == "/hang":
            while probe._exchange is None or probe._exchange.reply is None:
                await deferLater(reactor, 0)
        clock.advance(check.timeout_s + 0.1)
        runner.stop()
        status, output = await told
        return status, output.replace(self.url, "URL")

    async def test_an_answer_that_does_not_end(self) -> None:
        """The code has been heard. The connection is closed."""
        found = await self.timed_out("/hang")
        self.assertEqual(found, ("passing", "HTTP GET URL/hang: 200 OK Output: some"))

    async def test_no_answer(self) -> None:
        status, output = await self.timed_out("/silent")
        self.assertEqual(status, "critical")
        self.assertIn('Get "URL/silent": context deadline exceeded', output)


class _Now(Random):
    def random(self) -> float:
        return 0.0


class Raw(Protocol):
    """Keeps what it is asked, says ``answer``, and closes."""

    answer = b""

    def __init__(self) -> None:
        self.asked = b""

    def dataReceived(self, data: bytes) -> None:
        self.asked += data
        transport: Any = self.transport
        if b"\r\n\r\n" in self.asked:
            factory: Any = self.factory
            factory.requests.append(self.asked)
            transport.write(factory.answers.pop(0))
            transport.loseConnection()


class RawFactory(Factory):
    protocol = Raw
    noisy = False

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []


class BytesTests(TestCase):
    """What goes over the wire, compared with what Consul 1.8.7 was seen to send and to accept."""

    async def ask(self, *answers: bytes, path: str = "/x", userinfo: str = "", **fields: Any) -> Any:
        factory = RawFactory(*answers)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.netloc = f"127.0.0.1:{port.getHost().port}"
        probe = HttpProbe(definition(f"http://{userinfo}{self.netloc}{path}", **fields), reactor, CheckTls())
        status, output = await probe.run()
        shown = [request.decode().replace(self.netloc, "NETLOC") for request in factory.requests]
        return status, output.replace(self.netloc, "NETLOC"), shown

    async def test_a_request(self) -> None:
        _, _, (request,) = await self.ask(b"HTTP/1.1 200 OK\r\n\r\n")
        expected = (
            "GET /x HTTP/1.1\r\nHost: NETLOC\r\nUser-Agent: Consul Health Check\r\n"
            "Accept: text/plain, text/*, */*\r\nConnection: close\r\n\r\n"
        )
        self.assertEqual(request, expected)

    async def test_headers(self) -> None:
        """Those given count, but not for what only the program knows; no line breaks get in."""
        header = {
            "host": ["me.test"], "user-agent": ["me"], "X-a": ["1", "2\r\nX-b: 3"],
            "Content-Length": ["7"], "connection": ["keep-alive"],
        }  # fmt: skip
        ok = b"HTTP/1.1 200 OK\r\n\r\n"
        _, _, (request,) = await self.ask(ok, method="POST", body="é", header=header)
        self.assertIn("Host: me.test\r\n", request)
        self.assertIn("user-agent: me\r\nX-a: 1\r\nX-a: 2 X-b: 3\r\nContent-Length: 2\r\n", request)
        self.assertNotIn("keep-alive", request)
        self.assertNotIn("Consul Health Check", request)
        self.assertTrue(request.endswith("\r\n\r\né"))

    async def test_credentials(self) -> None:
        _, _, (request,) = await self.ask(b"HTTP/1.1 200 OK\r\n\r\n", userinfo="u:p@", path="/x y?a=b c#f")
        self.assertIn("Authorization: Basic dTpw\r\n", request)
        self.assertTrue(request.startswith("GET /x%20y?a=b%20c HTTP/1.1\r\nHost: NETLOC\r\n"))

    async def test_answers(self) -> None:
        """Forms that an answer may take."""
        chunked = b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
        ok = b"HTTP/1.1 200 OK\r\n"
        for answer, status, told in (
            (b"HTTP/1.0 200 Fine Thing\r\n\r\nuntil the end", "passing", "Fine Thing Output: until the end"),
            (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", "passing", "200 Output: x"),
            (b"HTTP/1.1 100 Continue\r\n\r\n" + ok + b"\r\nx", "passing", "200 OK Output: x"),
            (b"HTTP/1.1 204 No Content\r\n\r\n", "passing", "204 No Content Output:"),
            (b"HTTP/1.1 429 Slow\r\nContent-Length: 99\r\n\r\nsome", "warning", "429 Slow Output: some"),
            (ok + chunked, "passing", "200 OK Output: ab"),
            (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "critical", "EOF"),
        ):
            found, output, _ = await self.ask(answer)
            self.assertEqual((found, output.rstrip()[-len(told) :]), (status, told))

    async def test_what_is_no_answer(self) -> None:
        for answer, told in (
            (b"hello there\r\n\r\n", "malformed HTTP response"),
            (b"", "EOF"),
            (b"HTTP/1.1 200 OK\r\nX: y", "EOF"),
            (b"HTTP/1.1 200 OK\r\n" + b"X-Long: y\r\n" * 100_000, "response headers exceeded"),
            (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "302 response missing Location header"),
        ):
            status, output, _ = await self.ask(answer)
            self.assertEqual(status, "critical")
            self.assertIn(told, output)

    async def test_redirects_are_new_requests(self) -> None:
        """With a referer, the headers of the definition, and its host as long as that is the same."""
        found = b"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n"
        ok = b"HTTP/1.1 200 OK\r\n\r\n"
        header = {"Host": ["me.test"], "Cookie": ["c"]}
        _, _, requests = await self.ask(found, ok, header=header)
        self.assertTrue(requests[1].startswith("GET /y HTTP/1.1\r\nHost: me.test\r\n"))
        self.assertIn("Referer: http://NETLOC/x\r\n", requests[1])
        self.assertIn("Cookie: c\r\n", requests[1])

    async def test_redirects_to_others(self) -> None:
        """What is secret does not go there."""
        other = RawFactory(b"HTTP/1.1 200 OK\r\n\r\n")
        port = reactor.listenTCP(0, other, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        netloc = f"127.0.0.1:{port.getHost().port}"
        found = f"HTTP/1.1 307 Found\r\nLocation: http://{netloc}/y?z\r\n\r\n".encode()
        header = {"Host": ["me.test"], "Authorization": ["secret"], "X-a": ["b"]}
        status, _, _ = await self.ask(found, header=header, method="POST", body="d")
        self.assertEqual(status, "passing")
        (request,) = other.requests
        self.assertTrue(request.startswith(f"POST /y?z HTTP/1.1\r\nHost: {netloc}\r\n".encode()))
        self.assertNotIn(b"secret", request)
        self.assertTrue(request.endswith(b"\r\n\r\nd"))

    async def test_redirects_unwanted_or_odd(self) -> None:
        found = b"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n"
        status, output, _ = await self.ask(found, redirects=False)
        self.assertEqual((status, output), ("critical", "HTTP GET http://NETLOC/x: 302 Found Output: "))
        odd = b"HTTP/1.1 302 Found\r\nLocation: http://x:abc/\r\nContent-Length: 0\r\n\r\n"
        status, output, _ = await self.ask(odd)
        self.assertEqual(status, "critical")
        self.assertIn('invalid port ":abc" after host', output)


class ProblemTests(SynchronousTestCase):
    def outcome(self, url: str, **fields: Any) -> Any:
        return self.successResultOf(HttpProbe(definition(url, **fields), reactor, CheckTls()).run())

    def test_urls(self) -> None:
        for url, text in (
            ("::bad", 'parse "::bad": missing protocol scheme'),
            ("/x", 'parse "/x": missing protocol scheme'),
            ("", 'parse "": missing protocol scheme'),
            ("127.0.0.1:80/x", 'parse "127.0.0.1:80/x": first path segment in URL cannot contain colon'),
            ("http://h:abc/x", 'parse "http://h:abc/x": invalid port ":abc" after host'),
            ("http://h:99999/x", 'Get "http://h:99999/x": dial tcp: address 99999: invalid port'),
            ("http:///x", 'Get "http:///x": http: no Host in request URL'),
            ("ftp://x/", 'Get "ftp://x/": unsupported protocol scheme "ftp"'),
        ):
            self.assertEqual(self.outcome(url), ("critical", text))

    def test_methods_and_headers(self) -> None:
        found = self.outcome("http://x/", method="a b")
        self.assertEqual(found, ("critical", 'net/http: invalid method "a b"'))
        found = self.outcome("http://x/", header={"a b": ["c"]})
        self.assertEqual(found, ("critical", 'Get "http://x/": net/http: invalid header field name "a b"'))

    def test_places(self) -> None:
        """Defaults for what a URL leaves out."""
        self.assertEqual(place("HTTPS://h"), ("https", "h", 443, "h", "/", ""))
        self.assertEqual(place("http://[::1]:8/a?b"), ("http", "::1", 8, "[::1]:8", "/a?b", ""))
