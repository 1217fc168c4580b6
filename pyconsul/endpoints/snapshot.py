"""Snapshot.*: archives of the whole state, carried between agents in pieces.

Consul has a connection of its own for this; ours go over calls, whose size is bounded. What is open
belongs to the server that was asked: all calls about one archive go to the same address.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, BinaryIO, Generic, TypeVar

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pyconsul.endpoints.base import node
from pyconsul.errors import Refused
from pyconsul.interfaces import SnapshotStream
from pyconsul.storage.archive import ARCHIVE_BYTES_MAX

T = TypeVar("T")

PIECE_BYTES = 1024 * 1024
OPEN_MAX = 8
IDLE_S = 60.0
_IDS = 1 << 62


class SnapshotOpen(Struct, rename="pascal", kw_only=True):
    """Snapshot.Open: begin to save. :ivar relayed: by a server, to what it takes for the leader."""

    datacenter: str = ""
    token: str = ""
    allow_stale: bool = False
    relayed: bool = False


class SnapshotOpened(Struct, rename="pascal", kw_only=True):
    """:ivar last_contact: nanoseconds. :ivar stream: names the archive in further calls."""

    stream: int
    index: int
    last_contact: int
    known_leader: bool


class SnapshotRead(Struct, rename="pascal", kw_only=True):
    """Snapshot.Read: the next piece, of at most about ``PIECE_BYTES``; an empty one is the end.

    :ivar offset: how much was read so far.
    """

    datacenter: str = ""
    stream: int
    offset: int


class SnapshotClose(Struct, rename="pascal", kw_only=True):
    """Snapshot.Close: nobody reads on."""

    datacenter: str = ""
    stream: int


class SnapshotUpload(Struct, rename="pascal", kw_only=True):
    """Snapshot.Upload: a piece of an archive to restore; the reply names the upload.

    :ivar upload: 0 for the first piece. :ivar offset: how much was sent so far.
    """

    datacenter: str = ""
    token: str = ""
    upload: int = 0
    offset: int = 0
    data: bytes


class SnapshotRestore(Struct, rename="pascal", kw_only=True):
    """Snapshot.Restore: make what was uploaded the state. :ivar size: of the whole archive."""

    datacenter: str = ""
    token: str = ""
    upload: int
    size: int
    relayed: bool = False


class SnapshotRestored(Struct, rename="pascal", kw_only=True):
    """:ivar skipped: how many rows could not be taken over, by what they are."""

    skipped: dict[str, int]


class _Open(Generic[T]):
    """Something that is given up when nobody has asked for it for a while."""

    def __init__(self, thing: T) -> None:
        self.thing = thing
        self.bytes = 0
        self.busy = False
        self.timer: IDelayedCall | None = None


class _Table(Generic[T]):
    """What is open, by number, with a bound on how much and how long.

    :param close: called with what is given up.
    """

    def __init__(self, clock: IReactorTime, rng: Random, close: Callable[[T], None], what: str) -> None:
        self._clock, self._rng, self._close, self._what = clock, rng, close, what
        self._open: dict[int, _Open[T]] = {}

    def refuse_more(self) -> None:
        """:raises Refused: if there are too many already."""
        if len(self._open) >= OPEN_MAX:
            raise Refused(f"too many {self._what}s at once; try again later")

    def add(self, thing: T) -> int:
        number = self._rng.randrange(1, _IDS)
        self._open[number] = _Open(thing)
        self.rest(number)
        return number

    def take(self, number: int, offset: int) -> _Open[T]:
        """What is to be used now; ``rest`` or ``drop`` has to follow.

        :raises Refused: if it is not there, in use, or at another place than the caller thinks.
        """
        found = self._open.get(number)
        if found is None:
            raise Refused(f"no such {self._what}, or not asked for in time")
        if found.busy or found.bytes != offset:
            raise Refused(f"pieces of this {self._what} are asked for out of order")
        found.busy = True
        if found.timer is not None:
            found.timer.cancel()
            found.timer = None
        return found

    def rest(self, number: int) -> None:
        """Nothing is done with it until the next call."""
        found = self._open.get(number)
        if found is not None:
            found.busy = False
            found.timer = self._clock.callLater(IDLE_S, self.drop, number)

    def drop(self, number: int) -> None:
        """Give it up, if it is there."""
        found = self._open.pop(number, None)
        if found is not None:
            if found.timer is not None and found.timer.active():
                found.timer.cancel()
            self._close(found.thing)

    def clear(self) -> None:
        for number in [*self._open]:
            self.drop(number)


class Snapshot:
    """Archives that go out and come in, one table of each.

    :param save: begins an archive. :param restore: takes a whole one.
    :param spool: makes a file for an archive that comes in.
    """

    def __init__(
        self,
        save: Callable[[SnapshotOpen], Deferred[SnapshotStream]],
        restore: Callable[[BinaryIO, SnapshotRestore], Deferred[dict[str, int]]],
        clock: IReactorTime,
        rng: Random,
        spool: Callable[[], BinaryIO],
    ) -> None:
        self._save = save
        self._restore = restore
        self._spool = spool
        self._streams: _Table[SnapshotStream] = _Table(clock, rng, lambda s: s.close(), "snapshot")
        self._uploads: _Table[BinaryIO] = _Table(clock, rng, lambda file: file.close(), "snapshot upload")

    def stop(self) -> None:
        """Give up everything that is open."""
        self._streams.clear()
        self._uploads.clear()

    # ------------------------------------------------------------ out

    @node("Snapshot.Open", SnapshotOpen, SnapshotOpened, "acl:write")
    def open(self, request: SnapshotOpen) -> Deferred[SnapshotOpened]:
        """Begin an archive of the state as it is now."""
        self._streams.refuse_more()
        return self._save(request).addCallback(self._opened)

    def _opened(self, stream: SnapshotStream) -> SnapshotOpened:
        return SnapshotOpened(
            stream=self._streams.add(stream),
            index=stream.index,
            last_contact=stream.last_contact,
            known_leader=stream.known_leader,
        )

    @node("Snapshot.Read", SnapshotRead, bytes)
    def read(self, request: SnapshotRead) -> Deferred[bytes]:
        """The next piece."""
        opened = self._streams.take(request.stream, request.offset)

        def came(piece: bytes) -> bytes:
            opened.bytes += len(piece)
            if piece:
                self._streams.rest(request.stream)
            else:
                self._streams.drop(request.stream)
            return piece

        def failed(failure: Any) -> Any:
            self._streams.drop(request.stream)
            return failure

        return opened.thing.read().addCallbacks(came, failed)

    @node("Snapshot.Close", SnapshotClose, bool)
    def close(self, request: SnapshotClose) -> bool:
        """Stop an archive that nobody reads to its end."""
        self._streams.drop(request.stream)
        return True

    # ------------------------------------------------------------ in

    @node("Snapshot.Upload", SnapshotUpload, int, "acl:write")
    def upload(self, request: SnapshotUpload) -> int:
        """Keep a piece until ``Snapshot.Restore``."""
        number = request.upload
        if not number:
            self._uploads.refuse_more()
            number = self._uploads.add(self._spool())
        upload = self._uploads.take(number, request.offset)
        if upload.bytes + len(request.data) > ARCHIVE_BYTES_MAX:
            self._uploads.drop(number)
            raise Refused(f"the snapshot is larger than {ARCHIVE_BYTES_MAX} bytes")
        try:
            upload.thing.write(request.data)
        except OSError as error:
            self._uploads.drop(number)
            raise Refused(f"cannot keep the snapshot: {error.strerror}") from None
        upload.bytes += len(request.data)
        self._uploads.rest(number)
        return number

    @node("Snapshot.Restore", SnapshotRestore, SnapshotRestored, "acl:write")
    def restore(self, request: SnapshotRestore) -> Deferred[SnapshotRestored]:
        """Make an uploaded archive the state of all servers."""
        upload = self._uploads.take(request.upload, request.size)

        def ended(result: Any) -> Any:
            self._uploads.drop(request.upload)
            return result

        done = self._restore(upload.thing, request).addBoth(ended)
        return done.addCallback(lambda skipped: SnapshotRestored(skipped=skipped))
