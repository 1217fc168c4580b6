"""``/v1/snapshot``: the whole state as an archive, out and in."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pyconsul.errors import PyconsulError, Refused
from pyconsul.http.answer import Answer, empty
from pyconsul.http.producing import Producer, begin
from pyconsul.http.query import Query
from pyconsul.http.routes import App, route
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
        if (refused := surface.guard(query)) is not None:
            return surface.road.write(request, query, refused)

        def opened(stream: SnapshotStream) -> Deferred[None]:
            answer = Answer(
                content_type=GZIP,
                index=stream.index,
                known_leader=stream.known_leader,
                last_contact_ms=stream.last_contact // 1_000_000,
            )
            begin(surface, request, answer)
            return _Sending(request, stream).start()

        begun = agent.snapshot(query.get("dc"), query.token, query.has("stale"))
        return begun.addCallback(opened)

    @route(app, RULE, ["PUT"], body_max=lambda: ARCHIVE_BYTES_MAX, as_file=True)
    def restore(query: Query) -> Deferred[Answer]:
        """Make the archive in the body the state."""
        if query.has("stale"):
            raise Refused("stale not allowed for restore")
        file = query.file or BytesIO(query.body)
        return agent.restore_snapshot(file, query.get("dc"), query.token).addCallback(_restored)


def _restored(skipped: dict[str, int]) -> Answer:
    answer = empty()
    if skipped:
        text = records_kinds.describe(skipped).encode("ascii", "replace")[:NOT_RESTORED_BYTES_MAX]
        answer.headers = ((NOT_RESTORED, text),)
    return answer


class _Sending(Producer):
    """An archive on its way to a client, at the client's speed."""

    def __init__(self, request: IRequest, stream: SnapshotStream) -> None:
        super().__init__(request)
        self._stream = stream
        self._reading = False
        self._ended = False

    def start(self) -> Deferred[None]:
        """Fires when everything is written, or nobody is there to read it."""
        self.listen()
        self.register()
        self.go_on()
        return self.done

    def go_on(self) -> None:
        """Read the next piece while there is room for it."""
        if not (self.paused or self._reading or self._ended):
            self._reading = True
            self._stream.read().addCallbacks(self._came, self._failed)

    def _came(self, piece: bytes) -> None:
        self._reading = False
        if self._ended:
            return
        if piece:
            self.request.write(piece)
            self.go_on()
        else:
            self.stopProducing()
            self.request.unregisterProducer()
            self.finish()

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
        self.request.transport.abortConnection()

    def stopProducing(self) -> None:
        """Nobody reads on."""
        if not self._ended:
            self._ended = True
            self._stream.close()
