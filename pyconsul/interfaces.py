"""What one layer asks of another.

The five things that differ between a real node and a simulated one are arguments everywhere:
the clock (Twisted's ``IReactorTime``), chance (``random.Random``), the network (``RaftTransport``,
``RpcTransport``, ``GossipTransport``), the disk (``Disk``) and the wall time (``WallTime``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, Self, TypeAlias

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from pyconsul.raft.messages import Entry, Message
    from pyconsul.serf.members import Member
    from pyconsul.structs.agent import CheckDefinition, ServiceDefinition
    from pyconsul.structs.catalog import HealthCheck, NodeService
    from pyconsul.structs.metrics import Metrics
    from pyconsul.structs.relay import Relayed

WallTime: TypeAlias = Callable[[], float]
"""Seconds since 1970; for timestamps that people read, never for durations."""

Address: TypeAlias = tuple[str, int]
"""An IP address in text form and a port."""


class Core(Protocol):
    """A pure state machine: told what happened and when, it returns what should be done."""

    def handle(self, now: float, event: Any) -> Iterable[Any]:
        """Take one event; return effects in the order in which they are to be done."""
        ...

    def next_deadline(self) -> float | None:
        """When ``Tick`` is due, on the core's clock in seconds; ``None``: not at all."""
        ...


# ---------------------------------------------------------------- disk


