"""Queries, keys, events and names in one pool with a real serf agent and a real Consul server.

What is checked on each side is what its own commands and interfaces show.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from random import Random
from typing import Any
from urllib.request import Request, urlopen

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread

from pyconsul.agent.events import PREFIX, Events
from pyconsul.agent.keyring import LAN_FILE, KeyringFile, open_keyring
from pyconsul.agent.local import LocalState
from pyconsul.net.gossip import GossipPool
from pyconsul.serf import keys
from pyconsul.serf.members import Status
from pyconsul.serf.messages import Query
from pyconsul.storage.disk import RealDisk
from pyconsul.storage.gossip_snapshot import SnapshotFile
from pyconsul.structs.catalog import NodeService
from pyconsul.structs.event import UserEvent
from pyconsul.swim.keyring import Keyring
from tests.cluster import peers
from tests.cluster.peers import Peer, eventually
from tests.cluster.pools import PeerTestCase
from tests.cluster.processes import block

SERF, CONSUL, OURS, OTHER, TWIN = (f"{block(41)}.{number}" for number in (31, 32, 33, 34, 35))
OLD, NEW = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=", "WWlGcrVWY3o9rOQoFYX/kg=="


def serf(command: str, *arguments: str) -> Deferred[str]:
    """Run a command of serf's; its output."""
    return Deferred.fromCoroutine(peers.command("serf", command, f"-rpc-addr={SERF}:7373", *arguments))


class QueryTests(PeerTestCase):
    async def test_both_ways(self) -> None:
        """Asked by either side; with filters, acks and by way of others."""
        self.peer(peers.serf(SERF, "s", "-tag=colour=blue", "-event-handler=query:uptime=echo long"))
        asked: list[Query] = []

        def answer(query: Query) -> bytes:
            asked.append(query)
            return b"from ours: " + query.payload

        ours = self.pool(OURS, "ours", on_query=answer)
        other = self.pool(OTHER, "other", tags={"role": "other"})
        await self.up(SERF)
        await ours.join([f"{SERF}:7946"])
        await other.join([f"{SERF}:7946"])
        await self.serf_sees(SERF, "ours", "other")
        await self.sees(ours, "s", "other")

        await self.serf_asks(
            ["-timeout=2s", "-relay-factor=1", "uptime", "please"],
            "Response from 'ours': from ours: please",
            *(f"Ack from '{name}'" for name in ("s", "ours", "other")),
            "Total Acks: 3\nTotal Responses: 2",
        )
        await self.serf_asks(
            ["-timeout=1s", "-tag=role=^no.e$", "only", "x"], "Total Acks: 1\nTotal Responses: 1"
        )
        await self.serf_asks(
            ["-timeout=1s", "-node=other", "only", "x"], "Ack from 'other'\nTotal Acks: 1\nTotal Responses: 0"
        )
        self.assertEqual(
            {(query.name, query.source_node) for query in asked}, {("uptime", "s"), ("only", "s")}
        )

        async def all_answer() -> bool:
            found = await other.query("uptime", b"?", ack=True, relay_factor=1, timeout_s=2.0)
            acks = sorted(response.sender for response in found if response.is_ack)
            answers = {response.sender: response.payload for response in found if not response.is_ack}
            return acks == ["other", "ours", "s"] and answers == {"s": b"long\n", "ours": b"from ours: ?"}

        await eventually("all answer us", all_answer)
        found = await other.query("uptime", tags={"colour": "^bl"}, enough=1)
        self.assertEqual([response.sender for response in found], ["s"])
        said = await serf("reachability")
        self.assertIn("Successfully contacted all live nodes", said)

    async def serf_asks(self, arguments: list[str], *answers: str) -> None:
        """A query of serf's is answered so; again if the machine was too busy for it to be in time."""
        said = ""

        async def is_answered() -> bool:
            nonlocal said
            said = await serf("query", *arguments)
            return all(answer in said for answer in answers)

        try:
            await eventually("serf's query is answered", is_answered)
        except AssertionError as error:
            raise AssertionError(f"{arguments}: {said}") from error

    async def test_whose_name_it_is(self) -> None:
        """A real agent under a name that is taken asks us, and gives up."""
        first, other = self.pool(OURS, "twin"), self.pool(OTHER, "other")
        await other.join([OURS])
        await self.sees(first, "other")
        twin = self.peer(peers.serf(TWIN, "twin", f"-join={OTHER}:8301"))
        await twin.ended
        self.assertIn("minority in name conflict resolution", twin.output.decode("utf-8", "replace"))
        member = other.member("twin")
        assert member is not None
        self.assertEqual((member.addr, member.status), (OURS, Status.ALIVE))


