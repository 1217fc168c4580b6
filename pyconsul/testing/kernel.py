"""What every simulated world has: nodes that start, crash and stall, on one clock and network."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from pyconsul.errors import StorageDamaged
from pyconsul.raft.events import PersistState, PersistTruncation
from pyconsul.testing.clock import NodeClock, SimClock
from pyconsul.testing.disk import SimDisk, flash
from pyconsul.testing.history import NEVER, Operation
from pyconsul.testing.network import CALM, Conditions, SimNetwork, Stack
from pyconsul.testing.trace import Trace

EPOCH = 1_577_836_800.0
"""The wall time at which worlds begin: 2020-01-01."""

DELICATE = frozenset((PersistState, PersistTruncation))
"""Effects after which it matters what is on the disk already."""

CLOCK_DRIFT = 0.001
"""How much faster or slower than the world's time the clock of a process may be."""

STALL_LIMIT_S = 20.0
ALIVE_WITHIN_S = 5.0
"""After everything is mended a write is acknowledged this soon, with Raft's shortest timing."""

PROBE_EVERY_S = 0.1
REMEMBERED_S = 60.0
"""For so long calls to processes that have ended may be under way, and hold on to them."""


class SimulationFailed(AssertionError):
    """Something happened that must not, or did not that must."""


class Process(Protocol):
    """What runs on a node."""

    def start(self) -> None: ...

    def stop(self) -> None:
        """End in an orderly way."""
        ...


P = TypeVar("P", bound=Process)


class SimNode(Generic[P]):
    """A machine: its disk outlives the processes on it.

    :ivar process: what runs on it; ``None`` while it is down.
    :ivar slowness: factor of all times of its disk. :ivar wiped: it is a new server on a new disk.
    :ivar rate: how fast its clock goes, from the next start on; by chance if it is 0.
    :ivar wall_offset: how far its wall clock is off, which somebody may set at any time.
    :ivar tripwire: called once, at the next moment at which a crash hurts most.
    """

    def __init__(self, number: int, clock: SimClock, rng: Random) -> None:
        self.number = number
        self.name = f"s{number}"
        self.ip = f"10.0.0.{number}"
        self.id = str(UUID(int=rng.getrandbits(128), version=4))
        self.rng = rng
        self.slowness = 1.0
        self.wiped = False
        self.rate = 0.0
        self.wall_offset = 0.0
        self.tripwire: Callable[[], None] | None = None
        self.disk = SimDisk(clock.root, rng, lambda rng: flash(rng) * self.slowness)
        self.clock = NodeClock(clock)
        self.stack: Stack | None = None
        self.process: P | None = None
        self.starts = 0

    def __repr__(self) -> str:
        return self.name

    def trip(self, effects: Iterable[object]) -> None:
        """These effects of its Raft core are about to be performed: is this such a moment?"""
        if self.tripwire is not None and any(type(effect) in DELICATE for effect in effects):
            tripwire, self.tripwire = self.tripwire, None
            tripwire()

    def wall_time(self) -> float:
        """Seconds since 1970, as this machine has it."""
        return EPOCH + self.clock.world.now + self.wall_offset

    @property
    def up(self) -> bool:
        """Whether a process runs here (it may be paused)."""
        return self.process is not None


