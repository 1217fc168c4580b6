"""``exec`` with real processes: two agents of ours, and both ways beside real Consul."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.cluster.peers import missing_peers, peers_folder
from tests.cluster.processes import ROOT, Agent, ProcessTestCase, block, eventually

OURS = [sys.executable, "-m", "pyconsul"]
REAL = [str(peers_folder() / "consul")]
ALLOWED = "disable_remote_exec = false"
WAIT = "-wait=1s"
"""Where this is too short, because the machine is busy, the test tries again."""


class RealAgent(Agent):
    """An agent of the reference binary."""

    def command(self) -> list[str]:
        own = ["agent", "-dev", "-node", self.name, "-bind", self.ip, "-client", self.ip]
        return [*REAL, *own, "-hcl", ALLOWED]


class ExecTestCase(ProcessTestCase):
    block = block(116)

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)

    def agent(self, number: int, *arguments: str, kind: type[Agent] = Agent) -> Agent:
        return kind(self, self.folder, f"{self.block}.{number}", f"n{number}", *arguments).start()

    def begin(self, agent: Agent, program: list[str], *arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*program, "exec", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": ROOT, "CONSUL_HTTP_ADDR": f"{agent.ip}:8500"},
        )  # fmt: skip
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def check(
        self,
        agent: Agent,
        program: list[str],
        *arguments: str,
        status: int,
        lines: set[str],
        stdin: bytes = b"",
    ) -> set[str]:
        """Run ``exec`` to its end, with this outcome; all lines of its output."""

        def attempt() -> set[str]:
            process = self.begin(agent, program, WAIT, *arguments)
            out, err = process.communicate(stdin, timeout=60)
            found = set(out.decode().splitlines())
            self.assertEqual((process.returncode, lines - found), (status, set()), (found, err))
            return found

        return eventually(attempt)

    def check_one(self, agent: Agent, program: list[str]) -> None:
        """An agent alone and a program, of whatever make."""
        name = agent.name
        lines = {
            f"    {name}: out",
            f"    {name}: err",
            f"==> {name}: finished with exit code 3",
            "1 / 1 node(s) completed / acknowledged",
        }
        self.check(agent, program, "echo out; echo err >&2; exit 3", status=2, lines=lines)
        script = b"#!/bin/sh\necho $((6 * 7))\n"
        self.check(agent, program, "-", stdin=script, status=0, lines={f"    {name}: 42"})
        self.assertEqual(agent.get("kv/?keys"), [])
        self.assertEqual(agent.get("session/list"), [])


class OwnTests(ExecTestCase):
    def test_some_of_three(self) -> None:
        """Of a server and two clients one has not allowed it; one is left out by its name."""
        server = self.agent(1, "-server", "-bootstrap-expect", "1", "-hcl", ALLOWED)
        join = ("-retry-join", server.ip)
        allowed, refusing = self.agent(2, *join, "-hcl", ALLOWED), self.agent(3, *join)
        for agent in (allowed, refusing):
            eventually(lambda agent=agent: len(agent.get("catalog/nodes")) == 3)  # type: ignore[misc]
        wanted = {"    n1: hello", "    n2: hello", "2 / 2 node(s) completed / acknowledged"}
        lines = self.check(server, OURS, "echo hello", status=0, lines=wanted)
        self.assertNotIn("    n3: hello", lines)
        self.assertIn("ignoring remote exec event, disabled", refusing.log())
        wanted = {"    n2: $HOME", "1 / 1 node(s) completed / acknowledged"}
        arguments = ("-node=^n2$", "-shell=false", "echo", "$HOME")
        self.check(refusing, OURS, *arguments, status=0, lines=wanted)
        self.assertEqual(server.get("kv/?keys"), [])

    def test_interrupted(self) -> None:
        """What runs goes on, unheard; nothing of it stays in the store."""
        agent = self.agent(1, "-dev", "-hcl", ALLOWED)
        eventually(lambda: agent.get("health/node/n1"))
        go_on, done = os.path.join(self.folder, "go-on"), os.path.join(self.folder, "done")
        line = f"until [ -e {go_on} ]; do sleep 0.05; done; echo x; touch {done}"
        process = self.begin(agent, OURS, "-wait=60s", "-verbose", line)
        eventually(lambda: any(key.endswith("/n1/ack") for key in agent.get("kv/_rexec/?keys")))
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=60), 1)
        self.assertEqual(agent.get("kv/?keys"), [])
        with open(go_on, "wb"):
            pass
        eventually(lambda: os.path.exists(done))
        eventually(lambda: "failed to write output for remote exec job" in agent.log())


class PeerTests(ExecTestCase):
    skip = missing_peers("consul")

    def test_real_command_and_our_agent(self) -> None:
        agent = self.agent(1, "-dev", "-hcl", ALLOWED)
        eventually(lambda: agent.get("health/node/n1"))
        self.check_one(agent, REAL)

    def test_our_command_and_real_agent(self) -> None:
        agent = self.agent(1, kind=RealAgent)
        eventually(lambda: agent.get("health/node/n1"))
        self.check_one(agent, OURS)