class DiskFile(Protocol):
    """An open file. Writes are seen by reads at once and are durable after ``sync``."""

    def write(self, parts: Sequence[bytes], offset: int) -> None:
        """Write ``parts`` back to back at ``offset``; never blocks for the disk."""
        ...

    def read(self, size: int, offset: int) -> bytes:
        """Read up to ``size`` bytes at ``offset``; short at the end of the file."""
        ...

    def allocate(self, size: int) -> None:
        """Reserve zeros up to ``size`` bytes, so that later syncs need not touch the inode."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        ...

    def size(self) -> int:
        """Bytes in the file, what was allocated included."""
        ...

    def sync(self) -> None:
        """Make all writes made so far durable (fdatasync).

        Blocks: only in a job of ``Disk.submit``, or before anything is served. In a job it covers
        what was written before the job was submitted; what is written later may or may not be.
        """
        ...

    def close(self) -> None:
        """Give the file back; it is not synced."""
        ...


class Disk(Protocol):
    """A folder on a disk. Paths are relative to it, with ``/``; ``""`` is the folder itself.

    Errors are ``OSError``. Like a real disk: what is not synced may be lost, whole or in part and in
    any order, in a crash; a new, renamed or removed name is durable only after ``sync_folder``.
    """

    def open(self, path: str, create: bool = False) -> DiskFile:
        """Open for reading and writing; ``create`` makes an empty file if there is none."""
        ...

    def list(self, folder: str) -> list[str]:
        """Names in ``folder``, sorted; empty if there is none."""
        ...

    def make_folder(self, path: str) -> None:
        """Create a folder in an existing one; nothing happens if it is there."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Rename a file or folder within its folder, atomically replacing a file named ``new``."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file or an empty folder."""
        ...

    def sync_folder(self, path: str) -> None:
        """Make creations, renames and removals in ``path`` durable. Blocks as ``DiskFile.sync``."""
        ...

    def submit(self, job: Callable[[], None], done: Callable[[BaseException | None], None]) -> None:
        """Run ``job`` off the reactor (one thread, in the order submitted), then ``done`` on it."""
        ...

    def soon(self, call: Callable[[], None]) -> None:
        """Run ``call`` on the reactor in its next turn, after it has looked for news of any kind."""
        ...

    def close(self) -> None:
        """End the thread after the jobs that are queued, each of which gets its ``done``."""
        ...


class Recovered(Protocol):
    """What a ``RaftStorage`` found on the disk."""

    @property
    def term(self) -> int:
        """Never less than the term of the last entry."""
        ...

    @property
    def voted_for(self) -> str:
        """Whom this server voted for in ``term``; empty for nobody."""
        ...

    @property
    def first_index(self) -> int:
        """Index of the first entry kept; ``last_index`` is one less when there is none."""
        ...

    @property
    def last_index(self) -> int:
        """Index of the last entry kept."""
        ...

    @property
    def snapshot_index(self) -> int:
        """The log continues after this entry (0: from the start): always ``first_index - 1``.

        When entries that a snapshot covers are kept for slow followers, this lies before the
        snapshot's own index, which only the snapshot files know.
        """
        ...

    @property
    def snapshot_term(self) -> int:
        """The term of the entry ``snapshot_index``."""
        ...

    @property
    def terms(self) -> Sequence[int]:
        """The term of each entry from ``first_index`` to ``last_index``."""
        ...


class RaftStorage(Protocol):
    """Durable term, vote and log of one server.

    ``persisted(seq)`` is called on the reactor, in order, once everything up to ``seq`` is durable;
    it stands for all lower numbers, which may be skipped. ``failed(seq, error)`` is called at most
    once: ``seq`` and all after it are not known to be durable and never will be.
    """

    persisted: Callable[[int], None]
    failed: Callable[[int, BaseException], None]

    @property
    def notes(self) -> Sequence[str]:
        """What ``recover`` wants people to know, one text each."""
        ...

    def recover(self) -> Recovered:
        """Open or create what is there; raises ``StorageDamaged``. Blocks for the disk."""
        ...

    def save_state(self, seq: int, term: int, voted_for: str) -> None:
        """Make the term and the vote durable, then report ``seq``."""
        ...

    def append(self, seq: int, entries: Sequence[Entry]) -> None:
        """Add entries behind the last one; reports ``seq`` once they are durable."""
        ...

    def truncate(self, seq: int, first_dropped: int) -> None:
        """Drop the entries from this index on; reports ``seq`` once that is durable."""
        ...

    def reset(self, seq: int, snapshot_index: int, snapshot_term: int) -> None:
        """Drop the whole log; it continues after that entry, which a durable snapshot covers."""
        ...

    def compact(self, first_kept: int) -> int:
        """Allow entries before ``first_kept`` to be dropped; returns the first index that is kept.

        A durable snapshot has to cover what is dropped. Nothing is reported through ``persisted``.
        """
        ...

    def read(self, first: int, end: int, bytes_max: int) -> list[Entry]:
        """Entries ``first`` to ``end - 1``: at least one, then as many as fit ``bytes_max``.

        The range must be held (a bug otherwise); raises ``StorageDamaged`` if the disk gives back
        something else than was written.
        """
        ...

    def bytes_after(self, index: int) -> int:
        """How many bytes the entries behind ``index`` take, as far as they are held."""
        ...

    def close(self) -> None:
        """Make durable what is not yet, report nothing more."""
        ...

    def probe(self) -> None:
        """Find out whether a disk that failed can be written to. Blocks; raises ``OSError``."""
        ...

    def reopened(self) -> Self:
        """After a failure, and once this one is closed: one that recovers what is on the disk.

        It raises ``StorageDamaged`` if that is less than what was durable.
        """
        ...

    def abandon(self) -> None:
        """Give back at once what ``recover`` took, whether or not it came to its end."""
        ...


# ---------------------------------------------------------------- network


class RaftTransport(Protocol):
    """Raft messages between servers: best effort, bounded, in order while a connection stands."""

    received: Callable[[str, Message], None]
    """Called with the sender's server id and its message."""
    unreachable: Callable[[str], None]
    """Called with a server id when its connection broke or could not be made."""

    def send(self, to: str, address: str, message: Message) -> None:
        """Hand a message over; it may be lost, and nobody is told of that."""
        ...


class RpcTransport(Protocol):
    """Calls to other servers' endpoints, and theirs to ours."""

    handler: Callable[[str, bytes], Any]
    """Serves a call of a peer: takes method and body; the reply's bytes or a Deferred of them,
    or a ``PyconsulError`` raised or failed with. Set by a server; a client agent serves nothing."""

    def call(self, address: str, method: str, body: bytes, timeout_s: float) -> Deferred[bytes]:
        """The reply's bytes; fails with the peer's ``PyconsulError``, with ``NotSent`` when
        the call has certainly not been made, else with ``Unreachable``."""
        ...

    def abandon(self, address: str) -> None:
        """Expect no answer of that peer any more: calls to it fail, and the next one connects anew."""
        ...


