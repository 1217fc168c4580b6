"""The channel: parsing, order, limits, the end of connections."""

from __future__ import annotations

from typing import Any

from twisted.internet import task
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPullProducer
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IRequest
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import Gone
from zope.interface import implementer

from pyconsul.errors import NoLeader, NotFound
from pyconsul.http import channel as module
from pyconsul.http import lane as lane_module
from pyconsul.http import site as site_module
from pyconsul.http.routes import App
from pyconsul.interfaces import LATER
from pyconsul.structs.kv import IndexedDirEntries
from tests.http.fakes import DATE, Client, FakeAgent, entry, meta, request, site

GET = request("/v1/kv/a")
READ = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nVary: Accept-Encoding\r\nX-Consul-Index: 7\r\n"
    b"X-Consul-Knownleader: true\r\nX-Consul-Lastcontact: 0\r\nDate: " + DATE + b"\r\n"
    b"Content-Length: 88\r\n\r\n"
    b'[{"LockIndex":0,"Key":"a","Flags":0,"Value":"aGVsbG8=","CreateIndex":6,"ModifyIndex":7}]'
)
TRUE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nVary: Accept-Encoding\r\nDate: " + DATE + b"\r\n"
    b"Content-Length: 4\r\n\r\ntrue"
)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def reply() -> IndexedDirEntries:
    return IndexedDirEntries(entries=[entry()], **meta())


