"""Changes.*: what became of a view since an index, deletions included. Consul has nothing like it.

A row that changed so that the request does not want it any more counts as deleted; so may one that
it never wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from pyconsul.endpoints.base import Read, read
from pyconsul.errors import Refused
from pyconsul.state.shelves import Instance, meta_matches
from pyconsul.state.store import Store
from pyconsul.structs.catalog import PASSING, CheckServiceNode, Node, ServiceNode
from pyconsul.structs.changes import (
    ChangesReply,
    ChangesRequest,
    HealthChangesReply,
    InstanceChangesReply,
    InstanceKey,
    KVChangesReply,
    NodeChangesReply,
    ServiceChangesReply,
)

Test = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class _View:
    """One of the two forms in which instances are shown.

    :ivar row: what an instance becomes by ``row_of``.
    :ivar index_of: at which index that changed last.
    :ivar watches: what to wait on, and what through the mesh.
    """

    row: type
    row_of: Callable[[Instance], Any]
    index_of: Callable[[Instance], int]
    watches: tuple[str, str]
    reply: Callable[..., ChangesReply]


_NODES = _View(
    ServiceNode,
    Instance.service_node,
    lambda instance: instance.index,
    ("service", "connect"),
    InstanceChangesReply,
)
_HEALTH = _View(
    CheckServiceNode,
    Instance.health,
    lambda instance: instance.health_index,
    ("health", "connect-health"),
    HealthChangesReply,
)


class Changes:
    """Reads of what changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kv = store.kv
        self._catalog = store.catalog

    @read("Changes.KV", ChangesRequest, KVChangesReply, "key:list")
    def kv(self, request: ChangesRequest) -> Read:
        """Entries under a prefix."""
        watch = ("kvp", request.prefix)
        changes = self._kv.changes(request.prefix, request.since) if self._is_known(request) else None
        if changes is None:
            return self._anew(KVChangesReply(changed=self._kv.under(request.prefix)[1]), watch)
        entries, gone, prefixes = changes
        reply = KVChangesReply(changed=entries, deleted=gone, deleted_prefixes=prefixes)
        return self._told(request, reply, watch, bool(entries or gone or prefixes))

    @read("Changes.Nodes", ChangesRequest, NodeChangesReply, "node:read")
    def nodes(self, request: ChangesRequest) -> Read:
        """Nodes."""
        catalog, watch, since = self._catalog, ("nodes",), request.since
        fits = _node_test(request)
        rows = catalog.nodes()
        gone = catalog.graves.since(since, "nodes") if self._is_known(request) else None
        if gone is None:
            return self._anew(NodeChangesReply(changed=[row for row in rows if fits(row)]), watch)
        changed = [row for row in rows if row.modify_index > since]
        deleted = [row.node for row in changed if not fits(row)]
        deleted += [name for name in _texts(gone) if catalog.node(name) is None]
        reply = NodeChangesReply(changed=[row for row in changed if fits(row)], deleted=deleted)
        return self._told(request, reply, watch, bool(changed or deleted))

    @read("Changes.Services", ChangesRequest, ServiceChangesReply, "service:read")
    def services(self, request: ChangesRequest) -> Read:
        """Names of services with their tags."""
        catalog, watch, since = self._catalog, ("services",), request.since
        gone = catalog.graves.since(since, "services") if self._is_known(request) else None
        if gone is None:
            return self._anew(ServiceChangesReply(changed=catalog.services()), watch)
        if catalog.services_index <= since:
            return self._told(request, ServiceChangesReply(), watch, False)
        changed: dict[str, list[str]] = {}
        for group in catalog.groups_changed(since):
            changed.update(group.tags())
        deleted = [name for name in _texts(gone) if name not in changed]
        reply = ServiceChangesReply(changed=changed, deleted=deleted)
        return self._told(request, reply, watch, bool(changed or deleted))

    @read("Changes.ServiceNodes", ChangesRequest, InstanceChangesReply, "service:read")
    def service_nodes(self, request: ChangesRequest) -> Read:
        """Instances of a service.

        :raises Refused: if no service is named, or the filter is none.
        """
        return self._of_instances(request, _NODES)

    @read("Changes.Health", ChangesRequest, HealthChangesReply, "service:read")
    def health(self, request: ChangesRequest) -> Read:
        """Instances of a service with their checks.

        :raises Refused: if no service is named, or the filter is none.
        """
        return self._of_instances(request, _HEALTH)

    def _of_instances(self, request: ChangesRequest, view: _View) -> Read:
        fits = _instance_test(request, view)
        changed, deleted = self._instances(request, view.index_of, fits)
        watch = (view.watches[request.connect], request.name.lower())
        rows = [view.row_of(instance) for instance in changed]
        if deleted is None:
            return self._anew(view.reply(changed=rows), watch)
        return self._told(request, view.reply(changed=rows, deleted=deleted), watch, bool(rows or deleted))

    def _instances(
        self, request: ChangesRequest, index_of: Callable[[Instance], int], fits: Test
    ) -> tuple[list[Instance], list[InstanceKey] | None]:
        """The instances that are wanted and changed, and those that are not wanted or not there any more.

        All that are wanted, and ``None``, if it is not known what went.
        """
        since = request.since
        group = self._catalog.group(request.name, request.connect)
        here = [] if group is None else group.ordered()
        gone = None
        if self._is_known(request):
            gone = self._catalog.instances_gone(request.name, since, request.connect)
        if gone is None:
            return [instance for instance in here if fits(instance)], None
        changed = [instance for instance in here if index_of(instance) > since]
        deleted = [
            InstanceKey(instance.node.row.node, instance.row.id) for instance in changed if not fits(instance)
        ]
        if gone:
            known = {instance.key for instance in here}
            for node, service_id in gone:
                if (node.lower(), service_id.lower()) not in known:
                    deleted.append(InstanceKey(node, service_id))
        return [instance for instance in changed if fits(instance)], deleted

    # ------------------------------------------------------------ what all have in common

    def _is_known(self, request: ChangesRequest) -> bool:
        """Whether what became of things after ``since`` is known here, as far as the store can tell.

        A server that lags behind waits for an index that it has not reached; on the leader there is none.
        """
        since, store = request.since, self._store
        if since < max(1, store.known_since):
            return False
        return since <= store.index or request.allow_stale

    def _anew(self, reply: ChangesReply, watch: tuple[Hashable, ...]) -> Read:
        reply.reset = True
        reply.as_of = self._store.index
        return Read(reply.as_of, reply, (watch,), at_once=True)

    def _told(
        self, request: ChangesRequest, reply: ChangesReply, watch: tuple[Hashable, ...], anything: bool
    ) -> Read:
        """Without news the index is the one that is waited with, so that the read waits."""
        reply.as_of = max(self._store.index, request.since)
        return Read(reply.as_of if anything else request.since, reply, (watch,))


def _texts(keys: Iterable[Hashable]) -> Iterable[str]:
    return (str(key) for key in keys)


def _node_test(request: ChangesRequest) -> Test:
    meta, test = request.node_meta_filters, _filter(request, Node)
    return lambda row: (not meta or meta_matches(row, meta)) and (test is None or test(row))


def _instance_test(request: ChangesRequest, view: _View) -> Callable[[Instance], bool]:
    """Whether an instance is wanted.

    :raises Refused: if no service is named, or the filter is none.
    """
    if not request.name:
        raise Refused("Must provide service name")
    meta, passing, test = request.node_meta_filters, request.passing, _filter(request, view.row)
    tags = frozenset(tag.lower() for tag in request.tags or ())

    def fits(instance: Instance) -> bool:
        if tags and not tags <= {tag.lower() for tag in instance.row.tags or ()}:
            return False
        if meta and not meta_matches(instance.node.row, meta):
            return False
        if passing and any(check.status != PASSING for check in instance.health().checks):
            return False
        return test is None or test(view.row_of(instance))

    return fits


def _filter(request: ChangesRequest, kind: type) -> Test | None:
    if not request.filter:
        return None
    from pyconsul.filters.compiled import make_test  # few ever filter

    return make_test(request.filter, kind)
