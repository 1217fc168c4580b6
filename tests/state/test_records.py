"""Records of snapshots: the store as Consul writes it down."""

from __future__ import annotations

import tarfile
import tracemalloc
from pathlib import Path
from random import Random
from typing import Any

import msgpack
from msgspec import UNSET
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import Refused
from pyconsul.state import commands, entries, records, records_frames, records_kv
from pyconsul.state.coordinate import CoordinateBatch
from pyconsul.state.entries import Entries
from pyconsul.state.kv import GRAVES_MAX, KVSnapshot
from pyconsul.state.queries import CREATE, DELETE
from pyconsul.state.records import Decoder, encode, left_out
from pyconsul.state.records_kinds import Skipped, describe
from pyconsul.state.records_kv import KVReader
from pyconsul.state.store import Snapshot, Store
from pyconsul.structs.catalog import CheckDefinition, Proxy, ServiceAddress, Weights
from pyconsul.structs.coordinate import Coordinate, NodeCoordinate
from pyconsul.structs.operator import AutopilotConfig
from pyconsul.structs.prepared import (
    PreparedQuery,
    QueryDatacenterOptions,
    QueryDNSOptions,
    QueryTemplateOptions,
    ServiceQuery,
)
from pyconsul.structs.session import ServiceCheck
from tests.state.replica import Replica

CAPTURED = Path(__file__).parent.parent / "storage" / "vectors" / "consul-1.8.7.tgz"

SESSION = "5cabaadb-d24f-ca3f-169c-03118c1f3553"
QUERY = PreparedQuery(
    id="8656a6ae-dea9-dacf-2f6a-9ad6fe822c92",
    name="geo-",
    session=SESSION,
    token="t",
    template=QueryTemplateOptions(type="name_prefix_match", regexp="^(.)$", remove_empty_tags=True),
    service=ServiceQuery(
        service="${match(1)}",
        failover=QueryDatacenterOptions(nearest_n=2, datacenters=["d"]),
        only_passing=True,
        ignore_check_ids=["z"],
        near="_ip",
        tags=["a", "!b"],
        node_meta={"k": "v"},
        service_meta={"a": "x"},
        connect=True,
    ),
    dns=QueryDNSOptions(ttl="3s"),
)
OTHER_QUERY = "a7d96076-ace3-fe71-4db2-3a942f4022bd"


def pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=False)
    return packed


HEADER = pack({"LastIndex": 9})


def captured() -> bytes:
    """``state.bin`` of an archive that Consul 1.8.7 saved, with records of many kinds."""
    with tarfile.open(CAPTURED) as archive:
        file = archive.extractfile("state.bin")
        assert file is not None
        return file.read()


def decode(data: bytes, step: int = 0) -> tuple[Snapshot, dict[str, int]]:
    decoder = Decoder()
    for start in range(0, len(data), step or len(data) or 1):
        decoder.feed(data[start : start + (step or len(data))])
    return decoder.finish(), decoder.skipped.counts


def restored(snapshot: Snapshot) -> Store:
    store = Store()
    store.restore(snapshot)
    return store


def stream_of(store: Store, **bounds: int) -> bytes:
    return b"".join(encode(store.snapshot(), **bounds))


def records_of(data: bytes) -> list[tuple[int, Any]]:
    """The records by kind, as plain values, the header aside."""
    frames = records_frames.Frames()
    return [
        (kind, msgpack.unpackb(record, raw=False, unicode_errors="surrogateescape"))
        for kind, record in frames.feed(data)
        if kind >= 0
    ]


