"""Which user events and queries have been seen lately."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

SLOTS = 512
"""Logical times that are remembered; what is older is not taken."""

_SLOT_MAX = 128
"""Different things taken at one logical time; honest pools have one or two."""

T = TypeVar("T", bound=Hashable)


class RecentBuffer(Generic[T]):
    """What was seen at the last ``SLOTS`` logical times (specs of serf, sections 6 and 7).

    :ivar min_time: what is older was before our time.
    """

    def __init__(self) -> None:
        self._slots: dict[int, tuple[int, list[T]]] = {}
        self.min_time = 0

    def is_news(self, ltime: int, clock: int, item: T) -> bool:
        """Remember ``item``; tells whether it is neither known nor too old at time ``clock``."""
        if ltime < self.min_time or (clock > SLOTS and ltime < clock - SLOTS):
            return False
        slot = self._slots.get(ltime % SLOTS)
        if slot is None or slot[0] != ltime:
            self._slots[ltime % SLOTS] = (ltime, [item])
            return True
        if item in slot[1] or len(slot[1]) >= _SLOT_MAX:
            return False
        slot[1].append(item)
        return True

    def __iter__(self) -> Iterator[tuple[int, T]]:
        """All that is remembered, with its time."""
        for ltime, items in self._slots.values():
            for item in items:
                yield ltime, item
