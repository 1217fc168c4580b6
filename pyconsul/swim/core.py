"""One node of a gossip pool, as a pure state machine.

The parts: ``membership`` (who is alive), ``probing`` (finding out), ``dissemination`` (spreading
news), ``exchange`` (streams). Here events are given to them and time passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pyconsul.interfaces import Address
from pyconsul.swim import messages
from pyconsul.swim.address import packed_of
from pyconsul.swim.awareness import Awareness
from pyconsul.swim.broadcasts import BroadcastQueue
from pyconsul.swim.context import Context, Delegate, NoDelegate
from pyconsul.swim.dissemination import Dissemination
from pyconsul.swim.events import (
    ExchangeEnded,
    Leave,
    LeaveEnded,
    PacketReceived,
    PushPull,
    PushPullEnded,
    StreamReceived,
    Tick,
    UpdateMeta,
)
from pyconsul.swim.exchange import Streams
from pyconsul.swim.keyring import NotAuthentic
from pyconsul.swim.layers import Layers
from pyconsul.swim.membership import Membership
from pyconsul.swim.messages import Ack, Alive, Dead, IndirectPing, Nack, Ping, Suspect
from pyconsul.swim.nodes import Node, NodeTable
from pyconsul.swim.packet import decode_packet
from pyconsul.swim.probing import FailureDetector
from pyconsul.swim.timing import Timing
from pyconsul.swim.wire import DecodeError

if TYPE_CHECKING:
    from random import Random

VERSIONS = bytes((1, 5, 2, 2, 5, 4))
"""Protocol min, max, current and the layer above's; Consul's own."""


class SwimCore:
    """Membership of one pool.

    :ivar context: settings and the effects of the event at hand; the layer above may add to them.
    :param address: where others reach this node.
    :param user_queues: what the layer above wants to spread, most important first; the messages
        carry the type byte ``messages.USER``. Call ``wake`` after adding to them.
    """

    def __init__(
        self,
        name: str,
        address: Address,
        timing: Timing,
        layers: Layers,
        rng: Random,
        delegate: Delegate | None = None,
        user_queues: Sequence[BroadcastQueue] = (),
        versions: bytes = VERSIONS,
    ) -> None:
        self.context = Context(name, timing, layers, rng, delegate or NoDelegate())
        self.nodes = NodeTable(rng)
        self.awareness = Awareness(timing.awareness_max)
        self.gossip = Dissemination(self.context, self.nodes, user_queues)
        self.membership = Membership(self.context, self.nodes, self.awareness, self.gossip, address[1])
        self._streams = Streams(self.context, self.nodes, self.membership)
        self._detector = FailureDetector(
            self.context, self.nodes, self.awareness, self.gossip, self.membership, self._streams.ping
        )
        self.membership.woken = self._detector.wake
        self._address = address
        self._versions = versions
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            Tick: self._tick,
            PacketReceived: self._packet,
            StreamReceived: self._streams.received,
            ExchangeEnded: self._streams.ended,
            PushPull: self._push_pull,
            UpdateMeta: lambda event: self.membership.update_meta(event.meta),
            Leave: lambda event: self.leave(lambda: self.context.emit(LeaveEnded())),
        }

    # ------------------------------------------------------------ as a core

    def start(self, now: float, meta: bytes = b"") -> list[Any]:
        """Become a member of one's own pool of one."""
        self.begin(now)
        host, port = self._address
        self.membership.announce(
            Alive(1, self.context.name, packed_of(host), port, meta, self._versions)
        )
        self._streams.start()
        return self.end()

    def handle(self, now: float, event: Any) -> list[Any]:
        """Take one event of ``pyconsul.swim.events``; returns the effects."""
        self.begin(now)
        self._handlers[type(event)](event)
        return self.end()

    def next_deadline(self) -> float | None:
        """When ``Tick`` is due."""
        return self.context.timers.next_deadline()

    def begin(self, now: float) -> None:
        """Time is now ``now``; what follows, until ``end``, belongs to one event."""
        if now > self.context.now:
            self.context.now = now

    def end(self) -> list[Any]:
        """The effects since ``begin``."""
        effects, self.context.effects = self.context.effects, []
        return effects

    def _tick(self, event: Tick) -> None:
        context = self.context
        due = context.timers.next_deadline()
        if due is not None and context.now - due > context.timing.probe_interval_s:
            self.membership.stood_still()
        context.timers.run(context.now)

    # ------------------------------------------------------------ for the layer above

    def wake(self) -> None:
        """Something was added to a user queue."""
        self.gossip.wake()

    def send_user(self, message: bytes, to: Address) -> None:
        """Send a message of the layer above to one address."""
        self.gossip.send(bytes((messages.USER,)) + message, to)

    def leave(self, done: Callable[[], None]) -> None:
        """Tell everybody that this node leaves; ``done`` is called when they have been told."""
        others = self.nodes.others_alive(self.context.name)
        finished = False

        def once() -> None:
            nonlocal finished
            if not finished:
                finished = True
                done()

        self.membership.leave(once)
        if others:
            self.context.timers.at(self.context.now + self.context.timing.broadcast_timeout_s, once)
        else:
            once()

    def push_pull(self, to: Address, join: bool, ignore_old: bool, done: Callable[[str], None]) -> None:
        """Exchange everything with the node at ``to``; ``done`` gets what went wrong, or nothing."""
        self._streams.push_pull(to, join, ignore_old, done)

    def _push_pull(self, event: PushPull) -> None:
        def done(error: str) -> None:
            self.context.emit(PushPullEnded(event.token, error))

        self.push_pull(event.to, event.join, event.ignore_old, done)

    @property
    def me(self) -> Node:
        """This node."""
        return self.membership.me

    # ------------------------------------------------------------ packets

    def _packet(self, event: PacketReceived) -> None:
        context = self.context
        try:
            packet = decode_packet(context.layers, event.packet)
        except NotAuthentic as error:
            context.not_authentic += 1
            context.problem(f"packet from {event.source[0]}: {error}", notable=True)
            return
        except DecodeError as error:
            context.problem(f"packet from {event.source[0]}: {error}")
            return
        for kind, body in packet.messages:
            try:
                self._message(kind, body, event.source)
            except DecodeError as error:
                context.problem(f"message {kind} from {event.source[0]}: {error}")
        for problem in packet.problems:
            context.problem(f"packet from {event.source[0]}: {problem}")

    def _message(self, kind: int, body: bytes, source: Address) -> None:
        if kind == messages.PING:
            self._detector.answer_ping(Ping.decode(body), source)
        elif kind == messages.ACK:
            self._detector.acked(Ack.decode(body))
        elif kind == messages.ALIVE:
            self.membership.alive(Alive.decode(body))
        elif kind == messages.USER:
            self.context.delegate.user_message(body)
        elif kind == messages.SUSPECT:
            self.membership.suspect(Suspect.decode(body))
        elif kind == messages.DEAD:
            self.membership.dead(Dead.decode(body))
        elif kind == messages.INDIRECT_PING:
            self._detector.relay(IndirectPing.decode(body), source)
        elif kind == messages.NACK:
            self._detector.nacked(Nack.decode(body))
        else:
            self.context.problem(f"unknown message {kind} from {source[0]}")
