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
NEAR_S = 250e-6
"""A majority that answers within this time is not slept through."""
BUSY_S = 1e-3
"""At most so long after an answer, the next question is one of many."""


class Question:
    """Whether the leader still leads, for all who ask in one turn of the reactor.

    :ivar leased: see ``events.ConfirmLeadership``; one who wants more gets it for all.
    :ivar due: it is sent when a turn ends. :ivar sent: nobody joins any more.
    """

    __slots__ = ("due", "leased", "sent", "waiters")

    def __init__(self) -> None:
        self.leased = True
        self.due = False
        self.sent = False
        self.waiters: list[Waiter] = []

    def takes(self, waited_s: float) -> bool:
        """See ``pyconsul.interfaces.Joining``."""
        return not self.sent


class Confirming:
    """Questions whether the leader still leads; whoever asks in one turn of the reactor shares one.

    Who was answered often asks again at once. So the first question after an answer waits for the end of
    the next turn instead of this one's: otherwise a few busy clients form groups that never meet again,
    and each group takes a question of its own.

    A process that sleeps takes longer to wake up, and then to run at speed, than a server nearby to answer.
    So where one question follows another, a leader whose last one was answered quickly stays awake.

    :param feed: gives the question to the core, unless this server takes no part any more.
    :param leads: whether this server does. Its core asks a majority one question at a time, so the
        next one may as well wait here, where others can join.
    :param stay_awake: see ``Environment``.
    """

    def __init__(
        self,
        clock: IReactorTime,
        feed: Callable[[events.ConfirmLeadership], None],
        leads: Callable[[], bool],
        stay_awake: Callable[[float], object],
    ) -> None:
        self._clock = clock
        self._feed = feed
        self._leads = leads
        self._stay_awake = stay_awake
        self._sent_at = self._answered_at = self._took_s = float("inf")
        self._asked: dict[int, Question] = {}
        self._gathering: Question | None = None
        self._answered = False
        self._count = 0
        self._next_token = 1

    def ask(self, waiter: Waiter, leased: bool) -> Question:
        """Have ``waiter`` among those that are ``answered`` later.

        :raises Refused: if too many wait.
        """
        if self._count >= WAITING_MAX:
            raise Refused("too many reads are waiting; try again later")
        question = self._gathering
        if question is None:
            question = self._gathering = Question()
            if not (self._asked and self._leads()):
                self._send_soon(question)
        if not leased:
            question.leased = False
        question.waiters.append(waiter)
        self._count += 1
        return question

    @property
    def asked(self) -> int:
        """How many questions there were."""
        return self._next_token - 1

    def _send_soon(self, question: Question) -> None:
        question.due = True
        later, self._answered = self._answered, False
        self._clock.callLater(0, self._turn_begins if later else self._turn_ends)

    def _turn_begins(self) -> None:
        self._clock.callLater(0, self._turn_ends)

    def _turn_ends(self) -> None:
        question, self._gathering = self._gathering, None
        if question is not None:
            question.sent = True
            token = self._next_token
            self._next_token += 1
            self._asked[token] = question
            now = self._sent_at = self._clock.seconds()
            self._feed(events.ConfirmLeadership(token, question.leased))
            near = self._took_s < NEAR_S and now < self._answered_at + BUSY_S
            if near and token in self._asked and self._leads():
                self._stay_awake(NEAR_S)

    def answered(self, token: int) -> list[Waiter]:
        """Those who waited for the answer to ``token``, which are the caller's to tell now."""
        question = self._asked.pop(token, None)
        if question is None:
            return []
        self._answered = True
        self._answered_at = self._clock.seconds()
        self._took_s = self._answered_at - self._sent_at
        self._stay_awake(0.0)
        next_one = self._gathering
        if next_one is not None and not next_one.due:
            self._send_soon(next_one)
        self._count -= len(question.waiters)
        return question.waiters

    def fail(self, error: Callable[[], PyconsulError]) -> None:
        """Nobody will be answered any more."""
        questions = list(self._asked.values())
        if self._gathering is not None:
            questions.append(self._gathering)
        self._asked, self._gathering = {}, None
        self._count = 0
        for question in questions:
            question.sent = True
            fail_all(question.waiters, error)


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
