"""What an endpoint gives back, and its one rendering into the bytes of HTTP.

Both ways through the HTTP layer (the compiled lane and Klein) end here, so that they cannot differ.
Header names are spelt and ordered as Consul 1.8.7 sends them: sorted, then Date and Content-Length.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from time import gmtime
from typing import Any

import msgspec
from msgspec import Struct

from pyconsul.errors import PyconsulError
from pyconsul.http.large import Long, encode, packer, pretty
from pyconsul.structs.relay import Relayed

Header = tuple[bytes, bytes]

JSON = b"application/json"
TEXT = b"text/plain"
ERROR_TEXT = b"text/plain; charset=utf-8"
HTML = b"text/html; charset=utf-8"
WEEKDAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
MONTHS = tuple(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split())
NO_JSON: Any = msgspec.UNSET
HEADS_MAX = 64
CLOSE = b"\r\nConnection: close"


class Answer(Struct):
    """An answer to one request.

    :ivar json: what to encode as the body; ``NO_JSON`` if ``body`` is given.
    :ivar packed: ``body`` in gzip form, if that is made already.
    :ivar long: the body instead, if it is too long to be made as a whole.
    :ivar content_type: empty for none.
    :ivar index: ``X-Consul-Index``; below 0 there are no headers about a read at all.
    :ivar last_contact_ms: since the server that answered heard from its leader.
    :ivar consistency: ``X-Consul-Effective-Consistency``; empty for none.
    :ivar headers: more headers.
    :ivar bare: none of the headers that Consul gives to what its endpoints answer (an unknown path,
        a redirect).
    :ivar close: the connection cannot go on after this.
    :ivar fixed: one of the answers below, which are always the same; its number.
    """

    body: bytes = b""
    status: int = 200
    content_type: bytes = JSON
    json: Any = NO_JSON
    index: int = -1
    known_leader: bool = False
    last_contact_ms: int = 0
    consistency: str = ""
    headers: tuple[Header, ...] = ()
    bare: bool = False
    close: bool = False
    fixed: int = 0
    packed: bytes = b""
    long: Long | None = None


TRUE = Answer(json=True, fixed=1)
FALSE = Answer(json=False, fixed=2)


def from_relayed(relayed: Relayed) -> Answer:
    """The answer that another agent has made."""
    kind = relayed.content_type
    return Answer(
        relayed.body,
        content_type=JSON if kind == JSON else kind,
        index=relayed.index,
        known_leader=relayed.known_leader,
        last_contact_ms=relayed.last_contact_ms,
        consistency=relayed.consistency,
        headers=relayed.headers,
    )


def text(status: int, message: str, *headers: Header, close: bool = False) -> Answer:
    """A plain-text answer, as all errors are."""
    body = message.encode("utf-8", "replace")
    return Answer(body, status, ERROR_TEXT if body else b"", headers=headers, close=close)


def protocol_error(status: int, message: str) -> Answer:
    """The answer to what is no request at all, after which the connection closes."""
    answer = text(status, message, close=True)
    answer.bare = True
    return answer


def not_stored(error: OSError) -> Answer:
    """The answer to a body that there is no room for, after which the connection closes."""
    return text(500, f"the request body cannot be stored: {error.strerror or error}", close=True)


def refusal(error: PyconsulError) -> Answer:
    """The answer that an expected failure becomes."""
    return text(error.http_status, str(error))


def empty() -> Answer:
    """200 without a body, which is what most writes to the agent give."""
    return Answer(content_type=b"")


def http_date(seconds: int) -> bytes:
    """A time since 1970 as HTTP wants it, whatever the locale."""
    year, month, day, hour, minute, second, weekday = gmtime(seconds)[:7]
    month_name = MONTHS[month - 1]
    return b"%b, %02d %b %04d %02d:%02d:%02d GMT" % (
        WEEKDAYS[weekday], day, month_name, year, hour, minute, second
    )  # fmt: skip


class Dates:
    """The Date header, made once a second.

    :param seconds: seconds since 1970.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._second = -1
        self._value = b""

    def value(self) -> bytes:
        """The time of day, as headers give it."""
        now = int(self._seconds())
        if now != self._second:
            self._second = now
            self._value = http_date(now)
        return self._value


