"""The operations that a transaction is made of: what each verb does to the store, alone.

Errors are in Consul's words. An operation that fails has written nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import UNSET, Struct
from msgspec.structs import replace

from pyconsul.errors import PyconsulError
from pyconsul.structs.catalog import HealthCheck, Node, NodeService
from pyconsul.structs.kv import DirEntry
from pyconsul.structs.txn import TxnResult

if TYPE_CHECKING:
    from pyconsul.state.store import Store

PUTS, DELETES = ("set", "cas"), ("delete", "delete-cas")
"""Verbs of operations on rows of the catalog: those that store one, and those that remove one."""


class KVOp(Struct, array_like=True, tag=0, frozen=True, gc=False):
    """An operation on a key. :ivar expected: the index that some verbs compare with."""

    verb: str
    key: str
    value: bytes | None = None
    flags: int = 0
    expected: int = 0
    session: str = ""


class NodeOp(Struct, array_like=True, tag=1, frozen=True, gc=False):
    """An operation on a node; what is to be written is in canonical form, as in those below."""

    verb: str
    row: Node


class ServiceOp(Struct, array_like=True, tag=2, frozen=True, gc=False):
    """An operation on a service."""

    verb: str
    node: str
    row: NodeService


class CheckOp(Struct, array_like=True, tag=3, frozen=True, gc=False):
    """An operation on a check."""

    verb: str
    row: HealthCheck


Op: TypeAlias = KVOp | NodeOp | ServiceOp | CheckOp
Results: TypeAlias = list[TxnResult]
Run: TypeAlias = Callable[[int, Any, Results], str | None]
"""Makes an operation and adds its results; a text says why it was not made."""

SURE = frozenset(("set", "delete", "delete-tree", "get-tree"))
"""Operations on keys that cannot fail."""
_KINDS: dict[type[Op], str] = {KVOp: "KV", NodeOp: "Node", ServiceOp: "Service", CheckOp: "Check"}


def unknown(op: Op) -> str:
    """What is answered to a verb that does not exist."""
    return f'unknown {_KINDS[type(op)]} verb "{op.verb}"'


def verbs(store: Store) -> dict[tuple[type[Op], str], Run]:
    """All operations on ``store``, by kind and verb."""
    return {
        (kind, verb): run
        for kind, runs in (
            (KVOp, _KeyVerbs(store).runs),
            (NodeOp, _NodeVerbs(store).runs),
            (ServiceOp, _ServiceVerbs(store).runs),
            (CheckOp, _CheckVerbs(store).runs),
        )
        for verb, run in runs.items()
    }


# ---------------------------------------------------------------- keys


def _without_value(row: DirEntry) -> TxnResult:
    if row.value is None:
        return TxnResult(kv=row)
    return TxnResult(
        kv=DirEntry(
            lock_index=row.lock_index,
            key=row.key,
            flags=row.flags,
            session=row.session,
            create_index=row.create_index,
            modify_index=row.modify_index,
        )
    )


class _KeyVerbs:
    """The verbs of keys."""

    def __init__(self, store: Store) -> None:
        self._kv = store.kv
        self.runs: dict[str, Run] = {
            "set": self._set,
            "cas": self._cas,
            "lock": self._lock,
            "unlock": self._unlock,
            "get": self._get,
            "get-tree": self._get_tree,
            "check-index": self._check_index,
            "check-session": self._check_session,
            "check-not-exists": self._check_not_exists,
            "delete": self._delete,
            "delete-tree": self._delete_tree,
            "delete-cas": self._delete_cas,
        }

    def _written(self, op: KVOp, results: Results) -> None:
        row = self._kv.row(op.key)
        assert row is not None
        results.append(_without_value(row))

    def _set(self, index: int, op: KVOp, results: Results) -> str | None:
        results.append(_without_value(self._kv.write(index, op.key, op.value, op.flags)))
        return None

    def _cas(self, index: int, op: KVOp, results: Results) -> str | None:
        if not self._kv.cas(index, op.key, op.value, op.flags, op.expected):
            return f'failed to set key "{op.key}", index is stale'
        self._written(op, results)
        return None

    def _lock(self, index: int, op: KVOp, results: Results) -> str | None:
        locked = self._kv.lock(index, op.key, op.value, op.flags, op.session)
        if isinstance(locked, PyconsulError):
            return str(locked)
        if not locked:
            return f'failed to lock key "{op.key}", lock is already held'
        self._written(op, results)
        return None

    def _unlock(self, index: int, op: KVOp, results: Results) -> str | None:
        unlocked = self._kv.unlock(index, op.key, op.value, op.flags, op.session)
        if isinstance(unlocked, PyconsulError):
            return str(unlocked)
        if not unlocked:
            return f'failed to unlock key "{op.key}", lock isn\'t held, or is held by another session'
        self._written(op, results)
        return None

    def _get(self, index: int, op: KVOp, results: Results) -> str | None:
        row = self._kv.row(op.key)
        if row is None:
            return f'key "{op.key}" doesn\'t exist'
        results.append(TxnResult(kv=row))
        return None

    def _get_tree(self, index: int, op: KVOp, results: Results) -> str | None:
        results.extend(TxnResult(kv=row) for row in self._kv.under(op.key)[1])
        return None

    def _check_index(self, index: int, op: KVOp, results: Results) -> str | None:
        row = self._kv.row(op.key)
        if row is None:
            return f'failed to check index, key "{op.key}" doesn\'t exist'
        if row.modify_index != op.expected:
            current = row.modify_index
            return f'failed index check for key "{op.key}", current modify index {current} != {op.expected}'
        results.append(_without_value(row))
        return None

    def _check_session(self, index: int, op: KVOp, results: Results) -> str | None:
        row = self._kv.row(op.key)
        if row is None:
            return f'failed to check session, key "{op.key}" doesn\'t exist'
        holder = "" if row.session is UNSET else row.session
        if holder != op.session:
            return f'failed session check for key "{op.key}", current session "{holder}" != "{op.session}"'
        results.append(_without_value(row))
        return None

    def _check_not_exists(self, index: int, op: KVOp, results: Results) -> str | None:
        return None if self._kv.row(op.key) is None else f'key "{op.key}" exists'

    def _delete(self, index: int, op: KVOp, results: Results) -> str | None:
        self._kv.delete(index, op.key)
        return None

    def _delete_tree(self, index: int, op: KVOp, results: Results) -> str | None:
        self._kv.delete_tree(index, op.key)
        return None

    def _delete_cas(self, index: int, op: KVOp, results: Results) -> str | None:
        if self._kv.delete_cas(index, op.key, op.expected):
            return None
        return f'failed to delete key "{op.key}", index is stale'


# ---------------------------------------------------------------- nodes, services, checks


class _RowVerbs:
    """The verbs of a table of the catalog. Subclasses say how a row is named, found, written, removed."""

    def __init__(self, store: Store) -> None:
        self._catalog = store.catalog
        self.runs: dict[str, Run] = {
            "set": self._set,
            "cas": self._cas,
            "get": self._get,
            "delete": self._delete,
            "delete-cas": self._delete_cas,
        }

    def _name(self, op: Any) -> str:
        raise NotImplementedError

    def _find(self, op: Any) -> Any:
        raise NotImplementedError

    def _put(self, index: int, op: Any) -> None:
        """:raises Refused: with nothing written."""
        raise NotImplementedError

    def _remove(self, index: int, op: Any) -> None:
        raise NotImplementedError

    def _result(self, row: Any) -> TxnResult:
        raise NotImplementedError

    def _set(self, index: int, op: Any, results: Results) -> str | None:
        self._put(index, op)
        results.append(self._result(self._find(op)))
        return None

    def _cas(self, index: int, op: Any, results: Results) -> str | None:
        row = self._find(op)
        if (0 if row is None else row.modify_index) != op.row.modify_index:
            return f"failed to set {self._name(op)}, index is stale"
        return self._set(index, op, results)

    def _get(self, index: int, op: Any, results: Results) -> str | None:
        row = self._find(op)
        if row is None:
            return f"{self._name(op)} doesn't exist"
        results.append(self._result(row))
        return None

    def _delete(self, index: int, op: Any, results: Results) -> str | None:
        self._remove(index, op)
        return None

    def _delete_cas(self, index: int, op: Any, results: Results) -> str | None:
        row = self._find(op)
        if row is None or row.modify_index != op.row.modify_index:
            return f"failed to delete {self._name(op)}, index is stale"
        self._remove(index, op)
        return None


class _NodeVerbs(_RowVerbs):
    def _name(self, op: NodeOp) -> str:
        return f'node "{op.row.node}"'

    def _find(self, op: NodeOp) -> Node | None:
        row = op.row
        found = None
        if row.id and op.verb not in DELETES:  # those go by the name alone
            found = self._catalog.node_by_id(row.id)
            if op.verb == "get":
                return found
        return found or self._catalog.node(row.node)

    def _put(self, index: int, op: NodeOp) -> None:
        self._catalog.put_node(index, op.row)

    def _remove(self, index: int, op: NodeOp) -> None:
        self._catalog.remove_node(index, op.row.node)

    def _result(self, row: Node) -> TxnResult:
        return TxnResult(node=row)


class _ServiceVerbs(_RowVerbs):
    """Results have ``null`` where there are no tags, which no other answer has; so with checks."""

    def _name(self, op: ServiceOp) -> str:
        return f'service "{op.row.id}" on node "{op.node}"'

    def _find(self, op: ServiceOp) -> NodeService | None:
        return self._catalog.service_of(op.node, op.row.id)

    def _put(self, index: int, op: ServiceOp) -> None:
        self._catalog.put_service(index, op.node, op.row)

    def _remove(self, index: int, op: ServiceOp) -> None:
        self._catalog.remove_service(index, op.node, op.row.id)

    def _result(self, row: NodeService) -> TxnResult:
        return TxnResult(service=row if row.tags else replace(row, tags=None))


class _CheckVerbs(_RowVerbs):
    def _name(self, op: CheckOp) -> str:
        return f'check "{op.row.check_id}" on node "{op.row.node}"'

    def _find(self, op: CheckOp) -> HealthCheck | None:
        return self._catalog.node_check(op.row.node, op.row.check_id)

    def _put(self, index: int, op: CheckOp) -> None:
        self._catalog.put_check(index, op.row)

    def _remove(self, index: int, op: CheckOp) -> None:
        self._catalog.remove_check(index, op.row.node, op.row.check_id)

    def _result(self, row: HealthCheck) -> TxnResult:
        return TxnResult(check=row if row.service_tags else replace(row, service_tags=None))
