"""What is logged of a pool's problems."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.net import gossip_problems
from pyconsul.net.gossip_problems import Problems
from pyconsul.swim.events import Problem


class Log:
    """Notes what is said."""

    def __init__(self) -> None:
        self.warned: list[str] = []
        self.details: list[str] = []

    def warn(self, _: str, **fields: Any) -> None:
        self.warned.append(fields["text"])

    def debug(self, _: str, **fields: Any) -> None:
        self.details.append(fields["text"])


class ProblemTests(SynchronousTestCase):
    def test_a_flood_is_counted(self) -> None:
        """Many problems within a second become few lines, each level by itself."""
        clock, log = Clock(), Log()
        self.patch(gossip_problems, "make_logger", lambda name: log)
        problems = Problems(clock)
        for _ in range(50):
            problems.add(Problem("odd", notable=True))
            problems.add(Problem("detail"))
        self.assertEqual((log.warned, log.details), (["odd"] * 10, ["detail"] * 10))
        clock.advance(2.0)
        problems.add(Problem("odd", notable=True))
        self.assertEqual(log.warned[10:], ["40 more lines like these", "odd"])
        clock.advance(2.0)
        problems.add(Problem("odd", notable=True))
        self.assertEqual(log.warned[12:], ["odd"])
