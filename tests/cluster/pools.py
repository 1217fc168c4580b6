"""Pools of ours over real sockets, among real agents of other makes."""

from __future__ import annotations

import shutil
import tempfile
from random import Random
from typing import Any

from twisted.trial.unittest import TestCase

from pyconsul.net.gossip import GossipPool
from pyconsul.net.gossip_transport import UdpTcpGossipTransport
from pyconsul.serf.members import Member, Status
from pyconsul.swim.timing import LAN
from tests.cluster import peers
from tests.cluster.peers import WITHIN_S, Peer, eventually

TAGS = {"role": "node", "dc": "dc1", "segment": "", "id": "1c6f1d3a-0000-4000-8000-000000000021"}
"""What our pools say of themselves."""


class PeerTestCase(TestCase):
    """What is started here is ended with the test."""

    skip = peers.missing_peers("serf", "consul")
    timeout = 600

    def peer(self, peer: Peer) -> Peer:
        self.addCleanup(peer.kill)
        return peer

    def folder(self) -> str:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder, True)
        return folder

    def pool(self, address: str, name: str, port: int = 8301, **more: Any) -> GossipPool:
        """A pool of ours that has started."""
        from twisted.internet import reactor

        transport = UdpTcpGossipTransport(reactor, address, port)
        transport.start()
        self.addCleanup(transport.stop)
        clock: Any = reactor
        pool = GossipPool(name, transport, clock, Random(), LAN, more.pop("tags", TAGS), **more)
        pool.start()
        self.addCleanup(pool.stop)
        return pool

    # ------------------------------------------------------------ waiting

    async def up(self, serf: str = "", consul: str = "") -> None:
        """Wait until real agents answer."""
        if serf:
            await eventually("serf answers", lambda: peers.serf_members(serf))
        if consul:
            await eventually("Consul answers", lambda: peers.consul_members(consul))

    async def sees(
        self, pool: GossipPool, *names: str, status: Status = Status.ALIVE, within_s: float = WITHIN_S
    ) -> list[Member]:
        """Wait until a pool of ours has members in a state."""

        def look() -> list[Member]:
            found = [pool.member(name) for name in names]
            members = [member for member in found if member is not None and member.status is status]
            return members if len(members) == len(names) else []

        found: list[Member] = await eventually(f"we see {names} {status.name}", look, within_s)
        return found

    async def serf_sees(
        self, serf: str, *names: str, status: str = "alive", within_s: float = WITHIN_S
    ) -> list[Any]:
        """Wait until the serf agent at an address has members in a state, and give its records."""

        async def look() -> list[Any]:
            found = await peers.serf_members(serf)
            members = [found[name] for name in names if found.get(name, {}).get("status") == status]
            return members if len(members) == len(names) else []

        records: list[Any] = await eventually(f"serf sees {names} {status}", look, within_s)
        return records

    async def consul_sees(
        self,
        consul: str,
        *names: str,
        status: Status = Status.ALIVE,
        wan: bool = False,
        within_s: float = WITHIN_S,
    ) -> list[Any]:
        """Wait until the Consul agent at an address has members in a state, and give its records."""

        async def look() -> list[Any]:
            found = await peers.consul_members(consul, wan)
            members = [found[name] for name in names if found.get(name, {}).get("Status") == status]
            return members if len(members) == len(names) else []

        pool = "WAN" if wan else "LAN"
        records: list[Any] = await eventually(f"Consul sees {names} {status.name} ({pool})", look, within_s)
        return records
