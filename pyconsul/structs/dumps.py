"""What the web interface asks for: nodes and services with all that is known of them."""

from __future__ import annotations

from msgspec import Struct, field

from pyconsul.structs.catalog import HealthCheck, NodeService
from pyconsul.structs.query import DCSpecificRequest, QueryMeta


class NodeInfo(Struct, rename="pascal", frozen=True, kw_only=True):
    """A node with its services and checks by id."""

    id: str = field(default="", name="ID")
    node: str = ""
    address: str = ""
    tagged_addresses: dict[str, str] | None = None
    meta: dict[str, str] | None = None
    services: list[NodeService] = []
    checks: list[HealthCheck] = []


class IndexedNodeDump(QueryMeta, rename="pascal", kw_only=True):
    """Internal.NodeInfo and Internal.NodeDump, by name."""

    dump: list[NodeInfo] = []


class ServiceDumpRequest(DCSpecificRequest, rename="pascal", kw_only=True):
    """Internal.ServiceDump; with ``use_service_kind`` only services of the kind."""

    service_kind: str = ""
    use_service_kind: bool = False


class IndexedGatewayServices(QueryMeta, rename="pascal", kw_only=True):
    """Catalog.GatewayServices: none, as long as no configuration entry binds a service to a gateway."""

    services: list[dict[str, str]] = []


class IndexedGatewayDump(QueryMeta, rename="pascal", kw_only=True):
    """Internal.GatewayServiceDump; none, for the same reason."""

    dump: list[dict[str, str]] = []
