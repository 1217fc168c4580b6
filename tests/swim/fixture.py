"""One core under test, with a layer above that writes down what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.interfaces import Address
from pyconsul.swim import messages
from pyconsul.swim.core import VERSIONS, SwimCore
from pyconsul.swim.events import PacketReceived, Problem, Send, Tick
from pyconsul.swim.layers import Layers
from pyconsul.swim.messages import (
    Ack,
    Alive,
    Dead,
    IndirectPing,
    Nack,
    NodeState,
    Ping,
    Suspect,
)
from pyconsul.swim.nodes import Node
from pyconsul.swim.packet import decode_packet
from pyconsul.swim.timing import LAN, Timing

ME: Address = ("10.0.0.1", 7946)
DECODERS: dict[int, Any] = {
    messages.PING: Ping,
    messages.INDIRECT_PING: IndirectPing,
    messages.ACK: Ack,
    messages.NACK: Nack,
    messages.SUSPECT: Suspect,
    messages.ALIVE: Alive,
    messages.DEAD: Dead,
}


class Recorder:
    """The layer above."""

    def __init__(self) -> None:
        self.hooked = True
        self.told: list[tuple[str, str]] = []
        self.user: list[bytes] = []
        self.refusal = ""
        self.merge_refusal = ""
        self.payload: bytes | None = b"here"
        self.merged: list[tuple[bytes, bool, bool]] = []
        self.rtts: list[tuple[str, float, bytes]] = []

    def refuse_alive(self, message: Alive) -> str:
        return self.refusal

    def refuse_merge(self, states: Sequence[NodeState]) -> str:
        return self.merge_refusal

    def joined(self, node: Node) -> None:
        self.told.append(("join", node.name))

    def updated(self, node: Node) -> None:
        self.told.append(("update", node.name))

    def left(self, node: Node) -> None:
        self.told.append(("left", node.name))

    def conflict(self, known: Node, other: Alive) -> None:
        self.told.append(("conflict", known.name))

    def user_message(self, message: bytes) -> None:
        self.user.append(message)

    def local_state(self, join: bool) -> bytes:
        return b"state"

    def merge_state(self, state: bytes, join: bool, ignore_old: bool) -> None:
        self.merged.append((state, join, ignore_old))

    def ack_payload(self) -> bytes | None:
        return self.payload

    def probed(self, node: Node, rtt_s: float, payload: bytes) -> None:
        self.rtts.append((node.name, rtt_s, payload))


def addr_of(name: str) -> bytes:
    """The address of the node with a one-letter name."""
    return bytes((10, 0, 1, ord(name[0])))


def address_of(name: str) -> Address:
    """The same, in the form that transports take."""
    return (f"10.0.1.{ord(name[0])}", 7946)


def alive(name: str, incarnation: int = 1, meta: bytes = b"", **more: Any) -> Alive:
    """An alive message about a node with a one-letter name."""
    fields: dict[str, Any] = {"addr": addr_of(name), "port": 7946, "versions": VERSIONS}
    return Alive(incarnation, name, meta=meta, **(fields | more))


class CoreTestCase(SynchronousTestCase):
    """``self.core`` is called ``me`` and has just started, at time 0."""

    timing: Timing = LAN

    def setUp(self) -> None:
        self.layers = Layers(lambda size: bytes(size))
        self.above = Recorder()
        self.core = SwimCore("me", ME, self.timing, self.layers, Random(7), self.above)
        self.now = 0.0
        self.core.start(0.0, b"meta")
        self.above.told.clear()

    def feed(self, event: Any) -> list[Any]:
        """The effects of an event, now."""
        return self.core.handle(self.now, event)

    def receive(self, *found: Any, source: Address = ("10.0.1.99", 7946)) -> list[Any]:
        """The effects of messages in one packet each."""
        effects: list[Any] = []
        for message in found:
            packet = message if isinstance(message, bytes) else message.encode()
            effects += self.feed(PacketReceived(packet, source))
        return effects

    def add(self, names: str) -> None:
        """Let nodes with one-letter names join, and spread the news until it is old."""
        for name in names:
            self.receive(alive(name))
        self.quiet()

    def quiet(self) -> None:
        """Drop all news that waits to be spread, and what the layer above was told."""
        while len(self.core.gossip.queue):
            self.core.gossip.queue.take(1400, 2, 1)
        self.above.told.clear()

    def advance(self, seconds: float) -> list[Any]:
        """The effects of time passing."""
        effects: list[Any] = []
        end = self.now + seconds
        while (deadline := self.core.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            effects += self.feed(Tick())
        self.now = end
        return effects

    def live(self, seconds: float) -> list[Any]:
        """The effects of time passing while all others ack their pings."""
        effects: list[Any] = []
        end = self.now + seconds
        while (deadline := self.core.next_deadline()) is not None and deadline <= end:
            found = self.advance(deadline - self.now)
            effects += found
            for message, _ in self.sent(found):
                if isinstance(message, Ping):
                    self.receive(Ack(message.seq_no))
        self.now = end
        return effects

    def sent(self, effects: list[Any]) -> list[tuple[Any, Address]]:
        """The messages in the packets among ``effects``, and where they went."""
        found: list[tuple[Any, Address]] = []
        for effect in effects:
            if isinstance(effect, Send):
                for kind, body in decode_packet(self.layers, effect.packet).messages:
                    decoder = DECODERS.get(kind)
                    found.append((decoder.decode(body) if decoder else (kind, body), effect.to))
        return found

    def news(self) -> list[Any]:
        """The messages that wait to be spread."""
        parts, _ = self.core.gossip.queue.take(100_000, 2, 100)
        return [DECODERS[part[0]].decode(part[1:]) for part in parts]

    def node(self, name: str) -> Node:
        """A node that must be known."""
        node = self.core.nodes.get(name)
        assert node is not None
        return node

    def problems(self, effects: list[Any]) -> list[str]:
        """What was noted for the log."""
        return [effect.text for effect in effects if isinstance(effect, Problem)]
