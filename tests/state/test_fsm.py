"""Applying the log, and the encoding of commands."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import BadRequest
from pyconsul.state import commands
from pyconsul.state.commands import KVCommand
from pyconsul.structs.catalog import CheckDefinition, HealthCheck, NodeService, RegisterRequest
from pyconsul.structs.kv import DirEntry, KVSRequest
from pyconsul.structs.query import Empty
from tests.state.replica import Replica, refusal, stream, travelled


class CommandTests(SynchronousTestCase):
    def test_kinds(self) -> None:
        """The first byte is Consul's number of the kind."""
        entry = DirEntry(key="k", value=b"v", flags=3, session="s", modify_index=7)
        data = commands.encode_kv(KVSRequest(token="secret", op="cas", dir_ent=entry))
        self.assertEqual(data[0], 2)
        command = msgspec.msgpack.decode(data[1:], type=KVCommand)
        self.assertEqual(command, KVCommand(commands.CAS, "k", b"v", 3, "s", 7))
        self.assertNotIn(b"secret", data)
        self.assertEqual(commands.encode_register(RegisterRequest(token="secret", node="n"))[0], 0)
        self.assertNotIn(b"secret", commands.encode_register(RegisterRequest(token="secret", node="n")))
        self.assertEqual(commands.encode_collect_graves(5)[0], 5)

    def test_both_ways_of_encoding(self) -> None:
        """The shortcut for keys gives what the general way gives."""
        data = commands.encode_kv(KVSRequest(op="set", dir_ent=DirEntry(key="k")))
        self.assertEqual(data, commands.encode(commands.KVS, KVCommand(commands.SET, "k")))

    def test_unknown_operation(self) -> None:
        """An operation that does not exist never gets into the log."""
        request = KVSRequest(op="frob", dir_ent=DirEntry(key="k"))
        error = self.assertRaises(BadRequest, commands.encode_kv, request)
        self.assertEqual(str(error), 'Invalid KVS operation "frob"')

    def test_registration_is_canonical(self) -> None:
        """The log holds services and checks as they are stored, ``check`` after ``checks``."""
        request = RegisterRequest(
            node="n",
            service=NodeService(kind="", service="web"),
            check=HealthCheck(name="last"),
            checks=[HealthCheck(name="first", definition=CheckDefinition(interval=5_000_000_000))],
        )
        replica = Replica()
        self.assertEqual(replica.apply(commands.encode_register(request)), Empty())
        checks = replica.store.catalog.node_checks("n")[1]
        self.assertEqual(
            [(c.check_id, c.definition.interval) for c in checks], [("first", "5s"), ("last", "")]
        )

    def test_bad_duration(self) -> None:
        """A definition that cannot be read is refused before it is logged."""
        check = HealthCheck(name="c", definition=CheckDefinition(timeout="5"))
        error = self.assertRaises(
            BadRequest, commands.encode_register, RegisterRequest(node="n", check=check)
        )
        self.assertEqual(str(error), 'Request decode failed: time: missing unit in duration "5"')

    def test_fields_of_the_future(self) -> None:
        """A command with more fields at its end is still understood."""
        replica = Replica()
        data = b"\x02" + msgspec.msgpack.encode([commands.SET, "k", b"v", 0, "", 0, "new"])
        self.assertIs(replica.apply(data), True)


class ApplyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.replica = Replica()

    def test_index(self) -> None:
        """The store knows the last index, whatever became of the command."""
        self.replica.kv("set", "a", b"1")
        self.replica.register("n", checks=[{"name": "c", "service_id": "none"}])
        self.assertEqual(self.replica.store.index, 2)

    def test_unreadable(self) -> None:
        """What no server can read is refused by each, and changes nothing else."""
        digest = self.replica.store.snapshot()
        for data, text in (
            (b"", "empty log command"),
            (b"\x63abc", "unknown log command of type 99"),
            (b"\x02", "unreadable log command of type 2"),
            (b"\x02\xc1", "unreadable log command of type 2"),
            (b"\x00" + msgspec.msgpack.encode({"a": 1}), "unreadable log command of type 0"),
            (b"\x02" + msgspec.msgpack.encode([0, b"\xff"]), "unreadable log command of type 2"),
        ):
            self.assertEqual(refusal(self.replica.apply(data)), text)
        after = self.replica.store.snapshot()
        self.assertEqual((after.kv, after.catalog), (digest.kv, digest.catalog))

    def test_refusals_are_returned(self) -> None:
        """A refusal is a result, and nothing was written."""
        waiter = self.replica.wait(("nodes",))
        found = self.replica.register("n", checks=[{"name": "c", "service_id": "none"}])
        self.assertIn("Missing service registration", refusal(found))
        self.assertEqual((waiter.woken, self.replica.store.catalog.nodes()), (0, []))

    def test_wakes_after_the_command(self) -> None:
        """Watchers see all of a registration."""
        seen: list[tuple[int, int]] = []
        catalog = self.replica.store.catalog

        class Looks:
            def wake(self) -> None:
                seen.append((len(catalog.node_services("n")[2]), len(catalog.node_checks("n")[1])))

        self.replica.store.watches.register((("nodes",), ("node", "n")), Looks())
        self.replica.register("n", service={"service": "s"}, checks=[{"name": "c"}, {"name": "d"}])
        self.assertEqual(seen, [(1, 2)])

    def test_another_kind(self) -> None:
        """Other tables bring their own commands."""
        taken: list[Any] = []

        class Note(msgspec.Struct, array_like=True):
            text: str

        def run(index: int, command: Note) -> str:
            taken.append((index, command.text))
            return "noted"

        self.replica.fsm.add(200, Note, run)
        self.assertEqual(self.replica.apply(commands.encode(200, Note("hello"))), "noted")
        self.assertEqual(taken, [(1, "hello")])


class SnapshotTests(SynchronousTestCase):
    def fill(self, replica: Replica) -> None:
        replica.store.kv.session_exists = lambda session: True
        for key in ("a", "b/1", "b/2", "c", "l"):
            replica.kv("set", key, b"1")
        replica.kv("lock", "l", b"1", session="s")
        replica.kv("delete", "a")
        replica.kv("delete-tree", "b/")
        replica.register("n", service={"service": "web", "connect": {"Native": True}}, checks=[{"name": "c"}])
        replica.register("m", service={"service": "db"})
        replica.deregister("m")

    def test_digest(self) -> None:
        """Equal logs give equal digests; any difference shows."""
        one, two = Replica(), Replica()
        self.fill(one)
        self.fill(two)
        self.assertEqual(one.store.digest(), two.store.digest())
        two.kv("set", "c", b"2")
        one.kv("set", "c", b"1")
        self.assertNotEqual(one.store.digest(), two.store.digest())

    def test_restore(self) -> None:
        """A store made from a snapshot is the same, also in what it remembers of deletions and holds."""
        one, two = Replica(), Replica()
        self.fill(one)
        waiter = two.wait(("nodes",), ("kv", "x"))
        two.store.restore(one.store.snapshot())
        self.assertEqual((waiter.woken, two.store.index), (1, one.index))
        self.assertEqual(one.store.digest(), two.store.digest())
        for store in (one.store, two.store):
            kv = store.kv
            found = (kv.get("a"), kv.get("b/1"), kv.under(""), kv.held_by("s"), kv.names("", "/"))
            self.assertEqual(found[:2], ((7, None), (8, None)))
            self.assertEqual((found[3], found[4]), (["l"], (8, ["c", "l"])))

    def test_travels(self) -> None:
        """A snapshot survives being encoded."""
        one, two = Replica(), Replica()
        self.fill(one)
        two.store.restore(travelled(one.store.snapshot()))
        self.assertEqual(one.store.digest(), two.store.digest())

    def test_later_writes_do_not_show(self) -> None:
        """A snapshot stays what it was."""
        replica = Replica()
        self.fill(replica)
        snapshot = replica.store.snapshot()
        before = stream(snapshot)
        replica.kv("set", "c", b"2")
        replica.kv("delete-tree", "")
        replica.register("n", "192.0.2.77", service={"service": "web", "port": 9})
        replica.deregister("n")
        self.assertEqual(stream(snapshot), before)
