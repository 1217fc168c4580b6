"""A state as a stream of frames, in our own format: what snapshot files and Raft's transfers hold.

A state is a ``Struct`` of lists, dicts, tables of their own kind (``Parted``) and single values, or of
more such Structs. A frame is some rows of one list or dict, a part of a table, or one value: MessagePack
of ``[path, part]``, behind its length. Rows are encoded as they are, so this is many times faster than
the archive that Consul reads (``pyconsul.state.records``); and a table that is added to the state is in
the stream by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from pyconsul.errors import StorageDamaged

S = TypeVar("S", bound=Struct)

ROWS_PER_SLICE = 2_000
SLICE_BYTES = 1024 * 1024
ROWS_PER_FRAME = 64
FRAME_BYTES = 64 * 1024
"""What a frame is meant to have; one row may be larger."""

FRAME_BYTES_MAX = 256 * 1024 * 1024
_LENGTH_BYTES = 4


class Parted(Protocol):
    """A table that says itself in what pieces it goes into a stream.

    :ivar part_type: what they are.
    """

    part_type: Any

    def parts(self) -> Iterator[tuple[int, Any]]:
        """Everything, piece by piece, each with how many rows are in it."""
        ...

    def add(self, part: Any) -> None:
        """Take over what ``parts`` gave, beginning with a new table."""
        ...


# ---------------------------------------------------------------- writing


def encode(root: Struct, rows_max: int = ROWS_PER_SLICE, bytes_max: int = SLICE_BYTES) -> Iterator[bytes]:
    """The stream in slices of whole frames, of about ``rows_max`` rows and ``bytes_max`` bytes at most.

    Only what ``root`` refers to is read, and lists and dicts in it must not change meanwhile.
    """
    parts: list[bytes] = []
    rows = size = 0
    for count, payload in _frames(root, ""):
        parts.append(len(payload).to_bytes(_LENGTH_BYTES, "little"))
        parts.append(payload)
        rows += count
        size += len(payload) + _LENGTH_BYTES
        if rows >= rows_max or size >= bytes_max:
            yield b"".join(parts)
            parts.clear()
            rows = size = 0
    if parts:
        yield b"".join(parts)


def _frames(value: Struct, prefix: str) -> Iterator[tuple[int, bytes]]:
    """Frames with how many rows each has."""
    for name, path, kind in _members(type(value), prefix):
        member = getattr(value, name)
        if _is_branch(kind):
            yield from _frames(member, f"{path}.")
        elif get_origin(kind) is list:
            yield from _rows(path, member)
        elif get_origin(kind) is dict:
            yield from _items(path, member)
        elif _is_parted(kind):
            for count, part in member.parts():
                yield count, _encode((path, part))
        else:
            yield 1, _encode((path, member))


def _rows(path: str, rows: Iterable[Any]) -> Iterator[tuple[int, bytes]]:
    source = iter(rows)
    step = 1
    while part := list(islice(source, step)):
        parts = [part]
        while parts:
            part = parts.pop()
            payload = _encode((path, part))
            size = len(payload)
            if size > 4 * FRAME_BYTES and len(part) > 1:  # large rows after small ones
                half = len(part) // 2
                parts += [part[half:], part[:half]]
                step = max(1, step // 2)
                continue
            yield len(part), payload
        if size > FRAME_BYTES:
            step = max(1, step // 2)
        elif size < FRAME_BYTES // 4 and step < ROWS_PER_FRAME:
            step *= 2


def _items(path: str, table: dict[Any, Any]) -> Iterator[tuple[int, bytes]]:
    items = iter(table.items())
    while part := dict(islice(items, ROWS_PER_FRAME)):
        yield len(part), _encode((path, part))


_encode = msgspec.msgpack.Encoder().encode


# ---------------------------------------------------------------- reading


class Decoder(Generic[S]):
    """Takes a stream in pieces of any size and gives the state.

    What the stream does not have stays as an empty state has it, if it is not a single value.
    """

    def __init__(self, kind: type[S]) -> None:
        self._kind = kind
        self._decoders: dict[str, Any] = {}
        self._values: dict[str, Any] = {}
        self._rest = b""
        for path, type_ in _leaves(kind, ""):
            origin = get_origin(type_)
            if origin in (list, dict):
                self._values[path] = origin()
            elif _is_parted(type_):
                self._values[path] = type_()
                type_ = type_.part_type
            frame = tuple[str, type_]  # type: ignore[valid-type]
            self._decoders[path] = msgspec.msgpack.Decoder(frame).decode

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        :raises StorageDamaged: if they cannot be understood; the decoder is of no use any more then.
        """
        if self._rest:
            data = self._rest + data
        position, end = 0, len(data)
        view = memoryview(data)
        while end - position >= _LENGTH_BYTES:
            size = int.from_bytes(view[position : position + _LENGTH_BYTES], "little")
            if size > FRAME_BYTES_MAX:
                raise StorageDamaged(f"a frame of {size} bytes")
            behind = position + _LENGTH_BYTES + size
            if behind > end:
                break
            self._take(view[position + _LENGTH_BYTES : behind])
            position = behind
        self._rest = data[position:]

    def _take(self, payload: memoryview) -> None:
        try:
            path = _decode_path(payload)
            part = self._decoders[path](payload)[1]
        except KeyError:
            raise StorageDamaged(f"the unknown table {path}") from None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, IndexError) as error:
            raise StorageDamaged(f"an unreadable frame: {error}") from None
        table = self._values.get(path)
        if isinstance(table, list):
            table += part
        elif isinstance(table, dict):
            table.update(part)
        elif table is not None and _is_parted(type(table)):
            table.add(part)
        else:
            self._values[path] = part

    def finish(self) -> S:
        """The state, once everything was fed.

        :raises StorageDamaged: if something is missing.
        """
        if self._rest:
            raise StorageDamaged("an incomplete frame at the end")
        root: S = self._made(self._kind, "")
        return root

    def _made(self, kind: type[Any], prefix: str) -> Any:
        members: dict[str, Any] = {}
        for name, path, type_ in _members(kind, prefix):
            if _is_branch(type_):
                members[name] = self._made(type_, f"{path}.")
            elif path in self._values:
                members[name] = self._values[path]
            elif not _has_default(kind, name):
                raise StorageDamaged(f"no {path}")
        return kind(**members)


def _decode_path(payload: memoryview) -> str:
    """The path at the beginning of a frame, without looking at the rest: a short or ``str 8`` text."""
    if payload[0] != 0x92:
        raise IndexError("no pair")
    first = payload[1]
    start, size = (2, first & 0x1F) if 0xA0 <= first <= 0xBF else (3, payload[2])
    return str(payload[start : start + size], "utf-8")


# ---------------------------------------------------------------- shapes


def _members(kind: type[Any], prefix: str) -> Iterator[tuple[str, str, Any]]:
    """Name, path and type of each field."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        yield field.name, prefix + field.name, hints[field.name]


def _leaves(kind: type[Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for _, path, type_ in _members(kind, prefix):
        if _is_branch(type_):
            yield from _leaves(type_, f"{path}.")
        else:
            yield path, type_


def _is_branch(type_: Any) -> bool:
    """Whether a field holds a part of the state, rather than rows."""
    return not get_args(type_) and isinstance(type_, type) and issubclass(type_, Struct)


def _is_parted(type_: Any) -> bool:
    return hasattr(type_, "part_type")


def _has_default(kind: type[Any], name: str) -> bool:
    return any(field.name == name and not field.required for field in fields(kind))
