"""Servers and clients that speak TLS: turned on step by step, new certificates, strangers."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

from tests.checks.certificates import CLIENT, Authority
from tests.cluster.peers import missing_peers, peers_folder
from tests.cluster.processes import Agent, ClusterTestCase, block, eventually

FULL = "verify_incoming = true verify_outgoing = true verify_server_hostname = true"


class TlsTestCase(ClusterTestCase):
    block = block(63)

    def setUp(self) -> None:
        self.authority = Authority()
        super().setUp()

    def make(self, name: str, ip: str, *arguments: str) -> Agent:
        """An agent that reads ``NAME.hcl``, with a certificate for its role."""
        agent = super().make(name, ip, *arguments, "-config-file", f"{name}.hcl")
        server = "-server" in arguments
        self.certify(agent, "server.dc1.consul" if server else "client.dc1.consul")
        self.configure(agent, FULL)
        return agent

    def certify(self, agent: Agent, name: str, by: Authority | None = None, hours: float = 1.0) -> None:
        """Give an agent a certificate, in the place of the one that it has."""
        folder = Path(agent.folder)
        (folder / "ca.pem").write_bytes(self.authority.pem())
        uses = (CLIENT,) if name.startswith("client") else ()
        for path in (by or self.authority).write(folder / "new", name, uses=uses, hours=hours):
            os.replace(path, folder / path.name)

    def configure(self, agent: Agent, text: str) -> None:
        files = 'ca_file = "ca.pem"\ncert_file = "cert.pem"\nkey_file = "key.pem"\n'
        Path(agent.folder, f"{agent.name}.hcl").write_text(files + text)

    def works(self) -> None:
        """A write through the client is seen everywhere."""
        for agent in self.agents:
            eventually(lambda agent=agent: agent.put("kv/x", agent.name.encode()) == b"true")  # type: ignore[misc]
        for agent in self.agents:
            eventually(lambda agent=agent: agent.request("GET", "kv/x?raw")[1] == b"c5")  # type: ignore[misc]

    def said(self, agent: Agent, text: str) -> None:
        eventually(lambda: text in agent.log())


class ClusterTests(TlsTestCase):
    def test_everything_verified(self) -> None:
        """Consensus, calls and gossip work, a leader may die, and nobody complains."""
        self.start_all()
        self.works()
        for agent in self.agents:
            self.assertNotIn("TLS", agent.log().partition("Log data")[2])
        tags = self.servers[0].get("agent/self")["Member"]["Tags"]
        self.assertEqual(tags["use_tls"], "1")
        leader = self.leader()
        leader.kill()
        self.agents.remove(leader)
        eventually(lambda: self.client.get("status/leader").partition(":")[0] != leader.ip)
        self.works()

    def test_turned_on_step_by_step(self) -> None:
        """Certificates, then TLS outward, then nothing else inward: by reloads, without an outage."""
        for agent in self.agents:
            self.configure(agent, "")
        self.start_all()
        self.works()
        for text in ("verify_outgoing = true", "verify_outgoing = true verify_incoming = true", FULL):
            for agent in self.agents:
                self.configure(agent, text)
                agent.put("agent/reload")
                self.works()
        for agent in self.agents[:1]:
            agent.kill()
            agent.start()
        self.works()

    def test_new_certificates(self) -> None:
        """All get new ones, while everything goes on."""
        self.start_all()
        leader = self.leader().ip
        for agent in self.agents:
            self.certify(agent, "server.dc1.consul" if agent in self.servers else "client.dc1.consul")
            os.kill(agent.pid, signal.SIGHUP)
            self.said(agent, "Configuration reloaded")
            self.works()
        self.assertEqual(self.leader().ip, leader)

    def stranger(self, name: str, by: Authority | None = None, hours: float = 1.0, text: str = FULL) -> Agent:
        """A client agent with another certificate."""
        agent = self.make("c6", f"{self.block}.6", "-retry-join", self.servers[0].ip)
        self.certify(agent, name, by, hours)
        self.configure(agent, text)
        self.agents.append(agent)
        return agent.start()

    def test_strangers(self) -> None:
        """Who has no good certificate is refused, already by gossip; both sides say with whom and why."""
        self.start_all()
        self.refused(self.stranger("client.dc1.consul", hours=-1), "x509: certificate has expired")
        self.refused(self.stranger("x", Authority()), "x509: certificate signed by unknown authority")
        plain = self.stranger("client.dc1.consul", text="")
        said = "refused: it does not speak TLS, which verify_incoming demands"
        eventually(lambda: plain.request("GET", "kv/x")[0] == 500)
        eventually(lambda: any(said in server.log() for server in self.servers))

    def refused(self, agent: Agent, why: str) -> None:
        eventually(lambda: agent.request("GET", "kv/x")[0] == 500)
        said = f" refused: TLS: {why}"  # from 127.0.0.1, whatever the agent's address is
        eventually(lambda: any(said in server.log() for server in self.servers))
        self.said(agent, f"{self.servers[0].ip}:8301: TLS: the peer refused: ")
        agent.kill()
        self.agents.remove(agent)

    def test_servers_with_the_wrong_name(self) -> None:
        """A client's certificate does not make a server."""
        self.start_all()
        leader = self.leader()
        wrong = next(server for server in self.servers if server is not leader)
        wrong.kill()
        self.certify(wrong, "client.dc1.consul")
        wrong.start()
        self.agents.remove(wrong)
        why = f"no TLS with the server at {wrong.ip}:8300: x509: certificate specifies an incompatible key"
        self.said(leader, why)
        self.works()
        self.certify(wrong, "server.dc1.consul")
        eventually(lambda: wrong.put("agent/reload") == b"")
        eventually(lambda: wrong.get("status/leader"))


