"""py-consul and python-consul, unchanged, against our agents.

Set ``PYCONSUL_CLIENT_PYTHON`` to an interpreter that has one of them; otherwise the one that runs this
is tried.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys

from tests.cluster.processes import ROOT, Agent, ProcessTestCase, block, eventually

PYTHON = os.environ.get("PYCONSUL_CLIENT_PYTHON", sys.executable)
KEY = base64.b64encode(bytes(range(32))).decode()


def has_library() -> bool:
    """Whether ``PYTHON`` can import the module of both."""
    return subprocess.run([PYTHON, "-c", "import consul"], capture_output=True, check=False).returncode == 0


class PythonTests(ProcessTestCase):
    if not has_library():
        skip = "neither py-consul nor python-consul is installed"

    def test_whole_interface(self) -> None:
        """Every method that the library has for the groups that are built."""
        net, folder = block(47), os.path.abspath(self.mktemp())
        role = ("-server", "-bootstrap-expect", "1")
        server = Agent(self, folder, f"{net}.2", "s1", *role, "-encrypt", KEY).start()
        client = Agent(self, folder, f"{net}.3", "c1", "-encrypt", KEY).start()
        eventually(lambda: server.get("status/leader"))
        eventually(lambda: client.get("agent/self"))
        script = os.path.join(ROOT, "tests", "clients", "drive_python.py")
        command = [PYTHON, script, server.ip, client.ip, KEY]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout.count(": ok\n"), 15)
