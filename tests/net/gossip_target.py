"""A gossip transport whose two protocols are driven by hand."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock, StringTransportWithDisconnection

from pyconsul.interfaces import Address
from pyconsul.net.gossip_streams import IncomingFactory
from pyconsul.net.gossip_transport import UdpTcpGossipTransport, _Packets

SOURCE = ("10.0.0.9", 8301)
SAMPLES_MAX = 400


class Target(UdpTcpGossipTransport):
    """A transport whose sockets are never opened: what the pool sends becomes material.

    :ivar packets: samples of packets.
    :ivar sent: how many packets the pool sent.
    :ivar streams: samples of what goes over streams.
    """

    def __init__(self, reactor: MemoryReactorClock, rng: Random) -> None:
        super().__init__(reactor, "10.0.0.1", 8301)
        self._rng, self._memory = rng, reactor
        self.packets: list[bytes] = []
        self.sent = 0
        self.streams: list[bytes] = []
        self._datagrams, self._factory = _Packets(self), IncomingFactory(self)

    def keep(self, samples: list[bytes], data: bytes) -> None:
        """Have ``data`` among the samples, in place of another if there are many."""
        if len(samples) < SAMPLES_MAX:
            samples.append(data)
        else:
            samples[self._rng.randrange(SAMPLES_MAX)] = data

    def send(self, packet: bytes, to: Address) -> None:
        self.sent += 1
        self.keep(self.packets, packet)

    def datagram(self, packet: bytes) -> None:
        """What the reactor does with a packet."""
        self._datagrams.datagramReceived(packet, SOURCE)

    def stream(self, data: bytes) -> bool:
        """What the reactor does with a connection that comes in; returns whether there was an answer."""
        protocol = self._factory.buildProtocol(IPv4Address("TCP", *SOURCE))
        assert protocol is not None
        answer = self._converse(protocol, data)
        if answer:
            self.keep(self.streams, answer)
        return bool(answer)

    @property
    def opened_streams(self) -> int:
        """Streams of either direction that have not ended."""
        return len(self._incoming) + len(self._outgoing)

    def answers(self, data: bytes) -> int:
        """Answer what the pool asks others with ``data``; returns how many requests there were."""
        clients, self._memory.tcpClients[:] = list(self._memory.tcpClients), []
        for client in clients:
            protocol = client[2].buildProtocol(IPv4Address("TCP", *SOURCE))
            self.keep(self.streams, self._converse(protocol, data))
        return len(clients)

    def _converse(self, protocol: Any, data: bytes) -> bytes:
        """Feed ``data`` in pieces; returns what was written."""
        transport = StringTransportWithDisconnection()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        position = 0
        while position < len(data) and transport.connected:
            size = self._rng.randint(1, 400)
            protocol.dataReceived(data[position : position + size])
            position += size
        if transport.connected:
            transport.loseConnection()
        return bytes(transport.value())
