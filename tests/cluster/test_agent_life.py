"""What one agent is told outlives it; and its files may change while it runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from http.client import HTTPConnection
from typing import Any

from tests.cluster.peers import missing_peers, peers_folder
from tests.cluster.processes import ROOT, Agent, ProcessTestCase, block, eventually

SERVICE = {
    "ID": "redis1", "Name": "redis", "Tags": ["a"], "Address": "192.0.2.5", "Port": 80, "Meta": {"k": "v"},
    "Weights": {"Passing": 10, "Warning": 1}, "EnableTagOverride": True,
    "TaggedAddresses": {"wan": {"Address": "198.51.100.1", "Port": 3}},
    "Checks": [
        {"TTL": "10m", "Status": "passing"},
        {"CheckID": "http", "HTTP": "http://127.0.0.1:1", "Interval": "24h", "Notes": "n",
         "Header": {"a": ["b"]}, "DeregisterCriticalServiceAfter": "90m"},
    ],
}  # fmt: skip


class OneAgent(ProcessTestCase):
    """One agent with a folder of configuration files."""

    ip = f"{block(40)}.1"
    role: tuple[str, ...] = ("-server", "-bootstrap-expect", "1")

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        self.files = os.path.join(self.folder, "conf")
        os.makedirs(self.files)
        self.agent = Agent(self, self.folder, self.ip, "n1", "-config-dir", self.files, *self.role)

    def write(self, name: str, content: Any) -> None:
        with open(os.path.join(self.files, name), "w", encoding="utf-8") as file:
            file.write(content if isinstance(content, str) else json.dumps(content))

    def start(self) -> None:
        self.agent.start()
        eventually(lambda: self.agent.get("status/leader"))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command against the agent."""
        environ = {**os.environ, "PYTHONPATH": ROOT, "CONSUL_HTTP_ADDR": f"{self.ip}:8500"}
        line = [sys.executable, "-m", "pyconsul", *arguments]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, env=environ)

    def states(self) -> dict[str, str]:
        found: dict[str, Any] = self.agent.get("agent/checks")
        return {check_id: check["Status"] for check_id, check in found.items()}

    def catalog(self) -> Any:
        """What the servers know of the node, with all indexes."""
        return self.agent.get("catalog/node/n1")["Services"], self.agent.get("health/node/n1")


class RestartTests(OneAgent):
    def test_killed(self) -> None:
        """Registrations, states and maintenance are there again, and nothing is written for that."""
        self.start()
        self.agent.put("agent/service/register", SERVICE)
        self.agent.put("agent/check/register", {"Name": "tcp", "TCP": f"{self.ip}:8500", "Interval": "24h"})
        self.agent.put("agent/check/warn/service:redis1:1?note=hm")
        self.agent.put("agent/maintenance?enable=true&reason=why")
        wanted = {
            "service:redis1:1": "warning", "http": "critical", "tcp": "critical",
            "_node_maintenance": "critical",
        }  # fmt: skip
        eventually(lambda: {c["CheckID"]: c["Status"] for c in self.catalog()[1]}.items() >= wanted.items())
        before = self.catalog()
        state = os.path.join(self.agent.folder, "data", "checks", "state")
        eventually(lambda: os.listdir(state))
        self.agent.kill(signal.SIGKILL)
        self.start()
        eventually(lambda: self.agent.request("GET", "agent/services")[0] == 200)
        self.assertEqual(self.states(), wanted)
        eventually(lambda: self.agent.put("agent/service/register", {"Name": "later"}) == b"")
        eventually(lambda: "later" in self.agent.get("catalog/services"))
        services, checks = self.catalog()
        services.pop("later")
        self.assertEqual((services, checks), before)
        for folder in ("services", "checks", "checks/state"):
            path = os.path.join(self.agent.folder, "data", folder)
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o700)
            for name in os.listdir(path):
                if name != "state":
                    self.assertEqual(os.stat(os.path.join(path, name)).st_mode & 0o777, 0o600)


class ReloadTests(OneAgent):
    ip = f"{block(40)}.2"

    def test_files(self) -> None:
        """A signal, a request and a command take new files over; wrong ones change nothing."""
        self.write("a.json", {"service": {"name": "web", "port": 80, "check": {"ttl": "10m"}}})
        self.start()
        self.agent.put("agent/check/pass/service:web")
        self.agent.put("agent/service/register", {"Name": "http"})
        self.write("b.json", {"service": {"name": "db"}, "log_level": "DEBUG", "node_meta": {"rack": "7"}})
        told = self.command("reload", "-diff")
        self.assertEqual(
            sorted(told.stdout.splitlines()),
            ["add service db", "log_level: 'INFO' -> 'DEBUG'", "node_meta: {} -> {'rack': '7'}"],
        )
        self.assertNotIn("db", self.agent.get("agent/services"))
        process: Any = self.agent._process
        process.send_signal(signal.SIGHUP)
        eventually(lambda: "db" in self.agent.get("agent/services"))
        self.assertEqual(self.states(), {"service:web": "passing"})
        eventually(lambda: self.agent.get("catalog/nodes")[0]["Meta"].get("rack") == "7")
        self.write("b.json", '{"service": {"name": 7}}')
        status, text = self.agent.request("PUT", "agent/reload")
        self.assertEqual(status, 500)
        self.assertIn(b"b.json", text)
        refused = self.command("reload")
        self.assertEqual((refused.returncode, refused.stdout), (1, ""))
        self.assertIn("Error reloading: Unexpected response code: 500 (failed to parse ", refused.stderr)
        self.assertEqual(sorted(self.agent.get("agent/services")), ["db", "http", "web"])
        os.unlink(os.path.join(self.files, "b.json"))
        self.assertEqual(self.command("reload").stdout, "Configuration reload triggered\n")
        self.assertEqual(sorted(self.agent.get("agent/services")), ["http", "web"])
        self.assertEqual(self.states(), {"service:web": "passing"})

    def test_monitor(self) -> None:
        """Somebody who listens hears also what the log leaves out, as soon as it is said."""
        self.start()
        connection = HTTPConnection(self.ip, 8500, timeout=30)
        self.addCleanup(connection.close)
        connection.request("GET", "/v1/agent/monitor?loglevel=info&logjson")
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.getheader("Transfer-Encoding")), (200, "chunked"))
        self.agent.put("agent/service/register", {"Name": "heard"})
        lines = (json.loads(answer.readline()) for _ in range(1000))
        self.assertTrue(any("heard" in json.dumps(line) for line in lines))
        self.agent.put("agent/leave")
        answer.read()  # it ends, and is not cut off


