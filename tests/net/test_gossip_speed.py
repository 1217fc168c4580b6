"""How many packets one agent can take."""

from __future__ import annotations

from random import Random
from time import process_time

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.net.gossip import GossipPool
from pyconsul.swim.keyring import Keyring
from pyconsul.swim.layers import Layers
from pyconsul.swim.messages import Ping
from pyconsul.swim.packet import compound
from pyconsul.swim.timing import LAN
from tests.net.gossip_target import Target
from tests.swim.fixture import alive

PACKETS = 4000
MEMBERS = 100
RATE_MIN = 1000.0
"""Packets a second of one processor's time. It is some ten thousand where this was written; docs tell."""


class SpeedTests(SynchronousTestCase):
    def _measure(self, keyring: Keyring | None) -> None:
        """Pings with news: each is answered, and each changes one of a hundred members."""
        rng = Random(1)
        reactor = MemoryReactorClock()
        target = Target(reactor, rng)
        pool = GossipPool("me", target, reactor, rng, LAN, {}, keyring=keyring)
        pool.start()
        layers = Layers(rng.randbytes, keyring)
        packets = []
        for number in range(PACKETS):
            name = f"n{number % MEMBERS}"
            news = alive(name, number, addr=bytes((10, 0, 1, number % MEMBERS)))
            packet = compound([Ping(number, "me").encode(), news.encode()])
            packets.append(layers.seal(packet, b"") if keyring else packet)
        used = 0.0
        for start in range(0, PACKETS, MEMBERS):
            reactor.advance(0.05)
            begun = process_time()
            for packet in packets[start : start + MEMBERS]:
                target.datagram(packet)
            used += process_time() - begun
        print(
            f"{'AES-GCM' if keyring else 'plain'}: {used / PACKETS * 1e6:.0f} microseconds a packet, "
            f"{PACKETS / used:.0f} packets a second"
        )
        self.assertEqual(len(pool.members()), MEMBERS + 1)
        self.assertGreaterEqual(target.sent, PACKETS)
        self.assertGreaterEqual(PACKETS / used, RATE_MIN)
        pool.stop()

    def test_plain(self) -> None:
        self._measure(None)

    def test_encrypted(self) -> None:
        self._measure(Keyring([b"k" * 32]))
