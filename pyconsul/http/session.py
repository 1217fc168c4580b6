"""``/v1/session/``: sessions, which hold locks."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, field
from twisted.internet.defer import Deferred

from pyconsul.errors import BadRequest, Refused
from pyconsul.http.answer import Answer, text
from pyconsul.http.catalog import of_node
from pyconsul.http.query import Query
from pyconsul.http.reads import ask, done, read, write
from pyconsul.http.routes import App, hot
from pyconsul.interfaces import Agent, Later
from pyconsul.structs.bodies import PREFIX, convert, parse
from pyconsul.structs.catalog import SERF_CHECK_ID
from pyconsul.structs.durations import parse_ns
from pyconsul.structs.session import (
    LOCK_DELAY_NS,
    ServiceCheck,
    Session,
    SessionRequest,
    SessionSpecificRequest,
)

Result = Answer | Deferred[Answer] | Later

SECONDS_BELOW = 1000
"""A lock delay of less than this many nanoseconds, however written, means that many seconds."""


class CreateBody(Struct, rename="pascal", kw_only=True):
    """What may be said about a session to be created; other fields are ignored, as are id and indexes."""

    name: str = ""
    node: str | None = None
    lock_delay: Any = None
    behavior: str = ""
    ttl: str = field(default="", name="TTL")
    id: str = field(default="", name="ID")
    create_index: int = 0
    modify_index: int = 0
    checks: list[str] | None = None
    node_checks: list[str] | None = None
    service_checks: list[ServiceCheck] | None = None


def add_routes(app: App, agent: Agent) -> None:
    """Declare the routes of this module."""

    @hot(app, "/v1/session/create", ["PUT"])
    def create(query: Query) -> Result:
        """Create a session, of this agent's node unless another is named; the answer tells its id."""
        query.refuse_namespace()
        session = of_body(query.body, query.node_name)
        request = SessionRequest(op="create", session=session, **query.write_options())
        return write(agent, query, "Session.Apply", request, _created)

    @hot(app, "/v1/session/destroy/<path:session>", ["PUT"])
    def destroy(query: Query, session: str) -> Result:
        """End a session and let go what it holds."""
        query.refuse_namespace()
        _require(session)
        request = SessionRequest(op="destroy", session=Session(id=session), **query.write_options())
        return write(agent, query, "Session.Apply", request, done)

    @hot(app, "/v1/session/renew/<path:session>", ["PUT"])
    def renew(query: Query, session: str) -> Result:
        """Let the TTL of a session start again; 404 if it is gone."""
        query.refuse_namespace()
        options = query.options()
        _require(session)
        request = SessionSpecificRequest(session_id=session, session=session, **options)

        def renewed(reply: Any) -> Answer:
            return _rows(reply) if reply.sessions else text(404, f"Session id '{session}' not found")

        return ask(agent, "Session.Renew", request, renewed)

    @hot(app, "/v1/session/info/<path:session>")
    def info(query: Query, session: str) -> Result:
        """One session, as a list."""
        query.refuse_namespace()
        options = query.options()
        _require(session)
        request = SessionSpecificRequest(session_id=session, session=session, **options)
        return read(agent, query, "Session.Get", request, _rows, consistency=False, stamp_failures=True)

    @hot(app, "/v1/session/node/<path:node>")
    def of_one_node(query: Query, node: str) -> Result:
        """The sessions of a node."""
        query.refuse_namespace()
        request = of_node(query, node)
        return read(
            agent, query, "Session.NodeSessions", request, _rows, consistency=False, stamp_failures=True
        )

    @hot(app, "/v1/session/list")
    def list_all(query: Query) -> Result:
        """All sessions."""
        query.refuse_namespace()
        request = SessionSpecificRequest(**query.options())
        return read(agent, query, "Session.List", request, _rows, consistency=False, stamp_failures=True)


def of_body(body: bytes, node_name: str) -> Session:
    """The session that ``body`` asks for; an empty body asks for one with all defaults.

    By default it depends on the gossip check of its node. ``NodeChecks`` and, by its older name,
    an empty ``Checks`` replace that; a ``Checks`` with something else in it adds to it.

    :raises BadRequest: if it cannot be read.
    :raises Refused: if it names a node without a name.
    """
    given = parse(body) if body else {}
    if not isinstance(given, dict):
        given = convert(given, dict[str, Any])  # an error, or nothing for null
    names = {name.lower() for name in given}
    wanted = convert(given, CreateBody, open_structs=(CreateBody, ServiceCheck))
    if wanted.node == "":
        raise Refused("Must provide Node")
    node_checks: list[str] | None = [SERF_CHECK_ID]
    checks: list[str] | None = None
    if "nodechecks" in names:
        node_checks = wanted.node_checks
    elif wanted.checks:
        checks = wanted.checks if wanted.checks != node_checks else None
    elif "checks" in names:
        node_checks = []
    return Session(
        name=wanted.name,
        node=wanted.node or node_name,
        lock_delay=_lock_delay_ns(wanted.lock_delay),
        behavior=wanted.behavior,
        ttl=wanted.ttl,
        node_checks=node_checks,
        service_checks=wanted.service_checks,
        checks=checks or msgspec.UNSET,
    )


def _lock_delay_ns(given: Any) -> int:
    if given is None:
        return LOCK_DELAY_NS
    if isinstance(given, str):
        try:
            given = parse_ns(given)
        except ValueError as error:
            raise BadRequest(f"{PREFIX}{error}") from None
    if isinstance(given, int | float) and not isinstance(given, bool):
        delay = int(given)
        delay = delay * 1_000_000_000 if delay < SECONDS_BELOW else delay
        return delay if abs(delay) < 1 << 63 else 0
    return 0


def _require(session: str) -> None:
    if not session:
        raise BadRequest("Missing session")


def _created(reply: str) -> Answer:
    return Answer(json={"ID": reply})


def _rows(reply: Any) -> Answer:
    return Answer(json=reply.sessions or [])
