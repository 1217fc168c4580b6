"""What the records of all kinds have in common: how they are packed, and the record of an index."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgpack import Packer
from msgspec import Meta, Raw, Struct, field

from pyconsul.errors import Refused

Index: TypeAlias = Annotated[int, Meta(ge=0, le=1 << 62)]
"""A log index as a stranger tells it; what comes after it has to fit 64 bits, too."""

NIL = Raw(b"\xc0")
_LENGTH_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""Of strings and of bytes, by the byte that they begin with; a short string is ``0xA0`` + length."""


def packer() -> Packer:
    """A packer of the MessagePack that Consul writes: texts and bytes are the same thing."""
    return Packer(use_bin_type=False, unicode_errors="replace")


class IndexRecord(Struct, rename="pascal"):
    """An index of Consul's; ``key`` is a table, or ``service.`` and a name.

    :ivar views: ours, which Consul passes over; what they are is up to who writes the record.
    """

    key: str = ""
    value: Index = 0
    views: list[Index] = field(default_factory=list)
    states: dict[str, Index] | None = None


def raw_bytes(raw: Raw) -> bytes | None:
    """What a string or bytes hold, or ``None`` for nil.

    :raises Refused: if it is something else.
    """
    data = bytes(raw)
    first = data[0]
    if 0xA0 <= first <= 0xBF:
        return data[1:]
    length = _LENGTH_BYTES.get(first)
    if length is not None:
        return data[1 + length :]
    if first == 0xC0:
        return None
    raise Refused("holds something else where bytes belong")