def rich() -> Replica:
    """A store with something of everything."""
    made = Replica()
    made.kv("set", "a", b"one", flags=2**64 - 1)
    made.kv("set", "empty")
    made.kv("set", "ü/ ☃", bytes(range(256)))
    made.kv("set", "gone", b"1")
    made.kv("delete", "gone")
    made.kv("set", "tree/1", b"1")
    made.kv("delete-tree", "tree/")
    made.register("n1")
    made.register(
        "N2",
        id="40e4a748-2192-161a-0510-9bf59fe950b5",
        tagged_addresses={"lan": "192.0.2.1"},
        node_meta={"a": "b"},
        service={
            "id": "web1",
            "service": "Web",
            "tags": ["x", "y"],
            "port": 80,
            "meta": {"v": "1"},
            "weights": Weights(passing=3, warning=2),
            "enable_tag_override": True,
            "tagged_addresses": {"lan": ServiceAddress("192.0.2.9", 81)},
        },
        checks=[
            {"check_id": "c1", "name": "node check", "status": "passing", "output": "fine"},
            {
                "check_id": "svc",
                "service_id": "web1",
                "status": "warning",
                "definition": CheckDefinition(
                    http="http://x", interval="10s", timeout="2s", ttl=5, header={"X": ["1"]}
                ),
            },
        ],
    )
    made.register(
        "n2",
        skip_node_update=True,
        service={
            "kind": "connect-proxy",
            "id": "side",
            "service": "web-sidecar",
            "proxy": Proxy(
                destination_service_name="Web",
                destination_service_id="web1",
                local_service_address="127.0.0.1",
                local_service_port=80,
                config={"n": 3, "f": 1.5, "list": [1, "a"]},
                upstreams=[{"DestinationName": "db", "Datacenter": "", "Config": {"a": 1}}],
                mesh_gateway={"Mode": "local"},
                expose={"Checks": True},
            ),
        },
    )
    made.register(
        "n2", skip_node_update=True, service={"id": "nat", "service": "nat", "connect": {"Native": True}}
    )
    made.register("n3", service={"service": "brief"})
    made.deregister("n3")
    made.create(
        SESSION, "n2", node_checks=["c1"], service_checks=[ServiceCheck("svc")], ttl="30s", lock_delay=7
    )
    made.kv("lock", "lock", b"l", session=SESSION)
    made.apply(commands.encode_query(CREATE, QUERY))
    made.apply(commands.encode_query(CREATE, replace(QUERY, id=OTHER_QUERY, name="", session="")))
    made.apply(commands.encode_query(DELETE, PreparedQuery(id=OTHER_QUERY)))
    place = Coordinate(vec=(0.5,) * 8, error=1.5, adjustment=-0.25, height=0.001)
    made.store.coordinates.apply(made.index, CoordinateBatch([NodeCoordinate(node="n2", coord=place)]))
    made.store.autopilot.row = AutopilotConfig(
        max_trailing_logs=250, last_contact_threshold=200_000_000, create_index=4, modify_index=6
    )
    return made


class RoundTripTests(SynchronousTestCase):
    def test_everything(self) -> None:
        """What is written and read again is the same store, to the last index."""
        made = rich()
        snapshot, skipped = decode(stream_of(made.store))
        self.assertEqual(skipped, {})
        self.assertEqual(restored(snapshot).digest(), made.store.digest())
        again = restored(snapshot).snapshot()
        self.assertEqual(again, made.store.snapshot())

    def test_empty(self) -> None:
        """A store without anything is a header and some indexes."""
        snapshot, skipped = decode(stream_of(Store()))
        self.assertEqual((snapshot.index, skipped), (0, {}))
        self.assertEqual(restored(snapshot).digest(), Store().digest())

    def test_everything_deleted(self) -> None:
        """The deletion of all keys is remembered, in its place among others."""
        made = Replica()
        for op, key in (
            ("set", "a/1"),
            ("set", "b"),
            ("delete-tree", ""),
            ("set", "a/2"),
            ("delete-tree", "a/"),
        ):
            made.kv(op, key)
        snapshot, _ = decode(stream_of(made.store))
        self.assertEqual(list(snapshot.kv.trees.items()), [("", 3), ("a/", 5)])
        self.assertEqual(restored(snapshot).digest(), made.store.digest())

    def test_random_stores(self) -> None:
        """Whatever has happened to a store, its stream brings it back."""
        for seed in range(30):
            made = self.random_store(Random(seed))
            snapshot, skipped = decode(stream_of(made.store))
            self.assertEqual(skipped, {}, seed)
            self.assertEqual(restored(snapshot).digest(), made.store.digest(), seed)

    def random_store(self, rng: Random) -> Replica:
        made = Replica()
        for _ in range(rng.randrange(150)):
            node, service = f"n{rng.randrange(4)}", rng.choice(["web", "Web", "db"])
            key = "/".join(rng.choice("abc") for _ in range(rng.randrange(1, 4)))
            act = rng.randrange(9)
            if act < 3:
                made.kv("set", key, b"%d" % rng.randrange(9))
            elif act == 3:
                made.kv(rng.choice(["delete", "delete-tree"]), key)
            elif act == 4:
                proxy = Proxy(destination_service_name="web") if rng.random() < 0.3 else Proxy()
                made.register(node, service={"id": service + "1", "service": service, "proxy": proxy})
            elif act == 5:
                state = rng.choice(["passing", "critical"])
                made.register(node, checks=[{"check_id": f"c{rng.randrange(2)}", "status": state}])
            elif act == 6:
                made.deregister(node, service_id=rng.choice(["web1", "db1", ""]))
            elif act == 7:
                made.create(f"{rng.randrange(9):08}-0000-0000-0000-000000000000", node, node_checks=["c0"])
            else:
                made.kv("lock", key, b"", session=f"{rng.randrange(9):08}-0000-0000-0000-000000000000")
        return made

    def test_snapshot_stays_as_it_was(self) -> None:
        """Writes that come while a snapshot is being encoded do not show in it."""
        made = rich()
        expected = stream_of(made.store)
        slices = encode(made.store.snapshot(), rows_max=2)
        got = [next(slices)]
        for key in ("a", "later", "tree/2"):
            made.kv("set", key, b"other")
        made.deregister("n2")
        got += slices
        self.assertEqual(b"".join(got), expected)


