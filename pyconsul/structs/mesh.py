"""What makes a proxy or gateway one that can be registered. Texts as Consul 1.8.7 was seen to give them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace

from pyconsul.structs.agent import ProxyDefinition
from pyconsul.structs.canonical import rows_of
from pyconsul.structs.catalog import CONNECT_PROXY, NodeService, Proxy

WITH_PORT = ("mesh-gateway", "terminating-gateway")
GATEWAYS = (*WITH_PORT, "ingress-gateway")
KINDS = (CONNECT_PROXY, *GATEWAYS)
"""Of services for which their proxy's settings count; there may be others."""

_UPSTREAM_TYPES = ("", "service", "prepared_query")
_PROTOCOLS = ("", "http", "http2")
_HERE = "127.0.0.1"


def mesh_faults(service: NodeService, *, sidecar: bool = False) -> list[str]:
    """What Consul has against ``service``, if it is a proxy or gateway.

    :param sidecar: it wants a sidecar proxy of its own.
    """
    if service.kind == CONNECT_PROXY:
        return list(_proxy_faults(service))
    if service.kind in GATEWAYS:
        return list(_gateway_faults(service, sidecar))
    return []


def proxy_of(definition: ProxyDefinition, upstream_type: str = "") -> Proxy:
    """A definition as the catalog has it.

    :param upstream_type: of upstreams that do not say.
    """
    upstreams = [
        replace(upstream, destination_type=upstream.destination_type or upstream_type)
        for upstream in definition.upstreams or ()
    ]
    return Proxy(
        destination_service_name=definition.destination_service_name,
        destination_service_id=definition.destination_service_id,
        local_service_address=definition.local_service_address,
        local_service_port=definition.local_service_port,
        config=definition.config,
        upstreams=[to_builtins(upstream) for upstream in upstreams],
        mesh_gateway=to_builtins(definition.mesh_gateway),
        expose=to_builtins(definition.expose),
    )


def several(faults: Sequence[str]) -> str:
    """Errors as Consul lists them; empty if there are none."""
    if not faults:
        return ""
    what = "error" if len(faults) == 1 else "errors"
    lines = "".join(f"\t* {fault}\n" for fault in faults)
    return f"{len(faults)} {what} occurred:\n{lines}\n"


def _proxy_faults(service: NodeService) -> Iterator[str]:
    proxy = service.proxy
    if not proxy.destination_service_name:
        yield "Proxy.DestinationServiceName must be non-empty for Connect proxy services"
    if not service.port:
        yield "Port must be set for a Connect proxy"
    if service.connect and service.connect.get("Native"):
        yield "A Proxy cannot also be Connect Native, only typical services"
    yield from _upstream_faults(rows_of(proxy.upstreams))
    yield from _path_faults(rows_of((proxy.expose or {}).get("Paths")))


def _gateway_faults(service: NodeService, sidecar: bool) -> Iterator[str]:
    kind, proxy = service.kind, service.proxy
    if kind in WITH_PORT and not service.port:
        yield f"Port must be non-zero for a {kind}"
    if sidecar:
        yield f"A {kind} cannot have a sidecar service defined"
    for name, value in (
        ("DestinationServiceName", proxy.destination_service_name),
        ("DestinationServiceID", proxy.destination_service_id),
        ("LocalServiceAddress", proxy.local_service_address),
        ("LocalServicePort", proxy.local_service_port),
        ("Upstreams", proxy.upstreams),
    ):
        if value:
            yield f"The Proxy.{name} configuration is invalid for a {kind}"


def _upstream_faults(upstreams: Sequence[dict[str, Any]]) -> Iterator[str]:
    """For each the first thing that is wrong with it."""
    known: set[tuple[str, ...]] = set()
    bound: set[str] = set()
    for upstream in upstreams:
        kind, name = upstream.get("DestinationType") or "", upstream.get("DestinationName") or ""
        port = upstream.get("LocalBindPort") or 0
        place = f"{upstream.get('LocalBindAddress') or _HERE}:{port}"
        namespace, datacenter = upstream.get("DestinationNamespace") or "", upstream.get("Datacenter") or ""
        identity = kind, name, namespace, datacenter
        if kind not in _UPSTREAM_TYPES:
            yield f'unknown upstream destination type: "{kind}"'
        elif not name:
            yield "upstream destination name cannot be empty"
        elif not port:
            yield "upstream local bind port cannot be zero"
        elif identity in known:
            what = f'[type="{kind}", name="{name}", namespace="{namespace}", datacenter="{datacenter}"]'
            yield f"upstreams cannot contain duplicates of {what}"
        elif place in bound:
            twice = f'"{place}" is specified twice'
            yield f"upstreams cannot contain duplicates by local bind address and port; {twice}"
        else:
            known.add(identity)
            bound.add(place)


def _path_faults(paths: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What is wrong with the paths that a proxy lets through from outside the mesh."""
    ports: set[Any] = set()
    for path in paths:
        port, protocol = path.get("ListenerPort") or 0, path.get("Protocol") or ""
        if not path.get("Path"):
            yield "expose.paths: empty path exposed"
        if port in ports:
            yield "expose.paths: duplicate listener ports exposed"
        ports.add(port)
        if not isinstance(port, int) or not 0 < port < 1 << 16:
            yield f"expose.paths: invalid listener port: {port}"
        if protocol not in _PROTOCOLS:
            where = path.get("Path") or ""
            yield f"protocol '{protocol}' not supported for path: {where}, must be in: [http http2]"
