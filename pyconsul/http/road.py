"""The slow road from a request to its answer: Twisted's request, Klein's dispatch.

It is for what the lane leaves alone: unusual paths and methods, answers that are written piece by
piece, and embedding programs that want a Twisted resource. Klein and what it brings are loaded with
this module, so an agent that is only asked the usual things does without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from klein import Klein
from klein.interfaces import IKleinRequest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter

from pyconsul.errors import PyconsulError
from pyconsul.http import paths
from pyconsul.http.answer import Answer, empty, refusal, text
from pyconsul.http.facts import Facts
from pyconsul.http.query import Query
from pyconsul.http.request import LeanRequest
from pyconsul.http.routes import ALLOW_ORDER, OwnRoute, Route, allowed, exactness, is_compiled
from pyconsul.http.surface import BUG, not_allowed
from pyconsul.interfaces import Later
from pyconsul.log import make_logger

if TYPE_CHECKING:
    from pyconsul.http.surface import Surface


class RestConverter(BaseConverter):
    """Everything that is left of the path, slashes included, and also nothing."""

    part_isolating = False
    regex = ".*?"
    weight = 200


class Road:
    """All routes of an application in Klein.

    :ivar klein: the application.
    :ivar resource: the whole interface as a Twisted resource.
    """

    def __init__(self, surface: Surface) -> None:
        self._log = make_logger("agent.http")
        self._surface = surface
        self.klein = Klein()
        self.klein.url_map.converters["path"] = RestConverter
        self.klein.url_map.merge_slashes = False
        self.klein.handle_errors(NotFound)(self._not_found)
        self.klein.handle_errors(MethodNotAllowed)(self._not_allowed)
        self.klein.handle_errors(Exception)(self._failed_request)
        for name, declared in surface.app.declared.items():
            self._add(declared.rule, declared.methods, name, self._face(declared))
        for own in surface.app.own:
            self._add(own.rule, own.methods, f"own {own.rule}", self._own_face(own))
        self.resource = _Front(self, surface)

    def _add(self, rule: str, methods: tuple[str, ...], name: str, face: Callable[..., Any]) -> None:
        face.__name__ = name
        self.klein.route(rule, methods=list(methods) or None, endpoint=name)(face)

    def _face(self, declared: Route) -> Callable[..., Any]:
        def face(request: IRequest, **parameters: str) -> Any:
            return self.render_endpoint(request, declared, parameters)

        return face

    def _own_face(self, own: OwnRoute) -> Callable[..., Any]:
        def face(request: IRequest, **parameters: str) -> Any:
            if own.methods and request.method.decode("latin-1") not in own.methods:
                raise MethodNotAllowed()  # Klein takes HEAD for every GET
            return own.endpoint(request, **parameters)

        return face

    def render_endpoint(self, request: IRequest, route: Route, parameters: Mapping[str, str]) -> Any:
        """Klein's face of an endpoint: run it and write its answer on ``request``."""
        path = (paths.decode(paths.split(request.uri)[0]) or "").encode()
        if self._surface.table.find(request.method, path) is None and (
            request.method == b"HEAD" or is_compiled(route.rule)
        ):  # a more exact rule is there for other methods
            raise MethodNotAllowed()
        query = self.query_of(request)
        result = self._surface.call(route, query, parameters)
        if isinstance(result, Deferred):
            result.addErrback(self._surface.failed_answer, query)
            return result.addCallback(lambda answer: self.write(request, query, answer))
        assert not isinstance(result, Later)  # there is no waiter
        return self.write(request, query, result)

    def query_of(self, request: IRequest) -> Query:
        """The query that ``request``, ours or any other of Twisted's, stands for."""
        if isinstance(request, LeanRequest):
            facts, body, file = request.facts, request.body, request.file
        else:
            raw = request.requestHeaders.getAllRawHeaders()
            headers = [(name, value) for name, values in raw for value in values]
            facts = Facts(headers, 0 if getattr(request, "clientproto", b"") == b"HTTP/1.0" else 1)
            body, file = request.content.read(), None
        peer = getattr(request.getClientAddress(), "host", "")
        query = Query(request.method, request.uri, facts, body, peer, self._surface.settings.node_name)
        query.file = file
        return query

    def write(self, request: IRequest, query: Query, answer: Answer) -> bytes | Deferred[None] | None:
        """Write ``answer`` on ``request``; what is returned is for Klein to write or await."""
        if isinstance(request, LeanRequest):
            return request.deliver(self._surface.render(query, answer), answer.close)
        body = self._surface.renderer.body(answer, query.wants_pretty)
        headers = self._surface.renderer.headers(answer)
        if query.facts.gzip and (smaller := self._surface.renderer.compress(answer, body)) is not None:
            body = smaller
            headers.append((b"Content-Encoding", b"gzip"))
        request.setResponseCode(answer.status)
        request.responseHeaders.removeHeader(b"Server")
        for name, value in headers:
            request.responseHeaders.addRawHeader(name, value)
        request.setHeader(b"Date", self._surface.dates.value())
        request.setHeader(b"Content-Length", b"%d" % len(body))
        if answer.close:
            request.setHeader(b"Connection", b"close")
        return body

    def _methods(self, request: IRequest) -> list[str]:
        """What may be done with a path: the most exact rule decides, also about other methods."""
        mapper = IKleinRequest(request).mapper
        rules: dict[str, str] = {}
        for method in ALLOW_ORDER:
            with suppress(HTTPException):
                rules[method] = mapper.match(method=method, return_rule=True)[0].rule
        best = max(rules.values(), key=exactness)
        return [method for method, rule in rules.items() if rule == best]

    def _not_found(self, request: IRequest, failure: Failure) -> Any:
        query = self.query_of(request)
        path, parameters = paths.split(query.target)
        mapper = IKleinRequest(request).mapper
        decoded = paths.decode(path) or ""
        if mapper.allowed_methods(decoded + "/"):
            return self.write(request, query, paths.redirect(decoded + "/", parameters, query.method))
        return self.write(request, query, paths.NOTHING_HERE)

    def _not_allowed(self, request: IRequest, failure: Failure) -> Any:
        query = self.query_of(request)
        found = self._surface.table.narrowed((paths.decode(paths.split(query.target)[0]) or "").encode())
        methods = self._methods(request) if found is None else found
        if query.method == b"OPTIONS":
            answer = empty() if found is None else Answer(json={})  # as Consul has it
            answer.headers = ((b"Allow", allowed(methods)),)
        else:
            answer = not_allowed(query.method, methods, options=found is None)
        return self.write(request, query, answer)

    def _failed_request(self, request: IRequest, failure: Failure) -> Any:
        """A failure of a route that is Klein's alone (``app.route``)."""
        if isinstance(failure.value, PyconsulError):
            answer = refusal(failure.value)
        elif isinstance(failure.value, HTTPException):
            return failure
        else:
            if failure.check(CancelledError) is None:
                self._log.failure("{path} failed", failure, path=request.path.decode("latin-1"))
            answer = text(500, BUG)
        return self.write(request, self.query_of(request), answer)

    def failed(self, request: LeanRequest, failure: Failure) -> None:
        """A bug in what renders ``request``."""
        self._log.failure("{path} failed", failure, path=request.path.decode("latin-1"))
        if request.startedWriting:
            request.loseConnection()
        else:
            self.write(request, self.query_of(request), text(500, BUG))
            request.finish()


class _Front(Resource):
    """In front of Klein: refuses and redirects what no route may see."""

    isLeaf = True

    def __init__(self, road: Road, surface: Surface) -> None:
        Resource.__init__(self)
        self._road, self._surface = road, surface
        self._klein = road.klein.resource()

    def render(self, request: IRequest) -> Any:
        """Answer ``request``, at once or later."""
        unprintable, table = self._surface.settings.allow_unprintable, self._surface.table
        answer = paths.screen(request.uri, request.method, unprintable, table.only_below)
        if answer is None:
            return self._klein.render(request)
        body = self._road.write(request, self._road.query_of(request), answer)
        if body is None:
            request.finish()
            return NOT_DONE_YET
        return body
