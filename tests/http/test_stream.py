"""/v1/stream/: server-sent events."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.client.stream import Event, events
from pyconsul.errors import NoLeader, Refused
from pyconsul.http import stream
from pyconsul.structs.changes import KVChangesReply, ServiceChangesReply
from tests.http.fakes import Client, FakeAgent, entry, site

HEAD = (
    b"HTTP/1.1 200 OK\r\nCache-Control: no-cache\r\nContent-Type: text/event-stream\r\n"
    b"Vary: Accept-Encoding\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\nDate: "
)


def keys(*names: str, as_of: int = 9, **more: Any) -> KVChangesReply:
    return KVChangesReply(as_of=as_of, changed=[entry(name) for name in names], **more)


class Waiting:
    """A question that was asked; ``cancelled`` once nobody waits for its answer."""

    def __init__(self, request: Any) -> None:
        self.request = request
        self.cancelled = False
        self.deferred: Deferred[Any] = Deferred(self._cancel)

    def _cancel(self, _: object) -> None:
        self.cancelled = True


class Base(SynchronousTestCase):
    def setUp(self) -> None:
        self.agent = FakeAgent()
        self.questions: list[Waiting] = []
        for method in ("KV", "Nodes", "Services", "ServiceNodes", "Health"):
            self.agent.replies[f"Changes.{method}"] = self.question
        self.clock = Clock()
        self.client = Client(site(self.agent, self.clock))

    def question(self, request: Any) -> Deferred[Any]:
        self.questions.append(Waiting(request))
        return self.questions[-1].deferred

    def answer(self, reply: Any) -> bytes:
        """Answer the last question; what is written then."""
        self.questions[-1].deferred.callback(reply)
        return self.client.received()

    def opened(self, path: str = "kv/a/", reply: Any = None, headers: str = "") -> bytes:
        self.assertEqual(self.client.get(f"/v1/stream/{path}", headers=headers), b"")
        return self.answer(keys("a/1", reset=True) if reply is None else reply)

    def read(self, written: bytes) -> list[Event]:
        """The events in chunks."""
        pieces = []
        _, _, rest = written.partition(b"\r\n\r\n") if written.startswith(b"HTTP") else (b"", b"", written)
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            pieces.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        return list(events(pieces))


class StreamTests(Base):
    def test_agent_ends(self) -> None:
        """What was written is whole; a stream that has not begun is no answer at all."""
        self.opened()
        self.client.channel.site.close()
        self.assertEqual(self.client.received(), b"0\r\n\r\n")
        self.assertTrue(self.client.transport.disconnecting)
        early = Client(site(self.agent, self.clock))
        early.get("/v1/stream/kv/a/")
        early.channel.site.close()
        self.assertTrue(early.transport.disconnected)

    def test_follows(self) -> None:
        """Everything first, then what changes, each time from where the last reply was."""
        written = self.opened()
        self.assertTrue(written.startswith(HEAD), written)
        first = self.questions[0].request
        self.assertEqual((first.prefix, first.since, first.min_query_index), ("a/", 0, 0))
        (event,) = self.read(written)
        self.assertEqual((event.kind, event.id, event.data["Reset"]), ("reset", "9", True))
        self.assertEqual([row["Key"] for row in event.data["Changed"]], ["a/1"])
        second = self.questions[1].request
        self.assertEqual((second.since, second.min_query_index), (9, 9))
        self.assertEqual(second.max_query_time, 15_000_000_000)
        (event,) = self.read(self.answer(keys("a/2", as_of=12, deleted=["a/1"])))
        self.assertEqual((event.kind, event.id, event.data["Deleted"]), ("change", "12", ["a/1"]))
        (event,) = self.read(self.answer(keys(as_of=15)))
        self.assertEqual((event.kind, event.id, event.data), ("", "15", {}))
        self.assertEqual((self.questions[-1].request.since, len(self.questions)), (15, 4))

    def test_resumed(self) -> None:
        """From the id that a browser sends, or else from the index in the address."""
        self.client.get("/v1/stream/kv/a?index=3&stale", headers="Last-Event-ID: 7\r\n")
        request = self.questions[-1].request
        self.assertEqual((request.since, request.min_query_index, request.allow_stale), (7, 0, True))
        self.client.lose()
        client = Client(site(self.agent, self.clock))
        client.get("/v1/stream/kv/a?index=3&wait=1h")
        request = self.questions[-1].request
        self.assertEqual((request.since, request.max_query_time), (3, 300_000_000_000))

    def test_views(self) -> None:
        for path, method in (
            ("kv/", "Changes.KV"), ("health/service/web?passing", "Changes.Health"),
            ("catalog/nodes?node-meta=a:b", "Changes.Nodes"), ("catalog/services", "Changes.Services"),
            ("catalog/service/web?tag=a", "Changes.ServiceNodes"),
        ):  # fmt: skip
            client = Client(site(self.agent, self.clock))
            client.get(f"/v1/stream/{path}")
            self.assertEqual(self.agent.asked[-1][0], method)

    def test_in_parts(self) -> None:
        """Many rows come in several events. Who breaks off within a reset begins anew."""
        self.patch(stream, "ROWS_PER_EVENT", 2)
        found = self.read(self.opened(reply=keys("a/1", "a/2", "a/3", "a/4", "a/5", reset=True)))
        self.assertEqual(
            [(event.kind, event.id, len(event.data["Changed"])) for event in found],
            [("reset", "0", 2), ("change", None, 2), ("change", "9", 1)],
        )
        more = keys("a/1", "a/2", "a/3", as_of=11, deleted=["x"], deleted_prefixes=["a/b/"])
        found = self.read(self.answer(more))
        self.assertEqual([(event.kind, event.id) for event in found], [("change", None), ("change", "11")])
        self.assertEqual([event.data["Deleted"] for event in found], [["x"], []])
        self.assertEqual([event.data["DeletedPrefixes"] for event in found], [["a/b/"], []])
        services = ServiceChangesReply(as_of=3, changed={"a": [], "b": [], "c": []}, reset=True)
        shown = [json.loads(event.partition(b"data: ")[2]) for event in stream.events(services)]
        self.assertEqual([event["Changed"] for event in shown], [{"a": [], "b": []}, {"c": []}])
        self.assertEqual([event["Reset"] for event in shown], [True, False])
        self.assertNotIn("DeletedPrefixes", shown[1])

    def test_large_rows(self) -> None:
        """An event has few of them, and one at least."""
        self.patch(stream, "EVENT_BYTES", 250)
        found = self.read(self.opened(reply=keys("a/1", "a/2", "a/3", "b" * 400, reset=True)))
        self.assertEqual([len(event.data["Changed"]) for event in found], [2, 1, 1])

    def test_empty(self) -> None:
        """That nothing is there is told, too."""
        (event,) = self.read(self.opened(reply=keys(reset=True)))
        self.assertEqual((event.kind, event.data["Changed"]), ("reset", []))

    def test_client_goes(self) -> None:
        """What it waited for is forgotten, before and after the beginning."""
        self.client.get("/v1/stream/kv/a")
        self.client.lose()
        self.assertTrue(self.questions[-1].cancelled)
        self.client = Client(site(self.agent, self.clock))
        self.opened()
        self.client.lose()
        self.assertTrue(self.questions[-1].cancelled)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(CancelledError), [])


class SlowClientTests(Base):
    def test_waits(self) -> None:
        """Nothing is asked while the client reads nothing; what is left of a reply comes later."""
        self.patch(stream, "ROWS_PER_EVENT", 1)
        self.opened()
        asked = len(self.questions)
        self.client.channel.pauseProducing()
        self.assertEqual(self.answer(keys("a/1", "a/2", as_of=12)), b"")
        self.assertEqual(len(self.questions), asked)
        self.client.channel.resumeProducing()
        self.assertEqual(len(self.read(self.client.received())), 2)
        self.assertEqual((len(self.questions), self.questions[-1].request.since), (asked + 1, 12))

    def test_within_a_reply(self) -> None:
        """The client gets full in the middle."""
        self.patch(stream, "ROWS_PER_EVENT", 1)
        self.opened()
        write = self.client.transport.write

        def write_and_pause(data: bytes) -> None:
            write(data)
            if b"change" in data:
                self.client.channel.pauseProducing()

        self.client.transport.write = write_and_pause  # type: ignore[method-assign]
        found = self.read(self.answer(keys("a/1", "a/2", as_of=12)))
        self.assertEqual([event.id for event in found], [None])
        self.client.channel.resumeProducing()
        self.assertEqual([event.id for event in self.read(self.client.received())], ["12"])


class FailureTests(Base):
    def test_at_the_beginning(self) -> None:
        """An answer like any other."""
        self.client.get("/v1/stream/kv/a")
        self.questions[-1].deferred.errback(Refused("no"))
        written = self.client.received()
        self.assertTrue(written.startswith(b"HTTP/1.1 500 "), written)
        self.assertTrue(written.endswith(b"\r\n\r\nno"))
        for path, headers, text in (
            ("kv/a?index=x", "", b"Invalid index"),
            ("kv/a", "Last-Event-ID: x\r\n", b"Invalid Last-Event-ID"),
            ("kv/a", f"Last-Event-ID: {2**64}\r\n", b"Invalid Last-Event-ID"),
            ("health/service/", "", b"Missing service name"),
            ("catalog/services?near=x", "", b"?near cannot be used when only changes are asked for"),
        ):
            written = self.client.get(f"/v1/stream/{path}", headers=headers)
            self.assertTrue(written.startswith(b"HTTP/1.1 400 "), written)
            self.assertTrue(written.endswith(text), written)
        self.assertIn(b" 405 ", self.client.get("/v1/stream/kv/a", "PUT"))
        self.assertIn(b" 405 ", self.client.get("/v1/stream/kv/a", "HEAD"))
        self.assertIn(b" 404 ", self.client.get("/v1/stream/nope"))

    def test_blocked(self) -> None:
        self.client = Client(site(self.agent, self.clock, block_endpoints=("/v1/stream/kv",)))
        self.assertIn(b" 403 ", self.client.get("/v1/stream/kv/a"))

    def test_later(self) -> None:
        """A comment, and another attempt from the same place, each time a little later."""
        self.opened()
        for pause_s in (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0):
            asked = len(self.questions)
            self.questions[-1].deferred.errback(NoLeader())
            self.assertIn(b": No cluster leader\n\n", self.client.received())
            self.clock.advance(pause_s - 0.01)
            self.assertEqual(len(self.questions), asked)
            self.clock.advance(0.01)
            self.assertEqual((len(self.questions), self.questions[-1].request.since), (asked + 1, 9))
        self.answer(keys("a/1", as_of=10))
        self.questions[-1].deferred.errback(NoLeader())
        self.client.channel.pauseProducing()
        self.client.channel.resumeProducing()
        asked = len(self.questions)
        self.clock.advance(0.5)
        self.assertEqual(len(self.questions), asked + 1)
        self.questions[-1].deferred.errback(NoLeader())
        self.client.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_bug(self) -> None:
        """It is logged, and the connection ends."""
        self.opened()
        self.questions[-1].deferred.errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(self.client.transport.disconnecting or self.client.transport.disconnected)
