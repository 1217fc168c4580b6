"""``/v1/agent/monitor``: the agent's log as it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from pyconsul.errors import BadRequest, ConfigurationError
from pyconsul.http.answer import Answer
from pyconsul.http.routes import App
from pyconsul.http.surface import BLOCKED
from pyconsul.log import LOG, Log, Sink, normal_level

if TYPE_CHECKING:
    from twisted.web.iweb import IRequest

RULE = "/v1/agent/monitor"
LINES_MAX = 512
"""Lines kept for a client that reads too slowly; what comes then is dropped, and counted."""


def add_routes(app: App, log: Log = LOG) -> None:
    """Declare the route, which is Klein's alone since its answer does not end."""
    @app.route(RULE, methods=["GET"])
    def monitor(request: Any) -> Any:
        """Lines of ``?loglevel=`` and above, with ``?logjson`` as JSON."""
        surface = app.surface
        query = surface.road.query_of(request)
        if any(RULE.startswith(prefix) for prefix in surface.settings.block_endpoints):
            return surface.road.write(request, query, BLOCKED)
        try:
            level = normal_level(query.get("loglevel") or "INFO")
        except ConfigurationError as error:
            raise BadRequest(f"Bad request: {error}") from None
        for name, value in surface.renderer.headers(Answer(content_type=b"")):
            request.responseHeaders.setRawHeaders(name, [value])
        request.responseHeaders.removeHeader(b"Server")
        request.defaultContentType = None
        return Monitor(request, log, level, query.has("logjson")).start()


@implementer(IPushProducer)
class Monitor:
    """One client that listens to the log, at its own speed."""

    def __init__(self, request: IRequest, log: Log, level: str, as_json: bool) -> None:
        self._request: Any = request
        self._log = log
        self._sink = Sink(level, self._line, as_json)
        self._waiting: list[str] = []
        self._dropped = 0
        self._paused = False
        self._writing = False
        self._done: Deferred[None] = Deferred(lambda _: self.stopProducing())

    def start(self) -> Deferred[None]:
        """Fires when the client has gone."""
        self._request.notifyFinish().addErrback(self._gone)
        self._request.registerProducer(self, True)
        self._request.write(b"")  # the client is to know at once that it listens
        self._log.add(self._sink)
        return self._done

    def _line(self, line: str) -> None:
        if self._writing:  # whatever is logged because of what is being written
            return
        if not self._paused:
            self._write(line)
        elif len(self._waiting) < LINES_MAX:
            self._waiting.append(line)
        else:
            self._dropped += 1

    def _write(self, text: str) -> None:
        self._writing = True
        try:
            self._request.write(text.encode("utf-8", "replace"))
        finally:
            self._writing = False

    def _gone(self, _: Failure) -> None:
        self.stopProducing()
        if not self._done.called:
            self._done.callback(None)

    # ------------------------------------------------------------ IPushProducer

    def pauseProducing(self) -> None:
        """The client reads more slowly than is logged."""
        self._paused = True

    def resumeProducing(self) -> None:
        """It has caught up."""
        self._paused = False
        waiting, self._waiting = self._waiting, []
        dropped, self._dropped = self._dropped, 0
        if dropped:
            waiting.append(f"Monitor dropped {dropped} logs during monitor request\n")
        if waiting:
            self._write("".join(waiting))

    def stopProducing(self) -> None:
        """Nobody listens any more."""
        self._log.remove(self._sink)