class KeyTests(PeerTestCase):
    async def test_from_serf(self) -> None:
        """A serf agent has us install, use and forget keys; we keep them in the file."""
        from twisted.internet import reactor

        clock: Any = reactor
        disk = RealDisk(self.folder(), clock)
        self.addCleanup(disk.close)
        keyring = open_keyring(disk, LAN_FILE, OLD)
        self.peer(peers.serf(SERF, "s", f"-encrypt={OLD}"))
        await self.up(SERF)
        file = KeyringFile(disk, LAN_FILE)
        pool = self.pool(OURS, "ours", keyring=keyring, save_keyring=file.save)
        await pool.join([f"{SERF}:7946"])
        await self.serf_sees(SERF, "ours")
        self.assertIn(f"{OLD}  [2/2]", await serf("keys", "-list"))
        for action, key, said, kept in (
            ("-install", NEW, "Successfully installed key!", [OLD, NEW]),
            ("-use", NEW, "Successfully changed primary key!", [NEW, OLD]),
            ("-remove", OLD, "Successfully removed key!", [NEW]),
        ):
            self.assertIn(said, await serf("keys", action, key))
            self.assertEqual(file.load(), kept)
        self.assertIn(f"{NEW}  [2/2]", await serf("keys", "-list"))
        said = await serf("keys", "-remove", NEW)
        self.assertIn("2/2 nodes reported failure", said)
        self.assertIn("ours  Removing the primary key is not allowed", said)

    async def test_with_consul(self) -> None:
        """We rotate the keys of a Consul server, it rotates ours, and it stays in the pool."""
        folder = self.folder()
        self.peer(
            Peer(
                "consul", "agent", "-server", "-bootstrap-expect=1", f"-data-dir={folder}", "-node=c",
                f"-bind={CONSUL}", f"-client={CONSUL}", f"-encrypt={OLD}",
            )
        )  # fmt: skip
        await self.up(consul=CONSUL)
        saved: list[list[str]] = []

        def save(found: Sequence[str]) -> Deferred[None]:
            saved.append(list(found))
            return succeed(None)

        pool = self.pool(OURS, "ours", keyring=Keyring.from_base64([OLD]), save_keyring=save)
        await pool.join([CONSUL])
        await self.sees(pool, "c")
        (new,) = Keyring.from_base64([NEW]).keys
        (old,) = Keyring.from_base64([OLD]).keys
        for operation, key in ((keys.INSTALL, new), (keys.USE, new)):
            outcome = await pool.change_keys(operation, key, relay_factor=1)
            self.assertEqual((outcome.error, outcome.responses), ("", 2))
        with open(os.path.join(folder, "serf", "local.keyring"), encoding="ascii") as file:
            self.assertEqual(json.load(file), [NEW, OLD])

        listed = await self.consul_keyring("-list", "-local-only")
        self.assertIn(f"{NEW} [2/2]", listed)
        self.assertIn(f"{OLD} [2/2]", listed)
        await self.consul_keyring(f"-use={OLD}")
        await self.consul_keyring(f"-remove={NEW}")
        outcome = await pool.change_keys(keys.LIST)
        self.assertEqual((outcome.keys, outcome.primaries, outcome.error), ({OLD: 2}, {OLD: 2}, ""))
        self.assertEqual(saved[-1], [OLD])
        self.assertEqual((pool.keyring.keys if pool.keyring else []), [old])
        said = await self.consul_keyring(f"-use={NEW}")
        self.assertIn("2/2 nodes reported failure", said)
        self.assertIn("ours: Requested key is not in the keyring", said)

    def consul_keyring(self, *arguments: str) -> Deferred[str]:
        return Deferred.fromCoroutine(
            peers.command("consul", "keyring", f"-http-addr={CONSUL}:8500", *arguments)
        )


