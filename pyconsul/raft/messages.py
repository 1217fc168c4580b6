"""What Raft servers say to each other, as array-like MessagePack structs.

Names are those of the Raft paper and of Ongaro's dissertation; every message carries the sender's
``term``. Delivery is best effort: a message may be lost, delayed, doubled or overtaken.

Requests carry the ``address`` (``ip:port``) at which their sender is answered, because a server
that is being added, or has lost its disk, knows no configuration in which to look it up.
"""

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

from pyconsul.raft.snapshot import SnapshotInfo

COMMAND = 0
NOOP = 1
CONFIGURATION = 2
RESTORE = 3


class Entry(Struct, array_like=True, frozen=True, gc=False):
    """One log entry.

    :ivar kind: ``COMMAND`` (``data`` goes to the state machine), ``NOOP`` (a new leader's first
        entry), ``CONFIGURATION`` (``data`` is an encoded ``Configuration``) or ``RESTORE`` (a piece
        of a state that is to replace the machine's).
    """

    term: int
    index: int
    kind: int
    data: bytes


class RequestVote(Struct, array_like=True, frozen=True, tag=1):
    """Ask for a vote, or with ``pre_vote`` whether one would be given in ``term``.

    :ivar transfer: the leader told the candidate to start (dissertation, 3.10), so receivers do
        not protect a live leader.
    """

    term: int
    last_log_index: int
    last_log_term: int
    pre_vote: bool = False
    transfer: bool = False
    address: str = ""


class RequestVoteResponse(Struct, array_like=True, frozen=True, tag=2):
    """The answer to ``RequestVote``; for a granted pre-vote ``term`` is the term asked about."""

    term: int
    granted: bool
    pre_vote: bool = False


class AppendEntries(Struct, array_like=True, frozen=True, tag=3):
    """Entries that follow ``prev_log_index``; none to pass on the commit index or to probe."""

    term: int
    prev_log_index: int
    prev_log_term: int
    leader_commit: int
    entries: Sequence[Entry] = ()
    address: str = ""


class AppendEntriesResponse(Struct, array_like=True, frozen=True, tag=4):
    """The answer to ``AppendEntries``; one answer may stand for several that came before.

    :ivar match_index: on success, up to where the follower's log is durable and equals the leader's.
    :ivar prev_log_index: on a reject, that of the request, so that a late reject can be told from
        a new one.
    :ivar hint_index: on a reject, the last index at which the logs may still agree.
    :ivar hint_term: the follower's term at ``hint_index``.
    """

    term: int
    success: bool
    match_index: int
    prev_log_index: int
    hint_index: int = 0
    hint_term: int = 0


class Heartbeat(Struct, array_like=True, frozen=True, tag=5):
    """The leader lives. ``context`` comes back in the answer and confirms reads (6.4).

    :ivar leader_commit: no higher than what the receiver has confirmed to match, since a heartbeat
        says nothing about the log before it.
    :ivar context: higher in each heartbeat of a term.
    """

    term: int
    leader_commit: int
    context: int
    address: str = ""


class HeartbeatResponse(Struct, array_like=True, frozen=True, tag=6):
    """The answer to ``Heartbeat``; with it a leader tells lost messages from a slow disk.

    :ivar match_index: as in ``AppendEntriesResponse``, in case that answer was lost.
    :ivar received_index: up to where the follower's log equals the leader's, durable or not.
        Both are 0 until this term's leader has appended something.
    """

    term: int
    context: int
    match_index: int = 0
    received_index: int = 0


class TimeoutNow(Struct, array_like=True, frozen=True, tag=7):
    """Start an election at once: leadership is handed over to the receiver."""

    term: int


class InstallSnapshot(Struct, array_like=True, frozen=True, tag=8):
    """A piece of the snapshot ``info``, from ``offset`` on (paper, figure 13).

    Without ``data`` it asks how far the receiver has come.
    """

    term: int
    info: SnapshotInfo
    offset: int
    data: bytes = b""
    address: str = ""


class InstallSnapshotResponse(Struct, array_like=True, frozen=True, tag=9):
    """The answer to ``InstallSnapshot``. That all of it is installed an ``AppendEntriesResponse`` says.

    :ivar index: of the snapshot.
    :ivar offset: the receiver has what lies before this.
    :ivar again: what was sent from ``offset`` on did not come, or not in order.
    """

    term: int
    index: int
    offset: int
    again: bool = False


class ReadIndex(Struct, array_like=True, frozen=True, tag=10):
    """A follower asks its leader up to where it has to have applied the log before it answers a read (6.4).

    :ivar context: comes back in the answer; never the same twice, also after a restart.
    :ivar leased: the leader may answer at once while no other can lead, by its clock; else a majority
        has to confirm it first.
    """

    term: int
    context: int
    leased: bool
    address: str = ""


class ReadIndexResponse(Struct, array_like=True, frozen=True, tag=11):
    """The answer to ``ReadIndex``: ``index`` was committed when the leader was certain to lead."""

    term: int
    context: int
    index: int


Message: TypeAlias = (
    RequestVote
    | RequestVoteResponse
    | AppendEntries
    | AppendEntriesResponse
    | Heartbeat
    | HeartbeatResponse
    | TimeoutNow
    | InstallSnapshot
    | InstallSnapshotResponse
    | ReadIndex
    | ReadIndexResponse
)
