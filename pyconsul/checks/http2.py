"""The client's side of an HTTP/2 connection, for checks that speak it. Needs the package ``h2``."""

from __future__ import annotations

from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated
from h2.exceptions import ProtocolError
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from pyconsul.checks.dialing import lost_reason
from pyconsul.checks.exchange import Broken

ALPN = (b"h2",)
FRAME_HEAD_BYTES = 9
FRAME_TYPE_AT = 3
SETTINGS = 4


class Http2(Protocol):
    """A connection for one thing to find out, which ``begin`` asks and ``heard`` hears.

    :ivar done: fires with the result, fails with ``Broken``. Cancelling it closes the connection.
    """

    def __init__(self) -> None:
        self.h2: Any = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._greeting: bytearray | None = bytearray()
        self.done: Deferred[Any] = Deferred(lambda _: self._drop())

    def begin(self) -> None:
        """Ask."""
        raise NotImplementedError

    def heard(self, event: Any) -> None:
        """Something has come."""
        raise NotImplementedError

    def connectionMade(self) -> None:
        """Greet and ask."""
        self.h2.initiate_connection()
        self.begin()
        self._flush()

    def dataReceived(self, data: bytes) -> None:
        """Frames, or something else altogether."""
        if self.done.called:
            return
        if self._greeting is not None:
            # The first frame is of settings. In anything else h2 would read a length, and wait.
            self._greeting += data
            if len(self._greeting) < FRAME_HEAD_BYTES:
                return
            if self._greeting[FRAME_TYPE_AT] != SETTINGS:
                self.fail("connection error: the server does not speak HTTP/2")
                return
            data, self._greeting = bytes(self._greeting), None
        try:
            events = self.h2.receive_data(data)
        except ProtocolError as error:
            self.fail(f"connection error: {error}")
            return
        for event in events:
            if self.done.called:
                return
            if isinstance(event, ConnectionTerminated):
                code: Any = event.error_code
                self.fail(f"connection closed by the server: error code {int(code)}")
            else:
                self.heard(event)
        self._flush()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Too early."""
        if not self.done.called:
            why = lost_reason(reason)
            self.fail("connection closed" if why == "EOF" else why)

    def succeed(self, result: Any) -> None:
        """This is what was to be found out."""
        self._drop()
        self.done.callback(result)

    def fail(self, why: str) -> None:
        """It cannot be found out."""
        self._drop()
        self.done.errback(Broken(why))

    def _flush(self) -> None:
        transport: Any = self.transport
        data = self.h2.data_to_send()
        if data and not self.done.called:
            transport.write(data)

    def _drop(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()
