"""The one loop between a pure core and the world around it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pyconsul.interfaces import Core


class Driver:
    """Feed events to a core, perform its effects in order, keep its one timer.

    :param perform: what each type of effect does. An effect without an entry is a bug.
    :param tick: the event that says a deadline has come.
    """

    def __init__(
        self,
        core: Core,
        perform: dict[type[Any], Callable[[Any], None]],
        clock: IReactorTime,
        tick: object,
    ) -> None:
        self._core = core
        self._perform = perform
        self._clock = clock
        self._tick = tick
        self._inbox: deque[object] = deque()
        self._busy = False
        self._stopped = False
        self._timer: IDelayedCall | None = None
        self._timer_at = 0.0
        self.observer: Callable[[object, Sequence[Any]], None] | None = None
        """Sees every event together with its effects before they are performed (simulation)."""

    def feed(self, event: object) -> None:
        """Handle ``event`` now, or after the one that is being handled if an effect led back here."""
        if self._stopped:
            return
        self._inbox.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._inbox and not self._stopped:
                event = self._inbox.popleft()
                effects = self._core.handle(self._clock.seconds(), event)
                if self.observer is not None:
                    self.observer(event, effects)  # type: ignore[arg-type]
                for effect in effects:
                    self._perform[type(effect)](effect)
        finally:
            self._busy = False
        self._rearm()

    def start(self) -> None:
        """Set the first timer."""
        self._rearm()

    def stop(self) -> None:
        """Drop what is queued and never call the core again."""
        self._stopped = True
        self._inbox.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rearm(self) -> None:
        """Make sure that a timer fires no later than the core's next deadline.

        A timer that fires too early just looks again: deadlines move away with nearly every
        message, and asking the reactor for a new call each time costs more than that.
        """
        if self._stopped:
            return
        deadline = self._core.next_deadline()
        if deadline is None:
            return
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._clock.callLater(max(0.0, deadline - self._clock.seconds()), self._fire)

    def _fire(self) -> None:
        self._timer = None
        deadline = self._core.next_deadline()
        if deadline is not None and deadline <= self._clock.seconds():
            self.feed(self._tick)
        else:
            self._rearm()
