"""Services and checks between the rows that we keep, which look like JSON, and Consul's records."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from pyconsul.structs.catalog import WEIGHTS, CheckDefinition, HealthCheck, NodeService, Proxy
from pyconsul.structs.durations import parse_ns

_PLAIN_PROXY = Proxy()
_PLAIN_DEFINITION = CheckDefinition()

_EXACT = 1 << 53
"""Below it every whole number is a float."""


# ---------------------------------------------------------------- to records


def service_fields(row: NodeService) -> dict[str, Any]:
    """A service, spelt out in full."""
    weights = row.weights or WEIGHTS
    connect = row.connect or {}
    addresses = row.tagged_addresses or None
    return {
        "Address": row.address,
        "Connect": {
            "Native": bool(connect.get("Native")),
            "SidecarService": connect.get("SidecarService"),
        },
        "CreateIndex": row.create_index,
        "EnableTagOverride": row.enable_tag_override,
        "ID": row.id,
        "Kind": row.kind or "",
        "LocallyRegisteredAsSidecar": False,
        "Meta": row.meta,
        "ModifyIndex": row.modify_index,
        "Port": row.port,
        "Proxy": _proxy_fields(row.proxy),
        "Service": row.service,
        "TaggedAddresses": addresses
        and {name: {"Address": found.address, "Port": found.port} for name, found in addresses.items()},
        "Tags": row.tags,
        "Weights": {"Passing": weights.passing, "Warning": weights.warning},
    }


def _proxy_fields(proxy: Proxy) -> dict[str, Any]:
    return {
        "Config": proxy.config or None,
        "DestinationServiceID": proxy.destination_service_id or "",
        "DestinationServiceName": proxy.destination_service_name or "",
        "Expose": {"Checks": False, "Paths": None, **proxy.expose},
        "LocalServiceAddress": proxy.local_service_address or "",
        "LocalServicePort": proxy.local_service_port or 0,
        "MeshGateway": {"Mode": "", **proxy.mesh_gateway},
        "Upstreams": proxy.upstreams or None,
    }


def check_fields(row: HealthCheck) -> dict[str, Any]:
    """A check, spelt out in full; durations are nanoseconds."""
    return {
        "CheckID": row.check_id,
        "CreateIndex": row.create_index,
        "Definition": _definition_fields(row.definition),
        "ModifyIndex": row.modify_index,
        "Name": row.name,
        "Node": row.node,
        "Notes": row.notes,
        "Output": row.output,
        "ServiceID": row.service_id,
        "ServiceName": row.service_name,
        "ServiceTags": row.service_tags,
        "Status": row.status,
        "Type": row.type,
    }


def _definition_fields(definition: CheckDefinition) -> dict[str, Any]:
    return {
        "AliasNode": definition.alias_node,
        "AliasService": definition.alias_service,
        "Body": definition.body,
        "DeregisterCriticalServiceAfter": _ns(definition.deregister_critical_service_after),
        "DockerContainerID": definition.docker_container_id,
        "GRPC": definition.grpc,
        "GRPCUseTLS": definition.grpc_use_tls,
        "HTTP": definition.http,
        "Header": definition.header,
        "Interval": _ns(definition.interval),
        "Method": definition.method,
        "OutputMaxSize": definition.output_max_size,
        "ScriptArgs": definition.script_args,
        "Shell": definition.shell,
        "TCP": definition.tcp,
        "TLSSkipVerify": definition.tls_skip_verify,
        "TTL": _ns(definition.ttl),
        "Timeout": _ns(definition.timeout),
    }


def _ns(duration: str | int) -> int:
    if isinstance(duration, int):
        return duration
    try:
        return parse_ns(duration) if duration else 0
    except ValueError:  # for readers only; not worth that no snapshot can be made
        return 0


# ---------------------------------------------------------------- from records


def stored_proxy(proxy: Proxy) -> Proxy:
    """``proxy`` as JSON would have brought it; ``canonical_service`` does the rest."""
    if proxy == _PLAIN_PROXY:
        return proxy
    upstreams = proxy.upstreams
    return replace(
        proxy,
        config=_plain(proxy.config) or UNSET,
        upstreams=[{name: _plain(value) for name, value in upstream.items()} for upstream in upstreams]
        if upstreams
        else UNSET,
    )


def _plain(value: Any) -> Any:
    """``value`` with whole numbers as such: Consul has read them from JSON as floats."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _EXACT else value
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value
