"""Taking over a leader's log, and what may be said about it when.

Source: Raft paper, 5.3; specs of Consul's Raft, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pyconsul.errors import StorageDamaged
from pyconsul.raft.configuration import Configuration, ServerId, decode
from pyconsul.raft.events import LeadershipConfirmed, LeadershipRefused, StorePiece
from pyconsul.raft.messages import (
    CONFIGURATION,
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    ReadIndex,
    ReadIndexResponse,
)
from pyconsul.raft.snapshot import Receiving, SnapshotInfo
from pyconsul.raft.state import RaftState

ASKED_MAX = 10_000
NEVER = float("inf")


class Follower:
    """How far our log is known to equal that of the current term's leader.

    An answer claims only what is durable. So it may have to wait for the disk, and then one answer
    stands for all messages that came meanwhile.

    :ivar received_index: equal up to here, in memory at least; 0 in a new term.
    """

    __slots__ = (
        "_asked", "_first_context", "_owed_context", "_owes_answer", "_receiving", "_s", "received_index",
    )  # fmt: skip

    def __init__(self, s: RaftState) -> None:
        self._s = s
        self._receiving: Receiving | None = None
        self._asked: dict[int, float] = {}
        """Questions to the leader, by token: until when an answer is waited for. In the order of both."""
        self._first_context = 0
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
        is_known = prev <= log.base_index and not s.is_unverified  # as everything before it is committed
        if prev > log.last_index or (not is_known and log.term_at(prev) != message.prev_log_term):
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
        if hint > message.prev_log_index:  # from here on the leader has nothing that we could take
            hint = 0
        response = AppendEntriesResponse(
            s.term, False, 0, message.prev_log_index, hint, s.log.term_at(hint) or 0
        )
        s.answer(leader, s.leader_address, response)

    # ------------------------------------------------------------ reads

    def ask(self, token: int, leased: bool) -> None:
        """Ask the leader up to where reads need the log applied."""
        s = self._s
        if not s.leader_address or not s.state_is_durable or len(self._asked) >= ASKED_MAX:
            s.effects.append(LeadershipRefused(token))
            return
        if not self._first_context:  # an answer to what we asked in an earlier life answers nothing now
            self._first_context = s.rng.getrandbits(48) << 14
        self._asked[token] = s.now + s.timing.heartbeat_timeout_s
        s.send(
            s.leader_id, s.leader_address, ReadIndex(s.term, self._first_context + token, leased, s.address)
        )

    def index_answered(self, message: ReadIndexResponse) -> None:
        """The leader's answer; it tells what is committed, too."""
        s = self._s
        token = message.context - self._first_context
        if self._asked.pop(token, None) is not None:
            s.commit(min(message.index, self.received_index))
            s.effects.append(LeadershipConfirmed(token, message.index))

    @property
    def answer_due(self) -> float:
        """Until when the oldest question may be answered."""
        return next(iter(self._asked.values()), NEVER)

    def give_up(self, due: float = NEVER) -> None:
        """Wait no longer for what should have been answered by then; whoever asked may ask otherwise."""
        while self._asked and self.answer_due <= due:
            token = next(iter(self._asked))
            del self._asked[token]
            self._s.effects.append(LeadershipRefused(token))

    # ------------------------------------------------------------ snapshots

    def install_snapshot(self, leader: ServerId, message: InstallSnapshot) -> None:
        """Have the next piece of the leader's snapshot written down, or say which piece is the next.

        Nothing is written in a term that a crash could make us forget.
        """
        s = self._s
        info, offset = message.info, message.offset
        end = offset + len(message.data)
        if not info.is_sane(message.term) or offset < 0 or end > info.size or not s.state_is_durable:
            return
        if s.is_unverified and info.index <= s.commit_index and s.log.term_at(info.index) != info.term:
            raise StorageDamaged(
                "what was recovered through peers.json is not what the leader has; stop this server, "
                "empty its data folder, and let it join anew"
            )
        if self._has(info.index, info.term):
            self._agree(info)
            return
        receiving = self._receiving
        if receiving is None or receiving.info != info:
            receiving = self._receiving = Receiving(info)
        if offset == receiving.received and message.data:
            receiving.received = end
            s.effects.append(StorePiece(info, offset, message.data))
        elif offset >= receiving.received or not message.data:
            self._answer_piece(info, receiving.received, again=True)

    def piece_stored(self, info: SnapshotInfo, offset: int) -> None:
        """A piece is written down."""
        if self._receiving is not None and self._receiving.info == info:
            self._answer_piece(info, offset)

    def snapshot_ready(self, info: SnapshotInfo) -> None:
        """All of the snapshot is durable: take its state, unless we have come so far without it."""
        s = self._s
        if self._receiving is None or self._receiving.info != info:
            return
        self._receiving = None
        if self._has(info.index, info.term):
            s.snapshot_taken(info)
        else:
            s.restore(info)
        self._agree(info)

    def snapshot_refused(self, info: SnapshotInfo) -> None:
        """This server leads by now, so it has everything."""
        if self._receiving is not None and self._receiving.info == info:
            self._receiving = None

    def snapshot_failed(self, info: SnapshotInfo) -> None:
        """The leader has to begin again."""
        if self._receiving is not None and self._receiving.info == info:
            self._receiving = None
            self._answer_piece(info, 0, again=True)

    def _has(self, index: int, term: int) -> bool:
        """Whether we have the entry, so that all before it are right, too."""
        return index <= self._s.commit_index or self._s.log.term_at(index) == term

    def _agree(self, info: SnapshotInfo) -> None:
        """Up to the end of a snapshot everything is committed, and our log is that of any leader."""
        s = self._s
        s.commit(info.index)
        self.received_index = max(self.received_index, info.index)
        if s.leader_id and s.state_is_durable and s.durable_index >= info.index:
            s.send(s.leader_id, s.leader_address, AppendEntriesResponse(s.term, True, info.index, 0))
        else:
            self._owes_answer = True

    def _answer_piece(self, info: SnapshotInfo, offset: int, again: bool = False) -> None:
        s = self._s
        if s.leader_id and s.state_is_durable:
            response = InstallSnapshotResponse(s.term, info.index, offset, again)
            s.send(s.leader_id, s.leader_address, response)

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
