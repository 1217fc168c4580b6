"""Transactions: the verbs, and that all of them or none take effect."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import BadRequest
from pyconsul.state import commands
from pyconsul.state.operations import CheckOp, KVOp, NodeOp, Op, ServiceOp
from pyconsul.state.txn import Transactions
from pyconsul.structs.catalog import CheckDefinition, HealthCheck, Node, NodeService
from pyconsul.structs.kv import DirEntry
from pyconsul.structs.txn import (
    TxnCheckOp,
    TxnError,
    TxnKVOp,
    TxnNodeOp,
    TxnOp,
    TxnResponse,
    TxnServiceOp,
)
from tests.state.replica import Replica

S1, S2 = (f"11111111-2222-3333-4444-55555555555{digit}" for digit in "12")
ID1, ID2 = (f"33333333-2222-3333-4444-55555555555{digit}" for digit in "12")


def kv(verb: str, key: str, value: bytes | None = None, expected: int = 0, session: str = "") -> KVOp:
    """An operation on a key."""
    return KVOp(verb, key, value, 0, expected, session)


def node(verb: str, name: str, index: int = 0, **more: Any) -> NodeOp:
    """An operation on a node."""
    return NodeOp(verb, Node(node=name, address=more.pop("address", "192.0.2.7"), modify_index=index, **more))


def service(verb: str, on: str, service_id: str, index: int = 0, **more: Any) -> ServiceOp:
    """An operation on a service, of the same name unless another is given."""
    return ServiceOp(
        verb, on, NodeService(id=service_id, modify_index=index, **{"service": service_id, **more})
    )


def check(verb: str, on: str, check_id: str, index: int = 0, **more: Any) -> CheckOp:
    """An operation on a check."""
    return CheckOp(verb, HealthCheck(node=on, check_id=check_id, modify_index=index, **more))


def errors(response: TxnResponse) -> list[tuple[int, str]]:
    """The places and texts of a transaction that was not made."""
    assert response.results is None and response.errors, response
    return [(error.op_index, error.what) for error in response.errors]


class TxnTestCase(SynchronousTestCase):
    """A store with the entries a, b and t/1 to t/3 at the indexes 1 to 5."""

    def setUp(self) -> None:
        self.replica = Replica()
        for key in ("a", "b", "t/1", "t/2", "t/3"):
            self.replica.kv("set", key, key.encode())

    def rows(self, response: TxnResponse) -> list[tuple[Any, ...]]:
        """Key, value and index of the entries that a transaction gave."""
        self.assertIsNone(response.errors)
        entries = [result.kv for result in response.results or ()]
        return [(row.key, row.value, row.modify_index) for row in entries if row is not None]

    def fails(self, *ops: Op | None) -> list[tuple[int, str]]:
        """The errors of a transaction, none of which may leave a trace."""
        before = self.replica.store.snapshot()
        found = errors(self.replica.txn(*ops))
        after = self.replica.store.snapshot()
        self.assertEqual(
            (after.kv, after.catalog, after.sessions), (before.kv, before.catalog, before.sessions)
        )
        return found


class KeyTests(TxnTestCase):
    def test_writes(self) -> None:
        """Write verbs give the entry without its value, deletions nothing."""
        done = self.replica.txn(
            kv("set", "n", b"1"), None, kv("cas", "a", b"2", 1), kv("cas", "m", b"3"),
            kv("delete", "b"), kv("delete-cas", "t/1", expected=3), kv("delete-tree", "t/"),
            kv("delete-cas", "none", expected=9),
        )  # fmt: skip
        self.assertEqual(self.rows(done), [("n", None, 6), ("a", None, 6), ("m", None, 6)])
        self.assertEqual(self.replica.store.kv.names("", "")[1], ["a", "m", "n"])
        row = self.replica.store.kv.row("a")
        assert row is not None
        self.assertEqual((row.value, row.create_index, row.modify_index), (b"2", 1, 6))

    def test_reads(self) -> None:
        """Reads see what was written before them, with values; checks give none."""
        done = self.replica.txn(
            kv("get", "a"), kv("set", "a", b"new"), kv("get", "a"), kv("get-tree", "t/"), kv("get-tree", "z"),
            kv("check-index", "b", expected=2), kv("check-session", "b"), kv("check-not-exists", "z"),
        )  # fmt: skip
        self.assertEqual(
            self.rows(done),
            [
                ("a", b"a", 1), ("a", None, 6), ("a", b"new", 6),
                ("t/1", b"t/1", 3), ("t/2", b"t/2", 4), ("t/3", b"t/3", 5),
                ("b", None, 2), ("b", None, 2),
            ],
        )  # fmt: skip

    def test_errors(self) -> None:
        """Each verb in Consul's words; all that fail are named, at their places."""
        found = self.fails(
            kv("set", "z", b"1"), None,
            kv("cas", "a", b"1", 9), kv("delete-cas", "a", expected=9), kv("get", "none"),
            kv("check-index", "none"), kv("check-index", "a", expected=9),
            kv("check-session", "none"), kv("check-session", "a", session=S1),
            kv("check-not-exists", "a"), kv("unlock", "a", session=S1), kv("unlock", "a"),
            kv("lock", "a"), kv("lock", "a", session=S1), kv("lock", "a", session="x"), kv("fly", "a"),
        )  # fmt: skip
        self.assertEqual(
            found,
            [
                (2, 'failed to set key "a", index is stale'),
                (3, 'failed to delete key "a", index is stale'),
                (4, 'key "none" doesn\'t exist'),
                (5, 'failed to check index, key "none" doesn\'t exist'),
                (6, 'failed index check for key "a", current modify index 1 != 9'),
                (7, 'failed to check session, key "none" doesn\'t exist'),
                (8, f'failed session check for key "a", current session "" != "{S1}"'),
                (9, 'key "a" exists'),
                (10, 'failed to unlock key "a", lock isn\'t held, or is held by another session'),
                (11, "missing session"),
                (12, "missing session"),
                (13, f'invalid session "{S1}"'),
                (14, "failed session lookup: index error: UUID must be 36 characters"),
                (15, 'unknown KV verb "fly"'),
            ],
        )

    def test_the_first_operation_fails(self) -> None:
        """Without a rehearsal before; the later ones are judged as well."""
        self.assertEqual(self.fails(kv("get", "none")), [(0, 'key "none" doesn\'t exist')])
        self.assertEqual(
            self.fails(kv("check-index", "a", expected=9), kv("get", "none"), kv("set", "c", b"1")),
            [
                (0, 'failed index check for key "a", current modify index 1 != 9'),
                (1, 'key "none" doesn\'t exist'),
            ],
        )
        self.assertEqual(
            self.fails(kv("cas", "a", b"1", 9), kv("delete", "b")),
            [(0, 'failed to set key "a", index is stale')],
        )

    def test_rehearsed(self) -> None:
        """Later operations are judged by what earlier ones would have done, then all are made."""
        done = self.replica.txn(
            kv("delete-tree", "t/"), kv("check-not-exists", "t/1"), kv("cas", "t/1", b"new", 0),
            kv("check-index", "t/1", expected=6), kv("get", "t/1"),
        )  # fmt: skip
        self.assertEqual(self.rows(done), [("t/1", None, 6), ("t/1", None, 6), ("t/1", b"new", 6)])
        self.assertEqual(self.replica.store.kv.names("t/", "")[1], ["t/1"])

    def test_nothing(self) -> None:
        """A transaction without operations, or with ones that say nothing."""
        self.assertEqual(self.replica.txn(), TxnResponse(results=[]))
        self.assertEqual(self.replica.txn(None, None), TxnResponse(results=[]))

    def test_watches(self) -> None:
        """Waking is for what was written, once, and not for what was only rehearsed."""
        waiter = self.replica.wait(("kvp", "t/"))
        self.fails(kv("set", "t/9", b"1"), kv("delete", "t/1"), kv("get", "none"))
        self.assertEqual(waiter.woken, 0)
        self.replica.txn(kv("set", "t/9", b"1"), kv("delete", "t/1"))
        self.assertEqual(waiter.woken, 1)

    def test_outside_the_log(self) -> None:
        """Reads alone need no command; what writes is not known there."""
        transactions = Transactions(self.replica.store)
        read = transactions.read([kv("get", "a"), None, kv("check-index", "b", expected=2)])
        self.assertEqual(self.rows(read), [("a", b"a", 1), ("b", None, 2)])
        found = errors(transactions.read([kv("get", "none"), kv("set", "a", b"x"), node("get", "n")]))
        self.assertEqual(
            found,
            [(0, 'key "none" doesn\'t exist'), (1, 'unknown KV verb "set"'), (2, 'node "n" doesn\'t exist')],
        )
        self.assertEqual(self.replica.index, 5)


