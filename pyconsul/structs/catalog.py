"""Nodes, services and checks, as the catalog holds them and as requests carry them.

Field names and nesting are those of Consul 1.8.7 (specs of the RPC, section 6); the rows have the
shape of its JSON. ``pyconsul.structs.canonical`` brings what peers send into that shape.
"""

from typing import Annotated, Any, TypedDict

import msgspec
from msgspec import Struct, UnsetType, field

from pyconsul.structs.query import DCSpecificRequest, QueryMeta, QueryOptions, QuerySource, WriteRequest

UNSET = msgspec.UNSET

PASSING, WARNING, CRITICAL, ANY = "passing", "warning", "critical", "any"

SERF_CHECK_ID = "serfHealth"
SERF_CHECK_NAME = "Serf Health Status"
SERF_ALIVE_OUTPUT = "Agent alive and reachable"
SERF_FAILED_OUTPUT = "Agent not live or unreachable"
CONSUL_SERVICE = "consul"
CONNECT_PROXY = "connect-proxy"

NOT_SELECTABLE = "not selectable"
"""Annotation of fields that filter expressions may not name."""

RaftIndex = Annotated[int, NOT_SELECTABLE]


class Node(Struct, rename="pascal", frozen=True, kw_only=True):
    """A row of the node table; ``node`` is its name, unique without regard to case."""

    id: str = field(default="", name="ID")
    node: str
    address: str
    datacenter: str = ""
    tagged_addresses: dict[str, str] | None = None
    meta: dict[str, str] | None = None
    create_index: RaftIndex = 0
    modify_index: RaftIndex = 0


class ServiceAddress(Struct, rename="pascal", frozen=True):
    """Where a service listens, as seen from ``lan``, ``wan``, ..."""

    address: str
    port: int = 0


class Weights(Struct, rename="pascal", frozen=True):
    """DNS weights by health. Both 0 stands for both 1, which is also what rows have unless told."""

    passing: int = 0
    warning: int = 0


WEIGHTS = Weights(passing=1, warning=1)


class MeshGateway(TypedDict, total=False):
    """How other datacenters are reached."""

    Mode: str


class Upstream(TypedDict, total=False):
    """What a proxy offers to its service."""

    DestinationType: str
    DestinationNamespace: str
    DestinationName: str
    Datacenter: str
    LocalBindAddress: str
    LocalBindPort: int
    Config: Any
    MeshGateway: MeshGateway


class ExposePath(TypedDict, total=False):
    """A path that is served without the mesh's encryption."""

    ListenerPort: int
    Path: str
    LocalPathPort: int
    Protocol: str
    ParsedFromCheck: bool


class Expose(TypedDict, total=False):
    """What is served without the mesh's encryption."""

    Checks: bool
    Paths: list[ExposePath]


class Connect(TypedDict, total=False):
    """How a service takes part in the mesh."""

    Native: bool
    SidecarService: Any


class Proxy(Struct, rename="pascal", frozen=True, kw_only=True):
    """Proxy settings, kept as given; the last two fields are always shown."""

    destination_service_name: str | UnsetType = UNSET
    destination_service_id: str | UnsetType = field(default=UNSET, name="DestinationServiceID")
    local_service_address: str | UnsetType = UNSET
    local_service_port: int | UnsetType = UNSET
    config: dict[str, Any] | UnsetType | None = UNSET
    upstreams: Annotated[list[dict[str, Any]], list[Upstream]] | UnsetType | None = UNSET
    mesh_gateway: Annotated[dict[str, Any], MeshGateway] = {}
    expose: Annotated[dict[str, Any], Expose] = {}


class NodeService(Struct, rename="pascal", frozen=True, kw_only=True):
    """A service instance as its node knows it; ``id`` is unique on the node."""

    kind: str | UnsetType = UNSET
    id: str = field(default="", name="ID")
    service: str = ""
    tags: list[str] | None = None
    address: str = ""
    tagged_addresses: dict[str, ServiceAddress] | UnsetType | None = UNSET
    meta: dict[str, str] | None = None
    port: int = 0
    weights: Weights | None = WEIGHTS
    enable_tag_override: bool = False
    proxy: Proxy = Proxy()
    connect: Annotated[dict[str, Any], Connect] | None = {}
    create_index: RaftIndex = 0
    modify_index: RaftIndex = 0


