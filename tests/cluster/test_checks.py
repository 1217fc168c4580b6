"""Checks in a real agent, which has to hear of every child that ends."""

from __future__ import annotations

from pyconsul.client import agent as calls
from pyconsul.testing.agents import AgentProcess
from tests.cluster.processes import ProcessTestCase, eventually

LATE = "echo done; exec 1>&- 2>&-; sleep 0.3; exit 1"


class ScriptTests(ProcessTestCase):
    def test_a_program_that_closes_its_output_first(self) -> None:
        """Its end is heard of at once, though nothing that is read says so."""
        check = {"id": "late", "name": "late", "args": ["sh", "-c", LATE], "interval": "1s"}
        with AgentProcess(enable_local_script_checks=True, checks=[check]) as running:
            eventually(lambda: running.client.do(calls.checks())["late"]["Output"] == "done\n")
            self.assertEqual(running.client.do(calls.checks())["late"]["Status"], "warning")
