"""Our gossip among real agents: a serf agent and a Consul server, joined both ways.

What is checked on each side is what its own commands and interfaces show.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from pyconsul.serf.members import Status
from pyconsul.serf.messages import UserEvent
from pyconsul.swim.keyring import Keyring
from tests.cluster import peers
from tests.cluster.peers import eventually
from tests.cluster.pools import TAGS, PeerTestCase
from tests.cluster.processes import block

SERF, CONSUL, OURS, OTHER = (f"{block(21)}.{number}" for number in (11, 12, 13, 14))
KEY = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s="


class PeerTests(PeerTestCase):
    async def test_joined_both_ways(self) -> None:
        """We join serf, Consul joins us; everybody lists everybody, with the right tags."""
        self.peer(peers.serf(SERF, "s", "-tag=colour=blue"))
        self.peer(peers.consul(CONSUL, "c"))
        heard: list[UserEvent] = []
        pool = self.pool(OURS, "ours", on_user_event=heard.append)
        await self.up(SERF, CONSUL)
        self.assertEqual(await pool.join([f"{SERF}:7946"]), 1)
        await peers.command("consul", "join", f"-http-addr={CONSUL}:8500", f"{OURS}:8301")

        (theirs,) = await self.sees(pool, "s")
        self.assertEqual(theirs.tags, {"colour": "blue"})
        self.assertEqual((theirs.addr, theirs.port, theirs.delegate_cur), (SERF, 7946, 5))
        (server,) = await self.sees(pool, "c")
        self.assertEqual((server.tags["role"], server.tags["build"], server.port), ("consul", "1.8.7:", 8301))
        (ours,) = await self.serf_sees(SERF, "ours")
        self.assertEqual(ours["tags"], TAGS)
        (ours,) = await self.consul_sees(CONSUL, "ours")
        self.assertEqual((ours["Tags"], ours["Addr"], ours["Port"]), (TAGS, OURS, 8301))
        self.assertEqual((ours["ProtocolCur"], ours["DelegateCur"]), (2, 4))

        await peers.command("serf", "event", f"-rpc-addr={SERF}:7373", "deploy", "now")
        await eventually("we hear serf's event", lambda: any(event.payload == b"now" for event in heard))
        pool.fire_event("ours", b"hello")
        pool.set_tags(TAGS | {"vsn": "2"})
        await eventually("Consul sees our new tags", lambda: self._consul_shows("ours", TAGS | {"vsn": "2"}))
        await self.sees(pool, "s", "c", "ours")

    async def _consul_shows(self, name: str, tags: dict[str, str]) -> bool:
        return bool((await peers.consul_members(CONSUL)).get(name, {}).get("Tags") == tags)

    async def test_crashes_and_leaving(self) -> None:
        """kill -9 is noticed by both sides; whoever leaves is listed as left, not as failed."""
        serf = self.peer(peers.serf(SERF, "s"))
        consul = self.peer(peers.consul(CONSUL, "c"))
        pool, other = self.pool(OURS, "ours"), self.pool(OTHER, "other")
        await self.up(SERF, CONSUL)
        self.assertEqual(await pool.join([f"{SERF}:7946", CONSUL]), 2)
        self.assertEqual(await other.join([OURS]), 1)
        await self.serf_sees(SERF, "other")
        await self.consul_sees(CONSUL, "other")

        other.stop()  # as after kill -9: it says nothing any more
        await self.serf_sees(SERF, "other", status="failed")
        await self.consul_sees(CONSUL, "other", status=Status.FAILED)
        await self.sees(pool, "other", status=Status.FAILED)
        pool.force_leave("other")
        await self.serf_sees(SERF, "other", status="left")
        await self.consul_sees(CONSUL, "other", status=Status.LEFT)

        await serf.interrupt()
        await self.sees(pool, "s", status=Status.LEFT)
        await pool.leave()
        await self.consul_sees(CONSUL, "ours", status=Status.LEFT)
        await consul.kill()

    async def test_a_real_one_is_killed(self) -> None:
        serf = self.peer(peers.serf(SERF, "s"))
        pool, other = self.pool(OURS, "ours"), self.pool(OTHER, "other")
        await self.up(SERF)
        await pool.join([f"{SERF}:7946"])
        await other.join([OURS])
        await self.sees(other, "s")
        await serf.kill()
        await self.sees(pool, "s", status=Status.FAILED)
        await self.sees(other, "s", status=Status.FAILED)
        await self.sees(pool, "other")

    async def test_encrypted(self) -> None:
        """With the same key; without one, both sides say why they cannot."""
        self.peer(peers.serf(SERF, "s", f"-encrypt={KEY}"))
        await self.up(SERF)
        pool = self.pool(OURS, "ours", keyring=Keyring.from_base64([KEY]))
        plain = self.pool(OTHER, "plain")
        self.assertEqual(await pool.join([f"{SERF}:7946"]), 1)
        await self.serf_sees(SERF, "ours")
        await self.sees(pool, "s")
        for address in (f"{SERF}:7946", OURS):
            refused: Deferred[int] = plain.join([address])
            error = await self.assertFailure(refused, Exception)
            self.assertIn("Remote state is encrypted and encryption is not configured", str(error))
        told = await peers.command("serf", "join", f"-rpc-addr={SERF}:7373", f"{OTHER}:8301")
        self.assertIn("Encryption is configured but remote state is not encrypted", told)
