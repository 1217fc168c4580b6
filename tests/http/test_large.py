"""Large answers: the same bytes, in pieces, at the client's speed."""

from __future__ import annotations

import gzip
import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.http import large, surface
from pyconsul.http.answer import Answer
from pyconsul.http.large import texts
from pyconsul.http.query import Query
from pyconsul.http.routes import App, hot
from pyconsul.state import entries
from pyconsul.state.entries import Entries
from pyconsul.structs.kv import IndexedDirEntries, IndexedKeyList
from pyconsul.structs.lists import Lists
from tests.http.fakes import Client, FakeAgent, TurningClock, entry, meta, request, site

GZIP = "Accept-Encoding: gzip\r\n"
TARGET = "/v1/kv/a?recurse"


class TextTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(large, "ROWS_PER_PIECE", 3)

    def test_same_bytes(self) -> None:
        """As if encoded at once, plain and indented."""
        self.patch(entries, "ROWS_MAX", 4)
        self.patch(entries, "STRETCH_ROWS_MIN", 0)
        rows = [entry(f"k{number}") for number in range(10)]
        stretch = Entries(rows).stretch("", None)
        assert isinstance(stretch, Lists)
        plain: list[Any] = [rows, rows[:1], rows[:3], {str(at): [at] for at in range(7)}]
        for one, whole in ((stretch, rows), *zip(plain, plain, strict=True)):
            body = large.encode(whole)
            self.assertEqual(b"".join(texts(one, False)), body)
            self.assertEqual(b"".join(texts(one, True)), large.pretty(body))
            self.assertEqual(large.encode(one), body)


class LargeTestCase(SynchronousTestCase):
    """More than three rows are many, and more than 600 bytes too much for one write."""

    rows = 20

    def setUp(self) -> None:
        self.patch(large, "ROWS_AT_ONCE_MAX", 3)
        self.patch(large, "ROWS_PER_PIECE", 2)
        self.patch(large, "PIECE_BYTES", 400)
        for module in (large, surface):
            self.patch(module, "AT_ONCE_BYTES_MAX", 600)
        self.clock = TurningClock()
        self.agent = FakeAgent()
        self.entries = [entry(f"a{number}") for number in range(self.rows)]
        self.agent.replies["KVS.List"] = lambda request: IndexedDirEntries(entries=self.entries, **meta())
        self.site = site(self.agent, self.clock, [self.more])
        self.client = Client(self.site)
        self.body = large.encode(self.entries)

    def more(self, app: App, agent: Any) -> None:
        @hot(app, "/v1/unknown/<path:name>")
        def broken(query: Query, name: str) -> Answer:  # fails when it is encoded
            return Answer(json=[1, 2, 3, 4, object])

    def turns(self, number: int = 100) -> bytes:
        """What the client gets in so many turns of the reactor."""
        for _ in range(number):
            self.clock.advance(0)
        return self.client.received()

    def get(self, headers: str = "", target: str = TARGET) -> tuple[bytes, bytes]:
        """Head and body of an answer."""
        before = self.client.get(target, headers=headers)
        head, _, body = (before + self.turns()).partition(b"\r\n\r\n")
        return head + b"\r\n", body


def joined(chunked: bytes) -> bytes:
    """What is in the chunks, which must be whole and end."""
    found = b""
    while True:
        size, _, rest = chunked.partition(b"\r\n")
        length = int(size, 16)
        assert rest[length : length + 2] == b"\r\n"
        if not length:
            assert rest == b"\r\n"
            return found
        found += rest[:length]
        chunked = rest[length + 2 :]


