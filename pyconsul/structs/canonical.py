"""The one shape in which services and checks are stored, whatever shape they came in.

Peers that speak Consul's RPC spell out every field (``Kind: ""``, ``Config: nil``) and give
durations as nanoseconds; JSON leaves fields out and gives texts. Rows have the form of the JSON
that Consul 1.8.7 shows. All functions give the same result when applied again.
"""

import ipaddress
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from pyconsul.structs.catalog import (
    CRITICAL,
    WEIGHTS,
    CheckDefinition,
    HealthCheck,
    NodeService,
    Proxy,
    ServiceAddress,
)
from pyconsul.structs.durations import format_ns, parse_ns

WEIGHT_MAX = 65535  # DNS has 16 bits for it
_UPSTREAM: dict[str, Any] = {
    "DestinationType": "", "DestinationNamespace": "", "DestinationName": "", "Datacenter": "",
    "LocalBindAddress": "", "LocalBindPort": 0, "Config": None,
}  # fmt: skip
_LEFT_OUT = ("DestinationNamespace", "LocalBindAddress")
"""Of an upstream, if it is empty."""


def canonical_service(service: NodeService) -> NodeService:
    """``service`` without empty optional fields; its id defaults to its name."""
    weights = service.weights
    return replace(
        service,
        kind=service.kind or UNSET,
        id=service.id or service.service,
        tags=service.tags or [],
        tagged_addresses=service.tagged_addresses or UNSET,
        weights=WEIGHTS if weights is None or weights_fault(weights.passing, weights.warning) else weights,
        proxy=_proxy(service.proxy),
        connect=_without_empty(service.connect),
    )


def canonical_check(check: HealthCheck) -> HealthCheck:
    """``check`` with its id, status and type filled in.

    :raises ValueError: when the definition holds a duration that cannot be read.
    """
    definition = _definition(check.definition)
    return replace(
        check,
        check_id=check.check_id or check.name,
        status=check.status or CRITICAL,
        service_tags=check.service_tags or [],
        type=check.type or _type_of(definition),
        definition=definition,
    )


def with_ip_addresses(service: NodeService) -> NodeService:
    """``service`` as an agent registers it: an IP address is also tagged by its version.

    The catalog itself adds no such tags to what others register.
    """
    try:
        version = ipaddress.ip_address(service.address).version
    except ValueError:
        return service
    listens = ServiceAddress(service.address, service.port)
    added = {f"lan_ipv{version}": listens, f"wan_ipv{version}": listens}
    return replace(service, tagged_addresses={**added, **(service.tagged_addresses or {})})


def is_anywhere(address: str) -> bool:
    """Whether ``address`` is a spelling of all addresses at once that Consul refuses for a service."""
    return address in ("0.0.0.0", "::", "[::]")


def weights_fault(passing: int, warning: int) -> str:
    """What is wrong with the weights of a service, in Consul's words; empty if nothing is."""
    if passing < 1:
        return "Passing must be greater than 0"
    if warning < 0:
        return "Warning must be greater or equal than 0"
    if max(passing, warning) > WEIGHT_MAX:
        return f"DNS Weight must be between 0 and {WEIGHT_MAX}"
    return ""


def _proxy(proxy: Proxy) -> Proxy:
    return Proxy(
        destination_service_name=proxy.destination_service_name or UNSET,
        destination_service_id=proxy.destination_service_id or UNSET,
        local_service_address=proxy.local_service_address or UNSET,
        local_service_port=proxy.local_service_port or UNSET,
        config=proxy.config or UNSET,
        upstreams=[_upstream(row) for row in rows_of(proxy.upstreams)] or UNSET,
        mesh_gateway=_without_empty(proxy.mesh_gateway),
        expose=_expose(proxy.expose),
    )


def _upstream(given: dict[str, Any]) -> dict[str, Any]:
    """With all that Consul always shows, in its order, and without what it leaves out."""
    shown = {
        name: given.get(name) or empty
        for name, empty in _UPSTREAM.items()
        if given.get(name) or name not in _LEFT_OUT
    }
    gateway = given.get("MeshGateway")
    shown["MeshGateway"] = _without_empty(gateway) if isinstance(gateway, dict) else {}
    return shown


def _expose(given: dict[str, Any] | None) -> dict[str, Any]:
    shown = _without_empty(given)
    if "Paths" in shown:
        told = "ParsedFromCheck"
        shown["Paths"] = [
            {**_without_empty(path), told: path.get(told) or False} for path in rows_of(shown["Paths"])
        ]
    return shown


def rows_of(value: Any) -> list[dict[str, Any]]:
    """Those in a list that nobody has looked at."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _without_empty(mapping: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if value} if mapping else {}


_PLAIN = CheckDefinition()


def _definition(definition: CheckDefinition) -> CheckDefinition:
    if definition == _PLAIN:
        return _PLAIN
    return replace(
        definition,
        interval=_text(definition.interval),
        timeout=_text(definition.timeout),
        deregister_critical_service_after=_text(definition.deregister_critical_service_after),
        ttl=definition.ttl if isinstance(definition.ttl, int) else _ns(definition.ttl),
        header=definition.header or None,
        script_args=definition.script_args or None,
    )


def _ns(duration: str) -> int:
    return parse_ns(duration) if duration else 0


def _text(duration: str | int) -> str:
    duration_ns = duration if isinstance(duration, int) else _ns(duration)
    return format_ns(duration_ns) if duration_ns else ""


def _type_of(definition: CheckDefinition) -> str:
    """What Consul 1.8.7 concludes from a definition; seen on its answers."""
    if definition.alias_node or definition.alias_service:
        return "alias"
    if definition.ttl:
        return "ttl"
    if definition.interval:
        for kind in ("http", "tcp", "grpc"):
            if getattr(definition, kind):
                return kind
        if definition.docker_container_id and definition.script_args:
            return "docker"
    return "script" if definition.script_args else ""