class SliceTests(SynchronousTestCase):
    def test_bounds(self) -> None:
        """A slice has no more records than asked for, and ends once it is large."""
        made = Replica()
        for number in range(50):
            made.kv("set", f"k{number:02}", b"v" * 1000)
        whole = stream_of(made.store)
        by_rows = list(encode(made.store.snapshot(), rows_max=7))
        self.assertEqual(b"".join(by_rows), whole)
        self.assertTrue(all(part.count(b"ModifyIndex") <= 7 for part in by_rows))
        by_bytes = list(encode(made.store.snapshot(), bytes_max=5000))
        self.assertEqual(b"".join(by_bytes), whole)
        self.assertTrue(all(len(part) < 5000 + 1200 for part in by_bytes))
        self.assertGreater(len(by_bytes), 9)

    def test_any_pieces(self) -> None:
        """It does not matter in what pieces a stream comes."""
        data = stream_of(rich().store)
        expected = restored(decode(data)[0]).digest()
        self.assertEqual({kind for kind, _ in records_of(data)}, records._TAKEN)
        for step in (1, 2, 13, 100, 4096):
            self.assertEqual(restored(decode(data, step)[0]).digest(), expected, step)


FREE_FORM = ("NodeMeta", "ServiceMeta", "Meta", "TaggedAddresses", "Config", "States", "Header")


