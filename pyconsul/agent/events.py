"""User events: fires them by way of a server, and keeps the latest that are for this node.

Source: specs of serf's use by Consul, section 12. An event travels as one of gossip's, with its
filters in the payload; whom it is for, each agent decides for itself.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any
from zlib import crc32

import msgspec
from msgspec import Struct, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pyconsul.agent.local import LocalState
from pyconsul.errors import PyconsulError, Refused
from pyconsul.log import make_logger
from pyconsul.regexp.expressions import BadExpression, Expression
from pyconsul.serf.messages import UserEvent as GossipEvent
from pyconsul.structs import execution
from pyconsul.structs.event import EventFireRequest, UserEvent
from pyconsul.swim import wire

KEPT = 256
RESERVED = "consul:"
PREFIX = "consul:event:"
NEW_LEADER = "consul:new-leader"
VERSION_MAX = 1

WAIT_MAX_S = 600.0
WAITING_MAX = 20_000
NO_EVENTS_INDEX = 1

_FIELDS = (b"ID", b"n", b"p", b"nf", b"sf", b"tf", b"v")


class _Payload(Struct, omit_defaults=True):
    """An event inside gossip's; the names are short since there is little room."""

    id: str = field(name="ID")
    n: str
    p: bytes = b""
    nf: str = ""
    sf: str = ""
    tf: str = ""
    v: int = 0


_encode = msgspec.msgpack.Encoder().encode


def encode(event: UserEvent) -> bytes:
    """The payload of gossip's event."""
    return _encode(
        _Payload(
            event.id, event.name, event.payload or b"", event.node_filter, event.service_filter,
            event.tag_filter, event.version,
        )
    )  # fmt: skip


def decode(event: GossipEvent) -> UserEvent:
    """The event inside gossip's; raises ``DecodeError``."""
    found = wire.values(wire.unpack(event.payload), _FIELDS)
    event_id, name, payload, node, service, tag, version = found
    return UserEvent(
        id=wire.text(event_id),
        name=wire.text(name),
        payload=wire.raw(payload) or None,
        node_filter=wire.text(node),
        service_filter=wire.text(service),
        tag_filter=wire.text(tag),
        version=wire.unsigned(version),
        ltime=event.ltime,
    )


def index_of(event_id: str) -> int:
    """What stands for an event where others have an index: both halves of its id, folded."""
    digits = event_id.replace("-", "")
    try:
        whole = int(digits, 16) if len(digits) == 32 else crc32(event_id.encode())
    except ValueError:
        whole = crc32(event_id.encode())
    return (whole >> 64 ^ whole & (1 << 64) - 1) or NO_EVENTS_INDEX


