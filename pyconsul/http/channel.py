"""Our HTTP/1 channel: bytes in, requests out, answers back in order.

llhttp (in C, by way of httptools) parses. Clients repeat their header blocks byte for byte, so what
llhttp and ``Facts`` made of a block is remembered by the site; a request that arrives whole, with a
plain request line and a known block, needs no parser, and one that was there before just so needs no
look. Request lines that come again are known, too. A block is only remembered if its meaning cannot
depend on anything around it: no chunks, no ``Expect``, no upgrade, one ``Host``, HTTP/1.1.
``tests/http/test_channel_fuzz.py`` compares both ways.

One request is answered at a time. Whatever arrives meanwhile is held as bytes, up to a bound beyond
which the socket is not read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import httptools
from twisted.internet._producer_helpers import _PullToPush
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from pyconsul.http.answer import Answer, not_stored, protocol_error, reason
from pyconsul.http.crowds import Members
from pyconsul.http.facts import Facts
from pyconsul.http.large import Sending
from pyconsul.http.query import Body, Query
from pyconsul.interfaces import LATER, Later

if TYPE_CHECKING:
    from pyconsul.http.lane import Lane, Result
    from pyconsul.http.request import LeanRequest
    from pyconsul.http.site import Site
    from pyconsul.http.surface import Rendered

HELD_BYTES_MAX = 64 * 1024
BLOCK_BYTES_MAX = 4096
REMEMBERED_BODY_BYTES_MAX = 64 * 1024
LINGER_S = 5.0
LINGER_BYTES_MAX = 64 * 1024 * 1024

MALFORMED = protocol_error(400, "400 Bad Request")
HEAD_TOO_LARGE = protocol_error(431, "431 Request Header Fields Too Large")
VERSION = protocol_error(400, "400 Bad Request: unsupported protocol version")
NO_FACTS = Facts((), minor=1, keep=False)

Item = tuple[bytes, bytes, Facts, Body, Answer | None]


def _spelt_out(data: bytes) -> bytes:
    """``data`` with its request line in ASCII: clients such as curl send other letters as they are."""
    line, end, rest = data.partition(b"\r\n")
    if not end or line.isascii():
        return data
    return b"".join(b"%%%02X" % byte if byte > 0x7F else bytes((byte,)) for byte in line) + end + rest


class _Stop(Exception):
    """Out of a parser callback: parse no further."""


@implementer(IPushProducer)
class Channel(Protocol):
    """One connection of a client.

    Most attributes have their usual value on the class, since thousands of these rest in parked
    requests.

    :ivar peer: the client's address, empty for a UNIX socket; ``host`` is what the site counts it under.
    :ivar last: the answer that is being made is the last on this connection.
    :ivar busy: an answer is awaited.
    :ivar query: what it answers, if the lane called the endpoint.
    :ivar mid: llhttp is inside a message.
    :ivar seen: the site's tick when the client last said something.
    :ivar since: the tick when the request that is being read began.
    """

    site: Site
    transport: Any  # a TCP, UNIX or TLS connection of Twisted's
    peer = ""
    host = ""
    last = False
    busy = False
    query: Query | None = None
    mid = False
    seen = 0
    since = 0
    _gone = False
    _closing = False
    _discarded = -1
    _paused = False
    _running = False
    _unread = False
    _held = b""
    _queue: deque[Item] | None = None
    _pending: Deferred[Answer] | None = None
    _crowd: Members | None = None
    _request: LeanRequest | None = None
    _producer: Any = None
    _linger: Any = None
    # of the message that llhttp is in
    _parser: Any = None
    _learning = b""
    _target = b""
    _headers: list[tuple[bytes, bytes]] = []  # replaced for every message
    _facts: Facts | None = None
    _head_bytes = 0
    _body: list[bytes] = []
    _file: BinaryIO | None = None
    _body_bytes = 0

    # ------------------------------------------------------------ the connection

    def connectionMade(self) -> None:
        """Join the site; hear of a client that reads too slowly."""
        self.seen = self.site.tick
        self.peer = getattr(self.transport.getPeer(), "host", "")
        self.transport.registerProducer(self, True)
        setNoDelay = getattr(self.transport, "setTcpNoDelay", None)
        if setNoDelay is not None:
            setNoDelay(True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone: what it waits for is cancelled."""
        self._gone = self._closing = True
        self._held = b""
        self._queue = None
        self._parser = self._file = None
        self.site.left(self)
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        if self._pending is not None:
            self._pending.cancel()
        if self._crowd is not None:
            self._crowd.leave(self)
        if self._request is not None:
            self._request.connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of requests."""
        self.seen = self.site.tick
        if self._closing:
            self._discard(len(data))
        elif self._held or self.busy or self._paused:
            self._hold(data)
        elif self.mid or (known := self.site.requests.get(data)) is None:
            self._take(data)
        else:
            self._begin(*known)

    def _take(self, data: bytes) -> None:
        """Answer what is in ``data`` until an answer has to be waited for."""
        self._running = True
        try:
            while not (self.busy or self._paused or self._closing):
                if self._queue:
                    self._begin(*self._queue.popleft())
                elif data:
                    data = self._step(data)
                else:
                    break
        finally:
            self._running = False
        if data and not self._closing:
            self._hold(data)

    def _hold(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > HELD_BYTES_MAX and not self._unread:
            self._unread = True
            self.transport.pauseProducing()

    def _resume(self) -> None:
        if self._running or self.busy or self._paused or self._closing:
            return
        if self._unread:
            self._unread = False
            self.transport.resumeProducing()
        if self._held or self._queue:
            data, self._held = self._held, b""
            self._take(data)

    # ------------------------------------------------------------ reading

    def _step(self, data: bytes) -> bytes:
        """Take one request off ``data``, or give all of it to llhttp; returns what is left."""
        if not self.mid:
            site = self.site
            head_end = data.find(b"\r\n\r\n")
            line_end = data.find(b"\r\n") if head_end > 0 else 0
            line = data[:line_end]
            known = site.lines.get(line) or site.learn_line(line)
            if known is not None:
                block = data[line_end:head_end]
                facts = site.blocks.get(block)
                if facts is not None:
                    method, target = known
                    begin = head_end + 4
                    stop = begin + facts.length
                    if len(data) >= stop:
                        if stop == begin and len(data) == stop and method == b"GET":
                            site.remember_request(data, method, target, facts)
                        self._begin(method, target, facts, data[begin:stop])
                        return data[stop:]
                elif len(block) <= BLOCK_BYTES_MAX and b"\n " not in block and b"\n\t" not in block:
                    self._learning = block
            else:
                data = _spelt_out(data)
        self._feed(data)
        return b""

    def _feed(self, data: bytes) -> None:
        if self._parser is None:
            self._parser = httptools.HttpRequestParser(self)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the request is complete, and was marked as the last
        except httptools.HttpParserCallbackError:
            pass  # _Stop: an answer is queued already
        except httptools.HttpParserError:
            self._refuse(MALFORMED)
        self._learning = b""
        if self.mid and self._facts is None:
            self._head_bytes += len(data)
            if self._head_bytes > self.site.surface.settings.head_bytes_max:
                self._refuse(HEAD_TOO_LARGE)

    def _refuse(self, answer: Answer, method: bytes = b"", target: bytes = b"") -> None:
        """Answer so after what is queued, and close: the rest of the input means nothing any more."""
        self._enqueue(method, target, NO_FACTS, b"", answer)
        self.mid = False
        self._parser = self._file = None

    def _enqueue(self, method: bytes, target: bytes, facts: Facts, body: Body, answer: Answer | None) -> None:
        if self._queue is None:
            self._queue = deque()
        if not (self._queue and self._queue[-1][4] is not None):  # nothing comes after a refusal
            self._queue.append((method, target, facts, body, answer))

    # llhttp's callbacks

    def on_message_begin(self) -> None:
        self.mid = True
        self.since = self.site.tick
        self._target = b""
        self._headers = []
        self._facts = None
        self._body = []
        self._file = None
        self._body_bytes = self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        version = parser.get_http_version()
        facts = Facts(
            self._headers,
            minor=0 if version == "1.0" else 1,
            keep=parser.should_keep_alive() and not parser.should_upgrade(),
        )
        self._facts = facts
        learning, self._learning = self._learning, b""
        if version not in ("1.0", "1.1"):
            self._stop(VERSION)
        if facts.problem:
            self._stop(protocol_error(facts.status, facts.problem))
        if facts.length > REMEMBERED_BODY_BYTES_MAX:
            self._check_size(facts.length)
            self._use_file()
        elif learning and facts.repeatable:
            self.site.remember(learning, facts)
        if facts.expects_continue and not (self.busy or self._queue):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        self._body_bytes += len(data)
        assert self._facts is not None
        if self._facts.chunked and self._body_bytes > REMEMBERED_BODY_BYTES_MAX:
            self._check_size(self._body_bytes)
            if self._file is None:
                self._use_file()
        if self._file is None:
            self._body.append(data)
        else:
            self._store(data)

    def _use_file(self) -> None:
        """Go on in a file if the body is for a route that takes one."""
        try:
            self._file = self.site.surface.body_file(self._parser.get_method(), self._target)
        except OSError as error:
            self._stop(not_stored(error))
        if self._file is not None and self._body:
            self._store(b"".join(self._body))
            self._body = []

    def _store(self, data: bytes) -> None:
        assert self._file is not None
        try:
            self._file.write(data)
        except OSError as error:
            self._stop(not_stored(error))

    def on_message_complete(self) -> None:
        self.mid = False
        facts = self._facts
        assert facts is not None
        body: Body = b"".join(self._body)
        if self._file is not None:
            try:
                self._file.seek(0)  # writes what is still buffered
            except OSError as error:
                self._stop(not_stored(error))
            body, self._file = self._file, None
        self._enqueue(self._parser.get_method(), self._target, facts, body, None)
        self._facts = None
        self._body = []

    def _check_size(self, size: int) -> None:
        answer = self.site.surface.too_large(self._parser.get_method(), self._target, size)
        if answer is not None:
            self._stop(answer)

    def _stop(self, answer: Answer) -> None:
        self._refuse(answer, self._parser.get_method(), self._target)
        raise _Stop

    # ------------------------------------------------------------ answering

    def _begin(
        self, method: bytes, target: bytes, facts: Facts, body: Body = b"", answer: Answer | None = None
    ) -> None:
        site = self.site
        if not facts.keep:
            self.last = True
        if answer is not None:
            self.last = True
            self.deliver(
                site.surface.render(Query(method, target, facts, b""), answer), True,
                lambda: self._close(linger=True),
            )  # fmt: skip
            return
        lane = site.lane
        result = None
        if lane is not None and isinstance(body, bytes):
            result = lane.serve(self, method, target, facts, body)
        if result is LATER:
            self.busy = True
        elif isinstance(result, bytes):
            self.transport.write(result)
            if self.last:
                self._close()
        else:
            self.busy = True
            self._await(result, method, target, facts, body)

    def _await(self, result: Result, method: bytes, target: bytes, facts: Facts, body: Body) -> None:
        """An answer will come, or is not sent at once."""
        if isinstance(result, Members):
            self._crowd = result
            result.join(self, facts)
        elif result is None:
            self.site.loading.then(partial(self._inflate, method, target, facts, body))
        elif isinstance(result, Deferred):
            self._pending = result
            result.addCallbacks(self._answered, self._failed)
        elif not isinstance(result, Later):
            self.settle(result, self.last)

    def _inflate(self, method: bytes, target: bytes, facts: Facts, body: Body) -> None:
        """Have Klein answer."""
        if self._gone:
            return
        try:
            from pyconsul.http.request import LeanRequest

            self._request = LeanRequest(self, method, target, facts, body)
            self._request.begin()
        except Exception:
            self.broke(Failure())

    def ask_anew(self, lane: Lane, target: bytes, facts: Facts) -> None:
        """The kept answer that was waited for cannot be given."""
        self._crowd = None
        self._await(lane.ask(self, b"GET", target, facts, b"", anew=True), b"GET", target, facts, b"")

    def callback(self, reply: Any) -> None:
        """What the endpoint asked for has come (``interfaces.Waiter``)."""
        query = self.query
        assert query is not None
        try:
            answer = query.shape(reply)
        except Exception:
            answer = self.site.surface.failed_answer(Failure(), query)
        self._answered(answer)

    def errback(self, error: Any) -> None:
        """There is an error instead."""
        self._failed(error if isinstance(error, Failure) else Failure(error))

    def _answered(self, answer: Answer) -> None:
        query, self.query = self.query, None
        self._pending = None
        if self._gone:
            return
        assert query is not None
        try:
            rendered = self.site.surface.render(query, answer)
        except Exception:
            self.broke(Failure())
            return
        self.deliver(rendered, answer.close, self._done)

    def _failed(self, failure: Failure) -> None:
        query = self.query
        assert query is not None
        self._answered(self.site.surface.failed_answer(failure, query))

    def settle(self, rendered: Rendered, close: bool) -> None:
        """The crowd's answer."""
        self._crowd = None
        self.deliver(rendered, close, self._done)

    def broke(self, failure: Failure) -> None:
        """What cannot be: all failures of endpoints become answers."""
        self.site.failed(failure)
        if not self._gone:
            self.transport.abortConnection()

    def _done(self) -> None:
        self.busy = False
        if self.last:
            self._close()
        elif self._held or self._queue or self._unread:
            self._resume()

    def _close(self, linger: bool = False) -> None:
        """Close once everything is written.

        With ``linger``, the client may still be sending. Closing at once would make the kernel
        reset the connection, and the answer could be lost on its way: so only our side is closed,
        and what comes in is thrown away for a while.
        """
        self._closing = True
        self._held = b""
        self.transport.unregisterProducer()
        if (
            linger
            and ISSLTransport(self.transport, None) is None
            and hasattr(self.transport, "loseWriteConnection")
        ):
            self._discarded = 0
            self._linger = self.site.clock.callLater(LINGER_S, self.transport.abortConnection)
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()

    def end(self) -> None:
        """The site is closed: at once, but for an answer without an end, which gets one."""
        producer = self._producer
        if getattr(producer, "endless", False) and not self._paused:
            self.last = True
            producer.end()
        if not self._closing:
            self.transport.abortConnection()

    def _discard(self, size: int) -> None:
        if self._discarded >= 0:
            self._discarded += size
            if self._discarded > LINGER_BYTES_MAX:
                self.transport.abortConnection()

    def expire(self, tick: int, idle: int, silent: int, head: int) -> None:
        """Called at each tick of the site: drop a client that rests or dawdles too long, in ticks."""
        if self._closing or (self.busy and not self._paused):
            return
        quiet = tick - self.seen
        if self.mid or self._paused:
            if quiet > silent or (self.mid and self._facts is None and tick - self.since > head):
                self.transport.abortConnection()
        elif quiet > idle:
            self._close()

    # ------------------------------------------------------------ IPushProducer: the client's speed

    def pauseProducing(self) -> None:
        """The client reads more slowly than we write."""
        self._paused = True
        self.seen = self.site.tick
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """It has caught up."""
        self._paused = False
        self.seen = self.site.tick
        if self._producer is not None:
            self._producer.resumeProducing()
        self._resume()

    def stopProducing(self) -> None:
        """The connection is lost."""
        if self._producer is not None:
            self._producer.stopProducing()

    # ------------------------------------------------------------ what a twisted.web Request needs

    @property
    def factory(self) -> Site:
        """The site, under the name that Twisted knows."""
        return self.site

    def getPeer(self) -> Any:
        return self.transport.getPeer()

    def getHost(self) -> Any:
        return self.transport.getHost()

    def isSecure(self) -> bool:
        return ISSLTransport(self.transport, None) is not None

    def deliver(self, rendered: Rendered, close: bool, sent: Callable[[], None]) -> None:
        """Send a whole answer, then call ``sent``, unless the client is gone by then."""
        if close:
            self.last = True
        if isinstance(rendered, bytes):
            self.transport.write(rendered)
            sent()
        else:
            self.last = self.last or rendered.close
            self.registerProducer(Sending(self, rendered, self.site.surface.turns, sent), True)

    def writeHeaders(self, version: bytes, code: bytes, phrase: bytes, headers: Any) -> None:
        """The head of an answer that is written piece by piece."""
        if not isinstance(headers, list):  # Twisted's Headers
            headers = [(name, value) for name, values in headers.getAllRawHeaders() for value in values]
        request = self._request
        assert request is not None
        lines = [b"HTTP/1.%d %b %b" % (request.facts.minor, code, reason(int(code), phrase))]
        lines += [b"%b: %b" % header for header in headers]
        lines.append(b"Date: " + self.site.surface.dates.value())
        if not request.facts.minor and not any(name.lower() == b"content-length" for name, _ in headers):
            self.last = True  # HTTP/1.0 knows no chunks: the end of the connection is the end
        if self.last:
            lines.append(b"Connection: close")
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n")

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def writeSequence(self, data: Any) -> None:
        self.transport.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """A request's own producer, told of the client's speed while it is there."""
        self._producer = producer if streaming else _PullToPush(producer, self)
        if not streaming:
            self._producer.startStreaming()
        if self._paused:
            self._producer.pauseProducing()

    def unregisterProducer(self) -> None:
        if isinstance(self._producer, _PullToPush):
            self._producer.stopStreaming()
        self._producer = None

    def loseConnection(self) -> None:
        self._close()

    def requestDone(self, request: LeanRequest) -> None:
        """The request that Klein had is answered."""
        self._request = None
        if not self._gone:
            self._done()
