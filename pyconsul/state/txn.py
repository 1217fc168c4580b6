"""Transactions: several operations, applied as one command, all of them or none.

Nothing is ever undone. Operations that may fail and come before anything is written are simply tried.
If one comes later, the whole transaction is first rehearsed on an excerpt of the store: another
store, with just the rows that the operations name and what hangs on them, to which the very same
code is applied. So whether a transaction can be made is found out by making it where it does not
count, and a transaction of sets alone costs no more than its sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from pyconsul.errors import PyconsulError
from pyconsul.state.operations import SURE, CheckOp, KVOp, NodeOp, Op, Results, ServiceOp, unknown, verbs
from pyconsul.structs.txn import READS, TxnError, TxnResponse

if TYPE_CHECKING:
    from pyconsul.state.store import Store


class TxnCommand(Struct, array_like=True, frozen=True):
    """The log command of Txn.Apply; ``None`` stands where an operation says nothing."""

    ops: list[Op | None]


class Transactions:
    """Makes transactions on ``store``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._verbs = verbs(store)

    def apply(self, index: int, ops: Sequence[Op | None]) -> TxnResponse:
        """Make all of ``ops``, in order, or say which cannot be made and leave everything as it was."""
        if _may_fail_late(ops):
            errors = self._rehearse(index, ops)
            if errors:
                return TxnResponse(errors=errors)
        results: Results = []
        for place, op in enumerate(ops):
            if op is not None and self._run(index, op, results) is not None:
                # Nothing is written yet. What else would fail is found out where it does no harm.
                assert not any(earlier is not None and earlier.verb not in READS for earlier in ops[:place])
                return TxnResponse(errors=self._rehearse(index, ops))
        return TxnResponse(results=results)

    def read(self, ops: Sequence[Op | None]) -> TxnResponse:
        """The same for operations none of which writes, outside the log."""
        results: Results = []
        errors = []
        for place, op in enumerate(ops):
            if op is not None:
                fault = self._run(0, op, results) if op.verb in READS else unknown(op)
                if fault is not None:
                    errors.append(TxnError(place, fault))
        return TxnResponse(errors=errors) if errors else TxnResponse(results=results)

    def _run(self, index: int, op: Op, results: Results) -> str | None:
        run = self._verbs.get((type(op), op.verb))
        if run is None:
            return unknown(op)
        try:
            return run(index, op, results)
        except PyconsulError as error:  # refused with nothing written
            return str(error)

    def _rehearse(self, index: int, ops: Sequence[Op | None]) -> list[TxnError]:
        """What would fail if ``ops`` were made now; those that fail are left out, as Consul does."""
        rehearsal = Transactions(self._excerpt(ops))
        faults = ((place, rehearsal._run(index, op, [])) for place, op in enumerate(ops) if op is not None)
        return [TxnError(place, fault) for place, fault in faults if fault is not None]

    def _excerpt(self, ops: Sequence[Op | None]) -> Store:
        keys: dict[str, None] = {}
        nodes: dict[str, None] = {}
        sessions: dict[str, None] = {}
        for op in ops:
            if type(op) is KVOp:
                keys[op.key] = None
                sessions[op.session] = None
            elif type(op) is NodeOp:
                nodes[op.row.node] = None
                same = self._store.catalog.node_by_id(op.row.id)
                if same is not None:  # it may get another name
                    nodes[same.node] = None
            elif type(op) is ServiceOp:
                nodes[op.node] = None
            elif type(op) is CheckOp:
                nodes[op.row.node] = None
        return self._store.excerpt(keys, nodes, sessions)


def _may_fail_late(ops: Sequence[Op | None]) -> bool:
    """Whether an operation that may fail comes after one that writes."""
    written = False
    for op in ops:
        if op is not None:
            verb = op.verb
            sure = verb in SURE and type(op) is KVOp
            if written and not sure:
                return True
            written = written or verb not in READS
    return False
