"""The commands in the log: a byte that tells the kind, then MessagePack.

Kinds carry Consul's own numbers. A command is array-like: fields may be added at its end, with
defaults, but not be moved. Tokens never get into one. Encoding is where requests get their
canonical form, so that applying needs no judgement.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pyconsul.errors import BadRequest
from pyconsul.state.autopilot import AutopilotCommand
from pyconsul.state.catalog import Deregistration, Registration
from pyconsul.state.coordinate import CoordinateBatch
from pyconsul.state.operations import DELETES, PUTS, CheckOp, KVOp, NodeOp, Op, ServiceOp
from pyconsul.state.queries import QueryCommand
from pyconsul.state.session import DESTROY, SessionCommand, canonical_session
from pyconsul.state.txn import TxnCommand
from pyconsul.structs.canonical import canonical_check, canonical_service
from pyconsul.structs.catalog import DeregisterRequest, RegisterRequest
from pyconsul.structs.coordinate import NodeCoordinate
from pyconsul.structs.kv import KVSRequest
from pyconsul.structs.operator import AutopilotConfig
from pyconsul.structs.prepared import PreparedQuery
from pyconsul.structs.session import Session
from pyconsul.structs.txn import TxnOp

REGISTER, DEREGISTER, KVS, SESSION, ACL, TOMBSTONE = range(6)
COORDINATE, QUERY = 6, 7
TXN, AUTOPILOT = 8, 9

KV_OPS = ("set", "delete", "delete-cas", "delete-tree", "cas", "lock", "unlock")
SET, DELETE, DELETE_CAS, DELETE_TREE, CAS, LOCK, UNLOCK = range(len(KV_OPS))
_NUMBERS = {op: number for number, op in enumerate(KV_OPS)}

_encode = msgspec.msgpack.Encoder().encode
_encode_into = msgspec.msgpack.Encoder().encode_into


class KVCommand(Struct, array_like=True, frozen=True, gc=False):
    """The log command of KVS.Apply.

    :ivar op: a place in ``KV_OPS``.
    :ivar key: for ``delete-tree`` a prefix. :ivar expected: for the two cas operations.
    """

    op: int
    key: str
    value: bytes | None = None
    flags: int = 0
    session: str = ""
    expected: int = 0


class CollectGraves(Struct, array_like=True, frozen=True):
    """Forget deletions of keys up to ``index``; the leader decides when."""

    index: int


def encode(kind: int, command: Struct) -> bytes:
    """The entry of the log for a command of ``kind``."""
    buffer = bytearray((kind,))
    _encode_into(command, buffer, 1)
    return bytes(buffer)


def encode_kv(request: KVSRequest) -> bytes:
    """The entry for a write of the key/value table.

    :raises BadRequest: if there is no such operation.
    """
    op = _NUMBERS.get(request.op)
    if op is None:
        raise BadRequest(f'Invalid KVS operation "{request.op}"')
    entry = request.dir_ent
    session = (entry.session or "").lower()
    command = KVCommand(op, entry.key, entry.value, entry.flags, session, entry.modify_index)
    return b"\x02" + _encode(command)


def encode_register(request: RegisterRequest) -> bytes:
    """The entry for a registration; ``check`` is applied after ``checks``.

    :raises BadRequest: if the definition of a check holds what is no duration.
    """
    checks = [*(request.checks or ()), *((request.check,) if request.check is not None else ())]
    try:
        canonical = [canonical_check(check) for check in checks]
    except ValueError as error:
        raise BadRequest(f"Request decode failed: {error}") from None
    return encode(
        REGISTER,
        Registration(
            datacenter=request.datacenter,
            id=request.id,
            node=request.node,
            address=request.address,
            tagged_addresses=request.tagged_addresses,
            node_meta=request.node_meta,
            skip_node_update=request.skip_node_update,
            service=None if request.service is None else canonical_service(request.service),
            checks=canonical,
        ),
    )


def encode_deregister(request: DeregisterRequest) -> bytes:
    """The entry for a deregistration."""
    return encode(DEREGISTER, Deregistration(request.node, request.service_id, request.check_id))


def encode_session(op: int, session: Session) -> bytes:
    """The entry that creates a session, or ends the one with that id."""
    return encode(SESSION, SessionCommand(op, canonical_session(session)))


def encode_destroy(session_id: str) -> bytes:
    """The entry that ends a session."""
    return encode_session(DESTROY, Session(id=session_id))


def encode_query(op: int, query: PreparedQuery) -> bytes:
    """The entry that creates, changes or deletes a prepared query; see ``QueryCommand``."""
    return encode(QUERY, QueryCommand(op, query))


def operations(ops: Iterable[TxnOp]) -> list[Op | None]:
    """What a transaction is asked to do, in the form in which it is done.

    :raises BadRequest: if the definition of a check holds what is no duration.
    """
    return [_operation(op) for op in ops]


def _operation(op: TxnOp) -> Op | None:
    if op.kv is not None:
        entry = op.kv.dir_ent
        value, session = entry.value or None, (entry.session or "").lower()
        return KVOp(op.kv.verb, entry.key, value, entry.flags, entry.modify_index, session)
    if op.node is not None:
        return NodeOp(op.node.verb, op.node.node)
    if op.service is not None:
        verb, row = op.service.verb, op.service.service
        if verb in PUTS:
            row = canonical_service(row)
        elif verb in DELETES:
            row = replace(row, id=row.id or row.service)
        return ServiceOp(verb, op.service.node, row)
    if op.check is not None:
        verb, check = op.check.verb, op.check.check
        try:
            if verb in PUTS:  # nothing is concluded about its type here, as Consul has it
                check = replace(canonical_check(check), type=check.type)
            elif verb in DELETES:
                check = replace(check, check_id=check.check_id or check.name)
            return CheckOp(verb, check)
        except ValueError as error:
            raise BadRequest(f"Failed to parse body: {error}") from None
    return None


def encode_txn(ops: list[Op | None]) -> bytes:
    """The entry for a transaction."""
    return encode(TXN, TxnCommand(ops))


def encode_coordinates(rows: list[NodeCoordinate]) -> bytes:
    """The entry that writes where some nodes are."""
    return encode(COORDINATE, CoordinateBatch(rows))


def encode_collect_graves(index: int) -> bytes:
    """The entry that makes all servers forget deletions of keys up to ``index``."""
    return encode(TOMBSTONE, CollectGraves(index))


def encode_autopilot(config: AutopilotConfig, *, cas: bool = False, only_first: bool = False) -> bytes:
    """The entry that replaces Autopilot's configuration; see ``AutopilotCommand``."""
    return encode(AUTOPILOT, AutopilotCommand(config, cas, only_first))
