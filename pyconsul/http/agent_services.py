"""``/v1/agent/``: the services of this node, and how they are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct, field
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from pyconsul.errors import BadRequest, Refused
from pyconsul.http import old_checks
from pyconsul.http.answer import TEXT, Answer, Header, empty, text
from pyconsul.http.query import Query
from pyconsul.http.reads import chosen
from pyconsul.http.routes import App, hot, route
from pyconsul.interfaces import LocalAgent
from pyconsul.structs.agent import NODE_MAINTENANCE, SERVICE_MAINTENANCE, ServiceDefinition
from pyconsul.structs.bodies import decode
from pyconsul.structs.catalog import (
    CRITICAL,
    PASSING,
    WARNING,
    WEIGHTS,
    HealthCheck,
    NodeService,
    Proxy,
    ServiceAddress,
    Weights,
)
from pyconsul.structs.mesh import KINDS

Result = Answer | Deferred[Answer]

MAINTENANCE = "maintenance"
_LINE_END = re.compile(r"[\r\n]")
STATUSES = {PASSING: 200, WARNING: 429, CRITICAL: 503, MAINTENANCE: 503}
NO_DEFINITION = {
    "Interval": "0s",
    "Timeout": "0s",
    "DeregisterCriticalServiceAfter": "0s",
    "HTTP": "",
    "Header": None,
    "Method": "",
    "Body": "",
    "TLSSkipVerify": False,
    "TCP": "",
}
"""What Consul shows of a check's definition here, whatever the check is."""


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
    content_hash: str | Any = UNSET
    proxy: Proxy | Any = UNSET
    connect: dict[str, Any] | Any = UNSET


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
        proxy=_proxy(service.proxy) if service.kind in KINDS else UNSET,
        connect=service.connect or UNSET,
    )


def _proxy(proxy: Proxy) -> Proxy:
    """Without what its upstreams leave out, which the catalog may show."""
    upstreams = proxy.upstreams
    if not upstreams:
        return proxy
    shown = [
        {name: value for name, value in upstream.items() if value or name == "MeshGateway"}
        for upstream in upstreams
    ]
    return replace(proxy, upstreams=shown)


def with_hash(service: NodeService) -> AgentService:
    """The same with a hash of all of it, which is another one after any change."""
    shown = show(service)
    from hashlib import blake2b  # brings OpenSSL's library, which most agents do without

    shown.content_hash = blake2b(msgspec.json.encode(shown), digest_size=8).hexdigest()
    return shown


def wants(query: Query) -> bool:
    """``?enable=``, which maintenance needs.

    :raises BadRequest: unless it is a truth value.
    """
    if not query.has("enable"):
        raise BadRequest("Missing value for enable")
    value = query.get("enable")
    enable = query.flag("enable") if value else None
    if enable is None:
        raise BadRequest(f'Invalid value for enable: "{value}"')
    return enable


def add_routes(app: App, agent: LocalAgent) -> None:
    """Declare the routes of this module."""
    _add_reads(app, agent)
    _add_health(app, agent)
    _add_writes(app, agent)


def _add_reads(app: App, agent: LocalAgent) -> None:
    @hot(app, "/v1/agent/services")
    def services(query: Query) -> Result:
        """The services registered here, by id."""
        query.refuse_namespace()
        rows = chosen(query, agent.local_services(), NodeService)
        return Answer(json={key: show(service) for key, service in rows.items()})

    @hot(app, "/v1/agent/service/<path:service_id>")
    def service(query: Query, service_id: str) -> Result:
        """One of them; with ``?hash=`` once it is another than the one with this hash."""
        query.refuse_namespace()
        wait_s = query.waiting().get("max_query_time", 0) / 1e9
        answer, current = _one(agent, service_id)
        if current and query.get("hash") == current:
            changed = agent.service_changed(service_id, wait_s)
            return changed.addCallback(lambda _: _one(agent, service_id)[0])
        return answer


def _one(agent: LocalAgent, service_id: str) -> tuple[Answer, str]:
    """A service and its hash, which is empty if there is no such service."""
    found = agent.local_services().get(service_id)
    if found is None:
        return text(404, f"unknown service ID: {service_id}"), ""
    shown = with_hash(found)
    header = (b"X-Consul-Contenthash", shown.content_hash.encode())
    return Answer(json=shown, headers=(header,)), shown.content_hash


