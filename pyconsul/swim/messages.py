"""What members of a pool say to each other: a type byte and a struct.

``encode`` gives the type byte and the body; ``decode`` takes the body and raises ``DecodeError``.
Fields stand in the order of declaration on the wire, which matters to readers of arrays only
(specs of gossip, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from msgspec import Struct

from pyconsul.swim import wire
from pyconsul.swim.wire import DecodeError

PING = 0
INDIRECT_PING = 1
ACK = 2
SUSPECT = 3
ALIVE = 4
DEAD = 5
PUSH_PULL = 6
COMPOUND = 7
USER = 8
COMPRESS = 9
ENCRYPT = 10
NACK = 11
CRC = 12
ERROR = 13
LABEL = 244

STATE_ALIVE = 0
STATE_SUSPECT = 1
STATE_DEAD = 2
STATE_LEFT = 3

META_MAX = 512
NODES_MAX = 1 << 20
USER_STATE_MAX = 20 << 20

_PING_FIELDS = (b"SeqNo", b"Node", b"SourceAddr", b"SourcePort", b"SourceNode")
_INDIRECT_FIELDS = (
    b"SeqNo", b"Target", b"Port", b"Node", b"Nack", b"SourceAddr", b"SourcePort", b"SourceNode",
)  # fmt: skip
_ACK_FIELDS = (b"SeqNo", b"Payload")
_ACCUSATION_FIELDS = (b"Incarnation", b"Node", b"From")
_ALIVE_FIELDS = (b"Incarnation", b"Node", b"Addr", b"Port", b"Meta", b"Vsn")
_STATE_FIELDS = (b"Name", b"Addr", b"Port", b"Meta", b"Incarnation", b"State", b"Vsn")
_PUSH_PULL_FIELDS = (b"Nodes", b"UserStateLen", b"Join")


class Ping(Struct, frozen=True, gc=False):
    """Ask ``node`` for an ack; the source fields say where it should go."""

    seq_no: int
    node: str = ""
    source_addr: bytes = b""
    source_port: int = 0
    source_node: str = ""

    def encode(self) -> bytes:
        fields: dict[str, Any] = {"Node": self.node, "SeqNo": self.seq_no}
        _add_source(fields, self)
        return b"\x00" + wire.pack(fields)

    @classmethod
    def decode(cls, body: bytes) -> Ping:
        seq_no, node, addr, port, source = wire.values(wire.unpack(body), _PING_FIELDS)
        return cls(
            wire.unsigned(seq_no), wire.text(node), wire.raw(addr), wire.unsigned(port, 0xFFFF),
            wire.text(source),
        )  # fmt: skip


class IndirectPing(Struct, frozen=True, gc=False):
    """Ask the receiver to ping ``node`` at ``target`` on behalf of the sender."""

    seq_no: int
    target: bytes
    port: int
    node: str
    nack: bool = False
    source_addr: bytes = b""
    source_port: int = 0
    source_node: str = ""

    def encode(self) -> bytes:
        fields: dict[str, Any] = {
            "Nack": self.nack, "Node": self.node, "Port": self.port, "SeqNo": self.seq_no,
        }  # fmt: skip
        _add_source(fields, self)
        fields["Target"] = self.target
        return b"\x01" + wire.pack(fields)

    @classmethod
    def decode(cls, body: bytes) -> IndirectPing:
        found = wire.values(wire.unpack(body), _INDIRECT_FIELDS)
        seq_no, target, port, node, nack, addr, source_port, source = found
        return cls(
            wire.unsigned(seq_no), wire.raw(target), wire.unsigned(port, 0xFFFF), wire.text(node),
            wire.boolean(nack), wire.raw(addr), wire.unsigned(source_port, 0xFFFF), wire.text(source),
        )  # fmt: skip


def _add_source(fields: dict[str, Any], message: Ping | IndirectPing) -> None:
    """Put in those source fields that are not empty; they sort after all the others but Target."""
    if message.source_addr:
        fields["SourceAddr"] = message.source_addr
    if message.source_node:
        fields["SourceNode"] = message.source_node
    if message.source_port:
        fields["SourcePort"] = message.source_port


class Ack(Struct, frozen=True, gc=False):
    """The answer to a ping; ``payload`` belongs to the layer above (``None``: nothing)."""

    seq_no: int
    payload: bytes | None = None

    def encode(self) -> bytes:
        return b"\x02" + wire.pack({"Payload": self.payload, "SeqNo": self.seq_no})

    @classmethod
    def decode(cls, body: bytes) -> Ack:
        seq_no, payload = wire.values(wire.unpack(body), _ACK_FIELDS)
        return cls(wire.unsigned(seq_no), wire.raw(payload) or None)


class Nack(Struct, frozen=True, gc=False):
    """A relay lives but got no ack from the target."""

    seq_no: int

    def encode(self) -> bytes:
        return b"\x0b" + wire.pack({"SeqNo": self.seq_no})

    @classmethod
    def decode(cls, body: bytes) -> Nack:
        (seq_no,) = wire.values(wire.unpack(body), (b"SeqNo",))
        return cls(wire.unsigned(seq_no))


class Suspect(Struct, frozen=True, gc=False):
    """``accuser`` got no answer from ``node``."""

    incarnation: int
    node: str
    accuser: str

    def encode(self) -> bytes:
        return b"\x03" + _accusation(self)

    @classmethod
    def decode(cls, body: bytes) -> Suspect:
        incarnation, node, accuser = wire.values(wire.unpack(body), _ACCUSATION_FIELDS)
        return cls(wire.unsigned(incarnation), wire.text(node), wire.text(accuser))


class Dead(Struct, frozen=True, gc=False):
    """``node`` is dead, or has left if it says so itself."""

    incarnation: int
    node: str
    accuser: str

    def encode(self) -> bytes:
        return b"\x05" + _accusation(self)

    @classmethod
    def decode(cls, body: bytes) -> Dead:
        incarnation, node, accuser = wire.values(wire.unpack(body), _ACCUSATION_FIELDS)
        return cls(wire.unsigned(incarnation), wire.text(node), wire.text(accuser))


def _accusation(message: Suspect | Dead) -> bytes:
    return wire.pack({"From": message.accuser, "Incarnation": message.incarnation, "Node": message.node})


class Alive(Struct, frozen=True, gc=False):
    """``node`` is alive at ``addr``.

    :ivar addr: 4 or 16 bytes.
    :ivar versions: protocol min, max, current and delegate min, max, current; may be shorter.
    """

    incarnation: int
    node: str
    addr: bytes
    port: int
    meta: bytes = b""
    versions: bytes = b""

    def encode(self) -> bytes:
        return b"\x04" + wire.pack({
            "Addr": self.addr, "Incarnation": self.incarnation, "Meta": self.meta, "Node": self.node,
            "Port": self.port, "Vsn": self.versions,
        })  # fmt: skip

    @classmethod
    def decode(cls, body: bytes) -> Alive:
        incarnation, node, addr, port, meta, versions = wire.values(wire.unpack(body), _ALIVE_FIELDS)
        return cls(
            wire.unsigned(incarnation), wire.text(node), wire.raw(addr), wire.unsigned(port, 0xFFFF),
            wire.raw(meta), _versions(versions),
        )  # fmt: skip


def _versions(value: Any) -> bytes:
    """The version bytes; a list of numbers is taken too."""
    if type(value) is list:
        return bytes(wire.unsigned(item, 0xFF) for item in value)
    return wire.raw(value)


class NodeState(Struct, frozen=True, gc=False):
    """What a push/pull says about one node; ``state`` is one of ``STATE_*`` or unknown to us."""

    name: str
    addr: bytes
    port: int
    meta: bytes
    incarnation: int
    state: int
    versions: bytes

    def encode(self) -> bytes:
        """The body alone: states follow each other without type bytes."""
        return wire.pack({
            "Addr": self.addr, "Incarnation": self.incarnation, "Meta": self.meta, "Name": self.name,
            "Port": self.port, "State": self.state, "Vsn": self.versions,
        })  # fmt: skip

    @classmethod
    def from_body(cls, body: Any) -> NodeState:
        name, addr, port, meta, incarnation, state, versions = wire.values(body, _STATE_FIELDS)
        return cls(
            wire.text(name), wire.raw(addr), wire.unsigned(port, 0xFFFF), wire.raw(meta),
            wire.unsigned(incarnation), wire.unsigned(state), _versions(versions),
        )  # fmt: skip


class PushPull(Struct, frozen=True):
    """The whole of what a node knows, and the state of the layer above."""

    join: bool
    nodes: Sequence[NodeState]
    user_state: bytes

    def encode(self) -> bytes:
        return encode_push_pull(self.join, [node.encode() for node in self.nodes], self.user_state)

    @classmethod
    def decode(cls, body: bytes, known: Set[bytes] = frozenset()) -> PushPull:
        """Read a push/pull; states that are encoded like one of ``known`` are left out.

        Nearly all that members tell each other is known already, and looking is much cheaper than
        reading.
        """
        parser = wire.unpacker(body)
        count, user_size, join = push_pull_header(wire.unpack_next(parser))
        nodes: list[NodeState] = []
        start: int = parser.tell()
        for _ in range(count):
            wire.skip_next(parser)
            begin, start = start, parser.tell()
            state = body[begin:start]
            if state not in known:
                nodes.append(NodeState.from_body(wire.unpack(state)))
        if len(body) - start < user_size:
            raise DecodeError("push/pull: user state cut off")
        return cls(join, nodes, body[start : start + user_size])


def encode_push_pull(join: bool, states: Sequence[bytes], user_state: bytes) -> bytes:
    """A push/pull of states that are encoded already."""
    header = wire.pack({"Join": join, "Nodes": len(states), "UserStateLen": len(user_state)})
    return b"".join((b"\x06", header, *states, user_state))


def push_pull_header(body: Any) -> tuple[int, int, bool]:
    """How many states follow, how many bytes of user state, and whether this is a join."""
    count, user_size, join = wire.values(body, _PUSH_PULL_FIELDS)
    nodes = wire.unsigned(count)
    size = wire.unsigned(user_size)
    if nodes > NODES_MAX:
        raise DecodeError(f"push/pull: {nodes} nodes")
    if size > USER_STATE_MAX:
        raise DecodeError(f"push/pull: {size} bytes of user state")
    return nodes, size, wire.boolean(join)


def user_header(body: Any) -> int:
    """How many bytes of a user message follow in a stream."""
    (size,) = wire.values(body, (b"UserMsgLen",))
    found = wire.unsigned(size)
    if found > USER_STATE_MAX:
        raise DecodeError(f"user message of {found} bytes")
    return found


def decode_user_stream(body: bytes) -> bytes:
    """The user message in a stream."""
    parser = wire.unpacker(body)
    size = user_header(wire.unpack_next(parser))
    start: int = parser.tell()
    if len(body) - start < size:
        raise DecodeError("user message cut off")
    return body[start : start + size]


def encode_user_stream(message: bytes) -> bytes:
    """A user message for a stream."""
    return b"\x08" + wire.pack({"UserMsgLen": len(message)}) + message


class ErrorMessage(Struct, frozen=True, gc=False):
    """Why a stream request was refused."""

    error: str

    def encode(self) -> bytes:
        return b"\x0d" + wire.pack({"Error": self.error})

    @classmethod
    def decode(cls, body: bytes) -> ErrorMessage:
        (error,) = wire.values(wire.unpack(body), (b"Error",))
        return cls(wire.text(error))
