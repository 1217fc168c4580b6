"""Txn.*: several operations that take effect all or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from pyconsul.endpoints.base import Answered, Read, read, write
from pyconsul.endpoints.catalog import mesh_fault, service_fault, service_meta_fault
from pyconsul.errors import TooLarge
from pyconsul.state import commands
from pyconsul.state.operations import PUTS, KVOp, NodeOp, Op, ServiceOp
from pyconsul.state.store import Store
from pyconsul.state.txn import Transactions
from pyconsul.state.uuids import node_id_fault
from pyconsul.structs.txn import (
    OPERATIONS_MAX,
    TxnError,
    TxnOp,
    TxnReadRequest,
    TxnReadResponse,
    TxnRequest,
    TxnResponse,
)


class Txn:
    """Transactions.

    :param datacenter: the name of this one.
    :param delayed: whether a key may not be locked yet, for the session that held it ended just now.
    """

    def __init__(
        self, store: Store, datacenter: str, delayed: Callable[[str], bool] = lambda key: False
    ) -> None:
        self._store = store
        self._datacenter = datacenter
        self._delayed = delayed
        self._transactions = Transactions(store)

    @write("Txn.Apply", TxnRequest, TxnResponse)
    def apply(self, request: TxnRequest) -> bytes | Answered:
        """Make a transaction. That it cannot be made is a reply, not an error.

        :raises PyconsulError: if there are too many operations, or one that cannot be read.
        """
        ops = _operations(request.ops)
        errors = self._faults(ops)
        if errors:
            return Answered(TxnResponse(errors=errors))
        return commands.encode_txn([self._completed(op) for op in ops])

    @read("Txn.Read", TxnReadRequest, TxnReadResponse)
    def read(self, request: TxnReadRequest) -> Read:
        """What operations that write nothing give, all at one moment.

        :raises PyconsulError: if there are too many operations.
        """
        request.min_query_index = 0  # it never waits
        ops = _operations(request.ops)
        errors = [TxnError(place, fault) for place, op in enumerate(ops) if (fault := _key_fault(op))]
        found = TxnResponse(errors=errors) if errors else self._transactions.read(ops)
        reply = TxnReadResponse(results=found.results, errors=found.errors)
        return Read(self._store.index, reply, ())

    def _faults(self, ops: Sequence[Op | None]) -> list[TxnError]:
        """What is wrong with operations whatever the store holds."""
        faults = ((place, _fault(op) or self._delay(op)) for place, op in enumerate(ops))
        return [TxnError(place, fault) for place, fault in faults if fault]

    def _delay(self, op: Op | None) -> str:
        if isinstance(op, KVOp) and op.verb == "lock" and self._delayed(op.key):
            return f'failed to lock key "{op.key}" due to lock delay'
        return ""

    def _completed(self, op: Op | None) -> Op | None:
        if isinstance(op, NodeOp) and not op.row.datacenter:
            return replace(op, row=replace(op.row, datacenter=self._datacenter))
        return op


def _operations(ops: Sequence[TxnOp]) -> list[Op | None]:
    if len(ops) > OPERATIONS_MAX:
        raise TooLarge(f"Transaction contains too many operations ({len(ops)} > {OPERATIONS_MAX})")
    return commands.operations(ops)


def _fault(op: Op | None) -> str:
    if isinstance(op, NodeOp):
        if not op.row.node:
            return "Must provide node"
        return node_id_fault(op.row.id) if op.row.id else ""
    if isinstance(op, ServiceOp):
        if op.verb == "get" or not (op.row.service or op.row.id):
            return ""
        fault = service_fault(op.row)
        if fault or op.verb not in PUTS:
            return fault
        return service_meta_fault(op.node, op.row) or mesh_fault(op.row)
    return _key_fault(op)


def _key_fault(op: Op | None) -> str:
    missing = isinstance(op, KVOp) and not op.key and op.verb != "delete-tree"
    return "Must provide key" if missing else ""
