"""Applying the log: the only code that changes a store.

Applying is pure: the same commands from the same snapshot give the same store, byte for byte, and
the same results. A refusal is a result too. It is decided by what the log says and what the store
holds, never by clock, chance or configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from pyconsul.errors import PyconsulError, Refused
from pyconsul.state import commands
from pyconsul.state.autopilot import AutopilotCommand
from pyconsul.state.catalog import Deregistration, Registration
from pyconsul.state.commands import CollectGraves, KVCommand
from pyconsul.state.coordinate import CoordinateBatch
from pyconsul.state.queries import QueryCommand
from pyconsul.state.session import CREATE, DESTROY, SessionCommand
from pyconsul.state.store import Store
from pyconsul.state.txn import Transactions, TxnCommand
from pyconsul.structs.query import Empty
from pyconsul.structs.txn import TxnResponse

_Decode: TypeAlias = Callable[[bytes], Any]
_Run: TypeAlias = Callable[[int, Any], Any]


class FSM:
    """Applies commands to ``store``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watches = store.watches
        self._transactions = Transactions(store)
        self._kinds: dict[int, tuple[_Decode, _Run]] = {}
        self.add(commands.KVS, KVCommand, self._kv)
        self.add(commands.REGISTER, Registration, self._register)
        self.add(commands.DEREGISTER, Deregistration, self._deregister)
        self.add(commands.SESSION, SessionCommand, self._session)
        self.add(commands.COORDINATE, CoordinateBatch, self._coordinates)
        self.add(commands.TXN, TxnCommand, self._txn)
        self.add(commands.AUTOPILOT, AutopilotCommand, store.autopilot.apply)
        self.add(commands.QUERY, QueryCommand, store.queries.apply)
        self.add(commands.TOMBSTONE, CollectGraves, self._collect_graves)

    def add(self, kind: int, command: type[msgspec.Struct], run: _Run) -> None:
        """Make ``run(index, command)`` apply commands of ``kind``; it gives the reply or an error."""
        self._kinds[kind] = msgspec.msgpack.Decoder(command).decode, run

    @property
    def store(self) -> Store:
        """What is changed."""
        return self._store

    def apply(self, index: int, data: bytes) -> Any:
        """Apply the entry at ``index``: the reply, or a ``PyconsulError`` that is returned.

        Whoever watches something that changed is woken once, before this returns.
        """
        store = self._store
        store.index = index
        try:
            decode, run = self._kinds[data[0]]
            command = decode(data[1:])
        except (LookupError, msgspec.MsgspecError):
            return _unreadable(data, self._kinds)
        try:
            result = run(index, command)
        except PyconsulError as error:  # refused before anything was written
            return error
        if self._watches.pending:
            self._watches.fire()
        return result

    def _kv(self, index: int, command: KVCommand) -> bool | PyconsulError:
        kv = self._store.kv
        op = command.op
        if op == commands.SET:
            kv.write(index, command.key, command.value, command.flags)
            return True
        if op == commands.CAS:
            return kv.cas(index, command.key, command.value, command.flags, command.expected)
        if op == commands.DELETE:
            return kv.delete(index, command.key)
        if op == commands.DELETE_CAS:
            return kv.delete_cas(index, command.key, command.expected)
        if op == commands.DELETE_TREE:
            return kv.delete_tree(index, command.key)
        if op == commands.LOCK:
            return kv.lock(index, command.key, command.value, command.flags, command.session)
        if op == commands.UNLOCK:
            return kv.unlock(index, command.key, command.value, command.flags, command.session)
        return Refused(f"unknown operation {op} on the key/value table")

    def _register(self, index: int, command: Registration) -> Empty:
        self._store.catalog.register(index, command)
        return Empty()

    def _deregister(self, index: int, command: Deregistration) -> Empty:
        self._store.catalog.deregister(index, command)
        return Empty()

    def _session(self, index: int, command: SessionCommand) -> str | PyconsulError:
        if command.op == CREATE:
            return self._store.sessions.create(index, command.session)
        if command.op == DESTROY:
            self._store.sessions.destroy(index, command.session.id)
            return ""
        return Refused(f"unknown operation {command.op} on the session table")

    def _coordinates(self, index: int, command: CoordinateBatch) -> Empty:
        self._store.coordinates.apply(index, command)
        return Empty()

    def _txn(self, index: int, command: TxnCommand) -> TxnResponse:
        return self._transactions.apply(index, command.ops)

    def _collect_graves(self, index: int, command: CollectGraves) -> Empty:
        self._store.kv.collect_graves(command.index)
        return Empty()


def _unreadable(data: bytes, kinds: dict[int, tuple[_Decode, _Run]]) -> PyconsulError:
    if not data:
        return Refused("empty log command")
    if data[0] not in kinds:
        return Refused(f"unknown log command of type {data[0]}")
    return Refused(f"unreadable log command of type {data[0]}")