class CheckDefinition(Struct, rename="pascal", frozen=True, kw_only=True, omit_defaults=True):
    """How a check is run, as far as it was told; for readers only.

    Durations are texts such as ``1m0s``, or nanoseconds as peers send them; ``ttl`` stays a
    number, for Consul shows it so.
    """

    interval: str | int = ""
    timeout: str | int = ""
    deregister_critical_service_after: str | int = ""
    ttl: str | int = field(default=0, name="TTL")
    http: str = field(default="", name="HTTP")
    tls_skip_verify: bool = field(default=False, name="TLSSkipVerify")
    header: dict[str, list[str]] | None = None
    method: str = ""
    body: str = ""
    tcp: str = field(default="", name="TCP")
    grpc: str = field(default="", name="GRPC")
    grpc_use_tls: bool = field(default=False, name="GRPCUseTLS")
    script_args: list[str] | None = None
    docker_container_id: str = field(default="", name="DockerContainerID")
    shell: str = ""
    alias_node: str = ""
    alias_service: str = ""
    output_max_size: int = 0


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
    definition: Annotated[CheckDefinition, NOT_SELECTABLE] = CheckDefinition()
    create_index: RaftIndex = 0
    modify_index: RaftIndex = 0


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
    service_tagged_addresses: dict[str, ServiceAddress] | UnsetType | None = UNSET
    service_weights: Weights | None = WEIGHTS
    service_meta: dict[str, str] | None = None
    service_port: int = 0
    service_enable_tag_override: bool = False
    service_proxy: Proxy = Proxy()
    service_connect: Annotated[dict[str, Any], Connect] | None = {}
    create_index: RaftIndex = 0
    modify_index: RaftIndex = 0


class CheckServiceNode(Struct, rename="pascal", frozen=True):
    """A row of /v1/health/service. Checks of the node come first, then those of the service."""

    node: Node
    service: NodeService
    checks: list[HealthCheck]


class NodeServices(Struct, rename="pascal", frozen=True):
    """A node and its services by id."""

    node: Node
    services: dict[str, NodeService]


class NodeServiceList(Struct, rename="pascal", frozen=True):
    """A node and its services; ``None`` for an unknown node, and where there is no service."""

    node: Node | None = None
    services: list[NodeService] | None = None


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
    """Reads about one service name.

    :ivar service_tags: with ``tag_filter``, all of them are needed, without regard to case.
    :ivar service_tag: the one tag that old clients send.
    :ivar connect: instances through which the service is reached in the mesh.
    """

    datacenter: str = ""
    node_meta_filters: dict[str, str] | None = None
    service_name: str = ""
    service_tag: str = ""
    service_tags: list[str] | None = None
    service_address: str = ""
    tag_filter: bool = False
    connect: bool = False
    ingress: bool = False
    source: QuerySource = QuerySource()


class NodeSpecificRequest(QueryOptions, rename="pascal", kw_only=True):
    """Reads about one node."""

    datacenter: str = ""
    node: str = ""


class ChecksInStateRequest(DCSpecificRequest, rename="pascal", kw_only=True):
    """Health.ChecksInState; ``state`` may be ``any``."""

    state: str = ""


# ---------------------------------------------------------------- replies


class IndexedNodes(QueryMeta, rename="pascal", kw_only=True):
    """Catalog.ListNodes, by name."""

    nodes: list[Node] = []


class IndexedServices(QueryMeta, rename="pascal", kw_only=True):
    """Catalog.ListServices: each name with the tags of all its instances."""

    services: dict[str, list[str]] = {}


class IndexedServiceNodes(QueryMeta, rename="pascal", kw_only=True):
    """Catalog.ServiceNodes, by node and service id."""

    service_nodes: list[ServiceNode] = []


class IndexedNodeServices(QueryMeta, rename="pascal", kw_only=True):
    """Catalog.NodeServices; ``None`` for an unknown node."""

    node_services: NodeServices | None = None


class IndexedNodeServiceList(QueryMeta, rename="pascal", kw_only=True):
    """Catalog.NodeServiceList."""

    node_services: NodeServiceList = NodeServiceList()


class IndexedCheckServiceNodes(QueryMeta, rename="pascal", kw_only=True):
    """Health.ServiceNodes, by node and service id."""

    nodes: list[CheckServiceNode] = []


class IndexedHealthChecks(QueryMeta, rename="pascal", kw_only=True):
    """Health.ChecksInState, NodeChecks and ServiceChecks, by node and check id."""

    health_checks: list[HealthCheck] = []
