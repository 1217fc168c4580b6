"""All servers are killed; client agents go on, and the servers find everything when they are back."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from tests.cluster.processes import Agent, ClusterTestCase, block, eventually

DOWN_S = float(os.environ.get("PYCONSUL_SERVERS_DOWN_S", "8"))
"""How long no server runs."""

Outline = tuple[dict[str, str], dict[str, str]]


class AllServersDownTests(ClusterTestCase):
    block = block(52)

    def setUp(self) -> None:
        super().setUp()
        join = [argument for server in self.servers for argument in ("-retry-join", server.ip)]
        self.second = self.make("c6", f"{self.block}.6", *join)
        self.clients = [self.client, self.second]
        self.agents.append(self.second)

    def register(self, agent: Agent, name: str, **more: Any) -> None:
        definition = {"Name": name, "Port": 80, "Check": {"TTL": "10m", "Status": "passing"}, **more}
        agent.put("agent/service/register", definition)

    def local(self, agent: Agent) -> Outline:
        """What an agent knows of itself: ports by service, states by check."""
        services, checks = agent.get("agent/services"), agent.get("agent/checks")
        return (
            {name: service["Port"] for name, service in services.items()},
            {name: check["Status"] for name, check in checks.items()},
        )

    def catalog(self, node: str, asked: Agent) -> Outline:
        """The same as the servers know it."""
        services = asked.get(f"catalog/node/{node}")["Services"]
        checks = asked.get(f"health/node/{node}")
        return (
            {name: service["Port"] for name, service in services.items()},
            {check["CheckID"]: check["Status"] for check in checks if check["CheckID"] != "serfHealth"},
        )

    def in_step(self) -> None:
        """The servers know of each client what it knows itself, whomever one asks, and take all for alive."""
        for client in self.clients:
            for asked in (self.servers[0], *self.clients):
                eventually(
                    lambda c=client, a=asked: self.catalog(c.name, a) == self.local(c),  # type: ignore[misc]
                )
        alive = {agent.name for agent in self.agents}
        eventually(
            lambda: (
                {
                    check["Node"]
                    for check in self.client.get("health/state/passing")
                    if check["CheckID"] == "serfHealth"
                }
                == alive
            ),
        )

    def test_killed_and_back(self) -> None:
        """What was registered stays, what changes meanwhile arrives; nobody has to lend a hand."""
        self.start_all()
        for client in self.clients:
            for name in ("keep", "change", "drop"):
                self.register(client, name)
            client.put("agent/check/register", {"Name": "disk", "TTL": "10m", "Status": "passing"})
        self.client.put("kv/a", b"kept")
        self.in_step()
        before = {name: self.client.get(f"catalog/node/{name}")["Node"]["ID"] for name in ("c5", "c6")}

        for server in self.servers:
            server.kill(signal.SIGKILL)
        back = time.monotonic() + DOWN_S
        self.changes_meanwhile()
        while (left_s := back - time.monotonic()) > 0:
            for client in self.clients:
                self.assertIn("keep", client.get("agent/services"))
            time.sleep(min(1.0, left_s))

        for server in self.servers:
            server.start()
        eventually(lambda: self.second.get("status/leader"))
        self.in_step()
        for client in self.clients:
            services, checks = self.catalog(client.name, self.client)
            self.assertEqual(services, {"keep": 80, "change": 81, "new": 80})
            wanted = {
                "service:keep": "passing", "service:change": "critical", "service:new": "passing",
                "disk": "warning", "added": "passing",
            }  # fmt: skip
            self.assertEqual(checks, wanted)
        self.assertEqual(self.client.request("GET", "kv/a?raw"), (200, b"kept"))
        after = {name: self.client.get(f"catalog/node/{name}")["Node"]["ID"] for name in ("c5", "c6")}
        self.assertEqual(after, before)
        self.assertEqual(self.client.dig("drop.service.consul"), [])
        self.assertEqual(sorted(self.client.dig("new.service.consul")), [c.ip for c in self.clients])
        self.assertEqual(self.second.dig("change.service.consul"), [])

    def changes_meanwhile(self) -> None:
        """Registrations, deregistrations and reports that no server hears of; the agents take them all."""
        for client in self.clients:
            self.register(client, "new")
            self.register(client, "change", Port=81)
            client.put("agent/service/deregister/drop")
            client.put("agent/check/fail/service:change?note=gone")
            client.put("agent/check/warn/disk")
            client.put("agent/check/register", {"Name": "added", "TTL": "10m", "Status": "passing"})
            status, text = client.request("GET", "catalog/services", timeout_s=30.0)
            self.assertEqual(status, 500, text)
