"""What goes wrong in a pool, in the log: never more lines than somebody can read."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from pyconsul.log import make_logger
from pyconsul.swim.events import Problem

_LINES_PER_S = 10
"""Lines of one level about what others send; further ones within a second are only counted."""


class _Level:
    """The lines of one level. :ivar write: logs one, with a field ``text``."""

    __slots__ = ("count", "since", "write")

    def __init__(self, write: Callable[..., None]) -> None:
        self.write = write
        self.since, self.count = 0.0, 0

    def add(self, now: float, text: str) -> None:
        if now - self.since >= 1.0:
            if self.count > _LINES_PER_S:
                self.write("gossip: {text}", text=f"{self.count - _LINES_PER_S} more lines like these")
            self.since, self.count = now, 0
        self.count += 1
        if self.count <= _LINES_PER_S:
            self.write("gossip: {text}", text=text)


class Problems:
    """Logs the problems of one pool."""

    def __init__(self, clock: IReactorTime) -> None:
        log = make_logger("gossip")
        self._clock = clock
        self._warnings, self._details = _Level(log.warn), _Level(log.debug)

    def add(self, problem: Problem) -> None:
        """Log a problem, or count it."""
        level = self._warnings if problem.notable else self._details
        level.add(self._clock.seconds(), problem.text)