class GossipTransport(Protocol):
    """Packets and streams of one gossip pool (specs of memberlist, section 1)."""

    packet_received: Callable[[bytes, Address], None]
    stream_received: Callable[[bytes, Address], bytes | None]
    """A whole request that came by TCP; returns the answer's bytes, if there is one."""
    speaks_tls: Callable[[Address], bool | None]
    """Whether who gossips at an address takes streams inside TLS; ``None``: nobody knows."""
    address: Address

    def send(self, packet: bytes, to: Address) -> None:
        """Send a packet, which may be lost."""
        ...

    def exchange(self, request: bytes, to: Address, timeout_s: float, answer: bool) -> Deferred[bytes]:
        """Send a stream request; fires with the whole answer, empty if ``answer`` is false."""
        ...


# ---------------------------------------------------------------- the agent, to HTTP and DNS


class Watcher(Protocol):
    """Somebody to be told, once, that what a read returned has changed."""

    def wake(self) -> None:
        """Something did; whoever watches has been forgotten, and may register anew."""
        ...


class AnswerWatcher(Watcher, Protocol):
    """A watcher that hands itself to ``Agent.ask`` together with a question.

    :ivar armed: set by ``Agent.ask`` once ``wake`` will be called.
    :ivar watch: set by ``Agent.ask``; ``Agent.forget`` needs it.
    """

    armed: bool
    watch: Any


class Joining(Protocol):
    """Says for how long others may have the answer to a question that was asked by one."""

    def takes(self, waited_s: float) -> bool:
        """Whether who asks so long after the first is told no less than by asking himself."""
        ...


class Later(Enum):
    """What is returned instead of a result of which a ``Waiter`` will be told."""

    LATER = "later"


LATER: Final = Later.LATER


class Waiter(Protocol):
    """Who waits for one result, and is told once. A ``Deferred`` is one; others cost less.

    It is never told before the call that it was given to has returned, and must not raise.
    """

    @property
    def callback(self) -> Callable[[Any], object]:
        """Takes the result."""
        ...

    @property
    def errback(self) -> Callable[[Any], object]:
        """Takes the exception, or a ``Failure`` of it, that there is instead."""
        ...


class Agent(Protocol):
    """What HTTP, DNS and the checks need of an agent, whatever its role.

    ``pyconsul.agent`` provides it; nothing below imports that package.
    """

    def ask(
        self,
        method: str,
        request: Any,
        watcher: AnswerWatcher | None = None,
        waiter: Waiter | None = None,
    ) -> Any:
        """Call the endpoint ``method`` wherever it has to run; the reply struct or a Deferred of it.

        A read that this node answers from its own store registers ``watcher`` on exactly what it
        read and sets ``watcher.armed = True``. What is soon over, and so need not be cancelled, may
        return ``LATER`` and tell ``waiter``, if there is one.
        """
        ...

    def confirm(self, waiter: Waiter, leased: bool) -> Joining:
        """Tell ``waiter`` once all is in this node's store that was acknowledged before the call.

        What it answers from its own store then is linearizable, also to who asks while the question
        is not sent yet.

        :param leased: the word of a leader that surely leads will do.
        :returns: whether that is still so.
        :raises PyconsulError: ``NoLeader`` if there is nobody to ask; the same may be told later.
        """
        ...

    def holds_lease(self) -> bool:
        """Whether no other node can lead now: what this one answers from its own store is linearizable."""
        ...

    def last_contact_ms(self) -> int:
        """How long ago this node heard of its leader; 0 on the leader."""
        ...

    def relay(self, target: bytes) -> tuple[Joining, Deferred[Relayed | None]] | None:
        """Have the GET of ``target`` answered by another agent that this one would have to ask anyway.

        ``target`` is one whose answer depends on it and the store alone. ``None``, now or later, if it
        has to be asked for in the usual way.
        """
        ...

    def shared_time_s(self, request: Any) -> float:
        """For how long others may join a blocking read that was asked just now.

        It waits that much longer than ``request`` asks for, at least.
        """
        ...

    def forget(self, watcher: AnswerWatcher) -> None:
        """Take back the registration of an armed ``watcher`` that was not woken."""
        ...


class SnapshotStream(Protocol):
    """An archive of the state (``pyconsul.storage.archive``) while it is being read.

    :ivar index: of the state. :ivar last_contact: nanoseconds since the server heard of its leader.
    :ivar known_leader: whether it knew one.
    """

    index: int
    last_contact: int
    known_leader: bool

    def read(self) -> Deferred[bytes]:
        """The next piece, of about a MiB at most; an empty one is the end.

        One at a time. Fails with ``PyconsulError``, and then there is nothing more to come.
        """
        ...

    def close(self) -> None:
        """Nobody reads on; does nothing after the end."""
        ...


