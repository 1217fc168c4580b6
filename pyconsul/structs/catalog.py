"""Nodes, services and checks, as the catalog holds them and as requests carry them.

Field names and nesting are those of Consul 1.8.7 (specs of the RPC, section 6).
"""

from typing import Any

import msgspec
from msgspec import Struct, field

from pyconsul.structs.query import QueryMeta, QueryOptions, WriteRequest

PASSING, WARNING, CRITICAL = "passing", "warning", "critical"

SERF_CHECK_ID = "serfHealth"
SERF_CHECK_NAME = "Serf Health Status"
SERF_ALIVE_OUTPUT = "Agent alive and reachable"
SERF_FAILED_OUTPUT = "Agent not live or unreachable"
CONSUL_SERVICE = "consul"


class Node(Struct, rename="pascal", frozen=True, kw_only=True):
    """A row of the node table; ``node`` is its name, unique without regard to case."""

    id: str = field(default="", name="ID")
    node: str
    address: str
    datacenter: str = ""
    tagged_addresses: dict[str, str] | None = None
    meta: dict[str, str] | None = None
    create_index: int = 0
    modify_index: int = 0


class ServiceAddress(Struct, rename="pascal", frozen=True):
    """Where a service listens, as seen from ``lan``, ``wan``, ..."""

    address: str
    port: int = 0


class Weights(Struct, rename="pascal", frozen=True):
    """DNS weights by health."""

    passing: int = 1
    warning: int = 1


class Proxy(Struct, rename="pascal", frozen=True):
    """Proxy settings; both fields are always shown. Kept as given, since the mesh comes later."""

    mesh_gateway: dict[str, Any] = {}
    expose: dict[str, Any] = {}


class NodeService(Struct, rename="pascal", frozen=True, kw_only=True):
    """A service instance as its node knows it; ``id`` is unique on the node."""

    kind: str | msgspec.UnsetType = msgspec.UNSET
    id: str = field(default="", name="ID")
    service: str = ""
    tags: list[str] | None = None
    address: str = ""
    tagged_addresses: dict[str, ServiceAddress] | msgspec.UnsetType = msgspec.UNSET
    meta: dict[str, str] | None = None
    port: int = 0
    weights: Weights = Weights()
    enable_tag_override: bool = False
    proxy: Proxy = Proxy()
    connect: dict[str, Any] = {}
    create_index: int = 0
    modify_index: int = 0


class HealthCheck(Struct, rename="pascal", frozen=True, kw_only=True):
    """A check of a node (``service_id`` empty) or of a service instance."""

    node: str = ""
    check_id: str = field(default="", name="CheckID")
    name: str = ""
    status: str = ""
    notes: str = ""
    output: str = ""
    service_id: str = field(default="", name="ServiceID")
    service_name: str = ""
    service_tags: list[str] | None = []
    type: str = ""
    definition: dict[str, Any] = {}
    create_index: int = 0
    modify_index: int = 0


class ServiceNode(Struct, rename="pascal", frozen=True, kw_only=True):
    """A row of /v1/catalog/service: an instance together with its node."""

    id: str = field(default="", name="ID")
    node: str
    address: str
    datacenter: str = ""
    tagged_addresses: dict[str, str] | None = None
    node_meta: dict[str, str] | None = None
    service_kind: str = ""
    service_id: str = field(default="", name="ServiceID")
    service_name: str = ""
    service_tags: list[str] | None = None
    service_address: str = ""
    service_tagged_addresses: dict[str, ServiceAddress] | msgspec.UnsetType = msgspec.UNSET
    service_weights: Weights = Weights()
    service_meta: dict[str, str] | None = None
    service_port: int = 0
    service_enable_tag_override: bool = False
    service_proxy: Proxy = Proxy()
    service_connect: dict[str, Any] = {}
    create_index: int = 0
    modify_index: int = 0


class CheckServiceNode(Struct, rename="pascal", frozen=True):
    """A row of /v1/health/service."""

    node: Node
    service: NodeService
    checks: list[HealthCheck]


class NodeServices(Struct, rename="pascal", frozen=True):
    """A node and its services by id."""

    node: Node
    services: dict[str, NodeService]


# ---------------------------------------------------------------- requests


class RegisterRequest(WriteRequest, rename="pascal", kw_only=True):
    """Catalog.Register: a node, with at most one service and any checks."""

    datacenter: str = ""
    id: str = field(default="", name="ID")
    node: str = ""
    address: str = ""
    tagged_addresses: dict[str, str] | None = None
    node_meta: dict[str, str] | None = None
    skip_node_update: bool = False
    service: NodeService | None = None
    check: HealthCheck | None = None
    checks: list[HealthCheck] | None = None


class DeregisterRequest(WriteRequest, rename="pascal", kw_only=True):
    """Catalog.Deregister: a service, a check, or with neither the whole node."""

    datacenter: str = ""
    node: str = ""
    address: str = ""
    service_id: str = field(default="", name="ServiceID")
    check_id: str = field(default="", name="CheckID")


class ServiceSpecificRequest(QueryOptions, rename="pascal", kw_only=True):
    """Reads about one service name."""

    datacenter: str = ""
    node_meta_filters: dict[str, str] = {}
    service_name: str = ""
    service_tags: list[str] = []
    tag_filter: bool = False
    connect: bool = False


class NodeSpecificRequest(QueryOptions, rename="pascal", kw_only=True):
    """Reads about one node."""

    datacenter: str = ""
    node: str = ""


class ChecksInStateRequest(QueryOptions, rename="pascal", kw_only=True):
    """Health.ChecksInState; ``state`` may be ``any``."""

    datacenter: str = ""
    node_meta_filters: dict[str, str] = {}
    state: str = ""


# ---------------------------------------------------------------- replies


class IndexedNodes(QueryMeta, rename="pascal", kw_only=True):
    nodes: list[Node] = []


class IndexedServices(QueryMeta, rename="pascal", kw_only=True):
    services: dict[str, list[str]] = {}


class IndexedServiceNodes(QueryMeta, rename="pascal", kw_only=True):
    service_nodes: list[ServiceNode] = []


class IndexedNodeServices(QueryMeta, rename="pascal", kw_only=True):
    node_services: NodeServices | None = None


class IndexedCheckServiceNodes(QueryMeta, rename="pascal", kw_only=True):
    nodes: list[CheckServiceNode] = []


class IndexedHealthChecks(QueryMeta, rename="pascal", kw_only=True):
    health_checks: list[HealthCheck] = []
