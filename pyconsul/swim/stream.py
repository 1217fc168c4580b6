"""Streams: one request and at most one answer each, and where they end."""

from __future__ import annotations

import msgpack

from pyconsul.swim import messages
from pyconsul.swim.layers import CIPHERTEXT_REFUSED, PLAINTEXT_REFUSED, Layers, compressed, decompressed
from pyconsul.swim.wire import DecodeError, unpack

SEALED_MAX = 20 << 20
STREAM_MAX = 32 << 20
"""Most bytes taken from one stream."""

_PLAIN_MAX = 40 << 20
_ENCRYPT_HEADER = 5
_SINGLE = (
    messages.PING, messages.ACK, messages.COMPRESS, messages.ERROR,
)  # fmt: skip


class StreamRefused(DecodeError):
    """A request that is answered with the text of the error."""


class StreamNotAuthentic(StreamRefused):
    """It has to be encrypted, and is not with any of our keys."""


def encode_stream(layers: Layers, message: bytes) -> bytes:
    """The bytes to send for ``message``."""
    if layers.compress:
        message = compressed(message)
    if layers.sealing:
        size = len(message) + layers.overhead - (len(layers.label) + 2 if layers.label else 0)
        header = bytes((messages.ENCRYPT,)) + size.to_bytes(4, "big")
        message = header + layers.seal(message, header)
    return layers.add_label(message)


def decode_stream(layers: Layers, data: bytes) -> tuple[int, bytes]:
    """Type and body of the one message in a whole stream.

    :raises StreamRefused: if the sender should be told why.
    :raises DecodeError: if the stream can only be closed.
    """
    data = layers.strip_label(data)
    if not data:
        raise DecodeError("empty stream")
    if data[0] == messages.ENCRYPT:
        data = _opened(layers, data)
    elif layers.keyring is not None and layers.verify_incoming:
        raise StreamNotAuthentic(PLAINTEXT_REFUSED)
    if data[:1] == bytes((messages.COMPRESS,)):
        try:
            data = decompressed(data[1:], _PLAIN_MAX)
        except DecodeError as error:
            raise StreamRefused(str(error)) from error
    if not data:
        raise DecodeError("empty message")
    return data[0], data[1:]


def _opened(layers: Layers, data: bytes) -> bytes:
    if layers.keyring is None:
        raise StreamRefused(CIPHERTEXT_REFUSED)
    header = data[:_ENCRYPT_HEADER]
    end = _ENCRYPT_HEADER + int.from_bytes(header[1:], "big")
    try:
        return layers.keyring.open(data[_ENCRYPT_HEADER:end], header + layers.label)
    except DecodeError as error:
        raise StreamNotAuthentic(str(error)) from error


class StreamFramer:
    """Finds the end of the one message of a stream as its bytes come in.

    It needs no keys: what is encrypted says how long it is. What it holds is bounded by
    ``STREAM_MAX`` and by nothing that the sender claims.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._parser: msgpack.Unpacker | None = None
        self._start = 0
        """Where the parser's first byte is in the stream."""
        self._objects = 0
        """Objects still to come; below 0: the header has not been read."""
        self._tail = 0
        """Raw bytes after the last object, as the header says."""
        self._end = -1
        """Where the message ends, once that is known."""

    def feed(self, chunk: bytes) -> bytes | None:
        """The whole message, once it is there.

        :raises DecodeError: if the stream is too long or cannot be followed.
        """
        if len(self._data) + len(chunk) > STREAM_MAX:
            raise DecodeError("stream too long")
        self._data += chunk
        if self._parser is None and self._end < 0:
            self._begin()
        elif self._parser is not None:
            self._parser.feed(chunk)
        if self._parser is not None:
            self._parse()
        if 0 <= self._end <= len(self._data):
            return bytes(self._data[: self._end])
        return None

    def _begin(self) -> None:
        """Look at the first bytes, once there are enough of them."""
        data = self._data
        start = 0
        if data[:1] == bytes((messages.LABEL,)):
            if len(data) < 2 or len(data) < 2 + data[1]:
                return
            start = 2 + data[1]
        if len(data) <= start:
            return
        kind = data[start]
        if kind == messages.ENCRYPT:
            if len(data) < start + _ENCRYPT_HEADER:
                return
            size = int.from_bytes(data[start + 1 : start + _ENCRYPT_HEADER], "big")
            if size > SEALED_MAX:
                raise DecodeError(f"stream: {size} encrypted bytes")
            self._end = start + _ENCRYPT_HEADER + size
            return
        if kind in _SINGLE:
            self._objects = 1
        elif kind in (messages.PUSH_PULL, messages.USER):
            self._objects = -1
        else:
            raise DecodeError(f"stream: unknown type {kind}")
        self._start = start + 1
        self._parser = msgpack.Unpacker(raw=True, max_buffer_size=STREAM_MAX)
        self._parser.feed(data[self._start :])

    def _parse(self) -> None:
        """Skip as many objects as are there."""
        parser = self._parser
        assert parser is not None
        try:
            while self._objects:
                parser.skip()
                if self._objects < 0:
                    self._read_header(self._start + parser.tell())
                else:
                    self._objects -= 1
        except msgpack.OutOfData:
            return
        except (msgpack.BufferFull, ValueError, TypeError) as error:
            raise DecodeError(f"stream: {type(error).__name__}") from error
        self._end = self._start + parser.tell() + self._tail
        self._parser = None

    def _read_header(self, end: int) -> None:
        """How many objects and bytes follow the header."""
        body = unpack(bytes(self._data[self._start : end]))
        if self._data[self._start - 1] == messages.USER:
            self._objects, self._tail = 0, messages.user_header(body)
        else:
            self._objects, self._tail, _ = messages.push_pull_header(body)
