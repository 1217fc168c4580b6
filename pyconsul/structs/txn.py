"""Transactions: operations on keys, nodes, services and checks that take effect all or not at all (Txn.*)."""

from __future__ import annotations

from msgspec import Struct, field

from pyconsul.structs.catalog import HealthCheck, Node, NodeService
from pyconsul.structs.kv import DirEntry
from pyconsul.structs.query import QueryMeta, QueryOptions, WriteRequest

OPERATIONS_MAX = 64
READS = frozenset(("get", "get-tree", "check-index", "check-session", "check-not-exists"))
"""Verbs that write nothing."""
WRITES = frozenset((
    "set", "cas", "lock", "unlock", "delete", "delete-tree", "delete-cas",
))  # fmt: skip
"""Verbs that may write."""


class TxnKVOp(Struct, rename="pascal", kw_only=True, gc=False):
    """An operation on one key, or for ``get-tree`` and ``delete-tree`` on all that start with it.

    :ivar dir_ent: its ``modify_index`` is the index that ``cas`` and the like compare with.
    """

    verb: str = ""
    dir_ent: DirEntry = field(name="DirEnt", default_factory=lambda: DirEntry(key=""))


class TxnNodeOp(Struct, rename="pascal", kw_only=True, gc=False):
    """An operation on a node, which is found by its id if that is given, else by name."""

    verb: str = ""
    node: Node = field(default_factory=lambda: Node(node="", address=""))


class TxnServiceOp(Struct, rename="pascal", kw_only=True, gc=False):
    """An operation on a service instance of ``node``."""

    verb: str = ""
    node: str = ""
    service: NodeService = field(default_factory=NodeService)


class TxnCheckOp(Struct, rename="pascal", kw_only=True, gc=False):
    """An operation on a check."""

    verb: str = ""
    check: HealthCheck = field(default_factory=HealthCheck)


class TxnOp(Struct, rename="pascal", kw_only=True, omit_defaults=True, gc=False):
    """One operation; the first that is given counts, with none it does nothing."""

    kv: TxnKVOp | None = field(default=None, name="KV")
    node: TxnNodeOp | None = None
    service: TxnServiceOp | None = None
    check: TxnCheckOp | None = None


class TxnRequest(WriteRequest, rename="pascal", kw_only=True):
    """Txn.Apply: a transaction in which something may be written."""

    datacenter: str = ""
    ops: list[TxnOp] = []


class TxnReadRequest(QueryOptions, rename="pascal", kw_only=True):
    """Txn.Read: a transaction that only reads, as one moment shows it."""

    datacenter: str = ""
    ops: list[TxnOp] = []


class TxnResult(Struct, rename="pascal", frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What one operation gives: a row as it is then, values only where they were asked for."""

    kv: DirEntry | None = field(default=None, name="KV")
    node: Node | None = None
    service: NodeService | None = None
    check: HealthCheck | None = None


class TxnError(Struct, rename="pascal", frozen=True, gc=False):
    """Why a transaction was not made.

    :ivar op_index: the place of the operation that failed.
    """

    op_index: int
    what: str


class TxnResponse(Struct, rename="pascal", kw_only=True):
    """Either results or errors; the other is ``None``."""

    results: list[TxnResult] | None = None
    errors: list[TxnError] | None = None


class TxnReadResponse(QueryMeta, rename="pascal", kw_only=True):
    """As ``TxnResponse``, with what a read tells about itself."""

    results: list[TxnResult] | None = None
    errors: list[TxnError] | None = None
