"""What a newcomer does first with Consul 0.7, word for word, with real agents, curl and dig."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

from tests.cluster.processes import FAST, ROOT, Agent, ProcessTestCase, block, eventually, need

BLOCK = block(51)
QUICK = 'autopilot { server_stabilization_time = "1s" }'


class Literal(Agent):
    """An agent whose command line is what a guide says, and where to listen."""

    def command(self) -> list[str]:
        own = [f"-node={self.name}", f"-bind={self.ip}", f"-client={self.ip}", "-hcl", FAST, "-hcl", QUICK]
        data = os.path.join(self.folder, "data")
        return [sys.executable, "-m", "pyconsul", "agent", *self._arguments, "-data-dir", data, *own]


class WalkTestCase(ProcessTestCase):
    skip = need("curl") or need("dig")

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)

    def agent(self, number: int, name: str, *arguments: str) -> Literal:
        agent = Literal(self, self.folder, f"{BLOCK}.{number}", name, *arguments)
        agent.start()
        return agent

    def consul(self, agent: Agent, line: str) -> subprocess.CompletedProcess[str]:
        """A command against an agent."""
        environ = {**os.environ, "PYTHONPATH": ROOT, "CONSUL_HTTP_ADDR": f"{agent.ip}:8500"}
        command = [sys.executable, "-m", "pyconsul", *line.split()]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ)

    def members(self, agent: Agent) -> list[list[str]]:
        """The table, but for the version."""
        lines = [line.split() for line in self.consul(agent, "members").stdout.splitlines()]
        self.assertEqual(
            lines[0], ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Segment"]
        )
        return [[*line[:4], *line[5:7]] for line in lines[1:]]

    def curl(self, agent: Agent, path: str, *options: str) -> str:
        """The body of an answer."""
        command = ["curl", "-s", "-S", *options, f"http://{agent.ip}:8500{path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def rows(self, agent: Agent, path: str) -> Any:
        return json.loads(self.curl(agent, path))

    def status(self, agent: Agent, path: str) -> int:
        return int(self.curl(agent, path, "-o", os.devnull, "-w", "%{http_code}"))


class TwoAgentsTests(WalkTestCase):
    def test_the_walk(self) -> None:
        """Start, join, services, checks, keys, names, and the ways to end."""
        self.files = os.path.join(self.folder, "consul.d")
        os.makedirs(self.files)
        self.write("web.json", self.web("exit 0"))
        one = self.one = self.agent(
            10, "agent-one", "-server", "-bootstrap-expect", "1", "-config-dir", self.files,
            "-enable-script-checks", "-atlas=me/demo", "-atlas-token=abc", "-atlas-join",
        )  # fmt: skip
        two = self.two = self.agent(11, "agent-two", "-enable-script-checks")
        eventually(lambda: one.get("status/leader"))
        eventually(lambda: two.request("GET", "agent/self")[0] == 200)
        self.banner()
        self.join()
        self.services_in_files()
        self.failing_instance()
        self.keys()
        self.changes()
        self.old_words()
        self.ends()

    def write(self, name: str, content: Any) -> None:
        with open(os.path.join(self.files, name), "w", encoding="utf-8") as file:
            json.dump(content, file)

    def web(self, script: str) -> Any:
        check = {"script": script, "interval": "1s"}
        return {"service": {"name": "web", "tags": ["rails"], "port": 80, "check": check}}

    def banner(self) -> None:
        log = self.one.log()
        for line in (
            "==> Starting Consul agent...", "==> Consul agent running!", "Node name: 'agent-one'",
            "Datacenter: 'dc1'", "Server: true", f"Client Addr: [{self.one.ip}] (HTTP: 8500,",
            f"Cluster Addr: {self.one.ip} (LAN: 8301, WAN: 8302)", "cluster leadership acquired",
        ):  # fmt: skip
            self.assertIn(line, log)
        for flag in ("-atlas", "-atlas-token", "-atlas-join"):
            self.assertIn(f"[WARN]  agent: {flag} is ignored: Atlas no longer exists. Use -retry-join", log)

    def join(self) -> None:
        """Each knows only itself until they are joined."""
        first = ["agent-one", f"{self.one.ip}:8301", "alive", "server", "2", "dc1"]
        second = ["agent-two", f"{self.two.ip}:8301", "alive", "client", "2", "dc1"]
        self.assertEqual(self.members(self.one), [first])
        self.assertEqual(self.members(self.two), [second])
        joined = self.consul(self.one, f"join {self.two.ip}")
        self.assertEqual(
            (joined.returncode, joined.stdout), (0, "Successfully joined cluster by contacting 1 nodes.\n")
        )
        eventually(lambda: self.members(self.one) == self.members(self.two) == [first, second])
        eventually(lambda: self.dig("agent-two.node.consul") == [self.two.ip])
        detailed = self.consul(self.one, "members -detailed").stdout.splitlines()
        self.assertEqual(detailed[0].split(), ["Node", "Address", "Status", "Tags"])
        self.assertIn("role=consul", detailed[1])
        self.assertIn("role=node", detailed[2])

    def dig(self, name: str, kind: str = "A", agent: Agent | None = None) -> list[str]:
        return (agent or self.one).dig(name, kind)

    def services_in_files(self) -> None:
        """What is edited in files is taken over with SIGHUP; an HTTP registration stays beside it."""
        eventually(lambda: self.dig("web.service.consul") == [self.one.ip])
        self.assertEqual(self.dig("rails.web.service.consul"), [self.one.ip])
        (record,) = self.dig("web.service.consul", "SRV")
        self.assertEqual(record, "1 1 80 agent-one.node.dc1.consul.")
        (row,) = self.rows(self.one, "/v1/catalog/service/web")
        self.assertEqual(
            [
                row[name]
                for name in ("Node", "Address", "ServiceID", "ServiceName", "ServiceTags", "ServicePort")
            ],
            ["agent-one", self.one.ip, "web", "web", ["rails"], 80],
        )
        definition = json.dumps({"ID": "cache1", "Name": "cache", "Port": 11211})
        self.curl(self.one, "/v1/agent/service/register", "-X", "PUT", "-d", definition)
        self.write("db.json", {"service": {"name": "db", "port": 5432}})
        os.kill(self.one.pid, signal.SIGHUP)
        wanted = {"cache": [], "consul": [], "db": [], "web": ["rails"]}
        eventually(lambda: self.rows(self.two, "/v1/catalog/services") == wanted)
        os.unlink(os.path.join(self.files, "db.json"))
        self.assertEqual(self.consul(self.one, "reload").stdout, "Configuration reload triggered\n")
        del wanted["db"]
        eventually(lambda: self.rows(self.two, "/v1/catalog/services") == wanted)
        self.curl(self.one, "/v1/agent/service/deregister/cache1", "-X", "PUT")
        eventually(lambda: "cache" not in self.rows(self.two, "/v1/catalog/services"))

    def failing_instance(self) -> None:
        """The second instance's check fails, so that names leave it out; then it is mended."""
        flag = os.path.join(self.folder, "healthy")
        check = {"Args": ["sh", "-c", f"test -e {flag} || exit 2"], "Interval": "1s"}
        definition = json.dumps({"Name": "web", "Tags": ["rails"], "Port": 80, "Check": check})
        self.curl(self.two, "/v1/agent/service/register", "-X", "PUT", "-d", definition)
        eventually(lambda: len(self.rows(self.one, "/v1/catalog/service/web")) == 2)

        def critical() -> list[list[str]]:
            rows = self.rows(self.one, "/v1/health/state/critical")
            return [[row["Node"], row["CheckID"], row["Status"], row["ServiceName"]] for row in rows]

        eventually(lambda: critical() == [["agent-two", "service:web", "critical", "web"]])
        for agent in (self.one, self.two):
            self.assertEqual(self.dig("web.service.consul", agent=agent), [self.one.ip])
        self.assertEqual(len(self.rows(self.one, "/v1/health/service/web")), 2)
        (row,) = self.rows(self.one, "/v1/health/service/web?passing")
        self.assertEqual(row["Node"]["Node"], "agent-one")
        with open(flag, "w", encoding="ascii"):
            pass
        both = sorted((self.one.ip, self.two.ip))
        eventually(lambda: sorted(self.dig("web.service.consul")) == both)
        self.assertEqual(critical(), [])

    def keys(self) -> None:
        """Flags, cas, recurse and delete."""
        one = self.one
        self.assertEqual(self.status(one, "/v1/kv/?recurse"), 404)
        self.assertEqual(self.curl(one, "/v1/kv/web/key1", "-X", "PUT", "-d", "test"), "true")
        self.assertEqual(self.curl(self.two, "/v1/kv/web/key2?flags=42", "-X", "PUT", "-d", "test"), "true")
        self.assertEqual(self.curl(one, "/v1/kv/web/sub/key3", "-X", "PUT", "-d", "test"), "true")
        found = self.rows(one, "/v1/kv/?recurse")
        self.assertEqual(
            [(row["Key"], row["Flags"], base64.b64decode(row["Value"])) for row in found],
            [("web/key1", 0, b"test"), ("web/key2", 42, b"test"), ("web/sub/key3", 0, b"test")],
        )
        self.assertEqual(set(found[0]), {"LockIndex", "Key", "Flags", "Value", "CreateIndex", "ModifyIndex"})
        self.assertEqual(self.rows(one, "/v1/kv/web/key1"), found[:1])
        self.assertEqual(self.curl(one, "/v1/kv/web/sub?recurse", "-X", "DELETE"), "true")
        self.assertEqual(self.rows(one, "/v1/kv/web?keys"), ["web/key1", "web/key2"])
        index = found[0]["ModifyIndex"]
        for answer in ("true", "false"):
            written = self.curl(one, f"/v1/kv/web/key1?cas={index}", "-X", "PUT", "-d", "newval")
            self.assertEqual(written, answer)
        self.assertEqual(self.consul(one, "kv get web/key1").stdout, "newval\n")

    def changes(self) -> None:
        """A request that waits ends with the change, or unchanged when its time is over."""
        (row,) = self.rows(self.one, "/v1/kv/web/key2")
        path = f"/v1/kv/web/key2?index={row['ModifyIndex']}&wait=1s"
        self.assertEqual(self.rows(self.one, path), [row])
        write = threading.Timer(0.3, self.curl, (self.two, "/v1/kv/web/key2", "-X", "PUT", "-d", "new"))
        write.start()
        (changed,) = self.rows(self.one, path.replace("1s", "20s"))
        write.join()
        self.assertEqual(base64.b64decode(changed["Value"]), b"new")
        self.assertGreater(changed["ModifyIndex"], row["ModifyIndex"])

    def old_words(self) -> None:
        """Commands as they were spelled in 0.7."""
        good = self.consul(self.one, f"configtest -config-dir {self.files}")
        self.assertEqual((good.returncode, good.stderr), (0, ""))
        path = os.path.join(self.folder, "wrong.json")
        with open(path, "w", encoding="ascii") as file:
            file.write('{"service": {"name": 7}}')
        wrong = self.consul(self.one, f"configtest -config-file {path}")
        self.assertEqual((wrong.returncode, wrong.stderr[:25]), (1, "Config validation failed:"))
        peers = self.consul(self.one, "operator raft -list-peers")
        lines = [line.split() for line in peers.stdout.splitlines()]
        self.assertEqual(lines[0], ["Node", "ID", "Address", "State", "Voter", "RaftProtocol"])
        self.assertEqual(
            [lines[1][0], *lines[1][2:5]], ["agent-one", f"{self.one.ip}:8300", "leader", "true"]
        )
        self.assertEqual(len(lines), 2)
        info = self.consul(self.one, "info").stdout
        self.assertIn("consul:\n", info)
        self.assertIn("\tleader = true\n", info)
        locked = self.consul(self.two, "lock web/lock echo inside")
        self.assertEqual((locked.returncode, locked.stdout), (0, "inside\n"))

    def ends(self) -> None:
        """Ctrl-C takes the client out, a kill makes it fail until it is forced to leave; servers just end."""
        self.assertEqual(self.two.kill(signal.SIGINT), 0)
        self.assertIn("Gracefully shutting down agent...", self.two.log())
        eventually(lambda: [row[2] for row in self.members(self.one)] == ["alive", "left"])
        eventually(lambda: [row["Node"] for row in self.rows(self.one, "/v1/catalog/nodes")] == ["agent-one"])
        self.assertEqual(self.dig("web.service.consul"), [self.one.ip])
        self.two.start()
        eventually(lambda: self.two.request("GET", "agent/self")[0] == 200)
        self.consul(self.two, f"join {self.one.ip}")
        eventually(lambda: [row[2] for row in self.members(self.one)] == ["alive", "alive"])
        self.two.kill(signal.SIGKILL)
        eventually(lambda: [row[2] for row in self.members(self.one)] == ["alive", "failed"])
        forced = self.consul(self.one, "force-leave agent-two")
        self.assertEqual((forced.returncode, forced.stdout), (0, ""))
        eventually(lambda: [row[2] for row in self.members(self.one)] == ["alive", "left"])
        self.assertEqual(self.one.kill(signal.SIGINT), 1)


