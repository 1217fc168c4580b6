"""Pools of cores in memory, on virtual time."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.interfaces import Address
from pyconsul.swim.core import SwimCore
from pyconsul.swim.events import Leave, LeaveEnded, PushPull, PushPullEnded
from pyconsul.swim.keyring import Keyring
from pyconsul.swim.layers import Layers
from pyconsul.swim.messages import STATE_ALIVE, STATE_DEAD, STATE_LEFT
from pyconsul.swim.timing import LAN, LOCAL, Timing
from tests.swim.world import World, address_of


class ClusterTests(SynchronousTestCase):
    def _start(self, count: int, timing: Timing = LAN, keyring: Keyring | None = None) -> World:
        world = World(7)
        for number in range(count):
            self._add(world, number, timing, keyring)
        for number in range(1, count):
            world.feed(address_of(number), PushPull(1, address_of(0)))
        return world

    def _add(self, world: World, number: int, timing: Timing, keyring: Keyring | None) -> SwimCore:
        rng = Random(number)
        core = SwimCore(f"n{number}", address_of(number), timing, Layers(rng.randbytes, keyring), rng)
        world.add(f"n{number}", address_of(number), core, core.start(world.now))
        return core

    def _states(self, world: World, name: str) -> set[int]:
        """What the living say about a node."""
        found = set()
        for address, core in world.cores.items():
            node = core.nodes.get(name)
            if address not in world.cut and core.context.name != name:
                found.add(node.state if node is not None else -1)
        return found

    def _all_alive(self, world: World) -> bool:
        return all(self._states(world, name) == {STATE_ALIVE} for name in world.names.values())

    def test_converges(self) -> None:
        world = self._start(20)
        world.run(2.0)
        self.assertEqual(sum(isinstance(e, PushPullEnded) and not e.error for _, _, e in world.effects), 19)
        self.assertTrue(self._all_alive(world))

    def test_idle_pools_say_little(self) -> None:
        """One ping and one ack per node and second, and an exchange now and then."""
        world = self._start(20)
        world.run(20.0)
        before = world.packets
        world.run(10.0)
        self.assertLess(world.packets - before, 20 * 10 * 2 * 1.1)

    def test_a_crash_is_found(self) -> None:
        world = self._start(20)
        world.run(5.0)
        world.cut.add(address_of(3))
        world.run(20.0)
        self.assertEqual(self._states(world, "n3"), {STATE_DEAD})
        others = [name for name in world.names.values() if name != "n3"]
        self.assertTrue(all(self._states(world, name) == {STATE_ALIVE} for name in others))
        world.run(60.0)
        self.assertEqual(self._states(world, "n3"), {-1})

    def test_leaving(self) -> None:
        world = self._start(20)
        world.run(5.0)
        world.feed(address_of(3), Leave())
        world.run(3.0)
        self.assertEqual([name for _, name, e in world.effects if isinstance(e, LeaveEnded)], ["n3"])
        self.assertEqual(self._states(world, "n3"), {STATE_LEFT})
        world.cut.add(address_of(3))
        world.run(30.0)
        self.assertEqual(self._states(world, "n3") - {STATE_LEFT, -1}, set())

    def test_coming_back(self) -> None:
        """Restarted with incarnation 1, it hears that it is dead, and refutes."""
        world = self._start(10)
        world.run(5.0)
        world.cut.add(address_of(3))
        world.run(15.0)
        world.cut.clear()
        world._timers.pop(address_of(3), None)
        self._add(world, 3, LAN, None)
        world.feed(address_of(3), PushPull(1, address_of(0)))
        world.run(3.0)
        self.assertTrue(self._all_alive(world))
        self.assertGreater(world.cores[address_of(3)].me.incarnation, 1)

    def test_loss_kills_nobody(self) -> None:
        """A fifth of all packets lost: suspicions come and go."""
        world = self._start(20)
        world.lost = 0.2
        world.run(60.0)
        world.lost = 0.0
        world.run(20.0)
        self.assertTrue(self._all_alive(world))
        deaths = [e for _, _, e in world.effects if "has failed" in getattr(e, "text", "")]
        self.assertEqual(deaths, [])

    def test_a_split_heals(self) -> None:
        """Each side buries the other; the periodic exchange cannot help, a new join does."""
        world = self._start(6)
        world.run(5.0)
        side: list[Address] = [address_of(4), address_of(5)]
        world.cut.update(side)
        world.run(10.0)
        self.assertEqual(self._states(world, "n4"), {STATE_DEAD})
        world.cut.clear()
        for address in side:
            world._timers.pop(address, None)
            world.feed(address, PushPull(1, address_of(0)))
        world.run(10.0)
        self.assertTrue(self._all_alive(world))

    def test_encrypted(self) -> None:
        world = self._start(5, LOCAL, Keyring([b"k" * 16]))
        world.run(3.0)
        self.assertTrue(self._all_alive(world))
        stranger = self._add(world, 9, LOCAL, None)
        world.feed(address_of(9), PushPull(1, address_of(0)))
        world.run(3.0)
        self.assertEqual(len(stranger.nodes), 1)
        (error,) = [e.error for _, name, e in world.effects if name == "n9" and isinstance(e, PushPullEnded)]
        self.assertEqual(error, "Remote state is encrypted and encryption is not configured")
