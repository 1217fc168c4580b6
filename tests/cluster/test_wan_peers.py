"""Datacenters of ours and of real Consul in one WAN pool, joined both ways."""

from __future__ import annotations

import json
import os
import signal
import subprocess

from tests.cluster.peers import missing_peers, peers_folder
from tests.cluster.processes import Agent, ProcessTestCase, block, eventually

BLOCK = block(34)
ALIVE, LEFT, FAILED = 1, 3, 4
KEY, NEW = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=", "WWlGcrVWY3o9rOQoFYX/kg=="
FAST_WAN = """gossip_wan {
  gossip_interval = "100ms" probe_interval = "500ms" probe_timeout = "400ms" suspicion_mult = 5
}"""


class WanTestCase(ProcessTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)

    def ours(self, number: int, dc: str, *arguments: str) -> Agent:
        """A server of ours that has a leader."""
        agent = Agent(
            self, self.folder, f"{BLOCK}.{number}", f"n{number}", "-server", "-bootstrap-expect=1",
            "-datacenter", dc, "-hcl", FAST_WAN, *arguments,
        ).start()  # fmt: skip
        eventually(lambda: agent.get("status/leader"))
        return agent

    def theirs(self, number: int, dc: str, *arguments: str) -> tuple[Agent, subprocess.Popen[bytes]]:
        """A server of real Consul: what asks it, and its process."""
        ip = f"{BLOCK}.{number}"
        command = [
            str(peers_folder() / "consul"), "agent", "-server", "-bootstrap-expect=1", "-datacenter", dc,
            "-node", f"n{number}", "-bind", ip, "-client", ip, "-hcl", FAST_WAN,
            "-data-dir", os.path.join(self.folder, f"real{number}"), *arguments,
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        asker = Agent(self, self.folder, ip, f"n{number}")
        eventually(lambda: asker.get("status/leader"))
        return asker, process

    def wan(self, agent: Agent) -> dict[str, int]:
        return {member["Name"]: member["Status"] for member in agent.get("agent/members?wan=1")}

    def see(self, wanted: dict[str, int], *agents: Agent) -> None:
        """All these agents list these members."""
        for agent in agents:
            eventually(lambda agent=agent: self.wan(agent) == wanted)  # type: ignore[misc]


class RealConsulTests(WanTestCase):
    skip = missing_peers("consul")

    def test_one_pool(self) -> None:
        """Joined from either side; a kill shows as failed, a leave as left, and a restart finds back."""
        ours = self.ours(1, "dc1")
        theirs, process = self.theirs(2, "dc2", "-retry-join-wan", f"{BLOCK}.1")
        self.see({"n1.dc1": ALIVE, "n2.dc2": ALIVE}, ours, theirs)
        third, _ = self.theirs(3, "dc3")
        ours.put(f"agent/join/{BLOCK}.3?wan=1")
        everybody = {"n1.dc1": ALIVE, "n2.dc2": ALIVE, "n3.dc3": ALIVE}
        self.see(everybody, ours, theirs, third)
        self.assertEqual(sorted(theirs.get("catalog/datacenters")), ["dc1", "dc2", "dc3"])
        self.assertEqual(ours.get("catalog/datacenters")[0], "dc1")
        (tags,) = (m["Tags"] for m in third.get("agent/members?wan=1") if m["Name"] == "n1.dc1")
        self.assertEqual((tags["dc"], tags["role"], tags["port"]), ("dc1", "consul", "8300"))
        eventually(lambda: len(third.get("coordinate/datacenters")) == 3)

        ours.kill()
        self.see(everybody | {"n1.dc1": FAILED}, theirs, third)
        ours.start()
        self.see(everybody, ours, theirs, third)
        process.kill()
        self.see(everybody | {"n2.dc2": FAILED}, ours, third)
        ours.put("agent/leave")
        self.see(everybody | {"n1.dc1": LEFT, "n2.dc2": FAILED}, third)
        self.assertEqual(ours.wait(), 0)

    def test_keys(self) -> None:
        """The WAN pool's keys are changed from our side; a wrong key is refused."""
        ours = self.ours(1, "dc1", f"-encrypt={KEY}")
        theirs, _ = self.theirs(2, "dc2", f"-encrypt={KEY}")
        theirs.put(f"agent/join/{BLOCK}.1?wan=1")
        self.see({"n1.dc1": ALIVE, "n2.dc2": ALIVE}, ours, theirs)
        wrong, _ = self.theirs(3, "dc3", f"-encrypt={NEW}")
        self.assertEqual(wrong.request("PUT", f"agent/join/{BLOCK}.1?wan=1")[0], 500)
        self.assertEqual(ours.request("PUT", f"agent/join/{BLOCK}.3?wan=1")[0], 500)
        # It also asks for the LAN of dc2, which only its own kind can do; the WAN is changed all the same.
        ours.request("POST", "operator/keyring", {"Key": NEW})
        path = os.path.join(self.folder, "real2", "serf", "remote.keyring")

        def kept() -> bool:
            with open(path, encoding="ascii") as file:
                return bool(json.load(file) == [KEY, NEW])

        eventually(kept)


class OwnTests(WanTestCase):
    def test_two_datacenters(self) -> None:
        """Requests, keys and distances across; then one datacenter is taken away."""
        near = self.ours(1, "dc1", f"-encrypt={KEY}")
        far = self.ours(2, "dc2", f"-encrypt={KEY}", "-retry-join-wan", f"{BLOCK}.1")
        client = Agent(
            self, self.folder, f"{BLOCK}.5", "c5", "-retry-join", f"{BLOCK}.1", f"-encrypt={KEY}"
        ).start()
        self.see({"n1.dc1": ALIVE, "n2.dc2": ALIVE}, near, far)
        eventually(lambda: client.get("catalog/datacenters") == ["dc1", "dc2"])
        self.assertEqual(client.put("kv/a?dc=dc2", b"there"), b"true")
        self.assertEqual(far.request("GET", "kv/a?raw"), (200, b"there"))
        self.assertEqual(near.request("GET", "kv/a")[0], 404)
        nodes = client.get("catalog/nodes?dc=dc2")
        self.assertEqual([node["Node"] for node in nodes], ["n2"])
        error = client.request("GET", "kv/a?dc=nowhere")
        self.assertEqual(error, (500, b"rpc error making call: No path to datacenter"))
        self.assertIsNone(client.get("agent/members?wan=1"))

        self.assertEqual(near.request("POST", "operator/keyring", {"Key": NEW}), (200, b""))
        pools = far.get("operator/keyring")
        shown = [(pool["WAN"], pool["Datacenter"], sorted(pool["Keys"].values())) for pool in pools]
        self.assertEqual(shown, [(True, "dc2", [2, 2]), (False, "dc2", [1, 1]), (False, "dc1", [2, 2])])
        far.kill(signal.SIGKILL)
        self.see({"n1.dc1": ALIVE, "n2.dc2": FAILED}, near)
        status, text = near.request("GET", "kv/a?dc=dc2")
        self.assertEqual((status, text[:29]), (500, b"rpc error getting client: n2."))
        near.put("agent/force-leave/n2.dc2?wan=1")
        self.see({"n1.dc1": ALIVE, "n2.dc2": LEFT}, near)
        self.assertEqual(near.get("catalog/datacenters"), ["dc1"])