class LockTests(TxnTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.replica.register("n1", checks=[{"check_id": "c", "status": "passing"}])
        self.replica.create(S1, node_checks=["c"])
        self.replica.create(S2, "n1")

    def test_lock_and_unlock(self) -> None:
        """Locks are seen within the transaction."""
        self.replica.txn(
            kv("lock", "l", b"1", session=S1),
            kv("check-session", "l", session=S1),
            kv("lock", "l", b"2", session=S1),
        )
        row = self.replica.store.kv.row("l")
        assert row is not None
        self.assertEqual((row.session, row.value, row.lock_index), (S1, b"2", 1))
        held = f'failed session check for key "l", current session "{S1}" != ""'
        self.assertEqual(
            self.fails(kv("lock", "l", session=S2), kv("check-session", "l"), kv("unlock", "l", session=S2)),
            [
                (0, 'failed to lock key "l", lock is already held'),
                (1, held),
                (2, 'failed to unlock key "l", lock isn\'t held, or is held by another session'),
            ],
        )
        self.replica.txn(kv("unlock", "l", b"3", session=S1), kv("lock", "l", b"4", session=S2))
        self.assertEqual(self.replica.store.kv.held_by(S2), ["l"])

    def test_a_session_ends_on_the_way(self) -> None:
        """A check that becomes critical takes its sessions and their locks along, in the rehearsal too."""
        self.replica.kv("lock", "l", b"1", session=S1)
        found = self.fails(
            kv("check-session", "l", session=S1),
            check("set", "n1", "c", status="critical"),
            kv("check-session", "l", session=S1),
            kv("lock", "other", session=S1),
            kv("lock", "l", session=S2),
        )
        self.assertEqual(
            found,
            [
                (2, f'failed session check for key "l", current session "" != "{S1}"'),
                (3, f'invalid session "{S1}"'),
            ],
        )
        self.assertIsNone(
            self.replica.txn(check("set", "n1", "c", status="critical"), kv("lock", "l", session=S2)).errors
        )
        self.assertEqual(self.replica.store.kv.held_by(S2), ["l"])

    def test_a_node_goes_on_the_way(self) -> None:
        """With a session that deletes what it held."""
        self.replica.register("n2")
        session = S1[:-1] + "9"
        self.replica.create(session, "n2", behavior="delete")
        self.replica.kv("lock", "l", b"1", session=session)
        done = self.replica.txn(node("delete", "N2"), kv("check-not-exists", "l"), kv("set", "l", b"2"))
        self.assertIsNone(done.errors)
        self.assertFalse(self.replica.store.sessions.exists(session))

    def test_holders_from_elsewhere(self) -> None:
        """A lock of a session whose node the transaction does not name is known to the rehearsal."""
        self.replica.kv("lock", "l", b"1", session=S2)
        self.assertEqual(
            self.fails(kv("set", "x", b""), kv("lock", "l", session=S1)),
            [(1, 'failed to lock key "l", lock is already held')],
        )


class CatalogTests(TxnTestCase):
    def test_rows(self) -> None:
        """Set and get of each kind; what is set is seen by what follows."""
        done = self.replica.txn(
            node("set", "n1", id=ID1, meta={"k": "v"}),
            service("set", "N1", "web", port=80),
            check("set", "n1", "c", status="passing", service_id="web", name="c"),
            node("get", "", id=ID1.upper()), service("get", "n1", "WEB"), check("get", "n1", "C"),
        )  # fmt: skip
        assert done.results is not None
        first, again = done.results[:3], done.results[3:]
        self.assertEqual(first, again)
        row, web, told = first[0].node, first[1].service, first[2].check
        assert row is not None and web is not None and told is not None
        self.assertEqual((row.id, row.meta, row.create_index, row.modify_index), (ID1, {"k": "v"}, 6, 6))
        self.assertEqual((web.port, web.modify_index), (80, 6))
        self.assertEqual((told.service_name, told.status, told.modify_index), ("web", "passing", 6))
        self.assertEqual((web.tags, told.service_tags), (None, None))
        group = self.replica.store.catalog.group("web")
        assert group is not None
        self.assertEqual([row.node.node for row in group.health()], ["n1"])

    def test_tags(self) -> None:
        """Results show the tags that there are, and null for none; the rows themselves have a list."""
        for tags, shown in (["x"], ["x"]), ([], None):
            done = self.replica.txn(node("set", "n1"), service("set", "n1", "web", tags=tags))
            assert done.results is not None and done.results[1].service is not None
            self.assertEqual(done.results[1].service.tags, shown)
            row = self.replica.store.catalog.service_of("n1", "web")
            assert row is not None
            self.assertEqual(row.tags, tags)

    def test_cas(self) -> None:
        """Rows are replaced only at the index given; 0 stands for what is not there."""
        self.replica.register("n1", service={"service": "web"}, checks=[{"check_id": "c"}])
        for op in (
            node("cas", "n1", 1), service("cas", "n1", "web", 1), check("cas", "n1", "c", 1),
            node("cas", "n2", 1), service("cas", "n1", "db", 1), check("cas", "n1", "d", 1),
        ):  # fmt: skip
            ((place, text),) = self.fails(op)
            self.assertEqual((place, text[-16:]), (0, ", index is stale"), op)
        self.assertEqual(
            self.fails(node("cas", "n1", id=ID1)), [(0, 'failed to set node "n1", index is stale')]
        )
        done = self.replica.txn(
            node("cas", "n1", 6, address="192.0.2.9"), service("cas", "n1", "web", 6, port=8),
            check("cas", "n1", "c", 6, output="x"),
            node("cas", "n2"), service("cas", "n2", "db"), check("cas", "n2", "d"),
        )  # fmt: skip
        self.assertIsNone(done.errors)
        self.assertEqual(len(done.results or ()), 6)
        found = self.replica.store.catalog.service_of("n1", "web")
        assert found is not None
        self.assertEqual((found.port, found.create_index, found.modify_index), (8, 6, self.replica.index))

    def test_deletions(self) -> None:
        """Of what is there and what is not; with cas only at the index given."""
        self.replica.register("n1", service={"service": "web"}, checks=[{"check_id": "c"}, {"check_id": "d"}])
        self.replica.register("n2")
        self.assertEqual(
            self.fails(
                node("delete-cas", "n1", 9), node("delete-cas", "n9"), service("delete-cas", "n1", "web", 9),
                service("delete-cas", "n9", "web"), check("delete-cas", "n1", "c", 9),
                check("delete-cas", "n1", "e"),
            ),
            [
                (0, 'failed to delete node "n1", index is stale'),
                (1, 'failed to delete node "n9", index is stale'),
                (2, 'failed to delete service "web" on node "n1", index is stale'),
                (3, 'failed to delete service "web" on node "n9", index is stale'),
                (4, 'failed to delete check "c" on node "n1", index is stale'),
                (5, 'failed to delete check "e" on node "n1", index is stale'),
            ],
        )  # fmt: skip
        done = self.replica.txn(
            check("delete-cas", "n1", "c", 6), check("delete", "n1", "d"), check("delete", "n1", "none"),
            service("delete-cas", "n1", "web", 6), service("delete", "n1", "none"),
            service("delete", "n9", "none"), node("delete-cas", "n2", 7), node("delete", "n9"),
        )  # fmt: skip
        self.assertEqual(done, TxnResponse(results=[]))
        self.assertEqual([row.node for row in self.replica.store.catalog.nodes()], ["n1"])
        self.assertEqual(self.replica.store.catalog.node_checks("n1")[1], [])
        self.assertEqual(self.replica.store.catalog.node_services("n1")[2], [])

    def test_errors(self) -> None:
        """What is missing, in Consul's words."""
        self.replica.register("taken", id=ID1, checks=[{"check_id": "serfHealth", "status": "passing"}])
        self.assertEqual(
            self.fails(
                node("set", "n1"), service("set", "n9", "web"), service("set", "n1", "", service=""),
                check("set", "n9", "c"), check("set", "n1", ""), check("set", "n1", "c", service_id="none"),
                node("get", "n9"), node("get", "taken", id=ID2), service("get", "n1", "web"),
                check("get", "n1", "c"), node("fly", "n1"), service("fly", "n1", "web"),
                check("fly", "n1", "c"), node("set", "taken", id=ID2, address="192.0.2.8"),
            ),
            [
                (1, "Missing node registration"),
                (2, "failed inserting service: object missing primary index"),
                (3, "Missing node registration"),
                (4, "failed inserting check: object missing primary index"),
                (5, "Missing service registration"),
                (6, 'node "n9" doesn\'t exist'),
                (7, 'node "taken" doesn\'t exist'),
                (8, 'service "web" on node "n1" doesn\'t exist'),
                (9, 'check "c" on node "n1" doesn\'t exist'),
                (10, 'unknown Node verb "fly"'),
                (11, 'unknown Service verb "fly"'),
                (12, 'unknown Check verb "fly"'),
                (
                    13,
                    f'Error while renaming Node ID: "{ID2}": Node name taken is reserved by node {ID1} with '
                    "name taken (192.0.2.1)",
                ),
            ],
        )  # fmt: skip

    def test_a_node_gets_another_name(self) -> None:
        """What goes by the old name goes with it, as the rehearsal knows."""
        self.replica.register("old", id=ID1, service={"service": "web"})
        self.assertEqual(
            self.fails(node("set", "new", id=ID1), service("get", "old", "web")),
            [(1, 'service "web" on node "old" doesn\'t exist')],
        )
        done = self.replica.txn(node("set", "new", id=ID1), node("get", "new"))
        assert done.results is not None
        self.assertEqual([result.node and result.node.create_index for result in done.results], [6, 6])
        self.assertEqual([row.node for row in self.replica.store.catalog.nodes()], ["new"])


class EncodingTests(SynchronousTestCase):
    def test_operations(self) -> None:
        """What is written is canonical, what is only looked up is left as it is; the first kind counts."""
        ops = commands.operations(
            [
                TxnOp(
                    kv=TxnKVOp(
                        verb="lock", dir_ent=DirEntry(key="k", value=b"", session=S1.upper(), modify_index=4)
                    ),
                    node=TxnNodeOp(),
                ),
                TxnOp(),
                TxnOp(node=TxnNodeOp(verb="set", node=Node(node="n", address="x"))),
                TxnOp(
                    service=TxnServiceOp(verb="set", node="n", service=NodeService(service="s", tags=None))
                ),
                TxnOp(service=TxnServiceOp(verb="get", node="n", service=NodeService(service="s"))),
                TxnOp(check=TxnCheckOp(verb="cas", check=HealthCheck(name="c"))),
                TxnOp(check=TxnCheckOp(verb="get", check=HealthCheck(name="c"))),
                TxnOp(
                    check=TxnCheckOp(
                        verb="set",
                        check=HealthCheck(name="c", definition=CheckDefinition(http="a", interval="1s")),
                    )
                ),
            ]
        )
        self.assertEqual(ops[0], KVOp("lock", "k", None, 0, 4, S1))
        self.assertIsNone(ops[1])
        self.assertEqual(ops[2], NodeOp("set", Node(node="n", address="x")))
        assert isinstance(ops[3], ServiceOp) and isinstance(ops[4], ServiceOp)
        self.assertEqual((ops[3].row.id, ops[3].row.tags, ops[4].row.id), ("s", [], ""))
        assert isinstance(ops[5], CheckOp) and isinstance(ops[6], CheckOp)
        self.assertEqual((ops[5].row.check_id, ops[5].row.status, ops[6].row.check_id), ("c", "critical", ""))
        assert isinstance(ops[7], CheckOp)
        self.assertEqual(ops[7].row.type, "")  # only a registration concludes it
        self.assertEqual(commands.encode_txn(ops)[0], 8)

    def test_bad_duration(self) -> None:
        """A definition that cannot be read is refused before it is logged."""
        bad = HealthCheck(name="c", definition=CheckDefinition(timeout="5"))
        op = TxnOp(check=TxnCheckOp(verb="set", check=bad))
        error = self.assertRaises(BadRequest, commands.operations, [op])
        self.assertEqual(str(error), 'Failed to parse body: time: missing unit in duration "5"')


KEYS = ("a", "b", "p/1", "p/2")
NAMES = ("n1", "n2", "N3")
VERBS = (
    "set", "cas", "lock", "unlock", "get", "get-tree", "check-index", "check-session", "check-not-exists",
    "delete", "delete-tree", "delete-cas",
)  # fmt: skip
ROW_VERBS = ("set", "cas", "get", "delete", "delete-cas")
INDEXES = st.integers(0, 6)
OPS: st.SearchStrategy[Op] = st.one_of(
    st.builds(
        kv, st.sampled_from(VERBS), st.sampled_from(KEYS), st.sampled_from((b"1", None)), INDEXES,
        st.sampled_from(("", S1, S2)),
    ),
    st.builds(
        node, st.sampled_from(ROW_VERBS), st.sampled_from(NAMES), INDEXES, id=st.sampled_from(("", ID1))
    ),
    st.builds(
        service, st.sampled_from(ROW_VERBS), st.sampled_from(NAMES), st.sampled_from(("s", "t")), INDEXES
    ),
    st.builds(
        check, st.sampled_from(ROW_VERBS), st.sampled_from(NAMES), st.sampled_from(("c", "d")), INDEXES,
        status=st.sampled_from(("passing", "critical")), service_id=st.sampled_from(("", "s")),
    ),
)  # fmt: skip


def started() -> Replica:
    """A store in which there is a little of everything."""
    replica = Replica()
    replica.register("n1", id=ID1, service={"service": "s"}, checks=[{"check_id": "c", "status": "passing"}])
    replica.create(S1, node_checks=["c"])
    replica.register("n2")
    replica.create(S2, "n2", behavior="delete")
    replica.kv("lock", "a", b"1", session=S1)
    replica.kv("lock", "p/1", b"1", session=S2)
    return replica


class AtomicityTests(SynchronousTestCase):
    @settings(max_examples=250, deadline=None)
    @given(st.lists(st.lists(OPS, min_size=1, max_size=6), max_size=4))
    def test_against_single_steps(self, transactions: list[list[Op]]) -> None:
        """Each transaction does what its operations do one after another on a whole copy, or nothing."""
        replica, plain = started(), started()
        for ops in transactions:
            response = replica.txn(*ops)
            expected = started_like(plain)
            index = expected.index = replica.index
            expected.store.index = index
            steps = Transactions(expected.store)
            faults = [(place, steps._run(index, op, [])) for place, op in enumerate(ops)]
            wanted = [TxnError(place, fault) for place, fault in faults if fault is not None]
            self.assertEqual(response.errors or [], wanted)
            if not wanted:
                plain.log.append((index, commands.encode_txn([*ops])))
            plain.index = index
            after, before = (
                replica.store.snapshot(),
                (started_like(plain) if wanted else expected).store.snapshot(),
            )
            self.assertEqual(
                (after.kv, after.catalog, after.sessions), (before.kv, before.catalog, before.sessions)
            )


def started_like(replica: Replica) -> Replica:
    """Another store that got the same commands at the same indexes, one operation at a time."""
    copy = Replica()
    for index, command in replica.log:
        copy.fsm.apply(index, command)
    copy.log = [*replica.log]
    return copy
