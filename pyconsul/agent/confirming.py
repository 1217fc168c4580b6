"""Reads that wait: for a majority to confirm this leader, and for an entry to be applied."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pyconsul.errors import PyconsulError, Refused
from pyconsul.interfaces import Waiter
from pyconsul.raft import events

WAITING_MAX = 100_000


class Confirming:
    """Questions whether this server still leads; whoever asks in one turn of the reactor shares one.

    :param feed: gives the question to the core, unless this server takes no part any more.
    """

    def __init__(self, clock: IReactorTime, feed: Callable[[events.ConfirmLeadership], None]) -> None:
        self._clock = clock
        self._feed = feed
        self._asked: dict[int, list[Deferred[int]]] = {}
        self._gathering: list[Deferred[int]] | None = None
        self._count = 0
        self._next_token = 1

    def ask(self) -> Deferred[int]:
        """Fires with the index that a read needs; fails with what ``fail`` is given."""
        deferred: Deferred[int] = Deferred()
        if self._count >= WAITING_MAX:
            deferred.errback(Refused("too many reads are waiting; try again later"))
            return deferred
        if self._gathering is None:
            self._gathering = []
            self._clock.callLater(0, self._turn_ends)
        self._gathering.append(deferred)
        self._count += 1
        return deferred

    def _turn_ends(self) -> None:
        waiting, self._gathering = self._gathering, None
        if waiting:
            token = self._next_token
            self._next_token += 1
            self._asked[token] = waiting
            self._feed(events.ConfirmLeadership(token))

    def answered(self, token: int) -> list[Deferred[int]]:
        """Those who waited for the answer to ``token``, which are the caller's to fire now."""
        waiting = self._asked.pop(token, [])
        self._count -= len(waiting)
        return waiting

    def fail(self, error: Callable[[], PyconsulError]) -> None:
        """Nobody will be answered any more."""
        asked, self._asked = self._asked, {}
        gathering, self._gathering = self._gathering or [], None
        self._count = 0
        fail_all((deferred for waiting in asked.values() for deferred in waiting), error)
        fail_all(gathering, error)


class Applied:
    """Who waits for an entry to be applied here; in the order of the entries."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()

    def wait(self, index: int) -> Deferred[None]:
        """Fires once ``index``, no lower than that of anybody before, is applied."""
        deferred: Deferred[None] = Deferred()
        self._waiting.append((index, deferred))
        return deferred

    def reached(self, index: int) -> None:
        """Everything up to ``index`` is applied."""
        while self._waiting and self._waiting[0][0] <= index:
            self._waiting.popleft()[1].callback(None)

    def fail(self, error: Callable[[], PyconsulError]) -> None:
        """Nothing will be applied here any more."""
        waiting, self._waiting = self._waiting, deque()
        fail_all((deferred for _, deferred in waiting), error)


def fail_all(waiters: Iterable[Waiter], error: Callable[[], PyconsulError]) -> None:
    """Tell each of them an error of its own, but for Deferreds that have been cancelled."""
    for waiter in list(waiters):
        if not getattr(waiter, "called", False):
            waiter.errback(error())
