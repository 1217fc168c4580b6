"""Real commands with broken configuration files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.cluster.processes import ROOT, ProcessTestCase
from tests.config.broken import Broken, Maker

SEED, COUNT = 5, 24


class BrokenFileTests(ProcessTestCase):
    def test_commands(self) -> None:
        """``agent`` and ``validate`` end at once, with one error and status 1."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        for number, broken in enumerate(Maker(SEED).make(COUNT)):
            own = folder / str(number)
            own.mkdir()
            for name, content in broken.files.items():
                (own / name).write_bytes(content)
            self.check(broken, own, as_agent=number % 2 == 0)

    def check(self, broken: Broken, folder: Path, as_agent: bool) -> None:
        command = ["agent", "-config-dir", str(folder)] if as_agent else ["validate", str(folder)]
        done = subprocess.run(
            [sys.executable, "-m", "pyconsul", *command],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": ROOT},
        )
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertTrue(done.stderr.startswith("==> " if as_agent else "Config validation failed: "))
        self.assertNotIn("Traceback", done.stderr)
        for text in (*broken.says, str(folder / broken.wrong)):
            self.assertIn(text, done.stderr)