def _add_health(app: App, agent: LocalAgent) -> None:
    @hot(app, "/v1/agent/health/service/id/<path:service_id>")
    def by_id(query: Query, service_id: str) -> Result:
        """How a service is: by status, and in words."""
        if not service_id:
            raise Refused("Bad request: Missing serviceID")
        query.refuse_namespace()
        found = agent.local_services().get(service_id)
        if found is not None:
            health = _health(found, agent.local_checks())
            return _told(query, health["AggregatedStatus"], health)
        missing = f"ServiceId {service_id} not found"
        if _as_text(query):
            return Answer(json=missing, status=404, headers=because(missing))
        unknown = {"AggregatedStatus": CRITICAL, "Service": None, "Checks": None}
        return Answer(json=unknown, status=404, headers=because(missing))

    @hot(app, "/v1/agent/health/service/name/<path:name>")
    def by_name(query: Query, name: str) -> Result:
        """How all services of a name are; the worst of them counts."""
        if not name:
            raise Refused("Bad request: Missing service Name")
        query.refuse_namespace()
        checks = agent.local_checks()
        found = [
            _health(service, checks) for service in agent.local_services().values() if service.service == name
        ]
        if found:
            return _told(query, worst([health["AggregatedStatus"] for health in found]), found)
        missing = f"ServiceName {name} Not Found"
        if _as_text(query):
            return Answer(missing.encode(), 404, TEXT, headers=because(missing))
        return Answer(json=[], status=404, headers=because(missing))


def worst(states: Sequence[str]) -> str:
    """The state that stands for all of ``states``."""
    return next((state for state in (MAINTENANCE, CRITICAL, WARNING) if state in states), PASSING)


def _as_text(query: Query) -> bool:
    wanted = query.get("format")
    return wanted == "text" or (not wanted and query.facts.accept.startswith("text/plain"))


def _told(query: Query, status: str, health: Any) -> Answer:
    if _as_text(query):
        return Answer(status.encode(), STATUSES[status], TEXT, headers=because(status))
    return Answer(json=health, status=STATUSES[status], headers=because(status))


def because(reason: str) -> tuple[Header, ...]:
    """Why the status is what it is. Names come from clients, and a line's end would end the header."""
    return ((b"X-Consul-Reason", _LINE_END.sub(" ", reason).encode()),)


def _health(service: NodeService, checks: Mapping[str, HealthCheck]) -> dict[str, Any]:
    """A service with its checks and those of the node."""
    concerned = [check for check in checks.values() if check.service_id in ("", service.id)]
    states = [check.status for check in concerned]
    if NODE_MAINTENANCE in checks or SERVICE_MAINTENANCE + service.id in checks:
        states = [MAINTENANCE]
    return {
        "AggregatedStatus": worst(states),
        "Service": show(service),
        "Checks": [_plain(check) for check in concerned],
    }


def _plain(check: HealthCheck) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(check)
    return {**shown, "ServiceTags": check.service_tags or None, "Type": "", "Definition": NO_DEFINITION}


def _add_writes(app: App, agent: LocalAgent) -> None:
    @hot(app, "/v1/agent/service/register", ["PUT"])
    def register(query: Query) -> Result:
        """Register a service, with checks."""
        query.refuse_namespace()
        old = old_checks.service if agent.allows_scripts else None
        definition = decode(query.body, ServiceDefinition, snake_case=True, rewrite=old)
        if not definition.name:
            raise BadRequest("Missing service name")
        definition.token = definition.token or query.token
        agent.register_service(definition, query.flag("replace-existing-checks") or False)
        return empty()

    @hot(app, "/v1/agent/service/deregister/<path:service_id>", ["PUT"])
    def deregister(query: Query, service_id: str) -> Result:
        """Remove a service and its checks."""
        query.refuse_namespace()
        if not service_id:
            raise Refused("ServiceID missing")
        agent.deregister_service(service_id)
        return empty()

    @route(app, "/v1/agent/service/maintenance/<path:service_id>", ["PUT"])
    def maintenance(query: Query, service_id: str) -> Result:
        """Take a service out of use, or back into it."""
        if not service_id:
            raise BadRequest("Missing service ID")
        enable = wants(query)
        query.refuse_namespace()
        agent.maintain_service(service_id, enable, query.get("reason"), query.token)
        return empty()
