"""The key/value table against a naive model, and what every command must keep true."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import PyconsulError
from pyconsul.state import commands, entries
from tests.state.replica import Replica, Waiter

KEYS = ["a", "a/", "a/b", "a/b/c", "a/c", "ab", "b"]
PREFIXES = ["", "a", "a/", "a/b", "a/b/", "b", "c"]
SESSIONS = ["11111111-2222-3333-4444-555555555551", "11111111-2222-3333-4444-555555555552"]
GONE = "11111111-2222-3333-4444-555555555553"

OPERATIONS = st.tuples(
    st.sampled_from([*commands.KV_OPS, "set", "collect"]),
    st.sampled_from(KEYS),
    st.sampled_from([b"", b"1", b"2"]),
    st.sampled_from([0, 7]),
    st.sampled_from([*SESSIONS, GONE, ""]),
    st.sampled_from(["right", "zero", "wrong"]),
)


class Model:
    """Entries as plain dicts; whatever is asked is computed by looking at all of them."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def put(self, index: int, key: str, **fields: Any) -> None:
        old = self.rows.get(key)
        row = {"flags": 0, "value": None, "session": "", "lock_index": 0, **(old or {}), **fields}
        if old is None:
            row["create_index"] = index
        if old is None or row != old:
            row["modify_index"] = index
        self.rows[key] = row

    def apply(
        self, index: int, op: str, key: str, value: bytes | None, flags: int, session: str, cas: int
    ) -> Any:
        row = self.rows.get(key)
        modified = row["modify_index"] if row else 0
        if op == "set" or (op == "cas" and modified == cas):
            self.put(index, key, value=value, flags=flags, lock_index=0)
            return True
        if op == "delete" or (op == "delete-cas" and (row is None or modified == cas)):
            self.rows.pop(key, None)
            return True
        if op == "delete-tree":
            self.rows = {name: row for name, row in self.rows.items() if not name.startswith(key)}
            return True
        if op in ("lock", "unlock"):
            return self.lock(index, op, key, value, flags, session)
        return False

    def lock(self, index: int, op: str, key: str, value: bytes | None, flags: int, session: str) -> Any:
        row = self.rows.get(key)
        holder = row["session"] if row else ""
        if not session or (op == "lock" and session not in SESSIONS):
            return "refused"
        if op == "unlock":
            if holder != session:
                return False
            self.put(index, key, value=value, flags=flags, session="")
            return True
        if holder not in ("", session):
            return False
        count = (row["lock_index"] if row else 0) + (holder == "")
        self.put(index, key, value=value, flags=flags, session=session, lock_index=count)
        return True


def shown(row: Any) -> dict[str, Any]:
    """A row as the model has it."""
    return {
        "flags": row.flags,
        "value": row.value,
        "session": row.session or "",
        "lock_index": row.lock_index,
        "create_index": row.create_index,
        "modify_index": row.modify_index,
    }


class ModelTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(entries, "ROWS_MAX", 2)
        self.patch(entries, "STRETCH_ROWS_MIN", 1)

    @settings(max_examples=150, deadline=None)
    @given(st.lists(OPERATIONS, max_size=30))
    def test_against_model(self, operations: list[tuple[str, str, bytes, int, str, str]]) -> None:
        """Results, entries, lists, indexes and wake-ups agree with what the model says."""
        replica = Replica()
        replica.store.kv.session_exists = SESSIONS.__contains__
        model = Model()
        for op, key, value, flags, session, mode in operations:
            before = self.views(replica)
            waiters = {watch: replica.wait(watch) for watch in before}
            modified = model.rows[key]["modify_index"] if key in model.rows else 0
            cas = {"right": modified, "zero": 0, "wrong": 10_000}[mode]
            if op == "collect":
                replica.apply(commands.encode_collect_graves(replica.index))
            else:
                result = replica.kv(op, key, value, flags=flags, session=session, cas=cas)
                expected = model.apply(replica.index, op, key, value or None, flags, session, cas)
                self.assertEqual("refused" if isinstance(result, PyconsulError) else result, expected)
            self.check(replica, model, before, waiters)

    def views(self, replica: Replica) -> dict[Any, tuple[int, Any]]:
        kv = replica.store.kv
        views: dict[Any, tuple[int, Any]] = {("kv", key): kv.get(key) for key in KEYS}
        for prefix in PREFIXES:
            views["kvp", prefix] = kv.under(prefix)
            index, rows = kv.listing(prefix)
            self.assertEqual((index, [*rows]), views["kvp", prefix])
        return views

    def check(
        self, replica: Replica, model: Model, before: dict[Any, tuple[int, Any]], waiters: dict[Any, Waiter]
    ) -> None:
        after = self.views(replica)
        for watch, (index, found) in after.items():
            index_before, found_before = before[watch]
            self.assertGreaterEqual(index, index_before, watch)
            self.assertEqual(found != found_before, bool(waiters[watch].woken), watch)
            if waiters[watch].woken:
                self.assertEqual((index, waiters[watch].woken), (replica.index, 1), watch)
            replica.store.watches.cancel((watch,), waiters[watch])
        self.assertEqual(len(replica.store.watches), 0)
        for prefix in PREFIXES:
            rows = after["kvp", prefix][1]
            names = sorted(name for name in model.rows if name.startswith(prefix))
            self.assertEqual([row.key for row in rows], names)
            self.assertEqual([shown(row) for row in rows], [model.rows[name] for name in names])
        for session in SESSIONS:
            held = {name for name, row in model.rows.items() if row["session"] == session}
            self.assertEqual(set(replica.store.kv.held_by(session)), held)
