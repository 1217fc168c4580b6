"""Deadlines inside a core: what is to be called when."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush


class Timer:
    """A call that waits for its time."""

    __slots__ = ("call", "number", "when")

    def __init__(self, when: float, number: int, call: Callable[[], None] | None) -> None:
        self.when = when
        self.number = number
        self.call = call

    def __lt__(self, other: Timer) -> bool:
        return (self.when, self.number) < (other.when, other.number)

    def cancel(self) -> None:
        """Never call; the entry is dropped when its time comes."""
        self.call = None


class Timers:
    """A heap of calls; equal times keep their order."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._number = 0
        self._sweep_at = 64

    def at(self, when: float, call: Callable[[], None]) -> Timer:
        """Have ``call`` called at ``when``."""
        self._number += 1
        timer = Timer(when, self._number, call)
        heappush(self._heap, timer)
        return timer

    def next_deadline(self) -> float | None:
        """When the next call is due."""
        heap = self._heap
        while heap and heap[0].call is None:
            heappop(heap)
        return heap[0].when if heap else None

    def run(self, now: float) -> None:
        """Make the calls that are due. What they add is left for the next time."""
        heap = self._heap
        last = self._number
        later: list[Timer] = []
        while heap and heap[0].when <= now:
            timer = heappop(heap)
            if timer.call is None:
                continue
            if timer.number > last:
                later.append(timer)
                continue
            call, timer.call = timer.call, None
            call()
        for timer in later:
            heappush(heap, timer)
        if len(heap) > self._sweep_at:  # cancelled entries far in the future would pile up
            heap[:] = [timer for timer in heap if timer.call is not None]
            heapify(heap)
            self._sweep_at = 64 + 2 * len(heap)
