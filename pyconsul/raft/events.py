"""What happens to a Raft core, and what it asks to be done.

``RaftCore.handle(now, event)`` takes one event and returns effects, to be carried out in order.

The disk is an event too. Each ``Persist*`` effect carries the next ``seq`` (1, 2, 3, ...); the
storage performs them in that order and reports ``Persisted(seq)`` once everything up to ``seq`` is
durable. Answers that depend on a write are held back by the core until then, so no driver has to
know an ordering rule.
"""

from collections.abc import Sequence
from enum import Enum

from msgspec import Struct

from pyconsul.raft.configuration import Configuration, ServerId
from pyconsul.raft.messages import COMMAND, Entry, InstallSnapshot, Message
from pyconsul.raft.snapshot import SnapshotInfo


class Role(Enum):
    """What a server is at the moment."""

    FOLLOWER = "Follower"
    CANDIDATE = "Candidate"
    LEADER = "Leader"


# ---------------------------------------------------------------- events


class Tick(Struct, frozen=True):
    """A deadline of ``next_deadline()`` has come."""


class MessageReceived(Struct, frozen=True):
    """A message from the server with id ``sender``."""

    sender: ServerId
    message: Message


class Propose(Struct, frozen=True):
    """Append these commands. Answered at once by ``Proposed`` or ``ProposalRefused``.

    :ivar kind: of the entries: ``COMMAND`` or ``RESTORE``.
    """

    commands: Sequence[bytes]
    kind: int = COMMAND


class ConfirmLeadership(Struct, frozen=True):
    """Ask a majority whether the leader, this server or another, still leads (ReadIndex, dissertation 6.4).

    Answered, once, by ``LeadershipConfirmed(token, index)`` or ``LeadershipRefused(token)``.

    :ivar token: higher in each.
    :ivar leased: the word of a leader that holds the lease will do.
    """

    token: int
    leased: bool = False


class Bootstrap(Struct, frozen=True):
    """Write ``configuration`` as entry 1 of term 1 of an empty log; ignored otherwise."""

    configuration: Configuration


class ChangeKind(Enum):
    """One change of the configuration (specs/raft.md, section 6)."""

    ADD_VOTER = "add voter"
    ADD_NONVOTER = "add nonvoter"
    DEMOTE_VOTER = "demote voter"
    REMOVE_SERVER = "remove server"


class ChangeConfiguration(Struct, frozen=True):
    """Change one server. Answered at once by ``Proposed`` or ``ProposalRefused``.

    :ivar prev_index: if above 0, the index that the latest configuration must have.
    """

    kind: ChangeKind
    server: ServerId
    address: str = ""
    prev_index: int = 0


class TransferLeadership(Struct, frozen=True):
    """Hand leadership to ``target`` or, if empty, to the most up-to-date voter.

    Answered by ``TransferEnded``.
    """

    target: ServerId = ""


class Persisted(Struct, frozen=True):
    """All persist effects up to ``seq`` are durable."""

    seq: int


class Unreachable(Struct, frozen=True):
    """The transport lost the connection to ``peer``: what was on its way may be lost."""

    peer: ServerId


class SnapshotTaken(Struct, frozen=True):
    """This server has made a snapshot of what it applied; it is durable."""

    info: SnapshotInfo


class PieceStored(Struct, frozen=True):
    """The leader's snapshot ``info`` is written down up to ``offset``."""

    info: SnapshotInfo
    offset: int


class SnapshotReady(Struct, frozen=True):
    """The leader's snapshot ``info`` is whole, durable and understood."""

    info: SnapshotInfo


class SnapshotFailed(Struct, frozen=True):
    """The leader's snapshot ``info`` cannot be written down, or is damaged: nothing of it is kept."""

    info: SnapshotInfo


Event = (
    Tick
    | MessageReceived
    | Propose
    | ConfirmLeadership
    | Bootstrap
    | ChangeConfiguration
    | TransferLeadership
    | Persisted
    | Unreachable
    | SnapshotTaken
    | PieceStored
    | SnapshotReady
    | SnapshotFailed
)

# ---------------------------------------------------------------- effects


class Send(Struct, frozen=True):
    """Send ``message`` to the server ``to`` at ``address`` (``ip:port``)."""

    to: ServerId
    address: str
    message: Message


class PersistState(Struct, frozen=True):
    """Make term and vote durable (``voted_for`` empty: none in this term)."""

    seq: int
    term: int
    voted_for: ServerId


class PersistEntries(Struct, frozen=True):
    """Append ``entries`` to the log on disk; their indexes follow its last one."""

    seq: int
    entries: Sequence[Entry]


class PersistTruncation(Struct, frozen=True):
    """Drop all entries from ``first_dropped`` to the end."""

    seq: int
    first_dropped: int


class SendPiece(Struct, frozen=True):
    """Send ``message`` with the ``size`` bytes of its snapshot that begin at its ``offset``."""

    to: ServerId
    address: str
    message: InstallSnapshot
    size: int


class StorePiece(Struct, frozen=True):
    """Write a piece of the leader's snapshot down, beside what this server has; ``offset`` 0 begins anew.

    Answered by ``PieceStored``, and after the last piece by ``SnapshotReady`` or ``SnapshotFailed``.
    """

    info: SnapshotInfo
    offset: int
    data: bytes


class RestoreSnapshot(Struct, frozen=True):
    """Make the snapshot ``info``, of which ``SnapshotReady`` told, the state; the log is empty after it."""

    seq: int
    info: SnapshotInfo


class Apply(Struct, frozen=True):
    """These entries are committed: apply them in order, each once.

    All kinds are included (a waiter may sit on a configuration entry).
    """

    entries: Sequence[Entry]


class RoleChanged(Struct, frozen=True):
    """Role, term or known leader changed. ``leader`` is empty while none is known.

    A new leader may serve default reads only once it has applied an entry of its own term:
    its no-op, index ``barrier``.
    """

    role: Role
    term: int
    leader: ServerId
    leader_address: str
    barrier: int = 0


class ConfigurationChanged(Struct, frozen=True):
    """The latest configuration (in force when appended) is now this one."""

    configuration: Configuration
    index: int


class Proposed(Struct, frozen=True):
    """The proposals of this event got ``first_index`` and the ones after it, in ``term``."""

    first_index: int
    count: int
    term: int


class ProposalRefused(Struct, frozen=True):
    """The proposals of this event were not appended. ``reason`` is the text for the user."""

    reason: str
    not_leader: bool = False


class LeadershipConfirmed(Struct, frozen=True):
    """A read may be served once ``index`` is applied."""

    token: int
    index: int


class LeadershipRefused(Struct, frozen=True):
    """There is no leader to ask, it changed meanwhile, or it does not answer."""

    token: int


class TransferEnded(Struct, frozen=True):
    """``error`` is empty when the target took over, else the text for the user."""

    error: str


Effect = (
    Send
    | PersistState
    | PersistEntries
    | PersistTruncation
    | SendPiece
    | StorePiece
    | RestoreSnapshot
    | Apply
    | RoleChanged
    | ConfigurationChanged
    | Proposed
    | ProposalRefused
    | LeadershipConfirmed
    | LeadershipRefused
    | TransferEnded
)
