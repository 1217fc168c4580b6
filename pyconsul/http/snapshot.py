"""``/v1/snapshot``: the whole state as an archive, out and in."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from pyconsul.errors import PyconsulError, Refused
from pyconsul.http.answer import Answer, empty
from pyconsul.http.query import Query
from pyconsul.http.routes import App, route
from pyconsul.http.surface import BLOCKED
from pyconsul.interfaces import LocalAgent, SnapshotStream
from pyconsul.log import make_logger
from pyconsul.state import records_kinds
from pyconsul.storage.archive import ARCHIVE_BYTES_MAX

if TYPE_CHECKING:
    from twisted.web.iweb import IRequest

RULE = "/v1/snapshot"
GZIP = b"application/x-gzip"
NOT_RESTORED = b"X-Pyconsul-Not-Restored"
NOT_RESTORED_BYTES_MAX = 2000

_log = make_logger("agent.http")


def add_routes(app: App, agent: LocalAgent) -> None:
    """Declare the routes of this module."""
    @app.route(RULE, methods=["GET"])
    def save(request: IRequest) -> Any:
        """The archive. It goes out while it is made, so this is Klein's alone and not an ``Answer``."""
        surface = app.surface
        query = surface.road.query_of(request)
        if any(RULE.startswith(prefix) for prefix in surface.settings.block_endpoints):
            return surface.road.write(request, query, BLOCKED)

        def opened(stream: SnapshotStream) -> Deferred[None]:
            answer = Answer(
                content_type=GZIP,
                index=stream.index,
                known_leader=stream.known_leader,
                last_contact_ms=stream.last_contact // 1_000_000,
            )
            for name, value in surface.renderer.headers(answer):
                request.responseHeaders.setRawHeaders(name, [value])
            request.responseHeaders.removeHeader(b"Server")
            return _Sending(request, stream).start()

        begun = agent.snapshot(query.get("dc"), query.token, query.has("stale"))
        return begun.addCallback(opened)

    @route(app, RULE, ["PUT"], body_max=lambda: ARCHIVE_BYTES_MAX)
    def restore(query: Query) -> Deferred[Answer]:
        """Make the archive in the body the state."""
        if query.has("stale"):
            raise Refused("stale not allowed for restore")
        file = BytesIO(query.body)
        return agent.restore_snapshot(file, query.get("dc"), query.token).addCallback(_restored)


def _restored(skipped: dict[str, int]) -> Answer:
    answer = empty()
    if skipped:
        text = records_kinds.describe(skipped).encode("ascii", "replace")[:NOT_RESTORED_BYTES_MAX]
        answer.headers = ((NOT_RESTORED, text),)
    return answer


@implementer(IPushProducer)
class _Sending:
    """An archive on its way to a client, at the client's speed."""

    def __init__(self, request: IRequest, stream: SnapshotStream) -> None:
        self._request: Any = request
        self._stream = stream
        self._paused = False
        self._reading = False
        self._ended = False
        self._done: Deferred[None] = Deferred(lambda _: self.stopProducing())

    def start(self) -> Deferred[None]:
        """Fires when everything is written, or nobody is there to read it."""
        self._request.notifyFinish().addErrback(self._client_gone)
        self._request.registerProducer(self, True)
        self._go_on()
        return self._done

    def _go_on(self) -> None:
        if not (self._paused or self._reading or self._ended):
            self._reading = True
            self._stream.read().addCallbacks(self._came, self._failed)

    def _came(self, piece: bytes) -> None:
        self._reading = False
        if self._ended:
            return
        if piece:
            self._request.write(piece)
            self._go_on()
        else:
            self.stopProducing()
            self._request.unregisterProducer()
            self._done.callback(None)

    def _failed(self, failure: Failure) -> None:
        """The head has been sent: all that can be said now is that this is not all."""
        self._reading = False
        if self._ended:
            return
        if failure.check(PyconsulError):
            _log.warn("a snapshot breaks off: {error}", error=failure.value)
        else:
            _log.failure("a snapshot breaks off", failure)
        self.stopProducing()
        self._request.transport.abortConnection()

    def _client_gone(self, _: Failure) -> None:
        self.stopProducing()
        if not self._done.called:
            self._done.callback(None)

    # ------------------------------------------------------------ IPushProducer

    def pauseProducing(self) -> None:
        """The client reads more slowly than we write."""
        self._paused = True

    def resumeProducing(self) -> None:
        """It has caught up."""
        self._paused = False
        self._go_on()

    def stopProducing(self) -> None:
        """Nobody reads on."""
        if not self._ended:
            self._ended = True
            self._stream.close()
