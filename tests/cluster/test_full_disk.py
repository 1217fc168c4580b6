"""A disk of 20 MB that fills under a writing load, on the only server and on one of three."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.cluster.processes import Agent, ClusterTestCase, block, eventually

SIZE = "20m"
BALLAST_BYTES = 3 << 20
"""What somebody else has on the disk, and removes when it is full."""

VALUE_BYTES = 100_000
WRITES_MAX = 400
"""More than the disk has room for."""


def small_disk(test: SynchronousTestCase, agent: Agent) -> str:
    """Give ``agent`` a data folder on a disk of its own with a ballast; the ballast's path."""
    if os.getuid() != 0:
        raise SkipTest("only root can mount a disk of 20 MB (tmpfs)")
    path = os.path.join(agent.folder, "data")
    os.makedirs(path, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", path]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        raise SkipTest(f"cannot mount a disk of 20 MB: {mounted.stderr.strip()}")

    def unmount() -> None:
        agent.kill()
        subprocess.run(["umount", path], check=True)

    test.addCleanup(unmount)
    ballast = os.path.join(path, "ballast")
    with open(ballast, "wb") as file:
        file.write(bytes(BALLAST_BYTES))
    return ballast


def value(number: int) -> bytes:
    """The value of a numbered key."""
    return b"%08d" % number * (VALUE_BYTES // 8)


class Load:
    """Writes numbered keys; knows which were acknowledged."""

    def __init__(self) -> None:
        self.number = 0
        self.acknowledged: list[int] = []

    def write(self, agent: Agent) -> tuple[int, bytes]:
        """One write by way of ``agent``."""
        self.number += 1
        status, body = agent.request("PUT", f"kv/w/{self.number}", value(self.number), 60.0)
        if (status, body) == (200, b"true"):
            self.acknowledged.append(self.number)
        return status, body

    def until(self, agent: Agent, full: Callable[[int, bytes], bool]) -> tuple[int, bytes]:
        """Write until the disk is full."""
        for _ in range(WRITES_MAX):
            answer = self.write(agent)
            if full(*answer):
                return answer
        raise AssertionError(f"{WRITES_MAX} writes, and the disk is not full")

    def missing(self, agent: Agent, query: str = "stale&raw") -> list[int]:
        """What was acknowledged and ``agent`` does not have."""
        return [n for n in self.acknowledged if agent.request("GET", f"kv/w/{n}?{query}")[1] != value(n)]


def storage_error(agent: Agent) -> str:
    """What ``agent`` says of its disk."""
    found: str = agent.get("agent/self")["Stats"]["raft"].get("storage_error", "")
    return found


class OnlyServerTests(ClusterTestCase):
    block = block(36)

    def test_full_and_back(self) -> None:
        """Writes are refused with the file and the cause, reads go on, and room brings service back."""
        server = self.make("only", f"{self.block}.7", "-server", "-bootstrap-expect", "1")
        self.agents = [server]
        ballast = small_disk(self, server)
        server.start()
        eventually(lambda: server.get("status/leader"))
        load = Load()
        status, body = load.until(server, lambda status, body: status != 200)
        self.assertEqual(status, 500)
        for text in (body.decode(), storage_error(server), server.log()):
            self.assertRegex(text, r"raft/\S+: No space left on device")
        self.assertEqual(load.missing(server), [])
        status, body = load.write(server)
        self.assertEqual(status, 500)
        self.assertRegex(body.decode(), r"No cluster leader: raft/\S+: No space left on device")
        os.unlink(ballast)
        eventually(lambda: load.write(server)[0] == 200)
        self.assertEqual(load.missing(server, "consistent&raw"), [])
        self.assertEqual(storage_error(server), "")
        self.assertIn("the log can be used again", server.log())
        self.assertNotIn("Traceback", server.log())
        server.kill()
        server.start()
        eventually(lambda: server.get("status/leader"))
        self.assertEqual(load.missing(server), [])


class OneOfThreeTests(ClusterTestCase):
    block = block(37)

    def make_leader(self, wanted: Agent) -> None:
        """Have ``wanted`` lead."""
        identity = wanted.get("agent/self")["Config"]["NodeID"]

        def leads() -> bool:
            if self.leader() is not wanted:
                self.leader().request("PUT", f"operator/raft/transfer-leader?id={identity}")
            return self.leader() is wanted

        eventually(leads)

    def full_and_back(self, leads: bool) -> None:
        small = self.servers[0]
        ballast = small_disk(self, small)
        self.start_all()
        if leads:
            self.make_leader(small)
        elif self.leader() is small:
            self.make_leader(self.servers[1])
        load = Load()
        load.until(self.client, lambda status, body: bool(storage_error(small)))
        eventually(lambda: self.leader() is not small)
        self.assertRegex(storage_error(small), r"^raft/\S+: No space left on device$")
        before = len(load.acknowledged)
        for agent in (self.client, self.servers[1], self.servers[2], small):
            eventually(lambda agent=agent: load.write(agent)[0] == 200)  # type: ignore[misc]
        eventually(lambda: load.missing(small, "raw") == [])
        known = load.acknowledged[: before // 2]
        self.assertEqual([n for n in known if small.request("GET", f"kv/w/{n}?stale")[0] != 200], [])
        eventually(lambda: not self.health(small))
        os.unlink(ballast)
        eventually(lambda: not storage_error(small))
        eventually(lambda: self.health(small))
        eventually(lambda: load.missing(small) == [])
        self.assertNotIn("Traceback", small.log())
        for server in self.servers:
            server.kill()
        for server in self.servers:
            server.start()
        for server in self.servers:
            eventually(lambda server=server: load.missing(server) == [])  # type: ignore[misc]

    def health(self, server: Agent) -> bool:
        """Whether the leader finds ``server`` healthy."""
        _, body = self.leader().request("GET", "operator/autopilot/health")  # 429 unless all are well
        rows = json.loads(body)["Servers"]
        return bool(next(row["Healthy"] for row in rows if row["Name"] == server.name))

    def test_leader(self) -> None:
        """A leader whose disk is full lets another lead; it is back once there is room."""
        self.full_and_back(leads=True)

    def test_follower(self) -> None:
        """A follower whose disk is full acknowledges nothing, and holds nobody up."""
        self.full_and_back(leads=False)
