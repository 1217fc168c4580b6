"""Which agents leave when, what is left of them, and servers that are restarted one after another."""

from __future__ import annotations

import signal
from collections.abc import Callable

from tests.cluster.processes import Agent, ClusterTestCase, block, eventually
from tests.cluster.writing import UNANSWERED_S, Load

QUICK = 'autopilot { server_stabilization_time = "1s" last_contact_threshold = "1s" }'
DRAIN = 'performance { leave_drain_time = "500ms" }'
ALIVE, LEFT, FAILED = 1, 3, 4


class LeavingTestCase(ClusterTestCase):
    def make(self, name: str, ip: str, *arguments: str) -> Agent:
        return super().make(name, ip, "-hcl", QUICK, "-hcl", DRAIN, *arguments)

    def status(self, agent: Agent, name: str) -> int:
        return next(int(m["Status"]) for m in agent.get("agent/members") if m["Name"] == name)

    def voters(self, agent: Agent) -> list[str]:
        servers = agent.get("operator/raft/configuration")["Servers"]
        return sorted(server["Node"] for server in servers if server["Voter"])


class SignalTests(LeavingTestCase):
    block = block(38)

    def test_clients(self) -> None:
        """A client leaves on both signals, unless it is told not to; only that is a success."""
        self.servers = self.servers[:1]
        server = self.servers[0] = self.make("s2", f"{self.block}.2", "-server", "-bootstrap-expect", "1")
        cases = (
            (signal.SIGINT, "", 0),
            (signal.SIGTERM, "", 0),
            (signal.SIGINT, "skip_leave_on_interrupt = true", 1),
            (signal.SIGTERM, "leave_on_terminate = false", 1),
        )
        clients = [
            self.make(f"c{number}", f"{self.block}.{number}", "-retry-join", server.ip, "-hcl", setting)
            for number, (_, setting, _) in enumerate(cases, 5)
        ]
        self.agents = [server, *clients]
        for agent in self.agents:
            agent.start()
        eventually(lambda: len(server.get("catalog/nodes")) == 5)
        for client, (number, _, status) in zip(clients, cases, strict=True):
            self.assertEqual(client.kill(number), status, client.name)
        self.assertIn("leave complete", clients[0].log())
        for client in clients[:2]:
            eventually(lambda client=client: self.status(server, client.name) == LEFT)  # type: ignore[misc]
        for client in clients[2:]:
            self.assertIn(self.status(server, client.name), (ALIVE, FAILED))
        eventually(lambda: sorted(n["Node"] for n in server.get("catalog/nodes")) == ["c7", "c8", "s2"])

    def test_servers(self) -> None:
        """A server only goes, unless it is told to leave; then it is out of the Raft configuration, too."""
        settings = ("leave_on_terminate = true", "skip_leave_on_interrupt = false", "")
        self.servers = [
            self.make(server.name, server.ip, *server._arguments[4:], "-hcl", setting)
            for server, setting in zip(self.servers, settings, strict=True)
        ]
        self.agents = [*self.servers, self.client]
        self.start_all()
        terminated, interrupted, plain = self.servers
        self.assertEqual(plain.kill(signal.SIGTERM), 1)
        eventually(lambda: self.status(self.client, plain.name) == FAILED)
        plain.start()
        eventually(lambda: len(self.voters(plain)) == 3 and self.status(self.client, plain.name) == ALIVE)
        self.assertEqual(plain.kill(signal.SIGINT), 1)
        plain.start()
        eventually(lambda: self.status(self.client, plain.name) == ALIVE)
        self.assertEqual(terminated.kill(signal.SIGTERM), 0)
        eventually(lambda: self.status(self.client, terminated.name) == LEFT)
        eventually(lambda: len(self.voters(plain)) == 2)
        self.assertEqual(interrupted.kill(signal.SIGINT), 0)
        eventually(lambda: self.voters(plain) == [plain.name])
        self.assertEqual(plain.put("kv/alone", b"1"), b"true")
        self.assertEqual(plain.request("PUT", "agent/leave", b"")[0], 200)  # the last one may go, too
        self.assertEqual(plain.wait(), 0)


class RollingTests(LeavingTestCase):
    """Three servers are restarted one after another under a load of writes, the leader first."""

    block = block(39)

    def roll(self, end: Callable[[Agent], None]) -> Load:
        self.start_all()
        load = Load([*self.servers, self.client], "w")
        load.goes_on()
        leader = self.leader()
        for server in [leader, *(server for server in self.servers if server is not leader)]:
            end(server)
            load.goes_on()
            server.start()
            eventually(lambda server=server: server.name in self.voters(server))  # type: ignore[misc]
            eventually(lambda: len(self.voters(self.client)) == 3)
            eventually(lambda: self.client.get("operator/autopilot/health")["Healthy"])
            load.goes_on()
        load.stop()
        self.assertEqual(load.lost(self.client), [])
        return load

    def test_end(self) -> None:
        """They just end: a leader hands over, so that nobody waits for an election timeout."""

        def end(server: Agent) -> None:
            self.assertEqual(server.kill(signal.SIGTERM), 1)

        load = self.roll(end)
        self.assertLess(load.longest_gap_s, UNANSWERED_S)

    def test_leave(self) -> None:
        """They leave, and join anew: no outage at all, but for what each takes to come back."""

        def leave(server: Agent) -> None:
            self.assertEqual(server.request("PUT", "agent/leave", b"", 60.0)[0], 200)
            self.assertEqual(server.wait(), 0)

        load = self.roll(leave)
        self.assertLess(load.longest_gap_s, UNANSWERED_S)
