"""The catalog's tables: nodes, services and checks.

Names and ids are unique without regard to case and are shown as last written. A row's
``modify_index`` moves only when the row changes. What each index stands for is told in
``pyconsul.state.shelves``; unlike Consul 1.8.7, writing a check again as it was moves nothing, and
a node whose name changes only in case keeps its services.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from pyconsul.errors import Refused
from pyconsul.state.graves import Graves
from pyconsul.state.shelves import (
    CheckShelf,
    CheckView,
    Group,
    GroupShelf,
    Instance,
    NodeEntry,
    connect_name,
    meta_matches,
    tags_of,
)
from pyconsul.state.watches import Watches
from pyconsul.structs.catalog import (
    ANY,
    CRITICAL,
    SERF_CHECK_ID,
    HealthCheck,
    Node,
    NodeService,
    ServiceNode,
)

ALL_CHECKS = ("state", ANY)


class Registration(Struct, array_like=True, frozen=True):
    """The log command of Catalog.Register; service and checks are in canonical form.

    :ivar service: at most one. :ivar checks: of the node, of that service or of others on it.
    """

    datacenter: str
    id: str
    node: str
    address: str
    tagged_addresses: dict[str, str] | None
    node_meta: dict[str, str] | None
    skip_node_update: bool
    service: NodeService | None
    checks: list[HealthCheck]


class Deregistration(Struct, array_like=True, frozen=True):
    """The log command of Catalog.Deregister: a service, a check, or with neither the node."""

    node: str
    service_id: str
    check_id: str


class CatalogListener(Protocol):
    """A table that depends on the catalog, such as that of sessions."""

    def check_changed(self, index: int, node: str, check_id: str, status: str | None) -> None:
        """A check is in another state, or with ``None`` gone."""
        ...

    def node_gone(self, index: int, node: str) -> None:
        """A node was removed, after all its checks."""
        ...


class CatalogSnapshot(Struct):
    """All rows in the order in which they came, and the indexes of all views."""

    nodes: list[tuple[Node, int, int]]
    services: list[tuple[str, NodeService]]
    checks: list[HealthCheck]
    nodes_index: int
    nodes_gone: int
    services_index: int
    checks_index: int
    groups: dict[str, tuple[int, int]]
    connect: dict[str, tuple[int, int]]
    by_name: dict[str, int]
    by_state: dict[str, int]
    gone: tuple[int, int, int, int]


class Catalog:
    """Nodes, their services and their checks.

    Reads give lists that later reads share: callers leave them as they are. Each method that
    writes takes the log index of the command.

    :ivar graves: nodes (in the view ``nodes``) and names of services (in ``services``) that went.
    :ivar nodes_index: of the rows of all nodes. :ivar services_index: of all services' names and
        tags. :ivar listeners: told of changes while they are made.
    """

    def __init__(self, watches: Watches) -> None:
        self._watches = watches
        self.listeners: list[CatalogListener] = []
        self._clear()

    def _clear(self) -> None:
        self._nodes: dict[str, NodeEntry] = {}
        self._by_id: dict[str, NodeEntry] = {}
        self._rows: list[Node] | None = None
        self._tags: dict[str, list[str]] | None = None
        self._groups = GroupShelf("service", "health")
        self._connect = GroupShelf("connect", "connect-health")
        self.graves = Graves()
        self._checks = CheckView()
        self._by_name = CheckShelf("checks")
        self._by_state = CheckShelf("state")
        self.nodes_index = 0
        self.nodes_gone = 0
        self.services_index = 0

    # ------------------------------------------------------------ reading

    def nodes(self) -> list[Node]:
        """All nodes by name; their index is ``nodes_index``."""
        if self._rows is None:
            self._rows = [entry.row for _, entry in sorted(self._nodes.items())]
        return self._rows

    def node(self, name: str) -> Node | None:
        """One node's row."""
        entry = self._nodes.get(name.lower())
        return None if entry is None else entry.row

    def service_of(self, node: str, service_id: str) -> NodeService | None:
        """One instance on a node."""
        entry = self._nodes.get(node.lower())
        instance = None if entry is None else entry.services.get(service_id.lower())
        return None if instance is None else instance.row

    def node_check(self, node: str, check_id: str) -> HealthCheck | None:
        """One check of a node or of a service on it."""
        entry = self._nodes.get(node.lower())
        return None if entry is None else entry.checks.get(check_id.lower())

    def node_by_id(self, node_id: str) -> Node | None:
        """The row of the node with that id."""
        entry = self._by_id.get(node_id.lower())
        return None if entry is None else entry.row

    def node_services(self, node: str) -> tuple[int, Node | None, list[NodeService]]:
        """A node and its services by id."""
        entry = self._nodes.get(node.lower())
        if entry is None:
            return self.nodes_gone, None, []
        return entry.index, entry.row, [instance.row for _, instance in sorted(entry.services.items())]

    def node_checks(self, node: str) -> tuple[int, list[HealthCheck]]:
        """All checks on a node, by id."""
        entry = self._nodes.get(node.lower())
        if entry is None:
            return self.nodes_gone, []
        return entry.checks_index, [check for _, check in sorted(entry.checks.items())]

    def services(self, node_meta: dict[str, str] | None = None) -> dict[str, list[str]]:
        """Each service name with its tags, on all nodes or on those that have the pairs.

        The index is ``services_index``, with ``node_meta`` the greater of it and ``nodes_index``.
        """
        if node_meta:
            entries = [entry for entry in self._nodes.values() if meta_matches(entry.row, node_meta)]
            return tags_of(instance.row for entry in entries for instance in entry.services.values())
        if self._tags is None:
            found: dict[str, list[str]] = {}
            for group in self._groups.groups.values():
                found.update(group.tags())
            self._tags = dict(sorted(found.items()))
        return self._tags

    def services_at(self, address: str) -> tuple[int, list[ServiceNode]]:
        """All instances that listen at ``address``, and the highest index of any service."""
        groups = self._groups.groups
        index = max((group.index for group in groups.values()), default=0)
        found = [row for _, group in sorted(groups.items()) for row in group.nodes()]
        return max(index, self._groups.gone), [row for row in found if row.service_address == address]

    def group(self, name: str, connect: bool = False) -> Group | None:
        """The instances of a service, or those through which it is reached in the mesh."""
        return (self._connect if connect else self._groups).get(name)

    def groups_changed(self, since: int) -> list[Group]:
        """The services with an instance that came, changed or went after ``since``."""
        return [group for group in self._groups.groups.values() if group.index > since]

    def instances_gone(self, name: str, since: int, connect: bool = False) -> list[Any] | None:
        """Node and id of the instances of a service that went after ``since``; ``None``: not known."""
        return (self._connect if connect else self._groups).graves.since(since, name.lower())

    def group_gone(self, connect: bool = False) -> int:
        """The index of services that have no instance."""
        return (self._connect if connect else self._groups).gone

    def service_checks(self, name: str) -> tuple[int, list[HealthCheck]]:
        """All checks that name the service."""
        return self._by_name.read(name.lower())

    def checks_in_state(self, status: str) -> tuple[int, list[HealthCheck]]:
        """All checks in a state, or with ``any`` all checks."""
        if status == ANY:
            return self._checks.index, self._checks.ordered()
        return self._by_state.read(status)

    # ------------------------------------------------------------ registering

    def register(self, index: int, command: Registration) -> None:
        """Write a node, its service and checks; all or nothing.

        :raises Refused: with nothing written.
        """
        entry = self._nodes.get(command.node.lower())
        renamed = None
        writes_node = entry is None or not command.skip_node_update
        if writes_node:
            try:
                renamed = self._renamed(command, entry)
            except Refused as error:
                raise Refused(f"failed inserting node: {error}") from None
        _refuse_checks(command, entry)
        if writes_node:
            entry = self._put_node(index, command, entry, renamed)
        assert entry is not None
        if command.service is not None:
            self._put_service(index, entry, command.service)
        for check in command.checks:
            self._put_check(index, entry, check)

    def put_node(self, index: int, row: Node) -> None:
        """Write a node's row alone.

        :raises Refused: with nothing written.
        """
        entry = self._nodes.get(row.node.lower())
        command = Registration(
            row.datacenter, row.id, row.node, row.address, row.tagged_addresses, row.meta, False, None, []
        )
        self._put_node(index, command, entry, self._renamed(command, entry))

    def put_service(self, index: int, node: str, service: NodeService) -> None:
        """Write a service, in canonical form, of a node that is there.

        :raises Refused: with nothing written.
        """
        entry = self._nodes.get(node.lower())
        if entry is None:
            raise Refused("Missing node registration")
        if not service.service:
            raise Refused("failed inserting service: object missing primary index")
        self._put_service(index, entry, service)

    def put_check(self, index: int, check: HealthCheck) -> None:
        """Write a check, in canonical form, of a node and perhaps a service that are there.

        :raises Refused: with nothing written.
        """
        entry = self._nodes.get(check.node.lower())
        if entry is None:
            raise Refused("Missing node registration")
        if not check.check_id:
            raise Refused("failed inserting check: object missing primary index")
        if check.service_id and check.service_id.lower() not in entry.services:
            raise Refused("Missing service registration")
        self._put_check(index, entry, check)

    def _renamed(self, command: Registration, entry: NodeEntry | None) -> NodeEntry | None:
        """The node that goes by another name so far.

        :raises Refused: if the name belongs to another node that lives.
        """
        node_id = command.id.lower()
        if not node_id or (entry is not None and entry.row.id.lower() == node_id):
            return None
        renamed = self._by_id.get(node_id)
        if entry is not None and (renamed is not None or entry.row.id):
            check = entry.checks.get(SERF_CHECK_ID.lower())
            if check is not None and check.status != CRITICAL:
                address = "" if renamed is None else f" ({command.address})"
                row = entry.row
                raise Refused(
                    f'Error while renaming Node ID: "{command.id}"{address}: '
                    f"Node name {command.node} is reserved by node {row.id} with name {row.node} "
                    f"({row.address})"
                )
        return renamed

    def _put_node(
        self, index: int, command: Registration, entry: NodeEntry | None, renamed: NodeEntry | None
    ) -> NodeEntry:
        created = index
        if renamed is not None:
            created = renamed.row.create_index
            self._remove_node(index, renamed)
        elif entry is not None:
            created = entry.row.create_index
        row = Node(
            id=command.id,
            node=command.node,
            address=command.address,
            datacenter=command.datacenter,
            tagged_addresses=command.tagged_addresses,
            meta=command.node_meta,
            create_index=created,
            modify_index=index,
        )
        if entry is None:
            entry = self._nodes[row.node.lower()] = NodeEntry(row, index)
        elif replace(row, modify_index=entry.row.modify_index) == entry.row:
            return entry
        elif entry.row.id and self._by_id.get(entry.row.id.lower()) is entry:
            del self._by_id[entry.row.id.lower()]
        entry.row = row
        if row.id:
            self._by_id[row.id.lower()] = entry
        self._node_row_changed(index, entry)
        for instance in entry.services.values():
            instance.changed(index, self._watches)
        return entry

    def _put_service(self, index: int, entry: NodeEntry, service: NodeService) -> None:
        key = service.id.lower()
        instance = entry.services.get(key)
        if instance is None:
            row = replace(service, create_index=index, modify_index=index)
            instance = entry.services[key] = Instance(entry, row)
            self._groups.add(row.service, instance)
            self._tags_changed(index)
            reached = ""
        else:
            old = instance.row
            row = replace(service, create_index=old.create_index, modify_index=old.modify_index)
            if row == old:
                return
            row = replace(row, modify_index=index)
            if row.service.lower() != old.service.lower():
                self._groups.discard(index, old.service, instance, self._watches)
                self._groups.add(row.service, instance)
            if row.service != old.service or row.tags != old.tags:
                self._tags_changed(index)
            reached = connect_name(old)
            instance.row = row
            if row.service != old.service:
                self._bury_name(index, old.service)
        self._reach(index, instance, reached)
        self._node_changed(index, entry)
        instance.changed(index, self._watches)

    def _reach(self, index: int, instance: Instance, before: str) -> None:
        """Keep the instance in the right group of the mesh."""
        now = connect_name(instance.row)
        if now.lower() != before.lower():
            if before:
                self._connect.discard(index, before, instance, self._watches)
            if now:
                self._connect.add(now, instance)

    def _put_check(self, index: int, entry: NodeEntry, check: HealthCheck) -> None:
        key = check.check_id.lower()
        instance = entry.services[check.service_id.lower()] if check.service_id else None
        old = entry.checks.get(key)
        row = replace(
            check,
            node=entry.row.node,
            create_index=index if old is None else old.create_index,
            modify_index=index if old is None else old.modify_index,
        )
        if instance is not None:
            service = instance.row
            row = replace(row, service_id=service.id, service_name=service.service, service_tags=service.tags)
        if row == old:
            return
        if old is not None:
            row = replace(row, modify_index=index)
            if old.service_id.lower() != row.service_id.lower():
                self._unbind(index, entry, key, old)
        entry.checks[key] = row
        (entry.own_checks if instance is None else instance.checks)[key] = row
        self._check_changed(index, entry, key, old, row)
        self._health_changed(index, entry, instance)

    # ------------------------------------------------------------ deregistering

    def deregister(self, index: int, command: Deregistration) -> None:
        """Remove what is there; what is not is no error."""
        if command.service_id:
            self.remove_service(index, command.node, command.service_id)
        elif command.check_id:
            self.remove_check(index, command.node, command.check_id)
        else:
            self.remove_node(index, command.node)

    def remove_node(self, index: int, node: str) -> None:
        """Remove a node with all that is on it, if it is there."""
        entry = self._nodes.get(node.lower())
        if entry is not None:
            self._remove_node(index, entry)

    def remove_service(self, index: int, node: str, service_id: str) -> None:
        """Remove a service and its checks, if it is there."""
        entry = self._nodes.get(node.lower())
        instance = None if entry is None else entry.services.get(service_id.lower())
        if entry is not None and instance is not None:
            self._remove_service(index, entry, instance)

    def remove_check(self, index: int, node: str, check_id: str) -> None:
        """Remove a check, if it is there."""
        entry = self._nodes.get(node.lower())
        if entry is not None and check_id.lower() in entry.checks:
            self._remove_check(index, entry, check_id.lower())

    def _remove_node(self, index: int, entry: NodeEntry) -> None:
        for instance in [*entry.services.values()]:
            self._remove_service(index, entry, instance)
        for key in [*entry.checks]:
            self._remove_check(index, entry, key)
        del self._nodes[entry.key]
        if entry.row.id and self._by_id.get(entry.row.id.lower()) is entry:
            del self._by_id[entry.row.id.lower()]
        self.nodes_gone = index
        self.graves.bury(index, "nodes", entry.row.node)
        self._node_row_changed(index, entry)
        for listener in self.listeners:
            listener.node_gone(index, entry.row.node)

    def _remove_service(self, index: int, entry: NodeEntry, instance: Instance) -> None:
        for key in [*instance.checks]:
            self._remove_check(index, entry, key)
        row = instance.row
        del entry.services[row.id.lower()]
        self._reach_no_more(index, instance)
        self._groups.discard(index, row.service, instance, self._watches)
        self._bury_name(index, row.service)
        self._tags_changed(index)
        self._node_changed(index, entry)

    def _bury_name(self, index: int, name: str) -> None:
        """An instance goes by this name no longer; perhaps no other does."""
        group = self._groups.get(name)
        if group is None or all(instance.row.service != name for instance in group.members.values()):
            self.graves.bury(index, "services", name)

    def _reach_no_more(self, index: int, instance: Instance) -> None:
        reached = connect_name(instance.row)
        if reached:
            self._connect.discard(index, reached, instance, self._watches)

    def _remove_check(self, index: int, entry: NodeEntry, key: str) -> None:
        check = entry.checks.pop(key)
        self._unbind(index, entry, key, check)
        self._check_changed(index, entry, key, check, None)

    def _unbind(self, index: int, entry: NodeEntry, key: str, check: HealthCheck) -> None:
        """``check`` no longer tells the health of what it did."""
        instance = entry.services[check.service_id.lower()] if check.service_id else None
        del (entry.own_checks if instance is None else instance.checks)[key]
        self._health_changed(index, entry, instance)

    # ------------------------------------------------------------ indexes and watches

    def _node_row_changed(self, index: int, entry: NodeEntry) -> None:
        self.nodes_index = index
        self._rows = None
        self._watches.touch(("nodes",))
        self._node_changed(index, entry)

    def _node_changed(self, index: int, entry: NodeEntry) -> None:
        entry.index = index
        self._watches.touch(("node", entry.key))

    def _tags_changed(self, index: int) -> None:
        self.services_index = index
        self._tags = None
        self._watches.touch(("services",))

    def _health_changed(self, index: int, entry: NodeEntry, instance: Instance | None) -> None:
        """A check of ``instance``, or with ``None`` of the whole node, has changed."""
        if instance is not None:
            instance.changed(index, self._watches, health_only=True)
            return
        entry.own_checks_changed()
        for one in entry.services.values():
            one.changed(index, self._watches, health_only=True)

    def _check_changed(
        self, index: int, entry: NodeEntry, key: str, old: HealthCheck | None, new: HealthCheck | None
    ) -> None:
        entry.checks_index = index
        self._watches.touch(("node-checks", entry.key))
        self._watches.touch(ALL_CHECKS)
        where = entry.key, key
        self._checks.put(index, where, new)
        named_old = None if old is None else old.service_name.lower() or None
        named_new = None if new is None else new.service_name.lower() or None
        self._by_name.move(index, where, named_old, named_new, new, self._watches)
        status_old = None if old is None else old.status
        status_new = None if new is None else new.status
        self._by_state.move(index, where, status_old, status_new, new, self._watches)
        if status_old != status_new:
            for listener in self.listeners:
                listener.check_changed(
                    index, entry.row.node, key if new is None else new.check_id, status_new
                )

    # ------------------------------------------------------------ snapshots

    def excerpt(self, nodes: Iterable[str]) -> list[NodeEntry]:
        """These nodes, in that order, for ``restore_excerpt`` of another catalog."""
        found = {name.lower(): self._nodes.get(name.lower()) for name in nodes}
        return [entry for entry in found.values() if entry is not None]

    def restore_excerpt(self, nodes: Iterable[NodeEntry]) -> None:
        """Take over the rows of ``nodes``, of an empty catalog; it knows nothing of views' indexes."""
        listeners, self.listeners = self.listeners, []
        for entry in nodes:
            self._restore_node(entry.row, entry.index)
            for instance in entry.services.values():
                self._restore_service(self._nodes[entry.key], instance.row)
            for check in entry.checks.values():
                self._restore_check(check)
        self.listeners = listeners

    def snapshot(self) -> CatalogSnapshot:
        """References to all rows; later writes do not show in it."""
        entries = self._nodes.values()
        return CatalogSnapshot(
            nodes=[(entry.row, entry.index, entry.checks_index) for entry in entries],
            services=[(entry.key, instance.row) for entry in entries for instance in entry.services.values()],
            checks=[check for entry in entries for check in entry.checks.values()],
            nodes_index=self.nodes_index,
            nodes_gone=self.nodes_gone,
            services_index=self.services_index,
            checks_index=self._checks.index,
            groups=self._groups.indexes(),
            connect=self._connect.indexes(),
            by_name=self._by_name.indexes(),
            by_state=self._by_state.indexes(),
            gone=(self._groups.gone, self._connect.gone, self._by_name.gone, self._by_state.gone),
        )

    def restore(self, snapshot: CatalogSnapshot) -> None:
        """Become what the snapshot holds; listeners and watchers are the caller's affair."""
        listeners, self.listeners = self.listeners, []
        self._clear()
        for row, index, _ in snapshot.nodes:
            self._restore_node(row, index)
        for key, service in snapshot.services:
            self._restore_service(self._nodes[key], service)
        for check in snapshot.checks:
            self._restore_check(check)
        for row, index, checks_index in snapshot.nodes:
            entry = self._nodes[row.node.lower()]
            entry.index, entry.checks_index = index, checks_index
        self.nodes_index, self.nodes_gone = snapshot.nodes_index, snapshot.nodes_gone
        self.services_index, self._checks.index = snapshot.services_index, snapshot.checks_index
        groups_gone, connect_gone, by_name_gone, by_state_gone = snapshot.gone
        self._groups.restore(snapshot.groups, groups_gone)
        self._connect.restore(snapshot.connect, connect_gone)
        self._by_name.restore(snapshot.by_name, by_name_gone)
        self._by_state.restore(snapshot.by_state, by_state_gone)
        self.listeners = listeners

    def _restore_node(self, row: Node, index: int) -> None:
        entry = self._nodes[row.node.lower()] = NodeEntry(row, index)
        if row.id:
            self._by_id[row.id.lower()] = entry

    def _restore_service(self, entry: NodeEntry, row: NodeService) -> None:
        instance = entry.services[row.id.lower()] = Instance(entry, row)
        self._groups.add(row.service, instance)
        self._reach(0, instance, "")

    def _restore_check(self, check: HealthCheck) -> None:
        entry = self._nodes[check.node.lower()]
        key = check.check_id.lower()
        entry.checks[key] = check
        where = entry.services[check.service_id.lower()].checks if check.service_id else entry.own_checks
        where[key] = check
        self._check_changed(0, entry, key, None, check)


def _refuse_checks(command: Registration, entry: NodeEntry | None) -> None:
    """Refuse a check without an id, or of a service that its node does not have."""
    known: Iterable[str] = () if entry is None else entry.services
    if command.service is not None:
        known = {*chain(known, (command.service.id.lower(),))}
    for check in command.checks:
        if not check.check_id:
            raise Refused(
                "failed inserting check: failed inserting check: "
                f'object missing primary index on node "{command.node}"'
            )
        if check.service_id and check.service_id.lower() not in known:
            raise Refused(f'failed inserting check: Missing service registration on node "{command.node}"')
