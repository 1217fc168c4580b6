"""Two datacenters of ours: every kind of request across, queries that go elsewhere, addresses for others."""

from __future__ import annotations

import base64
import json
import signal
import threading
from typing import Any

from tests.cluster.processes import Agent, block, eventually, need
from tests.cluster.test_wan_peers import FAST_WAN, WanTestCase

BLOCK = block(53)
WEB = {"Name": "web", "Port": 80, "Check": {"TTL": "10m", "Status": "passing"}}


class AcrossTests(WanTestCase):
    skip = need("dig")

    def setUp(self) -> None:
        super().setUp()
        wan = ("-retry-join-wan", f"{BLOCK}.1")
        self.near = self.member(1, "dc1", "-hcl", "translate_wan_addrs = true")
        self.far = self.member(2, "dc2", *wan, "-hcl", f'advertise_addr_wan = "{BLOCK}.2"')
        self.third = self.member(3, "dc3", *wan)
        self.client = Agent(self, self.folder, f"{BLOCK}.5", "c5", "-retry-join", f"{BLOCK}.1").start()
        eventually(lambda: sorted(self.client.get("catalog/datacenters")) == ["dc1", "dc2", "dc3"])
        eventually(lambda: sorted(self.far.get("catalog/datacenters")) == ["dc1", "dc2", "dc3"])

    def member(self, number: int, dc: str, *arguments: str) -> Agent:
        agent = Agent(
            self, self.folder, f"{BLOCK}.{number}", f"n{number}", "-server", "-bootstrap-expect=1",
            "-datacenter", dc, "-hcl", FAST_WAN, *arguments,
        ).start()  # fmt: skip
        eventually(lambda: agent.get("status/leader"))
        return agent

    def test_requests(self) -> None:
        """What is asked with ``?dc=`` is answered there, for a server and for a client agent."""
        self.assertEqual(self.near.get("catalog/datacenters")[0], "dc1")
        self.assertEqual(self.far.get("catalog/datacenters")[0], "dc2")
        self.far.put("agent/service/register", WEB)
        eventually(lambda: "web" in self.far.get("catalog/services"))
        for agent in (self.near, self.client):
            self.keys(agent)
            for path, found in (
                ("catalog/nodes", "n2"), ("catalog/node/n2", "n2"), ("catalog/node-services/n2", "web"),
                ("catalog/services", "web"), ("catalog/service/web", "n2"), ("health/node/n2", "serfHealth"),
                ("health/service/web", "n2"), ("health/checks/web", "service:web"),
                ("health/state/passing", "service:web"), ("status/leader", f"{self.far.ip}:8300"),
                ("status/peers", f"{self.far.ip}:8300"), ("operator/raft/configuration", "n2"),
                ("operator/autopilot/configuration", "CleanupDeadServers"),
            ):  # fmt: skip
                self.assertIn(found, json.dumps(agent.get(f"{path}?dc=dc2")), path)
                status, text = agent.request("GET", f"{path}?dc=nowhere")
                self.assertEqual(status, 500, path)
                self.assertTrue(text.endswith(b"No path to datacenter"), (path, text))
            self.sessions(agent)
            self.waits(agent)
            agent.put("event/fire/deploy?dc=dc2", b"v1")
        eventually(lambda: [event["Name"] for event in self.far.get("event/list")] == ["deploy", "deploy"])
        self.assertEqual(self.near.get("event/list"), [])
        self.assertEqual(self.near.request("GET", "kv/a")[0], 404)
        for agent in (self.near, self.client):
            self.assertEqual(agent.dig("web.service.dc2.consul"), [self.far.ip])
            self.assertEqual(agent.dig("n2.node.dc2.consul"), [self.far.ip])
            self.assertEqual(agent.dig("web.service.consul"), [])
            self.assertEqual(agent.dig("web.service.nowhere.consul"), [])
        self.assertEqual(self.client.dig("web.service.dc2.consul", "SRV"), ["1 1 80 n2.node.dc2.consul."])

    def keys(self, agent: Agent) -> None:
        self.assertEqual(agent.put("kv/a?dc=dc2&flags=7", b"1"), b"true")
        (row,) = agent.get("kv/a?dc=dc2")
        self.assertEqual((row["Flags"], base64.b64decode(row["Value"])), (7, b"1"))
        self.assertEqual(agent.put(f"kv/a?dc=dc2&cas={row['ModifyIndex']}", b"2"), b"true")
        self.assertEqual(agent.put("kv/a?dc=dc2&cas=1", b"3"), b"false")
        self.assertEqual(agent.get("kv/?keys&dc=dc2"), ["a"])
        operations = [
            {"KV": {"Verb": "get", "Key": "a"}},
            {"KV": {"Verb": "set", "Key": "b", "Value": "eA=="}},
        ]
        results = json.loads(agent.put("txn?dc=dc2", operations))["Results"]
        self.assertEqual(base64.b64decode(results[0]["KV"]["Value"]), b"2")
        self.assertEqual(self.far.request("GET", "kv/b?raw"), (200, b"x"))
        for key in ("a", "b"):
            self.assertEqual(agent.request("DELETE", f"kv/{key}?dc=dc2"), (200, b"true"))

    def sessions(self, agent: Agent) -> None:
        session = json.loads(agent.put("session/create?dc=dc2", {"Node": "n2", "TTL": "10s"}))["ID"]
        self.assertEqual(agent.get(f"session/info/{session}?dc=dc2")[0]["Node"], "n2")
        self.assertEqual(agent.get(f"session/info/{session}"), [])
        self.assertEqual(agent.put(f"kv/lock/{agent.name}?dc=dc2&acquire={session}", b""), b"true")
        self.assertEqual(agent.put(f"session/destroy/{session}?dc=dc2"), b"true")
        agent.request("DELETE", f"kv/lock/{agent.name}?dc=dc2")

    def waits(self, agent: Agent) -> None:
        """A change there ends it, one of the same key here does not."""
        agent.put("kv/w?dc=dc2", b"1")
        (row,) = agent.get("kv/w?dc=dc2")
        path = f"kv/w?dc=dc2&wait=20s&index={row['ModifyIndex']}"
        answers: list[Any] = []
        waiting = threading.Thread(target=lambda: answers.append(agent.get(path)))
        waiting.start()
        self.near.put("kv/w", b"here")
        waiting.join(0.5)
        self.assertTrue(waiting.is_alive())
        self.far.put("kv/w", b"2")
        waiting.join(5.0)
        self.assertEqual(base64.b64decode(answers[0][0]["Value"]), b"2")
        self.far.request("DELETE", "kv/w")
        self.near.request("DELETE", "kv/w")

    def test_failover(self) -> None:
        """A query goes where there is an instance that passes its checks, and comes back."""
        for agent in (self.far, self.third):
            agent.put("agent/service/register", WEB)
            eventually(lambda agent=agent: "web" in agent.get("catalog/services"))  # type: ignore[misc]
        for name, failover in (
            ("nearest", {"NearestN": 2}),
            ("named", {"Datacenters": ["nowhere", "dc1", "dc3", "dc2"]}),
        ):
            definition = {
                "Name": name,
                "Service": {"Service": "web", "Failover": failover, "OnlyPassing": True},
            }
            self.near.request("POST", "query", definition)

        def outcome(agent: Agent, name: str) -> tuple[str, int, list[str]]:
            reply = agent.get(f"query/{name}/execute")
            return reply["Datacenter"], reply["Failovers"], [row["Node"]["Node"] for row in reply["Nodes"]]

        for agent in (self.near, self.client):
            self.assertEqual(outcome(agent, "named"), ("dc3", 1, ["n3"]))
            datacenter, failovers, nodes = outcome(agent, "nearest")
            self.assertEqual((failovers, nodes), (1, ["n" + datacenter[2:]]))
            self.assertEqual(agent.dig("named.query.consul"), [self.third.ip])
        self.third.put("agent/check/fail/service:web")
        eventually(lambda: outcome(self.near, "named") == ("dc2", 2, ["n2"]))
        eventually(lambda: self.client.dig("nearest.query.consul") == [self.far.ip])
        self.third.kill(signal.SIGKILL)
        self.assertEqual(outcome(self.client, "named"), ("dc2", 2, ["n2"]))
        self.far.put("agent/check/fail/service:web")
        eventually(lambda: outcome(self.near, "named") == ("dc2", 2, []))
        self.assertEqual(self.near.dig("named.query.consul"), [])
        self.client.put("agent/service/register", WEB)
        eventually(lambda: outcome(self.near, "named") == ("dc1", 0, ["c5"]))

    def test_addresses_for_others(self) -> None:
        """Only the agent that is told to gives them, and only about other datacenters."""
        tagged = {"wan": {"Address": "198.51.100.1", "Port": 8080}}
        self.far.put(
            "agent/service/register", WEB | {"ID": "tagged", "Name": "api", "TaggedAddresses": tagged}
        )
        eventually(lambda: "api" in self.far.get("catalog/services"))
        (row,) = self.near.get("catalog/service/api?dc=dc2")
        self.assertEqual((row["ServiceAddress"], row["ServicePort"]), ("198.51.100.1", 8080))
        (row,) = self.near.get("health/service/api?dc=dc2")
        self.assertEqual((row["Service"]["Address"], row["Service"]["Port"]), ("198.51.100.1", 8080))
        self.assertEqual(self.near.dig("api.service.dc2.consul"), ["198.51.100.1"])
        for agent in (self.far, self.client):
            (row,) = agent.get("catalog/service/api?dc=dc2")
            self.assertEqual((row["ServiceAddress"], row["ServicePort"]), ("", 80))
        self.assertEqual(self.client.dig("api.service.dc2.consul"), [self.far.ip])
