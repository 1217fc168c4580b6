"""Declaring a route, once; and the table compiled from what was declared.

``hot`` and ``route`` are for endpoints that are plain functions:
``(query, **path parameters) -> Answer | Deferred[Answer]``, or coroutines of an ``Answer``.
What ``hot`` declares, the compiled lane may call without going through Klein; both give the same
answer. Klein learns of all routes when it is first needed (``pyconsul.http.road``). In a rule,
``<path:name>`` stands at the end and matches everything that is left, also nothing at all, as Consul's
own routes do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

if TYPE_CHECKING:
    from pyconsul.http.surface import Surface

Endpoint = Callable[..., Any]
E = TypeVar("E", bound=Endpoint)

BODY_BYTES_MAX = 16 * 1024 * 1024
ALLOW_ORDER = ("GET", "POST", "PUT", "DELETE")

_RULE = re.compile(r"(?P<prefix>/[^<]*)(?:<path:(?P<parameter>\w+)>)?")


class Route(Struct, frozen=True):
    """One declared endpoint.

    :ivar hot: the lane may call it.
    :ivar body_max: bytes of body that are accepted; a callable, so that a reload can change it.
    :ivar body_doc: where the error text about a larger body points.
    :ivar narrow: which methods a path takes, where that depends on what the rule's parameter matches.
    :ivar as_file: a body that is not small is collected in a file, ``Query.file``.
    """

    rule: str
    methods: tuple[str, ...]
    endpoint: Endpoint
    hot: bool
    body_max: Callable[[], int]
    body_doc: str
    narrow: Callable[[str], Sequence[str]] | None = None
    as_file: bool = False


class OwnRoute(Struct, frozen=True):
    """A route that is Klein's alone: its endpoint is given the request, as Klein gives it.

    :ivar methods: none for all; HEAD has to be named, unlike with Klein.
    """

    rule: str
    methods: tuple[str, ...]
    endpoint: Endpoint


class App:
    """The routes of an agent, of which few are needed at once.

    :ivar known: those of plain functions that have been declared so far, by name.
    :ivar surface: what runs the endpoints; set by ``Surface``.
    """

    surface: Surface

    def __init__(self) -> None:
        self.known: dict[str, Route] = {}
        self._own: list[OwnRoute] = []
        self._rest: list[Callable[[], None]] = []

    def later(self, declare: Callable[[], None]) -> None:
        """Have ``declare`` called when a path is asked for that no known route leads to.

        It must not add to what such a route's prefix leads to.
        """
        self._rest.append(declare)

    def complete(self) -> None:
        """Declare all that has been put off."""
        while self._rest:
            self._rest.pop(0)()

    @property
    def declared(self) -> dict[str, Route]:
        """All routes of plain functions, by name."""
        self.complete()
        return self.known

    @property
    def own(self) -> list[OwnRoute]:
        """All routes that are Klein's alone."""
        self.complete()
        return self._own

    def route(self, rule: str, methods: Sequence[str] = ()) -> Callable[[E], E]:
        """Declare a route that is Klein's alone."""

        def mark(endpoint: E) -> E:
            self._own.append(OwnRoute(rule, tuple(methods), endpoint))
            return endpoint

        return mark


def hot(
    app: App,
    rule: str,
    methods: Sequence[str] = ("GET",),
    *,
    body_max: Callable[[], int] = lambda: BODY_BYTES_MAX,
    body_doc: str = "",
    narrow: Callable[[str], Sequence[str]] | None = None,
) -> Callable[[E], E]:
    """Declare an endpoint that the compiled lane may call directly.

    :param narrow: which methods a path takes, where that depends on what the parameter matches.

    :raises ValueError: if the lane cannot compile such a rule.
    """
    if not is_compiled(rule):
        raise ValueError(f"{rule}: the compiled lane knows one <path:...> at the end of a rule, no more")
    return _declare(app, rule, methods, True, body_max, body_doc, narrow)


def route(
    app: App,
    rule: str,
    methods: Sequence[str] = ("GET",),
    *,
    body_max: Callable[[], int] = lambda: BODY_BYTES_MAX,
    body_doc: str = "",
    as_file: bool = False,
) -> Callable[[E], E]:
    """Declare an endpoint that is always reached through Klein, with any rule that Klein knows.

    :param as_file: see ``Route``; the rule has to be one that the lane could compile.
    """
    return _declare(app, rule, methods, False, body_max, body_doc, None, as_file)


