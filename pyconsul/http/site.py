"""The factory of HTTP connections: limits per client, timeouts, the memo of header blocks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.python.failure import Failure

from pyconsul.http.channel import Channel
from pyconsul.http.facts import Facts
from pyconsul.http.lane import Lane
from pyconsul.http.loading import Loading
from pyconsul.http.settings import HttpSettings
from pyconsul.http.surface import Surface
from pyconsul.log import make_logger

if TYPE_CHECKING:
    from twisted.web.resource import Resource

LINES_MAX = 2048
LINE_BYTES_MAX = 256
BLOCKS_MAX = 1024
REQUESTS_MAX = 1024
REQUEST_BYTES_MAX = 1024
TICK_S = 5.0

REQUEST_LINE = re.compile(rb"(GET|PUT|DELETE|POST) (/[A-Za-z0-9/_.~%?&=:@!$'()*+,;-]*) HTTP/1\.1")

TOO_MANY = b"Your IP is issuing too many concurrent connections, please rate limit your calls\n"


class Site(ServerFactory):
    """Serves a ``Surface`` on connections; to be given to an endpoint, plain or TLS.

    :ivar lane: the short way for hot routes; ``None`` when it is turned off.
    :ivar lines: method and target of known request lines.
    :ivar blocks: what known header blocks say.
    :ivar requests: what known GETs are as a whole: method, target and headers.
    :ivar loading: of what requests need that no lane serves.
    :ivar tick: counts up while the site runs, every ``TICK_S``.
    """

    noisy = False
    displayTracebacks = False

    def __init__(self, surface: Surface, clock: IReactorTime) -> None:
        self._log = make_logger("agent.http")
        self.surface = surface
        self.clock = clock
        self.loading = Loading(surface, clock)
        self.lines: dict[bytes, tuple[bytes, bytes]] = {}
        self.blocks: dict[bytes, Facts] = {}
        self.requests: dict[bytes, tuple[bytes, bytes, Facts]] = {}
        self.tick = 0
        self.lane: Lane | None = None
        self._channels: set[Channel] = set()
        self._connections: dict[str, int] = {}
        self._timer: IDelayedCall | None = None
        self.reconfigure(surface.settings)

    @property
    def resource(self) -> Resource:
        """The interface as a Twisted resource, for tests and for serving it by other means."""
        return self.surface.road.resource

    def reconfigure(self, settings: HttpSettings) -> None:
        """Take new settings; open connections go on."""
        self.surface.configure(settings)
        self.lane = Lane(self.surface, self.clock) if settings.lane else None

    # ------------------------------------------------------------ life

    def doStart(self) -> None:
        """A port opens."""
        super().doStart()
        if self._timer is None:
            self._timer = self.clock.callLater(TICK_S, self._tick)

    def doStop(self) -> None:
        """A port is closed."""
        super().doStop()
        if not self.numPorts and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Drop every connection, parked requests included; see ``Channel.end``."""
        for channel in list(self._channels):
            channel.end()

    def _tick(self) -> None:
        self._timer = self.clock.callLater(TICK_S, self._tick)
        self.tick += 1
        settings = self.surface.settings
        idle = int(settings.idle_timeout_s / TICK_S)
        silent = int(settings.request_timeout_s / TICK_S)
        head = int(settings.head_timeout_s / TICK_S)
        for channel in list(self._channels):
            channel.expire(self.tick, idle, silent, head)

    # ------------------------------------------------------------ connections

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """A channel, or for a client with too many of them a polite refusal."""
        host = getattr(addr, "host", "")
        limit = self.surface.settings.connections_per_client_max
        count = self._connections.get(host, 0)
        if limit and host and count >= limit:
            return TurnedAway()
        self._connections[host] = count + 1
        channel = Channel()
        channel.site = self
        channel.host = host
        self._channels.add(channel)
        return channel

    def left(self, channel: Channel) -> None:
        """A connection is lost."""
        self._channels.discard(channel)
        count = self._connections.get(channel.host, 0) - 1
        if count > 0:
            self._connections[channel.host] = count
        else:
            self._connections.pop(channel.host, None)

    def learn_line(self, line: bytes) -> tuple[bytes, bytes] | None:
        """Method and target of a plain request line; that is remembered unless there is a query."""
        found = REQUEST_LINE.fullmatch(line)
        if found is None:
            return None
        known = found[1], found[2]
        if len(line) <= LINE_BYTES_MAX and b"?" not in line:
            if len(self.lines) >= LINES_MAX:
                self.lines.clear()
            self.lines[line] = known
        return known

    def remember(self, block: bytes, facts: Facts) -> None:
        """What a header block says."""
        if len(self.blocks) >= BLOCKS_MAX:
            self.blocks.clear()
        self.blocks[block] = facts

    def remember_request(self, data: bytes, method: bytes, target: bytes, facts: Facts) -> None:
        """What ``data`` is, which is one whole request."""
        if len(data) <= REQUEST_BYTES_MAX:
            if len(self.requests) >= REQUESTS_MAX:
                self.requests.clear()
            self.requests[data] = method, target, facts

    def failed(self, failure: Failure) -> None:
        """An error that should have become an answer."""
        self._log.failure("answer lost", failure)

    def log(self, request: Any) -> None:
        """Twisted's access log; we keep none."""


class TurnedAway(Protocol):
    """Says that the client has too many connections, and closes."""

    transport: Any

    def connectionMade(self) -> None:
        """Answer without waiting for a request."""
        self.transport.write(
            b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain; charset=utf-8\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(TOO_MANY), TOO_MANY)
        )
        self.transport.loseConnection()
