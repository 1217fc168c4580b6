"""``/v1/internal/ui/``: the catalog as the web interface shows it."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Any

from twisted.internet.defer import Deferred

from pyconsul.errors import NotFound
from pyconsul.http.answer import Answer
from pyconsul.http.catalog import of_gateway, of_node
from pyconsul.http.query import Query
from pyconsul.http.reads import read
from pyconsul.http.routes import App, hot
from pyconsul.interfaces import Agent
from pyconsul.structs.catalog import CONNECT_PROXY, CheckServiceNode
from pyconsul.structs.dumps import ServiceDumpRequest
from pyconsul.structs.query import DCSpecificRequest

Result = Answer | Deferred[Answer]

SOURCE = "external-source"
"""The key in a service's metadata that tells which other system has registered it."""


def add_routes(app: App, agent: Agent) -> None:
    """Declare the routes of this module."""

    def ask(query: Query, method: str, request: Any, shape: Any) -> Result:
        return read(agent, query, method, request, shape, consistency=False, stamp_failures=True)

    @hot(app, "/v1/internal/ui/nodes")
    def nodes(query: Query) -> Result:
        """All nodes with their services and checks."""
        query.refuse_namespace()
        return ask(query, "Internal.NodeDump", DCSpecificRequest(**query.options()), _dump)

    @hot(app, "/v1/internal/ui/node/<path:node>")
    def node(query: Query, node: str) -> Result:
        """One of them; 404 for an unknown one."""
        return ask(query, "Internal.NodeInfo", of_node(query, node), _node)

    @hot(app, "/v1/internal/ui/services")
    def services(query: Query) -> Result:
        """A summary of each service: how many instances there are, and how they are."""
        query.refuse_namespace()
        return ask(query, "Internal.ServiceDump", ServiceDumpRequest(**query.options()), _services)

    @hot(app, "/v1/internal/ui/gateway-services-nodes/<path:gateway>")
    def gateway(query: Query, gateway: str) -> Result:
        """A summary of each service that a gateway serves."""
        return ask(query, "Internal.GatewayServiceDump", of_gateway(query, gateway), _dump)


def _dump(reply: Any) -> Answer:
    return Answer(json=reply.dump or [])


def _node(reply: Any) -> Answer:
    if not reply.dump:
        raise NotFound()  # without the headers of a read
    return Answer(json=reply.dump[0])


def _services(reply: Any) -> Answer:
    rows: list[CheckServiceNode] = reply.nodes or []
    named = groupby(rows, key=lambda row: row.service.service)
    return Answer(json=[_summary(name, list(instances)) for name, instances in named])


def _summary(name: str, rows: list[CheckServiceNode]) -> dict[str, Any]:
    services = [row.service for row in rows]
    kinds = [service.kind for service in services if service.kind]
    proxied = {
        service.proxy.destination_service_name for service in services if service.kind == CONNECT_PROXY
    }
    states = Counter(check.status for row in rows for check in row.checks)
    return {
        **({"Kind": kinds[-1]} if kinds else {}),
        "Name": name,
        "Tags": sorted({tag for service in services for tag in service.tags or ()}) or None,
        "Nodes": sorted(row.node.node for row in rows),
        "InstanceCount": len(rows),
        **({"ProxyFor": sorted(proxied)} if proxied else {}),
        "ChecksPassing": states["passing"],
        "ChecksWarning": states["warning"],
        "ChecksCritical": states["critical"],
        "ExternalSources": sorted({(service.meta or {}).get(SOURCE, "") for service in services} - {""})
        or None,
        "GatewayConfig": {},
    }