def _declare(
    app: App,
    rule: str,
    methods: Sequence[str],
    is_hot: bool,
    body_max: Callable[[], int],
    body_doc: str,
    narrow: Callable[[str], Sequence[str]] | None = None,
    as_file: bool = False,
) -> Callable[[E], E]:
    def mark(endpoint: E) -> E:
        declared = Route(rule, tuple(methods), endpoint, is_hot, body_max, body_doc, narrow, as_file)
        app.known[f"{','.join(methods)} {rule}"] = declared
        return endpoint

    return mark


def allowed(methods: Iterable[str], *, options: bool = True) -> bytes:
    """The value of Allow, in the order that Consul gives.

    :param options: begin with OPTIONS, which every route takes; Consul does not always say so.
    """
    given = set(methods)
    first = ["OPTIONS"] if options else []
    return ",".join([*first, *(method for method in ALLOW_ORDER if method in given)]).encode()


def is_compiled(rule: str) -> bool:
    """Whether a rule has a form that ``Table`` knows."""
    return _RULE.fullmatch(rule) is not None


def exactness(rule: str) -> tuple[bool, int]:
    """The greater, the more a rule says about the paths that it matches."""
    prefix, parameter, _ = rule.partition("<")
    return not parameter, len(prefix)


class _Prefix:
    """Where paths with one prefix lead, and whether longer prefixes begin with it."""

    __slots__ = ("deeper", "routes")

    def __init__(self) -> None:
        self.routes: dict[bytes, tuple[Route, str]] = {}
        self.deeper = False


class Table:
    """The routes of plain functions, for looking up by path.

    An exact path wins over a prefix, a longer prefix over a shorter one. Rules that do not fit are
    left to Klein.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._exact: dict[bytes, dict[bytes, tuple[Route, str]]] = {}
        self._prefixes: dict[bytes, _Prefix] = {}
        self._read()

    def _read(self) -> None:
        self._known = len(self._app.known)
        for declared in self._app.known.values():
            fits = _RULE.fullmatch(declared.rule)
            if fits is not None:
                self._add(declared, fits["prefix"].encode(), fits["parameter"])

    def _add(self, declared: Route, prefix: bytes, parameter: str | None) -> None:
        if parameter is None:
            routes = self._exact.setdefault(prefix, {})
        else:
            routes = self._prefixes.setdefault(prefix, _Prefix()).routes
            at = prefix.find(b"/", 1) + 1
            while 0 < at < len(prefix):
                self._prefixes.setdefault(prefix[:at], _Prefix()).deeper = True
                at = prefix.find(b"/", at) + 1
        for method in declared.methods:
            routes[method.encode()] = (declared, parameter or "")

    def only_below(self, path: str) -> bool:
        """Whether no route is at ``path`` itself, but one begins with it and a slash."""
        self._complete()
        raw = path.encode()
        prefix = self._prefixes.get(raw + b"/")
        return prefix is not None and bool(prefix.routes) and raw not in self._exact

    def find(self, method: bytes, path: bytes) -> tuple[Route, str, int] | None:
        """The route for ``path``, the name of its parameter, and where in ``path`` that begins.

        :param path: percent-decoded, in UTF-8.
        """
        found = self._find(method, path)
        if found is None and self._complete():
            return self._find(method, path)
        return found

    def _complete(self) -> bool:
        """Take in the routes that have been put off; whether there were any."""
        self._app.complete()
        if self._known == len(self._app.known):
            return False
        self._read()
        return True

    def _find(self, method: bytes, path: bytes) -> tuple[Route, str, int] | None:
        routes = self._exact.get(path)
        if routes is not None:
            found = routes.get(method)
            return None if found is None else (found[0], found[1], len(path))
        best: dict[bytes, tuple[Route, str]] | None = None
        begin = at = 0
        while True:
            at = path.find(b"/", at + 1)
            if at < 0:
                break
            prefix = self._prefixes.get(path[: at + 1])
            if prefix is None:
                break
            if prefix.routes:
                best, begin = prefix.routes, at + 1
            if not prefix.deeper:
                break
        if best is None:
            return None
        found = best.get(method)
        return None if found is None else (found[0], found[1], begin)

    def narrowed(self, path: bytes) -> Sequence[str] | None:
        """The methods that ``path`` takes, if its route leaves that to what its parameter matches."""
        found = self.find(b"GET", path)
        if found is None or found[0].narrow is None:
            return None
        return found[0].narrow(path[found[2] :].decode())
