from __future__ import annotations

import contextlib
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import NotSent, StorageDamaged
from pyconsul.raft.events import PersistState, Tick
from pyconsul.testing.faults import PLAN, FaultPlan, Faults
from pyconsul.testing.kernel import SimNode, Simulation, SimulationFailed
from pyconsul.testing.network import CALM, Stack
from pyconsul.testing.transports import RpcSocket


class Counter:
    """A process that counts seconds, on its disk as well, and answers with the count."""

    def __init__(self, node: SimNode[Counter], stack: Stack, world: Counters) -> None:
        self.node = node
        self.count = 0
        self.stopped = False
        if world.sums_up and node.disk.list("raft"):
            file = node.disk.open("raft/1.segment")
            if sum(file.read(100, 0)) != 36:
                raise StorageDamaged("raft/1.segment: damaged")
        elif world.sums_up:
            node.disk.make_folder("raft")
            node.disk.open("raft/1.segment", create=True).write([bytes(range(9))], 0)
            node.disk.open("raft/2.segment", create=True)
        self.rpc = RpcSocket(stack)
        self.rpc.handler = lambda method, body: b"%d" % self.count

    def start(self) -> None:
        self.node.clock.callLater(1.0, self.turn)

    def turn(self) -> None:
        self.count += 1
        with contextlib.suppress(OSError):
            file = self.node.disk.open("count", create=True)
            file.write([b"%d" % self.count], 0)
            file.close()
        self.start()

    def stop(self) -> None:
        self.stopped = True


class Counters(Simulation[Counter]):
    """:ivar sums_up: whether the processes look at a file, so that it is noticed if that rots."""

    sums_up = False

    def make_process(self, node: SimNode[Counter], stack: Stack) -> Counter:
        return Counter(node, stack, self)

    def has_back(self, node: SimNode[Counter]) -> bool:
        return self.sums_up

    def leaders(self) -> list[SimNode[Counter]]:
        return [node for node in self.nodes[:1] if node.up]


class KernelTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = Counters(1, 3)
        self.first = self.world.nodes[0]
        self.rng = self.world.chance("faults")

    def boot(self) -> None:
        for node in self.world.nodes:
            self.world.boot(node)

    def counts(self) -> list[int]:
        return [node.process.count if node.process else -1 for node in self.world.nodes]