class FormatTests(SynchronousTestCase):
    """The bytes, as Consul 1.8.7 writes them."""

    def test_entry(self) -> None:
        made = Replica()
        made.index = 15
        made.kv("set", "a", b"one")
        data = stream_of(made.store)
        self.assertTrue(data.startswith(b"\x81\xa9LastIndex\x10"))
        self.assertIn(
            b"\x02\x87\xabCreateIndex\x10\xa5Flags\x00\xa3Key\xa1a\xa9LockIndex\x00\xabModifyIndex\x10"
            b"\xa7Session\xa0\xa5Value\xa3one",
            data,
        )

    def test_no_newer_messagepack(self) -> None:
        """Neither ``bin`` nor ``str 8``: 40 and 300 bytes have a length of two bytes."""
        made = Replica()
        made.kv("set", "k" * 40, b"v" * 300)
        data = stream_of(made.store)
        self.assertIn(b"\xa3Key\xda\x00\x28" + b"k" * 40, data)
        self.assertIn(b"\xa5Value\xda\x01\x2c" + b"v" * 300, data)

    def test_same_fields_as_consul(self) -> None:
        """Each record has the fields that Consul's has, and one or two of ours at most."""
        theirs = self.fields(records_of(captured()))
        ours = self.fields(records_of(stream_of(rich().store)))
        for where, names in ours.items():
            self.assertIn(where, theirs)
            missing, more = theirs[where] - names, names - theirs[where]
            self.assertEqual(missing, set(), where)
            self.assertLessEqual(more, {"Views", "States", "Tree"}, where)
        self.assertEqual(
            {kind for kind, _ in ours}, {0, 2, 3, 5, 6, 7, 9, 16}, "kinds that nothing was compared for"
        )

    def fields(self, records: list[tuple[int, Any]]) -> dict[tuple[int, str], set[str]]:
        """All names of fields by kind and path, lists and free-form maps left out."""
        found: dict[tuple[int, str], set[str]] = {}

        def walk(kind: int, path: str, value: Any) -> None:
            if isinstance(value, list) and not path:
                for one in value:
                    walk(kind, "/", one)
            if isinstance(value, dict):
                found.setdefault((kind, path), set()).update(value)
                for name, one in value.items():
                    if name not in FREE_FORM:
                        walk(kind, f"{path}/{name}", one)

        for kind, record in records:
            walk(kind, "", record)
        return found

    def test_order(self) -> None:
        """Consul needs a node before its services, those before their checks, and all before sessions."""
        kinds = [kind for kind, _ in records_of(stream_of(rich().store))]
        self.assertLess(max(at for at, kind in enumerate(kinds) if kind == 0), kinds.index(3))
        self.assertLess(kinds.index(3), kinds.index(2))
        rows = [record for kind, record in records_of(stream_of(rich().store)) if kind == 0]
        parts = [
            "service" if row["Service"] else "check" if row["Check"] else "node"
            for row in rows
            if row["Node"] == "N2"
        ]
        self.assertEqual(parts, ["node", "service", "service", "service", "check", "check"])

    def test_service_index_as_spelt(self) -> None:
        """Consul's index of a service has the name's case; a service that only checks name has one, too."""
        made = Replica()
        made.register("n1", service={"id": "1", "service": "Web"})
        made.register("n1", service={"id": "2", "service": "WEB"})
        made.register("n1", checks=[{"check_id": "c", "service_name": "old"}])
        keys = {record["Key"] for kind, record in records_of(stream_of(made.store)) if kind == 16}
        self.assertEqual(
            {key for key in keys if key.startswith("service.")}, {"service.Web", "service.WEB", "service.old"}
        )


