"""How the catalog's rows hang together, and which index stands for which view of them.

A *view* is what one kind of read looks at: a node's services, the instances of a service, the
checks in a state, ... Each has its own index, the log index of the last command that changed it,
where Consul 1.8.7 often has one for a whole table. The views of one kind lie on a *shelf*, by
name. When a view becomes empty it is dropped, and ``gone`` of its shelf, the index at which that
last happened, stands for all that are not there; so no view's index ever falls.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from msgspec import UNSET

from pyconsul.state.graves import Graves
from pyconsul.state.watches import Watches
from pyconsul.structs.catalog import (
    CONNECT_PROXY,
    CheckServiceNode,
    HealthCheck,
    Node,
    NodeService,
    ServiceNode,
)

RowKey: TypeAlias = tuple[str, str]
"""Node name and service or check id, both in lower case; rows are shown in this order."""


class NodeEntry:
    """A node with what is registered on it.

    :ivar own_checks: its checks that belong to no service; each is also in ``checks``.
    :ivar index: of its row and services. :ivar checks_index: of its checks.
    """

    __slots__ = ("_own", "checks", "checks_index", "index", "key", "own_checks", "row", "services")

    def __init__(self, row: Node, index: int) -> None:
        self.row = row
        self.key = row.node.lower()
        self.services: dict[str, Instance] = {}
        self.checks: dict[str, HealthCheck] = {}
        self.own_checks: dict[str, HealthCheck] = {}
        self.index = index
        self.checks_index = index
        self._own: list[HealthCheck] | None = None

    def node_level_checks(self) -> list[HealthCheck]:
        """``own_checks`` by id."""
        if self._own is None:
            self._own = [check for _, check in sorted(self.own_checks.items())]
        return self._own

    def own_checks_changed(self) -> None:
        """Drop what was made of ``own_checks``."""
        self._own = None


class Instance:
    """A service instance, and the rows of replies made of it, kept until it changes.

    :ivar index: when its row or its node's last changed, as far as that is known: in no snapshot.
    :ivar health_index: the same with the checks that concern it.
    """

    __slots__ = ("_health", "_service_node", "checks", "groups", "health_index", "index", "node", "row")

    def __init__(self, node: NodeEntry, row: NodeService) -> None:
        self.node = node
        self.row = row
        self.checks: dict[str, HealthCheck] = {}
        self.groups: list[Group] = []
        self.index = 0
        self.health_index = 0
        self._service_node: ServiceNode | None = None
        self._health: CheckServiceNode | None = None

    @property
    def key(self) -> RowKey:
        """What it is sorted by."""
        return self.node.key, self.row.id.lower()

    def changed(self, index: int, watches: Watches, *, health_only: bool = False) -> None:
        """Its row, its node's row, or with ``health_only`` a check that concerns it has changed."""
        self._health = None
        self.health_index = index
        if not health_only:
            self._service_node = None
            self.index = index
        for group in self.groups:
            group.changed(index, watches, health_only=health_only)

    def service_node(self) -> ServiceNode:
        """It and its node, flat."""
        made = self._service_node
        if made is None:
            made = self._service_node = _service_node(self.node.row, self.row)
        return made

    def health(self) -> CheckServiceNode:
        """It, its node and the checks that tell its health."""
        made = self._health
        if made is None:
            checks = self.node.node_level_checks()
            if self.checks:
                checks = checks + [check for _, check in sorted(self.checks.items())]
            made = self._health = CheckServiceNode(self.node.row, self.row, checks)
        return made