class EventTests(PeerTestCase):
    async def test_consul_events(self) -> None:
        """Fired by a Consul agent and seen by ours, and the other way round; filters count on both."""
        from twisted.internet import reactor

        clock: Any = reactor
        local = LocalState("ours")
        local.add_service(NodeService(id="web", service="web", tags=["v1"]))
        leaders: list[str] = []
        pool: list[GossipPool] = []

        def ask(method: str, request: Any) -> None:
            pool[0].fire_event(PREFIX + request.name, request.payload)

        events = Events("ours", local, ask, clock, Random())
        events.new_leader = leaders.append
        self.peer(peers.consul(CONSUL, "c"))
        pool.append(self.pool(OURS, "ours", on_user_event=events.received))
        await self.up(consul=CONSUL)
        await pool[0].join([CONSUL], ignore_old=False)
        await self.sees(pool[0], "c")
        await eventually("we hear who leads", lambda: leaders == ["c"])

        waiting = events.read("", 1, 30.0)
        for arguments in (
            ("-name=other", "-node=^c$"),
            ("-name=deploy", "-node=ou.s", "-service=^web$", "-tag=v.", "v2"),
        ):
            said = await peers.command("consul", "event", f"-http-addr={CONSUL}:8500", *arguments)
            self.assertIn("Event ID: ", said)
        _, (heard,) = await waiting
        self.assertEqual((heard.name, heard.payload, heard.tag_filter), ("deploy", b"v2", "v."))
        self.assertIn(heard.id, said)

        fired = events.fire(UserEvent(id="", name="ours", payload=b"hello", node_filter="^(c|ours)$"))
        events.fire(UserEvent(id="", name="not-for-c", node_filter="^ours$"))

        async def listed() -> Any:
            return [event for event in await self.consul_events() if event["ID"] == fired.id]

        (shown,) = await eventually("Consul lists our event", listed)
        self.assertEqual((shown["Name"], shown["Payload"]), ("ours", "aGVsbG8="))
        self.assertEqual([event["Name"] for event in await self.consul_events()], ["other", "ours"])
        await eventually("we list it, too", lambda: any(one.id == fired.id for one in events.list()[1]))

    async def consul_events(self) -> list[Any]:
        def read() -> Any:
            with urlopen(Request(f"http://{CONSUL}:8500/v1/event/list"), timeout=30) as answer:
                return json.load(answer)

        found: list[Any] = await deferToThread(read)
        return found


class RestartTests(PeerTestCase):
    async def test_finds_back(self) -> None:
        """A pool that starts again joins whom it knew, by a file that a serf agent reads as well."""
        from twisted.internet import reactor

        clock: Any = reactor
        folder = self.folder()
        disk = RealDisk(folder, clock)
        self.addCleanup(disk.close)
        self.peer(peers.serf(SERF, "s"))
        await self.up(SERF)
        pool = self.pool(OURS, "ours", snapshot=SnapshotFile(disk, "serf/local.snapshot", clock))
        await pool.join([f"{SERF}:7946"])
        await self.serf_sees(SERF, "ours")
        pool.stop()

        again = self.pool(
            OTHER, "again", snapshot=SnapshotFile(disk, "serf/local.snapshot", clock), tags={"role": "x"}
        )
        await self.sees(again, "s")
        await self.serf_sees(SERF, "again")
        again.stop()
        third = self.peer(peers.serf(TWIN, "third", f"-snapshot={folder}/serf/local.snapshot"))
        await self.serf_sees(SERF, "third")
        text = b"Re-joined to previously known node"
        await eventually("serf says that it found back", lambda: text in third.output)