class FromConsulTests(SynchronousTestCase):
    def test_captured(self) -> None:
        """An archive of Consul's is read in full, and what is not kept here is named."""
        snapshot, skipped = decode(captured())
        self.assertEqual(
            describe(skipped),
            "3 x ACL token, 2 x ACL policy, 1 x ACL role, 1 x intention, 4 x config entry, "
            "1 x federation state",
        )
        kv = {row.key: row for row in snapshot.kv.entries}
        self.assertEqual(
            list(kv), ["a", "big", "bin", "empty", "flags", "lock", "lock2", "tree/again", "txn", "täst/ key"]
        )
        self.assertEqual(kv["bin"].value, bytes(range(256)))
        self.assertEqual((kv["empty"].value, kv["flags"].flags), (None, 2**64 - 1))
        self.assertEqual((kv["a"].create_index, kv["a"].modify_index, kv["a"].session), (12, 12, UNSET))
        self.assertEqual([row.node for row, *_ in snapshot.catalog.nodes], ["c1", "n1", "n2", "N5"])
        self.assertEqual(len(snapshot.catalog.services), 8)
        self.assertEqual(len(snapshot.sessions.sessions), 4)
        self.assertIn(kv["lock"].session, {row.id for row in snapshot.sessions.sessions})
        assert snapshot.autopilot is not None
        self.assertFalse(snapshot.autopilot.cleanup_dead_servers)
        self.assertEqual(
            [(row.name, row.service.service, row.template.type) for row in snapshot.queries.queries],
            [("", "${match(1)}", "name_prefix_match"), ("q1", "web", "")],
        )

    def test_queries_of_no_session(self) -> None:
        """They would stay for ever."""
        made = rich()
        made.store.sessions.ending = lambda index, session: None
        made.destroy(SESSION)
        snapshot, skipped = decode(stream_of(made.store))
        self.assertEqual(skipped, {"prepared query of a session that is not in the snapshot": 1})
        self.assertEqual((snapshot.queries.queries, snapshot.queries.index), ([], made.index - 1))
        record = bytes((7,)) + pack({"Name": "x"})
        self.assertIn("has no id", str(self.assertRaises(Refused, decode, HEADER + record)))
        record = bytes((7,)) + pack({"ID": "X", "Name": "x"})
        table = decode(HEADER + record)[0].queries
        self.assertEqual((table.index, table.gone, table.queries[0].modify_index), (9, 9, 9))
        self.assertEqual(table.queries[0].id, "x")

    def test_captured_rows(self) -> None:
        """Services and checks get the shape in which they are kept here."""
        snapshot, _ = decode(captured())
        services = {(key, row.id): row for key, row in snapshot.catalog.services}
        proxy = services["n2", "web-proxy"].proxy
        self.assertEqual(proxy.config, {"k": "v", "n": 3, "f": 1.5, "b": True})
        self.assertIsInstance(proxy.config and proxy.config["n"], int)
        self.assertEqual(
            proxy.upstreams,
            [
                {
                    "DestinationType": "service",
                    "DestinationName": "db",
                    "Datacenter": "",
                    "LocalBindPort": 9191,
                    "Config": {"a": 1},
                    "MeshGateway": {},
                }
            ],
        )
        self.assertEqual(services["n2", "nat"].connect, {"Native": True})
        self.assertEqual(services["n2", "web2"].tags, [])
        self.assertEqual(services["n2", "web1"].weights, Weights(passing=3, warning=2))
        checks = {(row.node, row.check_id): row for row in snapshot.catalog.checks}
        self.assertEqual(
            checks["n2", "svc"].definition,
            CheckDefinition(
                interval="10s",
                timeout="2s",
                deregister_critical_service_after="1m30s",
                http="http://x/",
                tls_skip_verify=True,
                header={"X": ["1", "2"]},
                method="POST",
                body="bb",
            ),
        )

    def test_captured_indexes(self) -> None:
        """Views for which Consul has no index get that of the whole snapshot; no index is beyond it."""
        snapshot, _ = decode(captured())
        last = snapshot.index
        self.assertEqual(set(snapshot.catalog.groups.values()), {(last, last)})
        self.assertEqual(snapshot.catalog.nodes_index, last)
        store = restored(snapshot)
        self.assertLess(0, store.kv.get("del")[0])
        self.assertLessEqual(store.kv.get("del")[0], last)
        self.assertEqual(store.kv.under("tree/")[0], store.kv.get("tree/again")[0])

    def test_again(self) -> None:
        """What came from Consul goes through a stream of ours unchanged."""
        store = restored(decode(captured())[0])
        self.assertEqual(restored(decode(stream_of(store))[0]).digest(), store.digest())

    def test_left_out(self) -> None:
        """The same account without holding any row."""
        data = captured()
        pieces = [data[at : at + 100] for at in range(0, len(data), 100)]
        self.assertEqual(left_out(pieces).counts, decode(data)[1])
        self.assertRaises(Refused, left_out, [data[:-1]])

    def test_old_versions(self) -> None:
        """Rows without indexes, definitions, weights and proxies, as 0.7 wrote them."""
        node = {"Node": "n", "Address": "192.0.2.1", "TaggedAddresses": None}
        data = HEADER
        data += b"\0" + pack(node)
        data += b"\0" + pack({**node, "Service": {"ID": "w", "Service": "w", "Tags": None, "Port": 1}})
        data += b"\0" + pack(
            {**node, "Check": {"Node": "n", "CheckID": "c", "Status": "passing", "ServiceID": "w"}}
        )
        data += b"\3" + pack(
            {"ID": SESSION, "Node": "n", "Checks": ["c"], "LockDelay": 1, "Behavior": "release"}
        )
        data += b"\2" + pack({"Key": "k", "Session": SESSION})
        data += b"\x09" + pack({"CleanupDeadServers": True})
        snapshot, skipped = decode(data)
        self.assertEqual(skipped, {})
        store = restored(snapshot)
        self.assertEqual(store.kv.get("k")[0], 9)
        self.assertEqual(store.kv.held_by(SESSION), ["k"])
        (_, service), (check,) = snapshot.catalog.services[0], snapshot.catalog.checks
        self.assertEqual((service.modify_index, service.weights), (9, Weights(passing=1, warning=1)))
        self.assertEqual(check.create_index, 9)
        self.assertEqual(snapshot.sessions.sessions[0].modify_index, 9)
        assert snapshot.autopilot is not None
        self.assertEqual(snapshot.autopilot.modify_index, 9)

    def test_output_in_no_encoding(self) -> None:
        """The output of a script need not be UTF-8."""
        check = {"CheckID": "c", "Status": "passing", "Output": b"\xffok"}
        snapshot, _ = decode(HEADER + b"\0" + pack({"Node": "n", "Address": "a", "Check": check}))
        self.assertEqual(snapshot.catalog.checks[0].output, "\ufffdok")

    def test_newest_row_of_a_node_counts(self) -> None:
        """A node may come twice; a service record of it does not change it."""
        rows: list[dict[str, Any]] = [
            {"Node": "n", "Address": "a"},
            {"Node": "N", "Address": "b"},
            {"Node": "n", "Address": "c", "Service": {"Service": "w"}},
        ]
        snapshot, _ = decode(HEADER + b"".join(b"\0" + pack(row) for row in rows))
        self.assertEqual([(row.node, row.address) for row, *_ in snapshot.catalog.nodes], [("N", "b")])


