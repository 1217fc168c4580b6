"""What is logged of a pool's problems."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.net.gossip_problems import Problems
from pyconsul.swim.events import Problem


class Log:
    """Notes the fields of lines."""

    def __init__(self) -> None:
        self.warned: list[Any] = []
        self.details = 0

    def warn(self, _: str, **fields: Any) -> None:
        self.warned += fields.values()

    def debug(self, _: str, **fields: Any) -> None:
        self.details += 1


class ProblemTests(SynchronousTestCase):
    def test_a_flood_of_warnings_is_counted(self) -> None:
        """Many warnings within a second become few lines."""
        clock, log = Clock(), Log()
        problems = Problems(clock)
        problems._log = log
        for _ in range(50):
            problems.add(Problem("odd", notable=True))
            problems.add(Problem("detail"))
        self.assertEqual((log.warned, log.details), (["odd"] * 10, 50))
        clock.advance(2.0)
        problems.add(Problem("odd", notable=True))
        self.assertEqual(log.warned[10:], [40, "odd"])