@implementer(ILogObserver)
class Simulation(Generic[P]):
    """Nodes on one clock and one network; everything that happens follows from ``seed``.

    :param drift: how much faster or slower than the world's time clocks may be.
    :ivar log: what was done to the nodes, for people.
    :ivar failures: errors that were logged by the code under test; any is a bug.
    """

    def __init__(
        self,
        seed: int,
        nodes: int,
        conditions: Conditions = CALM,
        check_codec: bool = False,
        drift: float = CLOCK_DRIFT,
    ) -> None:
        self.seed = seed
        self.drift = drift
        self.trace = Trace()
        self.clock = SimClock()
        self.clock.trace = self.trace.note
        self.network = SimNetwork(
            self.clock, self.chance("network"), conditions, check_codec, self.trace.note
        )
        self.nodes: list[SimNode[P]] = [
            SimNode(number, self.clock, self.chance(f"node {number}")) for number in range(1, nodes + 1)
        ]
        self.log: list[str] = []
        self.failures: list[str] = []
        self._collecting = False
        self._dead_around = False
        """Whether processes that ended may still be in memory, with errors that nobody will look at."""
        self._last_end = 0.0

    def chance(self, what: str) -> Random:
        """The random numbers of one part of the world, so that parts do not shift each other's."""
        return Random(f"{self.seed} {what}")

    def note(self, text: str) -> None:
        """Log what is done to the world."""
        self.log.append(f"{self.clock.now:12.6f} {text}")

    # ------------------------------------------------------------ nodes

    def make_process(self, node: SimNode[P], stack: Stack) -> P:
        """The process for ``node``, not yet started; its clock is ``stack.clock``."""
        raise NotImplementedError

    def boot(self, node: SimNode[P]) -> None:
        """Start a process on ``node``, unless there is one.

        :raises OSError: its disk does not work. :raises StorageDamaged: or has lost something.
        """
        if node.up:
            return
        self.note(f"boot {node}")
        node.starts += 1
        drift = (2.0 * node.rng.random() - 1.0) * self.drift
        node.clock = NodeClock(self.clock, node.rate or 1.0 + drift, 100.0 * node.number)
        node.disk.attach(node.clock)
        node.stack = self.network.plug(node.ip, node.clock)
        try:
            node.process = self.make_process(node, node.stack)
        except (OSError, StorageDamaged) as error:
            self.note(f"{node} refuses to start: {error}")
            self._end(node)
            node.disk.crash(power_cut=False)
            raise
        node.process.start()

    def crash(self, node: SimNode[P], power_cut: bool = True) -> None:
        """End the process on ``node`` at once; a power cut also loses what was not synced."""
        if not node.up:
            return
        self.note(f"{'power cut of' if power_cut else 'kill'} {node}")
        self._end(node)
        node.disk.crash(power_cut)

    def stop(self, node: SimNode[P]) -> None:
        """End the process on ``node`` in an orderly way."""
        if node.process is None:
            return
        self.note(f"stop {node}")
        node.clock.resume()
        node.process.stop()
        node.disk.close()
        self._end(node)
        node.disk.crash(power_cut=False)

    def _end(self, node: SimNode[P]) -> None:
        assert node.stack is not None
        node.clock.kill()
        self.network.unplug(node.stack)
        collecting, self._collecting = self._collecting, True
        self._dead_around = True
        self._last_end = self.clock.now
        node.process = node.stack = None
        self.clock.forget_killed()
        self._collecting = collecting

    def wipe(self, node: SimNode[P]) -> None:
        """Give ``node`` a new disk and a new id: what comes up there is a server that nobody knows."""
        self.note(f"new disk for {node}")
        node.disk.wipe()
        node.id = str(UUID(int=node.rng.getrandbits(128), version=4))
        node.wiped = True

    def has_back(self, node: SimNode[P]) -> bool:
        """Whether the server on ``node`` votes, and none that was there before.

        Where new servers do not take the place of old ones, no disk rots.
        """
        return False

    def pause(self, node: SimNode[P]) -> None:
        """Stop the process on ``node`` from running, for a time."""
        self.note(f"pause {node}")
        node.clock.pause()

    def resume(self, node: SimNode[P]) -> None:
        """Let it run again."""
        self.note(f"resume {node}")
        node.clock.resume(node.rng if node.rng.random() < 0.5 else None)

    def leaders(self) -> list[SimNode[P]]:
        """The nodes that think they lead."""
        return []

    def must_live(self, probe: Callable[[], Operation | None], what: str) -> float:
        """All is mended: soon a write that begins now must be acknowledged. Returns how long it took."""
        begun = self.clock.now
        probes: list[Operation] = []
        while not any(operation.returned != NEVER for operation in probes):
            if self.clock.now - begun > ALIVE_WITHIN_S:
                raise self.failed(SimulationFailed(f"{what}: no write in {ALIVE_WITHIN_S:.0f} s"))
            operation = probe()
            if operation is not None:
                probes.append(operation)
            self.run(PROBE_EVERY_S)
        return self.clock.now - begun

    # ------------------------------------------------------------ running

    def run(self, seconds: float) -> None:
        """Let ``seconds`` pass. What goes wrong is raised, with the seed and what was done last."""
        self._guarded(lambda: self.clock.run_until(self.clock.now + seconds))

    def run_while(self, condition: Callable[[], bool], within_s: float, what: str) -> float:
        """Let time pass while ``condition`` holds; returns how much. Raises if it holds too long."""
        begun = self.clock.now
        while condition():
            if self.clock.now - begun >= within_s:
                raise self.failed(SimulationFailed(f"{what}: not within {within_s} s"))
            self.run(0.05)
        return self.clock.now - begun

    def result_of(self, deferred: Deferred[Any], within_s: float = STALL_LIMIT_S) -> Any:
        """What ``deferred`` fires with; raises what it fails with."""
        results: list[Any] = []
        errors: list[Any] = []
        deferred.addCallbacks(results.append, errors.append)
        self.run_while(lambda: not results and not errors, within_s, "an answer")
        if errors:
            errors[0].raiseException()
        return results[0]

    def _guarded(self, run: Callable[[], None]) -> None:
        globalLogPublisher.addObserver(self)
        gc.callbacks.append(self._garbage)
        try:
            run()
        except Exception as error:
            self.failed(error)
            raise
        finally:
            globalLogPublisher.removeObserver(self)
            gc.callbacks.remove(self._garbage)
        self.check_bugs()

    def check_bugs(self) -> None:
        """Raise if an endpoint or a callback failed with what is no expected error."""
        if self.network.bugs:
            raise self.failed(self.network.bugs[0])
        if self.failures:
            raise self.failed(SimulationFailed(f"logged: {self.failures[0]}"))

    def collect(self) -> None:
        """Find errors in Deferreds that nobody looks at any more."""
        self._guarded(lambda: (gc.collect(), None)[1])

    def __call__(self, event: LogEvent) -> None:
        """Watch for errors that are logged (``ILogObserver``)."""
        failure = event.get("log_failure")
        if failure is None:
            return
        if self._collecting and self._dead_around and event.get("log_namespace") == "twisted.internet.defer":
            return  # an error in a Deferred of a process that ended before it could look at it
        self.failures.append(failure.getTraceback())

    def _garbage(self, phase: str, info: dict[str, int]) -> None:
        """Know when what is found is garbage, and when there is none left (``gc.callbacks``)."""
        self._collecting = phase == "start"
        if phase == "stop" and info["generation"] == 2 and self.clock.now > self._last_end + REMEMBERED_S:
            self._dead_around = False

    def failed(self, error: BaseException) -> BaseException:
        """``error`` with what is needed to see it again."""
        last = "\n  ".join(self.log[-12:])
        error.add_note(f"seed {self.seed}, at {self.clock.now:.6f} s, event {self.clock.events}\n  {last}")
        return error
