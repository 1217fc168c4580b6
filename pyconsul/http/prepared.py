"""``/v1/query``: prepared queries, which are stored and executed by id or name."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred

from pyconsul.errors import Refused
from pyconsul.http.answer import Answer, empty
from pyconsul.http.query import Query
from pyconsul.http.reads import ask, read
from pyconsul.http.routes import App, hot
from pyconsul.interfaces import Agent
from pyconsul.structs.bodies import decode
from pyconsul.structs.catalog import CheckServiceNode
from pyconsul.structs.prepared import (
    PreparedQuery,
    PreparedQueryExecuteRequest,
    PreparedQueryRequest,
    PreparedQuerySpecificRequest,
)
from pyconsul.structs.query import DCSpecificRequest, QuerySource

Result = Answer | Deferred[Answer]

EXECUTE, EXPLAIN = "/execute", "/explain"
RULE = "/v1/query/<path:query_id>"

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False", ""))


def add_routes(app: App, agent: Agent) -> None:
    """Declare the routes of this module."""

    @hot(app, "/v1/query", ["GET"])
    def list_all(query: Query) -> Result:
        """All queries as they are stored."""
        return read(agent, query, "PreparedQuery.List", DCSpecificRequest(**query.options()), _rows)

    @hot(app, "/v1/query", ["POST"])
    def create(query: Query) -> Result:
        """Store a query; the answer tells its id."""
        return _apply(query, "create", decode(query.body, PreparedQuery), _created)

    @hot(app, RULE, ["GET"], narrow=methods_of)
    def get(query: Query, query_id: str) -> Result:
        """One query; or what it finds (``/execute``); or what would be executed (``/explain``)."""
        for end, method in ((EXECUTE, "PreparedQuery.Execute"), (EXPLAIN, "PreparedQuery.Explain")):
            if _ends(query_id, end):
                request = execution(query, query_id.removesuffix(end), connect=end == EXECUTE)
                query.kept = None  # each answer has another order
                shape = _executed if end == EXECUTE else _reply
                found = _told(read(agent, query, method, request, shape, cacheable=end == EXECUTE))
                query.may_keep = False
                return found
        one = PreparedQuerySpecificRequest(query_id=query_id, **query.options())
        return _told(read(agent, query, "PreparedQuery.Get", one, _rows))

    @hot(app, RULE, ["PUT"], narrow=methods_of)
    def update(query: Query, query_id: str) -> Result:
        """Replace a query."""
        definition = decode(query.body, PreparedQuery) if query.body else PreparedQuery()
        return _apply(query, "update", replace(definition, id=query_id), _done)

    @hot(app, RULE, ["DELETE"], narrow=methods_of)
    def delete(query: Query, query_id: str) -> Result:
        """Delete a query."""
        return _apply(query, "delete", PreparedQuery(id=query_id), _done)

    def _apply(query: Query, operation: str, definition: PreparedQuery, shape: Any) -> Result:
        request = PreparedQueryRequest(op=operation, query=definition, **query.write_options())
        return ask(agent, "PreparedQuery.Apply", request, shape)


def _ends(query_id: str, end: str) -> bool:
    return query_id.endswith(end) or query_id == end[1:]


def methods_of(query_id: str) -> tuple[str, ...]:
    """What may be done with a path behind ``/v1/query/``."""
    if _ends(query_id, EXECUTE) or _ends(query_id, EXPLAIN):
        return ("GET",)
    return ("GET", "PUT", "DELETE")


def execution(query: Query, id_or_name: str, *, connect: bool) -> PreparedQueryExecuteRequest:
    """The request to execute or explain a query; it never waits.

    :param connect: look at ``?connect=``.
    :raises Refused: if ``?limit=`` or ``?connect=`` is malformed.
    """
    options = query.options()
    options.pop("min_query_index", None)
    limit, through_mesh = query.get("limit"), query.get("connect") if connect else ""
    if limit:
        if not _NUMBER.fullmatch(limit):
            raise Refused(f'Bad limit: strconv.Atoi: parsing "{limit}": invalid syntax')
        options["limit"] = int(limit)
    if through_mesh not in _TRUE | _FALSE:
        why = f'strconv.ParseBool: parsing "{through_mesh}": invalid syntax'
        raise Refused(f"Error parsing 'connect' value: {why}")
    return PreparedQueryExecuteRequest(
        query_id_or_name=id_or_name,
        connect=through_mesh in _TRUE,
        source=QuerySource(node=query.get("near"), ip=client_of(query)),
        agent=QuerySource(node=query.node_name),
        **options,
    )


def client_of(query: Query) -> str:
    """The client's address: what a proxy says first, else where the connection comes from."""
    for name, value in query.facts.headers:
        if name.lower() == b"x-forwarded-for":
            first = value.decode("latin-1").partition(",")[0].strip()
            try:
                return str(ip_address(first))
            except ValueError:
                break
    return query.peer


def _told(result: Result) -> Result:
    """Without the headers of a read where no query was found."""
    if isinstance(result, Deferred):
        return result.addCallback(_unstamped)
    return _unstamped(result)


def _unstamped(answer: Answer) -> Answer:
    if answer.status == 404:
        answer.index = -1
    return answer


def _rows(reply: Any) -> Answer:
    return Answer(json=reply.queries)


def _reply(reply: Any) -> Answer:
    """All of it: with an index of 0, since there is nothing to wait for."""
    return Answer(json=replace(reply, index=0))


def _executed(reply: Any) -> Answer:
    """The same for what a query finds. Unlike elsewhere, Consul shows no tags as ``null`` here."""
    return _reply(replace(reply, nodes=[_untagged(row) for row in reply.nodes]))


def _untagged(row: CheckServiceNode) -> CheckServiceNode:
    service = row.service if row.service.tags else replace(row.service, tags=None)
    checks = [check if check.service_tags else replace(check, service_tags=None) for check in row.checks]
    return replace(row, service=service, checks=checks)


def _created(reply: str) -> Answer:
    return Answer(json={"ID": reply})


def _done(reply: str) -> Answer:
    return empty()
