"""Streams of changes, as a program reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.client import stream
from pyconsul.client.call import Call, Response, TransportError, UnexpectedResponse
from pyconsul.errors import PyconsulError

STREAM = (
    b'event: reset\nid: 9\ndata: {"Changed":["a"],"Deleted":[]}\n\n'
    b": No cluster leader\n\n"
    b"id: 12\n: heartbeat\n\n"
    b'event: change\ndata: {"Changed":["b"],"Deleted":["a"]}\n\n'
    b'event: change\nid: 15\ndata: {"Changed":[],"Deleted":["b"]}\n\n'
)


class ParseTests(SynchronousTestCase):
    def test_any_pieces(self) -> None:
        for step in (1, 7, 1000):
            pieces = [STREAM[start : start + step] for start in range(0, len(STREAM), step)]
            found = [(event.kind, event.id, event.data.get("Changed")) for event in stream.events(pieces)]
            self.assertEqual(
                found,
                [
                    ("reset", "9", ["a"]), ("", None, None), ("", "12", None), ("change", None, ["b"]),
                    ("change", "15", []),
                ],
            )  # fmt: skip

    def test_nonsense(self) -> None:
        error = self.assertRaises(PyconsulError, list, stream.events([b"data: {\n\n"]))
        self.assertIn("no JSON", str(error))
        self.patch(stream, "EVENT_MAX_BYTES", 10)
        error = self.assertRaises(PyconsulError, list, stream.events([b"data: 123456789"]))
        self.assertIn("too long", str(error))


class CallTests(SynchronousTestCase):
    def test_targets(self) -> None:
        for call, target in (
            (stream.kv("a b/", stale=True), "/v1/stream/kv/a%20b/?stale"),
            (stream.health("web", passing=True, tag="x"), "/v1/stream/health/service/web?passing&tag=x"),
            (stream.nodes(), "/v1/stream/catalog/nodes"),
            (stream.services(dc="dc2"), "/v1/stream/catalog/services?dc=dc2"),
            (stream.service("web"), "/v1/stream/catalog/service/web"),
        ):
            self.assertEqual((call.method, call.target()), ("GET", target))


class Agent:
    """Gives a script: the pieces of each connection, or why there is none."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.targets: list[str] = []

    def stream(self, call: Call[Any]) -> Iterator[bytes]:
        self.targets.append(call.target())
        for piece in self.script.pop(0):
            if isinstance(piece, Exception):
                raise piece
            yield piece


class ChangesTests(SynchronousTestCase):
    def follow(self, *script: Any, **more: Any) -> tuple[list[str], Agent, list[float]]:
        """The kinds of what is told until the script is over."""
        agent = Agent(*script)
        slept: list[float] = []
        found: list[str] = []
        events = stream.changes(agent, stream.nodes(), sleep=slept.append, **more)  # type: ignore[arg-type]
        try:
            for event in events:
                found.append(event.kind)
        except IndexError:
            pass  # the end of the script
        return found, agent, slept

    def test_goes_on(self) -> None:
        """After a break from the last id, a little later each time that nothing came."""
        lost, busy = TransportError("lost"), UnexpectedResponse(Response(500, "", {}, b"No cluster leader"))
        found, agent, slept = self.follow([STREAM, lost], [], [busy], [STREAM])
        self.assertEqual(found, ["reset", "change", "change"] * 2)
        path = "/v1/stream/catalog/nodes"
        self.assertEqual(agent.targets, [path, *[f"{path}?index=15"] * 4])
        self.assertEqual(slept, [0.5, 1.0, 2.0, 0.5])

    def test_begins_where_told(self) -> None:
        _, agent, _ = self.follow([STREAM], since="7")
        self.assertEqual(agent.targets[0], "/v1/stream/catalog/nodes?index=7")

    def test_gives_up(self) -> None:
        """If the first attempt fails, or the agent refuses for good."""
        lost, bad = TransportError("lost"), UnexpectedResponse(Response(403, "", {}, b"no"))
        self.assertRaises(TransportError, self.follow, [lost])
        self.assertRaises(UnexpectedResponse, self.follow, [bad])
        self.assertRaises(UnexpectedResponse, self.follow, [STREAM], [bad])
