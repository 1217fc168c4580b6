"""One serf core under test; the others are made of messages."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.serf.core import SerfCore
from pyconsul.serf.members import Member, MemberEvent, Status
from pyconsul.serf.messages import JoinIntent, LeaveIntent, PushPullState, UserEvent
from pyconsul.serf.tags import encode_tags
from pyconsul.swim.core import VERSIONS
from pyconsul.swim.events import PacketReceived, Problem, StreamReceived, Tick
from pyconsul.swim.layers import Layers
from pyconsul.swim.messages import Ack, Alive, Dead, NodeState, Ping, PushPull
from pyconsul.swim.packet import decode_packet
from pyconsul.swim.timing import LAN, Timing
from tests.swim.fixture import ME, addr_of

SOURCE = ("10.0.1.99", 7946)


class SerfTestCase(SynchronousTestCase):
    """``self.core`` is called ``me`` and has just started, at time 0."""

    timing: Timing = LAN

    def setUp(self) -> None:
        self.refusal: str | None = None
        self.asked: list[Member] = []
        self.layers = Layers(lambda size: bytes(size))
        self.core = self.make(self.layers)
        self.now = 0.0
        self.started = self.core.start(0.0, {"role": "test"})

    def make(self, layers: Layers, **more: Any) -> SerfCore:
        """A core called ``me`` that has not started."""
        return SerfCore("me", ME, self.timing, layers, Random(7), refuse=self._refuse, **more)

    def _refuse(self, member: Member) -> str | None:
        self.asked.append(member)
        return self.refusal

    def feed(self, event: Any) -> list[Any]:
        """The effects of an event, now."""
        return self.core.handle(self.now, event)

    def packet(self, *packets: bytes) -> list[Any]:
        """The effects of packets."""
        return [effect for packet in packets for effect in self.feed(PacketReceived(packet, SOURCE))]

    def user(self, message: Any) -> list[Any]:
        """The effects of a message of the serf layer."""
        return self.packet(b"\x08" + message.encode())

    def gossip(self, *found: Any) -> list[Any]:
        """The effects of messages of gossip."""
        return self.packet(*[message.encode() for message in found])

    def alive(self, name: str, incarnation: int = 1, **tags: str) -> list[Any]:
        """The effects of a node with a one-letter name being alive."""
        return self.gossip(Alive(incarnation, name, addr_of(name), 7946, encode_tags(tags), VERSIONS))

    def dead(self, name: str, accuser: str = "x") -> list[Any]:
        """The effects of a node being dead."""
        return self.gossip(Dead(9, name, accuser))

    def push_pull(self, states: list[NodeState], state: PushPullState) -> list[Any]:
        """The effects of somebody's push/pull."""
        message = PushPull(True, states, state.encode()).encode()
        return self.feed(StreamReceived(message, SOURCE))

    def advance(self, seconds: float) -> list[Any]:
        """The effects of time passing while all others ack their pings."""
        effects: list[Any] = []
        end = self.now + seconds
        while (deadline := self.core.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            found = self.feed(Tick())
            effects += found
            for effect in found:
                packet = getattr(effect, "packet", None)
                for kind, body in decode_packet(self.layers, packet).messages if packet else ():
                    if kind == 0:
                        effects += self.gossip(Ack(Ping.decode(body).seq_no))
        self.now = end
        return effects

    def status(self, name: str) -> Status | None:
        """What a member is up to; ``None`` if it is unknown."""
        record = self.core.roster.records.get(name)
        return record.member.status if record is not None else None

    def events(self, effects: list[Any]) -> list[tuple[str, str, Status]]:
        """What happened to members."""
        found = [effect for effect in effects if isinstance(effect, MemberEvent)]
        return [(event.kind, event.member.name, event.member.status) for event in found]

    def problems(self, effects: list[Any]) -> list[str]:
        """What was noted for the log."""
        return [effect.text for effect in effects if isinstance(effect, Problem)]

    def intents(self) -> list[Any]:
        """The intents that wait to be spread."""
        return self._queued(self.core.intent_queue)

    def spread_events(self) -> list[Any]:
        """The user events that wait to be spread."""
        return self._queued(self.core.event_queue)

    def _queued(self, queue: Any) -> list[Any]:
        parts, _ = queue.take(100_000, 2, 1)
        decoders: dict[int, Any] = {0: LeaveIntent, 1: JoinIntent, 3: UserEvent}
        return [decoders[part[1]].decode(part[2:]) for part in parts]
