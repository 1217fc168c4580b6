"""Datagrams: what goes around one message or several, and back."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from pyconsul.swim import messages
from pyconsul.swim.layers import Layers, compressed, decompressed
from pyconsul.swim.wire import DecodeError

BUFFER_SIZE = 1400
"""What one datagram should not exceed, all layers included."""

COMPOUND_HEADER = 2
COMPOUND_ENTRY = 2
COMPOUND_MAX = 255
CRC_HEADER = 5

_PLAIN_MAX = 256 * 1024
"""Most bytes that one datagram may grow to by decompression; honest ones stay below 10 KiB."""

_DEPTH_MAX = 8


def compound(parts: Sequence[bytes]) -> bytes:
    """One message that holds up to ``COMPOUND_MAX`` others; a single one stays as it is."""
    if len(parts) == 1:
        return parts[0]
    head = bytearray((messages.COMPOUND, len(parts)))
    for part in parts:
        head += len(part).to_bytes(2, "big")
    return b"".join((head, *parts))


def encode_packet(layers: Layers, message: bytes, with_crc: bool = False) -> bytes:
    """The datagram for ``message``; ``with_crc`` only to who understands protocol 5."""
    if layers.compress:
        smaller = compressed(message)
        if len(smaller) < len(message):
            message = smaller
    if with_crc:
        message = b"\x0c" + crc32(message).to_bytes(4, "big") + message
    if layers.sealing:
        message = layers.seal(message, b"")
    return layers.add_label(message)


class Packet:
    """What was in a datagram: messages as type and body, and what was wrong with the rest."""

    __slots__ = ("_room", "messages", "problems")

    def __init__(self) -> None:
        self.messages: list[tuple[int, bytes]] = []
        self.problems: list[str] = []
        self._room = _PLAIN_MAX

    def add(self, message: bytes, depth: int = 0) -> None:
        """Unwrap ``message`` into ``messages``."""
        if not message:
            self.problems.append("empty message")
            return
        kind = message[0]
        if kind != messages.COMPOUND and kind != messages.COMPRESS:
            self.messages.append((kind, message[1:]))
            return
        if depth == _DEPTH_MAX:
            self.problems.append("nested too deep")
            return
        try:
            if kind == messages.COMPOUND:
                self._add_parts(message, depth + 1)
            else:
                inner = decompressed(message[1:], self._room)
                self._room -= len(inner)
                self.add(inner, depth + 1)
        except DecodeError as error:
            self.problems.append(str(error))

    def _add_parts(self, message: bytes, depth: int) -> None:
        """Take a compound apart, as far as it is whole."""
        if len(message) < COMPOUND_HEADER:
            raise DecodeError("compound without a count")
        count = message[1]
        start = COMPOUND_HEADER + COMPOUND_ENTRY * count
        if len(message) < start:
            raise DecodeError("compound with its lengths cut off")
        for number in range(count):
            at = COMPOUND_HEADER + COMPOUND_ENTRY * number
            end = start + int.from_bytes(message[at : at + COMPOUND_ENTRY], "big")
            if end > len(message):
                self.problems.append(f"compound with {count - number} messages cut off")
                return
            self.add(message[start:end], depth)
            start = end


def decode_packet(layers: Layers, data: bytes) -> Packet:
    """Take a datagram apart.

    :raises NotAuthentic: if it has to be encrypted, and is not with any of our keys; nothing of it has
        been looked at then.
    :raises DecodeError: if nothing in it can be used.
    """
    data = layers.strip_label(data)
    keyring = layers.keyring
    if keyring is not None:
        try:
            data = keyring.open(data, layers.label)
        except DecodeError:
            if layers.verify_incoming:
                raise
    if data and data[0] == messages.CRC:
        if len(data) < CRC_HEADER:
            raise DecodeError("CRC header cut off")
        expected = int.from_bytes(data[1:5], "big")
        data = data[5:]
        if crc32(data) != expected:
            raise DecodeError("wrong CRC")
    packet = Packet()
    packet.add(data)
    return packet
