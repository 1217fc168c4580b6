"""Who waits for changes in a simulated world: the last one of each key must reach them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from pyconsul.errors import PyconsulError
from pyconsul.testing.kernel import Process, Simulation

P = TypeVar("P", bound=Process)

Watch = Callable[[P, str, int, float], Any]
"""A blocking read of a key at a process, above an index, for so many seconds; gives, or fires
with, index and value."""

WAIT_S = 120.0
AGAIN_S = 0.5


class Watchers(Generic[P]):
    """Each watches one key at one node, again and again, through all that happens to the node."""

    def __init__(self, world: Simulation[P], rng: Random, watch: Watch[P], count: int, keys: int) -> None:
        self.world = world
        self.watch = watch
        self.running = False
        self._watchers = [
            _Watcher(self, number % len(world.nodes), f"k{rng.randrange(keys)}") for number in range(count)
        ]

    def start(self) -> None:
        """Begin to watch."""
        self.running = True
        for watcher in self._watchers:
            watcher.ask()

    def stop(self) -> None:
        """Ask no more."""
        self.running = False

    def up_to_date(self, values: dict[str, bytes | None]) -> bool:
        """Whether all have seen what the keys hold now."""
        return all(watcher.value == values[watcher.key] for watcher in self._watchers)


class _Watcher(Generic[P]):
    def __init__(self, watchers: Watchers[P], node: int, key: str) -> None:
        self.key = key
        self.value: bytes | None = None
        self._watchers = watchers
        self._node = watchers.world.nodes[node]
        self._index = 0
        self._start = 0

    def ask(self) -> None:
        """Wait at the node for the next change, or look later whether it is up."""
        if not self._watchers.running:
            return
        root = self._watchers.world.clock.root
        node = self._node
        if not node.up:
            self._index = 0
            root.callLater(AGAIN_S, self.ask)
            return
        if self._start != node.starts:
            self._start = node.starts
            root.callLater(AGAIN_S, self._look, node.starts)
        node.clock.callLater(0.0, self._ask, node.process)

    def _look(self, start: int) -> None:
        """Notice when the process that was asked has ended."""
        if self._node.starts != start or not self._node.up:
            self.ask()
        else:
            self._watchers.world.clock.root.callLater(AGAIN_S, self._look, start)

    def _ask(self, process: P) -> None:
        try:
            answer = self._watchers.watch(process, self.key, self._index, WAIT_S)
        except PyconsulError:
            self._again()
            return
        if isinstance(answer, Deferred):
            answer.addCallbacks(self._told, self._failed)
        else:
            self._told(answer)

    def _told(self, answer: tuple[int, bytes | None]) -> None:
        if not self._node.clock.state:
            index, self.value = answer
            self._index = index if index >= self._index else 0
            self._node.clock.callLater(0.001, self.ask)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(PyconsulError, CancelledError):
            self._watchers.world.failures.append(failure.getTraceback())
        self._again()

    def _again(self) -> None:
        if not self._node.clock.state:
            self._index = 0
            self._node.clock.callLater(AGAIN_S, self.ask)
