"""A pool in memory: cores, virtual time, and a network that loses what it is told to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from random import Random
from typing import Any

from pyconsul.interfaces import Address
from pyconsul.swim.events import (
    Answer,
    Exchange,
    ExchangeEnded,
    PacketReceived,
    Send,
    StreamReceived,
    Tick,
)

DELAY_S = 0.001


class World:
    """Runs cores, of ``SwimCore`` or ``SerfCore``, by their addresses.

    :ivar cut: addresses that nothing reaches and that reach nothing, as after kill -9.
    :ivar lost: share of packets that get lost; streams never do.
    :ivar effects: what the cores asked for besides the network, as (time, name, effect).
    """

    def __init__(self, seed: int = 1) -> None:
        self.rng = Random(seed)
        self.now = 0.0
        self.cores: dict[Address, Any] = {}
        self.names: dict[Address, str] = {}
        self.cut: set[Address] = set()
        self.lost = 0.0
        self.packets = 0
        self.effects: list[tuple[float, str, Any]] = []
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._number = 0
        self._timers: dict[Address, float] = {}

    def add(self, name: str, address: Address, core: Any, effects: list[Any]) -> None:
        """Take in a core that has just started with ``effects``."""
        self.cores[address], self.names[address] = core, name
        self._perform(address, effects)

    def at(self, when: float, call: Callable[[], object]) -> None:
        """Have ``call`` called at ``when``."""
        self._number += 1
        heappush(self._heap, (when, self._number, call))

    def feed(self, address: Address, event: Any) -> list[Any]:
        """Give an event to a core, unless it is dead."""
        if address in self.cut:
            return []
        effects: list[Any] = self.cores[address].handle(self.now, event)
        self._perform(address, effects)
        return effects

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            when, _, call = heappop(self._heap)
            self.now = max(self.now, when)
            call()
        self.now = end

    def _perform(self, address: Address, effects: list[Any]) -> None:
        for effect in effects:
            kind = type(effect)
            if kind is Send:
                self._send(address, effect)
            elif kind is Exchange:
                self.at(self.now + 2 * DELAY_S, partial(self._exchange, address, effect))
            elif kind is not Answer:
                self.effects.append((self.now, self.names[address], effect))
        deadline = self.cores[address].next_deadline()
        if deadline is not None and self._timers.get(address, float("inf")) > deadline:
            self._timers[address] = deadline
            self.at(deadline, lambda: self._tick(address, deadline))

    def _tick(self, address: Address, deadline: float) -> None:
        if self._timers.get(address) != deadline:
            return
        del self._timers[address]
        self.feed(address, Tick())

    def _send(self, source: Address, effect: Send) -> None:
        self.packets += 1
        if self.lost and self.rng.random() < self.lost:
            return
        target = effect.to
        if target in self.cores and target not in self.cut:
            event = PacketReceived(effect.packet, source)
            self.at(self.now + DELAY_S * (0.5 + self.rng.random()), lambda: self.feed(target, event))

    def _exchange(self, source: Address, effect: Exchange) -> None:
        answer = None
        if effect.to in self.cores and effect.to not in self.cut:
            for reply in self.feed(effect.to, StreamReceived(effect.request, (source[0], 40000))):
                if type(reply) is Answer:
                    answer = reply.data
        error = "" if answer is not None else "connection refused"
        self.feed(source, ExchangeEnded(effect.token, answer, error))


def address_of(number: int) -> Address:
    """The address of the node with a number."""
    return (f"10.0.{number // 250}.{number % 250 + 1}", 7946)
