"""Metrics for others: statsd and DogStatsD by UDP, statsite by TCP.

Many timings of one second go as the shortest, the longest, and the mean of the others with their
number as a sample rate, so that count, sum and extremes are right and the traffic stays small.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from typing import Any

from twisted.application.internet import ClientService
from twisted.application.service import Service
from twisted.internet.abstract import isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from pyconsul.agent.metrics import Period
from pyconsul.config.groups import Telemetry as Settings
from pyconsul.errors import ConfigurationError
from pyconsul.log import make_logger
from pyconsul.structs.metrics import Durations

DATAGRAM_BYTES_MAX = 1400
RETRY_S = 10.0


def lines(period: Period, prefix: str, host: str = "") -> Iterator[str]:
    """A period as statsd has it.

    :param prefix: of all names, with its dot.
    :param host: put into the names of gauges.
    """
    inserted = f"{prefix}{host}." if host else prefix
    for name, value in period.gauges.items():
        yield f"{inserted}{name}:{value:f}|g"
    for name, count in period.counters.items():
        yield f"{prefix}{name}:{count:f}|c"
    for name, timing in period.timings.items():
        for ms, times in _spread(timing):
            yield f"{prefix}{name}:{ms:f}|ms" + (f"|@{1 / times:.9g}" if times > 1 else "")


def _spread(timing: Durations) -> Iterator[tuple[float, int]]:
    """Durations, with how often each counts."""
    if timing.count > 1:
        yield timing.min, 1
    yield timing.max, 1
    others = timing.count - 2
    if others > 0:
        yield max(0.0, timing.sum - timing.min - timing.max) / others, others


def packets(all_lines: Iterator[str]) -> Iterator[bytes]:
    """Lines, as many as go into one datagram."""
    packet = b""
    for line in all_lines:
        encoded = line.encode() + b"\n"
        if packet and len(packet) + len(encoded) > DATAGRAM_BYTES_MAX:
            yield packet
            packet = b""
        packet += encoded
    if packet:
        yield packet


class Statsd(Service):
    """Sends to a statsd.

    :param tags: that of DogStatsD are on every line, and there the host is none of a name's parts.
    """

    def __init__(
        self, reactor: Any, address: tuple[str, int], prefix: str, host: str, tags: Sequence[str] = ()
    ) -> None:
        self._log = make_logger("agent.telemetry")
        self._reactor = reactor
        self._host, self._number = address
        self._prefix, self._inserted = prefix, host
        self._suffix = f"|#{','.join(tags)}" if tags else ""
        self._port: Any = None
        self._ip = ""
        self._resolve_at = 0.0

    def startService(self) -> None:
        """Open a port to send from."""
        super().startService()
        self._port = self._reactor.listenUDP(0, _Silent(), interface="::" if ":" in self._host else "")

    def stopService(self) -> Deferred[None] | None:
        """Close it."""
        super().stopService()
        port, self._port = self._port, None
        return None if port is None else port.stopListening()

    def push(self, period: Period) -> None:
        """Send what happened; it is lost if nobody listens."""
        if not self._ip:
            self._look_up()
        if self._ip and self._port is not None:
            told = (line + self._suffix for line in lines(period, self._prefix, self._inserted))
            for packet in packets(told):
                self._port.write(packet, (self._ip, self._number))

    def _look_up(self) -> None:
        now = self._reactor.seconds()
        if now < self._resolve_at:
            return
        self._resolve_at = now + RETRY_S
        if isIPv6Address(self._host):
            self._ip = self._host
        else:
            self._reactor.resolve(self._host).addCallbacks(self._found, self._not_found)

    def _found(self, ip: str) -> None:
        self._ip = ip

    def _not_found(self, failure: Failure) -> None:
        why = failure.getErrorMessage()
        self._log.error("Error connecting to statsd! Err: {host}: {why}", host=self._host, why=why)


class _Silent(DatagramProtocol):
    """Only sends."""

    noisy = False


class Statsite(ClientService):
    """Sends to a statsite, over a connection that is made again when it is lost.

    :ivar stream: the connection while there is one.
    """

    def __init__(self, reactor: Any, address: tuple[str, int], prefix: str, host: str) -> None:
        factory = Factory.forProtocol(lambda: _Stream(self))
        factory.noisy = False
        super().__init__(HostnameEndpoint(reactor, *address), factory, clock=reactor)
        self.stream: _Stream | None = None
        self._prefix, self._inserted = prefix, host

    def push(self, period: Period) -> None:
        """Send what happened; it is lost while there is no connection, or nobody reads."""
        stream = self.stream
        if stream is not None and not stream.full:
            told = "".join(line + "\n" for line in lines(period, self._prefix, self._inserted))
            stream.transport.write(told.encode())


class _Stream(Protocol):
    """One connection to a statsite.

    :ivar full: what was sent has not been read.
    """

    transport: Any

    def __init__(self, sink: Statsite) -> None:
        self._sink = sink
        self.full = False

    def connectionMade(self) -> None:
        self._sink.stream = self
        self.transport.registerProducer(self, True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._sink.stream = None

    def pauseProducing(self) -> None:
        """The transport's buffer is full (IPushProducer)."""
        self.full = True

    def resumeProducing(self) -> None:
        """There is room again (IPushProducer)."""
        self.full = False

    def stopProducing(self) -> None:
        """The connection is going away (IPushProducer)."""


def split(name: str, address: str) -> tuple[str, int]:
    """Host and port of a setting.

    :raises ConfigurationError: naming it.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigurationError(f"telemetry.{name}: {address!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def make_sinks(settings: Settings, prefix: str, reactor: Any) -> list[Statsd | Statsite]:
    """What the configuration wants metrics sent to, as services.

    :raises ConfigurationError: if an address is none.
    """
    host = "" if settings.disable_hostname else socket.gethostname()
    made: list[Statsd | Statsite] = []
    if settings.statsd_address:
        made.append(Statsd(reactor, split("statsd_address", settings.statsd_address), prefix, host))
    if settings.statsite_address:
        made.append(Statsite(reactor, split("statsite_address", settings.statsite_address), prefix, host))
    if settings.dogstatsd_addr:
        address = split("dogstatsd_addr", settings.dogstatsd_addr)
        tags = list(settings.dogstatsd_tags)
        made.append(Statsd(reactor, address, prefix, "", tags))
    return made
