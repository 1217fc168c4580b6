"""Internal.*: what agents ask servers about gossip, and the whole catalog as the web interface shows it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred

from pyconsul.endpoints.base import Read, node, read
from pyconsul.errors import Refused
from pyconsul.state.store import Store
from pyconsul.structs.catalog import (
    ANY,
    CheckServiceNode,
    IndexedCheckServiceNodes,
    Node,
    NodeSpecificRequest,
    ServiceSpecificRequest,
)
from pyconsul.structs.dumps import IndexedGatewayDump, IndexedNodeDump, NodeInfo, ServiceDumpRequest
from pyconsul.structs.event import EventFireRequest, EventFireResponse
from pyconsul.structs.keyring import KeyringRequest, KeyringResponses
from pyconsul.structs.query import DCSpecificRequest


class Internal:
    """Events, keys and dumps.

    No service is bound to a gateway yet, so that gateways serve nothing.

    :param fire: sends a user event through the LAN pool; raises ``PyconsulError`` if it is too large.
    :param keyring: does an operation on the keys of this server's pools.
    """

    def __init__(
        self,
        store: Store,
        fire: Callable[[str, bytes], None],
        keyring: Callable[[KeyringRequest], Deferred[KeyringResponses]],
    ) -> None:
        self._catalog = store.catalog
        self._fire = fire
        self._keyring = keyring

    @node("Internal.EventFire", EventFireRequest, EventFireResponse, "event:write")
    def event_fire(self, request: EventFireRequest) -> EventFireResponse:
        """Send a user event to everybody in this datacenter.

        :raises PyconsulError: if it is too large.
        """
        self._fire(request.name, request.payload or b"")
        return EventFireResponse(known_leader=True)

    @node("Internal.KeyringOperation", KeyringRequest, KeyringResponses, "keyring:write")
    def keyring_operation(self, request: KeyringRequest) -> Any:
        """List or change the keys of all members of this server's pools, and of other datacenters'."""
        return self._keyring(request)

    # ------------------------------------------------------------ dumps

    @read("Internal.NodeInfo", NodeSpecificRequest, IndexedNodeDump, "node:read")
    def node_info(self, request: NodeSpecificRequest) -> Read:
        """One node, or none.

        :raises Refused: if no node is named.
        """
        if not request.node:
            raise Refused("Must provide node")
        row = self._catalog.node(request.node)
        index, info = self._info(request.node, row)
        name = request.node.lower()
        reply = IndexedNodeDump(dump=[] if info is None else [info])
        return Read(index, reply, (("node", name), ("node-checks", name)))

    @read("Internal.NodeDump", DCSpecificRequest, IndexedNodeDump, "node:read", rows="dump")
    def node_dump(self, request: DCSpecificRequest) -> Read:
        """All nodes."""
        catalog = self._catalog
        found: list[NodeInfo] = []
        index = max(catalog.nodes_index, catalog.checks_in_state(ANY)[0])
        watch: list[Hashable] = [("nodes",), ("state", ANY)]
        for row in catalog.nodes():
            changed, info = self._info(row.node, row)
            assert info is not None
            found.append(info)
            index = max(index, changed)
            watch.append(("node", row.node.lower()))
        return Read(index, IndexedNodeDump(dump=found), tuple(watch))

    @read("Internal.ServiceDump", ServiceDumpRequest, IndexedCheckServiceNodes, "service:read", rows="nodes")
    def service_dump(self, request: ServiceDumpRequest) -> Read:
        """The instances of all services, by the services' names."""
        catalog = self._catalog
        found: list[CheckServiceNode] = []
        index = max(catalog.services_index, catalog.group_gone())
        watch: list[Hashable] = [("services",)]
        for group in sorted(catalog.groups_changed(0), key=lambda group: group.name):
            found += group.health()
            index = max(index, group.health_index)
            watch.append(group.watch[1])
        if request.use_service_kind:
            found = [row for row in found if (row.service.kind or "") == request.service_kind]
        return Read(index, IndexedCheckServiceNodes(nodes=found), tuple(watch))

    @read("Internal.GatewayServiceDump", ServiceSpecificRequest, IndexedGatewayDump, "service:read")
    def gateway_service_dump(self, request: ServiceSpecificRequest) -> Read:
        """What a gateway serves, with the instances."""
        return Read(1, IndexedGatewayDump(), ())

    def _info(self, name: str, row: Node | None) -> tuple[int, NodeInfo | None]:
        """Index and rows of a node. Here Consul shows no tags as ``null``, unlike anywhere else."""
        index, _, services = self._catalog.node_services(name)
        checks_index, checks = self._catalog.node_checks(name)
        if row is None:
            return index, None
        return max(index, checks_index), NodeInfo(
            id=row.id,
            node=row.node,
            address=row.address,
            tagged_addresses=row.tagged_addresses,
            meta=row.meta,
            services=[service if service.tags else replace(service, tags=None) for service in services],
            checks=[check if check.service_tags else replace(check, service_tags=None) for check in checks],
        )
