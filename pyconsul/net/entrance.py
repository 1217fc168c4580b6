"""The door of the server port: who comes in, and what he speaks, which his first byte tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from pyconsul.net.tls import TLS_BYTE

AMP_BYTE = b"P"
"""Ours, as ``pyconsul.net.amp`` speaks it."""
FIRST_BYTE_TIMEOUT_S = 5.0

Speakers: TypeAlias = Mapping[bytes, Callable[[], Protocol]]
"""First byte to a function that makes the protocol."""

MISSING = {
    AMP_BYTE: "it does not speak TLS, which verify_incoming demands",
    TLS_BYTE: "it speaks TLS, but this server has no certificate (cert_file and key_file)",
}
"""Why nobody speaks what we could."""


class RpcLimits(NamedTuple):
    """What others may take of the server port.

    :ivar connections_per_client_max: connections of one address; 0: any number.
    :ivar first_byte_timeout_s: how long one may wait with its first byte; 0: for ever.
    """

    connections_per_client_max: int = 0
    first_byte_timeout_s: float = FIRST_BYTE_TIMEOUT_S


class Entrance(Factory):
    """Makes a ``Doorman`` for each connection, but turns away who has too many.

    :ivar speakers: who speaks what, on connections from now on.
    :ivar limits: for connections from now on.
    :param refused: told of connections that are closed, and why.
    """

    noisy = False

    def __init__(
        self, clock: IReactorTime, speakers: Speakers, limits: RpcLimits, refused: Callable[[str], None]
    ) -> None:
        self.speakers = speakers
        self.limits = limits
        self._clock = clock
        self._refused = refused
        self._open: dict[str, int] = {}

    def buildProtocol(self, addr: Any) -> Protocol | None:
        """See ``IProtocolFactory``."""
        host = getattr(addr, "host", "")
        limit = self.limits.connections_per_client_max
        if limit > 0 and self._open.get(host, 0) >= limit:
            self._refused(f"too many RPC connections from {host}")
            return None
        self._open[host] = self._open.get(host, 0) + 1
        left = partial(self._left, host)
        timeout_s = self.limits.first_byte_timeout_s
        return Doorman(self._clock, self.speakers, self._refused, timeout_s, left)

    def _left(self, host: str) -> None:
        self._open[host] -= 1
        if not self._open[host]:
            del self._open[host]


class Doorman(Protocol):
    """Reads the first byte of a connection to the server port and hands it to who speaks that.

    :param speakers: first byte to a function that makes the protocol.
    :param refused: told why, if a connection is closed.
    :param timeout_s: how long to wait for the byte; 0: for ever.
    :param left: called when the connection is lost.
    """

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        speakers: Speakers,
        refused: Callable[[str], None],
        timeout_s: float = FIRST_BYTE_TIMEOUT_S,
        left: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._speakers = speakers
        self._refused = refused
        self._timeout_s = timeout_s
        self._left = left
        self._timeout: IDelayedCall | None = None
        self._inner: Protocol | None = None

    def connectionMade(self) -> None:
        """Wait for the byte, but not for ever."""
        if self._timeout_s > 0:
            self._timeout = self._clock.callLater(self._timeout_s, self._too_late)

    def _in_time(self) -> None:
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()

    def _too_late(self) -> None:
        if self._inner is None and self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def dataReceived(self, data: bytes) -> None:
        """Choose once, then pass everything on."""
        if self._inner is not None:
            self._inner.dataReceived(data)
            return
        speaker = self._speakers.get(data[:1])
        assert self.transport is not None
        if speaker is None:
            peer = self.transport.getPeer()
            why = MISSING.get(data[:1], f"unrecognized RPC byte {data[0]}")
            self._refused(f"RPC connection from {getattr(peer, 'host', peer)} refused: {why}")
            self.transport.abortConnection()  # type: ignore[attr-defined]
            return
        self._in_time()
        self._inner = speaker()
        self._inner.makeConnection(self.transport)
        if len(data) > 1:
            self._inner.dataReceived(data[1:])

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        """Tell who speaks."""
        self._in_time()
        self._left()
        if self._inner is not None:
            self._inner.connectionLost(reason)
