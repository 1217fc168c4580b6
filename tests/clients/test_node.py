"""The npm package ``consul``, unchanged, against our agents.

Set ``PYCONSUL_CLIENT_NODE`` to a folder in which ``npm install consul`` was run; node itself has to be on
the path.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from twisted.trial.unittest import SynchronousTestCase

from tests.cluster.processes import ROOT, Agent, block, eventually

NODE = shutil.which("node")
PACKAGE = os.path.join(os.environ.get("PYCONSUL_CLIENT_NODE", ROOT), "node_modules", "consul")


class NodeTests(SynchronousTestCase):
    if NODE is None or not os.path.isdir(PACKAGE):
        skip = "node or its package consul is not installed"

    def test_whole_interface(self) -> None:
        """Every method that the package has for the groups that are built, and its watches."""
        net, folder = block(48), os.path.abspath(self.mktemp())
        server = Agent(self, folder, f"{net}.2", "s1", "-server", "-bootstrap-expect", "1").start()
        client = Agent(self, folder, f"{net}.3", "c1", "-retry-join", f"{net}.2").start()
        eventually(lambda: server.get("status/leader"))
        eventually(lambda: client.get("agent/self"))
        script = os.path.join(ROOT, "tests", "clients", "drive_node.js")
        command = [NODE or "", script, PACKAGE, server.ip, client.ip]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout.count(": ok\n"), 13)
