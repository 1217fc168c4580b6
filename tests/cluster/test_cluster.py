"""Three servers and a client agent as processes: the main job, end to end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.cluster.processes import Agent, ClusterTestCase, block, eventually, need
from tests.cluster.writing import UNANSWERED_S, Load


class Twistd(Agent):
    """A server as ``twistd pyconsul`` runs it."""

    def command(self) -> list[str]:
        own = ["--node", self.name, "--bind", self.ip, "--client", self.ip]
        own += [
            "--data-dir",
            os.path.join(self.folder, "data"),
            "--hcl",
            "performance { raft_multiplier = 1 }",
        ]
        own += ["--" + text[1:] if text[:1] == "-" else text for text in self._arguments]
        return [sys.executable, "-m", "twisted", "--log-format=text", "pyconsul", *own]


class Web(BaseHTTPRequestHandler):
    """A web server that answers every GET with 200."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"fine")

    def log_message(self, *args: object) -> None:
        """Be quiet."""


def sees(agent: Agent, names: list[str]) -> bool:
    """Whether these members, and no others, are alive for ``agent``."""
    return sorted(m["Name"] for m in agent.get("agent/members") if m["Status"] == 1) == names


def nothing_passes(agent: Agent) -> bool:
    """Whether HTTP gives no instance."""
    found: list[object] = agent.get("health/service/web?passing")
    return not found


def not_in_dns(agent: Agent) -> bool:
    """Whether DNS gives no instance."""
    return not agent.dig("web.service.consul", "SRV")


class MainJobTests(ClusterTestCase):
    block = block(31)

    def make(self, name: str, ip: str, *arguments: str) -> Agent:
        kind = Twistd if "-server" in arguments else Agent
        return kind(self, self.folder, ip, name, *arguments)

    def test_main_job(self) -> None:
        """Servers find each other, a key written through the client is read everywhere, a service
        with a check is found over HTTP and DNS while it passes, and left out when it fails."""
        self.start_all()
        self.assertEqual(len(self.client.get("status/peers")), 3)
        self.assertEqual(self.client.put("kv/some/key", b"value"), b"true")
        for agent in self.agents:
            self.assertEqual(agent.request("GET", "kv/some/key?raw"), (200, b"value"))
            eventually(partial(sees, agent, ["c5", "s2", "s3", "s4"]))
        self.check_service()

    def check_service(self) -> None:
        address = (f"{self.block}.6", 8080)
        web = ThreadingHTTPServer(address, Web)
        threading.Thread(target=web.serve_forever, daemon=True).start()
        self.addCleanup(web.server_close)
        self.addCleanup(web.shutdown)
        self.client.put(
            "agent/service/register",
            {
                "Name": "web",
                "Address": address[0],
                "Port": address[1],
                "Check": {"HTTP": f"http://{address[0]}:{address[1]}/", "Interval": "1s", "Timeout": "1s"},
            },
        )
        eventually(lambda: self.client.get("health/service/web?passing"))
        for agent in self.agents:
            rows = eventually(partial(agent.get, "health/service/web?passing"))
            self.assertEqual((rows[0]["Node"]["Node"], rows[0]["Service"]["Port"]), ("c5", 8080))
        if need("dig") is None:
            for agent in self.agents:
                self.assertEqual(agent.dig("s3.node.consul"), [f"{self.block}.3"])
                found = eventually(partial(agent.dig, "web.service.consul", "SRV"))
                self.assertIn("8080", found[0])
        web.shutdown()
        web.server_close()
        eventually(lambda: self.client.get("health/service/web?passing") == [])
        for agent in self.agents:
            eventually(partial(nothing_passes, agent))
            if need("dig") is None:
                eventually(partial(not_in_dns, agent))


class CrashTests(ClusterTestCase):
    block = block(32)

    def test_kill_the_leader_then_all(self) -> None:
        """kill -9 of the leader and later of all servers loses nothing that was acknowledged."""
        self.start_all()
        leader = self.leader()
        survivors = [server for server in self.servers if server is not leader]
        load = Load(survivors, "w")
        load.goes_on(30)
        leader.kill(signal.SIGKILL)
        load.goes_on(30)
        self.assertLess(load.longest_gap_s, UNANSWERED_S)
        leader.start()
        for server in survivors:
            server.kill(signal.SIGKILL)
        leader.kill(signal.SIGKILL)
        load.stop()
        for server in self.servers:
            server.start()
        self.assertEqual(load.lost(self.client), [])

    def test_leave(self) -> None:
        """A client that is interrupted leaves: its node goes out of the catalog and it exits with 0."""
        self.start_all()
        self.assertEqual(self.client.kill(signal.SIGINT), 0)
        survivor = self.servers[0]
        eventually(lambda: len(survivor.get("catalog/nodes")) == 3)
        left = {m["Name"]: m["Status"] for m in survivor.get("agent/members")}
        self.assertEqual(left["c5"], 3)
        self.assertEqual(survivor.kill(signal.SIGTERM), 1)
