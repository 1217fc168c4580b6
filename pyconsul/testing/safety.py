"""The safety properties of Raft, checked after every event of every server.

Source: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), figure 3;
Ongaro's dissertation (2014), chapter 3.

The checker looks at servers from outside: at the events they get, the effects they ask for, and
the few properties a core shows. It keeps its own copy of the terms in each log, built from the
``Persist*`` effects alone. Work grows with what an event changed, never with the log:

- *log matching* needs no comparison of logs: if every pair (index, term) has one content and one
  predecessor everywhere, then by induction equal pairs have equal prefixes;
- *leader completeness* then needs one look at a new leader's log, at the last committed index.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from zlib import crc32

from msgspec import Struct, field

from pyconsul.interfaces import Recovered
from pyconsul.raft import events
from pyconsul.raft.configuration import VOTER, Configuration
from pyconsul.raft.events import Role
from pyconsul.raft.messages import CONFIGURATION, Entry, RequestVote, RequestVoteResponse
from pyconsul.raft.snapshot import SnapshotInfo

VARIANTS_KEPT = 50_000
"""How far below the highest index the contents of uncommitted entries are remembered."""

STATES_KEPT = 5_000


class SafetyViolation(AssertionError):
    """A server did what no server may ever do."""


class Observed(Protocol):
    """What is looked at of a Raft core."""

    @property
    def role(self) -> Role: ...
    @property
    def term(self) -> int: ...
    @property
    def commit_index(self) -> int: ...
    @property
    def last_log_index(self) -> int: ...
    @property
    def configuration(self) -> Configuration: ...


class _View(Struct):
    """What is known of one server; ``durable``, ``sent_term`` and ``votes`` outlive a crash.

    :ivar configuration_index: the latest that it wrote since its start, 0 if that was dropped.
    """

    server: str
    terms: array[int]
    base: int
    """``terms[0]`` is the term of the entry ``base``, which may be the last one of a snapshot."""
    role: Role = Role.FOLLOWER
    term: int = 0
    commit_index: int = 0
    applied_index: int = 0
    durable: int = 0
    configuration_index: int = 0
    sent_term: int = 0
    unsynced: deque[tuple[int, int]] = field(default_factory=deque)
    votes: dict[int, str] = {}

    @property
    def last(self) -> int:
        return self.base + len(self.terms) - 1

    def term_at(self, index: int) -> int:
        """The term of the entry ``index``; -1 where the log has none."""
        place = index - self.base
        return self.terms[place] if 0 <= place < len(self.terms) else -1


class _Leader(Struct):
    """Who led in a term, and the end of its log when it was elected."""

    server: str
    last_index: int


class SafetyChecker:
    """Observes all servers of one Raft group; raises ``SafetyViolation`` at the first offence.

    :param note: takes terms and indexes into the digest of the run.
    :ivar committed: terms of the entries known to be committed, from index 1.
    """

    def __init__(self, note: Callable[[float], object] = lambda number: None) -> None:
        self.committed: array[int] = array("q")
        self.elections = 0
        self.checks = 0
        self._note = note
        self._views: dict[str, _View] = {}
        self._leaders: dict[int, _Leader] = {}
        self._committed_in: array[int] = array("q")
        self._applied: array[int] = array("Q")
        self._states: dict[int, object] = {}
        self._variants: dict[int, dict[int, tuple[int, int]]] = {}
        self._pruned = 0

    # ------------------------------------------------------------ life of a server

    def started(
        self, server: str, core: Observed, found: Recovered, snapshot: SnapshotInfo | None = None
    ) -> None:
        """``server`` has started with this log, and with the state of ``snapshot``."""
        view = self._views.get(server)
        if view is None:
            view = self._views[server] = _View(server, array("q"), 1)
        elif core.term < view.sent_term:
            self._fail(server, f"forgot its term: {core.term}, but it spoke in term {view.sent_term}")
        view.terms, view.base = array("q", found.terms), found.first_index
        if found.snapshot_index:
            view.terms.insert(0, found.snapshot_term)
            view.base -= 1
        view.role, view.term = core.role, core.term
        view.commit_index = view.applied_index = view.configuration_index = 0
        view.durable = view.last
        view.unsynced.clear()
        if snapshot is not None:
            if view.term_at(snapshot.index) != snapshot.term:
                self._fail(server, f"has a snapshot up to {snapshot.index} and no log that goes on there")
            self._is_committed(view, snapshot)
            view.commit_index = view.applied_index = snapshot.index
        elif view.base > 1:
            self._fail(server, f"has a log that begins with {view.base}, and no snapshot of what was before")
        if core.commit_index != view.commit_index:
            self._fail(server, f"starts at {core.commit_index}, but its state is that of {view.commit_index}")

    def _is_committed(self, view: _View, snapshot: SnapshotInfo) -> None:
        index, term = snapshot.index, snapshot.term
        if index > len(self.committed) or self.committed[index - 1] != term:
            self._fail(view.server, f"has a snapshot up to {index} of term {term}, which was not committed")

    def state_is(self, server: str, index: int, digest: object) -> None:
        """``server`` has this state after the entry ``index``, from the log or from a snapshot."""
        if self._states.setdefault(index, digest) != digest:
            self._fail(server, f"has another state at {index} than a different server had (snapshot)")
        if len(self._states) > STATES_KEPT:
            del self._states[next(iter(self._states))]

    # ------------------------------------------------------------ every event

    def observe(self, server: str, core: Observed, event: object, effects: Iterable[Any]) -> None:
        """``core`` handled ``event`` and asks for ``effects``."""
        self.checks += 1
        view = self._views[server]
        was_leader = view.role is Role.LEADER and view.term == core.term
        for effect in effects:
            look = _LOOKS.get(type(effect))
            if look is not None:
                look(self, view, core, effect, was_leader)
        if type(event) is events.Persisted:
            self._persisted(view, event.seq)
        term, role = core.term, core.role
        if term != view.term or role is not view.role:
            self._role(view, core)
        if core.last_log_index != view.last:
            self._fail(server, f"says its log ends at {core.last_log_index}, but wrote up to {view.last}")
        if core.commit_index != view.commit_index:
            self._commit(view, core)
        self._note(term)
        self._note(core.commit_index)

    def _fail(self, server: str, text: str) -> None:
        raise SafetyViolation(f"{server} {text}")

    def _role(self, view: _View, core: Observed) -> None:
        """Election safety; leader completeness."""
        if core.term < view.term:
            self._fail(view.server, f"went back from term {view.term} to {core.term}")
        view.term, view.role = core.term, core.role
        if core.role is not Role.LEADER:
            return
        before = self._leaders.get(core.term)
        if before is not None and before.server != view.server:
            self._fail(view.server, f"leads in term {core.term}, as {before.server} did (election safety)")
        if before is None:
            self.elections += 1
            self._leaders[core.term] = _Leader(view.server, view.last)
        index = len(self.committed)
        while index and self._committed_in[index - 1] >= core.term:  # by a later leader
            index -= 1
        if index and view.base <= index and view.term_at(index) != self.committed[index - 1]:
            self._fail(
                view.server,
                f"leads in term {core.term} without the entry {index} of term {self.committed[index - 1]}, "
                f"which was committed; it has {view.term_at(index)} there (leader completeness)",
            )

    def _commit(self, view: _View, core: Observed) -> None:
        """Commit indexes only grow, and only over what a majority has on its disk."""
        index = core.commit_index
        if index < view.commit_index:
            self._fail(view.server, f"went back from commit index {view.commit_index} to {index}")
        if index > view.last:
            self._fail(view.server, f"has commit index {index}, but its log ends at {view.last}")
        known = len(self.committed)
        if index > known:
            self._newly_committed(view, core, known + 1, index)
        elif view.term_at(index) not in (-1, self.committed[index - 1]):
            self._fail(
                view.server,
                f"took entry {index} of term {view.term_at(index)} for committed, "
                f"but that of term {self.committed[index - 1]} was (state machine safety)",
            )
        view.commit_index = index

    def _newly_committed(self, view: _View, core: Observed, first: int, index: int) -> None:
        term = view.term_at(index)
        voters = [server.id for server in core.configuration.servers if server.suffrage == VOTER]
        holders = [
            other.server
            for other in self._views.values()
            if other.server in voters and other.durable >= index and other.term_at(index) == term
        ]
        if 2 * len(holders) <= len(voters):
            self._fail(
                view.server,
                f"committed entry {index} of term {term}, which only {holders} of {voters} have on disk",
            )
        if term != core.term:
            self._fail(
                view.server,
                f"committed up to entry {index} of term {term} by itself in term {core.term} (paper, 5.4.2)",
            )
        for later, leader in self._leaders.items():
            if later > core.term and leader.last_index < index:
                self._fail(
                    view.server,
                    f"committed entry {index} in term {core.term}, but {leader.server} was elected in "
                    f"term {later} with a log up to {leader.last_index} (leader completeness)",
                )
        for place in range(first, index + 1):
            self.committed.append(view.term_at(place))
            self._committed_in.append(core.term)
        while self._pruned < index - VARIANTS_KEPT:
            self._pruned += 1
            self._variants.pop(self._pruned, None)

    # ------------------------------------------------------------ effects

    def _entries(self, view: _View, core: Observed, effect: events.PersistEntries, was_leader: bool) -> None:
        """Log matching: one content and one predecessor for each index and term."""
        terms = view.terms
        last = view.last
        for entry in effect.entries:
            if entry.index != last + 1:
                self._fail(view.server, f"wrote entry {entry.index} after entry {last}")
            previous = terms[-1] if terms else 0
            if entry.term < previous:
                self._fail(
                    view.server, f"wrote {entry.index} of term {entry.term} after one of term {previous}"
                )
            fingerprint = (_fingerprint(entry), previous)
            variants = self._variants.get(entry.index)
            if variants is None:
                self._variants[entry.index] = {entry.term: fingerprint}
            elif variants.setdefault(entry.term, fingerprint) != fingerprint:
                self._fail(
                    view.server,
                    f"has another entry {entry.index} of term {entry.term}, or another before it, "
                    "than a different server (log matching)",
                )
            if entry.kind == CONFIGURATION:
                self._configuration(view, entry.index, was_leader and core.role is Role.LEADER)
            terms.append(entry.term)
            last += 1
        view.unsynced.append((effect.seq, last))

    def _configuration(self, view: _View, index: int, leads: bool) -> None:
        """A leader changes the configuration only when the last one is committed."""
        if leads and view.configuration_index > view.commit_index:
            self._fail(
                view.server,
                f"changes the configuration in {index}, but that of {view.configuration_index} "
                "is not committed",
            )
        view.configuration_index = index

    def _truncation(
        self, view: _View, core: Observed, effect: events.PersistTruncation, was_leader: bool
    ) -> None:
        """Leader append-only; nothing committed is dropped."""
        if was_leader and core.role is Role.LEADER:
            self._fail(
                view.server, f"dropped entries of its log while leading in term {core.term} (append-only)"
            )
        if effect.first_dropped <= view.commit_index:
            self._fail(
                view.server,
                f"dropped entries from {effect.first_dropped}, of which {view.commit_index} are committed",
            )
        del view.terms[max(0, effect.first_dropped - view.base) :]
        view.durable = min(view.durable, view.last)
        if view.configuration_index >= effect.first_dropped:
            view.configuration_index = 0

    def _restore(self, view: _View, core: Observed, effect: events.RestoreSnapshot, was_leader: bool) -> None:
        """A snapshot holds what was committed, is never older than what it replaces, and ends the log."""
        info = effect.info
        self._is_committed(view, info)
        if was_leader or info.index <= view.commit_index:
            self._fail(view.server, f"went to the snapshot of {info.index} from {view.commit_index}")
        view.terms, view.base = array("q", [info.term]), info.index
        view.commit_index = view.applied_index = view.durable = info.index
        view.unsynced.clear()

    def _apply(self, view: _View, core: Observed, effect: events.Apply, was_leader: bool) -> None:
        """State machine safety: the same entries in the same order everywhere."""
        applied = self._applied
        for entry in effect.entries:
            index = view.applied_index + 1
            if entry.index != index:
                self._fail(view.server, f"applied entry {entry.index} after entry {index - 1}")
            if index > core.commit_index:
                self._fail(view.server, f"applied entry {index} beyond its commit index {core.commit_index}")
            fingerprint = entry.term << 32 | _fingerprint(entry)
            if index > len(applied):
                if index > len(applied) + 1:
                    self._fail(view.server, f"applied entry {index}, but nobody applied those before")
                applied.append(fingerprint)
            elif applied[index - 1] != fingerprint:
                self._fail(
                    view.server,
                    f"applied another entry {index} (term {entry.term}) than a different server "
                    f"(term {applied[index - 1] >> 32}) did (state machine safety)",
                )
            view.applied_index = index

    def _send(self, view: _View, core: Observed, effect: events.Send, was_leader: bool) -> None:
        """One vote in a term; nothing said in a term that a crash could make one forget."""
        message = effect.message
        kind = type(message)
        if kind is RequestVote or kind is RequestVoteResponse:
            if message.pre_vote:  # type: ignore[union-attr]
                return
            if kind is RequestVote:
                self._vote(view, message.term, view.server)
            elif message.granted:  # type: ignore[union-attr]
                self._vote(view, message.term, effect.to)
        if message.term > view.sent_term:
            view.sent_term = message.term

    def _vote(self, view: _View, term: int, candidate: str) -> None:
        if view.votes.setdefault(term, candidate) != candidate:
            self._fail(view.server, f"voted in term {term} for {view.votes[term]} and for {candidate}")

    def _persisted(self, view: _View, seq: int) -> None:
        unsynced = view.unsynced
        while unsynced and unsynced[0][0] <= seq:
            view.durable = min(max(view.durable, unsynced.popleft()[1]), view.last)


def _fingerprint(entry: Entry) -> int:
    return crc32(entry.data, entry.kind)


_LOOKS: dict[type[Any], Callable[[SafetyChecker, _View, Any, Any, bool], None]] = {
    events.PersistEntries: SafetyChecker._entries,
    events.PersistTruncation: SafetyChecker._truncation,
    events.RestoreSnapshot: SafetyChecker._restore,
    events.Apply: SafetyChecker._apply,
    events.Send: SafetyChecker._send,
}
