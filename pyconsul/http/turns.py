"""Whose turn it is: work on large answers goes on little by little, fairly among all of them.

Whoever has something to do that would take long does one small step at a time. In each turn of the
reactor there is one step at least. There are more as long as they take no more time in sum than everything
else did since the last turn, and never much more than ``TURN_S``. So whoever asks for little waits hardly
any longer, however many large answers are made.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IReactorTime

TURN_S = 0.001


class Work(Protocol):
    """What takes many steps, each of less than a millisecond."""

    def step(self) -> bool:
        """Do one; whether there are more to be done now. Never raises."""


class Turns:
    """Those who have something to do, in the order in which they come up."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: dict[Work, None] = {}
        self._is_due = False
        self._since = 0.0

    def add(self, work: Work) -> None:
        """Have ``work`` take its turns until it has no more steps; it does no harm to add it again."""
        self._waiting[work] = None
        if not self._is_due:
            self._is_due = True
            self._since = self._clock.seconds()
            self._clock.callLater(0, self._turn)

    def drop(self, work: Work) -> None:
        """Forget ``work``."""
        self._waiting.pop(work, None)

    def _turn(self) -> None:
        waiting, clock = self._waiting, self._clock
        begun = clock.seconds()
        until = begun + min(begun - self._since, TURN_S)
        while waiting:
            work = next(iter(waiting))
            del waiting[work]
            if work.step():
                waiting[work] = None
            if clock.seconds() >= until:
                break
        self._is_due = bool(waiting)
        if waiting:
            self._since = clock.seconds()
            clock.callLater(0, self._turn)
