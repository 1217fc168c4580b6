"""Servers that hang, or lead no more, while somebody waits for their answer."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.client import ClientAgent
from pyconsul.agent.doubts import Doubts
from pyconsul.agent.server import ServerAgent
from pyconsul.errors import NotSent, PyconsulError, Refused, Unreachable
from pyconsul.serf.members import FAILED, MemberEvent
from tests.agent.fixture import get, noted, put
from tests.agent.world import World

HOLD_S = 7.0
"""``rpc_hold_timeout``."""


class HangingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.addCleanup(self.world.stop)
        self.leader, self.one, self.two = self.world.cluster()
        self.abandoned: list[str] = []

    def watch(self, agent: ServerAgent | ClientAgent) -> None:
        """Note whose answers an agent expects no more."""
        transport = agent.environment.rpc_transport
        real = transport.abandon

        def abandon(address: str) -> None:
            self.abandoned.append(address)
            real(address)

        transport.abandon = abandon  # type: ignore[method-assign]

    def hang(self, agent: ServerAgent) -> None:
        """Let a process stand still; its connections stay."""
        self.world.clocks[agent.config.advertise_addr].pause()

    def test_leader(self) -> None:
        """A write at it fails in time, since it may have been made; a read is answered by the next leader."""
        self.hang(self.leader)
        write, read = noted(self.one.ask("KVS.Apply", put("a"))), noted(self.two.ask("KVS.Get", get("a")))
        consistent = noted(self.one.ask("KVS.Get", get("a", require_consistent=True)))
        self.world.run_for(HOLD_S)
        self.assertIsInstance(write[0], Unreachable)
        for reads in (read, consistent):
            self.assertEqual(reads[0].entries, [])
        write = noted(self.one.ask("KVS.Apply", put("a")))
        self.world.run_for(0.5)
        self.assertEqual(write, [True])
        self.world.clocks[self.leader.config.advertise_addr].resume()
        self.world.run_for(3.0)
        write = noted(self.leader.ask("KVS.Apply", put("a")))
        self.world.run_for(0.5)
        self.assertEqual(write, [True])

    def test_server_of_a_client(self) -> None:
        """Once gossip says that it failed, and it says nothing against that, nobody waits for it."""
        client = self.world.client(9, retry_join=("10.0.0.1",))
        client.startService()
        self.watch(client)
        self.world.run_for(3.0)
        address = client._choice.current()
        assert address is not None
        server = next(s for s in (self.leader, self.one, self.two) if s.rpc_address == address)
        self.hang(server)
        write, read = noted(client.ask("KVS.Apply", put("a"))), noted(client.ask("KVS.Get", get("a")))
        self.world.until(lambda: write and self.abandoned)
        self.assertEqual(self.abandoned, [address])
        self.assertIsInstance(write[0], Unreachable)
        self.assertNotEqual(client._choice.current(), address)
        if not read:  # it is old by now, and fails like any that finds nobody for so long
            self.world.run_for(HOLD_S)
        self.assertTrue(read)

    def test_gossip_is_wrong(self) -> None:
        """Who is taken for failed and lives is waited for."""
        client = self.world.client(9, retry_join=("10.0.0.1",))
        client.startService()
        self.watch(client)
        self.world.run_for(3.0)
        index = self.leader.ask("KVS.Get", get("a")).index
        parked = noted(client.ask("KVS.Get", get("a", index, 60.0)))
        for member in client.members():
            client._heard(MemberEvent(FAILED, member))
        self.world.run_for(5.0)
        self.assertEqual((self.abandoned, parked), ([], []))
        noted(self.leader.ask("KVS.Apply", put("a")))
        self.world.run_for(1.0)
        self.assertEqual(parked[0].entries[0].key, "a")

    def test_leader_that_lives(self) -> None:
        """Who hands over has answered, or will: what waits there goes on."""
        self.watch(self.one)
        index = self.leader.ask("KVS.Get", get("a")).index
        parked = noted(self.one.ask("KVS.Get", get("a", index, 60.0)))
        self.world.run_for(0.2)
        noted(self.leader.raft.transfer(self.two.node_id))
        self.world.run_for(5.0)
        self.assertTrue(self.two.raft.ready)
        self.assertEqual((self.abandoned, parked), ([], []))
        noted(self.two.ask("KVS.Apply", put("a")))
        self.world.run_for(1.0)
        self.assertEqual(parked[0].entries[0].key, "a")


class DoubtsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pings: list[tuple[str, Deferred[object]]] = []
        self.abandoned: list[str] = []
        self.doubts = Doubts(self.ping, self.abandoned.append, "own:1")

    def ping(self, address: str) -> Deferred[object]:
        self.pings.append((address, Deferred()))
        return self.pings[-1][1]

    def leads(self, *addresses: str) -> list[str]:
        """Who is asked when one after the other leads."""
        for address in addresses:
            self.doubts.leads(address)
        return [address for address, _ in self.pings]

    def test_who_is_asked(self) -> None:
        """Whoever led and does not any more, but not this server, and nobody twice at a time."""
        self.assertEqual(self.leads("", "a:1", "a:1"), [])
        self.assertEqual(self.leads(""), ["a:1"])
        self.assertEqual(self.leads("own:1", "b:1", "a:1"), ["a:1", "b:1"])
        self.assertEqual(self.leads("c:1"), ["a:1", "b:1"])
        self.doubts.doubt("b:1")
        self.pings[0][1].callback(True)
        self.assertEqual(self.leads("a:1", ""), ["a:1", "b:1", "c:1", "a:1"])
        self.assertEqual(self.abandoned, [])

    def test_what_it_says(self) -> None:
        """Silence counts, and that it cannot be reached; an error is an answer."""
        for address in ("a:1", "b:1", "c:1"):
            self.doubts.doubt(address)
        errors: list[PyconsulError] = [Unreachable("late"), Refused("no"), NotSent("gone")]
        for (_, ping), error in zip(self.pings, errors, strict=True):
            ping.errback(error)
        self.assertEqual(self.abandoned, ["a:1", "c:1"])

    def test_bug(self) -> None:
        """It is told, and changes nothing."""
        self.doubts.doubt("a:1")
        self.pings[0][1].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.abandoned, [])
