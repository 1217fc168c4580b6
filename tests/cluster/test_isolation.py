"""A server that is cut off from all others, and comes back."""

from __future__ import annotations

import os
import time

from tests.cluster.networks import Network, need_networks
from tests.cluster.processes import Agent, ClusterTestCase, eventually
from tests.cluster.writing import UNANSWERED_S, Load

CUT_S = float(os.environ.get("PYCONSUL_CUT_S", "30"))
QUICK = 'autopilot { server_stabilization_time = "1s" last_contact_threshold = "1s" }'


class Host(Agent):
    """An agent on a host of its own."""

    network: Network

    def command(self) -> list[str]:
        number = int(self.ip.rpartition(".")[2])
        return [*self.network.command(number), *super().command()]


class IsolationTests(ClusterTestCase):
    skip = need_networks()

    def setUp(self) -> None:
        self.network = Network(self.addCleanup)
        for number in (2, 3, 4, 5):
            self.block = self.network.host(number).rpartition(".")[0]
        super().setUp()

    def make(self, name: str, ip: str, *arguments: str) -> Agent:
        host = Host(self, self.folder, ip, name, "-hcl", QUICK, *arguments)
        host.network = self.network
        return host

    def cut_and_heal(self, victim: Agent, cut_s: float) -> Load:
        """What was written by way of the others."""
        others = [server for server in self.servers if server is not victim]
        number = int(victim.ip.rpartition(".")[2])
        load = Load(others, "w")
        load.goes_on()
        self.network.cut(number)
        begun = time.monotonic()
        load.goes_on()
        time.sleep(max(0.0, begun + cut_s - time.monotonic()))
        term = self.term(others[0])
        self.network.heal(number)
        eventually(lambda: victim.put("kv/healed", b"1") == b"true", 60.0)
        load.goes_on()
        eventually(lambda: len(self.voters(victim)) == 3, 90.0)
        load.goes_on()
        load.stop()
        if self.term(others[0]) != term:  # a busy leader may have lost its lease, but not to the victim
            self.assertNotIn(f"Candidate in term {term + 1}", victim.log())
        self.assertEqual(load.lost(self.client), [])
        eventually(lambda: load.is_on(victim))
        return load

    def term(self, agent: Agent) -> int:
        return int(agent.get("agent/self")["Stats"]["raft"]["term"])

    def voters(self, agent: Agent) -> list[str]:
        servers = agent.get("operator/raft/configuration")["Servers"]
        return sorted(server["Node"] for server in servers if server["Voter"])

    def test_follower(self) -> None:
        """Nobody notices; it disturbs no one, and takes writes again at once."""
        self.start_all()
        leader = self.leader()
        load = self.cut_and_heal(next(server for server in self.servers if server is not leader), CUT_S)
        self.assertLess(load.longest_gap_s, UNANSWERED_S)

    def test_leader(self) -> None:
        """One election when it goes, none when it comes back."""
        self.start_all()
        load = self.cut_and_heal(self.leader(), CUT_S / 2)
        self.assertLess(load.longest_gap_s, UNANSWERED_S)
