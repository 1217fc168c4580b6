"""The store as a stream of Consul's snapshot records, both ways.

The stream is a map ``{LastIndex}`` and then, per record, a byte that tells the kind (the number of
the log command that would write the row) and a map with Consul's field names, all in MessagePack
of the old kind (no ``bin``, no ``str 8``). Seen on archives that Consul 1.8.7 wrote.

Consul has fewer indexes than we do. Ours travel in fields that it does not know and passes over, so
that a stream written here and read here gives the same store to the last index.

To add a kind: a module ``records_*`` with a function that yields its records, named in ``_records``,
and a reader whose methods take them, named in ``Decoder``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
from msgpack import OutOfData, Unpacker
from msgpack.exceptions import BufferFull
from msgspec import Struct

from pyconsul.errors import Refused
from pyconsul.state.records_catalog import CatalogReader, registrations
from pyconsul.state.records_catalog import indexes as catalog_indexes
from pyconsul.state.records_kinds import INDEX, KVS, REGISTER, SESSION, TOMBSTONE, Skipped, says_nothing
from pyconsul.state.records_kv import KVReader, entries, graves
from pyconsul.state.records_kv import indexes as kv_indexes
from pyconsul.state.records_sessions import SessionReader, sessions
from pyconsul.state.records_sessions import indexes as session_indexes
from pyconsul.state.records_wire import Index, IndexRecord, packer
from pyconsul.state.store import Snapshot

ROWS_PER_SLICE = 2_000
SLICE_BYTES = 128 * 1024
RECORD_BYTES_MAX = 64 * 1024 * 1024


# ---------------------------------------------------------------- writing


def encode(
    snapshot: Snapshot, rows_max: int = ROWS_PER_SLICE, bytes_max: int = SLICE_BYTES
) -> Iterator[bytes]:
    """The stream in slices of at most ``rows_max`` records.

    A slice ends with the record that makes it reach ``bytes_max``. Only rows that ``snapshot`` refers
    to are read, so the store may change meanwhile.
    """
    parts = [packer().pack({"LastIndex": snapshot.index})]
    size = 0
    for record in _records(snapshot):
        parts.append(record)
        size += len(record)
        if size >= bytes_max or len(parts) >= rows_max:
            yield b"".join(parts)
            parts.clear()
            size = 0
    if parts:
        yield b"".join(parts)


def _records(snapshot: Snapshot) -> Iterator[bytes]:
    """All records; what others refer to comes first, as Consul needs it."""
    yield from registrations(snapshot.catalog, snapshot.sessions.nodes)
    yield from sessions(snapshot.sessions)
    yield from entries(snapshot.kv)
    yield from graves(snapshot.kv)
    yield from catalog_indexes(snapshot.catalog)
    yield from session_indexes(snapshot.sessions)
    yield from kv_indexes(snapshot.kv, snapshot.index)


# ---------------------------------------------------------------- reading


class _Header(Struct, rename="pascal"):
    last_index: Index


_decode_header = msgspec.msgpack.Decoder(_Header).decode
_decode_index = msgspec.msgpack.Decoder(IndexRecord).decode


class Decoder:
    """Takes a stream in pieces of any size and gives the snapshot.

    It believes no length that the bytes in hand do not bear out, and holds one record at most
    besides the rows.

    :ivar skipped: what is in the stream and not in the snapshot.
    """

    def __init__(self) -> None:
        self.skipped = Skipped()
        self._unpacker = Unpacker(raw=True, max_buffer_size=RECORD_BYTES_MAX + 1)
        self._parts: list[bytes] = []
        """What was fed and belongs to no whole record yet, beginning at ``_start``."""
        self._held = 0
        self._start = 0
        self._kind = -1
        self._number = 0
        self._header: _Header | None = None
        self._kv = KVReader(self.skipped)
        self._sessions = SessionReader(self.skipped)
        self._catalog = CatalogReader()
        self._readers: dict[int, Callable[[bytes], None]] = {
            REGISTER: self._catalog.registration,
            SESSION: self._sessions.session,
            KVS: self._kv.entry,
            TOMBSTONE: self._kv.grave,
            INDEX: self._index,
        }

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream.

        :raises Refused: if they cannot be understood; the decoder is of no use any more then.
        """
        self._parts.append(data)
        self._held += len(data)
        try:
            self._unpacker.feed(data)
        except BufferFull:
            raise self._fault("is too large") from None
        if not self._complete():
            if self._held > RECORD_BYTES_MAX:
                raise self._fault("is too large")
            return
        chunk = b"".join(self._parts)
        begin = 0
        base = self._start
        while True:
            end = self._unpacker.tell() - base
            self._take(chunk[begin:end])
            begin = end
            self._start = base + end
            self._kind = -1
            self._number += 1
            if not self._complete():
                break
        self._parts = [chunk[begin:]]
        self._held = len(chunk) - begin

    def _complete(self) -> bool:
        """Whether all of the next record is there; the unpacker stands at its end then."""
        unpacker = self._unpacker
        try:
            if self._kind < 0 and self._header is not None:
                kind = unpacker.read_bytes(1)
                if not kind:
                    return False
                self._kind = kind[0]
            unpacker.skip()
        except OutOfData:
            return False
        except (ValueError, RecursionError):
            raise self._fault("is not MessagePack") from None
        return True

    def _take(self, record: bytes) -> None:
        try:
            if self._header is None:
                self._header = header = _decode_header(record)
                for reader in (self._catalog, self._sessions, self._kv):
                    reader.last_index = header.last_index
                return
            read = self._readers.get(self._kind)
            if read is not None:
                read(record[1:])
            elif not says_nothing(self._kind, record):
                self.skipped.record(self._kind, record)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise self._fault(f"cannot be read: {error}") from None
        except Refused as error:
            raise self._fault(str(error)) from None

    def _index(self, record: bytes) -> None:
        row = _decode_index(record)
        for reader in (self._catalog, self._sessions, self._kv):
            reader.index(row)

    def finish(self) -> Snapshot:
        """The snapshot, once everything was fed.

        :raises Refused: if the stream ends within a record, or its rows do not fit together.
        """
        if self._header is None or self._held:
            raise self._fault("is incomplete: unexpected EOF")
        catalog = self._catalog.finish()
        table = self._sessions.finish(self._catalog.node_names())
        entries = self._kv.finish(self._sessions.rows)
        return Snapshot(self._header.last_index, entries, catalog, table)

    def _fault(self, what: str) -> Refused:
        if self._header is None:
            return Refused(f"the header of the snapshot's state {what}")
        kind = f" (kind {self._kind})" if self._kind >= 0 else ""
        return Refused(f"record {self._number}{kind} of the snapshot's state, at byte {self._start}, {what}")
