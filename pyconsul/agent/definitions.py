"""What makes a definition of a service a service: defaults, rules, and sidecar proxies.

Source: specs of the HTTP API, section 7; texts of Consul 1.8.7 as it was seen to answer.
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import UNSET
from msgspec.structs import replace

from pyconsul.errors import BadRequest, Refused
from pyconsul.structs.agent import CheckDefinition, ProxyDefinition, ServiceDefinition
from pyconsul.structs.canonical import canonical_service, is_anywhere, weights_fault, with_ip_addresses
from pyconsul.structs.catalog import CONNECT_PROXY, WEIGHTS, NodeService
from pyconsul.structs.mesh import mesh_faults, proxy_of, several
from pyconsul.structs.metadata import metadata_fault

CHECKS_PER_SERVICE_MAX = 1_000
SIDECAR_SUFFIX = "-sidecar-proxy"
SIDECAR_INTERVAL = "10s"


def node_service(definition: ServiceDefinition) -> NodeService:
    """The service as the catalog is to have it; raises ``BadRequest``."""
    weights = definition.weights or WEIGHTS
    fault = weights_fault(weights.passing, weights.warning)
    if fault:
        raise BadRequest(f"Invalid Weights: {fault}")
    _check_address(definition.address)
    _check_meta(definition.meta or {})
    native = definition.connect is not None and definition.connect.native
    service = NodeService(
        kind=definition.kind or UNSET,
        id=definition.id or definition.name,
        service=definition.name,
        tags=definition.tags or [],
        address=definition.address,
        tagged_addresses=definition.tagged_addresses or UNSET,
        meta=definition.meta,
        port=definition.port,
        weights=weights,
        enable_tag_override=definition.enable_tag_override,
        proxy=proxy_of(definition.proxy or ProxyDefinition(), "service"),
        connect={"Native": True} if native else {},
    )
    wants_sidecar = definition.connect is not None and definition.connect.sidecar_service is not None
    if faults := mesh_faults(service, sidecar=wants_sidecar):
        raise BadRequest(several(faults))
    return canonical_service(with_ip_addresses(service))


def all_checks(definition: ServiceDefinition) -> list[CheckDefinition]:
    """``check`` and ``checks`` of a service.

    :raises BadRequest: if there are too many.
    """
    found = list(definition.checks or [])
    if definition.check is not None and definition.check != CheckDefinition():  # Consul ignores {}
        found.insert(0, definition.check)
    if len(found) > CHECKS_PER_SERVICE_MAX:
        raise BadRequest(f"Invalid check: more than {CHECKS_PER_SERVICE_MAX} checks for one service")
    return found


def sidecar_of(
    definition: ServiceDefinition,
    sidecar: ServiceDefinition,
    ports: range,
    taken: Collection[int],
    port: int = 0,
) -> ServiceDefinition:
    """The sidecar proxy of ``definition``, from what that says of it.

    :param sidecar: its ``connect.sidecar_service``.
    :param ports: where to find a port if none is given, but for those in ``taken``.
    :param port: the one it has already.
    :raises BadRequest: if it may not be so; ``Refused`` if no port is free.
    """
    if sidecar.id:
        raise BadRequest(several(["A SidecarService cannot specify an ID as this is managed by the agent"]))
    if sidecar.connect is not None and sidecar.connect.sidecar_service is not None:
        raise BadRequest(several(["A SidecarService cannot have a nested SidecarService"]))
    parent_id = definition.id or definition.name
    proxy = sidecar.proxy or ProxyDefinition()
    sidecar = replace(
        sidecar,
        kind=CONNECT_PROXY,
        id=parent_id + SIDECAR_SUFFIX,
        name=sidecar.name or definition.name + SIDECAR_SUFFIX,
        tags=sidecar.tags or definition.tags,
        meta=sidecar.meta or definition.meta,
        port=sidecar.port or port or _free(ports, taken),
        proxy=replace(
            proxy,
            destination_service_name=proxy.destination_service_name or definition.name,
            destination_service_id=proxy.destination_service_id or parent_id,
            local_service_address=proxy.local_service_address or "127.0.0.1",
            local_service_port=proxy.local_service_port or definition.port,
        ),
    )
    if not all_checks(sidecar):
        address = sidecar.address or "127.0.0.1"
        sidecar.checks = [
            CheckDefinition(
                name="Connect Sidecar Listening", tcp=f"{address}:{sidecar.port}", interval=SIDECAR_INTERVAL
            ),
            CheckDefinition(name=f"Connect Sidecar Aliasing {parent_id}", alias_service=parent_id),
        ]
    return sidecar


def _free(ports: range, taken: Collection[int]) -> int:
    for port in ports:
        if port not in taken:
            return port
    raise Refused(
        "failed to allocate a port for a sidecar: none left in the range from sidecar_min_port to "
        f"sidecar_max_port ({ports.start} to {ports.stop - 1})"
    )


def _check_address(address: str) -> None:
    if is_anywhere(address):
        raise BadRequest("Invalid service address")


def _check_meta(meta: dict[str, str]) -> None:
    if fault := metadata_fault(meta):
        raise BadRequest(f"Invalid Service Meta: {fault}")
