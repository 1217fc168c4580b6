"""One member of a serf pool, as a pure state machine above ``SwimCore``.

It takes gossip's events and its own, gives out gossip's effects and its own. Intents and members
are in ``roster``; here are the clocks, what comes in as user messages, leaving, and the upkeep of
members that are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyconsul.interfaces import Address
from pyconsul.serf import messages
from pyconsul.serf.buffers import RecentBuffer
from pyconsul.serf.clock import LamportClock
from pyconsul.serf.coordinates import CoordinateSource, NoCoordinates
from pyconsul.serf.events import (
    AnnounceJoin,
    AnswerQuery,
    CloseQuery,
    FireEvent,
    ForceLeave,
    KeyringSaved,
    SetTags,
    StartLeave,
    StartQuery,
    UserEventReceived,
)
from pyconsul.serf.internal import InternalQueries
from pyconsul.serf.members import (
    Member,
    Status,
    member_of_message,
    member_of_state,
)
from pyconsul.serf.messages import (
    JoinIntent,
    LeaveIntent,
    PushPullState,
    QueryResponse,
    UserEvent,
)
from pyconsul.serf.names import NameContest
from pyconsul.serf.queries import Queries
from pyconsul.serf.roster import Roster
from pyconsul.serf.snapshot import Previous
from pyconsul.serf.tags import encode_tags
from pyconsul.swim import messages as swim_messages
from pyconsul.swim.address import host_of
from pyconsul.swim.broadcasts import BroadcastQueue
from pyconsul.swim.core import VERSIONS, SwimCore
from pyconsul.swim.events import LeaveEnded
from pyconsul.swim.layers import Layers
from pyconsul.swim.messages import Alive, NodeState
from pyconsul.swim.nodes import Node
from pyconsul.swim.packet import COMPOUND_ENTRY
from pyconsul.swim.timing import Timing
from pyconsul.swim.wire import DecodeError

if TYPE_CHECKING:
    from random import Random

QUEUE_MAX = 4096
_REAP_RARELY_S = 3600.0
"""A member that failed may meanwhile have been made one that left, which is forgotten sooner."""

_USER = bytes((swim_messages.USER,))

Refuse = Callable[[Member], "str | None"]
"""Why a member may not be taken in; ``None`` or empty if it may."""


def _take_all(member: Member) -> str | None:
    return None


def _anywhere(address: str) -> bool:
    return True


class SerfCore:
    """A member of a pool.

    :ivar swim: the gossip core below.
    :ivar roster: all members.
    :ivar queries: questions to the pool and their answers.
    :param refuse: asked about each member that is new or has news, and about all members of a pool
        before it is merged.
    :param allowed: whether nodes at an IP address are taken in; others stay unknown, also in a merge.
    :param previous: what this member knew before it was restarted.
    :param saves_keys: each ``KeyringChanged`` is followed by ``KeyringSaved``.
    :param resolve_conflicts: let the others vote when another node uses this one's name; whoever
        loses gets ``NameLost``. Consul only reports it.
    """

    hooked = True

    def __init__(
        self,
        name: str,
        address: Address,
        timing: Timing,
        layers: Layers,
        rng: Random,
        *,
        refuse: Refuse = _take_all,
        allowed: Callable[[str], bool] = _anywhere,
        coordinates: CoordinateSource | None = None,
        versions: bytes = VERSIONS,
        previous: Previous | None = None,
        saves_keys: bool = False,
        resolve_conflicts: bool = False,
    ) -> None:
        self.member_clock, self.event_clock, self.query_clock = LamportClock(), LamportClock(), LamportClock()
        self.intent_queue = BroadcastQueue(QUEUE_MAX)
        self.query_queue = BroadcastQueue(QUEUE_MAX)
        self.event_queue = BroadcastQueue(QUEUE_MAX)
        queues = (self.intent_queue, self.query_queue, self.event_queue)
        self.swim = SwimCore(name, address, timing, layers, rng, self, queues, versions)
        self.coordinates: CoordinateSource = coordinates or NoCoordinates()
        self.roster = Roster(self.swim.context, self.coordinates.forget)
        self._ctx = self.swim.context
        self._refuse, self._allowed = refuse, allowed
        self._events: RecentBuffer[tuple[str, bytes]] = RecentBuffer()
        self._resolves = resolve_conflicts
        self._internal = InternalQueries(self._ctx, self.roster, saves_keys)
        self.queries = self._internal.queries = Queries(
            self.swim, self.roster, self.query_clock, self._spread_query, self._internal.answer
        )
        self._contest = NameContest(self._ctx, self.queries.ask)
        if previous is not None:
            self._resume(previous)
        self._leaving = False
        self._reaping = self._reconnecting = self._doubting = False
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            AnnounceJoin: lambda event: self._announce_join(),
            StartLeave: lambda event: self._start_leave(),
            ForceLeave: self._force_leave,
            SetTags: lambda event: self.swim.membership.update_meta(encode_tags(event.tags)),
            FireEvent: self._fire,
            StartQuery: self.queries.start,
            CloseQuery: lambda event: self.queries.close(event.token),
            AnswerQuery: self.queries.answered,
            KeyringSaved: self._internal.saved,
        }
        self._receivers: dict[int, Callable[[bytes], None]] = {
            messages.LEAVE: self._leave_received,
            messages.JOIN: self._join_received,
            messages.USER_EVENT: self._event_received,
            messages.QUERY: self.queries.received,
            messages.QUERY_RESPONSE: self._response_received,
            messages.RELAY: self.queries.relay_received,
        }

    def _resume(self, previous: Previous) -> None:
        """Go on where this member stopped: nothing is heard again that was heard then."""
        self.member_clock.witness(previous.clock)
        self.event_clock.witness(previous.event_clock)
        self.query_clock.witness(previous.query_clock)
        self._events.min_time = previous.event_clock + 1
        self.queries.recent.min_time = previous.query_clock + 1

    # ------------------------------------------------------------ as a core

    def start(self, now: float, tags: Mapping[str, str]) -> list[Any]:
        """Become the member of one's own pool of one."""
        return self.swim.start(now, encode_tags(tags))

    def handle(self, now: float, event: Any) -> list[Any]:
        """Take one event of gossip or of ``pyconsul.serf.events``; returns the effects."""
        handler = self._handlers.get(type(event))
        if handler is None:
            return self.swim.handle(now, event)
        self.swim.begin(now)
        handler(event)
        return self.swim.end()

    def next_deadline(self) -> float | None:
        """When ``Tick`` is due."""
        return self.swim.next_deadline()

    # ------------------------------------------------------------ what gossip asks and tells

    def refuse_alive(self, message: Alive) -> str:
        try:
            member = member_of_message(message)
        except DecodeError as error:
            return str(error)
        if not self._allowed(member.addr):
            return f"{member.addr} is not allowed"
        return self._refuse(member) or ""

    def refuse_merge(self, states: Sequence[NodeState]) -> str:
        try:
            for state in states:
                refusal = self._refuse(member_of_state(state))
                if refusal:
                    return refusal
        except DecodeError as error:
            return str(error)
        return ""

    def joined(self, node: Node) -> None:
        self.roster.joined(node)
        self._doubt(node.name)

    def updated(self, node: Node) -> None:
        self.roster.updated(node)

    def left(self, node: Node) -> None:
        self.roster.left(node)
        self._arm_upkeep()

    def conflict(self, known: Node, other: Alive) -> None:
        place = f"{host_of(other.addr)}:{other.port}"
        if known.name != self._ctx.name:
            self._ctx.problem(
                f"Name conflict for '{known.name}' both {known.address[0]}:{known.port} and {place} "
                "are claiming",
                notable=True,
            )
            return
        enabled = "true" if self._resolves else "false"
        self._ctx.problem(
            f"Node name conflicts with another node at {place}. "
            f"Names must be unique! (Resolution enabled: {enabled})",
            notable=True,
        )
        if self._resolves:
            self._contest.conflict(known.address, place)

    def ack_payload(self) -> bytes | None:
        return self.coordinates.payload()

    def probed(self, node: Node, rtt_s: float, payload: bytes) -> None:
        try:
            self.coordinates.observe(node.name, payload, rtt_s)
        except DecodeError as error:
            self._ctx.problem(f"coordinate of '{node.name}': {error}")

    def user_message(self, message: bytes) -> None:
        if not message:
            raise DecodeError("empty user message")
        receiver = self._receivers.get(message[0])
        if receiver is None:
            self._ctx.problem(f"unknown user message {message[0]}")
        else:
            receiver(message)

    def local_state(self, join: bool) -> bytes:
        events = [UserEvent(ltime, name, payload) for ltime, (name, payload) in self._events]
        return PushPullState(
            self.member_clock.time(),
            {name: record.status_ltime for name, record in self.roster.records.items()},
            [record.member.name for record in self.roster.with_status(Status.LEFT)],
            self.event_clock.time(),
            events,
            self.query_clock.time(),
        ).encode()

    def merge_state(self, state: bytes, join: bool, ignore_old: bool) -> None:
        theirs = PushPullState.decode(state)
        self.member_clock.witness(theirs.ltime - 1)
        self.event_clock.witness(theirs.event_ltime - 1)
        self.query_clock.witness(theirs.query_ltime - 1)
        left = set(theirs.left)
        for name in theirs.left:
            self._apply_leave(LeaveIntent(theirs.status_ltimes.get(name, 0) + 1, name))
        for name, ltime in theirs.status_ltimes.items():
            if name in left:
                continue
            about_us = name == self._ctx.name and not self._leaving
            if about_us and ltime > self.roster.records[name].status_ltime:
                # What they have heard of us, and we have not, may be that we leave. Nobody else can
                # deny that, and they would take us for leaving for as long as we live.
                self.member_clock.witness(ltime)
                self._announce_join()
            else:
                self._apply_join(JoinIntent(ltime, name))
        if join and ignore_old:
            self._events.min_time = max(self._events.min_time, theirs.event_ltime)
        for event in theirs.events:
            self._take_event(event)

    # ------------------------------------------------------------ user messages

    def _spread(self, queue: BroadcastQueue, message: bytes, done: Callable[[], None] | None = None) -> None:
        """Have ``message`` passed on by gossip."""
        wrapped = _USER + message
        if len(wrapped) + COMPOUND_ENTRY > self.swim.gossip.room:
            self._ctx.problem(f"message of {len(message)} bytes is too large to be spread")
            return
        queue.size_max = max(QUEUE_MAX, 2 * len(self.swim.nodes))
        queue.add(wrapped, done=done)
        self.swim.wake()

    def _leave_received(self, message: bytes) -> None:
        if self._apply_leave(LeaveIntent.decode(message[1:])):
            self._spread(self.intent_queue, message)

    def _apply_leave(self, intent: LeaveIntent) -> bool:
        self.member_clock.witness(intent.ltime)
        name = self._ctx.name
        if intent.node == name and not self._leaving:
            if intent.ltime >= self.roster.records[name].status_ltime:
                self._announce_join()  # it is not so
            return False
        news = self.roster.leave_intent(intent)
        self._arm_upkeep()
        self._doubt(intent.node)
        return news

    def _join_received(self, message: bytes) -> None:
        if self._apply_join(JoinIntent.decode(message[1:])):
            self._spread(self.intent_queue, message)

    def _apply_join(self, intent: JoinIntent) -> bool:
        self.member_clock.witness(intent.ltime)
        return self.roster.join_intent(intent)

    def _event_received(self, message: bytes) -> None:
        if self._take_event(UserEvent.decode(message[1:])):
            self._spread(self.event_queue, message)

    def _take_event(self, event: UserEvent) -> bool:
        self.event_clock.witness(event.ltime)
        news = self._events.is_news(event.ltime, self.event_clock.time(), (event.name, event.payload))
        if news:
            self._ctx.emit(UserEventReceived(event))
        return news

    def _response_received(self, message: bytes) -> None:
        self.queries.response_received(QueryResponse.decode(message[1:]))

    def _spread_query(self, message: bytes) -> None:
        self._spread(self.query_queue, message)

    # ------------------------------------------------------------ what we have to say

    def _announce_join(self) -> None:
        intent = JoinIntent(self.member_clock.time(), self._ctx.name)
        self._apply_join(intent)
        self._spread(self.intent_queue, intent.encode())

    def _force_leave(self, event: ForceLeave) -> None:
        intent = LeaveIntent(self.member_clock.stamp(), event.name, event.prune)
        self._apply_leave(intent)
        self._spread(self.intent_queue, intent.encode())

    def _fire(self, event: FireEvent) -> None:
        message = UserEvent(self.event_clock.stamp(), event.name, event.payload, event.coalesce)
        self._take_event(message)
        self._spread(self.event_queue, message.encode())

    # ------------------------------------------------------------ leaving

    def _start_leave(self) -> None:
        """Say that we mean to leave, then leave gossip, then give others time to pass it on."""
        self._leaving = True
        intent = LeaveIntent(self.member_clock.stamp(), self._ctx.name)
        self._apply_leave(intent)
        if not self.swim.nodes.others_alive(self._ctx.name):
            self.swim.leave(self._left)
            return
        said = False

        def once() -> None:
            nonlocal said
            if not said:
                said = True
                self.swim.leave(self._gossip_left)

        self._ctx.timers.at(self._ctx.now + self._ctx.timing.broadcast_timeout_s, once)
        self._spread(self.intent_queue, intent.encode(), once)

    def _gossip_left(self) -> None:
        delay_s = self._ctx.timing.leave_propagate_delay_s
        self._ctx.timers.at(self._ctx.now + delay_s, self._left)

    def _left(self) -> None:
        self._ctx.emit(LeaveEnded())

    # ------------------------------------------------------------ members that are gone

    def _arm_upkeep(self) -> None:
        """See to members that are gone, as long as there are any."""
        timing, now = self._ctx.timing, self._ctx.now
        if not self._reaping and self.roster.gone:
            self._reaping = True
            due = max(now + timing.reap_interval_s, self.roster.next_reap())
            self._ctx.timers.at(min(due, now + _REAP_RARELY_S), self._reap)
        if not self._reconnecting and any(self.roster.with_status(Status.FAILED)):
            self._reconnecting = True
            self._ctx.timers.at(now + timing.reconnect_interval_s, self._reconnect)

    def _reap(self) -> None:
        self._reaping = False
        self.roster.reap()
        self._arm_upkeep()

    def _reconnect(self) -> None:
        """Try a failed member now and then: it may be back without knowing anybody."""
        self._reconnecting = False
        failed = list(self.roster.with_status(Status.FAILED))
        self._arm_upkeep()
        if not failed or self._leaving:
            return
        alive = sum(record.member.status == Status.ALIVE for record in self.roster.records.values())
        if self._ctx.rng.random() * max(alive, 1) < len(failed):
            member = self._ctx.rng.choice(failed).member
            self.swim.push_pull((member.addr, member.port), True, False, self._reconnected)

    def _reconnected(self, error: str) -> None:
        if error:
            self._ctx.problem(f"reconnect failed: {error}")

    def _doubt(self, name: str) -> None:
        """If a member is about to leave now, see after a while whether it has."""
        record = self.roster.records.get(name)
        if not self._doubting and record is not None and record.member.status == Status.LEAVING:
            self._doubting = True
            self._ctx.timers.at(self._ctx.now + self._ctx.timing.reconnect_interval_s, self._ask_the_leaving)

    def _ask_the_leaving(self) -> None:
        """Tell those that are about to leave, for so long, what is said of them.

        One that does not mean to denies it; it may never have heard of it, or may have said something
        else at the same logical time, and then nothing but its word makes it alive again.
        """
        self._doubting = False
        for record in self.roster.records.values():
            member = record.member
            if member.status == Status.LEAVING and member.name != self._ctx.name:
                intent = LeaveIntent(record.status_ltime, member.name)
                self.swim.send_user(intent.encode(), (member.addr, member.port))
                self._doubt(member.name)

    # ------------------------------------------------------------ for display

    def stats(self) -> dict[str, str]:
        """The figures that ``consul info`` prints."""
        failed = sum(1 for _ in self.roster.with_status(Status.FAILED))
        figures: dict[str, object] = {
            "coordinate_resets": self.coordinates.resets,
            "encrypted": "true" if self._ctx.layers.sealing else "false",
            "event_queue": len(self.event_queue),
            "event_time": self.event_clock.time(),
            "failed": failed,
            "health_score": self.swim.awareness.score,
            "intent_queue": len(self.intent_queue),
            "left": len(self.roster.gone) - failed,
            "member_time": self.member_clock.time(),
            "members": len(self.roster.records),
            "not_authentic": self._ctx.not_authentic,
            "query_queue": len(self.query_queue),
            "query_time": self.query_clock.time(),
        }
        return {name: str(value) for name, value in figures.items()}