class Renderer:
    """Turns answers into bytes, as this agent is configured.

    :param extra: headers on every answer (``http_config.response_headers`` and the like).
    """

    def __init__(self, dates: Dates, extra: Mapping[str, str], always_pretty: bool = False) -> None:
        self.dates = dates
        self.always_pretty = always_pretty
        self._heads: dict[Hashable, bytes] = {}
        self.fixed: dict[tuple[int, int], tuple[bytes, bytes]] = {}
        """What ``parts`` makes of answers that are always the same, by their number and the variant."""
        self._extra = tuple((canonical(name), value.encode("utf-8")) for name, value in extra.items())

    def body(self, answer: Answer, asks_pretty: bool) -> bytes:
        """The body before compression."""
        if answer.long is not None:
            return b"".join(answer.long.texts())
        if answer.json is NO_JSON:
            return answer.body
        body = encode(answer.json)
        return pretty(body) if asks_pretty or self.always_pretty else body

    def headers(self, answer: Answer) -> list[Header]:
        """All headers but Date, Content-Length, Content-Encoding and Connection, in order."""
        headers = list(answer.headers)
        if answer.content_type:
            headers.append((b"Content-Type", answer.content_type))
        if not answer.bare:
            headers.append((b"Vary", b"Accept-Encoding"))
            headers += self._extra
        if answer.index >= 0:
            headers.append((b"X-Consul-Index", b"%d" % (answer.index or 1)))
            headers.append((b"X-Consul-Knownleader", b"true" if answer.known_leader else b"false"))
            headers.append((b"X-Consul-Lastcontact", b"%d" % answer.last_contact_ms))
            if answer.consistency:
                headers.append((b"X-Consul-Effective-Consistency", answer.consistency.encode()))
        if len(headers) > 1:
            headers.sort()
        return headers

    def compress(self, answer: Answer, body: bytes) -> bytes | None:
        """``body`` in gzip form if this answer may be compressed."""
        if answer.bare or not body:
            return None
        return answer.packed or gzip(body)

    def long_parts(self, answer: Answer, *, packed: bool, minor: int, keep: bool) -> tuple[bytes, bytes]:
        """``parts`` of an answer whose length is not known, as far as the body, in chunks if ``minor``."""
        before = self._head(answer, packed, minor)
        if not minor:
            return before, b"\r\n\r\n"
        return before, b"\r\nTransfer-Encoding: chunked%b\r\n\r\n" % (b"" if keep else CLOSE)

    def parts(
        self, answer: Answer, body: bytes, *, packed: bool = False, minor: int = 1, keep: bool = True
    ) -> tuple[bytes, bytes]:
        """What comes before and after the value of Date, so that a rendering can be kept.

        :param body: as it is to be sent, compressed already if ``packed``.
        :param minor: of the HTTP version, 1.0 or 1.1.
        :param keep: whether the connection stays open.
        """
        if (
            not self._extra
            and not answer.headers
            and answer.index >= 0
            and not packed
            and minor
            and keep
            and (head := _READS.get((answer.status, answer.content_type))) is not None
        ):
            consistency = answer.consistency
            before = head % (
                b"X-Consul-Effective-Consistency: %b\r\n" % consistency.encode() if consistency else b"",
                answer.index or 1,
                b"true" if answer.known_leader else b"false",
                answer.last_contact_ms,
            )
            return before, b"\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        if answer.index < 0:
            before = self._repeated_head(answer, packed, minor)
        else:
            before = self._head(answer, packed, minor)
        end = b""
        if not keep:
            end = CLOSE if minor else b""
        elif not minor:
            end = b"\r\nConnection: keep-alive"
        return before, b"\r\nContent-Length: %d%b\r\n\r\n%b" % (len(body), end, body)

    def _repeated_head(self, answer: Answer, packed: bool, minor: int) -> bytes:
        """A head without an index: there are few of them, and each write asks for one."""
        key = (answer.status, answer.content_type, answer.headers, answer.bare, packed, minor)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= HEADS_MAX:
                self._heads.clear()
            head = self._heads[key] = self._head(answer, packed, minor)
        return head

    def _head(self, answer: Answer, packed: bool, minor: int) -> bytes:
        headers = self.headers(answer)
        if packed:
            headers.append((b"Content-Encoding", b"gzip"))
            headers.sort()
        lines = [b"HTTP/1.%d %d %b" % (minor, answer.status, reason(answer.status))]
        lines += [b"%b: %b" % header for header in headers]
        lines.append(b"Date: ")
        return b"\r\n".join(lines)


_ABOUT_A_READ = (
    b"Vary: Accept-Encoding\r\n%b"
    b"X-Consul-Index: %d\r\nX-Consul-Knownleader: %b\r\nX-Consul-Lastcontact: %d\r\nDate: "
)
_READS = {
    (200, JSON): b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + _ABOUT_A_READ,
    (404, b""): b"HTTP/1.1 404 Not Found\r\n" + _ABOUT_A_READ,
}
"""Heads of what most reads give, by status and content type."""


def reason(status: int, otherwise: bytes = b"Unknown") -> bytes:
    """What a status is called."""
    if status == 200:
        return b"OK"
    if status == 413:
        return b"Request Entity Too Large"
    from http import HTTPStatus  # takes longer to load than most agents need for all their answers

    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return otherwise


def canonical(name: str) -> bytes:
    """A header's name as Go spells it: ``x-conf-custom`` is ``X-Conf-Custom``."""
    parts = (part[:1].upper() + part[1:].lower() for part in name.split("-"))
    return "-".join(parts).encode("ascii", "replace")


def gzip(body: bytes) -> bytes:
    """``body`` in gzip form."""
    deflate = packer(len(body))
    packed: bytes = deflate.compress(body) + deflate.flush()
    return packed