class ConsulTests(OneAgent):
    """The same data folder, now with one agent and now with the other. Clients, without any server."""

    ip = f"{block(40)}.3"
    role = ()
    if why := missing_peers("consul"):
        skip = why

    def begin(self) -> None:
        self.agent.start()
        eventually(lambda: self.agent.request("GET", "agent/checks")[0] == 200)

    def known(self) -> Any:
        """What the agent knows, in so far as it must be the same with both.

        That is the states of maintenance and of what was reported; the rest is found out anew.
        """
        services = self.agent.get("agent/services")
        lasting = ("ttl", "_service_maintenance:redis1")
        checks = {
            check_id: (
                *(check[name] for name in ("Name", "Notes", "ServiceID", "ServiceTags", "Type")),
                *(check[name] for name in ("Status", "Output") if check_id in lasting),
            )
            for check_id, check in self.agent.get("agent/checks").items()
        }
        return services, checks

    def use_consul(self) -> None:
        """From the next start on."""
        path = str(peers_folder() / "consul")
        own = ["agent", "-node", "n1", "-bind", self.ip, "-client", self.ip]
        own += ["-data-dir", os.path.join(self.agent.folder, "data")]
        self.patch(self.agent, "command", lambda: [path, *own])

    def fill(self) -> None:
        self.agent.put("agent/service/register", SERVICE)
        self.agent.put("agent/service/register", {"Name": "sc", "Port": 1, "Connect": {"SidecarService": {}}})
        self.agent.put("agent/check/register", {"Name": "ttl", "TTL": "1h", "Notes": "nn"})
        self.agent.put("agent/check/warn/ttl?note=hello")
        self.agent.put("agent/service/maintenance/redis1?enable=true&reason=slow")
        state = os.path.join(self.agent.folder, "data", "checks", "state")
        eventually(lambda: os.path.isdir(state) and os.listdir(state))

    def begin_again(self) -> Any:
        """Kill the agent and start the one that is in use now; what it knows."""
        self.agent.kill(signal.SIGKILL)
        self.begin()
        return self.known()

    def test_ours_then_consul(self) -> None:
        """Consul finds what we have kept."""
        self.begin()
        self.fill()
        wanted = self.known()
        self.use_consul()
        self.assertEqual(self.begin_again(), wanted)
        self.assertNotIn("Failed", self.agent.log().replace("Failed to re-join", ""))

    def test_consul_then_ours(self) -> None:
        """We find what Consul has kept."""
        ours = self.agent.command
        self.use_consul()
        self.begin()
        self.fill()
        wanted = self.known()
        self.patch(self.agent, "command", ours)
        self.assertEqual(self.begin_again(), wanted)


class WatchTests(OneAgent):
    """Watches of the configuration."""

    def lines(self) -> list[str]:
        path = os.path.join(self.folder, "seen")
        if not os.path.exists(path):
            return []
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()

    def test_a_program_is_told(self) -> None:
        """At once, with each change, and after a reload for the watches that were added."""
        seen = os.path.join(self.folder, "seen")
        program = ["sh", "-c", f"cat >> {seen}"]
        self.write("a.json", {"watches": [{"type": "key", "key": "a", "args": program}]})
        self.start()
        eventually(lambda: self.lines() == ["null"])
        self.agent.put("kv/a", "one")
        eventually(lambda: len(self.lines()) == 2)
        self.assertEqual(json.loads(self.lines()[1])["Value"], "Im9uZSI=")
        prefix = {"type": "keyprefix", "prefix": "b/", "handler_type": "script", "args": program}
        self.write("b.json", {"watches": [prefix]})
        self.agent.put("agent/reload")
        eventually(lambda: self.lines()[2:] == ["null"])
        self.agent.put("kv/b/x", "two")
        eventually(lambda: len(self.lines()) == 4)
        self.assertEqual([entry["Key"] for entry in json.loads(self.lines()[3])], ["b/x"])

    def test_a_wrong_one(self) -> None:
        """The agent does not start, and says why."""
        self.write("a.json", {"watches": [{"type": "key"}]})
        files = os.path.join(self.folder, "data")
        result = self.command(
            "agent", "-data-dir", files, "-bind", self.ip, "-client", self.ip, "-config-dir", self.files
        )
        self.assertEqual(result.returncode, 1)
        self.assertIn("Failed to parse watch (type='key'): Must specify a single key", result.stderr)
        self.assertNotIn("Traceback", result.stderr)
