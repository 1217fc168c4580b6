"""The HTTP interface of one agent: runs endpoints, keeps answers, renders, refuses.

Klein and the compiled lane are two roads to ``Surface.call``; both leave through ``Surface.render``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pyconsul.errors import PyconsulError
from pyconsul.http import paths
from pyconsul.http.answer import NO_JSON, Answer, Dates, Renderer, from_relayed, refusal, text
from pyconsul.http.cache import AnswerCache, Kept, Rendering
from pyconsul.http.facts import Facts
from pyconsul.http.large import AT_ONCE_BYTES_MAX, Draft, Flow, Long, chunks, is_large, packed, pieces
from pyconsul.http.query import Query
from pyconsul.http.routes import App, Route, Table, allowed
from pyconsul.http.settings import HttpSettings, is_within
from pyconsul.http.turns import Turns
from pyconsul.interfaces import Later, Waiter
from pyconsul.log import make_logger
from pyconsul.structs.metrics import Durations
from pyconsul.structs.relay import Relayed

if TYPE_CHECKING:
    from pyconsul.http.road import Road
    from pyconsul.interfaces import Agent

BUG = "Internal error; the agent's log says more"
BLOCKED = text(403, "Endpoint is blocked by agent configuration")
RESTRICTED = text(403, "Access is restricted")
NOBODY = b"[]"
"""The body of an answer about what is not there."""
MISS = ((b"X-Cache", b"MISS"),)
HIT = ((b"Age", b"0"), (b"X-Cache", b"HIT"))
SMALL_BODY_BYTES = 64 * 1024
DOCUMENTATION = "https://www.consul.io/docs/agent/options.html"

Result = Answer | Deferred[Answer] | Later
Rendered = bytes | Flow


class _Confirmation:
    """A kept answer that may be given once the leader is confirmed, to who asks by another way than the lane.

    :param ask: makes the answer anew if not.
    """

    __slots__ = ("_ask", "_entry", "_waiter")

    def __init__(self, waiter: Waiter, entry: Kept, ask: Callable[[], Result]) -> None:
        self._waiter = waiter
        self._entry = entry
        self._ask = ask

    def callback(self, result: object) -> None:
        """The leader is confirmed."""
        answer = self._entry.answer
        if answer is not None:
            self._waiter.callback(answer)
        else:
            self.errback(None)

    def errback(self, error: object) -> None:
        """It is not, or what was read has changed."""
        result = self._ask()
        if isinstance(result, Answer):
            self._waiter.callback(result)
        elif isinstance(result, Deferred):
            result.addCallbacks(self._waiter.callback, self._waiter.errback)


class Surface:
    """Everything between a parsed request and the bytes of its answer.

    :ivar turns: of those who work on large answers.
    :ivar kept: answers that are still true.
    :ivar timings: how long answers took, by method and rule.
    """

    def __init__(
        self,
        app: App,
        agent: Agent,
        settings: HttpSettings,
        dates: Dates,
        clock: IReactorTime,
    ) -> None:
        self._log = make_logger("agent.http")
        self.dates = dates
        self._seconds = clock.seconds
        self.turns = Turns(clock)
        self.timings: dict[str, Durations] = {}
        self._timing_of: dict[tuple[bytes, str], Durations] = {}
        self.app = app
        self.agent = agent
        app.surface = self
        self.kept = AnswerCache(getattr(agent, "forget", None))
        self.configure(settings)
        self._road: Road | None = None
        self.compile()

    @property
    def road(self) -> Road:
        """The slow road, through Klein, which is loaded when a request first takes it."""
        if self._road is None:
            from pyconsul.http.road import Road

            self._road = Road(self)
        return self._road

    def compile(self) -> None:
        """Read the routes that are declared by now into the table of the lane."""
        self.table = Table(self.app)

    def configure(self, settings: HttpSettings) -> None:
        """Take new settings, at the start and on a reload."""
        self.settings = settings
        self.renderer = Renderer(self.dates, settings.extra_headers(), settings.always_pretty)
        self._writers = settings.write_networks()
        self._guarded = bool(settings.block_endpoints or self._writers)
        self.kept.limit(settings.kept_answers_max, settings.kept_answers_bytes_max)
        self.kept.clear()

    # ------------------------------------------------------------ running an endpoint

    def call(
        self, route: Route, query: Query, parameters: Mapping[str, str], *, anew: bool = False
    ) -> Result:
        """Answer ``query``; never raises, but the Deferred may fail: ``failed_answer`` is for that.

        ``LATER`` only if the query has a waiter.

        :param anew: a kept answer will not do, nor one of another agent.
        """
        query.rule = route.rule
        query.timing = timing = self._timing_of.get((query.method, route.rule)) or self._timed(query)
        query.begun = self._seconds()
        if self._guarded and (refused := self.guard(query)) is not None:
            return refused
        if route.narrow is not None:
            methods = route.narrow(*parameters.values())
            if query.method.decode("latin-1") not in methods:
                return not_allowed(query.method, methods, options=False)
        if query.body and len(query.body) > route.body_max():
            return too_large(route, len(query.body))
        if query.method == b"GET" and query.facts.plain and not anew:
            entry = self.kept.entries.get(query.target)
            if entry is not None and entry.answer is not None:
                if not self.is_sure(entry):
                    return self._confirm(entry, route, query, parameters)
                if entry.aging:
                    self.age(entry)
                return entry.answer
            if (relayed := self._relay(route, query, parameters)) is not None:
                return relayed
            query.kept = place = self.kept.place(query.target, b"cached" in query.target)
            if place is not None:
                place.timing = timing
        return self.run(route, query, parameters)

    def _timed(self, query: Query) -> Durations:
        """The timing of requests like ``query``, under Consul's name for them."""
        parts = query.rule.partition("<")[0].split("/")[1:]
        name = ".".join(("http", query.method.decode("latin-1"), *(part or "_" for part in parts)))
        timing = self.timings.setdefault(name, Durations())
        return self._timing_of.setdefault((query.method, query.rule), timing)

    def is_sure(self, kept: Kept) -> bool:
        """Whether a kept answer may be served without asking anybody."""
        return not kept.confirm and (not kept.leased or self.agent.holds_lease())

    def age(self, kept: Kept) -> None:
        """Have a kept answer say when the leader was last heard of."""
        answer = kept.answer
        contact_ms = self.agent.last_contact_ms()
        if answer is not None and answer.last_contact_ms != contact_ms:
            kept.answer = replace(answer, last_contact_ms=contact_ms)
            kept.renderings = [None, None]

    def _relay(self, route: Route, query: Query, parameters: Mapping[str, str]) -> Deferred[Answer] | None:
        """Have another agent answer what was asked for before, if this one would have to ask it anyway."""
        if self.settings.always_pretty or not self.kept.has_seen(query.target) or b"cached" in query.target:
            return None
        relaying = self.agent.relay(query.target)
        if relaying is None:
            return None
        query.joining, relayed = relaying
        return relayed.addCallback(self._relayed, route, query, parameters)

    def _relayed(
        self, relayed: Relayed | None, route: Route, query: Query, parameters: Mapping[str, str]
    ) -> Any:
        """What came, or what comes of asking in the usual way."""
        return self.run(route, query, parameters) if relayed is None else from_relayed(relayed)

    def _confirm(self, entry: Kept, route: Route, query: Query, parameters: Mapping[str, str]) -> Result:
        """The kept answer once the leader is confirmed, unless one of them has changed by then."""
        confirmed: Deferred[Answer] = Deferred()
        confirmation = _Confirmation(confirmed, entry, lambda: self.run(route, query, parameters))
        try:
            self.agent.confirm(confirmation, entry.leased)
        except PyconsulError:
            return self.run(route, query, parameters)
        return confirmed

    def run(self, route: Route, query: Query, parameters: Mapping[str, str]) -> Result:
        try:
            if query.has_parameters:
                query.parse()
            result: Any = route.endpoint(query, **parameters)
            if isinstance(result, Later):
                return result
            if isinstance(result, Answer):
                return self._completed(result, query)
        except Exception:
            return self.failed_answer(Failure(), query)
        deferred: Deferred[Answer]
        deferred = result if isinstance(result, Deferred) else Deferred.fromCoroutine(result)
        if query.method == b"GET":  # what is written is never kept
            deferred.addCallback(self._completed, query)
        return deferred

    def _completed(self, answer: Answer, query: Query) -> Answer | Deferred[Answer]:
        """The answer, kept if it may be. A large one comes later, for all that it takes turns to make."""
        if not is_large(answer.json):
            return self._keep(answer, query)
        long = Long(answer.json, query.wants_pretty or self.settings.always_pretty)
        draft = Draft(self.turns, long.texts(), query.facts.gzip, long.first_share())
        return draft.done.addCallback(self._drafted, long, answer, query)

    def _drafted(self, made: tuple[bytes, bytes] | None, long: Long, answer: Answer, query: Query) -> Answer:
        if made is None:
            return self._unkept(replace(answer, json=NO_JSON, long=long), query)
        return self._keep(replace(answer, json=NO_JSON, body=made[0], packed=made[1]), query)

    def failed_answer(self, failure: Failure, query: Query) -> Answer:
        """What a failure of an endpoint is answered with."""
        if isinstance(failure.value, PyconsulError):
            return self._unkept(refusal(failure.value), query)
        if failure.check(CancelledError) is None:
            self._log.failure(
                "{method} {rule} failed", failure, method=query.method.decode("latin-1"), rule=query.rule
            )
        return self._unkept(text(500, BUG), query)

    def _keep(self, answer: Answer, query: Query) -> Answer:
        place = query.kept
        if place is None and not query.may_keep:
            return answer
        may_keep = query.may_keep and answer.status == 200 and answer.index >= 0 and answer.known_leader
        if place is None:
            if may_keep:
                self.kept.seen(query.target)
            return answer
        if not may_keep:
            return self._unkept(answer, query)
        body = self.renderer.body(answer, query.wants_pretty)
        answer = replace(answer, body=body, json=NO_JSON)
        if body == NOBODY and not query.wants_cached:
            # Its index moves also when others go, of which nobody is told; with an old one, who waits next
            # would be answered at once.
            return self._unkept(answer, query)
        kept = replace(answer, headers=HIT) if answer.headers == MISS else answer
        self.kept.keep(place, kept, body)
        return answer

    def _unkept(self, answer: Answer, query: Query) -> Answer:
        if query.kept is not None:
            self.kept.discard(query.kept)
            query.kept = None
        return answer

    def guard(self, query: Query) -> Answer | None:
        """The answer to a request that the configuration forbids, or ``None``."""
        path = paths.decode(paths.split(query.target)[0]) or ""
        if any(path.startswith(prefix) for prefix in self.settings.block_endpoints):
            return BLOCKED
        if self._writers and query.method != b"GET" and not is_within(query.peer, self._writers):
            return RESTRICTED
        return None

    def ask(self, target: str, token: str = "") -> Deferred[tuple[int, int, bytes]]:
        """Answer a GET of ``target`` as a client would have it, without a connection.

        :returns: status, index (0 if there is none) and body; cancelling it ends a wait.
        """
        headers = [(b"Host", b"agent")]
        if token:
            headers.append((b"X-Consul-Token", token.encode()))

        def told(answer: Answer) -> tuple[int, int, bytes]:
            body = answer.body if answer.long is None else b"".join(answer.long.texts())
            return answer.status, max(0, answer.index), body

        result = self.get(target.encode(), Facts(headers))
        deferred = result if isinstance(result, Deferred) else succeed(result)
        return deferred.addCallback(told)

    def get(self, target: bytes, facts: Facts) -> Answer | Deferred[Answer]:
        """Answer a GET of ``target`` without a connection.

        :returns: an answer whose body is ready or long, and no failure.
        """
        query = Query(b"GET", target, facts, b"", node_name=self.settings.node_name)
        path = (paths.decode(paths.split(target)[0]) or "").encode()
        found = self.table.find(b"GET", path)
        if found is None:
            return paths.NOTHING_HERE
        route, parameter, begin = found
        result = self.call(route, query, {parameter: path[begin:].decode()} if parameter else {})
        assert not isinstance(result, Later)  # there is no waiter
        if isinstance(result, Deferred):
            return result.addErrback(self.failed_answer, query).addCallback(self._ready, query)
        return self._ready(result, query)

    def _ready(self, answer: Answer, query: Query) -> Answer:
        if answer.json is not NO_JSON:
            answer = replace(answer, body=self.renderer.body(answer, query.wants_pretty), json=NO_JSON)
        return answer

    # ------------------------------------------------------------ rendering

    def render(self, query: Query, answer: Answer, facts: Facts | None = None) -> Rendered:
        """``answer`` on the wire, for who asked, or for who did so with other headers."""
        timing = query.timing
        if timing is not None:
            timing.add((self._seconds() - query.begun) * 1e3)
        facts = facts or query.facts
        if answer.fixed and facts.variant >= 0 and not (query.has_parameters and query.wants_pretty):
            known = self.renderer.fixed
            key = answer.fixed, facts.variant
            before, after = known.get(key) or known.setdefault(key, self._parts(query, answer, facts))
            return b"%b%b%b" % (before, self.dates.value(), after)
        if answer.long is not None:
            long = answer.long
            return self._flow(answer, facts, lambda: packed(long.texts()) if facts.gzip else long.texts())
        if _is_to_be_packed(answer, facts):
            return self._flow(answer, facts, partial(_pack, answer))
        return self.dated(self._parts(query, answer, facts))

    def dated(self, rendering: Rendering) -> Rendered:
        """The same, as it goes out now."""
        before, after = rendering
        if len(after) > AT_ONCE_BYTES_MAX:
            return Flow(before + self.dates.value(), partial(pieces, after))
        return b"%b%b%b" % (before, self.dates.value(), after)

    def _flow(self, answer: Answer, facts: Facts, body: Callable[[], Iterator[bytes]]) -> Flow:
        """An answer whose length nobody knows yet; ``body`` makes it as it is to be sent."""
        minor, keep = facts.minor, facts.keep and not answer.close
        before, after = self.renderer.long_parts(answer, packed=facts.gzip, minor=minor, keep=keep)
        head = b"%b%b%b" % (before, self.dates.value(), after)
        return Flow(head, (lambda: chunks(body())) if minor else body, close=not minor)

    def _parts(self, query: Query, answer: Answer, facts: Facts) -> Rendering:
        """All but the date."""
        body = answer.body
        if answer.json is not NO_JSON:
            try:
                body = self.renderer.body(answer, query.wants_pretty)
            except Exception:
                self._log.failure(
                    "cannot encode an answer to {method}", method=query.method.decode("latin-1")
                )
                answer = text(500, BUG)
                body = answer.body
        is_packed = False
        if facts.gzip and (smaller := self.renderer.compress(answer, body)) is not None:
            body, is_packed = smaller, True
        before, after = self.renderer.parts(
            answer, body, packed=is_packed, minor=facts.minor, keep=facts.keep and not answer.close
        )
        if query.method == b"HEAD" and body:
            after = after[: -len(body)]
        return before, after

    def serve(self, kept: Kept, facts: Facts) -> Rendered:
        """A kept answer, rendered when first asked for, to a client whose answers have a variant."""
        answer = kept.answer
        assert answer is not None
        made = kept.renderings[facts.variant]
        if made is None:
            if _is_to_be_packed(answer, facts):
                return self._flow(answer, facts, partial(_pack, answer))
            body, is_packed = answer.body, False
            if facts.gzip and (smaller := self.renderer.compress(answer, body)) is not None:
                body, is_packed = smaller, True
            made = kept.renderings[facts.variant] = self.renderer.parts(answer, body, packed=is_packed)
        return self.dated(made)

    # ------------------------------------------------------------ for the channel

    def too_large(self, method: bytes, target: bytes, size: int) -> Answer | None:
        """The answer to a body of ``size`` bytes, if that is too much for where it goes."""
        try:
            decoded = paths.decode(paths.split(target)[0])
        except UnicodeDecodeError:
            return paths.NOT_UTF8
        found = self.table.find(method, (decoded or "").encode())
        if found is None:
            limit = max((route.body_max() for route in self.app.declared.values()), default=SMALL_BODY_BYTES)
            return None if size <= limit else text(413, f"Request body({size} bytes) too large", close=True)
        return None if size <= found[0].body_max() else too_large(found[0], size)

    def body_file(self, method: bytes, target: bytes) -> BinaryIO | None:
        """A file for a body that is not small, gone once it is closed; ``None`` if memory will do.

        :raises OSError: if there can be none.
        """
        try:
            decoded = paths.decode(paths.split(target)[0])
        except UnicodeDecodeError:
            return None
        found = self.table.find(method, (decoded or "").encode())
        if found is None or not found[0].as_file:
            return None
        from tempfile import TemporaryFile  # few ever need it

        return TemporaryFile()


def _is_to_be_packed(answer: Answer, facts: Facts) -> bool:
    """Whether to compress ``answer`` is still to be done, and takes turns."""
    return facts.gzip and len(answer.body) > AT_ONCE_BYTES_MAX and not (answer.packed or answer.bare)


def _pack(answer: Answer) -> Iterator[bytes]:
    """Compress ``answer``, and leave what comes of it there for whoever is next."""
    made = []
    for piece in packed(pieces(answer.body)):
        made.append(piece)
        yield piece
    answer.packed = b"".join(made)


def too_large(route: Route, size: int) -> Answer:
    """The answer to a body of ``size`` bytes."""
    see = f" See {DOCUMENTATION}#{route.body_doc}." if route.body_doc else ""
    return text(
        413, f"Request body({size} bytes) too large, max size: {route.body_max()} bytes.{see}", close=True
    )


def not_allowed(method: bytes, methods: Iterable[str], *, options: bool) -> Answer:
    """The answer to a method that a path does not take; ``options`` as for ``allowed``."""
    allow = (b"Allow", allowed(methods, options=options))
    return text(405, f"method {method.decode('latin-1')} not allowed", allow)
