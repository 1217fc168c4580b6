"""A lean request blown up to a real Twisted request, for what goes to Klein."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http import parse_qs
from twisted.web.server import Request

from pyconsul.http.paths import split

if TYPE_CHECKING:
    from pyconsul.http.channel import Channel
    from pyconsul.http.facts import Facts
    from pyconsul.http.query import Body
    from pyconsul.http.surface import Rendered


class LeanRequest(Request):
    """A ``twisted.web`` request on our channel.

    :ivar facts: what the headers say.
    :ivar body: all of it; empty if it is in a file.
    :ivar file: where it is then.
    """

    channel: Any
    site: Any

    def __init__(self, channel: Channel, method: bytes, target: bytes, facts: Facts, body: Body) -> None:
        Request.__init__(self, channel, parsePOSTFormSubmission=False)
        self.method = method
        self.uri = target
        self.facts = facts
        self.body = body if isinstance(body, bytes) else b""
        self.file = None if isinstance(body, bytes) else body
        self.clientproto = b"HTTP/1.%d" % facts.minor

    def begin(self) -> None:
        """Hand the request to the site's resource."""
        self.site = self.channel.site
        for name, value in self.facts.headers:
            self.requestHeaders.addRawHeader(name, value)
        self.content = BytesIO(self.body)
        self.path, query = split(self.uri)
        self.args = parse_qs(query, True)
        self.prepath = []
        self.postpath = unquote_to_bytes(self.path[1:]).split(b"/")
        for name, value in self.site.surface.settings.extra_headers().items():
            self.setHeader(name.encode(), value.encode())
        try:
            self.render(self.site.surface.road.resource)
        except Exception:
            self.processingFailed(Failure())

    def deliver(self, rendered: Rendered, close: bool = False) -> Deferred[None] | None:
        """Send a whole answer that is rendered already; ``finish`` is still to be called.

        :returns: what fires when it is sent, if that takes a while.
        """
        if self._disconnected:
            return None
        self.startedWriting = 1
        sent: Deferred[None] = Deferred()
        self.channel.deliver(rendered, close, lambda: sent.callback(None))
        return None if sent.called else sent

    def processingFailed(self, reason: Failure) -> Any:
        """A bug: say so without details."""
        self.site.surface.road.failed(self, reason)
