"""Autopilot with real processes: a dead server makes room for another one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.cluster.processes import ROOT, Agent, ClusterTestCase, block, eventually

QUICK = 'autopilot { server_stabilization_time = "1s" last_contact_threshold = "1s" }'


class AutopilotTests(ClusterTestCase):
    block = block(29)

    def make(self, name: str, ip: str, *arguments: str) -> Agent:
        return super().make(name, ip, "-hcl", QUICK, *arguments)

    def pyconsul(self, agent: Agent, *arguments: str) -> str:
        """What a command that has to succeed prints."""
        command = [sys.executable, "-m", "pyconsul", *arguments]
        environ = {**os.environ, "PYTHONPATH": ROOT, "CONSUL_HTTP_ADDR": f"{agent.ip}:8500"}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    def peers(self, agent: Agent) -> dict[str, tuple[str, str, str]]:
        """``operator raft list-peers``: address, state and vote by name."""
        rows = [line.split() for line in self.pyconsul(agent, "operator", "raft", "list-peers").splitlines()]
        self.assertEqual(rows[0], ["Node", "ID", "Address", "State", "Voter", "RaftProtocol"])
        return {row[0]: (row[2], row[3], row[4]) for row in rows[1:]}

    def voters(self, agent: Agent) -> list[str]:
        servers = agent.get("operator/raft/configuration")["Servers"]
        return sorted(server["Node"] for server in servers if server["Voter"])

    def test_replacement(self) -> None:
        """Three servers, one is killed and goes; a new one at another address takes its place."""
        self.agents = list(self.servers)
        for server in self.servers:
            server.start()
        leader = self.servers[0]
        eventually(lambda: leader.get("operator/autopilot/health")["Healthy"])
        leader = self.leader_of(leader)
        victim, other = (server for server in self.servers if server is not leader)
        victim.kill(signal.SIGKILL)
        eventually(lambda: leader.request("GET", "operator/autopilot/health")[0] == 429)
        eventually(lambda: self.voters(other) == sorted((leader.name, other.name)))
        self.assertEqual([m["Status"] for m in leader.get("agent/members") if m["Name"] == victim.name], [3])
        new = self.make("s6", f"{self.block}.6", "-server", "-retry-join", leader.ip).start()
        self.agents.append(new)
        added = eventually(lambda: self.peers(leader)["s6"])
        self.assertEqual(added[:2], (f"{self.block}.6:8300", "follower"))
        eventually(lambda: self.voters(new) == sorted((leader.name, other.name, "s6")))
        peers = self.peers(new)
        wanted = {server.name: (f"{server.ip}:8300", "true") for server in (leader, other, new)}
        self.assertEqual({name: (row[0], row[2]) for name, row in peers.items()}, wanted)
        self.assertIn("leader", [state for _, state, _ in peers.values()])
        self.assertIn("promoting to voter", leader.log() + other.log())
        eventually(lambda: self.pyconsul(new, "operator", "raft", "transfer-leader") == "Success\n")
        eventually(lambda: leader.put("kv/after", b"still writable") == b"true")
        eventually(lambda: new.get("operator/autopilot/health")["FailureTolerance"] == 1)

    def leader_of(self, agent: Agent) -> Agent:
        address = agent.get("status/leader").partition(":")[0]
        return next(server for server in self.servers if server.ip == address)