class AccountTests(SynchronousTestCase):
    """What cannot be taken over is counted."""

    def test_kinds(self) -> None:
        skipped = Skipped()
        skipped.record(17, pack({}))
        skipped.record(17, pack({}))
        skipped.record(99, pack("x"))
        skipped.record(98, pack([{}] * 20))
        skipped.record(98, pack([{}]))
        skipped.record(29, pack({"ChunkMap": {}}))
        skipped.record(29, pack({"ChunkMap": {1: []}}))
        self.assertEqual(
            describe(skipped.counts),
            "2 x ACL token, 1 x record of kind 99, 21 x record of kind 98, 1 x chunked Raft command",
        )

    def test_key_in_no_encoding(self) -> None:
        """HTTP could not name such a key."""
        snapshot, skipped = decode(HEADER + b"\2" + pack({"Key": b"\xff\xfe"}) + b"\2" + pack({"Key": "k"}))
        self.assertEqual([row.key for row in snapshot.kv.entries], ["k"])
        self.assertEqual(skipped, {"key that is not UTF-8": 1})

    def test_lock_without_its_session(self) -> None:
        """Nobody would ever let it go; so it is let go, and the key stays."""
        snapshot, skipped = decode(HEADER + b"\2" + pack({"Key": "k", "Session": SESSION, "LockIndex": 3}))
        [row] = snapshot.kv.entries
        self.assertEqual((row.session, row.lock_index), (UNSET, 3))
        self.assertEqual(skipped, {"lock whose session is not restored": 1})

    def test_session_without_its_node(self) -> None:
        session = b"\3" + pack({"ID": SESSION, "Node": "none"})
        snapshot, skipped = decode(HEADER + session + b"\2" + pack({"Key": "k", "Session": SESSION}))
        [row] = snapshot.kv.entries
        self.assertEqual((snapshot.sessions.sessions, row.session), ([], UNSET))
        self.assertEqual(
            list(skipped),
            ["session of a node that is not in the snapshot", "lock whose session is not restored"],
        )


