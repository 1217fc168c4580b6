"""``/v1/txn``: several operations that take effect all or not at all."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, field
from twisted.internet.defer import Deferred

from pyconsul.errors import BadRequest, TooLarge
from pyconsul.http.answer import Answer, Header
from pyconsul.http.query import INDEX_MAX, Query
from pyconsul.http.reads import ask, write
from pyconsul.http.routes import App, hot
from pyconsul.interfaces import Agent, Later
from pyconsul.structs.bodies import decode
from pyconsul.structs.catalog import CheckDefinition
from pyconsul.structs.kv import DirEntry
from pyconsul.structs.txn import (
    OPERATIONS_MAX,
    WRITES,
    TxnCheckOp,
    TxnError,
    TxnKVOp,
    TxnNodeOp,
    TxnOp,
    TxnReadRequest,
    TxnRequest,
    TxnResult,
    TxnServiceOp,
)

Result = Answer | Deferred[Answer] | Later

PREFIX = "Failed to parse body: "


class KVBody(Struct, rename="pascal", forbid_unknown_fields=True, gc=False):
    """An operation on a key as the body has it. Namespaces are not minded."""

    verb: str = ""
    key: str = ""
    value: bytes | None = None
    flags: int = 0
    index: int = 0
    session: str = ""
    namespace: str = ""


class KVOnly(Struct, rename="pascal", forbid_unknown_fields=True, gc=False):
    """An operation of those transactions that are frequent and have to be quick."""

    kv: KVBody = field(name="KV")


class OpBody(Struct, rename="pascal"):
    """One operation of the body: the first kind that is given counts."""

    kv: KVBody | None = field(default=None, name="KV")
    node: TxnNodeOp | None = None
    service: TxnServiceOp | None = None
    check: TxnCheckOp | None = None


class ReadAnswer(Struct, rename="pascal"):
    """What the answer to a transaction without writes looks like."""

    results: list[TxnResult] | None
    errors: list[TxnError] | None
    index: int
    last_contact: int
    known_leader: bool
    consistency_level: str


_quickly = msgspec.json.Decoder(list[KVOnly]).decode


def add_routes(app: App, agent: Agent) -> None:
    """Declare the routes of this module."""
    @hot(
        app, "/v1/txn", ["PUT"],
        body_max=lambda: app.surface.settings.txn_bytes_max, body_doc="txn_max_req_len",
    )  # fmt: skip
    def txn(query: Query) -> Result:
        """Make a transaction: the rows it gives, or with status 409 why it was not made."""
        ops, writes = operations(query.body, app.surface.settings.kv_value_bytes_max)
        if writes:
            return write(agent, query, "Txn.Apply", TxnRequest(ops=ops, **query.write_options()), _applied)
        return ask(agent, "Txn.Read", TxnReadRequest(ops=ops, **query.options()), _read)


def operations(body: bytes, value_bytes_max: int) -> tuple[list[TxnOp], bool]:
    """The operations of ``body``, and whether any of them may write.

    :raises PyconsulError: if they cannot be read, or are too many or too large.
    """
    try:
        ops: list[KVOnly] | list[OpBody] = _quickly(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        ops = _carefully(body)
    if len(ops) > OPERATIONS_MAX:
        raise TooLarge(f"Transaction contains too many operations ({len(ops)} > {OPERATIONS_MAX})")
    read: list[TxnOp] = []
    writes = False
    for op in ops:
        kv = op.kv
        if kv is not None:
            verb = kv.verb
            read.append(TxnOp(kv=_key_operation(kv, value_bytes_max)))
        else:
            assert isinstance(op, OpBody)
            named = op.node or op.service or op.check
            verb = "get" if named is None or named.verb == "get" else "set"  # all but "get" count as writes
            read.append(TxnOp(node=op.node, service=op.service, check=op.check))
        writes = writes or verb in WRITES
    return read, writes


def _carefully(body: bytes) -> list[OpBody]:
    """The same for all kinds of operations and all spellings of fields; says what is wrong."""
    if body.strip() == b"null":
        return []
    return decode(body, list[OpBody], open_structs=(CheckDefinition,), prefix=PREFIX)


def _key_operation(kv: KVBody, value_bytes_max: int) -> TxnKVOp:
    for name, number in (("Flags", kv.flags), ("Index", kv.index)):
        if not 0 <= number <= INDEX_MAX:
            raise BadRequest(
                f"{PREFIX}json: cannot unmarshal number {number} into Go struct field KVTxnOp.KV.{name} "
                "of type uint64"
            )
    value = kv.value or None
    if value is not None and len(value) > value_bytes_max:
        raise TooLarge(f'Value for key "{kv.key}" is too large ({len(value)} > {value_bytes_max} bytes)')
    return TxnKVOp(
        verb=kv.verb,
        dir_ent=DirEntry(
            key=kv.key, value=value, flags=kv.flags, modify_index=kv.index, session=kv.session or UNSET
        ),
    )


def _applied(reply: Any) -> Answer:
    return Answer(json=reply, status=409 if reply.errors else 200)


def _read(reply: Any) -> Answer:
    answer = ReadAnswer(reply.results, reply.errors, 0, reply.last_contact, reply.known_leader, "")
    headers: tuple[Header, ...] = (
        (b"X-Consul-Knownleader", b"true" if reply.known_leader else b"false"),
        (b"X-Consul-Lastcontact", b"%d" % (reply.last_contact // 1_000_000)),
    )
    return Answer(json=answer, status=409 if reply.errors else 200, headers=headers)
