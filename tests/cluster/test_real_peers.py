"""A whole server of ours in one gossip pool with a real Consul client agent and a real serf agent."""

from __future__ import annotations

import os
import signal
import subprocess

from tests.cluster.peers import missing_peers, peers_folder
from tests.cluster.processes import Agent, ProcessTestCase, block, eventually

BLOCK = block(33)
ALIVE, LEFT, FAILED = 1, 3, 4


class RealPeersTests(ProcessTestCase):
    skip = missing_peers("consul", "serf")

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)
        self.ours = Agent(
            self, self.folder, f"{BLOCK}.1", "ours", "-server", "-bootstrap-expect", "1"
        ).start()
        eventually(lambda: self.ours.get("status/leader"))
        self.theirs = Agent(self, self.folder, f"{BLOCK}.2", "theirs")

    def spawn(self, *command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def statuses(self) -> dict[str, int]:
        return {member["Name"]: member["Status"] for member in self.ours.get("agent/members")}

    def listed_by_serf(self) -> list[str]:
        command = [str(peers_folder() / "serf"), "members", f"-rpc-addr={BLOCK}.3:7373"]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
        return sorted(line.split()[2] for line in listed.splitlines())

    def test_one_pool(self) -> None:
        """All list each other alive; a leave shows as left and a kill as failed, in the catalog too."""
        client = self.spawn(
            str(peers_folder() / "consul"), "agent",
            "-node", "theirs", "-bind", f"{BLOCK}.2", "-client", f"{BLOCK}.2",
            "-data-dir", os.path.join(self.folder, "real"), "-retry-join", f"{BLOCK}.1",
        )  # fmt: skip
        bare = self.spawn(
            str(peers_folder() / "serf"), "agent",
            "-node=bare", f"-bind={BLOCK}.3:8301", f"-rpc-addr={BLOCK}.3:7373",
            f"-join={BLOCK}.1:8301",
        )  # fmt: skip
        everybody = {"ours": ALIVE, "theirs": ALIVE, "bare": ALIVE}
        eventually(lambda: self.statuses() == everybody)
        eventually(lambda: {m["Name"]: m["Status"] for m in self.theirs.get("agent/members")} == everybody)
        shown = {member["Name"]: member for member in self.theirs.get("agent/members")}
        self.assertEqual(shown["ours"]["Tags"]["role"], "consul")
        self.assertEqual(shown["ours"]["Tags"]["port"], "8300")
        eventually(lambda: self.listed_by_serf() == ["alive"] * 3)
        eventually(lambda: {n["Node"] for n in self.ours.get("catalog/nodes")} == set(everybody))
        bare.send_signal(signal.SIGINT)
        eventually(lambda: self.statuses()["bare"] == LEFT)
        eventually(lambda: {n["Node"] for n in self.ours.get("catalog/nodes")} == {"ours", "theirs"})
        client.kill()
        eventually(lambda: self.statuses()["theirs"] == FAILED)
        eventually(lambda: self.ours.get("health/node/theirs")[0]["Status"] == "critical")
