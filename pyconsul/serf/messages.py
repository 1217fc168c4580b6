"""What the serf layer says: a type byte and a struct inside gossip's user messages.

``encode`` gives the type byte and the body; ``decode`` takes the body and raises ``DecodeError``
(specs of serf, section 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from pyconsul.swim import wire
from pyconsul.swim.wire import DecodeError

LEAVE = 0
JOIN = 1
PUSH_PULL = 2
USER_EVENT = 3
QUERY = 4
QUERY_RESPONSE = 5
CONFLICT_RESPONSE = 6
KEY_REQUEST = 7
KEY_RESPONSE = 8
RELAY = 9

FLAG_ACK = 1
FLAG_NO_BROADCAST = 2

_LTIME_MAX = (1 << 64) - 1
_QUERY_FIELDS = (
    b"LTime", b"ID", b"Addr", b"Port", b"SourceNode", b"Filters", b"Flags", b"RelayFactor", b"Timeout",
    b"Name", b"Payload",
)  # fmt: skip
_STATE_FIELDS = (b"LTime", b"StatusLTimes", b"LeftMembers", b"EventLTime", b"Events", b"QueryLTime")


def _ltime(value: Any) -> int:
    return wire.unsigned(value, _LTIME_MAX)


class LeaveIntent(Struct, frozen=True, gc=False):
    """``node`` is about to leave, or is made to; with ``prune`` it should be forgotten at once."""

    ltime: int
    node: str
    prune: bool = False

    def encode(self) -> bytes:
        return b"\x00" + wire.pack({"LTime": self.ltime, "Node": self.node, "Prune": self.prune})

    @classmethod
    def decode(cls, body: bytes) -> LeaveIntent:
        ltime, node, prune = wire.values(wire.unpack(body), (b"LTime", b"Node", b"Prune"))
        return cls(_ltime(ltime), wire.text(node), wire.boolean(prune))


class JoinIntent(Struct, frozen=True, gc=False):
    """``node`` is here, whatever was said before about it leaving."""

    ltime: int
    node: str

    def encode(self) -> bytes:
        return b"\x01" + wire.pack({"LTime": self.ltime, "Node": self.node})

    @classmethod
    def decode(cls, body: bytes) -> JoinIntent:
        ltime, node = wire.values(wire.unpack(body), (b"LTime", b"Node"))
        return cls(_ltime(ltime), wire.text(node))


class UserEvent(Struct, frozen=True, gc=False):
    """Something an application has to say to all others.

    :ivar coalesce: consumers may drop it in favour of a later one of the same name.
    """

    ltime: int
    name: str
    payload: bytes = b""
    coalesce: bool = False

    def encode(self) -> bytes:
        return b"\x03" + wire.pack(
            {"CC": self.coalesce, "LTime": self.ltime, "Name": self.name, "Payload": self.payload}
        )

    @classmethod
    def decode(cls, body: bytes) -> UserEvent:
        ltime, name, payload, coalesce = wire.values(
            wire.unpack(body), (b"LTime", b"Name", b"Payload", b"CC")
        )
        return cls(_ltime(ltime), wire.text(name), wire.raw(payload), wire.boolean(coalesce))


class Query(Struct, frozen=True):
    """A question to all members that pass ``filters``.

    :ivar number: tells queries of one ``ltime`` apart; ``ID`` on the wire.
    :ivar addr: where answers go, as 4 or 16 bytes, with ``port``.
    :ivar flags: of ``FLAG_*``.
    :ivar timeout_ns: how long answers are taken.
    """

    ltime: int
    number: int
    addr: bytes
    port: int
    source_node: str = ""
    filters: Sequence[bytes] = ()
    flags: int = 0
    relay_factor: int = 0
    timeout_ns: int = 0
    name: str = ""
    payload: bytes = b""

    def encode(self) -> bytes:
        return b"\x04" + wire.pack({
            "Addr": self.addr, "Filters": list(self.filters) or None, "Flags": self.flags,
            "ID": self.number, "LTime": self.ltime, "Name": self.name, "Payload": self.payload,
            "Port": self.port, "RelayFactor": self.relay_factor, "SourceNode": self.source_node,
            "Timeout": self.timeout_ns,
        })  # fmt: skip

    @classmethod
    def decode(cls, body: bytes) -> Query:
        found = wire.values(wire.unpack(body), _QUERY_FIELDS)
        ltime, number, addr, port, source, filters, flags, relay_factor, timeout, name, payload = found
        return cls(
            _ltime(ltime), wire.unsigned(number), wire.raw(addr), wire.unsigned(port, 0xFFFF),
            wire.text(source), tuple(wire.raw(item) for item in wire.sequence(filters)),
            wire.unsigned(flags), wire.unsigned(relay_factor, 0xFF), wire.signed64(timeout),
            wire.text(name), wire.raw(payload),
        )  # fmt: skip


class QueryResponse(Struct, frozen=True, gc=False):
    """An answer to a query, or with ``FLAG_ACK`` the word that it arrived."""

    ltime: int
    number: int
    sender: str
    flags: int = 0
    payload: bytes | None = None

    @property
    def is_ack(self) -> bool:
        """Whether it only says that the query arrived."""
        return bool(self.flags & FLAG_ACK)

    def encode(self) -> bytes:
        return b"\x05" + wire.pack({
            "Flags": self.flags, "From": self.sender, "ID": self.number, "LTime": self.ltime,
            "Payload": self.payload,
        })  # fmt: skip

    @classmethod
    def decode(cls, body: bytes) -> QueryResponse:
        ltime, number, sender, flags, payload = wire.values(
            wire.unpack(body), (b"LTime", b"ID", b"From", b"Flags", b"Payload")
        )
        return cls(
            _ltime(ltime), wire.unsigned(number), wire.text(sender), wire.unsigned(flags),
            None if payload is None else wire.raw(payload),
        )  # fmt: skip


class Relay(Struct, frozen=True, gc=False):
    """A message that the receiver is to pass on, as it is, to ``addr`` and ``port``."""

    addr: bytes
    port: int
    name: str
    message: bytes

    def encode(self) -> bytes:
        header = {"DestAddr": {"IP": self.addr, "Port": self.port, "Zone": ""}, "DestName": self.name}
        return b"\x09" + wire.pack(header) + self.message

    @classmethod
    def decode(cls, body: bytes) -> Relay:
        parser = wire.unpacker(body)
        address, name = wire.values(wire.unpack_next(parser), (b"DestAddr", b"DestName"))
        host, port, _ = wire.values(address, (b"IP", b"Port", b"Zone"))
        rest: int = parser.tell()
        return cls(wire.raw(host), wire.unsigned(port, 0xFFFF), wire.text(name), body[rest:])


class PushPullState(Struct, frozen=True):
    """What the serf layers of two members tell each other when they exchange everything.

    :ivar status_ltimes: for each member, the logical time of its latest intent.
    :ivar left: names of members that left.
    :ivar events: the recent user events.
    """

    ltime: int
    status_ltimes: Mapping[str, int]
    left: Sequence[str]
    event_ltime: int
    events: Sequence[UserEvent]
    query_ltime: int

    def encode(self) -> bytes:
        """Events of one time stand together; unlike serf's own, the list has no empty slots."""
        grouped: dict[int, list[dict[str, Any]]] = {}
        for event in self.events:
            grouped.setdefault(event.ltime, []).append({"Name": event.name, "Payload": event.payload})
        return b"\x02" + wire.pack({
            "EventLTime": self.event_ltime,
            "Events": [{"Events": events, "LTime": ltime} for ltime, events in grouped.items()],
            "LTime": self.ltime,
            "LeftMembers": list(self.left),
            "QueryLTime": self.query_ltime,
            "StatusLTimes": dict(self.status_ltimes),
        })  # fmt: skip

    @classmethod
    def decode(cls, state: bytes) -> PushPullState:
        """Read a whole user state, its type byte included."""
        if not state or state[0] != PUSH_PULL:
            raise DecodeError("user state of another kind")
        found = wire.values(wire.unpack_stream(state[1:]), _STATE_FIELDS)
        ltime, status_ltimes, left, event_ltime, events, query_ltime = found
        return cls(
            _ltime(ltime),
            {wire.text(name): _ltime(time) for name, time in wire.mapping(status_ltimes).items()},
            [wire.text(name) for name in wire.sequence(left)],
            _ltime(event_ltime),
            [event for slot in wire.sequence(events) if slot is not None for event in _slot(slot)],
            _ltime(query_ltime),
        )


def _slot(slot: Any) -> list[UserEvent]:
    """The events of one time."""
    found, events = wire.values(slot, (b"LTime", b"Events"))
    ltime = _ltime(found)
    pairs = (wire.values(event, (b"Name", b"Payload")) for event in wire.sequence(events))
    return [UserEvent(ltime, wire.text(name), wire.raw(payload)) for name, payload in pairs]
