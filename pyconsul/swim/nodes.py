"""What gossip knows about each node, and the order in which they are probed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

from pyconsul.interfaces import Address
from pyconsul.swim.messages import STATE_DEAD, Alive, NodeState

if TYPE_CHECKING:
    from random import Random

NODES_MAX = 1 << 15
"""Nodes beyond these are not taken in: whoever can reach the port can make names up."""
DRAWS_MAX = 256
SCAN_MAX = 1024
"""How many nodes are looked at for one that is to be told something; most may be made up, or gone."""


class Node(Struct, gc=False, eq=False):
    """One node.

    :ivar address: ``addr`` and ``port`` in the form that transports take.
    :ivar state: one of ``STATE_*``.
    :ivar changed: when ``state`` last changed, on the core's clock.
    :ivar jumped: when ``incarnation`` last grew by a great deal at once, on the core's clock.
    :ivar encoded: the node as a push/pull carries it, until something changes.
    """

    name: str
    addr: bytes
    port: int
    address: Address
    meta: bytes
    versions: bytes
    incarnation: int
    state: int
    changed: float
    jumped: float = float("-inf")
    encoded: bytes | None = None

    @property
    def gone(self) -> bool:
        """Whether the node is dead or has left."""
        return self.state >= STATE_DEAD

    @property
    def protocol_max(self) -> int:
        """The newest protocol that the node understands."""
        return self.versions[1] if len(self.versions) > 1 else 0

    def set_state(self, state: int, now: float) -> None:
        """Change the state and remember when."""
        if state != self.state:
            self.state, self.changed = state, now
        self.encoded = None

    def encode_state(self) -> bytes:
        """The node as a push/pull carries it."""
        encoded = self.encoded
        if encoded is None:
            encoded = self.encoded = NodeState(
                self.name, self.addr, self.port, self.meta, self.incarnation, self.state, self.versions
            ).encode()
        return encoded

    def alive_message(self) -> Alive:
        """The message that says what we know of a live node."""
        return Alive(self.incarnation, self.name, self.addr, self.port, self.meta, self.versions)


class NodeTable:
    """All known nodes, this one included."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._nodes: dict[str, Node] = {}
        self._ring: list[Node] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def get(self, name: str) -> Node | None:
        """The node called ``name``."""
        return self._nodes.get(name)

    def add(self, node: Node) -> None:
        """Take in a node at a random place of the ring."""
        self._nodes[node.name] = node
        ring = self._ring
        ring.append(node)
        place = self._rng.randrange(len(ring))
        ring[place], ring[-1] = ring[-1], ring[place]

    def others_alive(self, me: str) -> bool:
        """Whether any other node is alive or suspected."""
        return any(node.state < STATE_DEAD and node.name != me for node in self._nodes.values())

    def next_probed(self, now: float, me: str, forget_after_s: float) -> Node | None:
        """The next node to probe: each once in a round, each round in another order.

        Between rounds, nodes that are dead or gone for ``forget_after_s`` are forgotten.
        """
        for _ in range(len(self._ring) + 1):
            if self._next >= len(self._ring):
                self._begin_round(now, me, forget_after_s)
            node = self._ring[self._next]
            self._next += 1
            if node.name != me and not node.gone:
                return node
        return None

    def _begin_round(self, now: float, me: str, forget_after_s: float) -> None:
        kept = [
            node for node in self._ring
            if not node.gone or node.name == me or now - node.changed <= forget_after_s
        ]  # fmt: skip
        if len(kept) < len(self._ring):
            self._nodes = {node.name: node for node in kept}
        self._rng.shuffle(kept)
        self._ring, self._next = kept, 0

    def choose(self, count: int, fits: Callable[[Node], bool]) -> list[Node]:
        """Up to ``count`` different random nodes that fit; gives up after having looked at many that do not.

        If drawing finds few, those that stand together somewhere are looked at, which is as good: their order
        is random.
        """
        ring = self._ring
        chosen: list[Node] = []
        randrange, size = self._rng.randrange, len(self._ring)
        for _ in range(min(3 * size, DRAWS_MAX)):
            if len(chosen) == count:
                return chosen
            node = ring[randrange(size)]
            if fits(node) and node not in chosen:
                chosen.append(node)
        start = randrange(size) if size > DRAWS_MAX // 3 else 0
        for place in range(start, start + min(size, SCAN_MAX)):
            if len(chosen) == count:
                break
            node = ring[place % size]
            if fits(node) and node not in chosen:
                chosen.append(node)
        return chosen

