"""Records of the catalog: registrations, one for each node, service and check.

All of them repeat the node. Those of a node's services follow it, then those of its checks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct, field
from msgspec.structs import asdict, replace

from pyconsul.errors import Refused
from pyconsul.state.catalog import CatalogSnapshot
from pyconsul.state.records_kinds import INDEX, REGISTER
from pyconsul.state.records_services import check_fields, service_fields, stored_proxy
from pyconsul.state.records_wire import NIL, Index, IndexRecord, packer, raw_bytes
from pyconsul.state.shelves import connect_name
from pyconsul.structs.canonical import canonical_check, canonical_service
from pyconsul.structs.catalog import HealthCheck, Node, NodeService

SERVICE = "service."


# ---------------------------------------------------------------- writing


def records(catalog: CatalogSnapshot, session_indexes: dict[str, int]) -> Iterator[bytes]:
    """All nodes, each with its services and its checks, then all indexes.

    :param session_indexes: the index of the sessions of each node that has some.
    """
    pack = packer().pack
    kind = bytes((REGISTER,))
    services, checks = catalog.services, catalog.checks  # both by node, in the order of the nodes
    service_at = check_at = 0
    newest_node = newest_service = 0
    spellings: dict[str, set[str]] = {}
    for row, index, checks_index in catalog.nodes:
        key = row.node.lower()
        fields = _node_fields(row)
        views = [index, checks_index, session_indexes.get(key, 0)]
        yield kind + pack({**fields, "Views": views})
        newest_node = max(newest_node, row.modify_index)
        while service_at < len(services) and services[service_at][0] == key:
            service = services[service_at][1]
            spellings.setdefault(service.service.lower(), set()).add(service.service)
            newest_service = max(newest_service, service.modify_index)
            service_at += 1
            yield kind + pack({**fields, "Service": service_fields(service)})
        while check_at < len(checks) and checks[check_at].node.lower() == key:
            check_at += 1
            yield kind + pack({**fields, "Check": check_fields(checks[check_at - 1])})
    assert service_at == len(services) and check_at == len(checks), "rows out of order"
    yield from _indexes(catalog, newest_node, newest_service, spellings)


def _node_fields(row: Node) -> dict[str, Any]:
    return {
        "Address": row.address,
        "Check": None,
        "Checks": None,
        "CreateIndex": row.create_index,
        "Datacenter": row.datacenter,
        "ID": row.id,
        "ModifyIndex": row.modify_index,
        "Node": row.node,
        "NodeMeta": row.meta,
        "Service": None,
        "SkipNodeUpdate": False,
        "TaggedAddresses": row.tagged_addresses,
        "Token": "",
    }


def _indexes(
    catalog: CatalogSnapshot, newest_node: int, newest_service: int, spellings: dict[str, set[str]]
) -> Iterator[bytes]:
    """The indexes of Consul's tables and services, and with them those of our views.

    :param newest_node: the index of the row that was changed last.
    :param spellings: of service names, by their lower case; Consul has an index for each.
    """
    pack = packer().pack
    kind = bytes((INDEX,))
    groups_gone, connect_gone, by_name_gone, by_state_gone = catalog.gone
    nodes, services, checks = catalog.nodes_index, catalog.services_index, catalog.checks_index
    tables: list[dict[str, Any]] = [
        {"Key": "nodes", "Value": max(nodes, newest_node), "Views": [nodes, catalog.nodes_gone]},
        {
            "Key": "services",
            "Value": max(services, groups_gone, newest_service),
            "Views": [services, groups_gone, connect_gone],
        },
        {"Key": "service_last_extinction", "Value": groups_gone},
        {
            "Key": "checks",
            "Value": checks,
            "Views": [checks, by_name_gone, by_state_gone],
            "States": catalog.by_state,
        },
    ]
    for table in tables:
        yield kind + pack(table)
    for name in dict.fromkeys((*catalog.groups, *catalog.connect, *catalog.by_name)):
        rows, health = catalog.groups.get(name, (0, 0))
        connect_rows, connect_health = catalog.connect.get(name, (0, 0))
        checked = catalog.by_name.get(name, 0)
        value = health or connect_health or checked
        views = [rows, health, connect_rows, connect_health, checked]
        for spelling in sorted(spellings.get(name, (name,))):
            yield kind + pack({"Key": SERVICE + spelling, "Value": value, "Views": views})


# ---------------------------------------------------------------- reading


class _Check(HealthCheck, rename="pascal", frozen=True, kw_only=True):
    """A check whose output, which a program wrote, need not be UTF-8."""

    output: Raw = NIL  # type: ignore[assignment]


class _Registration(Struct, rename="pascal"):
    node: str = ""
    id: str = field(default="", name="ID")
    address: str = ""
    datacenter: str = ""
    tagged_addresses: dict[str, str] | None = None
    node_meta: dict[str, str] | None = None
    service: NodeService | None = None
    check: _Check | None = None
    create_index: Index = 0
    modify_index: Index = 0
    views: list[Index] = field(default_factory=list)


_decode = msgspec.msgpack.Decoder(_Registration).decode


class _Gathered:
    """A node with what is registered on it so far, by lower-case id."""

    __slots__ = ("checks", "row", "services", "views")

    def __init__(self, row: Node) -> None:
        self.row = row
        self.views: list[int] = []
        self.services: dict[str, NodeService] = {}
        self.checks: dict[str, HealthCheck] = {}


_NOTHING = IndexRecord()


class CatalogReader:
    """Gathers the catalog's records.

    :ivar last_index: stands for every index that the records do not tell.
    """

    def __init__(self) -> None:
        self.last_index = 0
        self._nodes: dict[str, _Gathered] = {}
        self._tables: dict[str, IndexRecord] = {}
        self._services: dict[str, list[int]] = {}

    def registration(self, record: bytes) -> None:
        """A node, or one of its services or checks."""
        given = _decode(record)
        if not given.node:
            raise Refused("names no node")
        key = given.node.lower()
        gathered = self._nodes.get(key)
        if gathered is None:
            gathered = self._nodes[key] = _Gathered(self._node(given))
        elif given.service is None and given.check is None:
            gathered.row = self._node(given)
        if given.views:
            gathered.views = given.views
        if given.service is not None:
            service = self._service(given.service)
            gathered.services[service.id.lower()] = service
        if given.check is not None:
            check = self._check(given.check, gathered)
            gathered.checks[check.check_id.lower()] = check

    def _node(self, given: _Registration) -> Node:
        return Node(
            id=given.id,
            node=given.node,
            address=given.address,
            datacenter=given.datacenter,
            tagged_addresses=given.tagged_addresses,
            meta=given.node_meta,
            create_index=given.create_index or self.last_index,
            modify_index=given.modify_index or self.last_index,
        )

    def _service(self, given: NodeService) -> NodeService:
        if not given.service:
            raise Refused("has a service without a name")
        row = canonical_service(replace(given, proxy=stored_proxy(given.proxy)))
        if row.create_index and row.modify_index:
            return row
        index = self.last_index
        return replace(row, create_index=row.create_index or index, modify_index=row.modify_index or index)

    def _check(self, given: _Check, gathered: _Gathered) -> HealthCheck:
        fields = asdict(given)
        output = raw_bytes(given.output) or b""
        fields.update(node=gathered.row.node, output=output.decode("utf-8", "replace"))
        row = canonical_check(HealthCheck(**fields))
        if not row.check_id:
            raise Refused("has a check without an id")
        index = self.last_index
        return replace(row, create_index=row.create_index or index, modify_index=row.modify_index or index)

    def index(self, row: IndexRecord) -> None:
        """An index of Consul's."""
        if row.key.startswith(SERVICE):
            if len(row.views) == 5:
                self._services[row.key.removeprefix(SERVICE).lower()] = row.views
        elif row.key in ("nodes", "services", "checks"):
            self._tables[row.key] = row

    # ------------------------------------------------------------ the result

    def node_names(self) -> dict[str, int]:
        """Every node in lower case, with the index of its sessions."""
        return {key: self._view(node.views, 2) for key, node in self._nodes.items()}

    def finish(self) -> CatalogSnapshot:
        """The catalog.

        :raises Refused: if a check belongs to a service that its node does not have.
        """
        nodes = self._nodes
        all_nodes = nodes.values()
        checks = [check for node in all_nodes for check in _checks_of(node)]
        services = [(key, row) for key, node in nodes.items() for row in node.services.values()]
        names = dict.fromkeys(row.service.lower() for _, row in services)
        reached = dict.fromkeys(name.lower() for _, row in services if (name := connect_name(row)))
        checked = dict.fromkeys(check.service_name.lower() for check in checks if check.service_name)
        states = dict.fromkeys(check.status for check in checks)
        tables = {name: self._tables.get(name, _NOTHING) for name in ("nodes", "services", "checks")}
        by_state = tables["checks"].states or {}

        def of_table(name: str, place: int) -> int:
            return self._view(tables[name].views, place)

        return CatalogSnapshot(
            nodes=[(node.row, self._view(node.views, 0), self._view(node.views, 1)) for node in all_nodes],
            services=services,
            checks=checks,
            nodes_index=of_table("nodes", 0),
            nodes_gone=of_table("nodes", 1),
            services_index=of_table("services", 0),
            checks_index=of_table("checks", 0),
            groups={name: (self._of_service(name, 0), self._of_service(name, 1)) for name in names},
            connect={name: (self._of_service(name, 2), self._of_service(name, 3)) for name in reached},
            by_name={name: self._of_service(name, 4) for name in checked},
            by_state={name: by_state.get(name, self.last_index) for name in states},
            gone=(
                of_table("services", 1),
                of_table("services", 2),
                of_table("checks", 1),
                of_table("checks", 2),
            ),
        )

    def _view(self, views: list[int], place: int) -> int:
        return views[place] if place < len(views) else self.last_index

    def _of_service(self, name: str, place: int) -> int:
        return self._view(self._services.get(name, []), place)


def _checks_of(node: _Gathered) -> Iterator[HealthCheck]:
    for check in node.checks.values():
        if check.service_id and check.service_id.lower() not in node.services:
            raise Refused(
                f'check "{check.check_id}" of the snapshot belongs to service "{check.service_id}", '
                f'which node "{node.row.node}" does not have'
            )
        yield check
