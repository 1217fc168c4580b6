"""Checks that connect to a port."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import (
    ConnectionRefusedError,
    DNSLookupError,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from pyconsul.checks.definition import CheckType
from pyconsul.checks.outcome import Outcome
from pyconsul.structs.catalog import CRITICAL, PASSING


class TcpProbe:
    """Passing if a connection can be made; it is closed at once."""

    def __init__(self, definition: CheckType, reactor: Any) -> None:
        self._address = definition.tcp
        self._timeout_s = definition.timeout_s
        self._reactor = reactor

    def run(self) -> Deferred[Outcome]:
        """Connect."""
        try:
            host, port = split_address(self._address)
        except ValueError as error:
            return succeed(Outcome(CRITICAL, f"dial tcp: {error}"))
        endpoint = HostnameEndpoint(self._reactor, host, port, timeout=self._timeout_s)
        connecting: Deferred[Any] = endpoint.connect(Factory.forProtocol(Protocol))
        return connecting.addCallbacks(self._connected, self._failed)

    def timed_out(self) -> Outcome:
        """Nobody answered."""
        return Outcome(CRITICAL, f"dial tcp {self._address}: i/o timeout")

    def _connected(self, protocol: Any) -> Outcome:
        protocol.transport.abortConnection()
        return Outcome(PASSING, f"TCP connect {self._address}: Success")

    def _failed(self, failure: Failure) -> Outcome | Failure:
        why = dial_problem(failure, self._address)
        return failure if why is None else Outcome(CRITICAL, why)


def split_address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``[IP6]:PORT``.

    :raises ValueError: in Go's words.
    """
    host, colon, port = text.rpartition(":")
    if not colon or host.startswith("[") != host.endswith("]"):
        raise ValueError(f"address {text}: missing port in address")
    if ":" in host and not host.startswith("["):
        raise ValueError(f"address {text}: too many colons in address")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"lookup tcp/{port}: unknown port")
    return host.strip("[]") or "localhost", int(port)


def dial_problem(failure: Failure, address: str) -> str | None:
    """Why no connection could be made, as Go says it; ``None`` if the failure is none of that kind."""
    error = failure.value
    if isinstance(error, ConnectionRefusedError):
        return f"dial tcp {address}: connect: connection refused"
    if isinstance(error, DNSLookupError):
        return f"dial tcp: lookup {address.rpartition(':')[0].strip('[]')}: no such host"
    if failure.check(
        "twisted.internet.error.ConnectError", "twisted.internet.error.ConnectingCancelledError"
    ):
        return f"dial tcp {address}: {error}"
    return None
