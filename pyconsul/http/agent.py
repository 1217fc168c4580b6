"""``/v1/agent/``: this node, its services and checks, and its place in the cluster."""

from __future__ import annotations

from typing import Any

from klein import Klein
from msgspec import UNSET, Struct, field
from twisted.internet.defer import Deferred

from pyconsul.errors import BadRequest, Refused
from pyconsul.http.answer import Answer, empty, text
from pyconsul.http.query import Query
from pyconsul.http.reads import chosen
from pyconsul.http.routes import hot, route
from pyconsul.interfaces import LocalAgent
from pyconsul.structs.agent import ALL_SEGMENTS, CheckDefinition, CheckUpdate, ServiceDefinition
from pyconsul.structs.bodies import decode
from pyconsul.structs.catalog import (
    CRITICAL,
    PASSING,
    WARNING,
    WEIGHTS,
    HealthCheck,
    NodeService,
    ServiceAddress,
    Weights,
)

Result = Answer | Deferred[Answer]

STATES = (PASSING, WARNING, CRITICAL)


class AgentService(Struct, rename="pascal", omit_defaults=False, kw_only=True):
    """A service as ``/v1/agent/services`` shows it."""

    kind: Any = UNSET
    id: str = field(name="ID")
    service: str
    tags: list[str]
    meta: dict[str, str]
    port: int
    address: str
    tagged_addresses: dict[str, ServiceAddress] | Any = UNSET
    weights: Weights
    enable_tag_override: bool


def show(service: NodeService) -> AgentService:
    """The form in which agents show services: less than the catalog does."""
    return AgentService(
        kind=service.kind or UNSET,
        id=service.id,
        service=service.service,
        tags=service.tags or [],
        meta=service.meta or {},
        port=service.port,
        address=service.address,
        tagged_addresses=service.tagged_addresses or UNSET,
        weights=service.weights or WEIGHTS,
        enable_tag_override=service.enable_tag_override,
    )


def add_routes(app: Klein, agent: LocalAgent) -> None:
    """Declare the routes of this module."""
    _add_node(app, agent)
    _add_services(app, agent)
    _add_checks(app, agent)


def _add_node(app: Klein, agent: LocalAgent) -> None:
    @hot(app, "/v1/agent/self")
    def self_(query: Query) -> Result:
        """This agent: configuration, member, counters."""
        return Answer(json=agent.describe())

    @hot(app, "/v1/agent/members")
    def members(query: Query) -> Result:
        """The gossip pool as this agent sees it, or with ``?wan=1`` that of all datacenters' servers."""
        segment = query.get("segment")
        if not query.get("wan"):
            return Answer(json=agent.members(segment))
        if segment not in ("", ALL_SEGMENTS):
            raise BadRequest("Cannot provide a segment with wan=true")
        return Answer(json=agent.wan_members())

    @route(app, "/v1/agent/join/<path:address>", ["PUT"])
    def join(query: Query, address: str) -> Result:
        """Join the cluster through ``address``."""
        joined = agent.join_wan([address]) if query.get("wan") else agent.join([address])
        return joined.addCallback(lambda _: empty())

    @route(app, "/v1/agent/leave", ["PUT"])
    def leave(query: Query) -> Result:
        """Leave the cluster, then end."""
        return agent.leave().addCallback(lambda _: empty())

    @route(app, "/v1/agent/force-leave/<path:node>", ["PUT"])
    def force_leave(query: Query, node: str) -> Result:
        """Make a failed member one that left."""
        agent.force_leave(node, query.has("prune"), query.has("wan"))
        return empty()


def _add_services(app: Klein, agent: LocalAgent) -> None:
    @hot(app, "/v1/agent/services")
    def services(query: Query) -> Result:
        """The services registered here, by id."""
        rows = chosen(query, agent.local_services(), NodeService)
        return Answer(json={key: show(service) for key, service in rows.items()})

    @route(app, "/v1/agent/service/register", ["PUT"])
    def register(query: Query) -> Result:
        """Register a service, with checks."""
        definition = decode(query.body, ServiceDefinition, snake_case=True)
        if not definition.name:
            raise BadRequest("Missing service name")
        definition.token = definition.token or query.token
        agent.register_service(definition, query.flag("replace-existing-checks") or False)
        return empty()

    @route(app, "/v1/agent/service/deregister/<path:service_id>", ["PUT"])
    def deregister(query: Query, service_id: str) -> Result:
        """Remove a service and its checks."""
        if not service_id:
            raise Refused("ServiceID missing")
        agent.deregister_service(service_id)
        return empty()


def _add_checks(app: Klein, agent: LocalAgent) -> None:
    @hot(app, "/v1/agent/checks")
    def checks(query: Query) -> Result:
        """The checks registered here, by id."""
        rows = agent.local_checks()
        # like Consul, which looks at the selectors only once there is a row to try them on
        return Answer(json=chosen(query, rows, HealthCheck) if rows else rows)

    @route(app, "/v1/agent/check/register", ["PUT"])
    def register_check(query: Query) -> Result:
        """Register a check of the node or of a service here."""
        definition = decode(query.body, CheckDefinition, snake_case=True)
        if not definition.name:
            raise BadRequest("Missing check name")
        definition.token = definition.token or query.token
        agent.register_check(definition)
        return empty()

    @route(app, "/v1/agent/check/deregister/<path:check_id>", ["PUT"])
    def deregister_check(query: Query, check_id: str) -> Result:
        """Stop and remove a check."""
        agent.deregister_check(check_id)
        return empty()

    def set_state(word: str, state: str) -> None:
        @hot(app, f"/v1/agent/check/{word}/<path:check_id>", ["PUT"])
        def update(query: Query, check_id: str) -> Result:
            """Say how the thing that a TTL check stands for is doing."""
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
        agent.update_ttl(check_id, change.status, change.output)
        return empty()