class LocalAgent(Agent, Protocol):
    """What ``/v1/agent/`` needs besides: the node itself, its services and its checks."""

    @property
    def serves_prometheus(self) -> bool:
        """Whether Prometheus may read ``metrics``."""
        ...

    @property
    def allows_scripts(self) -> bool:
        """Whether checks that run programs may be registered over HTTP."""
        ...

    def members(self, segment: str = "") -> Sequence[Member]:
        """The gossip pool of the datacenter as this agent sees it.

        Raises ``PyconsulError`` for any segment but the one there is, and ``_all``.
        """
        ...

    def wan_members(self) -> Sequence[Member] | None:
        """The pool of the servers of all datacenters; ``None`` if this agent is not in it."""
        ...

    def join(self, addresses: Sequence[str]) -> Deferred[int]:
        """Join through ``addresses``; fires with how many answered."""
        ...

    def join_wan(self, addresses: Sequence[str]) -> Deferred[int]:
        """The same for the pool of the servers of all datacenters; fails with ``PyconsulError``."""
        ...

    def leave(self) -> Deferred[None]:
        """Leave gracefully, then end."""
        ...

    def force_leave(self, name: str, prune: bool = False, wan: bool = False) -> None:
        """Make a failed member one that left, in both pools; raises ``PyconsulError`` if there is none.

        With ``wan`` only in the pool of the servers of all datacenters, where ``name`` tells the
        datacenter too.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """``/v1/agent/self``."""
        ...

    def metrics(self) -> Metrics:
        """What is counted and measured, as it is now."""
        ...

    def describe_host(self) -> dict[str, Any]:
        """``/v1/agent/host``."""
        ...

    def reload(self) -> None:
        """Read the configuration again; raises ``PyconsulError`` if it is wrong, changing nothing."""
        ...

    def reload_diff(self) -> list[str]:
        """What ``reload`` would change, a line each; raises as that does."""
        ...

    def local_services(self) -> dict[str, NodeService]:
        """The services registered with this agent, by id."""
        ...

    def local_checks(self) -> dict[str, HealthCheck]:
        """The checks registered with this agent, by id."""
        ...

    def register_service(self, definition: ServiceDefinition, replace_checks: bool) -> None:
        """Add or replace a service; raises ``PyconsulError``."""
        ...

    def deregister_service(self, service_id: str) -> None:
        """Remove a service and its checks; an unknown one is no error."""
        ...

    def register_check(self, definition: CheckDefinition) -> None:
        """Add or replace a check; raises ``PyconsulError``."""
        ...

    def deregister_check(self, check_id: str) -> None:
        """Stop and remove a check; an unknown one is no error."""
        ...

    def update_ttl(self, check_id: str, status: str, output: str) -> None:
        """Set the state of a TTL check; raises ``PyconsulError`` if it is not one."""
        ...

    def service_changed(self, service_id: str, wait_s: float) -> Deferred[None]:
        """Fires when a service came, changed or went, or the wait is over; 0 s is the usual wait."""
        ...

    def maintain_node(self, enable: bool, reason: str, token: str) -> None:
        """Begin or end maintenance of this node."""
        ...

    def maintain_service(self, service_id: str, enable: bool, reason: str, token: str) -> None:
        """Begin or end maintenance of a service; raises ``NotFound``."""
        ...

    def snapshot(self, datacenter: str, token: str, allow_stale: bool) -> Deferred[SnapshotStream]:
        """Begin an archive of the whole state, at the leader or with ``allow_stale`` at any server.

        Fails with ``PyconsulError``. The caller reads it to its end or closes it.
        """
        ...

    def restore_snapshot(self, archive: BinaryIO, datacenter: str, token: str) -> Deferred[dict[str, int]]:
        """Make an archive the state of all servers; fires with what could not be taken over.

        That is how many rows by what they are, empty if all were. Fails with ``PyconsulError`` if the
        archive is damaged or cannot be restored; unless leadership is lost meanwhile, nothing has
        changed then. The caller keeps ``archive`` open until this fires, and closes it.
        """
        ...
