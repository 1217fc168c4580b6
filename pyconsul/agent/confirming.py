"""Reads that wait: for a majority to confirm this leader, and for an entry to be applied."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pyconsul.errors import NoLeader, PyconsulError, Refused
from pyconsul.interfaces import Waiter
from pyconsul.raft import events

WAITING_MAX = 100_000
APPLIED_WITHIN_S = 1.0


class Confirming:
    """Questions whether the leader still leads; whoever asks in one turn of the reactor shares one.

    :param feed: gives the question to the core, unless this server takes no part any more.
    """

    def __init__(self, clock: IReactorTime, feed: Callable[[events.ConfirmLeadership], None]) -> None:
        self._clock = clock
        self._feed = feed
        self._asked: dict[int, list[Waiter]] = {}
        self._gathering: list[Waiter] = []
        self._leased = True
        self._count = 0
        self._next_token = 1

    def ask(self, waiter: Waiter, leased: bool) -> None:
        """Have ``waiter`` among those that are ``answered`` later.

        :param leased: see ``events.ConfirmLeadership``; one in a turn who wants more gets it for all.
        :raises Refused: if too many wait.
        """
        if self._count >= WAITING_MAX:
            raise Refused("too many reads are waiting; try again later")
        if not self._gathering:
            self._leased = True
            self._clock.callLater(0, self._turn_ends)
        self._leased = self._leased and leased
        self._gathering.append(waiter)
        self._count += 1

    @property
    def asked(self) -> int:
        """How many questions there were."""
        return self._next_token - 1

    def _turn_ends(self) -> None:
        waiting, self._gathering = self._gathering, []
        if waiting:
            token = self._next_token
            self._next_token += 1
            self._asked[token] = waiting
            self._feed(events.ConfirmLeadership(token, self._leased))

    def answered(self, token: int) -> list[Waiter]:
        """Those who waited for the answer to ``token``, which are the caller's to tell now."""
        waiting = self._asked.pop(token, [])
        self._count -= len(waiting)
        return waiting

    def fail(self, error: Callable[[], PyconsulError]) -> None:
        """Nobody will be answered any more."""
        asked, self._asked = self._asked, {}
        gathering, self._gathering = self._gathering, []
        self._count = 0
        fail_all((waiter for waiting in asked.values() for waiter in waiting), error)
        fail_all(gathering, error)


class Applied:
    """Who waits for an entry to be applied here, in the order in which they came.

    That takes a moment; where it takes longer, this server is behind, and another has to be asked.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: deque[tuple[int, float, Sequence[Waiter]]] = deque()
        """Index, until when at most, and who."""
        self._timer: IDelayedCall | None = None

    def wait(self, index: int, waiters: Sequence[Waiter]) -> None:
        """Tell ``waiters`` once ``index`` is applied; ``NoLeader`` if it is not in time."""
        self._waiting.append((index, self._clock.seconds() + APPLIED_WITHIN_S, waiters))
        if self._timer is None:
            self._timer = self._clock.callLater(APPLIED_WITHIN_S, self._expire)

    def reached(self, index: int) -> None:
        """Everything up to ``index`` is applied."""
        while self._waiting and self._waiting[0][0] <= index:
            for waiter in self._waiting.popleft()[2]:
                waiter.callback(None)

    def _expire(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        while self._waiting and self._waiting[0][1] <= now:
            fail_all(self._waiting.popleft()[2], NoLeader)
        if self._waiting and self._timer is None:
            self._timer = self._clock.callLater(self._waiting[0][1] - now, self._expire)

    def fail(self, error: Callable[[], PyconsulError]) -> None:
        """Nothing will be applied here for now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, deque()
        fail_all((waiter for *_, waiters in waiting for waiter in waiters), error)


def fail_all(waiters: Iterable[Waiter], error: Callable[[], PyconsulError]) -> None:
    """Tell each of them an error of its own, but for Deferreds that have been cancelled."""
    for waiter in list(waiters):
        if not getattr(waiter, "called", False):
            waiter.errback(error())
