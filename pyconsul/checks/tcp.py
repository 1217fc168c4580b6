"""Checks that connect to a port."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from pyconsul.checks.definition import CheckType
from pyconsul.checks.dialing import dial, dial_problem, lost_reason, split_address
from pyconsul.checks.outcome import Outcome
from pyconsul.checks.tls import CheckTls
from pyconsul.structs.catalog import CRITICAL, PASSING


class TcpProbe:
    """Passing if a connection can be made, with a TLS handshake if so configured; it is closed at once."""

    def __init__(self, definition: CheckType, reactor: Any, tls: CheckTls) -> None:
        self._definition = definition
        self._reactor = reactor
        self._tls = tls

    def run(self) -> Deferred[Outcome]:
        """Connect."""
        return Deferred.fromCoroutine(self._connect())

    def timed_out(self) -> Outcome:
        """Nobody answered."""
        return Outcome(CRITICAL, f"dial tcp {self._definition.target}: i/o timeout")

    async def _connect(self) -> Outcome:
        definition = self._definition
        address = definition.target
        try:
            host, port = split_address(address)
        except ValueError as error:
            return Outcome(CRITICAL, f"dial tcp: {error}")
        protocol = _Plain()
        creator = None
        if definition.tls:
            name = definition.tls_server_name or host
            creator = self._tls.creator(name, verify=not definition.tls_skip_verify)
            protocol = _Handshake()
        try:
            await dial(self._reactor, host, port, protocol, creator)
        except Exception as error:
            why = dial_problem(Failure(error), address)
            if why is None:
                raise
            return Outcome(CRITICAL, why)
        problem = await protocol.done
        if problem:
            return Outcome(CRITICAL, f"tls: failed to connect to {address}: {problem}")
        return Outcome(PASSING, f"TCP connect {address}: Success")


class _Plain(Protocol):
    """Content with a connection.

    :ivar done: fires with a problem, or with nothing when all is well.
    """

    def __init__(self) -> None:
        self.done: Deferred[str] = Deferred(lambda _: self._drop())

    def connectionMade(self) -> None:
        """That is all."""
        self._end("")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Closed, by whom ever."""
        if not self.done.called:
            self.done.callback(lost_reason(reason))

    def _end(self, problem: str) -> None:
        self._drop()
        self.done.callback(problem)

    def _drop(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()


@implementer(IHandshakeListener)
class _Handshake(_Plain):
    """Wants TLS, too."""

    def connectionMade(self) -> None:
        """The handshake follows."""

    def handshakeCompleted(self) -> None:
        """The certificate is good."""
        self._end("")
