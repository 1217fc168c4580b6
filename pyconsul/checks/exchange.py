"""One HTTP/1.1 request over a connection of its own, and what came back.

``twisted.web.client.Agent`` does more than checks need and takes four times as long for it, which a
node with thousands of HTTP checks would notice. Connections are not kept: that somebody still accepts
new ones is part of what a check is to find out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import httptools
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from pyconsul.checks.dialing import NO_HANDSHAKE, lost_reason
from pyconsul.checks.outcome import Tail

HEAD_BYTES_MAX = 256 * 1024
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LINE_BREAKS = re.compile(r"[\r\n]+[ \t]*")


class Broken(Exception):
    """There is no answer; says why."""


class Reply:
    """An answer, which may not have come whole.

    :ivar phrase: the rest of the status line.
    :ivar location: where a redirect leads to.
    """

    __slots__ = ("body", "code", "location", "phrase")

    def __init__(self, body: Tail) -> None:
        self.code = 0
        self.phrase = ""
        self.location = ""
        self.body = body


def is_token(text: str) -> bool:
    """Whether ``text`` can be a method or the name of a header."""
    return _TOKEN.fullmatch(text) is not None


def request_bytes(method: str, target: str, headers: Mapping[str, list[str]], body: bytes = b"") -> bytes:
    """A request after which the connection is closed."""
    lines = [f"{method} {target} HTTP/1.1"]
    for name, values in headers.items():
        lines += [f"{name}: {_LINE_BREAKS.sub(' ', value)}" for value in values]
    if body or method not in ("GET", "HEAD"):
        lines.append(f"Content-Length: {len(body)}")
    lines += ["Connection: close", "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + body


class Exchange(Protocol):
    """Sends a request and reads the answer, bounded in all but time.

    :param bodiless: no body follows the head, as after ``HEAD``.
    :param body_bytes_max: the end of a body that is kept.
    :ivar reply: the answer once its head is here, before that ``None``.
    :ivar done: fires with the reply once the connection has nothing more to say, also if it ended early;
        fails with ``Broken`` if there is no reply. Cancelling it closes the connection.
    """

    def __init__(self, request: bytes, bodiless: bool, body_bytes_max: int) -> None:
        self._request = request
        self._bodiless = bodiless
        self._parser: Any = httptools.HttpResponseParser(self)
        self._head_bytes = 0
        self._coming = Reply(Tail(body_bytes_max))
        self.reply: Reply | None = None
        self.done: Deferred[Reply] = Deferred(lambda _: self._drop())

    def connectionMade(self) -> None:
        """Ask."""
        self.transport.write(self._request)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        """Part of the answer."""
        if self.done.called:
            return
        if self.reply is None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX + len(data):
                self._fail(f"net/http: server response headers exceeded {HEAD_BYTES_MAX} bytes; aborted")
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._finish()
        except httptools.HttpParserError as error:
            self._fail(f"net/http: HTTP/1.x transport connection broken: malformed HTTP response: {error}")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nothing more comes."""
        if self.done.called:
            return
        if self.reply is not None:
            self._finish()
        else:
            why = lost_reason(reason)
            plain = "http: server gave HTTP response to HTTPS client"
            self._fail(plain if why == NO_HANDSHAKE else why)

    # ------------------------------------------------------------ what the parser finds

    def on_status(self, status: bytes) -> None:
        """A piece of the phrase."""
        self._coming.phrase += status.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        if name.lower() == b"location":
            self._coming.location = value.decode("utf-8", "surrogateescape")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        code: int = self._parser.get_status_code()
        if code < 200:  # another head follows
            self._coming.phrase = ""
            return
        self._coming.code = code
        self.reply = self._coming
        if self._bodiless:
            self._finish()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._coming.body.write(body)

    def on_message_complete(self) -> None:
        """All of it is here."""
        if self.reply is not None:
            self._finish()

    # ------------------------------------------------------------ the end

    def _finish(self) -> None:
        if not self.done.called and self.reply is not None:
            self._drop()
            self.done.callback(self.reply)

    def _fail(self, why: str) -> None:
        self._drop()
        self.done.errback(Broken(why))

    def _drop(self) -> None:
        self._parser = None  # it refers to this object: no work for the collector
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()
