"""Sending packets, and spreading news in the room that they leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyconsul.interfaces import Address
from pyconsul.swim import messages
from pyconsul.swim.broadcasts import BroadcastQueue, retransmit_limit
from pyconsul.swim.context import Context
from pyconsul.swim.events import Send
from pyconsul.swim.nodes import NODES_MAX, Node, NodeTable
from pyconsul.swim.packet import (
    BUFFER_SIZE,
    COMPOUND_ENTRY,
    COMPOUND_HEADER,
    CRC_HEADER,
    compound,
    encode_packet,
)

_CRC_PROTOCOL = 5
_PROMPTNESS = 0.05
"""Share of the gossip interval to wait for more news before the first packet goes out."""
_HURRY = 0.2
"""Share of the gossip interval that lies between two hurried rounds."""
_FRESH_MAX = 64
"""More news than that is not hurried."""
_FIRST_HAND_NODES = 64
"""To how many others a hurried round goes if only we have its news."""


class Dissemination:
    """The outgoing side: piggy-backing and gossip rounds (specs of gossip, section 10).

    :ivar queue: news about nodes.

    Unlike memberlist's, a round takes place only while there is something to say, and the first one
    after silence comes at once. What a member learns between two rounds it passes on in a hurried one: once,
    to as many others as a round has, and besides what the rounds themselves send. So news is through a pool
    in a few hundredths of a second, where round after round would take a second, and is repeated as before.

    Chance leaves out some with each news, and of much news at once only some fits into a packet. Who starts
    many members at a time would wait for them all to be seen everywhere. So those who have joined through us,
    of whom only we know, are told to many others, packet after packet.
    """

    def __init__(self, context: Context, nodes: NodeTable, user_queues: Sequence[BroadcastQueue]) -> None:
        self._ctx = context
        self._nodes = nodes
        self.queue = BroadcastQueue(NODES_MAX)
        self._queues = (self.queue, *user_queues)
        self._armed = False
        self._last_round = self._last_hurry = self._due = float("-inf")
        self._fresh: dict[str, bytes] = {}
        self._first_hand = False

    def broadcast(
        self,
        message: bytes,
        about: str,
        done: Callable[[], None] | None = None,
        *,
        first_hand: bool = False,
    ) -> None:
        """Spread news about the node ``about``, in place of older news about it.

        :param first_hand: nobody else has it yet.
        """
        self.queue.add(message, about, done)
        self.wake()
        if self._armed and self._ctx.timing.hurried:
            self._hurry(message, about, first_hand)

    def _hurry(self, message: bytes, about: str, first_hand: bool) -> None:
        """Pass on ``message`` before the next round, unless that is about to come."""
        now, interval = self._ctx.now, self._ctx.timing.gossip_interval_s
        due = max(now + interval * _PROMPTNESS, self._last_hurry + interval * _HURRY)
        if (due >= self._due and not first_hand) or len(self._fresh) >= _FRESH_MAX:
            return
        if not self._fresh:
            self._ctx.timers.at(due, self._hurried_round)
        self._fresh[about] = message
        self._first_hand |= first_hand

    def wake(self) -> None:
        """There may be something to say now, or somebody to say it to."""
        if self._armed or len(self._nodes) < 2 or not any(self._queues):
            return
        self._armed = True
        interval = self._ctx.timing.gossip_interval_s
        due = max(self._ctx.now + interval * _PROMPTNESS, self._last_round + interval)
        self._due = due
        self._ctx.timers.at(due, self._round)

    @property
    def room(self) -> int:
        """Bytes for messages in one packet, what a compound takes for each included."""
        return BUFFER_SIZE - CRC_HEADER - COMPOUND_HEADER - self._ctx.layers.overhead

    def send(self, message: bytes, to: Address) -> None:
        """Send ``message`` and nothing else."""
        self._ctx.emit(Send(encode_packet(self._ctx.layers, message), to))

    def send_to(self, node: Node, parts: Sequence[bytes]) -> None:
        """Send messages to a node that we know."""
        with_crc = node.protocol_max >= _CRC_PROTOCOL
        self._ctx.emit(Send(encode_packet(self._ctx.layers, compound(parts), with_crc), node.address))

    def piggyback(self, message: bytes, to: Address) -> None:
        """Send ``message`` and as much news as fits."""
        news = self._news(self.room - COMPOUND_ENTRY - len(message))
        if news:
            message = compound((message, *news))
        self._ctx.emit(Send(encode_packet(self._ctx.layers, message), to))

    def _news(self, room: int) -> list[bytes]:
        limit = 0
        found: list[bytes] = []
        for queue in self._queues:
            if queue:
                limit = limit or retransmit_limit(self._ctx.timing.retransmit_mult, len(self._nodes))
                taken, room = queue.take(room, COMPOUND_ENTRY, limit)
                found += taken
        return found

    def _round(self) -> None:
        """Tell a few random nodes the news."""
        ctx = self._ctx
        self._armed = False
        self._last_round = ctx.now
        told = 0
        for node in self._nodes.choose(ctx.timing.gossip_nodes, self._hears_gossip):
            news = self._news(self.room)
            if not news:
                break
            self.send_to(node, news)
            told += 1
        if told:  # else nobody is there; whoever comes wakes us
            self.wake()

    def _hurried_round(self) -> None:
        """Tell others what is new, as far as it fits into one packet."""
        ctx = self._ctx
        others = _FIRST_HAND_NODES if self._first_hand else ctx.timing.gossip_nodes
        self._last_hurry = ctx.now
        room = self.room
        news: list[bytes] = []
        for about, message in list(self._fresh.items()):
            room -= COMPOUND_ENTRY + len(message)
            if room < 0:
                break
            news.append(message)
            del self._fresh[about]
        if news:
            for node in self._nodes.choose(others, self._hears_gossip):
                self.send_to(node, news)
        if not self._first_hand or not news:
            self._fresh.clear()
        self._first_hand = bool(self._fresh)
        if self._fresh:
            ctx.timers.at(ctx.now + ctx.timing.gossip_interval_s * _HURRY, self._hurried_round)

    def _hears_gossip(self, node: Node) -> bool:
        if node.name == self._ctx.name or node.state == messages.STATE_LEFT:
            return False
        dead = node.state == messages.STATE_DEAD
        return not dead or self._ctx.now - node.changed <= self._ctx.timing.gossip_to_the_dead_s