class Group:
    """The instances of one service name, or those through which a service is reached in the mesh.

    :ivar index: of the instances and their nodes. :ivar health_index: of their checks, too.
    """

    __slots__ = (
        "_health",
        "_nodes",
        "_ordered",
        "_tags",
        "health_index",
        "index",
        "members",
        "name",
        "watch",
    )

    def __init__(self, name: str, watch: tuple[tuple[str, str], tuple[str, str]]) -> None:
        self.name = name
        self.watch = watch
        self.members: dict[RowKey, Instance] = {}
        self.index = 0
        self.health_index = 0
        self._ordered: list[Instance] | None = None
        self._nodes: list[ServiceNode] | None = None
        self._health: list[CheckServiceNode] | None = None
        self._tags: dict[str, list[str]] | None = None

    def changed(self, index: int, watches: Watches, *, health_only: bool = False) -> None:
        """Something about an instance, or only about its health, has changed."""
        self.health_index = index
        self._health = None
        watches.touch(self.watch[1])
        if not health_only:
            self.index = index
            self._nodes = None
            self._tags = None
            watches.touch(self.watch[0])

    def add(self, instance: Instance) -> None:
        """Take in an instance; the caller says ``changed``."""
        self.members[instance.key] = instance
        self._ordered = None

    def discard(self, instance: Instance) -> None:
        """Let an instance go; the caller says ``changed``."""
        del self.members[instance.key]
        self._ordered = None

    def ordered(self) -> list[Instance]:
        """The instances by node and id. Callers leave the list as it is, as with those below."""
        if self._ordered is None:
            self._ordered = [instance for _, instance in sorted(self.members.items())]
        return self._ordered

    def nodes(self) -> list[ServiceNode]:
        """The rows of /v1/catalog/service."""
        if self._nodes is None:
            self._nodes = [instance.service_node() for instance in self.ordered()]
        return self._nodes

    def health(self) -> list[CheckServiceNode]:
        """The rows of /v1/health/service."""
        if self._health is None:
            self._health = [instance.health() for instance in self.ordered()]
        return self._health

    def tags(self) -> dict[str, list[str]]:
        """Each spelling of the name with the tags of its instances, sorted."""
        if self._tags is None:
            found: dict[str, set[str]] = {}
            for instance in self.ordered():
                found.setdefault(instance.row.service, set()).update(instance.row.tags or ())
            self._tags = {name: sorted(tags) for name, tags in found.items()}
        return self._tags


class GroupShelf:
    """Groups by name.

    :ivar graves: by group, the node and the id of instances that went.
    """

    def __init__(self, kind: str, health_kind: str) -> None:
        self._kinds = kind, health_kind
        self.groups: dict[str, Group] = {}
        self.gone = 0
        self.graves = Graves()

    def get(self, name: str) -> Group | None:
        """The group of that name, whatever its case."""
        return self.groups.get(name.lower())

    def watch(self, name: str) -> tuple[tuple[str, str], tuple[str, str]]:
        """The watch keys for the instances and for their health."""
        lower = name.lower()
        return (self._kinds[0], lower), (self._kinds[1], lower)

    def add(self, name: str, instance: Instance) -> None:
        """Put ``instance`` into the group ``name``; the caller says ``changed``."""
        key = name.lower()
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = Group(key, self.watch(key))
        group.add(instance)
        instance.groups.append(group)

    def discard(self, index: int, name: str, instance: Instance, watches: Watches) -> None:
        """Take ``instance`` out of the group ``name``."""
        group = self.groups[name.lower()]
        group.discard(instance)
        self.graves.bury(index, group.name, (instance.node.row.node, instance.row.id))
        instance.groups.remove(group)
        group.changed(index, watches)
        if not group.members:
            del self.groups[group.name]
            self.gone = index

    def indexes(self) -> dict[str, tuple[int, int]]:
        """For snapshots: both indexes of each group, in an order that a restored store has, too."""
        return {name: (group.index, group.health_index) for name, group in sorted(self.groups.items())}

    def restore(self, indexes: dict[str, tuple[int, int]], gone: int) -> None:
        """Take over the indexes, once the instances are there."""
        self.gone = gone
        for name, (index, health_index) in indexes.items():
            group = self.groups[name]
            group.index, group.health_index = index, health_index
            for instance in group.members.values():
                instance.index = max(instance.index, index)
                instance.health_index = max(instance.health_index, health_index)


