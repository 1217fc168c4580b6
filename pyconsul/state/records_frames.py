"""Cutting a stream of records into its records, whatever they hold."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgpack import OutOfData, Unpacker
from msgpack.exceptions import BufferFull
from msgspec import Struct

from pyconsul.errors import Refused
from pyconsul.state.records_wire import Index

RECORD_BYTES_MAX = 64 * 1024 * 1024
HEADER = -1


class _Header(Struct, rename="pascal"):
    last_index: Index


_decode_header = msgspec.msgpack.Decoder(_Header).decode


class Frames:
    """Gives the records of a stream that comes in pieces of any size.

    Believes no length that the bytes in hand do not bear out, and holds one record at most.

    :ivar last_index: what the header says; 0 before it was met.
    """

    def __init__(self) -> None:
        self.last_index = 0
        self._unpacker = Unpacker(raw=True, max_buffer_size=RECORD_BYTES_MAX + 1)
        self._parts: list[bytes] = []
        """What was fed and belongs to no whole record yet, beginning at ``_start``."""
        self._held = 0
        self._start = 0
        self._kind: int | None = HEADER
        """``None``: the byte that tells it is not there yet."""
        self._number = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The records that ``data`` completes, as kind and map; the header has the kind ``HEADER``.

        :raises Refused: if the stream cannot be understood; it cannot be continued then.
        """
        unpacker = self._unpacker
        self._parts.append(data)
        self._held += len(data)
        try:
            unpacker.feed(data)
        except BufferFull:
            raise self.fault("is too large") from None
        if not self._complete():
            if self._held > RECORD_BYTES_MAX:
                raise self.fault("is too large")
            return
        chunk = b"".join(self._parts)
        begin = 0
        base = self._start
        while True:
            end = unpacker.tell() - base
            kind = self._kind
            if kind == HEADER:
                self._header(chunk[:end])
                yield HEADER, b""
            else:
                assert kind is not None
                yield kind, chunk[begin + 1 : end]
            begin = end
            self._start = base + end
            self._kind = None
            self._number += 1
            if not self._complete():
                break
        self._parts = [chunk[begin:]]
        self._held = len(chunk) - begin

    def _complete(self) -> bool:
        """Whether all of the next record is there; the unpacker stands at its end then."""
        unpacker = self._unpacker
        try:
            if self._kind is None:
                kind = unpacker.read_bytes(1)
                if not kind:
                    return False
                self._kind = kind[0]
            unpacker.skip()
        except OutOfData:
            return False
        except (ValueError, RecursionError):
            raise self.fault("is not MessagePack") from None
        return True

    def _header(self, data: bytes) -> None:
        try:
            self.last_index = _decode_header(data).last_index
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self.fault(f"cannot be read: {error}") from None

    def finish(self) -> None:
        """The stream is over.

        :raises Refused: if that is within a record.
        """
        if self._kind == HEADER or self._held:
            raise self.fault("is incomplete: unexpected EOF")

    def fault(self, what: str) -> Refused:
        """What to say of the record that is being looked at."""
        if self._kind == HEADER:
            return Refused(f"the header of the snapshot's state {what}")
        kind = "" if self._kind is None else f" (kind {self._kind})"
        return Refused(f"record {self._number}{kind} of the snapshot's state, at byte {self._start}, {what}")