class ReaderTests(SynchronousTestCase):
    def test_keys_out_of_order(self) -> None:
        """They are put in order, and of two rows of one key the last counts."""
        rows = [("b", b"1"), ("a", b"2"), ("b", b"3")]
        data = HEADER + b"".join(b"\2" + pack({"Key": key, "Value": value}) for key, value in rows)
        found = decode(data)[0].kv.entries
        self.assertEqual([(row.key, row.value) for row in found], [("a", b"2"), ("b", b"3")])

    def test_many_keys(self) -> None:
        """What comes in order is packed at once, and locks that nobody holds are found all the same."""
        for module in (entries, records_kv):
            self.patch(module, "ROWS_MAX", 4)
        rows = [
            {"Key": f"k{number:02d}", "Session": SESSION if number in (5, 17) else ""} for number in range(18)
        ]
        for keys_in_order in (True, False):
            stream = HEADER + b"".join(b"\2" + pack(row) for row in (rows if keys_in_order else rows[::-1]))
            snapshot, skipped = decode(stream)
            found = snapshot.kv.entries
            self.assertEqual([row.key for row in found], [row["Key"] for row in rows])
            self.assertEqual([row for row in found if row.session], [])
            self.assertEqual(skipped, {"lock whose session is not restored": 2})
            packed = sum(bool(block.packs) for block in found._blocks)
            self.assertEqual(packed, 2 if keys_in_order else 0)  # of three, one was looked into

    def test_too_many_graves(self) -> None:
        """No more are kept than the table would keep; the floor stands for the rest."""
        reader = KVReader(Skipped())
        for number in range(GRAVES_MAX + 3, 0, -1):
            reader.grave(pack({"Key": f"k{number}", "ModifyIndex": number, "Tree": False}))
        kv = reader.finish(())
        self.assertEqual((len(kv.graves), kv.floor), (GRAVES_MAX, 3))
        self.assertEqual(next(iter(kv.graves.items())), ("k4", 4))

    def test_value_types(self) -> None:
        """Bytes may be written in any of MessagePack's ways."""
        for value in (b"", b"v", b"v" * 40, b"v" * 300, b"v" * 70_000):
            for bin_type in (False, True):
                record = msgpack.packb({"Key": "k", "Value": value}, use_bin_type=bin_type)
                [row] = decode(HEADER + b"\2" + record)[0].kv.entries
                self.assertEqual(row.value, value or None)

    def test_floor(self) -> None:
        """Ours is read back; from Consul's tombstones and their index it is made."""
        own = KVSnapshot(Entries(), {}, {}, 5)
        store = Store()
        store.kv.restore(own)
        self.assertEqual(decode(stream_of(store))[0].kv.floor, 5)
        grave = b"\5" + pack({"Key": "k", "ModifyIndex": 6})
        self.assertEqual(decode(HEADER + grave)[0].kv.floor, 6)
        index = b"\x10" + pack({"Key": "tombstones", "Value": 8})
        self.assertEqual(decode(HEADER + grave + index)[0].kv.floor, 8)