class CheckView:
    """Checks that have something in common."""

    __slots__ = ("_ordered", "index", "members")

    def __init__(self) -> None:
        self.index = 0
        self.members: dict[RowKey, HealthCheck] = {}
        self._ordered: list[HealthCheck] | None = None

    def put(self, index: int, key: RowKey, check: HealthCheck | None) -> None:
        """Set or with ``None`` remove a check."""
        self.index = index
        self._ordered = None
        if check is None:
            del self.members[key]
        else:
            self.members[key] = check

    def ordered(self) -> list[HealthCheck]:
        """The checks by node and id; callers leave the list as it is."""
        if self._ordered is None:
            self._ordered = [check for _, check in sorted(self.members.items())]
        return self._ordered


class CheckShelf:
    """Views of checks by name, such as all in one state."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._views: dict[str, CheckView] = {}
        self.gone = 0

    def read(self, name: str) -> tuple[int, list[HealthCheck]]:
        """The index of a view and its checks."""
        view = self._views.get(name)
        return (self.gone, []) if view is None else (view.index, view.ordered())

    def move(
        self,
        index: int,
        key: RowKey,
        old: str | None,
        new: str | None,
        check: HealthCheck | None,
        watches: Watches,
    ) -> None:
        """A check that was in the view ``old`` is now ``check`` in ``new``; ``None``: in none."""
        if old is not None and old != new:
            view = self._views[old]
            view.put(index, key, None)
            if not view.members:
                del self._views[old]
                self.gone = index
            watches.touch((self._kind, old))
        if new is not None:
            found = self._views.get(new)
            if found is None:
                found = self._views[new] = CheckView()
            found.put(index, key, check)
            watches.touch((self._kind, new))

    def indexes(self) -> dict[str, int]:
        """For snapshots: the index of each view, in an order that a restored store has, too."""
        return {name: view.index for name, view in sorted(self._views.items())}

    def restore(self, indexes: dict[str, int], gone: int) -> None:
        """Take over the indexes, once the checks are there."""
        self.gone = gone
        for name, index in indexes.items():
            self._views[name].index = index


def connect_name(row: NodeService) -> str:
    """The service that is reached in the mesh through this instance; empty if none is."""
    if row.kind == CONNECT_PROXY and row.proxy.destination_service_name:
        return row.proxy.destination_service_name
    return row.service if row.connect and row.connect.get("Native") else ""


def meta_matches(row: Node, wanted: dict[str, str]) -> bool:
    """Whether a node has all the pairs."""
    meta = row.meta or {}
    return all(meta.get(name) == value for name, value in wanted.items())


def tags_of(instances: Iterator[NodeService]) -> dict[str, list[str]]:
    """Each service name with the tags of its instances, both sorted."""
    found: dict[str, set[str]] = {}
    for row in instances:
        found.setdefault(row.service, set()).update(row.tags or ())
    return {name: sorted(tags) for name, tags in sorted(found.items())}


def _service_node(node: Node, row: NodeService) -> ServiceNode:
    return ServiceNode(
        id=node.id,
        node=node.node,
        address=node.address,
        datacenter=node.datacenter,
        tagged_addresses=node.tagged_addresses,
        node_meta=node.meta,
        service_kind=row.kind or "",
        service_id=row.id,
        service_name=row.service,
        service_tags=row.tags,
        service_address=row.address,
        service_tagged_addresses=row.tagged_addresses or UNSET,
        service_weights=row.weights,
        service_meta=row.meta or {},
        service_port=row.port,
        service_enable_tag_override=row.enable_tag_override,
        service_proxy=row.proxy,
        service_connect=row.connect,
        create_index=row.create_index,
        modify_index=row.modify_index,
    )
