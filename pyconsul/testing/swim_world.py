"""Pools of hundreds of gossip cores in one process, on virtual time, with loss, cuts and slow members.

Only ``pyconsul.swim`` runs here, as agents run it. Everything follows from the seed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from heapq import heappop, heappush
from random import Random
from typing import Any

from pyconsul.errors import PyconsulError
from pyconsul.interfaces import Address
from pyconsul.swim.context import NoDelegate
from pyconsul.swim.core import VERSIONS, SwimCore
from pyconsul.swim.events import (
    Answer,
    Exchange,
    ExchangeEnded,
    PacketReceived,
    PushPull,
    PushPullEnded,
    Send,
    StreamReceived,
    Tick,
)
from pyconsul.swim.layers import Layers
from pyconsul.swim.messages import STATE_ALIVE, STATE_DEAD, NodeState
from pyconsul.swim.nodes import Node
from pyconsul.swim.timing import Timing

MEMBERS_MAX = 4000
DELAY_S = 0.001
"""One way through the network takes half to one and a half times as long."""

_INBOX_MAX = 4096
"""Packets that wait for a member that does not run; what its receive buffer would hold."""


class SwimMember(NoDelegate):
    """One core and what is around it.

    :ivar frozen_until: until when the member does nothing, as if its process were stopped.
    """

    __slots__ = ("address", "alive", "core", "due", "frozen_until", "inbox", "name", "world")

    def __init__(self, world: SwimWorld, number: int, timing: Timing) -> None:
        rng = Random(world.rng.random())
        self.world = world
        self.name = f"n{number}"
        self.address = address_of(number)
        self.alive = True
        self.frozen_until = 0.0
        self.inbox: deque[Any] = deque(maxlen=_INBOX_MAX)
        self.due: float | None = None
        self.core = SwimCore(self.name, self.address, timing, Layers(rng.randbytes), rng, self)

    def left(self, node: Node) -> None:
        if node.state == STATE_DEAD:
            self.world.deaths.append((self.world.now, self.name, node.name))


class SwimWorld:
    """Members, the network between them, and time.

    :ivar lost: share of the packets that the network loses; streams are resent until they arrive.
    :ivar cut: members that reach nobody and are reached by nobody.
    :ivar packets: how many were sent.
    :ivar deaths: who declared or heard whom dead, as (time, observer, member).
    """

    def __init__(self, seed: int, timing: Timing) -> None:
        self.rng = Random(seed)
        self.now = 0.0
        self.lost = 0.0
        self.cut: set[Address] = set()
        self.packets = 0
        self.members: dict[Address, SwimMember] = {}
        self.deaths: list[tuple[float, str, str]] = []
        self._timing = timing
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._number = 0
        self._stuttering = False

    # ------------------------------------------------------------ members

    def add(self) -> SwimMember:
        """A member of its own pool of one."""
        if len(self.members) >= MEMBERS_MAX:
            raise PyconsulError(f"a world has at most {MEMBERS_MAX} members")
        member = SwimMember(self, len(self.members), self._timing)
        self.members[member.address] = member
        self._perform(member, member.core.start(self.now))
        return member

    def settle(self, count: int) -> None:
        """``count`` members that have known each other for long and have nothing to say about it."""
        members = [self.add() for _ in range(count)]
        states = [
            NodeState(member.name, node.addr, node.port, b"", node.incarnation, STATE_ALIVE, VERSIONS)
            for member in members
            for node in (member.core.me,)
        ]
        for member in members:
            core = member.core
            core.begin(self.now)
            core.membership.merge(states)
            core.gossip.queue.clear()
            self._perform(member, core.end())

    def join(self, member: SwimMember, through: SwimMember) -> None:
        """Have a member join the pool of another."""
        self._feed(member, PushPull(1, through.address))

    def crash(self, member: SwimMember) -> None:
        """The process ends without a word."""
        member.alive = False
        member.inbox.clear()

    def stutter(self, slow: Iterable[SwimMember], frozen_s: float, running_s: float) -> None:
        """Have members stop for ``frozen_s`` and run for ``running_s``, in turn, from now on.

        It is members like these that Lifeguard is about. What they have missed is there when they
        run again; as in an agent, their timers are served before the packets.
        """
        self._stuttering = True
        for member in slow:
            self.at(self.now + self.rng.random() * (frozen_s + running_s),
                    partial(self._freeze, member, frozen_s, running_s))  # fmt: skip

    def calm(self) -> None:
        """Those who are slow run on from where they are."""
        self._stuttering = False

    def _freeze(self, member: SwimMember, frozen_s: float, running_s: float) -> None:
        if not self._stuttering:
            return
        member.frozen_until = self.now + frozen_s
        self.at(member.frozen_until, partial(self._thaw, member))
        self.at(member.frozen_until + running_s, partial(self._freeze, member, frozen_s, running_s))

    def _thaw(self, member: SwimMember) -> None:
        self._feed(member, Tick())
        waiting = list(member.inbox)
        member.inbox.clear()
        for event in waiting:
            self._feed(member, event)

    # ------------------------------------------------------------ time

    def at(self, when: float, call: Callable[[], object]) -> None:
        """Have ``call`` called at ``when``."""
        self._number += 1
        heappush(self._heap, (when, self._number, call))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.now, _, call = heappop(heap)
            call()
        self.now = end

    def run_until(self, reached: Callable[[], bool], within_s: float, step_s: float = 0.02) -> float | None:
        """Let time pass until ``reached``; returns how much did, ``None`` if that was not enough."""
        start = self.now
        while self.now < start + within_s:
            self.run(step_s)
            if reached():
                return self.now - start
        return None

    # ------------------------------------------------------------ what happens to cores

    def _feed(self, member: SwimMember, event: Any) -> list[Any]:
        if not member.alive:
            return []
        if member.frozen_until > self.now:
            if type(event) is not Tick:
                member.inbox.append(event)
            return []
        effects: list[Any] = member.core.handle(self.now, event)
        self._perform(member, effects)
        return effects

    def _perform(self, member: SwimMember, effects: list[Any]) -> None:
        for effect in effects:
            if type(effect) is Send:
                self._send(member, effect)
            elif type(effect) is Exchange:
                self.at(self._arrival(), partial(self._exchange, member, effect, self.now + effect.timeout_s))
            elif type(effect) is PushPullEnded and effect.error:
                raise PyconsulError(f"{member.name} cannot join: {effect.error}")
        due = member.core.next_deadline()
        if due is not None and (member.due is None or due < member.due):
            member.due = due
            self.at(due, partial(self._tick, member, due))

    def _tick(self, member: SwimMember, due: float) -> None:
        if member.due == due:
            member.due = None
            self._feed(member, Tick())

    def _arrival(self) -> float:
        return self.now + DELAY_S * (0.5 + self.rng.random())

    def _connected(self, source: Address, target: Address) -> bool:
        return target in self.members and source not in self.cut and target not in self.cut

    def _send(self, member: SwimMember, effect: Send) -> None:
        self.packets += 1
        if self.lost and self.rng.random() < self.lost:
            return
        if self._connected(member.address, effect.to):
            event = PacketReceived(effect.packet, member.address)
            self.at(self._arrival(), partial(self._feed, self.members[effect.to], event))

    def _exchange(self, member: SwimMember, effect: Exchange, until: float) -> None:
        target = self.members.get(effect.to)
        if target is None or not target.alive or not self._connected(member.address, effect.to):
            self._feed(member, ExchangeEnded(effect.token, None, "connection refused"))
        elif target.frozen_until > until:
            self.at(until, partial(self._feed, member, ExchangeEnded(effect.token, None, "i/o timeout")))
        elif target.frozen_until > self.now:
            self.at(target.frozen_until, partial(self._exchange, member, effect, until))
        else:
            effects = self._feed(target, StreamReceived(effect.request, member.address))
            answer = next((reply.data for reply in effects if type(reply) is Answer), None)
            ended = ExchangeEnded(effect.token, answer, "" if answer is not None else "EOF")
            self.at(self._arrival(), partial(self._feed, member, ended))

    # ------------------------------------------------------------ what the members believe

    def states_of(self, name: str) -> list[int]:
        """What each living member, but for the one itself, takes ``name`` for; -1: never heard of it."""
        found = []
        for member in self.members.values():
            if member.alive and member.name != name:
                node = member.core.nodes.get(name)
                found.append(-1 if node is None else node.state)
        return found


def address_of(number: int) -> Address:
    """The address of the member with a number."""
    return (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 8301)
