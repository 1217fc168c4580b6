"""The state machine of a server: what log entries do to the store, and how snapshots are made of it.

A state that a user restores goes through the log like everything else, in pieces, and replaces the
store when the last one is applied. So it is committed by a majority or not at all; Consul's leader
makes it a snapshot of its own, which another leader would know nothing of.

The rows of such a state may have indexes that are above those of our log. From then on the store's
indexes are the log's plus ``offset``, so that what is written later is newer than all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from pyconsul.errors import PyconsulError, Refused, StorageDamaged
from pyconsul.raft.messages import COMMAND, NOOP, RESTORE, Entry
from pyconsul.state import image
from pyconsul.state.fsm import FSM
from pyconsul.state.store import Snapshot

INTERRUPTED = "the restore was interrupted"
ABORT = -1
PIECE_BYTES = 256 * 1024


class RestorePiece(Struct, array_like=True, frozen=True):
    """The data of a RESTORE entry: a part of the stream of ``pyconsul.state.image``.

    :ivar number: from 0, which begins anew; ``ABORT`` drops what has come.
    """

    number: int
    last: bool = False
    data: bytes = b""


class Image(Struct):
    """What is in a snapshot. :ivar offset: see the module."""

    offset: int
    state: Snapshot


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(RestorePiece).decode


def pieces(snapshot: Snapshot) -> Iterator[bytes]:
    """The data of the RESTORE entries that make ``snapshot`` everybody's state."""
    number = 0
    before: bytes | None = None
    for data in image.encode(snapshot, bytes_max=PIECE_BYTES):
        if before is not None:
            yield _encode(RestorePiece(number, False, before))
            number += 1
        before = data
    yield _encode(RestorePiece(number, True, before or b""))


def abort() -> bytes:
    """The data of a RESTORE entry that says that no more will come."""
    return _encode(RestorePiece(ABORT))


class StateMachine:
    """Applies entries to a store (``storage.snapshotting.Machine``).

    :ivar offset: what the store's indexes are above the log's.
    :ivar replaced: called when the whole state has become another.
    :ivar restored: called when a user's state has become the state, so that older entries are of no use.
    """

    def __init__(self, fsm: FSM) -> None:
        self._fsm = fsm
        self._store = fsm.store
        self.offset = 0
        self._restoring: image.Decoder[Snapshot] | None = None
        self._next = 0
        self.replaced: Callable[[], None] = lambda: None
        self.restored: Callable[[], None] = lambda: None

    # ------------------------------------------------------------ entries

    def apply(self, entry: Entry) -> Any:
        """What the entry gives: a result, or a ``PyconsulError`` that is returned."""
        kind = entry.kind
        if kind == COMMAND:
            return self._fsm.apply(entry.index + self.offset, entry.data)
        if kind == NOOP:  # another leader: nobody goes on with what its predecessor restored
            self._restoring = None
        elif kind == RESTORE:
            return self._take_piece(entry)
        return None

    @property
    def is_whole(self) -> bool:
        """Whether all of the state is in the store, so that a snapshot can be taken."""
        return self._restoring is None

    def _take_piece(self, entry: Entry) -> int | PyconsulError:
        try:
            piece = _decode(entry.data)
        except msgspec.MsgspecError as error:
            return Refused(f"unreadable piece of a state: {error}")
        if piece.number == 0:
            self._restoring = image.Decoder(Snapshot)
            self._next = 0
        decoder, self._restoring = self._restoring, None
        if decoder is None or piece.number != self._next:
            return Refused(INTERRUPTED)
        try:
            decoder.feed(piece.data)
            if not piece.last:
                self._restoring = decoder
                self._next += 1
                return 0
            snapshot = decoder.finish()
        except StorageDamaged as error:
            return Refused(f"unreadable state: {error}")
        self.offset = max(self.offset, snapshot.index + 1 - entry.index)
        snapshot.index = entry.index + self.offset
        self._store.restore(snapshot)
        self.replaced()
        self.restored()
        return snapshot.index

    # ------------------------------------------------------------ snapshots

    def slices(self) -> Iterator[bytes]:
        """See ``Machine``."""
        assert self.is_whole
        return image.encode(Image(self.offset, self._store.snapshot()))

    def decoder(self) -> image.Decoder[Image]:
        """See ``Machine``."""
        return image.Decoder(Image)

    def restore(self, state: Image) -> None:
        """See ``Machine``."""
        self._restoring = None
        self.offset = state.offset
        self._store.restore(state.state)
        self.replaced()
