"""What is done with snapshots while a server runs: taking them, sending them, taking them over.

Everything proceeds in steps: what concerns the state is done on the reactor, a slice a turn; what
concerns the disk in jobs of its thread, so that neither waits long for the other.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol
from zlib import crc32

from msgspec import Struct
from msgspec.structs import replace
from twisted.internet.interfaces import IReactorTime

from pyconsul.errors import StorageDamaged
from pyconsul.interfaces import Disk, DiskFile, RaftTransport, Recovered, WallTime
from pyconsul.log import make_logger
from pyconsul.raft import events
from pyconsul.raft.events import PieceStored, SnapshotFailed, SnapshotReady, SnapshotTaken
from pyconsul.raft.snapshot import SnapshotInfo
from pyconsul.storage.recovery import REJOIN
from pyconsul.storage.snapshots import READ_BYTES, Draft, SnapshotFiles, SnapshotName

WRITE_BYTES = 1024 * 1024
WRITES_WAITING_MAX = 2
OPEN_FILES_MAX = 4


class StateDecoder(Protocol):
    """Makes a state of the bytes that ``Machine.slices`` gave."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes, as many as there are. Raises ``StorageDamaged``."""
        ...

    def finish(self) -> Any:
        """The state, once everything was fed. Raises ``StorageDamaged``."""
        ...


class Machine(Protocol):
    """The state machine that snapshots are taken of."""

    @property
    def is_whole(self) -> bool:
        """Whether ``slices`` may be called now."""
        ...

    def slices(self) -> Iterator[bytes]:
        """The state as it is now, whatever becomes of it while this is read; a slice is soon made."""
        ...

    def decoder(self) -> StateDecoder:
        """For one snapshot."""
        ...

    def restore(self, state: Any) -> None:
        """Become what a decoder made."""
        ...


class _Taking:
    """A snapshot that is being taken."""

    def __init__(self, info: SnapshotInfo, slices: Iterator[bytes], draft: Draft) -> None:
        self.info = info
        self.slices = slices
        self.draft = draft
        self.parts: list[bytes] = []
        self.size = 0
        self.waiting = 0
        self.resting = False


class _Incoming:
    """A leader's snapshot that is being taken over.

    :ivar end: how much of it came.
    """

    def __init__(self, info: SnapshotInfo, draft: Draft, decoder: StateDecoder) -> None:
        self.info = info
        self.draft = draft
        self.decoder = decoder
        self.end = 0
        self.name: SnapshotName | None = None
        self.file: DiskFile | None = None
        self.read = 0
        self.checksum = 0


class RecoveredAfterSnapshot(Struct, frozen=True):
    """A log that has nothing but what the snapshot covers (``interfaces.Recovered``)."""

    term: int
    voted_for: str
    snapshot_index: int
    snapshot_term: int
    terms: tuple[int, ...] = ()

    @property
    def first_index(self) -> int:
        """There is no entry."""
        return self.snapshot_index + 1

    @property
    def last_index(self) -> int:
        """There is no entry."""
        return self.snapshot_index