class SimulationTests(KernelTestCase):
    def test_nodes(self) -> None:
        """Nodes differ in name, address and id; the ids are the seed's."""
        self.assertEqual([node.name for node in self.world.nodes], ["s1", "s2", "s3"])
        self.assertEqual(self.first.ip, "10.0.0.1")
        self.assertEqual([n.id for n in Counters(1, 3).nodes], [n.id for n in self.world.nodes])
        self.assertNotEqual(Counters(2, 1).nodes[0].id, self.first.id)
        self.assertEqual(repr(self.first), "s1")

    def test_run(self) -> None:
        """Processes run, and wall time goes with the world."""
        self.assertEqual(self.first.wall_time(), 1_577_836_800.0)
        self.boot()
        self.world.boot(self.first)  # it is up already
        self.world.run(10.5)
        self.assertEqual(self.counts(), [10, 10, 10])
        self.assertEqual(self.first.wall_time(), 1_577_836_810.5)
        self.assertEqual(Simulation.leaders(self.world), [])

    def test_crash(self) -> None:
        """A crashed process does nothing more; the next one finds the disk."""
        self.boot()
        self.world.run(2.5)
        self.world.crash(self.first, power_cut=False)
        self.world.crash(self.first)  # it is down already
        self.world.run(5.0)
        self.assertEqual(self.counts(), [-1, 7, 7])
        self.world.boot(self.first)
        self.assertEqual(self.first.disk.open("count").read(9, 0), b"2")
        self.assertEqual(self.first.starts, 2)

    def test_power_cut(self) -> None:
        """What was not synced may be gone."""
        survived = 0
        for seed in range(20):
            world = Counters(seed, 1)
            world.boot(world.nodes[0])
            world.run(1.5)
            world.crash(world.nodes[0])
            survived += world.nodes[0].disk.list("") == ["count"]
        self.assertTrue(2 < survived < 18, survived)

    def test_stop(self) -> None:
        """An orderly end, even of a paused process."""
        self.boot()
        process = self.first.process
        assert process is not None
        self.world.pause(self.first)
        self.world.stop(self.first)
        self.world.stop(self.first)
        self.assertTrue(process.stopped)
        self.assertFalse(self.first.up)

    def test_pause(self) -> None:
        """A paused process stands still."""
        self.boot()
        self.world.pause(self.first)
        self.world.run(5.5)
        self.world.resume(self.first)
        self.world.run(0.1)
        self.assertEqual(self.counts(), [1, 5, 5])

    def test_calls(self) -> None:
        """Processes reach each other; ``result_of`` lets time pass until there is a result."""
        self.boot()
        self.world.run(3.5)
        caller = self.first.process
        assert caller is not None
        self.assertEqual(self.world.result_of(caller.rpc.call("10.0.0.2:8300", "Count", b"", 1.0)), b"3")
        refused = caller.rpc.call("10.0.0.9:8300", "Count", b"", 1.0)
        self.assertRaises(NotSent, self.world.result_of, refused)
        self.assertRaises(SimulationFailed, self.world.result_of, Deferred(), 1.0)

    def test_run_while(self) -> None:
        """Conditions are waited for, but not for ever."""
        self.boot()
        waited = self.world.run_while(lambda: self.counts()[0] < 2, 10.0, "two")
        self.assertTrue(2.0 <= waited < 2.2)
        error = self.assertRaises(
            SimulationFailed, self.world.run_while, lambda: True, 3.0, "the end of the world"
        )
        self.assertIn("the end of the world: not within 3.0 s", str(error))

    def test_errors_say_where(self) -> None:
        """An exception stops the run, with the seed, the time and what was done to the nodes."""
        self.boot()
        self.world.clock.root.callLater(1.0, lambda: 1 / 0)
        error = self.assertRaises(ZeroDivisionError, self.world.run, 2.0)
        [note] = error.__notes__
        self.assertIn("seed 1, at 1.00000", note)
        self.assertIn("boot s3", note)

    def test_logged_errors(self) -> None:
        """A failure that is only logged is a failure."""

        def log() -> None:
            try:
                raise KeyError("swallowed")
            except KeyError:
                Logger().failure("oops")

        self.world.clock.root.callLater(1.0, log)
        error = self.assertRaises(SimulationFailed, self.world.run, 2.0)
        self.assertIn("KeyError: 'swallowed'", str(error))
        self.flushLoggedErrors(KeyError)

    def test_endpoint_bugs(self) -> None:
        """So is an exception in an endpoint, though the caller gets an answer."""
        self.boot()
        callee = self.world.nodes[1].process
        assert self.first.process is not None and callee is not None
        callee.rpc.handler = lambda method, body: fail(KeyError("bug"))
        self.first.process.rpc.call("10.0.0.2:8300", "Count", b"", 1.0).addErrback(lambda _: None)
        self.assertRaises(KeyError, self.world.run, 1.0)

    def test_forgotten_deferreds(self) -> None:
        """``collect`` finds errors that nobody handled."""
        self.world.collect()
        self.world.clock.root.callLater(0.5, fail, KeyError("forgotten"))
        self.world.clock.root.callLater(0.5, succeed, None)

        def run() -> None:
            self.world.run(1.0)
            self.world.collect()

        error = self.assertRaises(SimulationFailed, run)
        self.assertIn("forgotten", str(error))
        self.flushLoggedErrors(KeyError)

    def test_trip(self) -> None:
        """A tripwire waits for a delicate effect, and is gone then."""
        tripped: list[int] = []
        self.first.tripwire = lambda: tripped.append(1)
        self.first.trip([Tick()])
        self.assertEqual(tripped, [])
        self.first.trip([Tick(), PersistState(1, 1, "")])
        self.first.trip([PersistState(2, 2, "")])
        self.assertEqual(tripped, [1])