class Events:
    """The user events of one agent.

    :param ask: how endpoints are called.
    :ivar new_leader: called with the name of a server that begins to lead.
    :ivar remote_exec: called with each request to execute something; such events are not listed.
    """

    def __init__(
        self,
        node_name: str,
        local: LocalState,
        ask: Callable[[str, Any], Any],
        clock: IReactorTime,
        rng: Random,
    ) -> None:
        self._log = make_logger("agent")
        self._node_name = node_name
        self._local = local
        self._ask = ask
        self._clock = clock
        self._rng = rng
        self._kept: deque[UserEvent] = deque(maxlen=KEPT)
        self._waiting: dict[_Waiting, None] = {}
        self.remote_exec: Callable[[UserEvent], None] = self._ignore_remote_exec
        self.new_leader: Callable[[str], None] = self._note_leader

    # ------------------------------------------------------------ firing

    def fire(self, event: UserEvent, datacenter: str = "", token: str = "") -> Any:
        """Send an event to everybody in a datacenter; gives it, or a Deferred of it, with its id.

        :param event: its id does not matter.
        :raises Refused: if a filter is no regular expression.
        """
        _check_filters(event)
        event_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        event = msgspec.structs.replace(event, id=event_id)
        request = EventFireRequest(
            datacenter=datacenter, token=token, name=event.name, payload=encode(event), allow_stale=True
        )
        reply = self._ask("Internal.EventFire", request)
        return reply.addCallback(lambda _: event) if isinstance(reply, Deferred) else event

    # ------------------------------------------------------------ receiving

    def received(self, event: GossipEvent) -> None:
        """Gossip has an event, of whatever kind."""
        if event.name == NEW_LEADER:
            self.new_leader(event.payload.decode("utf-8", "replace"))
        elif event.name.startswith(PREFIX):
            try:
                self._take(decode(event))
            except wire.DecodeError as error:
                self._log.error("failed to decode event: error={error}", error=error)
        elif event.name.startswith(RESERVED):
            self._log.warn("Unhandled event: event={name}", name=event.name)

    def _take(self, event: UserEvent) -> None:
        if event.version > VERSION_MAX:
            self._log.warn(
                "Event version may have unsupported features: version={version} event={name}",
                version=event.version,
                name=event.name,
            )
        if not self._concerns(event):
            return
        if event.name == execution.EVENT:
            self.remote_exec(event)
            return
        self._log.debug("new event: event_name={name} event_id={id}", name=event.name, id=event.id)
        self._kept.append(event)
        waiting, self._waiting = self._waiting, {}
        for one in waiting:
            one.wake()

    def _concerns(self, event: UserEvent) -> bool:
        """Whether this node and what runs on it pass the filters."""
        try:
            if event.node_filter and not Expression(event.node_filter).search(self._node_name):
                return False
            if not event.service_filter:
                return True
            wanted = Expression(event.service_filter)
            tag = Expression(event.tag_filter) if event.tag_filter else None
        except BadExpression as error:
            self._log.error(
                "failed to parse a filter for event: event={name} {why}", name=event.name, why=error
            )
            return False
        for local in self._local.services.values():
            service = local.service
            if wanted.search(service.service) and (
                tag is None or any(tag.search(one) for one in service.tags or ())
            ):
                return True
        return False

    def _note_leader(self, name: str) -> None:
        self._log.info("New leader elected: payload={name}", name=name)

    def _ignore_remote_exec(self, event: UserEvent) -> None:
        self._log.info("ignoring remote exec event, disabled.: event_name={name}", name=event.name)

    # ------------------------------------------------------------ listing

    def list(self, name: str = "") -> tuple[int, Sequence[UserEvent]]:
        """The events kept, of any name or of this one, oldest first; and what stands for an index."""
        found = [event for event in self._kept if not name or event.name == name]
        return (index_of(found[-1].id) if found else NO_EVENTS_INDEX), found

    def read(self, name: str, index: int, wait_s: float) -> Any:
        """The same, at once if ``index`` is not the present one, else a Deferred for when it is not.

        :param wait_s: how long to wait at most; 0 means ten minutes.
        :raises PyconsulError: if too many wait.
        """
        found = self.list(name)
        if not index or found[0] != index:
            return found
        if len(self._waiting) >= WAITING_MAX:
            raise PyconsulError("too many requests wait for events")
        waiting = _Waiting(self, name, index)
        waiting.begin(self._clock.callLater(min(wait_s or WAIT_MAX_S, WAIT_MAX_S), waiting.expire))
        self._waiting[waiting] = None
        return waiting.deferred

    def wait_again(self, waiting: _Waiting) -> None:
        """What came was not what it waits for."""
        self._waiting[waiting] = None

    def forget(self, waiting: _Waiting) -> None:
        """Nobody waits any more."""
        self._waiting.pop(waiting, None)

    def stop(self) -> None:
        """Answer whoever waits."""
        for waiting in list(self._waiting):
            waiting.expire()


class _Waiting:
    """One request for something newer."""

    __slots__ = ("_call", "_events", "_index", "_name", "deferred")

    def __init__(self, events: Events, name: str, index: int) -> None:
        self._events, self._name, self._index = events, name, index
        self._call: IDelayedCall | None = None
        self.deferred: Deferred[tuple[int, Sequence[UserEvent]]] = Deferred(self._gone)

    def begin(self, call: IDelayedCall) -> None:
        """``call`` ends the wait."""
        self._call = call

    def wake(self) -> None:
        """An event has come."""
        found = self._events.list(self._name)
        if found[0] == self._index:
            self._events.wait_again(self)
            return
        self._cancel()
        self.deferred.callback(found)

    def expire(self) -> None:
        """The time is over: the same again."""
        self._events.forget(self)
        self._cancel()
        self.deferred.callback(self._events.list(self._name))

    def _gone(self, _: object) -> None:
        self._events.forget(self)
        self._cancel()

    def _cancel(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None


def _check_filters(event: UserEvent) -> None:
    if event.tag_filter and not event.service_filter:
        raise Refused("Cannot provide tag filter without service filter")
    for what, text in (
        ("node", event.node_filter), ("service", event.service_filter), ("tag", event.tag_filter),
    ):  # fmt: skip
        try:
            Expression(text)
        except BadExpression as error:
            raise Refused(f"Invalid {what} filter: {error}") from None
