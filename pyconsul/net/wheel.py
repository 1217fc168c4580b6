"""One coarse timer for very many waits: parked queries, calls in flight."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Expiring(Protocol):
    """Something with a deadline; hashable by identity."""

    def expire(self) -> None:
        """The deadline has passed; the wheel has forgotten this object already."""
        ...


class Wheel:
    """Calls ``expire`` on objects, up to ``step_s`` late.

    A slot is a dict used as an ordered set, so that adding and removing cost one dict operation
    and no object of the reactor's. While nothing waits there is no timer.
    """

    def __init__(self, clock: IReactorTime, step_s: float = 0.1) -> None:
        self._clock = clock
        self.step_s = step_s
        self._slots: dict[int, dict[Expiring, None]] = {}
        self._next_slot = 0
        self._timer: IDelayedCall | None = None

    def add(self, waiting: Expiring, delay_s: float) -> int:
        """Wait ``delay_s``; returns the slot that ``remove`` needs."""
        slot = int((self._clock.seconds() + max(0.0, delay_s)) / self.step_s) + 1
        members = self._slots.get(slot)
        if members is None:
            members = self._slots[slot] = {}
        members[waiting] = None
        if self._timer is None or slot < self._next_slot:
            self._arm()
        return slot

    def remove(self, waiting: Expiring, slot: int) -> None:
        """Wait no longer. Harmless when it has expired already."""
        members = self._slots.get(slot)
        if members is not None:
            members.pop(waiting, None)
            if not members:
                del self._slots[slot]

    def stop(self) -> None:
        """Forget everything."""
        self._slots.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._slots:
            self._next_slot = min(self._slots)
            delay = self._next_slot * self.step_s - self._clock.seconds()
            self._timer = self._clock.callLater(max(0.0, delay), self._turn)

    def _turn(self) -> None:
        self._timer = None
        now_slot = int(self._clock.seconds() / self.step_s + 1e-6)
        for slot in sorted(slot for slot in self._slots if slot <= now_slot):
            for waiting in list(self._slots.pop(slot, ())):
                waiting.expire()
        self._arm()