class FaultsTests(KernelTestCase):
    def one(self, kind: str, length_s: float = 2.0) -> Faults[Counter]:
        """The world with one fault of a kind in it."""
        self.boot()
        plan = FaultPlan(1e6, length_s, ((kind, 1.0),))
        faults = Faults(self.world, self.rng, plan)
        getattr(faults, f"_{kind}")()
        return faults

    def mended(self) -> None:
        """After a while all is as before."""
        self.world.run(30.0)
        self.assertEqual(self.world.network.cuts, set())
        self.assertEqual(self.world.network.conditions, CALM)
        self.assertEqual([node.up for node in self.world.nodes], [True] * 3)
        self.assertEqual([node.slowness for node in self.world.nodes], [1.0] * 3)
        self.assertEqual([node.clock.state for node in self.world.nodes], [0] * 3)

    def down(self) -> int:
        return sum(not node.up for node in self.world.nodes)

    def test_ends(self) -> None:
        """Processes end, and come back."""
        for kind in ("power_cut", "kill", "restart"):
            self.one(kind)
            self.assertEqual(self.down(), 1, kind)
            self.mended()

    def test_leader(self) -> None:
        """Leaders are aimed at; without one nothing happens."""
        self.one("kill_leader")
        self.assertFalse(self.first.up)
        self.one("kill_leader", 1e-6)
        self.mended()
        faults = self.one("isolate_leader")
        self.assertEqual(len(self.world.network.cuts), 4)
        self.mended()
        self.world.crash(self.first)
        faults._isolate_leader()
        self.assertEqual(self.world.network.cuts, set())

    def test_many(self) -> None:
        """Several at once, sometimes all."""
        numbers = set()
        for _ in range(30):
            self.one("power_cut_many")
            numbers.add(self.down())
            self.mended()
        self.assertEqual(numbers, {0, 1, 2, 3})

    def test_when_it_hurts(self) -> None:
        """Some nodes are to lose power with their next change of term or vote."""
        self.one("power_cut_when_it_hurts")
        wired = [node for node in self.world.nodes if node.tripwire is not None]
        self.assertTrue(wired)
        for node in wired:
            node.trip([PersistState(1, 1, "")])
        starts = sum(node.starts for node in self.world.nodes)
        self.mended()
        self.assertEqual(sum(node.starts for node in self.world.nodes), starts + len(wired))

    def test_pause(self) -> None:
        """A process stands still for a while."""
        self.one("pause")
        self.assertEqual(sum(node.clock.state for node in self.world.nodes), 1)
        self.mended()

    def test_leaders(self) -> None:
        """What befalls those that lead."""
        self.world.leaders = lambda: self.world.nodes[:1]  # type: ignore[method-assign]
        self.one("pause_leader")
        self.assertNotEqual(self.first.clock.state, 0)
        self.mended()
        for kind, place in (("mute_leader", 0), ("deaf_leader", 1)):
            self.one(kind)
            self.assertEqual({pair[place] for pair in self.world.network.cuts}, {self.first.ip}, kind)
            self.assertEqual(len(self.world.network.cuts), 2)
            self.mended()

    def test_cuts(self) -> None:
        """Cuts of all shapes."""
        for kind, sizes in (("isolate", {4}), ("split", {4}), ("one_way", {1, 2}), ("bridge", {2})):
            self.one(kind)
            self.assertIn(len(self.world.network.cuts), sizes, kind)
            self.mended()
        found = set()
        for _ in range(20):
            self.one("one_way")
            found |= {(source, target) for source, target in self.world.network.cuts}
            self.mended()
        self.assertEqual(len(found), 6)

    def test_weather(self) -> None:
        """The network as a whole gets worse."""
        for kind in ("loss", "disorder", "slow_network"):
            self.one(kind)
            self.assertNotEqual(self.world.network.conditions, CALM, kind)
            self.mended()

    def test_disk_and_clock(self) -> None:
        """A disk gets slow, a wall clock is set."""
        self.one("slow_disk")
        self.assertTrue(any(node.slowness > 1.0 for node in self.world.nodes))
        self.mended()
        before = [node.clock.seconds() for node in self.world.nodes]
        self.one("clock_step")
        self.assertEqual([node.clock.seconds() for node in self.world.nodes], before)
        self.assertNotEqual({node.wall_time() for node in self.world.nodes}, {1_577_836_800.0})

    def test_bad_disks(self) -> None:
        """Disks fill up and fail for a while; a process that cannot start meanwhile comes later."""
        self.one("disk_full")
        self.assertEqual([node.disk.full for node in self.world.nodes].count(True), 1)
        self.mended()
        faults = self.one("disk_errors")
        [bad] = [node for node in self.world.nodes if not node.disk.is_sound]
        self.world.sums_up = True
        bad.disk.faults["list"] = OSError(5, "Input/output error")
        bad.disk.fault_chance = 1.0
        self.world.crash(bad)
        faults._boot(bad)
        self.assertFalse(bad.up)
        self.mended()
        self.assertEqual([node.disk.is_sound for node in self.world.nodes], [True] * 3)
        self.world.crash(bad)
        self.patch(self.world, "make_process", self.refuse)
        self.assertRaises(OSError, faults._boot, bad)

    def refuse(self, node: SimNode[Counter], stack: Stack) -> Counter:
        raise OSError(5, "for no reason")

    def test_rot(self) -> None:
        """A server that finds damage does not start, and a new one takes its place: one at a time."""
        self.world.sums_up = True
        identities = {node.id for node in self.world.nodes}
        faults = self.one("bit_rot")
        self.assertIsNotNone(faults.rotten)
        faults._bit_rot()
        self.assertEqual(sum("bit rot" in line for line in self.world.log), 1)
        self.mended()
        self.assertIsNone(faults.rotten)
        self.assertEqual(faults.refusals, 1)
        self.assertEqual(len(identities & {node.id for node in self.world.nodes}), 2)

    def test_rot_that_nobody_sees(self) -> None:
        """What is damaged and not needed is replaced as well, before anybody needs it."""
        self.world.sums_up = True
        faults = self.one("bit_rot")
        node = faults.rotten
        assert node is not None
        node.disk.open("raft/1.segment").write([bytes(range(9))], 0)
        faults.stop()
        self.assertEqual((faults.refusals, node.wiped, node.up), (0, True, True))

    def test_damage_is_a_bug(self) -> None:
        """Where nothing rots nothing may be damaged."""
        self.world.sums_up = True
        faults = self.one("bit_rot", 1e9)
        [other, *_] = [node for node in self.world.nodes if node is not faults.rotten]
        self.world.crash(other, power_cut=False)
        other.disk.damage("raft/1.segment", 3)
        self.assertRaises(StorageDamaged, faults._boot, other)

    def test_everything(self) -> None:
        """All kinds occur by themselves, and ``stop`` mends what is left."""
        self.boot()
        faults = Faults(self.world, self.rng, FaultPlan(gap_s=0.5, length_s=2.0))
        faults.start()
        self.world.run(300.0)
        self.assertGreater(faults.count, 400)
        faults.stop()
        faults.stop()
        count = faults.count
        self.mended()
        self.assertEqual(faults.count, count)
        for word in (
            "power cut",
            "kill",
            "stop",
            "pause",
            "cut",
            "loss",
            "disorder",
            "slow disk",
            "full disk",
            "fails to",
            "steps by",
        ):
            self.assertTrue(any(word in line for line in self.world.log), word)

    def test_plan(self) -> None:
        """Every kind that the plan names exists."""
        for kind, _ in PLAN.weights:
            self.assertTrue(callable(getattr(Faults, f"_{kind}")), kind)

    def test_nobody_left(self) -> None:
        """Faults find nobody to hit."""
        faults: Any = self.one("kill", 1e-9)
        for node in self.world.nodes:
            self.world.crash(node)
        for kind in ("power_cut", "restart", "pause", "isolate", "power_cut_many"):
            getattr(faults, f"_{kind}")()
        self.assertEqual(self.world.network.cuts, set())
