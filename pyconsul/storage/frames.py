"""The bytes of a log segment: one header, then one frame per entry, then zeros.

Header, 64 bytes: magic, format version, flags, marker, sequence, first index, term of the entry
before the first, CRC.

Frame, 40 bytes and the entry's data: marker, CRC, size of the data, kind, term, index, and the
index up to which the log was known to be durable when the frame was written.

The *marker* is a random number of the segment. It starts every frame and seeds every CRC, so that
frames can be found again behind a damaged one, while nobody can write a value into the KV store
that looks like a frame.

*Durable up to* tells damage from a torn end: frames that had not been synced when the machine
stopped may be lost in any order, so a bad frame with a good one behind it proves nothing by
itself. A good one that says "the bad one was durable" does.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from pyconsul.errors import StorageDamaged
from pyconsul.raft.messages import Entry

MAGIC = b"pyconlog"
VERSION = 1
HEADER_BYTES = 64
FRAME_BYTES = 40
SEAL = 0xFFFFFFFF
"""Kind of the frame that ends a log that was closed in order; its index is that of the last entry."""

_RESTART = 1
_BLOCK = bytes(1 << 16)
_header = Struct("<8sHHIQQQ20x")
_crc = Struct("<I")
_head = Struct("<II")
_rest = Struct("<IIQQQ")
_frame = Struct("<IIIIQQQ")


class SegmentHeader(NamedTuple):
    """What a segment says about itself.

    :ivar sequence: higher in each new segment. A segment makes void whatever older ones hold from
        its first index on.
    :ivar first: index of its first entry.
    :ivar prev_term: term of the entry before.
    :ivar restart: older segments are void altogether, and a gap may lie before ``first``.
    """

    sequence: int
    first: int
    prev_term: int
    marker: int
    restart: bool = False

    def encode(self) -> bytes:
        """The first ``HEADER_BYTES`` of the file."""
        flags = _RESTART if self.restart else 0
        body = _header.pack(MAGIC, VERSION, flags, self.marker, self.sequence, self.first, self.prev_term)
        return body + _crc.pack(crc32(body))


def decode_header(data: bytes, path: str) -> SegmentHeader:
    """Read a header; raises ``StorageDamaged``."""
    body = data[: _header.size]
    if len(data) < HEADER_BYTES or crc32(body) != _crc.unpack_from(data, _header.size)[0]:
        raise StorageDamaged(f"{path}: damaged at offset 0: the segment's header cannot be read")
    magic, version, flags, marker, sequence, first, prev_term = _header.unpack(body)
    if magic != MAGIC or version != VERSION:
        raise StorageDamaged(f"{path}: is not a log segment of format {VERSION}")
    return SegmentHeader(sequence, first, prev_term, marker, bool(flags & _RESTART))


def encode(entries: Sequence[Entry], marker: int, durable: int, offset: int, offsets: array[int]) -> bytes:
    """The frames of ``entries``; appends to ``offsets`` where each will lie, the first at ``offset``."""
    parts: list[bytes] = []
    part, place = parts.append, offsets.append
    pack_head, pack_rest, crc = _head.pack, _rest.pack, crc32
    for entry in entries:
        data = entry.data
        size = len(data)
        body = pack_rest(size, entry.kind, entry.term, entry.index, durable) + data
        part(pack_head(marker, crc(body, marker)))
        part(body)
        place(offset)
        offset += FRAME_BYTES + size
    return b"".join(parts)


def encode_seal(marker: int, last_index: int, last_term: int) -> bytes:
    """The frame that says that everything up to ``last_index`` is durable."""
    body = _rest.pack(0, SEAL, last_term, last_index, last_index)
    return _head.pack(marker, crc32(body, marker)) + body


def decode(data: bytes, marker: int, first: int, count: int) -> list[Entry] | None:
    """The ``count`` entries from index ``first`` that ``data`` starts with; ``None`` if it does not."""
    entries: list[Entry] = []
    view = memoryview(data)
    position = 0
    for expected in range(first, first + count):
        found = _frame_at(view, position, marker)
        if found is None:
            return None
        end, kind, term, index, _ = found
        if index != expected:
            return None
        entries.append(Entry(term, index, kind, data[position + FRAME_BYTES : end]))
        position = end
    return entries


class Scan(NamedTuple):
    """What a walk over the frames of a segment found.

    :ivar end: offset behind the last good frame.
    :ivar sealed: there is a seal at ``end``.
    :ivar durable: the highest index that they call durable, else 0.
    """

    offsets: array[int]
    terms: array[int]
    end: int
    sealed: bool
    durable: int


def scan(data: bytes, header: SegmentHeader, before: int, path: str) -> Scan:
    """Walk over the frames up to the first bad one or to the entry with index ``before``.

    :raises StorageDamaged: for a good frame that cannot be where it is: nothing a crash does.
    """
    offsets, terms = array("Q"), array("Q")
    view = memoryview(data)
    end, index, term, durable = HEADER_BYTES, header.first, header.prev_term, 0
    while index < before and (found := _frame_at(view, end, header.marker)) is not None:
        next_end, kind, found_term, found_index, known = found
        if kind == SEAL and found_index == index - 1:
            return Scan(offsets, terms, end, True, found_index)
        if found_index != index or found_term < term or kind == SEAL:
            raise StorageDamaged(
                f"{path}: damaged at offset {end}: entry {found_index} of term {found_term} "
                f"lies where entry {index} was expected"
            )
        offsets.append(end)
        terms.append(found_term)
        end, index, term, durable = next_end, index + 1, found_term, known
    return Scan(offsets, terms, end, False, durable)


def durable_after(data: bytes, marker: int, start: int) -> int:
    """The highest index that any good frame behind ``start`` calls durable, else 0."""
    view = memoryview(data)
    pattern = _crc.pack(marker)
    highest = 0
    while (start := data.find(pattern, start)) >= 0:
        found = _frame_at(view, start, marker)
        if found is None:
            start += 1
        else:
            highest = max(highest, found[4])
            start = found[0]
    return highest


def end_of_content(data: bytes, start: int) -> int:
    """The offset behind the last byte from ``start`` on that is not zero; ``start`` if there is none."""
    end = len(data)
    while end > start:
        block = data[max(start, end - len(_BLOCK)) : end]
        if block != _BLOCK[: len(block)]:
            return end - len(block) + len(block.rstrip(b"\0"))
        end -= len(block)
    return start


def _frame_at(view: memoryview, position: int, marker: int) -> tuple[int, int, int, int, int] | None:
    """End, kind, term, index and durable index of the good frame at ``position``, if there is one."""
    body = position + FRAME_BYTES
    if body > len(view):
        return None
    found, crc, size, kind, term, index, durable = _frame.unpack_from(view, position)
    end = body + size
    if found != marker or end > len(view) or crc32(view[position + 8 : end], marker) != crc:
        return None
    return end, kind, term, index, durable
