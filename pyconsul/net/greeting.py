"""The beginning of a TLS connection to a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from pyconsul.net.entrance import AMP_BYTE
from pyconsul.net.tls import TlsFailed, why_lost

if TYPE_CHECKING:
    from pyconsul.net.amp import Connection


class Greeting(Protocol):
    """Our side, until the server has said that it takes us by repeating our first byte.

    With TLS 1.3 a server looks at our certificate after our own handshake is done. Whatever was sent
    before it refuses us would have an unknown outcome, so nothing is.

    :ivar done: fires with the connection, whose transport is TLS from then on; fails with ``TlsFailed``.
    :param make: makes the connection.
    """

    noisy = False
    transport: Any = None

    def __init__(self, make: Callable[[], Connection]) -> None:
        self._make = make
        self._why = ""
        self.done: Deferred[Connection] = Deferred(lambda _: self.transport.abortConnection())

    def failed(self, peer: object, why: str) -> None:
        """There was no handshake."""
        self._why = why

    def connectionMade(self) -> None:
        """Greet; TLS keeps it until we believe the server."""
        self.transport.write(AMP_BYTE)

    def dataReceived(self, data: bytes) -> None:
        """The answer: from here on the connection is what TLS is around."""
        if data[:1] != AMP_BYTE:
            self._why = "the server answers something else"
            self.transport.abortConnection()
            return
        connection = self._make()
        self.transport.wrappedProtocol = connection
        connection.makeConnection(self.transport)
        self.done.callback(connection)
        if len(data) > 1:
            connection.dataReceived(data[1:])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """We are not taken."""
        if not self.done.called:
            self.done.errback(TlsFailed(self._why or why_lost(reason)))
