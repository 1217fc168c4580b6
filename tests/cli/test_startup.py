"""What commands load. Plain requests must not wait for what they do not use."""

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.client.canned import CannedServer, response

ROOT = Path(__file__).parent.parent.parent
SCRIPT = """
import sys
sys.argv[0] = "pyconsul"
from pyconsul.cli.main import run
try:
    run()
finally:
    print(" ".join(sorted(sys.modules)), file=sys.stderr)
"""
HEAVY = {"twisted", "msgspec", "klein", "json", "re", "ssl", "typing", "dataclasses", "socket", "argparse"}


class StartupTests(SynchronousTestCase):
    def loaded(self, *arguments: str, answer: bytes = b"") -> set[str]:
        with CannedServer([answer]) as server:
            done = subprocess.run(
                [sys.executable, "-P", "-S", "-c", SCRIPT, *arguments],
                env={**os.environ, "CONSUL_HTTP_ADDR": server.address, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
        return set(done.stderr.split())

    def test_version(self) -> None:
        """The version needs next to nothing."""
        self.assertEqual(self.loaded("version") & HEAVY, set())

    def test_kv(self) -> None:
        """Reading and writing an entry needs no JSON either."""
        self.assertEqual(self.loaded("kv", "get", "a", answer=response(200, b"v")) & HEAVY, set())
        self.assertEqual(self.loaded("kv", "put", "a", "v", answer=response(200, b"true")) & HEAVY, set())

    def test_members(self) -> None:
        """Other requests need JSON, and never Twisted."""
        body = b'[{"Name":"n","Addr":"10.0.0.1","Port":8301,"Status":1,"Tags":{"role":"node"}}]'
        loaded = self.loaded("members", answer=response(200, body))
        self.assertEqual(loaded & (HEAVY - {"json", "re"}), set())


class WaysInTests(SynchronousTestCase):
    """Every way to start the program gives the same."""

    def output(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHON": sys.executable},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return done.stdout

    def test_module_and_launcher(self) -> None:
        """``python -m pyconsul`` and ``bin/pyconsul``."""
        text = self.output(sys.executable, "-m", "pyconsul", "version")
        self.assertTrue(text.startswith("Pyconsul v"))
        self.assertEqual(self.output("bin/pyconsul", "version"), text)
