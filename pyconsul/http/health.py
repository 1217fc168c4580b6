"""``/v1/health/``: checks, and services together with the checks that concern them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from pyconsul.errors import BadRequest
from pyconsul.http import changes
from pyconsul.http.answer import Answer
from pyconsul.http.catalog import of_node, of_nodes, of_service
from pyconsul.http.query import Query
from pyconsul.http.reads import read
from pyconsul.http.routes import App, hot
from pyconsul.interfaces import Agent
from pyconsul.structs.catalog import (
    PASSING,
    CheckServiceNode,
    ChecksInStateRequest,
    ServiceSpecificRequest,
)

Result = Answer | Deferred[Answer]


def add_routes(app: App, agent: Agent) -> None:
    """Declare the routes of this module."""

    @hot(app, "/v1/health/node/<path:node>")
    def node(query: Query, node: str) -> Result:
        """All checks of a node."""
        return read(agent, query, "Health.NodeChecks", of_node(query, node), _checks)

    @hot(app, "/v1/health/checks/<path:service>")
    def checks(query: Query, service: str) -> Result:
        """The checks of all instances of a service."""
        return read(agent, query, "Health.ServiceChecks", of_service(query, service), _checks)

    @hot(app, "/v1/health/state/<path:state>")
    def state(query: Query, state: str) -> Result:
        """All checks in a state, or in ``any``."""
        query.refuse_namespace()
        options = of_nodes(query)
        if not state:
            raise BadRequest("Missing check state")
        request = ChecksInStateRequest(state=state, **options)
        return read(agent, query, "Health.ChecksInState", request, _checks)

    @hot(app, "/v1/health/service/<path:service>")
    def service(query: Query, service: str) -> Result:
        """The instances of a service with node and checks; with ``?passing`` only healthy ones."""
        return _instances(query, service, connect=False)

    @hot(app, "/v1/health/connect/<path:service>")
    def connect(query: Query, service: str) -> Result:
        """The same for mesh-capable instances."""
        return _instances(query, service, connect=True)

    @hot(app, "/v1/health/ingress/<path:service>")
    def ingress(query: Query, service: str) -> Result:
        """The gateways through which a service is reached from outside the mesh."""
        request = of_service(query, service)
        request.ingress = True
        return _of(query, request)

    def _instances(query: Query, service: str, connect: bool) -> Result:
        if changes.wanted(query):
            return changes.read_changes(agent, query, *changes.health(query, service, connect=connect))
        return _of(query, of_service(query, service, connect))

    def _of(query: Query, request: ServiceSpecificRequest) -> Result:
        passing = query.flag("passing")
        if passing is None:
            raise BadRequest("Invalid value for ?passing")
        shape = _all if not passing else _nearest_healthy if request.source.node else _healthy
        return read(agent, query, "Health.ServiceNodes", request, shape, cacheable=True)


def _checks(reply: Any) -> Answer:
    return Answer(json=reply.health_checks or [])


def _all(reply: Any) -> Answer:
    return Answer(json=reply.nodes or [])


def _nearest_healthy(reply: Any) -> Answer:
    return Answer(json=[row for row in reply.nodes or () if _passes(row)])


def _healthy(reply: Any) -> Answer:
    """In the order of Consul 1.8.7: the last takes the place of each that is left out."""
    rows = list(reply.nodes or ())
    place = 0
    while place < len(rows):
        if _passes(rows[place]):
            place += 1
        else:
            rows[place] = rows[-1]
            rows.pop()
    return Answer(json=rows)


def _passes(row: CheckServiceNode) -> bool:
    checks: Sequence[Any] = row.checks
    return all(check.status == PASSING for check in checks)
