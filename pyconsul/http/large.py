"""Large answers: made and sent piece by piece, so that nobody else waits for them.

The pieces of an answer of many rows are gathered first (``Draft``). If they are no more than
``WHOLE_BYTES_MAX``, it is an answer like any other: it has a length, may be kept, and all who wait for it
share its bytes. If they are, which the first tells about, it goes out in chunks, each made when the client
has room for it (``Long``, ``Sending``). So for a client that reads slowly the agent holds the rows as they
were, which take no memory of their own while they stay the same, and a piece or two. Whatever else has more
than ``AT_ONCE_BYTES_MAX`` is sent piece by piece, too.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from pyconsul.http.turns import Turns
from pyconsul.structs.lists import Lists

if TYPE_CHECKING:
    from pyconsul.http.channel import Channel

ROWS_AT_ONCE_MAX = 1_024
ROWS_PER_PIECE = 256
AT_ONCE_BYTES_MAX = 256 * 1024
PIECE_BYTES = 128 * 1024
WHOLE_BYTES_MAX = 2 * 1024 * 1024
UNSENT_BYTES_MAX = 256 * 1024
"""In the kernel's hands, which would take some MiB for each client however slowly it reads."""

_UNSENT = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # not everywhere

encode = msgspec.json.Encoder(enc_hook=list).encode


def is_large(rows: Any) -> bool:
    """Whether ``rows``, to be shown as JSON, are too many to do that at once."""
    return isinstance(rows, Lists) or (isinstance(rows, (list, dict)) and len(rows) > ROWS_AT_ONCE_MAX)


def pretty(body: bytes) -> bytes:
    """``body``, which is JSON, with four spaces of indent and a final newline."""
    return msgspec.json.format(body, indent=4) + b"\n"


def texts(rows: Any, is_pretty: bool) -> Iterator[bytes]:
    """The JSON text of ``rows``, a list or a mapping that is not empty, in pieces quickly made."""
    before, after = (b"{", b"}") if isinstance(rows, dict) else (b"[", b"]")
    inner = slice(1, -1)
    if is_pretty:
        inner, after = slice(1, -2), b"\n" + after + b"\n"
    parts = _parts(rows)
    part = next(parts)
    while part is not None:
        text = encode(part)
        if is_pretty:
            text = msgspec.json.format(text, indent=4)
        part = next(parts, None)
        yield b"".join((before, memoryview(text)[inner], after if part is None else b""))
        before = b","


def _parts(rows: Any) -> Iterator[Any]:
    if isinstance(rows, Lists):
        yield from rows.lists()
    elif isinstance(rows, dict):
        items = iter(rows.items())
        while part := dict(islice(items, ROWS_PER_PIECE)):
            yield part
    else:
        for start in range(0, len(rows), ROWS_PER_PIECE):
            yield rows[start : start + ROWS_PER_PIECE]


def packer(size: int) -> Any:
    """What makes gzip of ``size`` bytes; quick rather than small, with a window no larger than needed."""
    window = min(15, max(9, size.bit_length()))
    return zlib.compressobj(1, zlib.DEFLATED, window + 16, min(9, max(1, window - 7)))


def packed(texts: Iterator[bytes]) -> Iterator[bytes]:
    """Many bytes in gzip form; pieces may be empty."""
    deflate = packer(WHOLE_BYTES_MAX)
    for text in texts:
        yield deflate.compress(text)
    yield deflate.flush()


def pieces(data: bytes) -> Iterator[bytes]:
    """``data`` in pieces that are quickly sent."""
    return (data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES))


def chunks(texts: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks that carry ``texts`` over HTTP/1.1; nothing for those that are empty."""
    for text in texts:
        yield b"%x\r\n%b\r\n" % (len(text), text) if text else b""
    yield b"0\r\n\r\n"


class Long:
    """A body that is too long to be made as a whole."""

    __slots__ = ("_is_pretty", "_rows")

    def __init__(self, rows: Any, is_pretty: bool) -> None:
        self._rows = rows
        self._is_pretty = is_pretty

    def texts(self) -> Iterator[bytes]:
        """All of it."""
        return texts(self._rows, self._is_pretty)

    def first_share(self) -> float:
        """How much of it is in the first piece, about."""
        return len(next(_parts(self._rows))) / len(self._rows)


class Draft:
    """A body in the making.

    :param texts: the pieces. :param gzip: make that form of it as well.
    :param share: how much of it is in the first piece.
    :ivar done: fires with the body and its gzip form, if that is wanted; ``None``: it is too long.
    """

    def __init__(self, turns: Turns, texts: Iterator[bytes], gzip: bool, share: float = 1.0) -> None:
        self.done: Deferred[tuple[bytes, bytes] | None] = Deferred(lambda _: turns.drop(self))
        self._texts = texts
        self._share = share
        self._made: list[bytes] = []
        self._size = 0
        self._deflate = packer(WHOLE_BYTES_MAX) if gzip else None
        self._packed: list[bytes] = []
        turns.add(self)

    def step(self) -> bool:
        """See ``Work``."""
        try:
            text = next(self._texts, b"")
            if self._deflate is not None:
                self._packed.append(self._deflate.compress(text) if text else self._deflate.flush())
        except Exception:
            self.done.errback()
            return False
        if not text:
            self.done.callback((b"".join(self._made), b"".join(self._packed)))
            return False
        self._made.append(text)
        self._size += len(text)
        if self._size / self._share > WHOLE_BYTES_MAX:
            self.done.callback(None)
            return False
        self._share = 1.0
        return True


class Flow:
    """A rendered answer that is sent piece by piece, to one client or to many.

    :param head: how it begins.
    :param body: gives the pieces of what follows, as they are to be sent.
    :ivar close: the end of the connection is the end of the answer.
    """

    __slots__ = ("_body", "_head", "close")

    def __init__(self, head: bytes, body: Callable[[], Iterator[bytes]], close: bool = False) -> None:
        self._head = head
        self._body = body
        self.close = close

    def pieces(self) -> Iterator[bytes]:
        """All of it, for one client."""
        body = self._body()
        yield self._head + next(body, b"")
        yield from body


@implementer(IPushProducer)
class Sending:
    """A flow on its way to one client, at the client's speed.

    :param sent: called once all is written.
    """

    def __init__(self, channel: Channel, flow: Flow, turns: Turns, sent: Callable[[], None]) -> None:
        self._channel = channel
        self._pieces = flow.pieces()
        self._turns = turns
        self._sent = sent
        self._paused = False
        handle = getattr(channel.transport, "socket", None)
        if handle is not None and _UNSENT is not None:
            with suppress(OSError):  # no TCP connection
                handle.setsockopt(socket.IPPROTO_TCP, _UNSENT, UNSENT_BYTES_MAX)
        turns.add(self)

    def step(self) -> bool:
        """See ``Work``: one piece."""
        channel = self._channel
        try:
            piece = next(self._pieces, None)
        except Exception:
            channel.broke(Failure())
            return False
        if piece is not None:
            if piece:
                channel.write(piece)
            return not self._paused
        channel.unregisterProducer()
        self._sent()
        return False

    def pauseProducing(self) -> None:
        """The client reads more slowly than we write."""
        self._paused = True
        self._turns.drop(self)

    def resumeProducing(self) -> None:
        """It has caught up."""
        self._paused = False
        self._turns.add(self)

    def stopProducing(self) -> None:
        """Nobody reads on."""
        self._turns.drop(self)
        self._pieces = iter(())
