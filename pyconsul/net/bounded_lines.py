"""Lines about what others do, in the log: never more than somebody can read."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

LINES_PER_S = 10
"""Lines about what others send; further ones within a second are only counted."""


class BoundedLines:
    """Writes some lines a second, and says how many more there were.

    :param write: logs one.
    """

    __slots__ = ("_clock", "_count", "_since", "_write")

    def __init__(self, clock: IReactorTime, write: Callable[[str], None]) -> None:
        self._clock = clock
        self._write = write
        self._since, self._count = 0.0, 0

    def add(self, text: str) -> None:
        """Write a line, or count it."""
        now = self._clock.seconds()
        if now - self._since >= 1.0:
            if self._count > LINES_PER_S:
                self._write(f"{self._count - LINES_PER_S} more lines like these")
            self._since, self._count = now, 0
        self._count += 1
        if self._count <= LINES_PER_S:
            self._write(text)
