"""Reads that need to know that this server still leads (ReadIndex, dissertation 6.4).

A round is a heartbeat to the quickest majority of the voters, and to the others if that takes too
long; it confirms every read that came before it was sent. One round is on its way at a time: what
comes meanwhile shares the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from pyconsul.raft.configuration import ServerId
from pyconsul.raft.events import LeadershipConfirmed, LeadershipRefused
from pyconsul.raft.messages import ReadIndexResponse
from pyconsul.raft.state import RaftState

WAITING_MAX = 100_000


class Question(NamedTuple):
    """A follower's: who is to be told, and what comes back to it."""

    server: ServerId
    address: str
    context: int


Asker: TypeAlias = int | Question
"""Who waits for a round: this server with a token, or a follower."""


class Reads:
    """The reads of one leader that wait for a majority.

    :ivar waiting: who asked and is covered by no round yet.
    """

    __slots__ = ("_rounds", "_s", "waiting")

    def __init__(self, s: RaftState) -> None:
        self._s = s
        self.waiting: list[Asker] = []
        self._rounds: deque[tuple[int, int, list[Asker]]] = deque()

    def add(self, asker: Asker) -> None:
        """A read wants to be confirmed; there is a bound to how many may wait."""
        if len(self.waiting) < WAITING_MAX:
            self.waiting.append(asker)
        else:
            self._refuse([asker])

    @property
    def wants_round(self) -> bool:
        """Whether there are reads and no round is on its way."""
        return bool(self.waiting) and not self._rounds

    @property
    def has_round(self) -> bool:
        """Whether one is on its way."""
        return bool(self._rounds)

    def round_sent(self, context: int) -> None:
        """Heartbeats from ``context`` on are sent now: they confirm all who wait.

        What is committed at this moment holds everything that was acknowledged before it.
        """
        if self.waiting:
            self._rounds.append((context, self._s.commit_index, self.waiting))
            self.waiting = []

    def confirmed(self, context: int) -> None:
        """A majority has answered the heartbeat ``context`` or later ones."""
        rounds = self._rounds
        while rounds and rounds[0][0] <= context:
            _, index, askers = rounds.popleft()
            self._answer(askers, index)

    def confirm_all(self) -> None:
        """This server alone is the majority."""
        waiting, self.waiting = self.waiting, []
        self._answer(waiting, self._s.commit_index)

    def refuse_all(self) -> None:
        """This server leads no longer."""
        self._refuse([asker for _, _, askers in self._rounds for asker in askers] + self.waiting)

    def _answer(self, askers: Iterable[Asker], index: int) -> None:
        s = self._s
        for asker in askers:
            if isinstance(asker, Question):
                s.send(asker.server, asker.address, ReadIndexResponse(s.term, asker.context, index))
            else:
                s.effects.append(LeadershipConfirmed(asker, index))

    def _refuse(self, askers: Iterable[Asker]) -> None:
        """Followers are told nothing: they hear of the next leader, or ask somebody else in time."""
        self._s.effects += [LeadershipRefused(asker) for asker in askers if not isinstance(asker, Question)]