class HandoverTests(WalkTestCase):
    def test_bootstrap_mode(self) -> None:
        """One server starts a cluster by itself; three have it once the first is restarted as one of them."""
        first = self.agent(20, "server1", "-server", "-bootstrap")
        eventually(lambda: first.get("status/leader"))
        self.assertIn("bootstrap = true: do not enable unless necessary", first.log())
        self.assertEqual(self.curl(first, "/v1/kv/early", "-X", "PUT", "-d", "kept"), "true")
        others = [self.agent(20 + number, f"server{number}", "-server") for number in (2, 3)]
        for other in others:
            eventually(lambda other=other: other.request("GET", "agent/self")[0] == 200)  # type: ignore[misc]
        joined = self.consul(first, "join " + " ".join(other.ip for other in others))
        self.assertEqual(joined.stdout, "Successfully joined cluster by contacting 2 nodes.\n")
        eventually(lambda: self.voters(others[0]) == ["server1", "server2", "server3"])
        first.kill(signal.SIGINT)
        eventually(lambda: others[0].get("status/leader") != f"{first.ip}:8300")
        self.assertEqual(self.curl(others[1], "/v1/kv/meanwhile", "-X", "PUT", "-d", "x"), "true")
        first._arguments = ("-server",)
        first.start()
        eventually(lambda: [row[2] for row in self.members(first)] == ["alive"] * 3)
        eventually(lambda: self.voters(first) == ["server1", "server2", "server3"])
        for key, value in (("early", "kept"), ("meanwhile", "x")):
            eventually(lambda k=key, v=value: self.curl(first, f"/v1/kv/{k}?raw") == v)  # type: ignore[misc]
        tags = {member["Name"]: member["Tags"] for member in self.rows(others[0], "/v1/agent/members")}
        self.assertNotIn("bootstrap", tags["server1"])
        leader = next(a for a in (first, *others) if f"{a.ip}:8300" == first.get("status/leader"))
        leader.kill(signal.SIGKILL)
        rest = next(a for a in (first, *others) if a is not leader)
        eventually(lambda: self.curl(rest, "/v1/kv/late", "-X", "PUT", "-d", "x") == "true")

    def voters(self, agent: Agent) -> list[str]:
        servers = self.rows(agent, "/v1/operator/raft/configuration")["Servers"]
        return sorted(server["Node"] for server in servers if server["Voter"])