class DatacenterTests(TlsTestCase):
    def server(self, number: int, datacenter: str, name: str) -> Agent:
        """The one server of a datacenter."""
        agent = self.make(
            f"s{number}", f"{self.block}.{number}", "-server", "-bootstrap-expect=1",
            "-datacenter", datacenter,
            "-retry-join-wan", f"{self.block}.2", "-retry-join-wan", f"{self.block}.3",
        )  # fmt: skip
        self.certify(agent, name)
        return agent.start()

    def test_names_of_datacenters(self) -> None:
        """Each server is asked for by the name of its own datacenter; another name is none."""
        one = self.server(2, "dc1", "server.dc1.consul")
        two = self.server(3, "dc2", "server.dc2.consul")
        self.agents = [one, two]
        eventually(lambda: one.put("kv/x?dc=dc2", b"v") == b"true")
        eventually(lambda: two.get("kv/x?dc=dc2")[0]["Key"] == "x")
        eventually(lambda: two.put("kv/y?dc=dc1", b"v") == b"true")
        two.kill()
        self.certify(two, "server.dc1.consul")
        two.start()
        why = f"no TLS with the server at {two.ip}:8300: x509: certificate is not valid for server.dc2.consul"
        eventually(lambda: one.request("GET", "kv/x?dc=dc2")[0] == 500 and why in one.log())
        eventually(lambda: two.get("kv/y?dc=dc1")[0]["Key"] == "y")


KEY = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s="


class PoolTests(TlsTestCase):
    """Gossip: streams inside TLS among ours, and everything as ever with others."""

    def theirs(self, number: int, *arguments: str) -> Agent:
        """A client agent of real Consul: what asks it."""
        ip = f"{self.block}.{number}"
        command = [
            str(peers_folder() / "consul"), "agent", "-node", f"r{number}", "-bind", ip, "-client", ip,
            "-data-dir", os.path.join(self.folder, f"real{number}"), "-encrypt", KEY, *arguments,
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return Agent(self, self.folder, ip, f"r{number}")

    def members(self, agent: Agent) -> dict[str, Any]:
        """Those who are alive."""
        return {m["Name"]: m for m in agent.get("agent/members") if m["Status"] == 1}

    def see(self, wanted: set[str], *agents: Agent) -> None:
        for agent in agents:
            eventually(lambda agent=agent: set(self.members(agent)) == wanted)  # type: ignore[misc]

    def test_inside(self) -> None:
        """The port takes TLS with a certificate of ours, and all members say that they do."""
        self.start_all()
        everybody = {agent.name for agent in self.agents}
        self.see(everybody, *self.agents)
        for member in self.members(self.client).values():
            self.assertEqual(member["Tags"]["gossip_tls"], "1")
        context = ssl.create_default_context(cadata=self.authority.pem().decode())
        context.check_hostname = False
        client = Path(self.client.folder)
        context.load_cert_chain(client / "cert.pem", client / "key.pem")
        with socket.create_connection((self.servers[0].ip, 8301)) as plain:
            wrapped = context.wrap_socket(plain)
            self.assertEqual(wrapped.version(), "TLSv1.3")
            wrapped.close()
        stranger = self.make("c6", f"{self.block}.6", "-retry-join", self.servers[0].ip)
        self.certify(stranger, "client.dc1.consul", Authority())
        stranger.start()
        self.said(stranger, f"dial tcp {self.servers[0].ip}:8301: TLS: the peer refused: ")
        self.said(self.servers[0], " refused: TLS: x509: certificate signed by unknown authority")
        self.see(everybody, *self.agents)

    def test_with_consul(self) -> None:
        """Members of real Consul join ours and are joined, plain, encrypted by gossip's key."""
        for agent in self.agents:
            self.configure(agent, f'{FULL}\nencrypt = "{KEY}"')
        self.start_all()
        joining = self.theirs(7, "-retry-join", self.servers[0].ip)
        joined = self.theirs(8)
        eventually(lambda: joined.get("agent/members"))
        self.client.put(f"agent/join/{joined.ip}")
        everybody = {*(agent.name for agent in self.agents), "r7", "r8"}
        self.see(everybody, *self.agents, joining, joined)
        self.assertEqual(self.members(joining)["c5"]["Tags"]["gossip_tls"], "1")
        self.assertNotIn("gossip_tls", self.members(self.client)["r7"]["Tags"])
        self.client.kill()
        self.agents.remove(self.client)
        self.see(everybody - {"c5"}, *self.agents, joining, joined)

    test_with_consul.skip = missing_peers("consul")  # type: ignore[attr-defined]
