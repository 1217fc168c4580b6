"""Connections to what is checked."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.error import ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

NO_HANDSHAKE = "tls: first record does not look like a TLS handshake"


class _Once(Factory):
    """Gives the one protocol of a connection that is made by hand."""

    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Protocol:
        return self._protocol


def connect(endpoint: IStreamClientEndpoint, protocol: Protocol) -> Deferred[Any]:
    """Connect ``protocol``; fires with it. Cancelling gives up."""
    connecting: Deferred[Any] = endpoint.connect(_Once(protocol))
    return connecting


def dial(reactor: Any, host: str, port: int, protocol: Protocol, creator: Any = None) -> Deferred[Any]:
    """Connect ``protocol`` to a host by name or address; fires with it.

    There is no timeout: a check has one of its own and cancels.

    :param creator: makes the TLS connection (see ``pyconsul.checks.tls``); plain TCP without.
    """
    version = _literal(host)
    never: Any = None
    endpoint: Any
    if version == 4:
        endpoint = TCP4ClientEndpoint(reactor, host, port, timeout=never)
    elif version == 6:
        endpoint = TCP6ClientEndpoint(reactor, host, port, timeout=never)
    else:
        endpoint = HostnameEndpoint(reactor, host, port, timeout=never)
    return connect(endpoint if creator is None else wrapClientTLS(creator, endpoint), protocol)


def _literal(host: str) -> int:
    try:
        return ip_address(host).version
    except ValueError:
        return 0


def split_address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``[IP6]:PORT``.

    :raises ValueError: in Go's words.
    """
    host, colon, port = text.rpartition(":")
    if not colon or host.startswith("[") != host.endswith("]"):
        raise ValueError(f"address {text}: missing port in address")
    if ":" in host and not host.startswith("["):
        raise ValueError(f"address {text}: too many colons in address")
    if not port.isascii() or not port.isdigit():
        raise ValueError(f"lookup tcp/{port}: unknown port")
    if int(port) > 65535:
        raise ValueError(f"address {port}: invalid port")
    return host.strip("[]") or "localhost", int(port)


def dial_problem(failure: Failure, address: str, network: str = "tcp") -> str | None:
    """Why no connection could be made, as Go says it; ``None`` if the failure is none of that kind."""
    error = failure.value
    if isinstance(error, ConnectionRefusedError):
        return f"dial {network} {address}: connect: connection refused"
    if isinstance(error, DNSLookupError):
        return f"dial {network}: lookup {address.rpartition(':')[0].strip('[]')}: no such host"
    if failure.check(
        "twisted.internet.error.ConnectError", "twisted.internet.error.ConnectingCancelledError"
    ):
        return f"dial {network} {address}: {error}"
    return None


def lost_reason(reason: Failure) -> str:
    """Why a connection ended too early, also below TLS."""
    inner = getattr(reason.value, "reasons", None)
    error = inner[0].value if inner else reason.value
    if reason.check("twisted.internet.error.ConnectionDone"):
        return "EOF"
    if reason.check("OpenSSL.SSL.Error"):
        return tls_problem(error)
    if reason.check("twisted.internet.error.ConnectionLost"):
        return "read: connection reset by peer"
    text = str(error) or type(error).__name__
    return f"x509: {text}" if reason.check("service_identity.exceptions.VerificationError") else text


def tls_problem(error: Any) -> str:
    """What OpenSSL did not like, in a line."""
    queue = error.args[0] if error.args else ()
    words = [entry[-1] for entry in queue] if isinstance(queue, list | tuple) else []
    if any("wrong version number" in word or "packet length too long" in word for word in words):
        return NO_HANDSHAKE
    return f"tls: {words[0]}" if words else "tls: connection closed during the handshake"
