"""Tells a listener of gossip events in bursts (``pyconsul.serf.coalesce``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pyconsul.serf.coalesce import Coalescer

E = TypeVar("E")


class Gathering(Generic[E]):
    """Stands between a pool and a listener; give it as ``on_event`` or ``on_user_event``."""

    def __init__(self, coalescer: Coalescer[E], clock: IReactorTime, listener: Callable[[E], None]) -> None:
        self._coalescer = coalescer
        self._clock = clock
        self._listener = listener
        self._timer: IDelayedCall | None = None

    def __call__(self, event: E) -> None:
        """Take an event; the listener hears of it now or a little later."""
        for one in self._coalescer.take(self._clock.seconds(), event):
            self._listener(one)
        self._rearm()

    def stop(self) -> None:
        """Hold nothing back any more; what is held now is dropped."""
        self._coalescer.flush()
        self._rearm()

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._coalescer.deadline()
        if deadline is not None:
            self._timer = self._clock.callLater(max(0.0, deadline - self._clock.seconds()), self._fire)

    def _fire(self) -> None:
        self._timer = None
        for event in self._coalescer.flush():
            self._listener(event)
        self._rearm()
