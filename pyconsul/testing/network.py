"""The network of a simulated world: who can reach whom, how late, and what gets lost on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from pyconsul.testing.clock import KILLED, NodeClock, SimClock

if TYPE_CHECKING:
    from pyconsul.interfaces import Address
    from pyconsul.testing.transports import GossipSocket, RaftSocket, RpcSocket


@dataclass(frozen=True, slots=True)
class Conditions:
    """What happens to messages, each with its own probability.

    :ivar delay_s: the least time on the way.
    :ivar jitter_s: up to this much more, uniformly.
    :ivar tail: probability that a message takes up to ``tail_s`` more.
    :ivar loss: probability that a message is lost. What goes over a connection is sent again by
        the kernel, which shows as a delay, except Raft messages: the core must live with losses.
    :ivar duplicate: probability that a packet or Raft message comes twice.
    :ivar reorder: probability that a Raft message may overtake those before it.
    """

    delay_s: float = 0.0002
    jitter_s: float = 0.0008
    tail: float = 0.001
    tail_s: float = 0.02
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0


CALM = Conditions()


class Stack:
    """The network as one process sees it; it ends with the process.

    :ivar ip: the address of the host.
    :ivar alive: false once the process has ended.
    """

    def __init__(self, network: SimNetwork, ip: str, clock: NodeClock) -> None:
        self.network = network
        self.ip = ip
        self.clock = clock
        self.sockets: list[RaftSocket | RpcSocket | GossipSocket] = []

    @property
    def alive(self) -> bool:
        """Whether the process still exists (it may be paused)."""
        return self.clock.state != KILLED


class SimNetwork:
    """Connects the processes of a world.

    :param check_codec: encode and decode each Raft message on its way, to show that it survives.
    :ivar links: conditions of single directions, ``(from ip, to ip)``; ``conditions`` hold elsewhere.
    :ivar bugs: exceptions that came out of endpoints and are none of ``PyconsulError``.
    """

    def __init__(
        self,
        clock: SimClock,
        rng: Random,
        conditions: Conditions = CALM,
        check_codec: bool = False,
        note: Callable[[float], object] = lambda number: None,
    ) -> None:
        self.clock = clock
        self.rng = rng
        self.conditions = conditions
        self.check_codec = check_codec
        self.note = note
        self.links: dict[tuple[str, str], Conditions] = {}
        self.cuts: set[tuple[str, str]] = set()
        self.raft: dict[str, RaftSocket] = {}
        self.rpc: dict[str, RpcSocket] = {}
        self.gossip: dict[Address, GossipSocket] = {}
        self.bugs: list[BaseException] = []
        self.sent = 0
        self.lost = 0

    # ------------------------------------------------------------ hosts

    def plug(self, ip: str, clock: NodeClock) -> Stack:
        """Give a new process on the host ``ip`` its network."""
        return Stack(self, ip, clock)

    def unplug(self, stack: Stack) -> None:
        """The process has ended: its ports are closed, its connections break."""
        for socket in stack.sockets:
            socket.closed()

    # ------------------------------------------------------------ faults

    def cut(self, source: str, target: str, both: bool = True) -> None:
        """Let nothing pass from ``source`` to ``target``, or either way."""
        self.cuts.add((source, target))
        if both:
            self.cuts.add((target, source))

    def partition(self, *groups: Iterable[str]) -> None:
        """Cut everything between hosts of different groups."""
        sets = [list(group) for group in groups]
        for number, group in enumerate(sets):
            for other in sets[number + 1 :]:
                for source in group:
                    for target in other:
                        self.cut(source, target)

    def heal(self) -> None:
        """Let everything pass, and forget the conditions of single links."""
        self.cuts.clear()
        self.links.clear()

    # ------------------------------------------------------------ for the transports

    def is_cut(self, source: str, target: str) -> bool:
        """Whether nothing passes from ``source`` to ``target``."""
        return bool(self.cuts) and (source, target) in self.cuts

    def on(self, source: str, target: str) -> Conditions:
        """What holds in one direction."""
        if self.links:
            return self.links.get((source, target), self.conditions)
        return self.conditions

    def delay(self, conditions: Conditions) -> float:
        """How long one message takes."""
        random = self.rng.random
        delay_s = conditions.delay_s + conditions.jitter_s * random()
        if conditions.tail and random() < conditions.tail:
            delay_s += conditions.tail_s * random()
        return delay_s

    def resent_delay(self, conditions: Conditions) -> float:
        """How long one message over a connection takes: a loss costs a retransmission timeout."""
        delay_s = self.delay(conditions)
        timeout_s = 0.2
        while conditions.loss and timeout_s < 4.0 and self.rng.random() < conditions.loss:
            delay_s += timeout_s
            timeout_s *= 2.0
        return delay_s
