"""What changed since an index, instead of all there is (Changes.*, which Consul has not).

Whoever holds what a view showed at ``since`` has, after each reply, what it shows at ``as_of``: by
dropping what ``reset``, ``deleted_prefixes`` and ``deleted`` say, in this order, then taking over
``changed``.
"""

from __future__ import annotations

from msgspec import Struct, field

from pyconsul.structs.catalog import CheckServiceNode, Node, ServiceNode
from pyconsul.structs.kv import DirEntry
from pyconsul.structs.query import QueryMeta, QueryOptions


class ChangesRequest(QueryOptions, rename="pascal", kw_only=True):
    """What to look at. Which fields count depends on the method.

    :ivar since: what was at this index or before is known; 0: nothing is.
    :ivar prefix: of keys. :ivar name: of a service. :ivar connect: as for ``ServiceSpecificRequest``.
    :ivar tags: all of them are needed, without regard to case. :ivar passing: only where all checks do.
    """

    datacenter: str = ""
    since: int = 0
    prefix: str = ""
    name: str = ""
    connect: bool = False
    tags: list[str] | None = None
    passing: bool = False
    node_meta_filters: dict[str, str] | None = None


class ChangesReply(QueryMeta, rename="pascal", kw_only=True):
    """What all replies have in common.

    :ivar as_of: the ``since`` to go on with.
    :ivar reset: ``changed`` is all there is; what was known before means nothing any more.
    """

    as_of: int = 0
    reset: bool = False


class InstanceKey(Struct, rename="pascal", frozen=True):
    """What an instance of a service is known by, without regard to case."""

    node: str
    service_id: str = field(name="ServiceID")


class KVChangesReply(ChangesReply, rename="pascal", kw_only=True):
    """Entries under a prefix. :ivar deleted_prefixes: everything under these went."""

    changed: list[DirEntry] = []
    deleted: list[str] = []
    deleted_prefixes: list[str] = []


class NodeChangesReply(ChangesReply, rename="pascal", kw_only=True):
    """Nodes, known by name without regard to case."""

    changed: list[Node] = []
    deleted: list[str] = []


class ServiceChangesReply(ChangesReply, rename="pascal", kw_only=True):
    """Names of services with their tags."""

    changed: dict[str, list[str]] = {}
    deleted: list[str] = []


class InstanceChangesReply(ChangesReply, rename="pascal", kw_only=True):
    """Instances of a service."""

    changed: list[ServiceNode] = []
    deleted: list[InstanceKey] = []


class HealthChangesReply(ChangesReply, rename="pascal", kw_only=True):
    """Instances of a service with their checks."""

    changed: list[CheckServiceNode] = []
    deleted: list[InstanceKey] = []
