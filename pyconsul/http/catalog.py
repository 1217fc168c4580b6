"""``/v1/catalog/``: nodes and services as they are registered, whatever their health."""

from __future__ import annotations

from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from pyconsul.errors import BadRequest
from pyconsul.http import changes
from pyconsul.http.answer import Answer
from pyconsul.http.query import Query
from pyconsul.http.reads import as_json, ask, done, read, write
from pyconsul.http.routes import App, hot
from pyconsul.http.surface import HIT, MISS
from pyconsul.interfaces import Agent, Later
from pyconsul.structs.agent import ProxyDefinition
from pyconsul.structs.bodies import convert, decode
from pyconsul.structs.catalog import (
    CheckDefinition,
    DeregisterRequest,
    NodeService,
    NodeSpecificRequest,
    Proxy,
    RegisterRequest,
    ServiceSpecificRequest,
)
from pyconsul.structs.mesh import proxy_of
from pyconsul.structs.query import DCSpecificRequest, QuerySource

Result = Answer | Deferred[Answer] | Later

NO_PROXY = Proxy()


def add_routes(app: App, agent: Agent) -> None:
    """Declare the routes of this module."""

    @hot(app, "/v1/catalog/register", ["PUT"])
    def register(query: Query) -> Result:
        """Register a node, with a service and checks."""
        return _write(query, "Catalog.Register", RegisterRequest)

    @hot(app, "/v1/catalog/deregister", ["PUT"])
    def deregister(query: Query) -> Result:
        """Deregister a service, a check, or a whole node."""
        return _write(query, "Catalog.Deregister", DeregisterRequest)

    def _write(query: Query, method: str, kind: type[RegisterRequest | DeregisterRequest]) -> Result:
        query.refuse_namespace()
        request = decode(query.body, kind, open_structs=(CheckDefinition,))
        if isinstance(request, RegisterRequest) and request.service is not None:
            request.service = _understood(request.service)
        options = query.write_options()
        options.pop("datacenter", None)  # only the body's counts
        return write(agent, query, method, replace(request, **options), done)

    told: list[Any] = []

    def cached(reply: Any) -> Answer:
        """Nobody tells of a change, so it is looked whether what was told is still true."""
        headers = HIT if told == [reply] else MISS
        told[:] = [reply]
        return Answer(json=reply, headers=headers)

    @hot(app, "/v1/catalog/datacenters")
    def datacenters(query: Query) -> Result:
        """All known datacenters, the nearest first. Any server knows them all, and nobody can wait."""
        request = DCSpecificRequest(**query.mode())
        return ask(agent, "Catalog.ListDatacenters", request, cached if query.wants_cached else as_json)

    @hot(app, "/v1/catalog/nodes")
    def nodes(query: Query) -> Result:
        """All nodes, or those with ``?node-meta=``."""
        if changes.wanted(query):
            return changes.read_changes(agent, query, *changes.nodes(query))
        request = DCSpecificRequest(**of_nodes(query))
        return read(agent, query, "Catalog.ListNodes", request, _nodes)

    @hot(app, "/v1/catalog/services")
    def services(query: Query) -> Result:
        """The names of all services with all their tags."""
        if changes.wanted(query):
            return changes.read_changes(agent, query, *changes.services(query))
        query.refuse_namespace()
        request = DCSpecificRequest(**of_nodes(query))
        return read(agent, query, "Catalog.ListServices", request, _services, cacheable=True)

    @hot(app, "/v1/catalog/service/<path:service>")
    def service(query: Query, service: str) -> Result:
        """The instances of a service, each with its node."""
        if changes.wanted(query):
            return changes.read_changes(agent, query, *changes.service_nodes(query, service))
        request = of_service(query, service)
        return read(agent, query, "Catalog.ServiceNodes", request, _service_nodes, cacheable=True)

    @hot(app, "/v1/catalog/connect/<path:service>")
    def connect(query: Query, service: str) -> Result:
        """The mesh-capable instances of a service."""
        if changes.wanted(query):
            return changes.read_changes(agent, query, *changes.service_nodes(query, service, connect=True))
        request = of_service(query, service, connect=True)
        return read(agent, query, "Catalog.ServiceNodes", request, _service_nodes, cacheable=True)

    @hot(app, "/v1/catalog/node/<path:node>")
    def node(query: Query, node: str) -> Result:
        """A node and its services by id; ``null`` for an unknown one."""
        return read(agent, query, "Catalog.NodeServices", of_node(query, node), _node_services)

    @hot(app, "/v1/catalog/node-services/<path:node>")
    def node_services(query: Query, node: str) -> Result:
        """A node and its services as a list."""
        return read(agent, query, "Catalog.NodeServiceList", of_node(query, node), _node_services)

    @hot(app, "/v1/catalog/gateway-services/<path:gateway>")
    def gateway_services(query: Query, gateway: str) -> Result:
        """What a gateway serves."""
        return read(agent, query, "Catalog.GatewayServices", of_gateway(query, gateway), _gateway_services)


def _understood(service: NodeService) -> NodeService:
    """With its proxy as the catalog has it; raises ``BadRequest`` for what is none."""
    if service.proxy == NO_PROXY:
        return service
    return replace(service, proxy=proxy_of(convert(to_builtins(service.proxy), ProxyDefinition)))


# ---------------------------------------------------------------- requests, shared with health


def of_nodes(query: Query) -> dict[str, Any]:
    """The options of a read that can be narrowed by ``?node-meta=`` and sorted by ``?near=``."""
    options = query.options()
    if query.parameters:
        if meta := query.node_meta():
            options["node_meta_filters"] = meta
        if near := query.near():
            options["source"] = QuerySource(node=near)
    return options


def of_service(query: Query, name: str, connect: bool = False) -> ServiceSpecificRequest:
    """A read about one service; raises ``BadRequest`` if it has no name."""
    query.refuse_namespace()
    options = of_nodes(query)
    if not name:
        raise BadRequest("Missing service name")
    if connect:
        options["connect"] = True  # Consul minds no tags here
    elif tags := query.all("tag"):
        options["service_tags"] = tags
        options["tag_filter"] = True
    return ServiceSpecificRequest(service_name=name, **options)


def of_node(query: Query, name: str) -> NodeSpecificRequest:
    """A read about one node; raises ``BadRequest`` if it has no name."""
    query.refuse_namespace()
    options = query.options()
    if not name:
        raise BadRequest("Missing node name")
    return NodeSpecificRequest(node=name, **options)


def of_gateway(query: Query, name: str) -> ServiceSpecificRequest:
    """A read about what a gateway serves; raises ``BadRequest`` if it has no name."""
    query.refuse_namespace()
    options = query.options()
    if not name:
        raise BadRequest("Missing gateway name")
    return ServiceSpecificRequest(service_name=name, **options)


# ---------------------------------------------------------------- answers


def _gateway_services(reply: Any) -> Answer:
    return Answer(json=reply.services or None)


def _nodes(reply: Any) -> Answer:
    return Answer(json=reply.nodes or [])


def _services(reply: Any) -> Answer:
    return Answer(json=reply.services or {})


def _service_nodes(reply: Any) -> Answer:
    return Answer(json=reply.service_nodes or [])


def _node_services(reply: Any) -> Answer:
    return Answer(json=reply.node_services)
