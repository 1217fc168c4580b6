"""What all endpoints that read have in common: ask, then stamp the answer with what it is worth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pyconsul.errors import PyconsulError
from pyconsul.http.answer import TRUE, Answer, refusal
from pyconsul.http.query import Query
from pyconsul.http.surface import HIT, MISS
from pyconsul.interfaces import Agent, Later

Shape = Callable[[Any], Answer]
T = TypeVar("T")


def read(
    agent: Agent,
    query: Query,
    method: str,
    request: Any,
    shape: Shape,
    *,
    consistency: bool = True,
    stamp_failures: bool = False,
    cacheable: bool = False,
) -> Answer | Deferred[Answer]:
    """Ask ``method`` and make its reply an answer with the headers of a read.

    :param request: a struct with ``QueryOptions``.
    :param shape: makes the answer's status and body of the reply struct.
    :param consistency: whether this endpoint tells ``X-Consul-Effective-Consistency``. Those that do
        also put the other headers of a read on failures.
    :param stamp_failures: whether it puts them there although it does not.
    :param cacheable: whether this endpoint knows ``?cached``.
    """
    query.may_keep = not (
        request.min_query_index or request.token or request.max_stale_duration or query.has("near")
    )
    if query.kept is not None:
        if query.may_keep:
            query.kept.confirm = request.require_consistent
            query.kept.leased = not (request.require_consistent or request.allow_stale)
            query.kept.aging = request.allow_stale
        else:
            query.kept = None
    elif request.min_query_index:
        _share(agent, query, request)
    try:
        reply = agent.ask(method, request, query.kept)
    except PyconsulError as error:
        return _failed(error, consistency or stamp_failures)

    def answered(reply: Any) -> Answer | Deferred[Answer]:
        if request.allow_stale and 0 < request.max_stale_duration < reply.last_contact:
            fresh = replace(request, allow_stale=False, max_stale_duration=0)
            return read(
                agent, query, method, fresh, shape,
                consistency=consistency, stamp_failures=stamp_failures, cacheable=cacheable,
            )  # fmt: skip
        return _stamp(shape(reply), reply, query, request, consistency, cacheable)

    if not isinstance(reply, Deferred):
        return answered(reply)
    reply.addCallbacks(answered, _failure, errbackArgs=(consistency or stamp_failures,))
    return reply


def _share(agent: Agent, query: Query, request: Any) -> None:
    """Let others join a read that waits, where they get no less for it than by asking themselves."""
    if request.token or request.max_stale_duration or request.require_consistent or request.datacenter:
        return
    if request.allow_stale or agent.holds_lease():
        query.joining = _Waiting(agent, request)


class _Waiting:
    """Who may join a read that waits: so long as all wait long enough, and are told the truth."""

    __slots__ = ("_agent", "_needs_lease", "_shared_s")

    def __init__(self, agent: Agent, request: Any) -> None:
        self._agent = agent
        self._shared_s = agent.shared_time_s(request)
        self._needs_lease = not request.allow_stale

    def takes(self, waited_s: float) -> bool:
        """See ``pyconsul.interfaces.Joining``."""
        return waited_s < self._shared_s and (not self._needs_lease or self._agent.holds_lease())


def _stamp(
    answer: Answer, reply: Any, query: Query, request: Any, consistency: bool, cacheable: bool
) -> Answer:
    answer.index = reply.index
    answer.known_leader = reply.known_leader
    answer.last_contact_ms = reply.last_contact // 1_000_000
    if consistency:
        level = reply.consistency_level
        if not level:
            level = (
                "stale" if request.allow_stale else "consistent" if request.require_consistent else "leader"
            )
        answer.consistency = level
    if cacheable and query.wants_cached:
        answer.headers = MISS
        if query.kept is not None:
            query.kept.alike = query.question()
            if query.kept.cache.knows(query.kept.alike):
                answer.headers = HIT
    return answer


def _failure(failure: Failure, stamp: bool) -> Answer:
    failure.trap(PyconsulError)
    return _failed(failure.value, stamp)


def _failed(error: BaseException | None, stamp: bool) -> Answer:
    assert isinstance(error, PyconsulError)
    answer = refusal(error)
    if stamp:
        answer.index = 0
    return answer


def ask(agent: Agent, method: str, request: Any, shape: Shape) -> Answer | Deferred[Answer]:
    """Ask ``method``, a question outside the store, and make its reply an answer."""
    reply = agent.ask(method, request)
    if isinstance(reply, Deferred):
        return reply.addCallback(shape)
    return shape(reply)


def write(
    agent: Agent, query: Query, method: str, request: Any, shape: Shape
) -> Answer | Deferred[Answer] | Later:
    """Ask for a write, and make its reply an answer."""
    query.shape = shape
    reply: Any = agent.ask(method, request, waiter=query.waiter)
    if isinstance(reply, Later):
        return reply
    if isinstance(reply, Deferred):
        return reply.addCallback(shape)
    return shape(reply)


def chosen(query: Query, rows: dict[str, T], kind: type[T], late: bool = False) -> dict[str, T]:
    """Those of the agent's own ``rows`` that pass ``?filter=``.

    :param late: without rows, selectors are not looked at; Consul asks so about checks.
    :raises Refused: if the filter is none for such rows.
    """
    expression = query.get("filter")
    if not expression:
        return rows
    from pyconsul.filters.compiled import check_syntax, make_test  # few ever filter

    if late and not rows:
        check_syntax(expression)
        return rows
    test = make_test(expression, kind)
    return {key: row for key, row in rows.items() if test(row)}


def as_json(reply: Any) -> Answer:
    """The reply itself as JSON."""
    return Answer(json=reply)


def done(reply: Any) -> Answer:
    """``true``, whatever the reply."""
    return TRUE