class Base(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.agent = FakeAgent()
        self.site = site(self.agent, self.clock)
        self.client = Client(self.site)


class LaterTests(Base):
    """An endpoint that asks for a write: the channel itself is told what became of it."""

    def setUp(self) -> None:
        super().setUp()
        self.agent.replies["KVS.Apply"] = LATER

    def put(self) -> Any:
        """A write that waits; who is to be told."""
        self.assertEqual(self.client.send(request("/v1/kv/a", "PUT", b"v")), b"")
        return self.agent.waiters.pop()

    def test_done(self) -> None:
        """Answers come in order, whatever was sent meanwhile."""
        waiter = self.put()
        self.assertEqual(self.client.send(GET), b"")
        waiter.callback(True)
        self.assertEqual(self.client.received(), TRUE + READ)
        self.put().callback(True)
        self.assertEqual(self.client.received(), TRUE)

    def test_failed(self) -> None:
        for error in (NoLeader("why"), Failure(NoLeader("why"))):
            self.put().errback(error)
            answer = self.client.received()
            self.assertEqual((status(answer), answer[-3:]), (500, b"why"))

    def test_a_bug(self) -> None:
        """What cannot be made an answer of is logged, and does not harm who tells."""
        self.put().callback(None)
        self.assertEqual(status(self.client.received()), 500)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    def test_gone(self) -> None:
        """Nobody is told after the client has left."""
        waiters = []
        for _ in range(2):
            self.client = Client(self.site)
            waiters.append(self.put())
            self.client.lose()
        waiters[0].callback(True)
        waiters[1].errback(NoLeader())
        self.assertEqual(self.client.received(), b"")

    def test_the_slow_road(self) -> None:
        """Klein's requests wait for a Deferred."""
        waiting: Deferred[Any] = Deferred()
        self.agent.replies["KVS.Apply"] = waiting
        asks = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        self.site.lane = None
        self.assertEqual(self.client.send(request("/v1/kv/a", "PUT", b"v", asks)), b"")
        waiting.callback(False)
        self.assertEqual(self.client.received()[-5:], b"false")


class ParsingTests(Base):
    def test_read(self) -> None:
        self.assertEqual(self.client.send(GET), READ)
        self.assertTrue(self.client.transport.no_delay)

    def test_known_block_needs_no_parser(self) -> None:
        """The second connection with the same headers never makes a parser."""
        self.client.send(GET)
        second = Client(self.site)
        self.assertEqual(second.send(GET), READ)
        self.assertIsNone(second.channel._parser)
        self.assertIsNotNone(self.client.channel._parser)

    def test_known_requests(self) -> None:
        """A request that is known as a whole is not looked at; what is more or less than that, is."""
        self.client.send(GET)
        self.assertEqual(self.site.requests, {})
        self.assertEqual(self.client.send(GET), READ)
        self.assertEqual(list(self.site.requests), [GET])
        self.patch(self.client.channel, "_take", lambda data: self.fail())
        self.assertEqual(self.client.send(GET), READ)
        another = Client(self.site)
        self.assertEqual(another.send(GET + GET), READ + READ)
        self.assertEqual(another.send(GET[:-1]) + another.send(GET[-1:]), READ)
        self.assertEqual(list(self.site.requests), [GET])
        inside = Client(self.site)
        put = request("/v1/kv/a", "PUT", GET)
        for _ in range(2):
            self.assertEqual(inside.send(put[: -len(GET)]) + inside.send(GET), TRUE)
            self.assertEqual(inside.get("/v1/kv/a", "DELETE"), TRUE)
        self.assertEqual(list(self.site.requests), [GET])
        self.assertEqual([asked.dir_ent.value for _, asked in self.agent.asked[-4:]], [GET, None] * 2)

    def test_known_requests_are_bounded(self) -> None:
        self.patch(site_module, "REQUESTS_MAX", 2)
        self.client.send(GET)
        for key in "abcde":
            self.client.get(f"/v1/kv/{key}")
        self.assertEqual(list(self.site.requests), [request("/v1/kv/e")])
        self.client.get("/v1/kv/" + "k" * site_module.REQUEST_BYTES_MAX)
        self.assertEqual(list(self.site.requests), [request("/v1/kv/e")])

    def test_byte_by_byte(self) -> None:
        for known in (False, True):
            client = Client(self.site)
            got = b"".join(client.send(GET[i : i + 1]) for i in range(len(GET)))
            self.assertEqual(got, READ, known)

    def test_body(self) -> None:
        """A body in one piece, in several, and in chunks."""
        whole = request("/v1/kv/a", "PUT", b"hello")
        for _ in range(2):
            self.assertEqual(self.client.send(whole), TRUE)
            self.assertEqual(self.client.send(whole[:-3]) + self.client.send(whole[-3:]), TRUE)
        chunked = b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assertEqual(self.client.send(chunked + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), TRUE)
        values = [asked.dir_ent.value for _, asked in self.agent.asked]
        self.assertEqual(values, [b"hello"] * 5)

    def test_pipelined(self) -> None:
        """Several requests in one piece, known blocks and unknown ones mixed."""
        put = request("/v1/kv/a", "PUT", b"hello")
        odd = request("/v1/kv/a", headers="X-Odd: 1\r\n")
        answer = self.client.send(GET + put + odd + GET + put)
        self.assertEqual(answer, READ + TRUE + READ + READ + TRUE)
        self.assertEqual(self.client.send(GET + GET), READ + READ)

    def test_blocks_are_bounded(self) -> None:
        self.patch(site_module, "BLOCKS_MAX", 2)
        for number in range(5):
            self.client.send(request("/v1/kv/a", headers=f"X-Number: {number}\r\n"))
        self.assertEqual(len(self.site.blocks), 1)

    def test_lines_are_bounded(self) -> None:
        """Those with a query, which may have a token in it, and long ones are not remembered."""
        self.patch(site_module, "LINES_MAX", 2)
        put = request("/v1/kv/a", "PUT", b"hello")
        self.client.send(put + put)
        for target in ("/v1/kv/a?token=secret", f"/v1/kv/{'y' * 300}"):
            self.client.send(request(target, "PUT", b"hello"))
        self.assertEqual(self.site.lines, {b"PUT /v1/kv/a HTTP/1.1": (b"PUT", b"/v1/kv/a")})
        for number in range(4):
            self.client.send(request(f"/v1/kv/{number}", "PUT", b"hello"))
        self.assertEqual(len(self.site.lines), 1)

    def test_one_target_and_several_methods(self) -> None:
        """Where a target leads depends on the method, whichever came first."""
        put = request("/v1/kv/a", "PUT", b"hello")
        delete = request("/v1/kv/a", "DELETE")
        for _ in range(2):
            self.assertEqual(self.client.send(put + delete + GET), TRUE + TRUE + READ)
        methods = [asked.op for _, asked in self.agent.asked if hasattr(asked, "op")]
        self.assertEqual(methods, ["set", "delete"] * 2)

    def test_known_targets_are_bounded(self) -> None:
        self.patch(lane_module, "KNOWN_MAX", 2)
        lane = self.site.lane
        assert lane is not None
        for number in range(5):
            self.client.send(request(f"/v1/kv/{number}", "PUT", b"hello"))
        self.assertEqual([*lane._known], [b"/v1/kv/4"])

    def test_long_blocks_are_not_remembered(self) -> None:
        self.client.send(request("/v1/kv/a", headers=f"X: {'y' * 5000}\r\n"))
        self.assertEqual(self.site.blocks, {})

    def test_versions(self) -> None:
        """HTTP/1.0 ends the connection unless told otherwise, and is answered in kind."""
        answer = self.client.send(b"GET /v1/kv/a HTTP/1.0\r\n\r\n")
        self.assertEqual(answer, READ.replace(b"HTTP/1.1", b"HTTP/1.0"))
        self.assertTrue(self.client.transport.disconnecting)
        client = Client(self.site)
        answer = client.send(b"GET /v1/kv/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        self.assertIn(b"\r\nConnection: keep-alive\r\n\r\n", answer)
        self.assertFalse(client.transport.disconnecting)

    def test_close(self) -> None:
        """After ``Connection: close`` nothing more is answered."""
        closing = request("/v1/kv/a", headers="Connection: close\r\n")
        for _ in range(2):
            client = Client(self.site)
            self.assertIn(b"\r\nConnection: close\r\n\r\n", answer := client.send(closing + GET))
            self.assertEqual(answer.count(b"HTTP/1.1"), 1)
            self.assertTrue(client.transport.disconnecting)
            self.assertEqual(client.send(GET), b"")

    def test_upgrade_is_not_taken(self) -> None:
        """The request is answered, and the connection ends: what follows may be another protocol."""
        asks = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        answer = self.client.send(request("/v1/kv/a", headers=asks) + b"PRI * HTTP/2.0\r\n\r\n")
        self.assertEqual((status(answer), answer.count(b"HTTP/1.1")), (200, 1))
        self.assertTrue(self.client.transport.disconnecting)

    def test_continue(self) -> None:
        head = b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        self.assertEqual(self.client.send(head), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(self.client.send(b"ok"), TRUE)

    def test_continue_behind_another(self) -> None:
        """No 100 while an earlier answer is due: it would be taken for that."""
        waiting: Deferred[Any] = Deferred()
        self.agent.replies["KVS.Get"] = waiting
        head = b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        self.assertEqual(self.client.send(GET + head + b"ok"), b"")
        waiting.callback(reply())
        self.assertEqual(self.client.received(), READ + TRUE)

    def test_malformed(self) -> None:
        """Answered with a status and the end of the connection."""
        for raw, expected in [
            (b"GARBAGE\r\n\r\n", 400),
            (b"GET /v1/kv/a HTTP/1.1\r\n\r\n", 400),
            (b"GET /v1/kv/a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            (b"GET /v1/kv/a HTTP/2.0\r\nHost: a\r\n\r\n", 400),
            (b"PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
            (b"PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
            (b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            (b"PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nExpect: magic\r\nContent-Length: 1\r\n\r\na", 417),
            (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ]:
            client = Client(self.site)
            answer = client.send(raw)
            self.assertEqual(status(answer), expected, raw)
            self.assertIn(b"\r\nConnection: close\r\n", answer)
            self.assertTrue(client.transport.half_closed or client.transport.disconnecting, raw)
            self.assertEqual(client.send(GET), b"")

    def test_broken_query(self) -> None:
        """400, also from endpoints that want nothing of it; what is no endpoint's does not mind."""
        for target, method, expected in (
            ("/v1/kv/a?x=%zz", "GET", 400),
            ("/v1/status/leader?x=%zz", "GET", 400),
            ("/v1/catalog/datacenters?%zz", "GET", 400),
            ("/v1/query/x?%zz", "OPTIONS", 200),
            ("/v1/status/leader?%zz", "POST", 405),
            ("/v1/none?pretty&%zz", "GET", 404),
        ):
            answer = Client(self.site).get(target, method)
            self.assertEqual(status(answer), expected, target)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_malformed_behind_good_ones(self) -> None:
        """What came before is answered first."""
        self.assertEqual(self.client.send(GET + b"GARBAGE\r\n\r\n")[: len(READ)], READ)
        client = Client(self.site)
        waiting: Deferred[Any] = Deferred()
        self.agent.replies["KVS.Get"] = waiting
        odd = request("/v1/kv/a", headers="X-Odd: 1\r\n")
        self.assertEqual(client.send(odd + b"GARBAGE\r\n\r\n"), b"")
        waiting.callback(reply())
        answer = client.received()
        self.assertTrue(answer.startswith(READ + b"HTTP/1.1 400 "))
        self.assertTrue(client.transport.half_closed)

    def test_whole_url(self) -> None:
        """A target with scheme and host, as proxies send it."""
        self.assertEqual(self.client.send(request("http://h/v1/kv/a")), READ)

    def test_letters_as_they_are(self) -> None:
        """A target that is not percent-encoded, as curl sends it."""
        self.client.send("GET /v1/kv/é HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        self.assertEqual(self.agent.asked[-1][1].key, "é")
        self.assertEqual(status(self.client.send(b"GET /v1/kv/\xff HTTP/1.1\r\nHost: a\r\n\r\n")), 400)

    def test_options_star(self) -> None:
        self.assertEqual(status(self.client.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")), 200)


class LimitTests(Base):
    def test_head(self) -> None:
        """Headers without end are refused at the limit."""
        client = Client(site(self.agent, self.clock, head_bytes_max=1000))
        self.assertEqual(client.send(b"GET /v1/kv/a HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 900), b"")
        answer = client.send(b"y" * 200)
        self.assertEqual(status(answer), 431)
        self.assertTrue(client.transport.half_closed)

    def test_declared_body(self) -> None:
        """A body that is declared too large is refused before it comes; what comes is thrown away."""
        head = b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        answer = self.client.send(head % 524289)
        self.assertEqual(status(answer), 413)
        self.assertIn(
            b"Request body(524289 bytes) too large, max size: 524288 bytes. "
            b"See https://www.consul.io/docs/agent/options.html#kv_max_value_size.",
            answer,
        )
        self.assertTrue(self.client.transport.half_closed)
        self.assertEqual(self.client.send(b"x" * 524289 + GET), b"")
        self.assertEqual(self.agent.asked, [])
        self.assertFalse(self.client.transport.disconnected)
        self.clock.advance(module.LINGER_S)
        self.assertTrue(self.client.transport.disconnected)

    def test_exact_size(self) -> None:
        self.assertEqual(self.client.send(request("/v1/kv/a", "PUT", b"x" * 524288)), TRUE)

    def test_endless_sender(self) -> None:
        """Throwing away has a bound, too."""
        self.patch(module, "LINGER_BYTES_MAX", 100)
        self.client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 524289\r\n\r\n")
        self.client.send(b"x" * 101)
        self.assertTrue(self.client.transport.disconnected)
        self.client.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_chunked_body(self) -> None:
        """A body of unknown size is refused when it has become too large."""
        client = Client(site(self.agent, self.clock, kv_value_bytes_max=100_000))
        client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        answer = b""
        for _ in range(3):
            answer += client.send(b"%x\r\n" % 50_000 + b"x" * 50_000 + b"\r\n")
        self.assertEqual(status(answer), 413)
        self.assertIn(b"Request body(150000 bytes) too large, max size: 100000 bytes.", answer)

    def test_small_limit(self) -> None:
        """Limits below what the channel looks at hold as well."""
        client = Client(site(self.agent, self.clock, kv_value_bytes_max=3))
        self.assertEqual(client.send(request("/v1/kv/a", "PUT", b"abc")), TRUE)
        answer = client.send(request("/v1/kv/a", "PUT", b"abcd"))
        self.assertEqual(status(answer), 413)
        self.assertTrue(client.transport.disconnecting)

    def test_body_for_nobody(self) -> None:
        """A path without a route takes as much as the largest route would."""
        head = b"PUT /v1/nope HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        self.assertEqual(status(self.client.send(head % (17 * 1024 * 1024))), 413)
        client = Client(self.site)
        self.assertEqual(client.send(head % 70_000), b"")
        self.assertEqual(status(client.send(b"x" * 70_000)), 404)
        client = Client(self.site)
        bad = b"PUT /v1/kv/%%80 HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n"
        self.assertEqual(status(client.send(bad.replace(b"%%", b"%"))), 400)

    def test_connections_per_client(self) -> None:
        """Above the limit a client is turned away, until one of its connections ends."""
        limited = site(self.agent, self.clock, connections_per_client_max=2)
        first, _second = Client(limited), Client(limited)
        third = Client(limited)
        answer = third.received()
        self.assertEqual(status(answer), 429)
        self.assertTrue(
            answer.endswith(
                b"\r\n\r\nYour IP is issuing too many concurrent connections, please rate limit your calls\n"
            )
        )
        self.assertTrue(third.transport.disconnecting)
        first.lose()
        self.assertEqual(Client(limited).send(GET), READ)

    def test_no_limit_for_unix_sockets(self) -> None:
        limited = site(self.agent, self.clock, connections_per_client_max=1)
        self.assertEqual([type(limited.buildProtocol(None)).__name__ for _ in "ab"], ["Channel"] * 2)


class WaitingTests(Base):
    def setUp(self) -> None:
        super().setUp()
        self.waiting: Deferred[Any] = Deferred()
        self.agent.replies["KVS.Get"] = self.waiting

    def test_later(self) -> None:
        self.assertEqual(self.client.send(GET), b"")
        self.waiting.callback(reply())
        self.assertEqual(self.client.received(), READ)

    def test_order(self) -> None:
        """What comes while an answer is due waits, and is answered in order."""
        self.client.send(GET)
        put = request("/v1/kv/a", "PUT", b"x")
        self.assertEqual(self.client.send(put) + self.client.send(put[:20]), b"")
        self.assertEqual([method for method, _ in self.agent.asked], ["KVS.Get"])
        self.waiting.callback(reply())
        self.assertEqual(self.client.received(), READ + TRUE)
        self.assertEqual(self.client.send(put[20:]), TRUE)

    def test_order_of_known_blocks(self) -> None:
        """The same for requests that need no parser: what follows the waiting one is held."""
        Client(self.site).get("/v1/status/leader")
        self.assertEqual(self.client.send(GET + request("/v1/status/leader") + GET[:9]), b"")
        self.assertIsNone(self.client.channel._parser)
        self.waiting.callback(reply())
        answer = self.client.received()
        self.assertTrue(answer.startswith(READ) and answer.endswith(b'\r\n\r\n"192.0.2.1:8300"'))

    def test_failure(self) -> None:
        self.client.send(GET)
        self.waiting.errback(NoLeader())
        answer = self.client.received()
        self.assertEqual((status(answer), answer[-17:]), (500, b"No cluster leader"))

    def test_lost(self) -> None:
        """The wait of a client that has gone is cancelled, on both roads."""
        for lane in (True, False):
            cancelled: list[Any] = []
            agent = FakeAgent(KVS_Get=Deferred(cancelled.append))
            client = Client(site(agent, self.clock, lane=lane))
            client.send(GET + GET)
            client.lose()
            self.assertEqual(len(cancelled), 1, lane)
            self.assertEqual(client.received(), b"")

    def test_lost_and_answered(self) -> None:
        """An answer that comes although it was cancelled goes nowhere."""
        agent = FakeAgent(KVS_Get=Deferred(lambda d: d.callback(reply())))
        client = Client(site(agent, self.clock))
        client.send(GET)
        client.lose()
        self.assertEqual(client.received(), b"")

    def test_held_input_is_bounded(self) -> None:
        """A client that goes on sending is not read any more until its answer is written."""
        self.client.send(GET)
        self.client.send(b"X" * 60_000)
        self.assertEqual(self.client.transport.producerState, "producing")
        self.client.send(b"X" * 10_000)
        self.assertEqual(self.client.transport.producerState, "paused")
        self.waiting.callback(reply())
        self.assertTrue(self.client.received().startswith(READ + b"HTTP/1.1 400"))

    def test_many_pipelined(self) -> None:
        """Thousands of requests in one piece behind a wait need no deep stack."""
        self.client.send(GET)
        self.agent.replies["KVS.Get"] = lambda request: _fired(reply())
        self.client.send(GET * 3000)
        self.waiting.callback(reply())
        self.assertEqual(self.client.received(), READ * 3001)

    def test_broken_rendering(self) -> None:
        """Were an answer ever lost to a bug, the connection ends rather than hang."""
        self.client.send(GET)
        self.client.channel.broke(Failure(ZeroDivisionError()))
        self.assertTrue(self.client.transport.disconnected)
        self.client.lose()
        self.client.channel.broke(Failure(ZeroDivisionError()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)


class SlowClientTests(Base):
    def test_reads_too_slowly(self) -> None:
        """No further request is answered while the client does not take what is written."""
        self.client.channel.pauseProducing()
        self.assertEqual(self.client.send(GET), b"")
        self.client.channel.resumeProducing()
        self.assertEqual(self.client.received(), READ)
        self.client.channel.stopProducing()

    def tick(self, seconds: float) -> None:
        for _ in range(int(seconds / site_module.TICK_S)):
            self.clock.advance(site_module.TICK_S)

    def test_timeouts(self) -> None:
        """Resting, saying nothing within a request, and trickling: each has its bound."""
        self.site.doStart()
        resting, silent, trickling, waiting, slow = (Client(self.site) for _ in range(5))
        self.agent.replies["KVS.Get"] = Deferred()
        waiting.send(GET)
        slow.channel.pauseProducing()
        silent.send(GET[:10])
        trickling.send(GET[:10])
        for _ in range(3):
            self.tick(15)
            trickling.send(b"a")
        self.assertTrue(silent.transport.disconnected)
        self.assertTrue(slow.transport.disconnected)
        self.assertFalse(trickling.transport.disconnected)
        self.tick(15)
        trickling.send(b"a")
        self.tick(5)
        self.assertTrue(trickling.transport.disconnected)
        self.assertFalse(resting.transport.disconnecting)
        self.tick(300)
        self.assertTrue(resting.transport.disconnecting)
        self.assertFalse(waiting.transport.disconnected or waiting.transport.disconnecting)
        resting.channel.expire(10**6, 1, 1, 1)
        self.site.doStop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_all(self) -> None:
        self.site.close()
        self.assertTrue(self.client.transport.disconnected)


class SlowRoadTests(Base):
    """What Klein's own routes may do with a request."""

    def serve(self, function: Any, **settings: Any) -> Client:
        def add_routes(app: App, agent: Any) -> None:
            app.route("/own")(function)

        return Client(site(self.agent, self.clock, [add_routes], **settings))

    def test_plain(self) -> None:
        """A route of Klein's own sees a real request and answers as it likes."""

        def own(request: IRequest) -> bytes:
            request.setHeader(b"X-Own", request.args[b"a"][0])
            sent: str = request.requestHeaders.getRawHeaders("x-sent")[0]
            return sent.encode() + bytes(request.content.read())

        client = self.serve(own, response_headers={"X-Conf": "yes"})
        answer = client.send(request("/own?a=b", headers="X-Sent: it\r\n"))
        head, _, body = answer.partition(b"\r\n\r\n")
        self.assertEqual((status(answer), body), (200, b"2\r\nit\r\n0\r\n\r\n"))
        for line in (b"X-Own: b", b"X-Conf: yes", b"Date: " + DATE, b"Transfer-Encoding: chunked"):
            self.assertIn(line, head.split(b"\r\n"))
        self.assertEqual(client.send(GET), READ.replace(b"X-Consul-Index", b"X-Conf: yes\r\nX-Consul-Index"))

    def test_old_client(self) -> None:
        """HTTP/1.0 knows no chunks: the connection's end is the body's."""
        client = self.serve(lambda request: b"it")
        answer = client.send(b"GET /own HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.0 200 OK\r\n"))
        self.assertTrue(answer.endswith(b"\r\nConnection: close\r\n\r\nit"))
        self.assertTrue(client.transport.disconnecting)

    def test_streaming(self) -> None:
        """Pieces go out as they are written; a producer hears of the client's speed."""
        events: list[str] = []
        kept: list[Any] = []

        class Producer:
            def pauseProducing(self) -> None:
                events.append("pause")

            def resumeProducing(self) -> None:
                events.append("resume")

            def stopProducing(self) -> None:
                events.append("stop")

        def own(request: Any) -> Any:
            kept.append(request)
            request.registerProducer(Producer(), True)
            request.write(b"one")
            request.channel.writeSequence([b""])
            return Deferred()

        client = self.serve(own)
        self.assertTrue(client.send(request("/own")).endswith(b"3\r\none\r\n"))
        self.assertEqual(client.send(GET), b"")
        client.channel.pauseProducing()
        client.channel.resumeProducing()
        kept[0].write(b"two")
        self.assertEqual(client.received(), b"3\r\ntwo\r\n")
        client.channel.stopProducing()
        kept[0].unregisterProducer()
        kept[0].finish()
        self.assertEqual(client.received(), b"0\r\n\r\n" + READ)
        self.assertEqual(events, ["pause", "resume", "stop"])

    def test_pull_producer(self) -> None:
        """A producer that wants to be asked is asked until it has no more."""

        @implementer(IPullProducer)
        class Pulled:
            left = 3

            def __init__(self, request: Any) -> None:
                self.request = request

            def resumeProducing(self) -> None:
                self.left -= 1
                self.request.write(b"%d" % self.left)
                if not self.left:
                    self.request.unregisterProducer()
                    self.request.finish()

            def stopProducing(self) -> None:
                raise AssertionError("not asked for")

        scheduled: list[Any] = []
        self.patch(task, "_theCooperator", task.Cooperator(scheduler=_step_at_once(scheduled)))

        def own(request: Any) -> Any:
            request.registerProducer(Pulled(request), False)
            return Deferred()

        client = self.serve(own)
        answer = client.send(request("/own"))
        while scheduled:
            scheduled.pop(0)()
        self.assertTrue((answer + client.received()).endswith(b"1\r\n2\r\n1\r\n1\r\n1\r\n0\r\n0\r\n\r\n"))

    def test_producer_of_a_paused_client(self) -> None:
        paused: list[bool] = []

        class Producer:
            def pauseProducing(self) -> None:
                paused.append(True)

        self.client.channel.pauseProducing()
        self.client.channel.registerProducer(Producer(), True)
        self.assertEqual(paused, [True])

    def test_bug(self) -> None:
        """A failing route is a 500 that tells nothing, and a log entry that tells all."""

        def own(request: IRequest) -> bytes:
            raise ZeroDivisionError("secret")

        answer = self.serve(own).send(request("/own"))
        self.assertEqual(status(answer), 500)
        self.assertNotIn(b"secret", answer)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_expected_failure(self) -> None:
        def own(request: IRequest) -> bytes:
            raise NotFound("no such thing") if request.args else Gone()

        client = self.serve(own)
        answer = client.send(request("/own?a=b"))
        self.assertEqual((status(answer), answer[-13:]), (404, b"no such thing"))
        self.assertEqual(status(client.send(request("/own"))), 410)

    def test_cancelled(self) -> None:
        """A cancelled route that nobody waits for is no bug."""
        cancelled: list[Any] = []

        def own(request: IRequest) -> Any:
            return Deferred(cancelled.append)

        client = self.serve(own)
        client.send(request("/own"))
        client.lose()
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.flushLoggedErrors(CancelledError), [])

    def test_bug_while_rendering(self) -> None:
        """A resource that breaks is answered with 500, or by ending what was begun."""
        for begun in (False, True):
            broken = site(self.agent, self.clock, lane=False)

            def render(request: Any, begun: bool = begun) -> Any:
                if begun:
                    request.write(b"half")
                raise ZeroDivisionError("a bug")

            self.patch(broken.surface.road.resource, "render", render)
            client = Client(broken)
            answer = client.send(GET)
            self.assertEqual(status(answer), 200 if begun else 500)
            self.assertIs(client.transport.disconnecting, begun)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_request_facts(self) -> None:
        """What a request can ask of its channel."""
        asked: list[Any] = []

        def own(request: Any) -> bytes:
            asked.append((request.isSecure(), request.getHost().host, request.getClientAddress().host))
            self.assertIs(request.channel.factory, request.site)
            return b""

        self.serve(own).send(request("/own"))
        self.assertEqual(asked, [(False, "10.0.0.1", "192.168.1.1")])

    def test_delivery_to_nobody(self) -> None:
        """An answer for a request whose client has gone is dropped."""

        def own(request: Any) -> Any:
            request.connectionLost(Failure(ConnectionLost()))
            request.deliver(b"too late")
            return NOT_DONE_YET

        client = self.serve(own)
        self.assertEqual(client.send(request("/own")), b"")


def _fired(value: Any) -> Deferred[Any]:
    deferred: Deferred[Any] = Deferred()
    deferred.callback(value)
    return deferred


def _step_at_once(scheduled: list[Any]) -> Any:
    class Call:
        def cancel(self) -> None: ...

    def schedule(step: Any) -> Call:
        scheduled.append(step)
        return Call()

    return schedule
