"""What Twisted sees of us when it looks for plugins."""

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
SCRIPT = """
import sys
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
print(*[maker.tapname for maker in getPlugins(IServiceMaker)])
print(*[name for name in sys.modules if name.startswith("pyconsul.")])
"""


class PluginTests(SynchronousTestCase):
    def test_found(self) -> None:
        """``twistd`` lists us, and looking costs none of our modules."""
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        names, loaded = done.stdout.split("\n")[:2]
        self.assertIn("pyconsul", names.split())
        self.assertEqual(loaded, "")
