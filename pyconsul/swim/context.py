"""What the parts of one gossip core share: settings, time, chance, timers and the effects so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pyconsul.swim.events import Problem
from pyconsul.swim.layers import Layers
from pyconsul.swim.messages import Alive, NodeState
from pyconsul.swim.nodes import Node
from pyconsul.swim.timers import Timers
from pyconsul.swim.timing import Timing

if TYPE_CHECKING:
    from random import Random


class Delegate(Protocol):
    """The layer above. It is called while an event is handled and may use the core then.

    :ivar hooked: members are looked at before they are taken in, so messages must be complete.
    """

    hooked: bool

    def refuse_alive(self, message: Alive) -> str:
        """Why this node may not be a member; empty if it may."""
        ...

    def refuse_merge(self, states: Sequence[NodeState]) -> str:
        """Why this state may not be merged; empty if it may."""
        ...

    def joined(self, node: Node) -> None:
        """A node is alive that was unknown, dead or gone."""
        ...

    def updated(self, node: Node) -> None:
        """A live node's meta changed."""
        ...

    def left(self, node: Node) -> None:
        """A node is dead or has left."""
        ...

    def conflict(self, known: Node, other: Alive) -> None:
        """Two nodes use one name."""
        ...

    def user_message(self, message: bytes) -> None:
        """A message of this layer came; the bytes are its own."""
        ...

    def local_state(self, join: bool) -> bytes:
        """This layer's part of a push/pull."""
        ...

    def merge_state(self, state: bytes, join: bool, ignore_old: bool) -> None:
        """The other side's part of a push/pull came."""
        ...

    def ack_payload(self) -> bytes | None:
        """What to put into the next ack."""
        ...

    def probed(self, node: Node, rtt_s: float, payload: bytes) -> None:
        """A ping was acked directly, with this payload."""
        ...


class NoDelegate:
    """Nobody is above: take everything, add nothing."""

    hooked = False

    def refuse_alive(self, message: Alive) -> str:
        return ""

    def refuse_merge(self, states: Sequence[NodeState]) -> str:
        return ""

    def joined(self, node: Node) -> None: ...

    def updated(self, node: Node) -> None: ...

    def left(self, node: Node) -> None: ...

    def conflict(self, known: Node, other: Alive) -> None: ...

    def user_message(self, message: bytes) -> None: ...

    def local_state(self, join: bool) -> bytes:
        return b""

    def merge_state(self, state: bytes, join: bool, ignore_old: bool) -> None: ...

    def ack_payload(self) -> bytes | None:
        return None

    def probed(self, node: Node, rtt_s: float, payload: bytes) -> None: ...


class Context:
    """The common ground of one core's parts.

    :ivar now: the time of the event at hand; never goes back.
    :ivar effects: what the event at hand has led to.
    :ivar not_authentic: packets and streams that were dropped since none of our keys opens them.
    """

    __slots__ = ("delegate", "effects", "layers", "name", "not_authentic", "now", "rng", "timers", "timing")

    def __init__(self, name: str, timing: Timing, layers: Layers, rng: Random, delegate: Delegate) -> None:
        self.name = name
        self.timing = timing
        self.layers = layers
        self.rng = rng
        self.delegate = delegate
        self.timers = Timers()
        self.now = 0.0
        self.not_authentic = 0
        self.effects: list[Any] = []

    def emit(self, effect: Any) -> None:
        """Add an effect."""
        self.effects.append(effect)

    def problem(self, text: str, notable: bool = False) -> None:
        """Add something for the log."""
        self.effects.append(Problem(text, notable))
