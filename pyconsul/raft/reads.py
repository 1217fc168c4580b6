"""Reads that need to know that this server still leads (ReadIndex, dissertation 6.4).

A round is a heartbeat to all voters; it confirms every read that came before it was sent. One
round is on its way at a time: what comes meanwhile shares the next.
"""

from __future__ import annotations

from collections import deque

from pyconsul.raft.events import LeadershipConfirmed, LeadershipRefused
from pyconsul.raft.state import RaftState

WAITING_MAX = 100_000


class Reads:
    """The reads of one leader that wait for a majority.

    :ivar waiting: tokens that no round covers yet.
    """

    __slots__ = ("_rounds", "_s", "waiting")

    def __init__(self, s: RaftState) -> None:
        self._s = s
        self.waiting: list[int] = []
        self._rounds: deque[tuple[int, int, list[int]]] = deque()

    def add(self, token: int) -> None:
        """A read wants to be confirmed; there is a bound to how many may wait."""
        if len(self.waiting) < WAITING_MAX:
            self.waiting.append(token)
        else:
            self._s.effects.append(LeadershipRefused(token))

    @property
    def wants_round(self) -> bool:
        """Whether there are reads and no round is on its way."""
        return bool(self.waiting) and not self._rounds

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
            _, index, tokens = rounds.popleft()
            self._s.effects += [LeadershipConfirmed(token, index) for token in tokens]

    def confirm_all(self) -> None:
        """This server alone is the majority."""
        index = self._s.commit_index
        waiting, self.waiting = self.waiting, []
        self._s.effects += [LeadershipConfirmed(token, index) for token in waiting]

    def refuse_all(self) -> None:
        """This server leads no longer."""
        tokens = [token for _, _, tokens in self._rounds for token in tokens] + self.waiting
        self._s.effects += [LeadershipRefused(token) for token in tokens]
