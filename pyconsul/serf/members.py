"""Members as applications see them."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from pyconsul.interfaces import Address
from pyconsul.serf.tags import decode_tags
from pyconsul.swim import wire
from pyconsul.swim.address import host_of, packed_of
from pyconsul.swim.messages import STATE_ALIVE, STATE_LEFT, STATE_SUSPECT, Alive, NodeState
from pyconsul.swim.nodes import Node


class Status(IntEnum):
    """What a member is up to; the numbers are those of ``/v1/agent/members``."""

    NONE = 0
    ALIVE = 1
    LEAVING = 2
    LEFT = 3
    FAILED = 4


JOIN = "join"
LEAVE = "leave"
FAILED = "failed"
UPDATE = "update"
REAP = "reap"


class Member(Struct, rename="pascal", frozen=True):
    """One member, with the fields and names of ``/v1/agent/members``."""

    name: str
    addr: str
    port: int
    tags: dict[str, str]
    status: Status
    protocol_min: int
    protocol_max: int
    protocol_cur: int
    delegate_min: int
    delegate_max: int
    delegate_cur: int

    @property
    def status_name(self) -> str:
        """The status as ``consul members`` prints it."""
        return self.status.name.lower()


class MemberEvent(Struct, frozen=True):
    """What happened to a member: ``join``, ``leave``, ``failed``, ``update`` or ``reap``."""

    kind: str
    member: Member


class Record(Struct):
    """A member and what is needed to judge news about it.

    :ivar status_ltime: logical time of the latest intent.
    :ivar left_at: when it failed or left, on the core's clock.
    """

    member: Member
    status_ltime: int = 0
    left_at: float = 0.0


def member_of(node: Node, status: Status) -> Member:
    """The member that gossip knows as ``node``."""
    return _member(node.name, node.address[0], node.port, node.meta, node.versions, status)


def member_of_message(message: Alive) -> Member:
    """The member that an alive message is about.

    :raises DecodeError: if its address has a wrong length.
    """
    return _member(
        message.node, host_of(message.addr), message.port, message.meta, message.versions, Status.ALIVE
    )


def member_of_state(state: NodeState) -> Member:
    """The member that a push/pull speaks of.

    :raises DecodeError: if its address has a wrong length.
    """
    status = {STATE_ALIVE: Status.ALIVE, STATE_SUSPECT: Status.ALIVE, STATE_LEFT: Status.LEFT}
    found = status.get(state.state, Status.FAILED)
    return _member(state.name, host_of(state.addr), state.port, state.meta, state.versions, found)


def _member(name: str, host: str, port: int, meta: bytes, versions: bytes, status: Status) -> Member:
    return Member(name, host, port, decode_tags(meta), status, *versions[:6].ljust(6, b"\0"))


# ---------------------------------------------------------------- on the wire

_FIELDS = (
    b"Name", b"Addr", b"Port", b"Tags", b"Status", b"ProtocolMin", b"ProtocolMax", b"ProtocolCur",
    b"DelegateMin", b"DelegateMax", b"DelegateCur",
)  # fmt: skip


def encode_member(member: Member) -> bytes:
    """A member as a record of its own, as conflicts of names are answered."""
    return wire.pack({
        "Addr": packed_of(member.addr), "DelegateCur": member.delegate_cur,
        "DelegateMax": member.delegate_max, "DelegateMin": member.delegate_min, "Name": member.name,
        "Port": member.port, "ProtocolCur": member.protocol_cur, "ProtocolMax": member.protocol_max,
        "ProtocolMin": member.protocol_min, "Status": int(member.status), "Tags": member.tags,
    })  # fmt: skip


def decode_owner(record: bytes) -> tuple[Address, int]:
    """Where the member of a record is, and the number of its status.

    :raises DecodeError: if it is no record, or the one that stands for nobody.
    """
    found = wire.values(wire.unpack(record), _FIELDS)
    return (host_of(wire.raw(found[1])), wire.unsigned(found[2], 0xFFFF)), wire.unsigned(found[4])
