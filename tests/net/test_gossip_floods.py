"""Floods of whatever a stranger can make up, into whole pools: what they cost, and that the pool goes on.

``GOSSIP_FLOOD=60000 python -m twisted.trial tests.net.test_gossip_floods`` has the floods as large as one
likes, and prints what they took.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from time import process_time

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.net.gossip import GossipPool
from pyconsul.serf import roster
from pyconsul.serf.messages import LeaveIntent, Query, UserEvent
from pyconsul.swim import membership
from pyconsul.swim.core import VERSIONS
from pyconsul.swim.messages import Alive, Dead, Ping, Suspect
from pyconsul.swim.nodes import NODES_MAX
from pyconsul.swim.packet import compound
from pyconsul.swim.timing import LAN
from tests.net.gossip_target import Target
from tests.net.test_gossip_fuzz import held

COUNT = int(os.environ.get("GOSSIP_FLOOD", "2000"))
PACKETS_PER_S = 5000
"""How many come in a second of the pool's time."""

MESSAGE_S_MAX = 0.001
"""Processor's time for a message, forty times what is seen."""

MEMBER_BYTES_MAX = 16 * 1024
FEW = 500
"""How many members are taken in while a flood is small, so that the bound is reached."""

SPARE_BYTES = 64 << 20

Flood = Callable[[int], list[bytes]]
"""The messages of one packet, by its number."""


def made_up(number: int, meta: bytes = b"", name: str = "") -> Alive:
    """A member that nobody has heard of."""
    address = bytes((10, 1 + (number >> 16), number >> 8 & 255, number & 255))
    return Alive(1, f"{name}m{number}", address, 8301, meta, VERSIONS)


def joins(number: int) -> list[bytes]:
    return [made_up(number).encode()]


def large_joins(number: int) -> list[bytes]:
    """With names and tags at their limits."""
    return [made_up(number, b"\xff\x81\xa1a\xda\x01\xf0" + b"x" * 496, "n" * 110).encode()]


def joins_and_leaves(number: int) -> list[bytes]:
    member = made_up(number)
    return [member.encode(), Dead(1, member.node, member.node).encode()]


def suspicions(number: int) -> list[bytes]:
    """Of made-up members, and of a real one, each by somebody else and of another incarnation."""
    member = made_up(number)
    return [
        member.encode(),
        Suspect(1, member.node, "real1").encode(),
        Suspect(number * 4_000_003 & 0xFFFFFFFF, "real2", f"x{number}").encode(),
    ]


def events(number: int) -> list[bytes]:
    return [b"\x08" + UserEvent(number + 1, f"e{number}", b"x" * 400).encode()]


def queries(number: int) -> list[bytes]:
    payload = b"x" * 300
    query = Query(number + 1, number, b"\x0a\0\0\1", 8301, timeout_ns=10**10, name="q", payload=payload)
    return [b"\x08" + query.encode()]


def intents(number: int) -> list[bytes]:
    return [b"\x08" + LeaveIntent(number + 1, f"nobody{number}").encode()]


class FloodTests(SynchronousTestCase):
    if not Path("/proc/self/statm").exists():
        skip = "memory is measured as Linux tells it"

    def setUp(self) -> None:
        self.members_max = NODES_MAX
        if COUNT < NODES_MAX:
            self.members_max = FEW
            self.patch(membership, "NODES_MAX", FEW)
            self.patch(roster, "GONE_MAX", FEW)

    def _flood(self, flood: Flood, members_max: int = 0) -> set[str]:
        """Let ``COUNT`` packets in, and see that the pool takes no more than it may, and answers."""
        rng = Random(1)
        reactor = MemoryReactorClock()
        target = Target(reactor, rng)
        pool = GossipPool("me", target, reactor, rng, LAN, {})
        pool.start()
        real = [Alive(1, f"real{each}", bytes((10, 0, 0, each)), 8301, b"", VERSIONS) for each in range(10)]
        target.datagram(compound([member.encode() for member in real]))
        reactor.advance(1.0)
        before, begun, messages = held(), process_time(), 0
        for number in range(COUNT):
            packet = flood(number)
            messages += len(packet)
            target.datagram(compound(packet))
            if number % 50 == 0:
                reactor.advance(50 / PACKETS_PER_S)
        used, grown = process_time() - begun, held() - before
        print(
            f"{flood.__name__}: {COUNT} packets, {used / messages * 1e6:.0f} microseconds a message, "
            f"memory grew by {grown / (1 << 20):.1f} MiB, {len(pool.members())} members"
        )
        self.assertLess(used / messages, MESSAGE_S_MAX)
        self.assertLess(grown, SPARE_BYTES + len(pool.members()) * MEMBER_BYTES_MAX)
        self.assertLessEqual(len(pool.members()), members_max or len(real) + 1)
        self.assertEqual(self.flushLoggedErrors(), [])
        target.packets.clear()
        target.datagram(Ping(1, "me").encode())
        self.assertEqual(len(target.packets), 1)
        names = {member.name for member in pool.members()}
        pool.stop()
        return names

    def test_joins(self) -> None:
        self._flood(joins, self.members_max)

    def test_large_joins(self) -> None:
        self._flood(large_joins, self.members_max)

    def test_joins_and_leaves(self) -> None:
        """Those that are gone are remembered up to a bound of their own."""
        self._flood(joins_and_leaves, self.members_max + roster.GONE_MAX)

    def test_suspicions(self) -> None:
        """A real member is suspected again and again, at numbers far ahead, and still there in the end."""
        self.assertIn("real2", self._flood(suspicions, self.members_max))

    def test_events(self) -> None:
        self._flood(events)

    def test_queries(self) -> None:
        self._flood(queries)

    def test_intents(self) -> None:
        self._flood(intents)
