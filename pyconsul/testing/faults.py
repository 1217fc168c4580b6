"""Trouble for a simulated world, at random but by the seed."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Generic, TypeVar

from pyconsul.errors import StorageDamaged
from pyconsul.testing.clock import SimCall
from pyconsul.testing.kernel import Process, SimNode, Simulation

P = TypeVar("P", bound=Process)


DISK_KINDS = ("disk_full", "disk_errors", "bit_rot")


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Which faults, and how often.

    :ivar gap_s: mean time from the start of one fault to the next.
    :ivar length_s: mean time that one lasts.
    :ivar weights: how often each kind is chosen, by its name in ``Faults``.
    """

    gap_s: float = 6.0
    length_s: float = 4.0
    weights: tuple[tuple[str, float], ...] = (
        ("power_cut", 2.0),
        ("kill", 1.0),
        ("kill_leader", 1.5),
        ("power_cut_many", 0.7),
        ("power_cut_when_it_hurts", 1.5),
        ("restart", 0.5),
        ("pause", 1.0),
        ("pause_leader", 1.0),
        ("isolate", 1.0),
        ("isolate_leader", 1.0),
        ("split", 1.5),
        ("one_way", 1.5),
        ("mute_leader", 0.7),
        ("deaf_leader", 0.7),
        ("bridge", 0.7),
        ("loss", 1.5),
        ("disorder", 1.5),
        ("slow_network", 1.0),
        ("slow_disk", 1.0),
        ("clock_step", 0.3),
        ("disk_full", 1.0),
        ("disk_errors", 1.5),
        ("bit_rot", 0.3),
    )


PLAN = FaultPlan()
SOUND_DISKS = FaultPlan(weights=tuple(w for w in PLAN.weights if w[0] not in DISK_KINDS))


DISK_FAULTS = ("open", "write", "sync", "read", "allocate", "rename", "remove", "sync_folder", "make_folder")
LOOK_S = 0.5


