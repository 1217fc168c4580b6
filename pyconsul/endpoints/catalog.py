"""Catalog.*: which nodes and services there are.

Lists in replies are shared with the store and with other replies: to filter or sort one, make
another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pyconsul.endpoints.base import Read, node, read, write
from pyconsul.endpoints.coordinate import nearest_first
from pyconsul.errors import Refused
from pyconsul.state import commands
from pyconsul.state.shelves import Group, meta_matches
from pyconsul.state.uuids import node_id_fault
from pyconsul.structs.canonical import is_anywhere
from pyconsul.structs.catalog import (
    DeregisterRequest,
    IndexedNodes,
    IndexedNodeServiceList,
    IndexedNodeServices,
    IndexedServiceNodes,
    IndexedServices,
    Node,
    NodeService,
    NodeServiceList,
    NodeServices,
    NodeSpecificRequest,
    RegisterRequest,
    ServiceSpecificRequest,
)
from pyconsul.structs.dumps import IndexedGatewayServices
from pyconsul.structs.mesh import mesh_faults, several
from pyconsul.structs.metadata import metadata_fault
from pyconsul.structs.query import DCSpecificRequest, Empty, QueryOptions

if TYPE_CHECKING:
    from pyconsul.state.catalog import Catalog as CatalogTable
    from pyconsul.state.store import Store


class DatacentersRequest(QueryOptions, rename="pascal", kw_only=True):
    """Catalog.ListDatacenters."""

    datacenter: str = ""


class Catalog:
    """Registers, deregisters and lists.

    :param datacenter: the name of this one.
    """

    def __init__(
        self, store: Store, datacenter: str, datacenters: Callable[[], list[str]] | None = None
    ) -> None:
        self._store = store
        self._catalog = store.catalog
        self._datacenter = datacenter
        self._datacenters = datacenters or (lambda: [datacenter])

    # ------------------------------------------------------------ writes

    @write("Catalog.Register", RegisterRequest, Empty, "node:write")
    def register(self, request: RegisterRequest) -> bytes:
        """A node, with a service and checks on it.

        :raises Refused: if something is missing or malformed.
        """
        if not request.node:
            raise Refused("Must provide node")
        if not request.address and not request.skip_node_update:
            raise Refused("Must provide address if SkipNodeUpdate is not set")
        fault = node_id_fault(request.id) if request.id else ""
        if fault:
            raise Refused(fault)
        if request.service is not None:
            fault = service_fault(request.service) or mesh_fault(request.service)
            if fault:
                raise Refused(fault)
            fault = service_meta_fault(request.node, request.service)
            if fault:
                raise Refused(f"failed inserting service: {fault}")
        for check in (*(request.checks or ()), request.check):
            if check is not None and check.node and check.node != request.node:
                raise Refused(f'check node "{check.node}" does not match node "{request.node}"')
        if not request.datacenter:
            request.datacenter = self._datacenter
        return commands.encode_register(request)

    @write("Catalog.Deregister", DeregisterRequest, Empty, "node:write")
    def deregister(self, request: DeregisterRequest) -> bytes:
        """A service, a check, or a whole node; what is not there is no error.

        :raises Refused: if no node is named.
        """
        if not request.node:
            raise Refused("Must provide node")
        return commands.encode_deregister(request)

    # ------------------------------------------------------------ reads

    @node("Catalog.ListDatacenters", DatacentersRequest, list[str])
    def list_datacenters(self, request: DatacentersRequest) -> list[str]:
        """The datacenters that are known, the nearest first."""
        return self._datacenters()

    @read("Catalog.ListNodes", DCSpecificRequest, IndexedNodes, "node:read", rows="nodes")
    def list_nodes(self, request: DCSpecificRequest) -> Read:
        """All nodes, or those with certain metadata."""
        rows = self._catalog.nodes()
        if request.node_meta_filters:
            wanted = request.node_meta_filters
            rows = [row for row in rows if meta_matches(row, wanted)]
        if request.source.node:
            rows = nearest_first(self._store, self._datacenter, request.source, rows, lambda row: row.node)
        return Read(self._catalog.nodes_index, IndexedNodes(nodes=rows), (("nodes",),))

    @read("Catalog.ListServices", DCSpecificRequest, IndexedServices, "service:read")
    def list_services(self, request: DCSpecificRequest) -> Read:
        """The names of all services, with their tags."""
        catalog = self._catalog
        reply = IndexedServices(services=catalog.services(request.node_meta_filters))
        if request.node_meta_filters:
            index = max(catalog.services_index, catalog.nodes_index)
            return Read(index, reply, (("services",), ("nodes",)))
        return Read(catalog.services_index, reply, (("services",),))

    @read(
        "Catalog.ServiceNodes",
        ServiceSpecificRequest,
        IndexedServiceNodes,
        "service:read",
        rows="service_nodes",
    )
    def service_nodes(self, request: ServiceSpecificRequest) -> Read:
        """The instances of a service and where they are.

        With only an address, all that listen there (reverse DNS asks so). Nothing short of every
        service stands for that answer, so it cannot be watched.

        :raises Refused: if neither a service nor an address is named.
        """
        if request.service_address and not request.service_name:
            index, rows = self._catalog.services_at(request.service_address)
            return Read(index, IndexedServiceNodes(service_nodes=rows), ())
        index, watch, group = find_group(self._catalog, request, health=False)
        if group is None:
            return Read(index, IndexedServiceNodes(), (watch,))
        rows = group.nodes()
        keep = instances_wanted(request, group)
        if keep is not None:
            rows = [rows[place] for place in keep]
        if request.service_address:
            rows = [row for row in rows if row.service_address == request.service_address]
        if request.source.node:
            rows = nearest_first(self._store, self._datacenter, request.source, rows, lambda row: row.node)
        return Read(index, IndexedServiceNodes(service_nodes=rows), (watch,))

    @read(
        "Catalog.NodeServices",
        NodeSpecificRequest,
        IndexedNodeServices,
        "node:read",
        rows="node_services.services",
    )
    def node_services(self, request: NodeSpecificRequest) -> Read:
        """A node and its services by id.

        :raises Refused: if no node is named.
        """
        index, row, services = self._services_on(request)
        found = None if row is None else NodeServices(row, {service.id: service for service in services})
        return Read(index, IndexedNodeServices(node_services=found), (("node", request.node.lower()),))

    @read(
        "Catalog.NodeServiceList",
        NodeSpecificRequest,
        IndexedNodeServiceList,
        "node:read",
        rows="node_services.services",
    )
    def node_service_list(self, request: NodeSpecificRequest) -> Read:
        """A node and its services in the order of their ids.

        :raises Refused: if no node is named.
        """
        index, row, services = self._services_on(request)
        found = NodeServiceList() if row is None else NodeServiceList(row, services or None)
        return Read(index, IndexedNodeServiceList(node_services=found), (("node", request.node.lower()),))

    @read("Catalog.GatewayServices", ServiceSpecificRequest, IndexedGatewayServices, "service:read")
    def gateway_services(self, request: ServiceSpecificRequest) -> Read:
        """What a gateway serves: nothing, as long as no service is bound to one."""
        return Read(1, IndexedGatewayServices(), ())

    def _services_on(self, request: NodeSpecificRequest) -> tuple[int, Node | None, list[NodeService]]:
        """A node and its services. The index of one that is not there is 1, as in Consul.

        Whoever waits with a greater one knew the node: it is told that the node went, in Consul it is
        not. Whoever waits with 1 waits until the node comes.
        """
        if not request.node:
            raise Refused("Must provide node")
        index, row, services = self._catalog.node_services(request.node)
        if row is None and request.min_query_index <= 1:
            index = 1
        return index, row, services


def service_fault(service: NodeService) -> str:
    """Why Consul 1.8.7 would not register it, in its words; empty if it would."""
    if not service.service:
        if service.id:
            return "Must provide service name with ID"
        return "failed inserting service: failed inserting service: object missing primary index"
    return "Invalid service address" if is_anywhere(service.address) else ""


def mesh_fault(service: NodeService) -> str:
    """What is wrong with it as a proxy or gateway, in Consul's words; empty if nothing is."""
    sidecar = (service.connect or {}).get("SidecarService")
    return several(mesh_faults(service, sidecar=sidecar is not None))


