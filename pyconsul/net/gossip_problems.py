"""What goes wrong in a pool, in the log."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from pyconsul.log import make_logger
from pyconsul.net.bounded_lines import BoundedLines
from pyconsul.swim.events import Problem


class Problems:
    """Logs the problems of one pool, not too many of each level."""

    def __init__(self, clock: IReactorTime) -> None:
        log = make_logger("gossip")
        self._warnings = BoundedLines(clock, lambda text: log.warn("gossip: {text}", text=text))
        self._details = BoundedLines(clock, lambda text: log.debug("gossip: {text}", text=text))

    def add(self, problem: Problem) -> None:
        """Log a problem, or count it."""
        lines = self._warnings if problem.notable else self._details
        lines.add(problem.text)
