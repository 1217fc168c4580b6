"""Raft cores, storages and servers with one bug each, as somebody could have written them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, succeed

from pyconsul.interfaces import DiskFile, RaftStorage
from pyconsul.raft import events, messages
from pyconsul.raft.core import RaftCore
from pyconsul.raft.events import Role
from pyconsul.raft.messages import Entry
from pyconsul.raft.snapshot import SnapshotInfo
from pyconsul.storage.raft_storage import SegmentedStorage
from pyconsul.storage.snapshots import Draft, SnapshotName
from pyconsul.testing.disk import SimDisk
from pyconsul.testing.history import GET, STALE, Operation
from pyconsul.testing.raft_world import SEGMENT_BYTES, Data, RaftProcess


class VoteNotPersisted(SegmentedStorage):
    """The term gets to the disk, who has the vote does not."""

    def save_state(self, seq: int, term: int, voted_for: str) -> None:
        super().save_state(seq, term, "")


class TermNotPersisted(SegmentedStorage):
    """Neither term nor vote get to the disk."""

    def save_state(self, seq: int, term: int, voted_for: str) -> None:
        super().save_state(seq, 1, "")


class AnsweredBeforeSync(SegmentedStorage):
    """What is in the page cache is called durable."""

    def append(self, seq: int, entries: Sequence[Entry]) -> None:
        super().append(seq, entries)
        self.persisted(seq)


class TruncationLost(SegmentedStorage):
    """A conflict is found, but what conflicts stays on the disk, and what follows is put behind it."""

    def truncate(self, seq: int, first_dropped: int) -> None:
        self._gathered(seq)

    def append(self, seq: int, entries: Sequence[Entry]) -> None:
        last = self._log.last_index
        kept = [entry for entry in entries if entry.index > last]
        super().append(seq, kept)


def storage(kind: type[SegmentedStorage]) -> Callable[[SimDisk, Random], RaftStorage]:
    """What makes storages of a kind."""

    def make(disk: SimDisk, rng: Random) -> RaftStorage:
        return kind(disk, rng, segment_bytes=SEGMENT_BYTES)

    return make


class ResetLost(SegmentedStorage):
    """The leader's snapshot is there, but what lies on the disk is the old log, and goes on there."""

    def reset(self, seq: int, snapshot_index: int, snapshot_term: int) -> None:
        if seq:
            self._gathered(seq)
        else:
            super().reset(seq, snapshot_index, snapshot_term)


class BrokenCore(RaftCore):
    """A core whose effects are tampered with."""

    def handle(self, now: float, event: Any) -> list[Any]:
        effects = super().handle(now, event)
        effects[:] = self.tamper(event, effects)
        return effects

    def tamper(self, event: Any, effects: Iterable[Any]) -> Iterable[Any]:
        raise NotImplementedError

    def invariants(self) -> None:
        """Not to be trusted here: the checkers have to find it."""


class CommitsByCount(RaftCore):
    """Entries of earlier terms are committed by the count of their copies (paper, figure 8)."""

    def handle(self, now: float, event: Any) -> list[Any]:
        effects = super().handle(now, event)
        leader = self._leader
        if leader is not None:
            index = leader.replication.committed_index()
            if index > self._s.commit_index:
                self._s.commit(index)
        return effects


class VotesForAnybody(RaftCore):
    """The candidate's log is not looked at (paper, 5.4.1)."""

    def _request_vote(self, sender: str, message: messages.RequestVote) -> None:
        best = messages.RequestVote(
            message.term, 1 << 40, 1 << 40, message.pre_vote, message.transfer, message.address
        )
        super()._request_vote(sender, best)


class VotesTwice(RaftCore):
    """Whoever asks gets a vote."""

    def _request_vote(self, sender: str, message: messages.RequestVote) -> None:
        if message.term == self._s.term and not message.pre_vote and self._leader is None:
            self._s.voted_for = ""
        super()._request_vote(sender, message)


class IgnoresPreviousTerm(RaftCore):
    """A follower takes entries without looking at what is before them (paper, 5.3)."""

    def _append_entries(self, sender: str, message: messages.AppendEntries) -> None:
        log = self._s.log
        previous = message.prev_log_index
        if log.base_index < previous <= log.last_index:
            message = messages.AppendEntries(
                message.term,
                previous,
                log.term_at(previous) or 0,
                message.leader_commit,
                message.entries,
                message.address,
            )
        super()._append_entries(sender, message)


