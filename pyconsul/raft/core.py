"""The Raft core: events in, effects out.

``pyconsul.raft.tables.ROLES`` has the roles of a server, and what moves it from one to another. A
candidate asks first whether it would get votes (pre-vote, dissertation 9.6).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyconsul.raft import events, messages
from pyconsul.raft.configuration import Configuration, ServerId
from pyconsul.raft.election import Election, deserves_vote, protects_leader
from pyconsul.raft.events import (
    Effect,
    Event,
    ProposalRefused,
    Role,
    RoleChanged,
    TransferEnded,
)
from pyconsul.raft.follower import Follower
from pyconsul.raft.leader import Leader
from pyconsul.raft.log import RaftLog, Reader
from pyconsul.raft.messages import CONFIGURATION, Entry
from pyconsul.raft.progress import Progress
from pyconsul.raft.snapshot import SnapshotInfo
from pyconsul.raft.state import RaftState
from pyconsul.raft.tables import ROLES, Cause
from pyconsul.raft.timing import Timing

if TYPE_CHECKING:
    from random import Random

    from pyconsul.interfaces import Recovered

NOT_LEADER = "node is not the leader"
BOOTSTRAP_TERM = 1
NEVER = float("-inf")


class RaftCore:
    """One server's consensus module; an ``interfaces.Core``.

    Effects are to be carried out in order, before the next event. Nothing is to be done at
    construction: ``configuration`` and ``configuration_index`` say what the disk held.

    :param read: ``RaftStorage.read``.
    :param snapshot: of which the state machine was made; an entry of the log, or the one before it.
    """

    def __init__(
        self,
        timing: Timing,
        rng: Random,
        server_id: ServerId,
        recovered: Recovered,
        read: Reader,
        snapshot: SnapshotInfo | None = None,
    ) -> None:
        self._s = RaftState(timing, rng, server_id, recovered, read, snapshot)
        self._follower = Follower(self._s)
        self._election: Election | None = None
        self._leader: Leader | None = None
        self._announced = (Role.FOLLOWER, self._s.term, "", "")
        self._on_event: dict[type[Event], Callable[[Any], None]] = {
            events.Tick: self._tick,
            events.MessageReceived: self._message_received,
            events.Propose: self._propose,
            events.ConfirmLeadership: self._confirm_leadership,
            events.Bootstrap: self._bootstrap,
            events.ChangeConfiguration: self._change_configuration,
            events.TransferLeadership: self._transfer_leadership,
            events.Persisted: self._persisted,
            events.Unreachable: self._unreachable,
            events.SnapshotTaken: lambda event: self._s.snapshot_taken(event.info),
            events.PieceStored: self._piece_stored,
            events.SnapshotReady: self._snapshot_ready,
            events.SnapshotFailed: self._snapshot_failed,
        }
        self._on_message: dict[type[messages.Message], Callable[[ServerId, Any], None]] = {
            messages.RequestVote: self._request_vote,
            messages.RequestVoteResponse: self._vote_answered,
            messages.AppendEntries: self._append_entries,
            messages.AppendEntriesResponse: self._append_answered,
            messages.Heartbeat: self._heartbeat,
            messages.HeartbeatResponse: self._heartbeat_answered,
            messages.TimeoutNow: self._timeout_now,
            messages.InstallSnapshot: self._install_snapshot,
            messages.InstallSnapshotResponse: self._piece_answered,
            messages.ReadIndex: self._asked_for_index,
            messages.ReadIndexResponse: self._index_answered,
        }

    def handle(self, now: float, event: Event) -> list[Effect]:
        """Take one event; return effects in the order in which they are to be done."""
        s = self._s
        if now > s.now:
            s.now = now
        if s.election_due is None:
            s.started()
        effects = s.effects = []
        self._on_event[type(event)](event)
        if s.applied_index < s.commit_index:
            s.hand_out()
        return effects

    def next_deadline(self) -> float | None:
        """When ``Tick`` is due; at once before the first event, and while there is more to apply."""
        s = self._s
        if s.applied_index < s.commit_index or s.election_due is None:
            return s.now
        if self._leader is not None:
            return self._leader.due
        return min(s.election_due, self._follower.answer_due)

    # ------------------------------------------------------------ roles

    def _become_follower(self, cause: Cause, term: int, leader: ServerId = "", address: str = "") -> None:
        s = self._s
        if self._leader is not None:
            self._leader.stop(succeeded=term > s.term)
            self._leader = None
        self._election = None
        if term > s.term:
            s.set_term(term)
            self._follower.new_term()
        s.role = ROLES[cause][s.role].state
        self._follow(leader, address)
        s.election_due = s.random_wait(s.timing.heartbeat_timeout_s)

    def _become_candidate(self, cause: Cause, pre_vote: bool) -> None:
        s = self._s
        s.role = ROLES[cause][s.role].state
        if not pre_vote:
            s.set_term(s.term + 1, s.server_id)
            self._follower.new_term()
        self._follow("", "")
        s.election_due = s.random_wait(s.timing.election_timeout_s)
        self._election = Election(s, pre_vote, transfer=cause is Cause.TOLD)
        self._election.announce()  # never wins yet: others, or our own disk, have to answer first

    def _become_leader(self) -> None:
        s = self._s
        s.role = ROLES[Cause.VOTES][s.role].state
        self._election = None
        self._leader = Leader(s)
        self._follow(s.server_id, s.address)
        self._leader.start()

    def _follow(self, leader: ServerId, address: str) -> None:
        """Say which role, term and leader are in force, if that is news."""
        s = self._s
        s.leader_id = leader
        s.leader_address = address
        announced = (s.role, s.term, leader, address)
        if announced != self._announced:
            self._announced = announced
            self._follower.give_up()
            barrier = self._leader.barrier if self._leader is not None else 0
            s.effects.append(RoleChanged(*announced, barrier))

    def _won(self) -> None:
        """A majority is for us."""
        assert self._election is not None
        if self._election.pre_vote:
            self._become_candidate(Cause.PRE_VOTES, pre_vote=False)
        else:
            self._become_leader()

    def _committed(self) -> None:
        """Answers or writes came in: see what is committed, and whether that ends our time."""
        leader = self._leader
        assert leader is not None
        leader.advance_commit()
        if leader.is_removed:
            leader.resign()
            self._become_follower(Cause.REMOVED, self._s.term)

    # ------------------------------------------------------------ events

    def _tick(self, event: events.Tick) -> None:
        s = self._s
        if self._leader is not None:
            if not self._leader.tick():
                self._become_follower(Cause.LEASE, s.term)
            return
        self._follower.give_up(s.now)
        if s.election_due is not None and s.now >= s.election_due:
            if s.membership.may_campaign(s.server_id):
                self._become_candidate(Cause.SILENCE, pre_vote=s.membership.voters != (s.server_id,))
            else:
                self._become_follower(Cause.NO_VOTE, s.term)

    def _message_received(self, event: events.MessageReceived) -> None:
        if event.sender != self._s.server_id:
            self._on_message[type(event.message)](event.sender, event.message)

    def _propose(self, event: events.Propose) -> None:
        if self._leader is None:
            self._s.effects.append(ProposalRefused(NOT_LEADER, not_leader=True))
        else:
            self._leader.propose(event.commands, event.kind)

    def _confirm_leadership(self, event: events.ConfirmLeadership) -> None:
        if self._leader is None:
            self._follower.ask(event.token, event.leased)
        else:
            self._leader.confirm(event.token)

    def _bootstrap(self, event: events.Bootstrap) -> None:
        s = self._s
        if s.log.last_index or s.leader_id or event.configuration.problem():
            return
        if s.term < BOOTSTRAP_TERM:
            s.set_term(BOOTSTRAP_TERM)
        s.append([Entry(BOOTSTRAP_TERM, 1, CONFIGURATION, event.configuration.encode())])
        s.use_configuration(1, event.configuration)
        if s.membership.is_alone(s.server_id):
            s.election_due = s.now

    def _change_configuration(self, event: events.ChangeConfiguration) -> None:
        if self._leader is None:
            self._s.effects.append(ProposalRefused(NOT_LEADER, not_leader=True))
        else:
            self._leader.change_configuration(event)

    def _transfer_leadership(self, event: events.TransferLeadership) -> None:
        if self._leader is None:
            self._s.effects.append(TransferEnded(NOT_LEADER))
        else:
            self._leader.hand_over(event.target)

    def _persisted(self, event: events.Persisted) -> None:
        self._s.persisted(event.seq)
        if self._leader is not None:
            self._committed()
        elif self._election is None:
            self._follower.persisted()
        elif self._election.announce():
            self._won()

    def _unreachable(self, event: events.Unreachable) -> None:
        if self._leader is not None:
            self._leader.unreachable(event.peer)

    # ------------------------------------------------------------ votes

    def _request_vote(self, sender: ServerId, message: messages.RequestVote) -> None:
        s = self._s
        granted = False
        if not protects_leader(s, message) and message.term >= s.term:
            if message.term > s.term and not message.pre_vote:
                self._become_follower(Cause.TERM, message.term)
            granted = deserves_vote(s, sender, message)
            if granted and not message.pre_vote:
                if s.role is not Role.FOLLOWER:
                    self._become_follower(Cause.VOTED, s.term)
                if not s.voted_for:
                    s.set_term(s.term, sender)
                s.election_due = s.random_wait(s.timing.heartbeat_timeout_s)
        term = message.term if granted else s.term
        response = messages.RequestVoteResponse(term, granted, message.pre_vote)
        s.answer(sender, message.address, response)

    def _vote_answered(self, sender: ServerId, message: messages.RequestVoteResponse) -> None:
        s = self._s
        if message.term > s.term and not (message.pre_vote and message.granted):
            self._become_follower(Cause.TERM, message.term)
        elif self._election is not None and self._election.answered(sender, message):
            self._won()

    def _timeout_now(self, sender: ServerId, message: messages.TimeoutNow) -> None:
        s = self._s
        if message.term < s.term or self._leader is not None:
            return
        if message.term > s.term:
            self._become_follower(Cause.TERM, message.term)
        if s.server_id in s.membership.voters:
            self._become_candidate(Cause.TOLD, pre_vote=False)

    # ------------------------------------------------------------ the leader's messages

    def _hears_leader(self, sender: ServerId, term: int, address: str) -> bool:
        """Whether a message comes from the current leader; if so, follow it and count the contact."""
        s = self._s
        if term < s.term or self._leader is not None and term == s.term:
            return False
        address = address or s.membership.address_of(sender)
        if term > s.term or s.role is not Role.FOLLOWER:
            self._become_follower(Cause.LEADER, term, sender, address)
        elif s.leader_id != sender or s.leader_address != address:
            self._follow(sender, address)
        s.heard_leader()
        return True

    def _append_entries(self, sender: ServerId, message: messages.AppendEntries) -> None:
        s = self._s
        if self._hears_leader(sender, message.term, message.address):
            self._follower.append_entries(sender, message)
        elif message.term < s.term:
            response = messages.AppendEntriesResponse(s.term, False, 0, message.prev_log_index)
            s.answer(sender, message.address, response)

    def _heartbeat(self, sender: ServerId, message: messages.Heartbeat) -> None:
        s = self._s
        if self._hears_leader(sender, message.term, message.address):
            self._follower.heartbeat(sender, message)
        elif message.term < s.term:
            s.answer(sender, message.address, messages.HeartbeatResponse(s.term, message.context))

    def _append_answered(self, sender: ServerId, message: messages.AppendEntriesResponse) -> None:
        if message.term > self._s.term:
            self._become_follower(Cause.TERM, message.term)
        elif self._leader is not None and message.term == self._s.term:
            self._leader.append_answered(sender, message)
            self._committed()

    def _heartbeat_answered(self, sender: ServerId, message: messages.HeartbeatResponse) -> None:
        if message.term > self._s.term:
            self._become_follower(Cause.TERM, message.term)
        elif self._leader is not None and message.term == self._s.term:
            self._leader.heartbeat_answered(sender, message)
            self._committed()

    # ------------------------------------------------------------ followers' reads

    def _asked_for_index(self, sender: ServerId, message: messages.ReadIndex) -> None:
        if message.term > self._s.term:
            self._become_follower(Cause.TERM, message.term)
        elif self._leader is not None and message.term == self._s.term:
            self._leader.asked_for_index(sender, message)

    def _index_answered(self, sender: ServerId, message: messages.ReadIndexResponse) -> None:
        if message.term > self._s.term:
            self._become_follower(Cause.TERM, message.term)
        elif sender == self._s.leader_id and message.term == self._s.term:
            self._follower.index_answered(message)

    # ------------------------------------------------------------ snapshots

    def _install_snapshot(self, sender: ServerId, message: messages.InstallSnapshot) -> None:
        s = self._s
        if self._hears_leader(sender, message.term, message.address):
            self._follower.install_snapshot(sender, message)
        elif message.term < s.term:
            response = messages.InstallSnapshotResponse(s.term, message.info.index, 0)
            s.answer(sender, message.address, response)

    def _piece_answered(self, sender: ServerId, message: messages.InstallSnapshotResponse) -> None:
        if message.term > self._s.term:
            self._become_follower(Cause.TERM, message.term)
        elif self._leader is not None and message.term == self._s.term:
            self._leader.piece_answered(sender, message)

    def _piece_stored(self, event: events.PieceStored) -> None:
        self._follower.piece_stored(event.info, event.offset)

    def _snapshot_ready(self, event: events.SnapshotReady) -> None:
        if self._leader is None:
            self._follower.snapshot_ready(event.info)
        else:
            self._follower.snapshot_refused(event.info)

    def _snapshot_failed(self, event: events.SnapshotFailed) -> None:
        self._follower.snapshot_failed(event.info)

    # ------------------------------------------------------------ for operators and checks

    @property
    def role(self) -> Role:
        """Follower, candidate or leader."""
        return self._s.role

    @property
    def term(self) -> int:
        """The current term."""
        return self._s.term

    @property
    def voted_for(self) -> ServerId:
        """Who has this server's vote in the current term; empty if nobody."""
        return self._s.voted_for

    @property
    def leader_id(self) -> ServerId:
        """The leader of the current term; empty while none is known."""
        return self._s.leader_id

    @property
    def leader_address(self) -> str:
        """``ip:port`` of that leader."""
        return self._s.leader_address

    @property
    def last_contact(self) -> float | None:
        """When a leader was last heard, on the core's clock; now on the leader, or never."""
        return self._s.last_contact if self._leader is None else self._s.now

    @property
    def log(self) -> RaftLog:
        """The log, to be read only."""
        return self._s.log

    @property
    def last_log_index(self) -> int:
        """The index of the last entry, committed or not."""
        return self._s.log.last_index

    @property
    def last_log_term(self) -> int:
        """The term of the last entry."""
        return self._s.log.last_term

    @property
    def durable_index(self) -> int:
        """The log is on this server's disk up to here."""
        return self._s.durable_index

    @property
    def commit_index(self) -> int:
        """Everything up to here is known to be committed."""
        return self._s.commit_index

    @property
    def last_applied(self) -> int:
        """The last entry that was handed out to be applied."""
        return self._s.applied_index

    @property
    def configuration(self) -> Configuration:
        """The configuration in force, committed or not."""
        return self._s.membership.latest

    @property
    def configuration_index(self) -> int:
        """The index of its entry; 0 if there is none."""
        return self._s.membership.index

    @property
    def progress(self) -> dict[ServerId, Progress]:
        """The followers as the leader sees them, to be read only; empty on others."""
        return {} if self._leader is None else self._leader.replication.followers

    @property
    def lease_until(self) -> float | None:
        """When this leader steps down unless it hears from a majority; ``None`` on others."""
        return None if self._leader is None else self._leader.lease_until

    @property
    def reads_until(self) -> float:
        """Until when no other server can lead, so that this one may answer reads by itself."""
        return NEVER if self._leader is None else self._leader.reads_until

    @property
    def transfer_target(self) -> ServerId:
        """To whom this leader is handing over; empty if to nobody."""
        transfer = None if self._leader is None else self._leader.transfer
        return "" if transfer is None else transfer.target

    @property
    def snapshot(self) -> SnapshotInfo | None:
        """The newest snapshot on this server's disk."""
        return self._s.snapshot

    def describe_snapshot(self, index: int) -> SnapshotInfo | None:
        """What a snapshot of the state at ``index``, applied, is to say; its size is not known yet.

        ``None`` if none can be taken now: the configuration in force at ``index`` is not known any
        more or not yet, or not all of it is on our own disk, so that after a restart the log could end before
        the snapshot, or we could be in a term before its.
        """
        s = self._s
        configuration_index, configuration = s.membership.committed
        term = s.log.term_at(index)
        known = min(s.commit_index, s.durable_index)
        if not (0 < configuration_index <= index <= known) or not s.state_is_durable or not term:
            return None
        return SnapshotInfo(index, term, configuration, configuration_index, 0, 0)

    def compact(self, up_to: int) -> None:
        """Forget entries up to ``up_to``, which a snapshot holds, as the storage does."""
        assert self._s.snapshot is not None and up_to <= self._s.snapshot.index
        self._s.log.compact(up_to)

    def invariants(self) -> None:
        """Assert what always holds between two events; cheap enough for every event of a simulation."""
        s = self._s
        assert s.applied_index <= s.commit_index <= s.log.last_index
        assert s.log.base_index <= s.commit_index and s.durable_index <= s.log.last_index
        assert s.snapshot is None or s.log.base_index <= s.snapshot.index <= s.commit_index
        assert s.log.last_term <= s.term
        assert (s.role is Role.LEADER) == (self._leader is not None)
        assert (s.role is Role.CANDIDATE) == (self._election is not None)
        assert self._leader is None or (s.leader_id == s.server_id and s.voted_for == s.server_id)
        assert s.membership.index <= s.log.last_index
