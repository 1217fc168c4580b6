"""The store as a stream of Consul's snapshot records, both ways.

The stream is a map ``{LastIndex}`` and then, per record, a byte that tells the kind (the number of
the log command that would write the row) and a map with Consul's field names, all in MessagePack
of the old kind (no ``bin``, no ``str 8``). Seen on archives that Consul 1.8.7 wrote.

Consul has fewer indexes than we do. Ours travel in fields that it does not know and passes over, so
that a stream written here and read here gives the same store to the last index.

To add a table: a module ``records_*`` with a function ``records``, called in ``_records``, and a reader
whose methods take them, named in ``Decoder``. ``records_autopilot`` is the shortest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from pyconsul.errors import Refused
from pyconsul.state import (
    records_autopilot,
    records_catalog,
    records_coordinates,
    records_kv,
    records_queries,
    records_sessions,
)
from pyconsul.state.records_autopilot import AutopilotReader
from pyconsul.state.records_catalog import CatalogReader
from pyconsul.state.records_coordinates import CoordinateReader
from pyconsul.state.records_frames import Frames
from pyconsul.state.records_kinds import (
    AUTOPILOT,
    COORDINATE,
    INDEX,
    KVS,
    QUERY,
    REGISTER,
    SESSION,
    TOMBSTONE,
    Skipped,
)
from pyconsul.state.records_kv import KVReader
from pyconsul.state.records_queries import QueryReader
from pyconsul.state.records_sessions import SessionReader
from pyconsul.state.records_wire import IndexRecord, packer
from pyconsul.state.store import Snapshot

ROWS_PER_SLICE = 2_000
SLICE_BYTES = 64 * 1024


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
    yield from records_catalog.records(snapshot.catalog, snapshot.sessions.nodes)
    yield from records_sessions.records(snapshot.sessions)
    yield from records_kv.records(snapshot.kv, snapshot.index)
    yield from records_coordinates.records(snapshot.coordinates)
    yield from records_autopilot.records(snapshot.autopilot)
    yield from records_queries.records(snapshot.queries)


# ---------------------------------------------------------------- reading

_TAKEN = frozenset((REGISTER, SESSION, KVS, TOMBSTONE, COORDINATE, QUERY, AUTOPILOT, INDEX))

_decode_index = msgspec.msgpack.Decoder(IndexRecord).decode


class Decoder:
    """Takes a stream in pieces of any size and gives the snapshot.

    :ivar skipped: what is in the stream and not in the snapshot.
    """

    def __init__(self) -> None:
        self.skipped = Skipped()
        self._frames = Frames()
        self._kv = KVReader(self.skipped)
        self._sessions = SessionReader(self.skipped)
        self._catalog = CatalogReader()
        self._coordinates = CoordinateReader(self.skipped)
        self._autopilot = AutopilotReader()
        self._queries = QueryReader(self.skipped)
        self._tables = (
            self._catalog,
            self._sessions,
            self._kv,
            self._coordinates,
            self._autopilot,
            self._queries,
        )

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream.

        :raises Refused: if they cannot be understood; the decoder is of no use any more then.
        """
        frames = self._frames
        readers: dict[int, Callable[[bytes], None]] = {
            REGISTER: self._catalog.registration,
            SESSION: self._sessions.session,
            KVS: self._kv.entry,
            TOMBSTONE: self._kv.grave,
            COORDINATE: self._coordinates.coordinates,
            AUTOPILOT: self._autopilot.configuration,
            QUERY: self._queries.query,
            INDEX: self._index,
        }
        for kind, record in frames.feed(data):
            read = readers.get(kind)
            if read is None:
                if kind < 0:
                    for table in self._tables:
                        table.last_index = frames.last_index
                else:
                    self.skipped.record(kind, record)
                continue
            try:
                read(record)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
                raise frames.fault(f"cannot be read: {error}") from None
            except Refused as error:
                raise frames.fault(str(error)) from None

    def _index(self, record: bytes) -> None:
        row = _decode_index(record)
        for table in self._tables:
            table.index(row)

    def finish(self) -> Snapshot:
        """The snapshot, once everything was fed.

        :raises Refused: if the stream ends within a record, or its rows do not fit together.
        """
        self._frames.finish()
        catalog = self._catalog.finish()
        nodes = self._catalog.node_names()
        table = self._sessions.finish(nodes)
        kv = self._kv.finish(self._sessions.rows)
        coordinates = self._coordinates.finish(nodes)
        index = self._frames.last_index
        queries = self._queries.finish(self._sessions.rows)
        return Snapshot(index, kv, catalog, table, coordinates, self._autopilot.finish(), queries)


def left_out(pieces: Iterable[bytes]) -> Skipped:
    """What of a stream no table here has a place for, without holding any row.

    :raises Refused: if it is no such stream.
    """
    skipped = Skipped()
    frames = Frames()
    for piece in pieces:
        for kind, record in frames.feed(piece):
            if kind >= 0 and kind not in _TAKEN:
                skipped.record(kind, record)
    frames.finish()
    return skipped
