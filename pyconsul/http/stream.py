"""``/v1/stream/``: a view and what becomes of it, as server-sent events. Consul has nothing like it.

A stream asks for changes (``changes``), writes them, and asks again from there on. It asks only while
its client has room, so what happens meanwhile is told together later, and nothing piles up for a slow
client; one that takes nothing for long is dropped by the channel. Since each question is an ordinary
blocking read, streams work on every agent and go on at the next leader.

Events are ``reset`` (forget what you had: this is all there is) and ``change``; the data is what
``?changed`` answers. The id of an event is the index to go on from, in ``Last-Event-ID``. A reply of many
rows comes in several events, of which the last has the id. Until then the first of a ``reset`` has the
id 0, so that who breaks off in between begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from pyconsul.errors import BadRequest, PyconsulError
from pyconsul.http import changes
from pyconsul.http.answer import Answer
from pyconsul.http.changes import Question, told
from pyconsul.http.producing import Producer, begin
from pyconsul.http.query import INDEX_MAX, Query
from pyconsul.http.routes import App
from pyconsul.http.surface import Surface
from pyconsul.interfaces import Agent
from pyconsul.log import make_logger
from pyconsul.structs.changes import ChangesRequest

if TYPE_CHECKING:
    from twisted.web.iweb import IRequest

PREFIX = "/v1/stream/"
EVENTS = b"text/event-stream"
LAST_EVENT_ID = b"last-event-id"
ROWS_PER_EVENT = 500
EVENT_BYTES = 256 * 1024
"""What an event is meant to have at most; one row may be larger."""
HEARTBEAT_S = 15.0
HEARTBEAT_MIN_S, HEARTBEAT_MAX_S = 1.0, 300.0
PAUSE_S, PAUSE_MAX_S = 0.5, 15.0

_log = make_logger("agent.http")
_encode = msgspec.json.Encoder().encode


def add_routes(app: App, agent: Agent, clock: IReactorTime) -> None:
    """Declare the routes of this module. They are Klein's alone, since no ``Answer`` comes of them."""
    def declare(path: str, question: Callable[..., Question]) -> None:
        rule = PREFIX + path

        def serve(request: IRequest, **parameters: str) -> Any:
            query = app.surface.road.query_of(request)
            if (refused := app.surface.guard(query)) is not None:
                return app.surface.road.write(request, query, refused)
            method, asked = question(query, **parameters)
            stream = _Stream(request, agent, method, asked, since_of(query), clock)
            return stream.open().addCallback(_opened, stream, request, app.surface)

        app.route(rule, methods=["GET"])(serve)

    declare("kv/<path:prefix>", changes.kv)
    declare("health/service/<path:name>", changes.health)
    declare("catalog/nodes", changes.nodes)
    declare("catalog/services", changes.services)
    declare("catalog/service/<path:name>", changes.service_nodes)


def _opened(reply: Any, stream: _Stream, request: IRequest, surface: Surface) -> Deferred[None]:
    begin(surface, request, Answer(content_type=EVENTS, headers=_HEADERS))
    return stream.start(reply)


_HEADERS = ((b"Cache-Control", b"no-cache"), (b"X-Accel-Buffering", b"no"))


def since_of(query: Query) -> int:
    """The index to go on from: ``Last-Event-ID``, else ``?index=``, else 0.

    :raises BadRequest: if it is no number.
    """
    given = next((value for name, value in query.facts.headers if name.lower() == LAST_EVENT_ID), b"")
    text = given.decode("latin-1").strip()
    if not text:
        index: int = query.options().get("min_query_index", 0)
        return index
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or int(text) > INDEX_MAX:
        raise BadRequest("Invalid Last-Event-ID")
    return int(text)


