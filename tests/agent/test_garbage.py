from __future__ import annotations

import gc
import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.garbage import YOUNGER, YOUNGEST
from pyconsul.agent.maker import make_agent
from tests.agent.test_maker import Reactor, config

SETTLED = """
import gc
from pyconsul.agent.garbage import settle
gc.disable()
settle()
print(gc.isenabled(), gc.get_threshold(), gc.get_freeze_count() > 1000)
"""


class GarbageTests(SynchronousTestCase):
    def test_settled(self) -> None:
        """What is there is not looked at any more; in a process of its own, since that cannot be undone."""
        done = subprocess.run(
            [sys.executable, "-c", SETTLED],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(done.stdout, f"True {(YOUNGEST, YOUNGER, YOUNGER)} True\n")

    def test_embedded(self) -> None:
        """An agent in somebody's program leaves the program's settings alone."""
        before = gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()
        service = make_agent(config(), Reactor())
        service.startService()
        self.addCleanup(service.stopService)
        self.assertEqual((gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()), before)