def service_meta_fault(node_name: str, service: NodeService) -> str:
    """What is wrong with its metadata, in Consul's words; empty if nothing is."""
    fault = metadata_fault(service.meta or {})
    if not fault:
        return ""
    return f"Invalid Service Meta for node {node_name} and serviceID {service.id or service.service}: {fault}"


# ---------------------------------------------------------------- shared with Health.*


def find_group(
    catalog: CatalogTable, request: ServiceSpecificRequest, *, health: bool
) -> tuple[int, tuple[str, str], Group | None]:
    """Index, watch key and instances of what ``request`` asks about.

    :raises Refused: if no service is named.
    """
    if not request.service_name:
        raise Refused("Must provide service name")
    name = request.service_name.lower()
    kinds = ("connect", "connect-health") if request.connect else ("service", "health")
    watch = (kinds[health], name)
    group = catalog.group(name, request.connect)
    if group is None:
        return catalog.group_gone(request.connect), watch, None
    return group.health_index if health else group.index, watch, group


def instances_wanted(request: ServiceSpecificRequest, group: Group) -> list[int] | None:
    """The places in ``group.ordered()`` that have the tags and node metadata; ``None``: all."""
    tags = _wanted_tags(request)
    meta = request.node_meta_filters
    if not tags and not meta:
        return None
    return [
        place
        for place, instance in enumerate(group.ordered())
        if (not tags or _has_tags(tags, instance.row.tags))
        and (not meta or meta_matches(instance.node.row, meta))
    ]


def _wanted_tags(request: ServiceSpecificRequest) -> frozenset[str]:
    if not request.tag_filter:
        return frozenset()
    tags = request.service_tags or ((request.service_tag,) if request.service_tag else ())
    return frozenset(tag.lower() for tag in tags)


def _has_tags(wanted: frozenset[str], tags: Iterable[str] | None) -> bool:
    return wanted <= {tag.lower() for tag in tags or ()}
