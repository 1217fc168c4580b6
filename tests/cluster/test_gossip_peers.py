"""Our gossip among real agents: a serf agent and a Consul server, joined both ways.

What is checked on each side is what its own commands and interfaces show.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pyconsul.net.gossip import GossipPool
from pyconsul.net.gossip_transport import UdpTcpGossipTransport
from pyconsul.serf.members import Member, Status
from pyconsul.serf.messages import UserEvent
from pyconsul.swim.keyring import Keyring
from pyconsul.swim.timing import LAN
from tests.cluster import peers
from tests.cluster.peers import Peer, eventually
from tests.cluster.processes import block

SERF, CONSUL, OURS, OTHER = (f"{block(21)}.{number}" for number in (11, 12, 13, 14))
KEY = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s="
TAGS = {"role": "node", "dc": "dc1", "segment": "", "id": "1c6f1d3a-0000-4000-8000-000000000021"}


class PeerTests(TestCase):
    skip = peers.missing_peers("serf", "consul")
    timeout = 120

    def _peer(self, peer: Peer) -> Peer:
        self.addCleanup(peer.kill)
        return peer

    def _pool(self, address: str, name: str, port: int = 8301, **more: Any) -> GossipPool:
        from twisted.internet import reactor

        transport = UdpTcpGossipTransport(reactor, address, port)
        transport.start()
        self.addCleanup(transport.stop)
        clock: Any = reactor
        pool = GossipPool(name, transport, clock, Random(), LAN, TAGS, **more)
        pool.start()
        self.addCleanup(pool.stop)
        return pool

    async def _up(self, serf: str = "", consul: str = "") -> None:
        """Wait until real agents answer."""
        if serf:
            await eventually("serf answers", lambda: peers.serf_members(serf))
        if consul:
            await eventually("Consul answers", lambda: peers.consul_members(consul))

    async def _sees(self, pool: GossipPool, name: str, status: Status, within_s: float = 20.0) -> Member:
        def look() -> Member | None:
            member = pool.member(name)
            return member if member is not None and member.status is status else None

        found: Member = await eventually(f"we see {name} {status.name}", look, within_s)
        return found

    async def _serf_sees(self, name: str, status: str, within_s: float = 20.0) -> Any:
        async def look() -> Any:
            member = (await peers.serf_members(SERF)).get(name)
            return member if member is not None and member["status"] == status else None

        return await eventually(f"serf sees {name} {status}", look, within_s)

    async def _consul_sees(self, name: str, status: Status, within_s: float = 20.0) -> Any:
        async def look() -> Any:
            member = (await peers.consul_members(CONSUL)).get(name)
            return member if member is not None and member["Status"] == status else None

        return await eventually(f"Consul sees {name} {status.name}", look, within_s)

    async def test_joined_both_ways(self) -> None:
        """We join serf, Consul joins us; everybody lists everybody, with the right tags."""
        self._peer(peers.serf(SERF, "s", "-tag=colour=blue"))
        self._peer(peers.consul(CONSUL, "c"))
        heard: list[UserEvent] = []
        pool = self._pool(OURS, "ours", on_user_event=heard.append)
        await self._up(SERF, CONSUL)
        self.assertEqual(await pool.join([f"{SERF}:7946"]), 1)
        await peers.command("consul", "join", f"-http-addr={CONSUL}:8500", f"{OURS}:8301")

        theirs = await self._sees(pool, "s", Status.ALIVE)
        self.assertEqual(theirs.tags, {"colour": "blue"})
        self.assertEqual((theirs.addr, theirs.port, theirs.delegate_cur), (SERF, 7946, 5))
        server = await self._sees(pool, "c", Status.ALIVE)
        self.assertEqual((server.tags["role"], server.tags["build"], server.port), ("consul", "1.8.7:", 8301))
        self.assertEqual((await self._serf_sees("ours", "alive"))["tags"], TAGS)
        ours = await self._consul_sees("ours", Status.ALIVE)
        self.assertEqual((ours["Tags"], ours["Addr"], ours["Port"]), (TAGS, OURS, 8301))
        self.assertEqual((ours["ProtocolCur"], ours["DelegateCur"]), (2, 4))

        await peers.command("serf", "event", f"-rpc-addr={SERF}:7373", "deploy", "now")
        await eventually("we hear serf's event", lambda: any(event.payload == b"now" for event in heard))
        pool.fire_event("ours", b"hello")
        pool.set_tags(TAGS | {"vsn": "2"})
        await eventually("Consul sees our new tags", lambda: self._consul_shows("ours", TAGS | {"vsn": "2"}))
        self.assertEqual({member.status for member in pool.members()}, {Status.ALIVE})

    async def _consul_shows(self, name: str, tags: dict[str, str]) -> bool:
        return bool((await peers.consul_members(CONSUL))[name]["Tags"] == tags)

    async def test_crashes_and_leaving(self) -> None:
        """kill -9 is noticed by both sides; whoever leaves is listed as left, not as failed."""
        serf = self._peer(peers.serf(SERF, "s"))
        consul = self._peer(peers.consul(CONSUL, "c"))
        pool, other = self._pool(OURS, "ours"), self._pool(OTHER, "other")
        await self._up(SERF, CONSUL)
        self.assertEqual(await pool.join([f"{SERF}:7946", CONSUL]), 2)
        self.assertEqual(await other.join([OURS]), 1)
        await self._serf_sees("other", "alive")
        await self._consul_sees("other", Status.ALIVE)

        other.stop()  # as after kill -9: it says nothing any more
        await self._serf_sees("other", "failed", 40.0)
        await self._consul_sees("other", Status.FAILED)
        await self._sees(pool, "other", Status.FAILED)
        pool.force_leave("other")
        await self._serf_sees("other", "left")
        await self._consul_sees("other", Status.LEFT)

        await serf.interrupt()
        await self._sees(pool, "s", Status.LEFT)
        await pool.leave()
        await self._consul_sees("ours", Status.LEFT)
        await consul.kill()

    async def test_a_real_one_is_killed(self) -> None:
        serf = self._peer(peers.serf(SERF, "s"))
        pool, other = self._pool(OURS, "ours"), self._pool(OTHER, "other")
        await self._up(SERF)
        await pool.join([f"{SERF}:7946"])
        await other.join([OURS])
        await self._sees(other, "s", Status.ALIVE)
        await serf.kill()
        await self._sees(pool, "s", Status.FAILED, 40.0)
        await self._sees(other, "s", Status.FAILED)
        self.assertIs((await self._sees(pool, "other", Status.ALIVE)).status, Status.ALIVE)

    async def test_encrypted(self) -> None:
        """With the same key; without one, both sides say why they cannot."""
        self._peer(peers.serf(SERF, "s", f"-encrypt={KEY}"))
        await self._up(SERF)
        pool = self._pool(OURS, "ours", keyring=Keyring.from_base64([KEY]))
        plain = self._pool(OTHER, "plain")
        self.assertEqual(await pool.join([f"{SERF}:7946"]), 1)
        await self._serf_sees("ours", "alive")
        await self._sees(pool, "s", Status.ALIVE)
        for address in (f"{SERF}:7946", OURS):
            refused: Deferred[int] = plain.join([address])
            error = await self.assertFailure(refused, Exception)
            self.assertIn("Remote state is encrypted and encryption is not configured", str(error))
        told = await peers.command("serf", "join", f"-rpc-addr={SERF}:7373", f"{OTHER}:8301")
        self.assertIn("Encryption is configured but remote state is not encrypted", told)
