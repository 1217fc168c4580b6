"""The MessagePack dialect of gossip: reading with tolerance, writing as the others do.

Structs are maps from field name to value, strings and bytes are both ``raw``, keys are sorted.
Readers also take the newer string types, unknown and missing fields, ``nil`` for a zero value, and
an array of the values in the order of declaration (specs of gossip, section 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

from pyconsul.errors import PyconsulError

_PACKET_ARRAY_MAX = 1024
"""Longest array in a packet; the parser reserves room on a stranger's word, level by level."""

_STREAM_ARRAY_MAX = 16384


class DecodeError(PyconsulError):
    """What came from the network is not what it should be; the text says why."""

    code = "DECODE"


def pack(fields: dict[str, Any]) -> bytes:
    """Encode a struct; the caller gives the fields sorted by name."""
    packed: bytes = msgpack.packb(fields, use_bin_type=False)
    return packed


def unpack(data: bytes, array_max: int = _PACKET_ARRAY_MAX) -> Any:
    """Decode one object and forget what comes after it.

    :raises DecodeError: if there is no whole object.
    """
    if not data:
        raise DecodeError("no body")
    try:
        return msgpack.unpackb(data, raw=True, max_array_len=array_max)
    except msgpack.ExtraData as extra:
        return extra.unpacked
    except (ValueError, TypeError, OverflowError) as error:
        raise DecodeError(f"msgpack: {type(error).__name__}") from error


def unpack_stream(data: bytes) -> Any:
    """Like ``unpack``, with the longer lists that only a stream may carry."""
    return unpack(data, _STREAM_ARRAY_MAX)


def unpacker(data: bytes) -> msgpack.Unpacker:
    """A parser of several objects back to back in ``data``."""
    parser = msgpack.Unpacker(
        raw=True, max_buffer_size=max(len(data), 1), max_array_len=_PACKET_ARRAY_MAX, max_map_len=1 << 20
    )
    parser.feed(data)
    return parser


def unpack_next(parser: msgpack.Unpacker) -> Any:
    """The next object of ``parser``.

    :raises DecodeError: if there is no whole object.
    """
    try:
        return parser.unpack()
    except (msgpack.OutOfData, msgpack.BufferFull, ValueError, TypeError, OverflowError) as error:
        raise DecodeError(f"msgpack: {type(error).__name__}") from error


def skip_next(parser: msgpack.Unpacker) -> None:
    """Pass over the next object of ``parser``.

    :raises DecodeError: if there is no whole object.
    """
    try:
        parser.skip()
    except (msgpack.OutOfData, msgpack.BufferFull, ValueError, TypeError) as error:
        raise DecodeError(f"msgpack: {type(error).__name__}") from error


def values(body: Any, names: Sequence[bytes]) -> list[Any]:
    """The values of the fields ``names``, in that order, ``None`` for those that are absent.

    :raises DecodeError: if ``body`` is no struct.
    """
    if type(body) is dict:
        get = body.get
        return [get(name) for name in names]
    if type(body) is list:
        return (body + [None] * len(names))[: len(names)]
    if body is None:
        return [None] * len(names)
    raise DecodeError("not a struct")


def unsigned(value: Any, largest: int = 0xFFFFFFFF) -> int:
    """An unsigned integer of the field's width."""
    if value is None:
        return 0
    if type(value) is int and 0 <= value <= largest:
        return value
    raise DecodeError("not an integer of the field's size")


def signed64(value: Any) -> int:
    """A signed integer of 64 bits."""
    if value is None:
        return 0
    if type(value) is int and -(1 << 63) <= value < 1 << 63:
        return value
    raise DecodeError("not an integer of the field's size")


def number(value: Any) -> float:
    """A float; integers are taken too."""
    if value is None:
        return 0.0
    if type(value) is float or type(value) is int:
        return float(value)
    raise DecodeError("not a number")


def raw(value: Any) -> bytes:
    """Bytes, of a string or not."""
    if type(value) is bytes:
        return value
    if value is None or value == []:
        return b""
    raise DecodeError("not bytes")


def text(value: Any) -> str:
    """A string; names end up in JSON, so what is not UTF-8 is refused."""
    if type(value) is bytes:
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise DecodeError("not UTF-8") from error
    if value is None:
        return ""
    raise DecodeError("not a string")


def boolean(value: Any) -> bool:
    """A truth value."""
    if value is None:
        return False
    if type(value) is bool:
        return value
    raise DecodeError("not a boolean")


def sequence(value: Any) -> list[Any]:
    """A list."""
    if value is None:
        return []
    if type(value) is list:
        return value
    raise DecodeError("not a list")


def mapping(value: Any) -> dict[Any, Any]:
    """A map."""
    if value is None:
        return {}
    if type(value) is dict:
        return value
    raise DecodeError("not a map")
