"""Logical time."""

from __future__ import annotations


class LamportClock:
    """A counter that never falls behind what it has seen (Lamport, 1978).

    Source: specs of serf, section 2; a new clock stands at 1.
    """

    __slots__ = ("_time",)

    def __init__(self) -> None:
        self._time = 1

    def time(self) -> int:
        """The time now."""
        return self._time

    def stamp(self) -> int:
        """The time now, for a message of our own; the clock moves on."""
        stamp = self._time
        self._time += 1
        return stamp

    def witness(self, seen: int) -> None:
        """Move past a time that somebody else has reached."""
        if seen >= self._time:
            self._time = seen + 1
