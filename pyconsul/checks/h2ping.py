"""Checks that send an HTTP/2 ping."""

from __future__ import annotations

from typing import Any

from h2.events import PingAckReceived
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pyconsul.checks.definition import CheckType
from pyconsul.checks.dialing import dial, dial_problem, split_address
from pyconsul.checks.exchange import Broken
from pyconsul.checks.http2 import ALPN, Http2
from pyconsul.checks.outcome import Outcome
from pyconsul.checks.tls import CheckTls
from pyconsul.structs.catalog import CRITICAL, PASSING

OPAQUE = b"pyconsul"
"""What a ping carries: eight bytes."""


class H2PingProbe:
    """Passing if a ping is answered."""

    def __init__(self, definition: CheckType, reactor: Any, tls: CheckTls) -> None:
        self._definition = definition
        self._reactor = reactor
        self._tls = tls

    def run(self) -> Deferred[Outcome]:
        """Ping."""
        return Deferred.fromCoroutine(self._ping())

    def timed_out(self) -> Outcome:
        """No answer."""
        return Outcome(CRITICAL, f"HTTP2 ping to {self._definition.target} was not answered in time")

    async def _ping(self) -> Outcome:
        definition = self._definition
        address = definition.target
        ping = _Ping()
        try:
            host, port = split_address(address)
            creator = None
            if definition.tls:
                name = definition.tls_server_name or host
                creator = self._tls.creator(name, verify=not definition.tls_skip_verify, protocols=ALPN)
            await dial(self._reactor, host, port, ping, creator)
        except Exception as error:
            why = dial_problem(Failure(error), address) or str(error)
            return Outcome(CRITICAL, f"Failed to dial to {address}: {why}")
        try:
            await ping.done
        except Broken as broken:
            return Outcome(CRITICAL, f"HTTP2 ping to {address} failed: {broken}")
        return Outcome(PASSING, "HTTP2 ping was successful")


class _Ping(Http2):
    """One ping."""

    def begin(self) -> None:
        """Send it."""
        self.h2.ping(OPAQUE)

    def heard(self, event: Any) -> None:
        """Settings come first."""
        if isinstance(event, PingAckReceived):
            self.succeed(None)
