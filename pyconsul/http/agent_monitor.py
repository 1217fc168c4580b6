"""``/v1/agent/monitor``: the agent's log as it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from pyconsul.errors import BadRequest, ConfigurationError
from pyconsul.http.answer import Answer
from pyconsul.http.producing import Producer, begin
from pyconsul.http.routes import App
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
        if (refused := surface.guard(query)) is not None:
            return surface.road.write(request, query, refused)
        try:
            level = normal_level(query.get("loglevel") or "INFO")
        except ConfigurationError as error:
            raise BadRequest(f"Bad request: {error}") from None
        begin(surface, request, Answer(content_type=b""))
        request.defaultContentType = None
        return Monitor(request, log, level, query.has("logjson")).start()


class Monitor(Producer):
    """One client that listens to the log, at its own speed."""

    endless = True

    def __init__(self, request: IRequest, log: Log, level: str, as_json: bool) -> None:
        super().__init__(request)
        self._log = log
        self._sink = Sink(level, self._line, as_json)
        self._waiting: list[str] = []
        self._dropped = 0
        self._writing = False

    def start(self) -> Deferred[None]:
        """Fires when the client has gone."""
        self.listen()
        self.register()
        self.request.write(b"")  # the client is to know at once that it listens
        self._log.add(self._sink)
        return self.done

    def _line(self, line: str) -> None:
        if self._writing:  # whatever is logged because of what is being written
            return
        if not self.paused:
            self._write(line)
        elif len(self._waiting) < LINES_MAX:
            self._waiting.append(line)
        else:
            self._dropped += 1

    def _write(self, text: str) -> None:
        self._writing = True
        try:
            self.request.write(text.encode("utf-8", "replace"))
        finally:
            self._writing = False

    def go_on(self) -> None:
        """Write what was logged meanwhile, and how much was dropped."""
        waiting, self._waiting = self._waiting, []
        dropped, self._dropped = self._dropped, 0
        if dropped:
            waiting.append(f"Monitor dropped {dropped} logs during monitor request\n")
        if waiting:
            self._write("".join(waiting))

    def stopProducing(self) -> None:
        """Nobody listens any more."""
        self._log.remove(self._sink)