class Faults(Generic[P]):
    """Does one thing after the other to the nodes, and mends each after a while.

    :ivar counts: how often each kind was done.
    :ivar refusals: how often a server would not start, as what its disk holds is damaged.
    :ivar rotten: the one whose disk has lost something, until a new server has taken its place. One at
        a time: Raft stands the loss of a minority, and others may be down meanwhile.
    """

    def __init__(self, world: Simulation[P], rng: Random, plan: FaultPlan = PLAN) -> None:
        self.counts: Counter[str] = Counter()
        self.refusals = 0
        self.rotten: SimNode[P] | None = None
        self._world = world
        self._rng = rng
        self._plan = plan
        self._calm = world.network.conditions
        self._next: SimCall | None = None
        self._mending: dict[SimCall, Callable[[], None]] = {}

    @property
    def count(self) -> int:
        """How many faults there were."""
        return self.counts.total()

    def start(self) -> None:
        """Begin."""
        gap_s = self._rng.expovariate(1.0 / self._plan.gap_s)
        self._next = self._world.clock.root.callLater(gap_s, self._strike)

    def stop(self) -> None:
        """Mend everything: all nodes run, and all can reach each other."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        mending, self._mending = self._mending, {}
        for call in mending:
            call.cancel()
        world = self._world
        world.note("everything is mended")
        world.network.heal()
        world.network.conditions = self._calm
        for node in world.nodes:
            self._fast_again(node)
            node.tripwire = None
            node.disk.mend()
            node.clock.resume()
            self._boot(node)
        if self.rotten is not None:
            self._restart_rotten(self.rotten)

    def _strike(self) -> None:
        self.start()
        kinds = [kind for kind, _ in self._plan.weights]
        kind = self._rng.choices(kinds, [weight for _, weight in self._plan.weights])[0]
        self.counts[kind] += 1
        getattr(self, f"_{kind}")()

    def _later(self, mend: Callable[[], None], length: float = 1.0) -> None:
        """Mend after a while."""

        def due() -> None:
            del self._mending[call]
            mend()

        delay_s = 0.05 + self._rng.expovariate(1.0 / (self._plan.length_s * length))
        call = self._world.clock.root.callLater(min(delay_s, 10.0 * self._plan.length_s), due)
        self._mending[call] = mend

    def _one(self, leader: bool = False) -> SimNode[P] | None:
        """A node that is up, or one that leads."""
        nodes = self._world.leaders() if leader else [node for node in self._world.nodes if node.up]
        return self._rng.choice(nodes) if nodes else None

    # ------------------------------------------------------------ nodes

    def _down(self, node: SimNode[P] | None, power_cut: bool) -> None:
        if node is not None:
            self._world.crash(node, power_cut)
            self._later(lambda: self._boot(node), self._rng.choice((0.05, 0.5, 1.0, 2.0)))

    def _power_cut(self) -> None:
        self._down(self._one(), True)

    def _kill(self) -> None:
        self._down(self._one(), False)

    def _kill_leader(self) -> None:
        self._down(self._one(leader=True), self._rng.random() < 0.7)

    def _power_cut_many(self) -> None:
        nodes = [node for node in self._world.nodes if node.up]
        count = len(nodes) if self._rng.random() < 0.4 else self._rng.randint(0, len(nodes))
        for node in self._rng.sample(nodes, count):
            self._down(node, True)

    def _power_cut_when_it_hurts(self) -> None:
        """Soon after the next change of term, vote or log that some nodes write down; back at once."""
        world, rng = self._world, self._rng

        def strike(node: SimNode[P]) -> None:
            world.crash(node)
            self._later(lambda: self._boot(node), 0.02)

        def trip(node: SimNode[P]) -> None:
            world.clock.root.callLater(rng.choice((0.0002, 0.001, 0.005, 0.2)) * rng.random(), strike, node)

        for node in rng.sample(world.nodes, rng.randint(1, len(world.nodes))):
            world.note(f"tripwire on {node}")
            node.tripwire = partial(trip, node)

    def _restart(self) -> None:
        node = self._one()
        if node is not None:
            self._world.stop(node)
            self._later(lambda: self._boot(node), 0.2)

    def _stall(self, node: SimNode[P] | None) -> None:
        """The process does not run for a time, then goes on with what came meanwhile, old timers first."""
        if node is not None:
            self._world.pause(node)
            self._later(lambda: self._world.resume(node), self._rng.choice((0.2, 1.0)))

    def _pause(self) -> None:
        self._stall(self._one())

    def _pause_leader(self) -> None:
        self._stall(self._one(leader=True))

    def _slow_disk(self) -> None:
        node = self._rng.choice(self._world.nodes)
        self._world.note(f"slow disk of {node}")
        node.slowness = self._rng.choice((5.0, 30.0, 100.0))
        self._later(lambda: self._fast_again(node))

    def _fast_again(self, node: SimNode[P]) -> None:
        if node.slowness != 1.0:
            node.slowness = 1.0
            node.disk.hurry()

    def _clock_step(self) -> None:
        """Somebody sets the wall clock; what processes measure waits with goes on as before."""
        node = self._rng.choice(self._world.nodes)
        seconds = self._rng.choice((1.0, 60.0, 86_400.0)) * self._rng.uniform(-1.0, 1.0)
        self._world.note(f"wall clock of {node} steps by {seconds:.3f} s")
        node.wall_offset += seconds

    # ------------------------------------------------------------ disks

    def _boot(self, node: SimNode[P]) -> None:
        """Start a process; later if the disk does not work, on a new disk if it has lost something."""
        try:
            self._world.boot(node)
        except OSError:
            if node.disk.is_sound:
                raise
            self._later(lambda: self._boot(node), 0.5)
        except StorageDamaged:
            if node is not self.rotten or node.wiped:
                raise
            self.refusals += 1
            self._world.wipe(node)
            self._boot(node)

    def _disk_full(self) -> None:
        node = self._rng.choice(self._world.nodes)
        self._world.note(f"full disk of {node}")
        node.disk.full = node.disk.short_writes = True
        self._later(partial(self._mend_disk, node))

    def _disk_errors(self) -> None:
        rng, node = self._rng, self._rng.choice(self._world.nodes)
        disk = node.disk
        kinds = rng.sample(DISK_FAULTS, min(rng.choice((1, 1, 2, 9)), len(DISK_FAULTS)))
        self._world.note(f"disk of {node} fails to {kinds}")
        for kind in kinds:
            disk.faults[kind] = OSError(errno.EIO, os.strerror(errno.EIO))
        disk.fault_chance = rng.choice((0.05, 0.3, 1.0))
        disk.short_writes = rng.random() < 0.5
        self._later(partial(self._mend_disk, node))

    def _mend_disk(self, node: SimNode[P]) -> None:
        self._world.note(f"disk of {node} works")
        node.disk.mend()

    def _bit_rot(self) -> None:
        """A byte changes in what has long been durable; the next start finds out."""
        world = self._world
        node = self._one()
        if self.rotten is not None or node is None or len(world.nodes) < 3 or not world.has_back(node):
            return
        segments = [path for path, _ in node.disk.files("raft") if path.endswith(".segment")]
        last = max(segments, key=lambda path: path.rpartition("-")[2], default="")
        files = [file for file in node.disk.files("raft") if file[1] and file[0] != last]
        if not files:
            return
        path, size = self._rng.choice(files)
        self._world.note(f"bit rot in {path} of {node}")
        node.disk.damage(path, self._rng.randrange(size), 1 << self._rng.randrange(8))
        self.rotten = node
        node.wiped = False
        self._later(partial(self._restart_rotten, node), 0.5)

    def _restart_rotten(self, node: SimNode[P]) -> None:
        world = self._world
        if not node.wiped:
            world.crash(node, power_cut=False)
            self._boot(node)
            if not node.up:
                self._later(partial(self._restart_rotten, node), 0.5)
                return
        if not node.wiped:  # what is damaged is not needed now; but some day it may be
            world.crash(node, power_cut=False)
            world.wipe(node)
            self._boot(node)
        self._watch_rotten(node)

    def _watch_rotten(self, node: SimNode[P]) -> None:
        """Wait until all is as it was."""
        if self._world.has_back(node):
            self.rotten = None
        else:
            self._world.clock.root.callLater(LOOK_S, self._watch_rotten, node)

    # ------------------------------------------------------------ network

    def _cut(self, text: str, pairs: list[tuple[str, str]], both: bool) -> None:
        network = self._world.network
        self._world.note(f"cut {text}")
        for source, target in pairs:
            network.cut(source, target, both)

        def mend() -> None:
            self._world.note(f"heal {text}")
            for source, target in pairs:
                network.cuts.discard((source, target))
                if both:
                    network.cuts.discard((target, source))

        self._later(mend)

    def _alone(self, node: SimNode[P] | None) -> None:
        if node is not None:
            pairs = [(node.ip, other.ip) for other in self._world.nodes if other is not node]
            self._cut(f"{node} off", pairs, True)

    def _isolate(self) -> None:
        self._alone(self._one())

    def _isolate_leader(self) -> None:
        self._alone(self._one(leader=True))

    def _split(self) -> None:
        nodes = list(self._world.nodes)
        self._rng.shuffle(nodes)
        size = self._rng.randint(1, len(nodes) // 2) if len(nodes) > 1 else 1
        here, there = nodes[:size], nodes[size:]
        self._cut(f"{here} from {there}", [(a.ip, b.ip) for a in here for b in there], True)

    def _one_way(self) -> None:
        node = self._rng.choice(self._world.nodes)
        others = [other for other in self._world.nodes if other is not node]
        others = self._rng.sample(others, self._rng.randint(min(1, len(others)), len(others)))
        if self._rng.random() < 0.5:
            self._mute(node, others)
        else:
            self._deafen(node, others)

    def _mute(self, node: SimNode[P], others: list[SimNode[P]]) -> None:
        self._cut(f"the way from {node} to {others}", [(node.ip, other.ip) for other in others], False)

    def _deafen(self, node: SimNode[P], others: list[SimNode[P]]) -> None:
        self._cut(f"the way from {others} to {node}", [(other.ip, node.ip) for other in others], False)

    def _mute_leader(self) -> None:
        for node in self._world.leaders():
            self._mute(node, [other for other in self._world.nodes if other is not node])

    def _deaf_leader(self) -> None:
        for node in self._world.leaders():
            self._deafen(node, [other for other in self._world.nodes if other is not node])

    def _bridge(self) -> None:
        """Two halves that only one node can reach both of."""
        nodes = list(self._world.nodes)
        self._rng.shuffle(nodes)
        middle, rest = nodes[0], nodes[1:]
        here, there = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        text = f"{here} from {there}, but for {middle}"
        self._cut(text, [(a.ip, b.ip) for a in here for b in there], True)

    def _weather(self, text: str, length: float = 1.0, **changes: float) -> None:
        world = self._world
        world.note(text)
        world.network.conditions = replace(self._calm, **changes)

        def mend() -> None:
            world.note(f"no more {text}")
            world.network.conditions = self._calm

        self._later(mend, length)

    def _loss(self) -> None:
        self._weather("loss", loss=self._rng.choice((0.02, 0.1, 0.3)))

    def _disorder(self) -> None:
        self._weather("disorder", duplicate=0.1, reorder=0.3, tail=0.2, tail_s=self._rng.choice((0.05, 0.5)))

    def _slow_network(self) -> None:
        self._weather("slow network", delay_s=self._rng.choice((0.02, 0.1)), jitter_s=0.1)