class SpeaksBeforeSync(RaftCore):
    """Answers do not wait until the term and the vote are on the disk."""

    def handle(self, now: float, event: Any) -> list[Any]:
        effects = super().handle(now, event)
        state = self._s
        if not state.state_is_durable:
            seq = state._state_seq
            effects += super().handle(now, events.Persisted(seq))
        return effects


class AppliesTwice(BrokenCore):
    """A batch is handed out again."""

    def tamper(self, event: Any, effects: Iterable[Any]) -> Iterable[Any]:
        for effect in effects:
            yield effect
            if type(effect) is events.Apply and effect.entries[-1].index % 97 == 0:
                yield effect


class ReadsWithoutAsking(RaftProcess):
    """A leader answers reads without asking whether it still is one (dissertation, 6.4)."""

    def perform(self, operation: Operation, version: int | None) -> Deferred[Any]:
        if operation.kind == GET and self.core.role is Role.LEADER:
            return succeed(self.data.get(operation.key, (None, 0)))
        return super().perform(operation, version)


class SnapshotOfAnotherIndex(RaftProcess):
    """A snapshot says that it is of the entry before the one it is of."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._policy._applied = lambda: max(0, self.applied_index - 1)


class _Unsynced:
    """A file that is never synced."""

    def __init__(self, file: DiskFile) -> None:
        self.write, self.close = file.write, file.close
        self.sync = lambda: None


class _Hasty(Draft):
    def publish(self, info: SnapshotInfo, ms: int) -> tuple[SnapshotName, SnapshotInfo]:
        if self._file is not None:
            self._file = _Unsynced(self._file)  # type: ignore[assignment]
        return super().publish(info, ms)


class SnapshotNotSynced(RaftProcess):
    """A snapshot has its name before its bytes are on the disk."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        files = self._work.files
        files.draft = lambda: _Hasty(files._disk, files.folder, files._temporary())  # type: ignore[method-assign]


class CommitsBeforeItsOwnDisk(RaftCore):
    """A leader counts its own log before it is on its disk (dissertation, 10.2.1)."""

    def handle(self, now: float, event: Any) -> list[Any]:
        state = self._s
        durable = state.durable_index
        if self._leader is not None:
            state.durable_index = state.log.last_index
        effects = super().handle(now, event)
        if self._leader is not None:
            state.durable_index = min(durable, state.log.last_index)
        return effects

    def invariants(self) -> None:
        """Not to be trusted here."""


class ForgetsToVoteForItself(RaftCore):
    """A candidate tells the disk nothing of its own vote, so it may give it to another as well."""

    def handle(self, now: float, event: Any) -> list[Any]:
        effects = super().handle(now, event)
        if self._election is not None and not self._election.pre_vote:
            self._s.voted_for = ""
        return effects

    def invariants(self) -> None:
        """Not to be trusted here."""


class TwoChangesAtOnce(RaftCore):
    """A leader changes the configuration again before the last change is committed."""

    def _change_configuration(self, event: events.ChangeConfiguration) -> None:
        membership = self._s.membership
        index = membership.index
        membership.index = min(index, self._s.commit_index)
        super()._change_configuration(event)
        if membership.index < index:
            membership.index = index


class RestoreMerges(RaftProcess):
    """The state of a snapshot is put on top of what is there: what was deleted comes back."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        machine = self.machine

        def merge(state: tuple[int, Data]) -> None:
            machine.writes, data = state
            machine.data = {**machine.data, **data}

        machine.restore = merge  # type: ignore[method-assign]


class AppliesAgainAfterRestart(RaftProcess):
    """The first write after a start is done twice: once for the log, once for who waits for it."""

    _began = False

    def _apply_one(self, entry: Entry) -> bool:
        if not self._began:
            self._began = True
            super()._apply_one(entry)
        return super()._apply_one(entry)


class StaleFromACopy(RaftProcess):
    """Some stale reads are answered from a copy that is made now and then."""

    _copy: Data = {}

    def perform(self, operation: Operation, version: int | None) -> Deferred[Any]:
        if self.applied_index % 40 == 0:
            self._copy = dict(self.data)
        if operation.mode == STALE and operation.invoked % 3 == 0:
            return succeed(self._copy.get(operation.key, (None, 0)))
        return super().perform(operation, version)
