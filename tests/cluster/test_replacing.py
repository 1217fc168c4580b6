"""Servers that come back as somebody else: under another name, or with nothing left."""

from __future__ import annotations

import os
import shutil
import signal

from tests.cluster.processes import Agent, ClusterTestCase, block, eventually

SETTINGS = 'autopilot { server_stabilization_time = "1s" last_contact_threshold = "1s" %s }'
FAILED = 4


class ReplacingTests(ClusterTestCase):
    block = block(41)

    def make(self, name: str, ip: str, *arguments: str) -> Agent:
        return super().make(name, ip, "-hcl", SETTINGS % "cleanup_dead_servers = false", *arguments)

    def again(self, old: Agent, name: str) -> Agent:
        """The same machine as another agent, with the data of the old one if that is still there."""
        new = self.make(name, old.ip, *old._arguments[2:])
        os.makedirs(new.folder, exist_ok=True)
        if name != old.name and os.path.exists(os.path.join(old.folder, "data")):
            os.rename(os.path.join(old.folder, "data"), os.path.join(new.folder, "data"))
        self.agents.append(new)
        return new.start()

    def row(self, agent: Agent, name: str) -> tuple[str, bool]:
        """Id and vote of a server."""
        servers = agent.get("operator/raft/configuration")["Servers"]
        return {server["Node"]: (server["ID"], server["Voter"]) for server in servers}[name]

    def node(self, agent: Agent, name: str) -> str:
        """The id that the catalog has for a node."""
        return str({node["Node"]: node["ID"] for node in agent.get("catalog/nodes")}[name])

    def test_another_name_then_another_id(self) -> None:
        """A server is renamed while its old name is a failed member; then its disk is replaced."""
        self.start_all()
        leader = self.leader()
        old = next(server for server in self.servers if server is not leader)
        identity, _ = self.row(leader, old.name)
        old.kill(signal.SIGKILL)
        eventually(
            lambda: [m["Status"] for m in leader.get("agent/members") if m["Name"] == old.name] == [FAILED]
        )
        renamed = self.again(old, "renamed")
        eventually(lambda: self.row(leader, "renamed") == (identity, True))
        eventually(lambda: self.node(leader, "renamed") == identity)
        self.assertNotIn(old.name, [node["Node"] for node in leader.get("catalog/nodes")])
        self.assertEqual(renamed.put("kv/renamed", b"1"), b"true")
        renamed.kill(signal.SIGKILL)  # nobody sees it fail
        shutil.rmtree(os.path.join(renamed.folder, "data"))
        rebuilt = self.again(renamed, "renamed")
        eventually(lambda: self.row(leader, "renamed")[0] != identity)
        new_id, _ = self.row(leader, "renamed")
        eventually(lambda: self.node(leader, "renamed") == new_id)
        eventually(lambda: self.row(leader, "renamed") == (new_id, True))
        self.assertEqual(len(leader.get("operator/raft/configuration")["Servers"]), 3)
        eventually(lambda: rebuilt.request("GET", "kv/renamed?raw&stale") == (200, b"1"))
        check = eventually(lambda: leader.get("health/node/renamed"))[0]
        self.assertEqual((check["CheckID"], check["Status"]), ("serfHealth", "passing"))


class TooManyDeadTests(ClusterTestCase):
    """Autopilot removes no more dead servers at once than a majority can spare, nor below its minimum."""

    block = block(42)

    def make(self, name: str, ip: str, *arguments: str) -> Agent:
        return super().make(name, ip, "-hcl", SETTINGS % "min_quorum = 3", *arguments)

    def test_minimum(self) -> None:
        """A dead server of three stays if three are wanted, and goes once that is no longer so."""
        self.start_all()
        leader = self.leader()
        dead = next(server for server in self.servers if server is not leader)
        dead.kill(signal.SIGKILL)
        eventually(lambda: "not removing dead servers" in leader.log())
        self.assertEqual(len(leader.get("operator/raft/configuration")["Servers"]), 3)
        config = leader.get("operator/autopilot/configuration")
        self.assertEqual(config["MinQuorum"], 3)
        self.assertEqual(leader.put("operator/autopilot/configuration", {**config, "MinQuorum": 2}), b"true")
        eventually(lambda: len(leader.get("operator/raft/configuration")["Servers"]) == 2)
