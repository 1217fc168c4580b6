"""Reads that wait for a change: parked on what they read, with one coarse timer for all.

If one write wakes many of them, they look by turns what has become of what they read, so that neither the
writer nor anybody else waits for them. A look finds whatever is there by then, so none misses a change.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pyconsul.agent.forwarding import QUERY_TIMES_S, blocking_time_s, shared_time_s
from pyconsul.endpoints.base import Method, Read
from pyconsul.net.wheel import Wheel
from pyconsul.state.watches import Watches

LOOK_AT_ONCE_MAX = 16
LOOKS_TURN_S = 0.002


class Parking:
    """Where blocking reads wait.

    :param answer: makes the reply of a ``Read`` complete (index, leader, consistency).
    :param leave: asked on each wake-up, with the time at which the wait ends; a Deferred of the reply
        if the request must go elsewhere (this server no longer leads), else ``None``.
    :param times: the default and the longest wait, in seconds.
    :ivar count: how many are parked.
    """

    def __init__(
        self,
        watches: Watches,
        wheel: Wheel,
        clock: IReactorTime,
        rng: Random,
        answer: Callable[[Read, Any], Any],
        leave: Callable[[Method, Any, float], Deferred[Any] | None],
        times: tuple[float, float] = QUERY_TIMES_S,
    ) -> None:
        self.watches = watches
        self.wheel = wheel
        self._clock = clock
        self.rng = rng
        self.answer = answer
        self.leave = leave
        self.times = times
        self.count = 0
        self.releasing = False
        self._woken: deque[_Parked] = deque()

    def release(self) -> None:
        """Answer all that are parked: indexes may have gone back, so that they would wait for ever."""
        self.releasing = True
        try:
            self.wake_all()
        finally:
            self.releasing = False

    def wake_all(self) -> None:
        """Have all look now."""
        self.watches.wake_all()
        while self._woken:
            self._look()

    def woke(self, parked: _Parked) -> None:
        """Have ``parked`` look, now or when it is its turn."""
        if self.watches.waking <= LOOK_AT_ONCE_MAX or self.releasing:
            parked.look()
            return
        parked.woken = True
        self._woken.append(parked)
        if len(self._woken) == 1:
            self._clock.callLater(0, self._turn)

    def _look(self) -> None:
        parked = self._woken[0]
        try:
            if parked.woken:
                parked.woken = False
                parked.look()
        finally:
            self._woken.popleft()

    def _turn(self) -> None:
        until = self._clock.seconds() + LOOKS_TURN_S
        try:
            while self._woken:
                self._look()
                if self._clock.seconds() >= until:
                    return
        finally:
            if self._woken:
                self._clock.callLater(0, self._turn)

    def park(self, method: Method, request: Any, read: Read, now: float) -> Deferred[Any]:
        """Wait until the result's index is above ``request.min_query_index``, or the time is over."""
        wait_s = blocking_time_s(request, *self.times)
        parked = _Parked(self, method, request, read)
        self.count += 1
        parked.until = now + wait_s + (1.0 + self.rng.random()) * shared_time_s(wait_s)
        parked.slot = self.wheel.add(parked, parked.until - now)
        self.watches.register(read.watch, parked)
        return parked.deferred


class _Parked:
    """One parked request. Its identity is what the watches and the wheel know."""

    __slots__ = (
        "deferred", "elsewhere", "lot", "method", "read", "request", "slot", "until", "watch", "woken",
    )  # fmt: skip

    def __init__(self, lot: Parking, method: Method, request: Any, read: Read) -> None:
        self.lot = lot
        self.method = method
        self.request = request
        self.read = read
        self.slot = 0
        self.until = 0.0
        self.watch: Any = read.watch
        self.elsewhere: Deferred[Any] | None = None
        self.woken = False
        self.deferred: Deferred[Any] = Deferred(self._gone)

    def wake(self) -> None:
        """Something that was read has changed; the watches have forgotten us."""
        self.lot.woke(self)

    def look(self) -> None:
        """See what has become of it."""
        answer: Any = None
        try:
            elsewhere = self.lot.leave(self.method, self.request, self.until)
            if elsewhere is None:
                read = self.read = self.method.call(self.request)
                if read.index > self.request.min_query_index or read.at_once or self.lot.releasing:
                    answer = self.lot.answer(read, self.request)
        except Exception:  # a bug, unless it is a PyconsulError: whoever waits hears of it either way
            self._unpark()
            self.deferred.errback()
            return
        if elsewhere is not None:
            self._unpark()
            self.elsewhere = elsewhere
            elsewhere.chainDeferred(self.deferred)
        elif answer is not None:
            self._unpark()
            self.deferred.callback(answer)
        else:
            self.watch = self.read.watch
            self.lot.watches.register(self.watch, self)

    def expire(self) -> None:
        """The time is over: the same data again."""
        if self.woken:  # and its turn has not come
            self.woken = False
            self.look()
            if self.elsewhere is not None:
                return
        if self.deferred.called:  # or cancelled by one that expired in the same turn of the wheel
            return
        self.lot.watches.cancel(self.watch, self)
        self.lot.count -= 1
        self.deferred.callback(self.lot.answer(self.read, self.request))

    def _unpark(self) -> None:
        self.lot.count -= 1
        self.lot.wheel.remove(self, self.slot)

    def _gone(self, _: object) -> None:
        """Whoever asked went away."""
        if self.elsewhere is not None:
            self.elsewhere.cancel()
            return
        self.woken = False
        self.lot.watches.cancel(self.watch, self)
        self._unpark()
