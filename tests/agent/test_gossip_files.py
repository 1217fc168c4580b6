"""Whole agents that keep their gossip pool and its keys on a disk."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.client import ClientAgent
from pyconsul.agent.environment import Environment
from pyconsul.agent.keyring import LAN_FILE, open_keyring
from pyconsul.agent.server import ServerAgent
from pyconsul.serf.members import Status
from pyconsul.storage.memory import MemoryStorage
from pyconsul.structs.keyring import INSTALL, LIST, REMOVE, USE, KeyringRequest
from pyconsul.testing.disk import SimDisk
from tests.agent.world import World, node_id

A, B = "pUqJrVyVRj5jsiYEkM/tFQ==", "WWlGcrVWY3o9rOQoFYX/kg=="


class DiskWorld(World):
    """Nodes keep their disks over restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.disks: dict[int, SimDisk] = {}

    def environment(self, number: int, server: bool = True) -> Environment:
        found = super().environment(number, server)
        disk = self.disks.setdefault(number, SimDisk(found.clock, Random(number), lambda rng: 0.001))
        disk.attach(found.clock)
        disk.make_folder("raft")
        return replace(found, disk=disk)

    def boot(self, number: int, **settings: Any) -> ServerAgent | ClientAgent:
        """A node that starts, as ``make_agent`` makes it; the first one is a server."""
        environment = self.environment(number, number == 1)
        config = self.config(number, server=number == 1, bootstrap_expect=int(number == 1), **settings)
        keyring = open_keyring(environment.disk, LAN_FILE, config.encrypt, not config.disable_keyring_file)
        agent: ServerAgent | ClientAgent
        if number == 1:
            agent = ServerAgent(config, environment, node_id(number), MemoryStorage(), keyring)
        else:
            agent = ClientAgent(config, environment, node_id(number), keyring)
        self.agents.append(agent)
        agent.startService()
        return agent

    def crash(self, agent: ServerAgent | ClientAgent) -> None:
        """End a process; what it had written and not synced is still there."""
        self.kill(agent)
        self.disks[int(agent.node_name[1:])].crash(power_cut=False)

    def text(self, number: int, path: str) -> str:
        """What a file of a node holds."""
        file = self.disks[number].open(path)
        return file.read(file.size(), 0).decode()


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = DiskWorld()
        self.addCleanup(self.world.stop)

    def alive(self, agent: ServerAgent | ClientAgent) -> list[str]:
        return sorted(member.name for member in agent.members() if member.status is Status.ALIVE)

    def test_found_again(self) -> None:
        """A client that is started again needs no address to join."""
        server = self.world.boot(1)
        client = self.world.boot(2, retry_join=("10.0.0.1",))
        self.world.until(lambda: self.alive(server) == ["n1", "n2"])
        self.world.run_for(2.0)
        self.assertIn("alive: n1 10.0.0.1:8301\n", self.world.text(2, "serf/local.snapshot"))
        self.world.crash(client)
        again = self.world.boot(2)
        self.world.until(lambda: self.alive(again) == ["n1", "n2"], 5.0)
        self.assertEqual(self.alive(server), ["n1", "n2"])

    def sees_both(self, agent: ServerAgent | ClientAgent, name: str) -> bool:
        return self.alive(agent) == ["n1", name]

    def test_not_after_a_leave(self) -> None:
        """Unless that is wanted."""
        self.world.boot(1)
        for number, wanted in ((2, False), (3, True)):
            name = f"n{number}"
            settings: dict[str, Any] = {"rejoin_after_leave": wanted}
            client = self.world.boot(number, retry_join=("10.0.0.1",), **settings)
            self.world.until(partial(self.sees_both, client, name))
            left = client.leave()
            self.world.run_for(15.0)
            self.successResultOf(left)
            client.stopService()
            self.world.crash(client)
            again = self.world.boot(number, **settings)
            self.world.run_for(10.0)
            self.assertEqual(self.alive(again), ["n1", name] if wanted else [name])
            again.stopService()
            self.world.crash(again)

    def test_events_are_not_heard_twice(self) -> None:
        server = self.world.boot(1)
        client = self.world.boot(2, retry_join=("10.0.0.1",))
        self.world.until(lambda: self.alive(server) == ["n1", "n2"])
        server.pool.fire_event("consul:event:x", b"\x82\xa2ID\xa1u\xa1n\xa1x")
        self.world.run_for(2.0)
        self.assertEqual(len(client.events.list()[1]), 1)
        self.world.crash(client)
        again = self.world.boot(2)
        self.world.run_for(90.0)
        self.assertEqual((self.alive(again), again.events.list()[1]), (["n1", "n2"], []))

    def operation(self, server: ServerAgent | ClientAgent, operation: str, key: str = "") -> Any:
        """The response of the one pool."""
        done = server.ask("Internal.KeyringOperation", KeyringRequest(operation=operation, key=key))
        self.world.run_for(1.0)
        (response,) = self.successResultOf(done).responses
        return response

    def test_keys(self) -> None:
        """A rotation reaches all files; a restart needs no key in the configuration."""
        server = self.world.boot(1, encrypt=A)
        client = self.world.boot(2, encrypt=A, retry_join=("10.0.0.1",))
        self.world.until(lambda: self.alive(server) == ["n1", "n2"])
        for operation, key in ((INSTALL, B), (USE, B), (REMOVE, A)):
            response = self.operation(server, operation, key)
            self.assertEqual((response.error, response.num_nodes), ("", 2))
        for number in (1, 2):
            self.assertEqual(self.world.text(number, LAN_FILE), f'[\n  "{B}"\n]')
        self.world.crash(client)
        again = self.world.boot(2)
        self.world.until(lambda: self.alive(again) == ["n1", "n2"], 5.0)
        self.assertEqual(self.operation(server, LIST).keys, {B: 2})

    def test_keys_in_memory(self) -> None:
        server = self.world.boot(1, encrypt=A, disable_keyring_file=True)
        self.world.until(lambda: isinstance(server, ServerAgent) and server.raft.ready)
        self.assertEqual(self.operation(server, INSTALL, B).error, "")
        self.assertEqual(self.operation(server, LIST).keys, {B: 1, A: 1})
        self.assertNotIn("local.keyring", self.world.disks[1].list("serf"))

    def test_not_encrypted(self) -> None:
        server = self.world.boot(1)
        self.world.until(lambda: isinstance(server, ServerAgent) and server.raft.ready)
        response = self.operation(server, LIST)
        self.assertEqual(response.messages, {"n1": "Keyring is empty (encryption not enabled)"})
