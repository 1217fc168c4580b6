"""``/v1/agent/``: the checks of this node, and reports about those that only wait for them."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from pyconsul.errors import BadRequest, Refused
from pyconsul.http import old_checks
from pyconsul.http.answer import Answer, empty, text
from pyconsul.http.query import Query
from pyconsul.http.reads import chosen
from pyconsul.http.routes import App, hot
from pyconsul.interfaces import LocalAgent
from pyconsul.structs.agent import CheckDefinition, CheckUpdate
from pyconsul.structs.bodies import decode
from pyconsul.structs.catalog import CRITICAL, PASSING, WARNING, HealthCheck

Result = Answer | Deferred[Answer]

STATES = (PASSING, WARNING, CRITICAL)


def add_routes(app: App, agent: LocalAgent) -> None:
    """Declare the routes of this module."""

    @hot(app, "/v1/agent/checks")
    def checks(query: Query) -> Result:
        """The checks registered here, by id."""
        query.refuse_namespace()
        return Answer(json=chosen(query, agent.local_checks(), HealthCheck, late=True))

    @hot(app, "/v1/agent/check/register", ["PUT"])
    def register(query: Query) -> Result:
        """Register a check of the node or of a service here."""
        query.refuse_namespace()
        old = old_checks.check if agent.allows_scripts else None
        definition = decode(query.body, CheckDefinition, snake_case=True, rewrite=old)
        if not definition.name:
            raise BadRequest("Missing check name")
        definition.token = definition.token or query.token
        agent.register_check(definition)
        return empty()

    @hot(app, "/v1/agent/check/deregister/<path:check_id>", ["PUT"])
    def deregister(query: Query, check_id: str) -> Result:
        """Stop and remove a check."""
        query.refuse_namespace()
        if not check_id:
            raise Refused("CheckID missing")
        agent.deregister_check(check_id)
        return empty()

    def set_state(word: str, state: str) -> None:
        @hot(app, f"/v1/agent/check/{word}/<path:check_id>", ["PUT"])
        def update(query: Query, check_id: str) -> Result:
            """Say how the thing that a TTL check stands for is doing."""
            query.refuse_namespace()
            agent.update_ttl(check_id, state, query.get("note"))
            return empty()

    for word, state in (("pass", PASSING), ("warn", WARNING), ("fail", CRITICAL)):
        set_state(word, state)

    @hot(app, "/v1/agent/check/update/<path:check_id>", ["PUT"])
    def update(query: Query, check_id: str) -> Result:
        """The same with state and output in the body."""
        change = decode(query.body, CheckUpdate)
        if change.status not in STATES:
            return text(400, f"Invalid check status: '{change.status}'")
        query.refuse_namespace()
        agent.update_ttl(check_id, change.status, change.output)
        return empty()
