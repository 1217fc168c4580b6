"""What goes wrong in a pool, in the log: never more lines than somebody can read."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from pyconsul.log import make_logger
from pyconsul.swim.events import Problem

_WARNINGS_PER_S = 10
"""Warnings about what others send; further ones within a second are only counted."""


class Problems:
    """Logs the problems of one pool."""

    def __init__(self, clock: IReactorTime) -> None:
        self._log = make_logger("gossip")
        self._clock = clock
        self._since, self._warnings = 0.0, 0

    def add(self, problem: Problem) -> None:
        """Log a problem, or count it."""
        if not problem.notable:
            self._log.debug("gossip: {text}", text=problem.text)
            return
        now = self._clock.seconds()
        if now - self._since >= 1.0:
            if self._warnings > _WARNINGS_PER_S:
                self._log.warn("gossip: {count} more warnings", count=self._warnings - _WARNINGS_PER_S)
            self._since, self._warnings = now, 0
        self._warnings += 1
        if self._warnings <= _WARNINGS_PER_S:
            self._log.warn("gossip: {text}", text=problem.text)
