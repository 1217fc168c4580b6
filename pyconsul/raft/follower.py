"""Taking over a leader's log, and what may be said about it when.

Source: Raft paper, 5.3; specs of Consul's Raft, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pyconsul.raft.configuration import Configuration, ServerId, decode
from pyconsul.raft.messages import (
    CONFIGURATION,
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    Heartbeat,
    HeartbeatResponse,
)
from pyconsul.raft.state import RaftState


class Follower:
    """How far our log is known to equal that of the current term's leader.

    An answer claims only what is durable. So it may have to wait for the disk, and then one answer
    stands for all messages that came meanwhile.

    :ivar received_index: equal up to here, in memory at least; 0 in a new term.
    """

    __slots__ = ("_owed_context", "_owes_answer", "_s", "received_index")

    def __init__(self, s: RaftState) -> None:
        self._s = s
        self.new_term()

    def new_term(self) -> None:
        """Nothing is known about the log of this term's leader, and nothing is owed to it."""
        self.received_index = 0
        self._owes_answer = False
        self._owed_context = 0

    # ------------------------------------------------------------ messages

    def append_entries(self, leader: ServerId, message: AppendEntries) -> None:
        """Check that the logs meet at ``prev_log_index``, take what is new, answer when durable."""
        s = self._s
        log = s.log
        prev = message.prev_log_index
        if prev > log.last_index or (prev > log.base_index and log.term_at(prev) != message.prev_log_term):
            self._reject(leader, message)
            return
        entries = message.entries
        match = prev + len(entries)
        if entries:
            configurations = _check(message)
            if configurations is None or not self._take(entries, prev, configurations):
                return
        if match > self.received_index:
            self.received_index = match
        s.commit(min(message.leader_commit, match))
        if s.durable_index >= match and s.state_is_durable:
            s.send(leader, s.leader_address, AppendEntriesResponse(s.term, True, match, 0))
        else:
            self._owes_answer = True

    def heartbeat(self, leader: ServerId, message: Heartbeat) -> None:
        """Answer at once: a heartbeat waits for no entries, only for the term to be durable."""
        s = self._s
        s.commit(min(message.leader_commit, self.received_index))
        if s.state_is_durable:
            self._answer_heartbeat(leader, message.context)
        else:
            self._owed_context = max(self._owed_context, message.context)

    def persisted(self) -> None:
        """More is durable: give the answers that waited for it."""
        s = self._s
        if not s.leader_id or not s.state_is_durable:
            return
        if self._owed_context:
            self._answer_heartbeat(s.leader_id, self._owed_context)
            self._owed_context = 0
        if self._owes_answer:
            match = min(self.received_index, s.durable_index)
            self._owes_answer = match < self.received_index
            s.send(s.leader_id, s.leader_address, AppendEntriesResponse(s.term, True, match, 0))

    def _answer_heartbeat(self, leader: ServerId, context: int) -> None:
        s = self._s
        received = self.received_index
        match = min(received, s.durable_index)
        s.send(leader, s.leader_address, HeartbeatResponse(s.term, context, match, received))

    def _reject(self, leader: ServerId, message: AppendEntries) -> None:
        """Say where the logs may still agree: no later than our last entry of a term so low."""
        s = self._s
        hint = s.log.last_of_terms_to(message.prev_log_term, message.prev_log_index)
        response = AppendEntriesResponse(
            s.term, False, 0, message.prev_log_index, hint, s.log.term_at(hint) or 0
        )
        s.answer(leader, s.leader_address, response)

    # ------------------------------------------------------------ the log

    def _take(self, entries: Sequence[Entry], prev: int, configurations: dict[int, Configuration]) -> bool:
        """Append what we do not have, and drop what conflicts; false if that were committed."""
        s = self._s
        log = s.log
        if prev < log.last_index:
            known = 0
            for entry in entries:
                index = entry.index
                if index > log.last_index:
                    break
                if index > log.base_index and log.term_at(index) != entry.term:
                    if index <= s.commit_index:  # a leader of some other cluster
                        return False
                    s.truncate(index)
                    self.received_index = min(self.received_index, index - 1)
                    break
                known += 1
            entries = entries[known:]
        if entries:
            s.append(entries)
            for index, configuration in configurations.items():
                if index >= entries[0].index:
                    s.use_configuration(index, configuration)
        return True


def _check(message: AppendEntries) -> dict[int, Configuration] | None:
    """The configurations among the entries, or ``None`` if no sane leader has sent this."""
    index = message.prev_log_index
    lowest = message.prev_log_term
    configurations: dict[int, Configuration] = {}
    for entry in message.entries:
        index += 1
        if entry.index != index or not lowest <= entry.term <= message.term:
            return None
        lowest = entry.term
        if entry.kind == CONFIGURATION:
            try:
                configurations[index] = decode(entry.data)
            except msgspec.MsgspecError:
                return None
    return configurations
