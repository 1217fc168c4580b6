"""Virtual time: one heap for a whole simulated world, and a view of it for each node.

``twisted.internet.task.Clock`` sorts all calls at each ``callLater``; a world makes some ten
thousand a second. Calls at the same time run in the order in which they were made, so a run
depends on nothing but its inputs.

World times lie on a grid of about a microsecond, and a call never runs early: code that waits for
a deadline and looks at the clock again has certainly reached it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from math import ceil
from random import Random
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

GRID = 2.0**20
"""Ticks in a second; a power of two, so that every tick is an exact float."""

RUNNING = 0
PAUSED = 1
KILLED = 2

_CALLED = -1
_CANCELLED = -2


@implementer(IDelayedCall)
class SimCall:
    """A call to be made at a world time (``IDelayedCall``).

    :ivar own: the process asked for it, as for a timer; others come from outside, as packets do.
    """

    __slots__ = ("args", "clock", "func", "kwargs", "own", "ticket", "time")

    def __init__(
        self,
        time: float,
        ticket: int,
        clock: NodeClock,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.time = time
        self.ticket = ticket
        self.clock = clock
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.own = False

    def getTime(self) -> float:
        """When the call is due, on the clock on which it was made."""
        return self.clock.local(self.time)

    def cancel(self) -> None:
        """Do not make the call."""
        self._check()
        self.ticket = _CANCELLED
        self.args = ()
        self.kwargs = {}

    def delay(self, secondsLater: float) -> None:
        """Make the call later than was planned."""
        self._check()
        self.clock.world.move(self, self.time + secondsLater / self.clock.rate)

    def reset(self, secondsFromNow: float) -> None:
        """Make the call after this many seconds, whatever was planned."""
        self._check()
        self.clock.world.move(self, self.clock.world.now + secondsFromNow / self.clock.rate)

    def active(self) -> bool:
        """Whether the call is still to be made."""
        return self.ticket >= 0

    def _check(self) -> None:
        if self.ticket == _CALLED:
            raise AlreadyCalled
        if self.ticket == _CANCELLED:
            raise AlreadyCancelled


class SimClock:
    """The time of a world.

    :ivar now: seconds since the start.
    :ivar events: how many calls have been made.
    :ivar trace: gets the time and the ticket of every call made, if set.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        self.trace: Callable[[float], object] | None = None
        self._heap: list[tuple[float, int, SimCall]] = []
        self._next_ticket = 0
        self.root = NodeClock(self)
        """The clock of what belongs to no node."""

    def post(
        self,
        delay: float,
        clock: NodeClock,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None = None,
    ) -> SimCall:
        """Make a call on behalf of the node that has ``clock``, ``delay`` world seconds from now."""
        ticket = self._next_ticket
        self._next_ticket = ticket + 1
        call = SimCall(self._due(self.now + delay), ticket, clock, func, args, kwargs or {})
        heappush(self._heap, (call.time, ticket, call))
        return call

    def move(self, call: SimCall, time: float) -> None:
        """Plan ``call`` anew; its old place in the heap is void."""
        call.time = self._due(time)
        call.ticket = self._next_ticket
        self._next_ticket += 1
        heappush(self._heap, (call.time, call.ticket, call))

    def _due(self, time: float) -> float:
        """The first tick at which ``time`` is certainly over, on clocks that drift as well."""
        return ceil(time * GRID + 0.001) / GRID if time > self.now else self.now

    def step(self) -> bool:
        """Make the next call; false if there is none."""
        made = self.events
        while self._heap and self.events == made:
            self._run(self._heap[0][0], 1)
        return self.events > made

    def run_until(self, time: float) -> None:
        """Make all calls that are due up to ``time``, then be at ``time``."""
        self._run(time, -1)
        self.now = max(self.now, time)

    def _run(self, until: float, calls_max: int) -> None:
        heap = self._heap
        trace = self.trace
        while heap and heap[0][0] <= until and calls_max:
            time, ticket, call = heappop(heap)
            if call.ticket != ticket:  # cancelled or moved
                continue
            self.now = time
            clock = call.clock
            if clock.state:
                clock.hold(call)
                continue
            call.ticket = _CALLED
            self.events += 1
            calls_max -= 1
            if trace is not None:
                trace(time)
                trace(ticket)
            if call.kwargs:
                call.func(*call.args, **call.kwargs)
            else:
                call.func(*call.args)

    def pending(self) -> list[SimCall]:
        """All calls to be made by nodes that are alive, in order."""
        entries = sorted((time, ticket) for time, ticket, call in self._heap if call.ticket == ticket)
        calls = {call.ticket: call for _, _, call in self._heap}
        return [calls[ticket] for _, ticket in entries if calls[ticket].clock.state != KILLED]

    def forget_killed(self) -> None:
        """Drop the calls of nodes that were killed, and what they hold on to."""
        self._heap[:] = [
            entry for entry in self._heap if entry[2].ticket == entry[1] and entry[2].clock.state != KILLED
        ]
        heapify(self._heap)


@implementer(IReactorTime)
class NodeClock:
    """The time as one process sees it (``IReactorTime``).

    When the process is killed none of its calls is ever made; while it is paused they wait.

    :param rate: local seconds in one world second.
    :param offset: what the local clock shows at world time 0.
    """

    def __init__(self, world: SimClock, rate: float = 1.0, offset: float = 0.0) -> None:
        self.world = world
        self.rate = rate
        self.offset = offset
        self.state = RUNNING
        self._held: list[SimCall] = []

    def local(self, time: float) -> float:
        """What this clock shows at the world time ``time``."""
        return time * self.rate + self.offset

    def seconds(self) -> float:
        """What this clock shows now."""
        return self.world.now * self.rate + self.offset

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kw: object) -> SimCall:
        """Call after ``delay`` local seconds."""
        call = self.world.post(delay / self.rate, self, callable, args, kw)
        call.own = True
        return call

    def getDelayedCalls(self) -> Sequence[SimCall]:
        """This process's calls that are still to be made."""
        return [call for call in self.world.pending() if call.clock is self] + [
            call for call in self._held if call.active()
        ]

    def step_by(self, seconds: float) -> None:
        """Set the clock forward or back, as an administrator or NTP may; waits are not affected."""
        self.offset += seconds

    def pause(self) -> None:
        """Stop the process, as SIGSTOP does."""
        if self.state == RUNNING:
            self.state = PAUSED

    def resume(self, rng: Random | None = None) -> None:
        """Let a paused process go on: it finds everything that came due meanwhile, in order.

        :param rng: it slept waiting for packets, so it takes those before it looks at the time; its
            connections come in a random order.
        """
        if self.state != PAUSED:
            return
        self.state = RUNNING
        held, self._held = self._held, []
        if rng is not None:
            held = _by_connection(held, rng) + [call for call in held if call.own]
        for call in held:
            if call.active():
                self.world.move(call, self.world.now)

    def kill(self) -> None:
        """End the process: none of its calls will be made."""
        self.state = KILLED
        self._held.clear()

    def hold(self, call: SimCall) -> None:
        """Keep a call that came due while the process does not run."""
        if self.state == PAUSED:
            self._held.append(call)


def _by_connection(calls: Sequence[SimCall], rng: Random) -> list[SimCall]:
    """What came from outside; a peer is told by its name in front of what it sent."""
    connections: dict[object, list[SimCall]] = {}
    for call in calls:
        if not call.own:
            peer = call.args[0] if call.args and isinstance(call.args[0], str) else call.ticket
            connections.setdefault(peer, []).append(call)
    order = list(connections.values())
    rng.shuffle(order)
    return [call for connection in order for call in connection]
