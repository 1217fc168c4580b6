"""An outage that takes the majority, and the way back with ``raft/peers.json``."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from tests.cluster.processes import Agent, ClusterTestCase, block, eventually

QUICK = 'autopilot { server_stabilization_time = "1s" last_contact_threshold = "1s" }'


class OutageTests(ClusterTestCase):
    block = block(37)

    def make(self, name: str, ip: str, *arguments: str) -> Agent:
        return super().make(name, ip, "-hcl", QUICK, *arguments)

    def raft_file(self, server: Agent, name: str) -> str:
        return os.path.join(server.folder, "data", "raft", name)

    def write_peers(self, server: Agent, peers: Any) -> None:
        with open(self.raft_file(server, "peers.json"), "w", encoding="utf-8") as file:
            file.write(peers if isinstance(peers, str) else json.dumps(peers))

    def voters(self, agent: Agent) -> list[str]:
        servers = agent.get("operator/raft/configuration")["Servers"]
        return sorted(server["Address"] for server in servers if server["Voter"])

    def lose_two(self) -> Agent:
        """Three servers, of which two are gone for good; the one that is left, stopped."""
        for server in self.servers:
            server.start()
        for server in self.servers:
            eventually(lambda server=server: server.get("status/leader"))  # type: ignore[misc]
        self.servers[0].put("kv/before", b"kept")
        survivor = self.servers[0]
        eventually(lambda: survivor.request("GET", "kv/before?raw&stale") == (200, b"kept"))
        for server in self.servers:
            self.assertTrue(os.path.exists(self.raft_file(server, "peers.info")))
            server.kill(signal.SIGKILL)
        self.agents = [survivor]
        return survivor

    def comes_back(self, survivor: Agent, peers: Any) -> Agent:
        """The whole procedure, up to a new server that has its vote."""
        self.write_peers(survivor, peers)
        survivor.start()
        eventually(lambda: survivor.request("GET", "kv/before?raw") == (200, b"kept"))
        self.assertFalse(os.path.exists(self.raft_file(survivor, "peers.json")))
        log = survivor.log()
        self.assertIn("found peers.json file, recovering Raft configuration...", log)
        self.assertIn("deleted peers.json file after successful recovery", log)
        self.assertEqual(self.voters(survivor), [f"{survivor.ip}:8300"])
        self.assertEqual(survivor.put("kv/alone", b"1"), b"true")
        new = self.make("s6", f"{self.block}.6", "-server", "-retry-join", survivor.ip).start()
        self.agents.append(new)
        both = sorted((f"{survivor.ip}:8300", f"{new.ip}:8300"))
        eventually(lambda: self.voters(new) == both)
        for key, value in (("before", b"kept"), ("alone", b"1")):
            eventually(lambda k=key, v=value: new.request("GET", f"kv/{k}?raw&stale") == (200, v))  # type: ignore[misc]
        self.assertEqual(new.put("kv/both", b"2"), b"true")
        return new

    def test_addresses(self) -> None:
        """The list of addresses; what was written stays, and a new server at another address joins."""
        survivor = self.lose_two()
        new = self.comes_back(survivor, [f"{survivor.ip}:8300"])
        for agent in (survivor, new):
            agent.kill(signal.SIGKILL)
        for agent in (survivor, new):
            agent.start()
        eventually(lambda: survivor.request("GET", "kv/both?raw") == (200, b"2"))

    def test_objects(self) -> None:
        """The list of objects; before that, everything that is wrong with it is said, and changes nothing."""
        survivor = self.lose_two()
        with open(os.path.join(survivor.folder, "data", "node-id"), encoding="ascii") as file:
            peer = {"id": file.read(), "address": f"{survivor.ip}:8300"}
        for wrong, reason in (
            ('[{"id":', "truncated"),
            ([peer, peer], f"found duplicate ID in configuration: {peer['id']}"),
            ([{**peer, "non_voter": True}], "need at least one voter in configuration"),
            ([peer, "127.0.0.1:8300"], "has both addresses"),
        ):
            self.write_peers(survivor, wrong)
            self.assertEqual(survivor.start().wait(), 1)
            self.assertIn("recovery failed to parse peers.json", survivor.log())
            self.assertIn(reason, survivor.log())
            self.assertTrue(os.path.exists(self.raft_file(survivor, "peers.json")))
        self.comes_back(survivor, [{**peer, "non_voter": False}])
