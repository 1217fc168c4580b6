"""The DNS server as a service: its ports from the start on, what answers from the first question on.

Most client agents are never asked, and twisted.names with all that is around it would be a tenth of the
time that an agent takes to start.
"""

from __future__ import annotations

from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import DatagramProtocol, Factory

from pyconsul.dns.settings import DnsSettings
from pyconsul.interfaces import Agent, WallTime
from pyconsul.net.dns_memo import ENTRIES_MAX, Memo
from pyconsul.net.dns_port import listen_udp
from pyconsul.net.dns_timings import DnsTimings

if TYPE_CHECKING:
    from pyconsul.net.dns import ConsulDatagrams, ConsulStream, Names

PORT_TRIES = 16

MEMO_STALENESS_MIN_S = 3600.0
"""With a smaller ``max_stale`` every answer is read anew, since an old one may have become too old."""


class LateDatagrams(DatagramProtocol):
    """Waits for the first question by UDP, and puts in its own place what answers it."""

    noisy = False

    def __init__(self, service: DnsService) -> None:
        self._service = service

    @cached_property
    def _answering(self) -> ConsulDatagrams:
        made = self._service.datagrams()
        port: Any = self.transport
        port.protocol = made
        made.makeConnection(port)
        return made

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        """The first question, or another that the port had read with it."""
        self._answering.datagramReceived(data, addr)


class LateStreams(Factory):
    """Connections by TCP, each of which asks something."""

    noisy = False

    def __init__(self, service: DnsService) -> None:
        self._service = service

    def buildProtocol(self, addr: Any) -> ConsulStream | None:
        """See ``Names``."""
        return self._service.names.buildProtocol(addr)


class DnsService(Service):
    """Listens on UDP and TCP of each address while it runs.

    :ivar ports: what listens; by UDP and TCP in turn, in the order of ``settings.addresses``.
    """

    name = "dns"

    def __init__(
        self,
        agent: Agent,
        settings: DnsSettings,
        reactor: Any,
        clock: IReactorTime,
        rng: Random,
        wall_time: WallTime,
    ) -> None:
        """
        :param reactor: listens and connects; anything from Twisted's own to the lean one.
        :param clock: for timeouts; usually the reactor too.
        :param wall_time: for the serial of the SOA record.
        """
        self.ports: list[Any] = []
        self._agent = agent
        self._settings = settings
        self._reactor = reactor
        self._clock = clock
        self._rng = rng
        self._wall_time = wall_time
        self.timings = DnsTimings(clock.seconds)

    @cached_property
    def names(self) -> Names:
        """What answers; loaded when it is first needed."""
        from pyconsul.net.dns import Names
        from pyconsul.net.dns_recursors import Recursors
        from pyconsul.net.dns_responder import Responder

        recursors = Recursors(self._reactor, self._clock, self._rng)
        responder = Responder(
            self._agent, self._settings, recursors, self._rng, self._wall_time, self.timings
        )
        memo = Memo(getattr(self._agent, "forget", None), entries_max(self._settings))
        return Names(responder, memo, recursors, self._clock)

    @property
    def _loaded(self) -> Names | None:
        """What answers, if anybody has asked yet."""
        return self.__dict__.get("names")

    def datagrams(self) -> ConsulDatagrams:
        """A protocol for questions by UDP."""
        from pyconsul.net.dns import ConsulDatagrams

        return ConsulDatagrams(self.names, self._clock)

    def configure(self, settings: DnsSettings) -> None:
        """Answer by other settings from now on; where it listens stays."""
        self._settings = settings
        if self._loaded is not None:
            self._loaded.responder.configure(settings)
            self._loaded.memo.limit(entries_max(settings))

    def startService(self) -> None:
        """Listen.

        :raises twisted.internet.error.CannotListenError: if an address is in use.
        """
        for address in self._settings.addresses:
            self._listen(self._settings.port, address)
        super().startService()

    def _listen(self, port: int, address: str) -> None:
        """With port 0, which is for tests, both transports get the same number, one that both have free."""
        tries = 1 if port else PORT_TRIES
        while True:
            tries -= 1
            udp = listen_udp(self._reactor, port, LateDatagrams(self), address)
            self.ports.append(udp)
            found = port or udp.getHost().port
            try:
                self.ports.append(self._reactor.listenTCP(found, LateStreams(self), interface=address))
            except CannotListenError:
                if not tries:
                    raise
                self.ports.remove(udp)
                udp.stopListening()
            else:
                return

    def stopService(self) -> Deferred[Any]:
        """Listen no more and close all connections."""
        super().stopService()
        ports, self.ports = self.ports, []
        closing = [port.stopListening() for port in ports]
        if self._loaded is not None:
            self._loaded.stop()
        return DeferredList([each for each in closing if isinstance(each, Deferred)])


def entries_max(settings: DnsSettings) -> int:
    """How many answers may be kept; 0: none."""
    return 0 if settings.allow_stale and settings.max_stale_s < MEMO_STALENESS_MIN_S else ENTRIES_MAX