class WholeTests(LargeTestCase):
    def test_takes_turns(self) -> None:
        """A piece a turn, until all is there; then it is sent likewise."""
        self.assertEqual(self.client.get(TARGET), b"")
        self.assertEqual(self.turns(self.rows // 2 + 1), b"")
        first = self.turns(1)
        self.assertIn(b"Content-Length: %d\r\n" % len(self.body), first)
        self.assertLess(len(first.partition(b"\r\n\r\n")[2]), len(self.body))
        self.assertTrue((first + self.turns()).endswith(b"\r\n\r\n" + self.body))

    def test_kept(self) -> None:
        """It is asked for twice, and kept from then on, packed or not."""
        expected = self.get()
        packed = [self.get(GZIP), self.get(GZIP)]
        self.assertEqual([self.get(), self.get()], [expected] * 2)
        self.assertEqual(len([method for method, _ in self.agent.asked if method == "KVS.List"]), 2)
        self.assertEqual(packed[0], packed[1])
        self.assertIn(b"Content-Length: %d\r\n" % len(packed[0][1]), packed[0][0])
        self.assertEqual(gzip.decompress(packed[0][1]), self.body)

    def test_packed_later(self) -> None:
        """A kept answer is packed while it is sent, once."""
        for _ in range(2):
            self.get()
        head, body = self.get(GZIP)
        self.assertIn(b"Content-Encoding: gzip\r\n", head)
        self.assertIn(b"Transfer-Encoding: chunked\r\n", head)
        self.assertEqual(gzip.decompress(joined(body)), self.body)
        head, again = self.get(GZIP)
        self.assertIn(b"Content-Length: %d\r\n" % len(again), head)
        self.assertEqual(again, joined(body))
        self.assertEqual(len(self.agent.asked), 2)

    def test_large_body(self) -> None:
        """An answer that is none of rows is sent in pieces, too."""
        self.agent.replies["KVS.Get"] = IndexedDirEntries(entries=[entry("a", b"x" * 2000)], **meta())
        self.assertEqual(self.get(target="/v1/kv/a?raw")[1], b"x" * 2000)
        body = self.get(GZIP, "/v1/kv/a?raw&")[1]
        self.assertEqual(gzip.decompress(joined(body)), b"x" * 2000)

    def test_pretty(self) -> None:
        """Indented."""
        self.assertEqual(self.get(target=TARGET + "&pretty")[1], large.pretty(self.body))

    def test_gone_meanwhile(self) -> None:
        """Nobody goes on for a client that is not there any more."""
        self.client.get(TARGET)
        self.turns(3)
        self.client.lose()
        self.assertEqual(self.turns(), b"")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cannot_be_encoded(self) -> None:
        """A bug is answered like any other."""
        self.assertIn(b" 500 ", self.get(target="/v1/unknown/a")[0])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_by_klein(self) -> None:
        """The slow road gives the same."""
        expected = self.get()
        for settings in ({}, {"always_pretty": True}):
            self.site = site(self.agent, self.clock, [self.more], lane=False, **settings)
            self.client = Client(self.site)
            head, body = self.get()
            self.assertEqual(json.loads(body), json.loads(expected[1]))
            self.assertEqual(self.client.get("/v1/status/leader")[:15], b"HTTP/1.1 200 OK")
        self.assertIn(b"Content-Length: %d\r\n" % len(body), head)

    def test_asked_without_a_connection(self) -> None:
        """As watches of the agent do."""
        asked = self.site.surface.ask(TARGET)
        self.turns()
        self.assertEqual(self.successResultOf(asked), (200, 7, self.body))


class LongTests(LargeTestCase):
    """More than 1,000 bytes are not made as a whole."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(large, "WHOLE_BYTES_MAX", 1000)

    def test_in_chunks(self) -> None:
        """The first piece tells that it will be long; the rest is made when it is sent."""
        before = self.client.get(TARGET) + self.turns(1)
        self.assertEqual(before, b"")
        head, _, body = self.turns(2).partition(b"\r\n\r\n")
        self.assertIn(b"\r\nX-Consul-Index: 7\r\n", head)
        self.assertTrue(head.endswith(b"\r\nTransfer-Encoding: chunked"))
        self.assertLess(len(body), 400)
        self.assertEqual(joined(body + self.turns()), self.body)
        self.assertEqual(self.get()[1], self.get()[1])

    def test_unexpectedly_long(self) -> None:
        """The first rows were smaller than the others."""
        self.entries[:2] = [entry("a", b"") for _ in range(2)]
        self.entries[2:] = [entry(f"b{number}", b"y" * 100) for number in range(6)]
        self.assertEqual(joined(self.get()[1]), large.encode(self.entries))

    def test_packed(self) -> None:
        """With gzip."""
        head, body = self.get(GZIP)
        self.assertIn(b"Content-Encoding: gzip\r\n", head)
        self.assertEqual(gzip.decompress(joined(body)), self.body)

    def test_packed_by_turns(self) -> None:
        """A piece a turn, also while nothing comes of them."""
        self.client.get(TARGET, headers=GZIP)
        self.turns(2)
        self.assertEqual(self.turns(self.rows // 2 - 1), b"")
        self.assertTrue(self.turns(3).endswith(b"\r\n0\r\n\r\n"))

    def test_keys(self) -> None:
        """So are names."""
        keys = [f"a{number:0100d}" for number in range(20)]
        self.agent.replies["KVS.ListKeys"] = IndexedKeyList(keys=keys, **meta())
        self.assertEqual(json.loads(joined(self.get(target="/v1/kv/a?keys")[1])), keys)

    def test_old_client(self) -> None:
        """HTTP/1.0 knows no chunks: the answer ends with the connection, whatever was asked for."""
        old = b"GET /v1/kv/a?recurse HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        head, _, body = (self.client.send(old) + self.turns()).partition(b"\r\n\r\n")
        self.assertNotIn(b"Transfer-Encoding", head)
        self.assertEqual(body, self.body)
        self.assertTrue(self.client.transport.disconnecting)

    def test_last_answer(self) -> None:
        """The connection is closed once all is sent."""
        head, body = self.get("Connection: close\r\n")
        self.assertTrue(head.endswith(b"\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"))
        self.assertEqual(joined(body), self.body)
        self.assertTrue(self.client.transport.disconnecting)

    def test_slow_reader(self) -> None:
        """While the client has no room nothing is made; others are served."""
        self.client.get(TARGET)
        received = self.turns(3)
        producer: Any = self.client.transport.producer
        producer.pauseProducing()
        self.assertEqual(self.turns(), b"")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        other = Client(self.site)
        self.assertIn(b" 200 OK", other.get("/v1/status/leader"))
        producer.resumeProducing()
        received += self.turns()
        self.assertEqual(joined(received.partition(b"\r\n\r\n")[2]), self.body)

    def test_as_they_were(self) -> None:
        """Rows that change while they are sent do not show."""
        self.patch(entries, "ROWS_MAX", 4)
        self.patch(entries, "STRETCH_ROWS_MIN", 3)
        table = Entries(self.entries)
        rows = table.stretch("", None)
        self.agent.replies["KVS.List"] = lambda request: IndexedDirEntries(entries=rows, **meta())
        self.client.get(TARGET)
        received = self.turns(3)
        for row in self.entries:
            table.put(entry(row.key, b"new"))
        received += self.turns()
        expected = large.encode(sorted(self.entries, key=lambda row: row.key))
        self.assertEqual(joined(received.partition(b"\r\n\r\n")[2]), expected)

    def test_pipelined(self) -> None:
        """What the client has asked since is answered afterwards."""
        received = self.client.send(request(TARGET) + request("/v1/status/leader")) + self.turns()
        self.assertTrue(received.endswith(b'"192.0.2.1:8300"'))
        self.assertEqual(received.count(b"HTTP/1.1 200 OK"), 2)

    def test_gone_meanwhile(self) -> None:
        """Nothing is made for a client that is not there any more."""
        self.client.get(TARGET)
        self.turns(3)
        producer: Any = self.client.transport.producer
        producer.stopProducing()
        self.client.lose()
        self.turns(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_breaks_off(self) -> None:
        """What cannot be encoded in the middle ends the connection, so that nobody takes it for whole."""
        self.entries[10] = object()  # type: ignore[call-overload]
        self.get()
        self.assertTrue(self.client.transport.disconnected)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_by_klein(self) -> None:
        """The slow road gives the same, and goes on with the connection; any other resource, the whole."""
        expected = self.get()
        self.site = site(self.agent, self.clock, lane=False)
        self.client = Client(self.site)
        self.assertEqual([self.get(), self.get()], [expected] * 2)

    def test_asked_without_a_connection(self) -> None:
        """The whole body."""
        asked = self.site.surface.ask(TARGET)
        self.turns()
        self.assertEqual(self.successResultOf(asked), (200, 7, self.body))

    def test_a_crowd(self) -> None:
        """Who waits with others gets it at his own speed."""
        waiting: Deferred[Any] = Deferred()
        self.agent.replies["KVS.List"] = lambda request: waiting
        clients = [Client(self.site) for _ in range(3)]
        for client in clients:
            client.get("/v1/kv/a?recurse&index=5")
        waiting.callback(IndexedDirEntries(entries=self.entries, **meta()))
        self.turns()
        bodies = {client.received().partition(b"\r\n\r\n")[2] for client in clients}
        self.assertEqual([*map(joined, bodies)], [self.body])