class Snapshotting:
    """The snapshots of one server.

    :param feed: gives an event to the Raft core.
    :param taken: called when a snapshot of our own is durable, and the core knows.
    :ivar files: where they lie.
    :ivar notes: what ``recover`` wants people to know.
    """

    def __init__(
        self,
        disk: Disk,
        folder: str,
        clock: IReactorTime,
        wall_time: WallTime,
        machine: Machine,
        transport: RaftTransport,
        feed: Callable[[Any], None],
        taken: Callable[[SnapshotInfo], None],
    ) -> None:
        self._log = make_logger("agent.server.snapshot")
        self._disk = disk
        self._clock = clock
        self._wall_time = wall_time
        self._machine = machine
        self._transport = transport
        self._feed = feed
        self._tell_taken = taken
        self.files = SnapshotFiles(disk, folder)
        self._taking: _Taking | None = None
        self._incoming: _Incoming | None = None
        self._ready: tuple[SnapshotInfo, Any] | None = None
        self._open: dict[tuple[int, int, int], DiskFile] = {}
        self._stopped = False
        self.notes: list[str] = []

    # ------------------------------------------------------------ start

    def recover(self, found: Recovered) -> SnapshotInfo | None:
        """Make the newest snapshot that can be used the machine's state. Blocks for the disk.

        :param found: the log, which has to go on where the snapshot ends or before.
        :raises StorageDamaged: naming a file, if what is left does not make a whole.
        """
        snapshot = self.find(found)
        if snapshot is None:
            return None
        info, state = snapshot
        self._machine.restore(state)
        return info

    def find(self, found: Recovered, have: int = -1) -> tuple[SnapshotInfo, Any] | None:
        """The newest snapshot that can be used, and its state; as ``recover``, but changes no state.

        :param have: up to where the machine is: what is not above that is checked, but not decoded.
        :raises OSError: it cannot be read now; that is no damage yet, and mends itself perhaps.
        """
        damage = ""
        unread: OSError | None = None
        for name in self.files.recover():
            try:
                info = self.files.info(name)
                state = self._read(name, info, info.index > have)
            except StorageDamaged as error:
                cause = error.__cause__
                if isinstance(cause, OSError) and cause.errno != errno.ENOENT:
                    unread = OSError(cause.errno, cause.strerror, f"{self.files.folder}/{name}")
                damage = damage or f"{self.files.folder}/{name}: {error}"
                self.notes.append(f"snapshot {name} cannot be used: {error}")
                continue
            if info.index < found.first_index - 1:
                break
            return info, state
        if found.first_index > 1:
            if unread is not None:
                raise unread
            raise StorageDamaged(
                (damage or f"{self.files.folder}: the snapshot is missing")
                + f"; the log begins with entry {found.first_index}, and no usable snapshot reaches it; "
                + REJOIN
            )
        return None

    def _read(self, name: SnapshotName, info: SnapshotInfo, wanted: bool) -> Any:
        """Check a snapshot; its state, if that is wanted."""
        decoder = self._machine.decoder()
        for piece in self.files.pieces(name, info):
            if wanted:
                decoder.feed(piece)
        return decoder.finish() if wanted else None

    # ------------------------------------------------------------ taking

    @property
    def is_taking(self) -> bool:
        """Whether a snapshot is being taken."""
        return self._taking is not None

    def take(self, info: SnapshotInfo) -> None:
        """Begin to take a snapshot of the machine as it is now, which ``info`` describes."""
        assert self._taking is None
        taking = self._taking = _Taking(info, self._machine.slices(), self.files.draft())
        self._clock.callLater(0, self._next_slice, taking)

    def _next_slice(self, taking: _Taking) -> None:
        if self._stopped or self._taking is not taking:
            return
        try:
            data = next(taking.slices, b"")
        except Exception:
            self._log.failure("a bug in taking a snapshot")
            self._give_up(taking)
            return
        taking.parts.append(data)
        taking.size += len(data)
        if taking.size >= WRITE_BYTES or not data:
            whole, taking.parts, taking.size = b"".join(taking.parts), [], 0
            taking.waiting += 1
            self._disk.submit(partial(taking.draft.write, whole), partial(self._written, taking))
        if not data:
            self._publish(taking)
        elif taking.waiting >= WRITES_WAITING_MAX:
            taking.resting = True
        else:
            self._clock.callLater(0, self._next_slice, taking)

    def _written(self, taking: _Taking, error: BaseException | None) -> None:
        taking.waiting -= 1
        if self._stopped or self._taking is not taking:
            return
        if error is not None:
            self._log.error("cannot write a snapshot: {error}", error=error)
            self._give_up(taking)
        elif taking.resting:
            taking.resting = False
            self._next_slice(taking)

    def _give_up(self, taking: _Taking) -> None:
        self._taking = None
        self._disk.submit(taking.draft.discard, _ignore)

    def _publish(self, taking: _Taking) -> None:
        ms = int(self._wall_time() * 1000)
        published: list[SnapshotInfo] = []

        def publish() -> None:
            published.append(taking.draft.publish(taking.info, ms)[1])

        def done(error: BaseException | None) -> None:
            if self._stopped or self._taking is not taking:
                return
            if error is not None:
                self._log.error("cannot finish a snapshot: {error}", error=error)
                self._give_up(taking)
                return
            self._taking = None
            info = published[0]
            self._log.info("snapshot complete up to {index}, {size} bytes", index=info.index, size=info.size)
            self._feed(SnapshotTaken(info))
            self._disk.submit(self.files.prune, self._pruned)
            self._tell_taken(info)

        self._disk.submit(publish, done)

    def _pruned(self, error: BaseException | None) -> None:
        if error is not None and not self._stopped:
            self._log.warn("cannot remove an old snapshot: {error}", error=error)

    # ------------------------------------------------------------ sending

    def send(self, effect: events.SendPiece) -> None:
        """Read a piece of a snapshot and send it."""
        message = effect.message
        info, offset = message.info, message.offset
        read: list[bytes] = []

        def job() -> None:
            read.append(self._file(info).read(effect.size, offset))

        def done(error: BaseException | None) -> None:
            if self._stopped:
                return
            if error is None and len(read[0]) == effect.size:
                self._transport.send(effect.to, effect.address, replace(message, data=read[0]))
            else:
                self._log.error("cannot read a snapshot to send it: {error}", error=error or "it is cut")

        self._disk.submit(job, done)

    def _file(self, info: SnapshotInfo) -> DiskFile:
        """In a job: the state's file, which stays readable when the snapshot is dropped meanwhile."""
        key = info.index, info.term, info.checksum
        file = self._open.get(key)
        if file is None:
            if len(self._open) >= OPEN_FILES_MAX:
                self._open.pop(next(iter(self._open))).close()
            file = self._open[key] = self.files.open(self.files.find(info))
        return file

    # ------------------------------------------------------------ taking over

    def store(self, effect: events.StorePiece) -> None:
        """Write a piece of the leader's snapshot down."""
        info = effect.info
        if not effect.offset:
            self._abandon()
            self._incoming = _Incoming(info, self.files.draft(), self._machine.decoder())
        incoming = self._incoming
        if incoming is None or incoming.info != info or effect.offset != incoming.end:
            self._feed(SnapshotFailed(info))
            return
        incoming.end += len(effect.data)
        write = partial(incoming.draft.write, effect.data)
        self._disk.submit(write, partial(self._stored, incoming, incoming.end))

    def _abandon(self) -> None:
        """Forget what came of a snapshot."""
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            self._disk.submit(partial(self._discard, incoming), _ignore)

    def _discard(self, incoming: _Incoming) -> None:
        """In a job: remove what there is of it."""
        _close(incoming)
        if incoming.name is None:
            incoming.draft.discard()
        else:
            self.files.drop(incoming.name)

    def _fail(self, incoming: _Incoming, error: BaseException) -> None:
        self._log.error("cannot take over the leader's snapshot: {error}", error=error)
        self._abandon()
        self._feed(SnapshotFailed(incoming.info))

    def _stored(self, incoming: _Incoming, end: int, error: BaseException | None) -> None:
        if self._stopped or self._incoming is not incoming:
            return
        if error is not None:
            self._fail(incoming, error)
            return
        if end == incoming.info.size:
            self._finish(incoming)
        self._feed(PieceStored(incoming.info, end))

    def _finish(self, incoming: _Incoming) -> None:
        """All of it came: name it, then read it back, for that is what a restart would find."""
        ms = int(self._wall_time() * 1000)

        def publish() -> None:
            incoming.name, _ = incoming.draft.publish(incoming.info, ms)
            incoming.file = self.files.open(incoming.name)

        def done(error: BaseException | None) -> None:
            if self._stopped or self._incoming is not incoming:
                return
            if error is not None:
                self._fail(incoming, error)
            else:
                self._read_on(incoming)

        self._disk.submit(publish, done)

    def _read_on(self, incoming: _Incoming) -> None:
        read: list[bytes] = []

        def job() -> None:
            assert incoming.file is not None
            read.append(incoming.file.read(READ_BYTES, incoming.read))

        def done(error: BaseException | None) -> None:
            if self._stopped or self._incoming is not incoming:
                return
            try:
                if error is not None:
                    raise error
                self._take_in(incoming, read[0])
            except (OSError, StorageDamaged) as failed:
                self._fail(incoming, failed)

        self._disk.submit(job, done)

    def _take_in(self, incoming: _Incoming, data: bytes) -> None:
        """Decode the next piece; after the last one tell the core."""
        if not data:
            raise StorageDamaged("the snapshot's file is cut")
        incoming.read += len(data)
        incoming.checksum = crc32(data, incoming.checksum)
        incoming.decoder.feed(data)
        info = incoming.info
        if incoming.read < info.size:
            self._read_on(incoming)
            return
        if incoming.checksum != info.checksum:
            raise StorageDamaged("the snapshot was not read as it was written")
        self._ready = info, incoming.decoder.finish()
        self._incoming = None
        self._disk.submit(partial(_close, incoming), _ignore)
        self._disk.submit(self.files.prune, self._pruned)
        self._feed(SnapshotReady(info))
        self._ready = None

    def restore(self, effect: events.RestoreSnapshot) -> None:
        """Make the snapshot that has just become ready the machine's state."""
        assert self._ready is not None and self._ready[0] == effect.info
        state = self._ready[1]
        self._ready = None
        self._machine.restore(state)
        self._log.info("restored the leader's snapshot up to {index}", index=effect.info.index)

    # ------------------------------------------------------------ end

    def stop(self) -> None:
        """Do nothing more. What is unfinished is removed at the next start."""
        self._stopped = True
        self._taking = self._incoming = None
        self._disk.submit(self._close_files, _ignore)

    def _close_files(self) -> None:
        """In a job."""
        files, self._open = self._open, {}
        for file in files.values():
            file.close()


def after(found: Recovered, info: SnapshotInfo | None) -> Recovered | None:
    """What is left of a log beside a snapshot, if that is not all of it.

    A server that crashed while it took over a leader's snapshot may have its old log still, which ends
    before the snapshot or has other entries there. And a state made by hand stands for itself: its last
    entries may never have been committed, and must not be taken for the leader's.
    """
    if info is None:
        return None
    place = info.index - found.first_index
    is_all = info.by_hand and info.index == found.last_index
    if place < 0 or not is_all and place < len(found.terms) and found.terms[place] == info.term:
        return None
    return RecoveredAfterSnapshot(found.term, found.voted_for, info.index, info.term)


def _close(incoming: _Incoming) -> None:
    if incoming.file is not None:
        incoming.file.close()


def _ignore(error: BaseException | None) -> None:
    """What is not removed now is removed at the next start."""