class _Stream(Producer):
    """One stream. It has one question or one timer outstanding, never both."""

    endless = True

    def __init__(
        self,
        request: IRequest,
        agent: Agent,
        method: str,
        asked: ChangesRequest,
        since: int,
        clock: IReactorTime,
    ) -> None:
        super().__init__(request)
        self._agent = agent
        self._method = method
        beat_ns = asked.max_query_time or int(HEARTBEAT_S * 1e9)
        beat_ns = min(max(beat_ns, int(HEARTBEAT_MIN_S * 1e9)), int(HEARTBEAT_MAX_S * 1e9))
        self._asked = replace(asked, since=since, min_query_index=0, max_query_time=beat_ns)
        self._clock = clock
        self._waiting: Deferred[Any] | None = None
        self._pause: IDelayedCall | None = None
        self._pause_s = PAUSE_S
        self._left: Iterator[bytes] = iter(())
        self._ended = False

    # ------------------------------------------------------------ life

    def open(self) -> Deferred[Any]:
        """The first reply, which does not wait; a failure is still an answer like any other."""
        self._waiting = maybeDeferred(self._agent.ask, self._method, self._asked)
        self.listen()
        return self._waiting

    def start(self, reply: Any) -> Deferred[None]:
        """Fires when the client is gone."""
        self._waiting = None
        if not self._ended:
            self.register()
            self._came(reply)
        return self.done

    # ------------------------------------------------------------ asking and writing

    def go_on(self) -> None:
        """Write what is left while the client takes it, then ask for more."""
        while not (self.paused or self._ended):
            event = next(self._left, None)
            if event is None:
                self._ask()
                return
            self.request.write(event)

    def _ask(self) -> None:
        if self._waiting is not None or self._pause is not None:
            return
        self._waiting = maybeDeferred(self._agent.ask, self._method, replace(self._asked))
        self._waiting.addCallbacks(self._came, self._failed)

    def _came(self, reply: Any) -> None:
        self._waiting = None
        self._pause_s = PAUSE_S
        if self._ended:
            return
        self._left = events(reply)
        self._asked = replace(self._asked, since=reply.as_of, min_query_index=reply.as_of)
        self.go_on()

    def _failed(self, failure: Failure) -> None:
        """No leader, or no server: tell it in a comment, and go on from the same place a little later."""
        self._waiting = None
        if self._ended or failure.check(CancelledError):
            return
        if not failure.check(PyconsulError):
            _log.failure("a stream breaks off", failure)
            self.stopProducing()
            self.request.transport.abortConnection()
            return
        if not self.paused:
            text = str(failure.value).encode("ascii", "replace").replace(b"\n", b" ")[:200]
            self.request.write(b": %b\n\n" % text)
        self._pause = self._clock.callLater(self._pause_s, self._resume)
        self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)

    def _resume(self) -> None:
        self._pause = None
        self.go_on()

    def stopProducing(self) -> None:
        """Nobody reads on."""
        self._ended = True
        self._left = iter(())
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.cancel()


# ---------------------------------------------------------------- events


def events(reply: Any) -> Iterator[bytes]:
    """A reply as events, made one by one; without news a comment that moves the id on."""
    shown = told(reply)
    rows, deleted = shown["Changed"], shown["Deleted"]
    if not (reply.reset or rows or deleted or shown.get("DeletedPrefixes")):
        yield b"id: %d\n: heartbeat\n\n" % reply.as_of
        return
    parts = _parts(rows)
    name = b"reset" if reply.reset else b"change"
    part = next(parts, type(rows)())
    while part is not None:
        following = next(parts, None)
        event = {**shown, "Changed": part}
        ident = reply.as_of if following is None else 0 if event["Reset"] else None
        line = b"" if ident is None else b"id: %d\n" % ident
        yield b"event: %b\n%bdata: %b\n\n" % (name, line, _encode(event))
        shown = {**shown, "Reset": False, "Deleted": []}
        if "DeletedPrefixes" in shown:
            shown["DeletedPrefixes"] = []
        name, part = b"change", following


def _parts(rows: Any) -> Iterator[Any]:
    """A list or a mapping in pieces of the same kind; the rows of a list are encoded already."""
    if isinstance(rows, dict):
        items = iter(rows.items())
        while piece := dict(islice(items, ROWS_PER_EVENT)):
            yield piece
        return
    part: list[msgspec.Raw] = []
    size = 0
    for row in rows:
        encoded = _encode(row)
        if part and (len(part) >= ROWS_PER_EVENT or size + len(encoded) > EVENT_BYTES):
            yield part
            part, size = [], 0
        part.append(msgspec.Raw(encoded))
        size += len(encoded)
    if part:
        yield part
