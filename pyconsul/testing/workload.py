"""Clients of a simulated world: they read and write a few keys and write down what they are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from pyconsul.errors import NoLeader, NotSent, PyconsulError
from pyconsul.testing.clock import SimCall
from pyconsul.testing.history import (
    CAS,
    CONSISTENT,
    DEFAULT,
    DELETE,
    DELETE_CAS,
    GET,
    PUT,
    STALE,
    History,
    Operation,
)  # fmt: skip
from pyconsul.testing.kernel import Process, SimNode, Simulation

P = TypeVar("P", bound=Process)
Version = Any
"""What a get returns beside the value, and a cas needs: Consul's ModifyIndex."""

Perform = Callable[[P, Operation, Version], Any]
"""Does an operation at a process, as a program on its machine would. Gives, or fires with, a pair
of value and version for a get, and whether it was done for anything else."""

HOP_S = 0.0002
KINDS = (PUT, GET, CAS, DELETE, DELETE_CAS)
MODES = (DEFAULT, CONSISTENT, STALE)
CONDITIONAL = (CAS, DELETE_CAS)


@dataclass(frozen=True, slots=True)
class Load:
    """How much the clients do.

    :ivar think_s: mean time from an answer to the next operation of the client.
    :ivar timeouts_s: after which a client no longer waits, and does not know the outcome; the clients
        have them in turn. The impatient go on elsewhere while a server hangs.
    :ivar weights: of put, get, cas, delete and delete-cas.
    :ivar modes: weights of default, consistent and stale among the gets.
    """

    clients: int = 5
    keys: int = 10
    think_s: float = 0.3
    timeouts_s: tuple[float, ...] = (15.0, 1.5)
    weights: tuple[float, ...] = (3.0, 5.0, 2.5, 0.4, 0.4)
    modes: tuple[float, ...] = (2.0, 1.5, 1.5)


LOAD = Load()


class Clients(Generic[P]):
    """Runs the load against random nodes; what was told is in ``history``.

    :param at_leader: how much of it goes to nodes that lead, for processes that do not forward.
    :ivar acknowledged: how many writes were.
    """

    def __init__(
        self,
        world: Simulation[P],
        rng: Random,
        perform: Perform[P],
        load: Load = LOAD,
        at_leader: float = 0.0,
    ) -> None:
        self.history = History()
        self.acknowledged = 0
        self.waiting = 0
        self.world = world
        self.rng = rng
        self.perform = perform
        self.load = load
        self.at_leader = at_leader
        self.keys = [f"k{number}" for number in range(load.keys)]
        self.running = False
        self._probes = 0
        self._clients = [_Client(self, number) for number in range(1, load.clients + 1)]

    def start(self) -> None:
        """Begin."""
        self.running = True
        for client in self._clients:
            client.think()

    def stop(self) -> None:
        """Begin nothing new."""
        self.running = False

    def choose(self, mode: str = "") -> SimNode[P]:
        """The node for the next operation; stale reads may go to any."""
        leaders = self.world.leaders() if mode != STALE and self.rng.random() < self.at_leader else []
        return self.rng.choice(leaders or self.world.nodes)

    def probe(self) -> Operation | None:
        """Write a key that nobody else uses, at some node; ``None`` if that is down."""
        node = self.choose()
        if not node.up:
            return None
        self._probes += 1
        value = b"0.%d" % self._probes
        operation = self.history.invoke(0, PUT, f"probe/{self._probes}", value)
        _Request(None, self, node, operation, None)
        return operation


_UNKNOWN: tuple[bytes | None, Version] = (None, None)


class _Client(Generic[P]):
    """One after the other: an operation, a pause."""

    def __init__(self, clients: Clients[P], number: int) -> None:
        self._clients = clients
        self._number = number
        self._versions: dict[str, tuple[bytes | None, Version]] = {}
        self._count = 0

    def think(self) -> None:
        """Begin the next operation after a while."""
        clients = self._clients
        delay_s = clients.rng.expovariate(1.0 / clients.load.think_s)
        clients.world.clock.root.callLater(delay_s, self._next)

    def _next(self) -> None:
        clients = self._clients
        if not clients.running:
            return
        rng = clients.rng
        key = rng.choice(clients.keys)
        kind = rng.choices(KINDS, clients.load.weights)[0]
        known, version = self._versions.get(key, _UNKNOWN)
        if (kind == CAS and version is None) or (kind == DELETE_CAS and not version):
            kind = GET
        mode = rng.choices(MODES, clients.load.modes)[0] if kind == GET else ""
        node = clients.choose(mode)
        if not node.up:
            self.think()
            return
        value = None
        if kind in (PUT, CAS):
            self._count += 1
            value = b"%d.%d" % (self._number, self._count)
        expected = known if kind in CONDITIONAL else None
        server = f"{node}#{node.starts}" if mode == STALE else ""
        operation = clients.history.invoke(self._number, kind, key, value, expected, mode, server)
        _Request(self, clients, node, operation, version)

    def done(self, operation: Operation, version: Version) -> None:
        """An operation ended, one way or the other."""
        if operation.kind == GET and isinstance(operation.result, bytes | None):
            self._versions[operation.key] = (operation.result, version)
        elif operation.kind in CONDITIONAL:
            self._versions.pop(operation.key, None)
        self.think()


class _Request(Generic[P]):
    """An operation on its way to a process and back; the way back ends with the process."""

    def __init__(
        self,
        client: _Client[P] | None,
        clients: Clients[P],
        node: SimNode[P],
        operation: Operation,
        version: Version,
    ) -> None:
        self._client = client
        self._clients = clients
        self._operation = operation
        self._version = version
        assert node.process is not None
        self._process = node.process
        self._clock = node.clock
        self._over = False
        clients.waiting += 1
        clock = clients.world.clock
        timeouts_s = clients.load.timeouts_s
        timeout_s = timeouts_s[operation.client % len(timeouts_s)]
        self._timer: SimCall = clock.post(timeout_s, clock.root, self._end, (None,))
        clock.post(HOP_S, node.clock, self._arrive, ())

    def _arrive(self) -> None:
        try:
            answer = self._clients.perform(self._process, self._operation, self._version)
        except PyconsulError as error:
            self._reply(Failure(error))
        else:
            if isinstance(answer, Deferred):
                answer.addBoth(self._reply)
            else:
                self._reply(answer)

    def _reply(self, answer: Any) -> None:
        if isinstance(answer, Failure) and not isinstance(answer.value, PyconsulError | CancelledError):
            self._clients.world.failures.append(answer.getTraceback())
        clock = self._clients.world.clock
        if not self._clock.state:  # it neither crashed nor is it paused
            clock.post(HOP_S, clock.root, self._end, (answer,))

    def _end(self, answer: Any) -> None:
        """Write down the answer; ``None``: there was none."""
        if self._over:
            return
        self._over = True
        clients, operation = self._clients, self._operation
        clients.waiting -= 1
        if self._timer.active():
            self._timer.cancel()
        client = self._client
        if isinstance(answer, Failure) and isinstance(answer.value, NoLeader | NotSent):
            clients.history.not_done(operation)  # they promise that nothing was done
        if answer is None or isinstance(answer, Failure):
            if client is not None:
                client.think()
            return
        result, version = answer if operation.kind == GET else (answer, 0)
        if operation.kind != GET:
            clients.acknowledged += 1
        clients.history.returned(operation, result, version)
        if client is not None:
            client.done(operation, version)
