"""Votes: when one is given, and how a candidate gathers them.

Source: Raft paper, 5.2 and 5.4.1; dissertation 9.6 (pre-vote) and 4.2.3 (a live leader is not
disturbed).
"""

from __future__ import annotations

from pyconsul.raft.configuration import ServerId
from pyconsul.raft.events import Role
from pyconsul.raft.messages import RequestVote, RequestVoteResponse
from pyconsul.raft.state import RaftState


def protects_leader(s: RaftState, message: RequestVote) -> bool:
    """Whether a leader may count on our vote for itself, so that nobody else gets it unless that agreed.

    Each sign of life of a leader that we hear is such a promise (``RaftState.promised_until``): its
    lease rests on it, so a higher term does not break it, nor does a restart.
    """
    return not message.transfer and (s.role is Role.LEADER or s.now < s.promised_until)


def deserves_vote(s: RaftState, candidate: ServerId, message: RequestVote) -> bool:
    """Whether ``candidate`` would get our vote in the term that it asks about, ours or a later one.

    Its log must be at least as up to date as ours, what is not yet durable included.
    """
    if message.term == s.term and s.voted_for not in ("", candidate):
        return False
    return (message.last_log_term, message.last_log_index) >= (s.log.last_term, s.log.last_index)


class Election:
    """One attempt to win: first whether votes would be given, then the votes.

    :ivar pre_vote: nothing is at stake yet; the term is still the old one.
    """

    __slots__ = ("_announced", "_granted", "_s", "_transfer", "pre_vote")

    def __init__(self, s: RaftState, pre_vote: bool, transfer: bool) -> None:
        self._s = s
        self.pre_vote = pre_vote
        self._transfer = transfer
        self._granted: set[ServerId] = set()
        self._announced = False

    def announce(self) -> bool:
        """Vote for ourselves and ask the others, once our own vote is durable; whether we won."""
        s = self._s
        if self._announced or not (self.pre_vote or s.state_is_durable):
            return False
        self._announced = True
        log = s.log
        term = s.term + 1 if self.pre_vote else s.term
        request = RequestVote(term, log.last_index, log.last_term, self.pre_vote, self._transfer, s.address)
        for server_id in s.membership.voters:
            if server_id != s.server_id:
                s.send(server_id, s.membership.address_of(server_id), request)
        return self._grant(s.server_id)

    def answered(self, voter: ServerId, message: RequestVoteResponse) -> bool:
        """``voter`` has answered; whether that makes a majority."""
        term = self._s.term + 1 if self.pre_vote else self._s.term
        if not message.granted or message.pre_vote is not self.pre_vote or message.term != term:
            return False
        return self._grant(voter)

    def _grant(self, voter: ServerId) -> bool:
        self._granted.add(voter)
        membership = self._s.membership
        return sum(voter in self._granted for voter in membership.voters) >= membership.quorum
