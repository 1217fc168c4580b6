"""Raft's snapshots among real processes, over real sockets and disks."""

from __future__ import annotations

import os
import shutil

from tests.cluster.processes import Agent, ClusterTestCase, block, eventually

SETTINGS = 'raft_snapshot_threshold = 20 raft_snapshot_interval = "1s" raft_trailing_logs = 5'
VALUES = 48
VALUE_BYTES = 450_000


class SnapshotTests(ClusterTestCase):
    block = block(34)

    def make(self, name: str, ip: str, *arguments: str) -> Agent:
        own = ("-hcl", SETTINGS) if "-server" in arguments else ()
        return super().make(name, ip, *own, *arguments)

    def snapshots(self, agent: Agent) -> list[str]:
        folder = os.path.join(agent.folder, "data", "raft", "snapshots")
        return sorted(os.listdir(folder))

    def first_entry(self, agent: Agent) -> int:
        """The first entry of the log on a server's disk."""
        names = os.listdir(os.path.join(agent.folder, "data", "raft"))
        return min(int(name[:20]) for name in names if name.endswith(".segment"))

    def test_who_was_away_and_a_new_disk(self) -> None:
        """The others have dropped the log that it needs: it is sent the snapshot, and has every key."""
        self.start_all()
        leader = self.leader()
        away, wiped = (server for server in self.servers if server is not leader)
        away.kill()
        for number in range(VALUES):
            self.client.put(f"kv/large/{number}", b"%06d" % number * (VALUE_BYTES // 6))
        eventually(lambda: self.first_entry(leader) > 5, 60)
        away.start()
        eventually(lambda: self.has_all(away), 60)
        self.assertIn("restored the leader's snapshot", away.log())
        wiped.kill()
        shutil.rmtree(os.path.join(wiped.folder, "data", "raft"))
        wiped.start()
        eventually(lambda: self.has_all(wiped), 60)
        self.assertGreater(len(self.snapshots(wiped)), 0)
        for server in self.servers:
            server.kill()
        for server in self.servers:
            server.start()
        for server in self.servers:
            eventually(lambda server=server: self.has_all(server), 60)  # type: ignore[misc]
            self.assertLessEqual(len([n for n in self.snapshots(server) if not n.endswith(".tmp")]), 2)

    def has_all(self, server: Agent) -> bool:
        for number in (0, VALUES // 2, VALUES - 1):
            status, body = server.request("GET", f"kv/large/{number}?raw&stale")
            if status != 200 or body != b"%06d" % number * (VALUE_BYTES // 6):
                return False
        return len(server.get("kv/large/?keys&stale")) == VALUES
