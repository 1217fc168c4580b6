"""The LZW dialect of gossip's compressed messages.

Least significant bit first, literals of 8 bits, codes from 9 to 12 bits, clear code 256, end code
257. Two generations of encoders are in the field: newer ones start with a clear code, older ones
do not. The decoder takes both.
"""

from pyconsul.swim.wire import DecodeError

_CLEAR = 256
_END = 257
_FIRST_WIDTH = 9
_LAST_CODE = 4095
"""An encoder starts over instead of giving this code away; a decoder's table ends with it."""

_LITERALS = tuple(bytes((value,)) for value in range(256)) + (b"", b"")


def compress(data: bytes, leading_clear: bool = True) -> bytes:
    """Encode ``data``; ``leading_clear`` chooses between the two generations of encoders."""
    out = bytearray()
    bits = bit_count = 0
    width = _FIRST_WIDTH
    if leading_clear and data:
        bits, bit_count = _CLEAR, width
    table: dict[int, int] = {}
    newest = _END
    code = data[0] if data else _END
    for literal in data[1:]:
        key = code << 8 | literal
        known = table.get(key)
        if known is not None:
            code = known
            continue
        bits |= code << bit_count
        bit_count += width
        code = literal
        newest += 1
        if newest == 1 << width:
            width += 1
        if newest == _LAST_CODE:
            bits |= _CLEAR << bit_count
            bit_count += width
            table.clear()
            width, newest = _FIRST_WIDTH, _END
        else:
            table[key] = newest
        if bit_count >= 32:
            out += (bits & 0xFFFFFFFF).to_bytes(4, "little")
            bits >>= 32
            bit_count -= 32
    if data:
        bits |= code << bit_count
        bit_count += width
        newest += 1
        if newest == 1 << width and width < 12:
            width += 1
        if newest == _LAST_CODE:
            bits |= _CLEAR << bit_count
            bit_count += width
            width = _FIRST_WIDTH
    bits |= _END << bit_count
    bit_count += width
    return bytes(out) + bits.to_bytes((bit_count + 7) // 8, "little")


def decompress(data: bytes, size_max: int) -> bytes:
    """Decode ``data``.

    :raises DecodeError: on a code that means nothing, when the end code is missing, or when the
        result would be larger than ``size_max`` bytes.
    """
    parts: list[bytes] = []
    table = list(_LITERALS)
    width, full = _FIRST_WIDTH, 1 << _FIRST_WIDTH
    mask = full - 1
    previous = b""
    bits = bit_count = size = 0
    for byte in data:
        bits |= byte << bit_count
        bit_count += 8
        if bit_count < width:
            continue
        code = bits & mask
        bits >>= width
        bit_count -= width
        if code == _CLEAR:
            del table[258:]
            width, full = _FIRST_WIDTH, 1 << _FIRST_WIDTH
            mask = full - 1
            previous = b""
            continue
        if code == _END:
            return b"".join(parts)
        length = len(table)
        if code < length:
            entry = table[code]
        elif code == length and previous:
            entry = previous + previous[:1]
        else:
            raise DecodeError("lzw: invalid code")
        size += len(entry)
        if size > size_max:
            raise DecodeError(f"lzw: more than {size_max} bytes")
        parts.append(entry)
        if previous and length <= _LAST_CODE:
            table.append(previous + entry[:1])
            length += 1
        previous = entry
        if length >= full and width < 12:
            width += 1
            full <<= 1
            mask = full - 1
    raise DecodeError("lzw: no end code")