class DamageTests(SynchronousTestCase):
    """Whatever comes in, there is a clear error and no more memory than for what came in."""

    def fails(self, data: bytes, text: str) -> None:
        error = self.assertRaises(Refused, decode, data)
        self.assertRegex(str(error), text)

    def test_header(self) -> None:
        self.fails(b"", "header .* is incomplete")
        self.fails(HEADER[:-1], "header .* is incomplete")
        self.fails(b"junk", "header .* cannot be read")
        self.fails(pack({"LastIndex": -1}), "header .* cannot be read")
        self.fails(pack({"LastIndex": 1 << 63}), "header .* cannot be read")
        self.fails(pack({}), "header .* cannot be read")

    def test_records(self) -> None:
        for record, text in (
            (b"\2" + pack({"Key": ""}), r"record 1 \(kind 2\) .* at byte 12, has no key"),
            (b"\2" + pack({"Key": 5}), "cannot be read: Expected `str`"),
            (b"\2" + pack({"Key": "k", "Value": 5}), "where bytes belong"),
            (b"\2" + pack({"Key": "k", "ModifyIndex": -1}), "cannot be read"),
            (b"\2" + pack([1]), "cannot be read"),
            (b"\2\xc1", "is not MessagePack"),
            (b"\2" + pack({"Key": "k"})[:-1], "is incomplete"),
            (b"\2", "is incomplete"),
            (b"\0" + pack({"Node": ""}), "names no node"),
            (b"\0" + pack({"Node": "n", "Service": {"ID": "x"}}), "service without a name"),
            (b"\0" + pack({"Node": "n", "Check": {"Status": "passing"}}), "check without an id"),
            (
                b"\0" + pack({"Node": "n", "Check": {"CheckID": "c", "Definition": {"TTL": "x"}}}),
                "cannot be read",
            ),
            (b"\0" + pack({"Node": b"\xff"}), "cannot be read"),
            (b"\3" + pack({"Node": "n"}), "has no id"),
            (b"\x10" + pack({"Key": "kvs", "Value": "x"}), "cannot be read"),
            (b"\x09" + pack({"MaxTrailingLogs": "x"}), "cannot be read"),
        ):
            self.fails(HEADER + record, text)

    def test_check_without_its_service(self) -> None:
        check = {"CheckID": "c", "ServiceID": "none"}
        self.fails(
            HEADER + b"\0" + pack({"Node": "n", "Check": check}), 'service "none", which node "n" does not'
        )

    def test_deep(self) -> None:
        """Nesting beyond reason."""
        self.fails(HEADER + b"\2" + b"\x91" * 100_000, "is not MessagePack")
        self.fails(HEADER + b"\2\x81\xa3Key" + b"\x91" * 1000 + b"\xc0", "MessagePack|cannot be read")
        self.fails(
            HEADER + b"\0\x81\xa7Service\x81\xa7Connect\x81\xa1a" + b"\x91" * 900 + b"\xc0", "cannot|names no"
        )

    def test_large_record(self) -> None:
        """A record that does not end is not held for ever."""
        self.patch(records_frames, "RECORD_BYTES_MAX", 10_000)
        decoder = Decoder()
        decoder.feed(HEADER + b"\2\x81\xa3Key\xdb\xff\xff\xff\xff")

        def feed_much() -> None:
            for _ in range(20):
                decoder.feed(b"x" * 1000)

        error = self.assertRaises(Refused, feed_much)
        self.assertIn("is too large", str(error))
        self.assertIn(
            "is too large", str(self.assertRaises(Refused, Decoder().feed, b"\xdb\0\1\0\0" + b"x" * 20_000))
        )

    def test_lengths_are_not_believed(self) -> None:
        """A few bytes cannot make us take much memory."""
        huge = [b"\xdd\x0f\xff\xff\xff" * 100, b"\xdf\xff\xff\xff\xff" * 100, b"\xdb\xff\xff\xff\xff"]
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for kind in (0, 2, 3, 5, 9, 16, 17, 22):
            for body in huge:
                for start in (b"", b"\x81\xa7Service", b"\x81\xa4Tags", b"\x81\xa5Views"):
                    tracemalloc.reset_peak()
                    before = tracemalloc.get_traced_memory()[0]
                    self.fails(HEADER + bytes((kind,)) + start + body, "incomplete")
                    self.assertLess(tracemalloc.get_traced_memory()[1] - before, 3_000_000)

    def test_cut_anywhere(self) -> None:
        """A stream that ends early is refused, unless it ends between records."""
        data = stream_of(rich().store)
        whole = set()
        frames = records_frames.Frames()
        for at in range(len(data)):
            for _ in frames.feed(data[at : at + 1]):
                whole.add(at + 1)
        for end in range(0, len(data), 7):
            if end not in whole:
                self.assertRaises(Refused, decode, data[:end])

    def test_mutated_anywhere(self) -> None:
        """Changed bytes give another store or a clear error, and nothing else."""
        rng = Random(1)
        outcomes = {True: 0, False: 0}
        for data in (stream_of(rich().store), captured()):
            for _ in range(1500):
                changed = bytearray(data)
                for _ in range(rng.choice((1, 1, 3))):
                    changed[rng.randrange(len(changed))] = rng.randrange(256)
                try:
                    store = restored(decode(bytes(changed))[0])
                    stream_of(store)
                except Refused:
                    outcomes[False] += 1
                else:
                    outcomes[True] += 1
        self.assertGreater(min(outcomes.values()), 100)
