"""The key/value table, rule by rule (specs of the HTTP surface, section 2)."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.state import commands, kv
from pyconsul.state.entries import Entries
from pyconsul.state.kv import KVSnapshot, KVTable, after_prefix
from pyconsul.state.watches import Watches
from tests.state.replica import Replica, refusal

S1 = "11111111-2222-3333-4444-555555555551"
S2 = "11111111-2222-3333-4444-555555555552"


def packed(entries: Entries) -> Entries:
    """The same as they come out of a snapshot."""
    found = Entries()
    for _, part in entries.parts():
        found.add(part)
    return found


class KVTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.replica = Replica()
        self.kv = self.replica.store.kv
        self.kv.session_exists = lambda session: session in (S1, S2)

    def do(self, op: str, key: str, value: bytes | None = None, **more: Any) -> Any:
        return self.replica.kv(op, key, value, **more)

    def row(self, key: str) -> Any:
        row = self.kv.get(key)[1]
        assert row is not None
        return row


class WriteTests(KVTestCase):
    def test_set_and_get(self) -> None:
        """A new entry has both indexes; its index is the one to wait on."""
        self.assertIs(self.do("set", "a", b"x", flags=2**64 - 1), True)
        index, row = self.kv.get("a")
        self.assertEqual(index, 1)
        assert row is not None
        self.assertEqual(
            (row.key, row.value, row.flags, row.lock_index, row.session, row.create_index, row.modify_index),
            ("a", b"x", 2**64 - 1, 0, UNSET, 1, 1),
        )

    def test_overwrite(self) -> None:
        """Creation stays, modification moves; flags are replaced too."""
        self.do("set", "a", b"x", flags=1)
        self.do("set", "a", b"y")
        row = self.row("a")
        self.assertEqual((row.value, row.flags, row.create_index, row.modify_index), (b"y", 0, 1, 2))
        self.do("set", "a", b"y", flags=5)
        self.assertEqual((self.row("a").flags, self.row("a").modify_index), (5, 3))

    def test_identical(self) -> None:
        """Writing what is there moves no index and wakes nobody."""
        self.do("set", "a", b"x", flags=1)
        waiter = self.replica.wait(("kv", "a"), ("kvp", ""))
        row = self.row("a")
        self.assertIs(self.do("set", "a", b"x", flags=1), True)
        self.assertIs(self.row("a"), row)
        self.assertEqual((self.kv.under("")[0], waiter.woken), (1, 0))

    def test_empty_value(self) -> None:
        """An empty value is none, and writing one is the same as the other."""
        self.do("set", "a", b"")
        self.assertIsNone(self.row("a").value)
        self.do("set", "a", None)
        self.assertEqual(self.row("a").modify_index, 1)
        self.do("set", "a", b"x")
        self.do("set", "a", b"")
        self.assertEqual((self.row("a").value, self.row("a").modify_index), (None, 4))

    def test_cas(self) -> None:
        """0 creates; otherwise the index must be that of the entry."""
        self.assertIs(self.do("cas", "a", b"1", cas=7), False)
        self.assertIs(self.do("cas", "a", b"1", cas=0), True)
        self.assertIs(self.do("cas", "a", b"2", cas=0), False)
        self.assertIs(self.do("cas", "a", b"2", cas=1), False)
        self.assertIs(self.do("cas", "a", b"2", cas=2), True)
        self.assertEqual((self.row("a").value, self.row("a").modify_index), (b"2", 5))
        self.assertIs(self.do("cas", "a", b"2", cas=5), True)
        self.assertEqual(self.row("a").modify_index, 5)

    def test_delete(self) -> None:
        """Deleting is always done, also where there is nothing."""
        self.do("set", "a", b"1")
        self.assertIs(self.do("delete", "a"), True)
        self.assertEqual(self.kv.get("a"), (2, None))
        self.assertIs(self.do("delete", "a"), True)
        self.assertEqual(self.kv.get("a"), (2, None))
        self.assertEqual(len(self.kv), 0)

    def test_delete_cas(self) -> None:
        """The index must be that of the entry; a missing entry counts as deleted."""
        self.do("set", "a", b"1")
        self.assertIs(self.do("delete-cas", "a", cas=0), False)
        self.assertIs(self.do("delete-cas", "a", cas=9), False)
        self.assertIs(self.do("delete-cas", "a", cas=1), True)
        self.assertIs(self.do("delete-cas", "a", cas=1), True)
        self.assertIsNone(self.kv.get("a")[1])

    def test_delete_tree(self) -> None:
        """Exactly the keys under the prefix go."""
        for key in ("a", "a/1", "a/2", "ab", "b"):
            self.do("set", key, b"1")
        self.assertIs(self.do("delete-tree", "a/"), True)
        self.assertEqual(self.kv.names("", "")[1], ["a", "ab", "b"])
        self.assertIs(self.do("delete-tree", ""), True)
        self.assertEqual((self.kv.names("", "")[1], len(self.kv)), ([], 0))
        self.do("set", "a", b"2")
        self.assertEqual(self.kv.names("", "")[1], ["a"])

    def test_unknown_operation(self) -> None:
        """A log that holds an operation of the future is refused by all alike."""
        command = commands.encode(commands.KVS, commands.KVCommand(99, "a"))
        self.assertEqual(refusal(self.replica.apply(command)), "unknown operation 99 on the key/value table")

    def test_key_objects_are_shared(self) -> None:
        """An overwritten row keeps the key's text of the first, so that it is stored once."""
        self.do("set", "some/key", b"1")
        first = self.row("some/key").key
        self.do("set", "some/key", b"2")
        self.assertIs(self.row("some/key").key, first)


class LockTests(KVTestCase):
    def test_acquire_and_release(self) -> None:
        """Acquiring counts and names the holder; releasing keeps the count and writes the value."""
        self.assertIs(self.do("lock", "l", b"held", session=S1), True)
        self.assertEqual((self.row("l").lock_index, self.row("l").session), (1, S1))
        self.assertIs(self.do("unlock", "l", b"done", session=S1, flags=3), True)
        row = self.row("l")
        self.assertEqual(
            (row.lock_index, row.session, row.value, row.flags, row.modify_index), (1, UNSET, b"done", 3, 2)
        )
        self.assertIs(self.do("lock", "l", b"mine", session=S2), True)
        self.assertEqual((self.row("l").lock_index, self.row("l").session), (2, S2))

    def test_held(self) -> None:
        """Nobody else can acquire or release; the holder may acquire again."""
        self.do("lock", "l", b"1", session=S1)
        self.assertIs(self.do("lock", "l", b"2", session=S2), False)
        self.assertIs(self.do("unlock", "l", b"2", session=S2), False)
        self.assertEqual(self.row("l").value, b"1")
        self.assertIs(self.do("lock", "l", b"1", session=S1), True)
        self.assertEqual((self.row("l").lock_index, self.row("l").modify_index), (1, 1))
        self.assertIs(self.do("lock", "l", b"3", session=S1), True)
        self.assertEqual((self.row("l").lock_index, self.row("l").modify_index), (1, 5))

    def test_release_what_is_not_held(self) -> None:
        """A free key and a missing key cannot be released."""
        self.assertIs(self.do("unlock", "l", b"1", session=S1), False)
        self.do("set", "l", b"1")
        self.assertIs(self.do("unlock", "l", b"1", session=S1), False)

    def test_advisory(self) -> None:
        """A plain write leaves the lock as it is; its count starts again, as with Consul 1.8.7."""
        self.do("lock", "l", b"1", session=S1)
        self.do("set", "l", b"1")
        row = self.row("l")
        self.assertEqual((row.lock_index, row.session, row.value, row.modify_index), (0, S1, b"1", 2))
        self.assertIs(self.do("cas", "l", b"3", cas=2), True)
        self.assertEqual((self.row("l").lock_index, self.row("l").session), (0, S1))
        self.assertIs(self.do("unlock", "l", b"3", session=S1), True)
        self.assertIs(self.do("lock", "l", b"3", session=S2), True)
        self.assertEqual((self.row("l").lock_index, self.row("l").session), (1, S2))

    def test_refusals(self) -> None:
        """Sessions that do not exist or are no UUID, in Consul's words."""
        unknown = S1[:-1] + "9"
        self.assertEqual(refusal(self.do("lock", "l", session="")), "missing session")
        self.assertEqual(refusal(self.do("unlock", "l", session="")), "missing session")
        self.assertEqual(refusal(self.do("lock", "l", session=unknown)), f'invalid session "{unknown}"')
        self.assertEqual(
            refusal(self.do("lock", "l", session="abc")),
            "failed session lookup: index error: UUID must be 36 characters",
        )
        self.assertEqual(
            refusal(self.do("lock", "l", session="z" * 8 + S1[8:])),
            "failed session lookup: index error: Invalid UUID: encoding/hex: invalid byte: U+007A 'z'",
        )
        self.assertEqual(
            refusal(self.do("lock", "l", session="1" * 36)),
            "failed session lookup: index error: Invalid UUID: uuid is improperly formatted",
        )
        self.assertIsNone(self.kv.get("l")[1])

    def test_no_sessions_yet(self) -> None:
        """Without a session table no session exists."""
        table = KVTable(Watches())
        self.assertEqual(refusal(table.lock(1, "l", b"", 0, S1)), f'invalid session "{S1}"')

    def test_session_ends(self) -> None:
        """Keys of an ended session are let go or deleted; others stay."""
        for key, session in (("a", S1), ("b", S1), ("c", S2)):
            self.do("lock", key, b"1", session=session)
        waiter = self.replica.wait(("kv", "a"))
        self.assertEqual(self.kv.release(9, S1, delete=False), ["a", "b"])
        self.replica.store.watches.fire()
        row = self.row("a")
        self.assertEqual((row.session, row.lock_index, row.modify_index, row.value), (UNSET, 1, 9, b"1"))
        self.assertEqual((self.kv.held_by(S1), self.kv.held_by(S2), waiter.woken), ([], ["c"], 1))
        self.assertEqual(self.kv.release(10, S2, delete=True), ["c"])
        self.assertEqual(self.kv.get("c"), (10, None))
        self.assertEqual(self.kv.release(11, S2, delete=True), [])

    def test_sessions_end_in_the_order_of_keys(self) -> None:
        """Whatever order they were locked in, so that a restored server does the same."""
        for key in ("b", "c", "a"):
            self.do("lock", key, b"1", session=S1)
        self.assertEqual(self.kv.release(9, S1, delete=True), ["a", "b", "c"])

    def test_held_keys_follow(self) -> None:
        """Whatever ends a hold is seen: release, deletion of the key, of its prefix."""
        for key in ("a", "b/1", "b/2"):
            self.do("lock", key, b"1", session=S1)
        self.do("unlock", "a", b"1", session=S1)
        self.assertEqual(self.kv.held_by(S1), ["b/1", "b/2"])
        self.do("delete", "b/1")
        self.do("delete-tree", "b/")
        self.assertEqual(self.kv.held_by(S1), [])


class ListTests(KVTestCase):
    def test_separator(self) -> None:
        """Names are cut after the first separator behind the prefix and shown once."""
        for key in ("sep/a/x", "sep/a/y", "sep/a", "sep/ab", "sep/b/"):
            self.do("set", key, b"1")
        for prefix, separator, names in (
            ("sep/", "/", ["sep/a", "sep/a/", "sep/ab", "sep/b/"]),
            ("sep", "/", ["sep/"]),
            ("sep/a", "/", ["sep/a", "sep/a/", "sep/ab"]),
            ("sep/a/", "/", ["sep/a/x", "sep/a/y"]),
            ("sep/", "", ["sep/a", "sep/a/x", "sep/a/y", "sep/ab", "sep/b/"]),
            ("sep/", "ab", ["sep/a", "sep/a/x", "sep/a/y", "sep/ab", "sep/b/"]),
            ("sep/b/", "/", ["sep/b/"]),
            ("sep/", "a", ["sep/a", "sep/b/"]),
            ("none", "/", []),
        ):
            self.assertEqual(self.kv.names(prefix, separator)[1], names, (prefix, separator))

    def test_order_is_that_of_utf8(self) -> None:
        """Keys sort as their bytes do."""
        keys = [
            "b",
            "a",
            "\u2603",
            "\U0001f600",
            "z",
            "\u00e9",
            "a/",
            "a\uffff",
            "a\U0010ffff",
            "a\U0010ffffb",
        ]
        for key in keys:
            self.do("set", key, b"1")
        self.assertEqual(self.kv.names("", "")[1], sorted(keys, key=lambda key: key.encode()))
        self.assertEqual(self.kv.names("a\U0010ffff", "")[1], ["a\U0010ffff", "a\U0010ffffb"])
        self.assertEqual(len(self.kv.names("a", "")[1]), 5)

    def test_after_prefix(self) -> None:
        """The end of a prefix's range; nothing lies behind the last of all."""
        self.assertEqual(after_prefix("ab"), "ac")
        self.assertEqual(after_prefix("a\U0010ffff"), "b")
        self.assertIsNone(after_prefix(""))
        self.assertIsNone(after_prefix("\U0010ffff"))


class IndexTests(KVTestCase):
    def test_missing_key(self) -> None:
        """A key that never was has no index, whatever its neighbours do."""
        self.assertEqual(self.kv.get("a/none"), (0, None))
        self.do("set", "a/1", b"1")
        self.do("delete", "a/1")
        self.assertEqual(self.kv.get("a/none"), (0, None))
        self.assertEqual(self.kv.get("a/1"), (2, None))

    def test_prefix_grows_with_deletions(self) -> None:
        """A deletion is newer than all that is left; other prefixes do not notice."""
        for key in ("a/1", "a/2", "b/1"):
            self.do("set", key, b"1")
        self.assertEqual([self.kv.under(prefix)[0] for prefix in ("a/", "b/", "", "c")], [2, 3, 3, 0])
        self.do("delete", "a/2")
        self.assertEqual([self.kv.under(prefix)[0] for prefix in ("a/", "b/", "", "c")], [4, 3, 4, 0])
        self.assertEqual(self.kv.names("a/", "/")[0], 4)

    def test_tree_deletion(self) -> None:
        """One grave for a prefix counts for what lies under it and for what it lies under."""
        for key in ("a/b/1", "a/b/2", "a/c", "d"):
            self.do("set", key, b"1")
        self.do("delete-tree", "a/b")
        for prefix, index in (
            ("a/b/1/x", 5),
            ("a/b/", 5),
            ("a/b", 5),
            ("a/", 5),
            ("", 5),
            ("a/c", 3),
            ("d", 4),
        ):
            self.assertEqual(self.kv.under(prefix)[0], index, prefix)
        self.assertEqual(self.kv.get("a/b/1"), (5, None))
        self.assertEqual(self.kv.get("a/bx"), (5, None))
        self.assertEqual(self.kv.get("a/x"), (0, None))
        self.do("delete-tree", "a/b")
        self.assertEqual(self.kv.get("a/b/1"), (5, None))
        self.do("set", "a/b/1", b"1")
        self.do("delete-tree", "a/b")
        self.assertEqual(self.kv.get("a/b/2"), (8, None))

    def test_created_again(self) -> None:
        """A key that comes back is new, and its grave is given up."""
        self.do("set", "a", b"1")
        self.do("delete", "a")
        self.do("set", "a", b"1")
        self.assertEqual((self.row("a").create_index, self.kv.under("")[0]), (3, 3))
        self.assertEqual(self.kv.snapshot().graves, {})

    def test_collecting_graves(self) -> None:
        """Collected graves count for everything that is missing; no index falls."""
        for key in ("a", "b", "c/1", "d"):
            self.do("set", key, b"1")
        self.do("delete", "a")
        self.do("delete-tree", "c/")
        self.do("delete", "b")
        self.replica.apply(commands.encode_collect_graves(6))
        snapshot = self.kv.snapshot()
        self.assertEqual((snapshot.graves, snapshot.trees, snapshot.floor), ({"b": 7}, {}, 6))
        self.assertEqual([self.kv.get(key)[0] for key in ("a", "b", "c/1", "d", "x")], [6, 7, 6, 4, 6])
        self.assertEqual(
            [self.kv.under(key)[0] for key in ("a", "b", "c/", "d", "x", "")], [6, 7, 6, 6, 6, 7]
        )
        self.replica.apply(commands.encode_collect_graves(3))
        self.assertEqual(self.kv.snapshot().floor, 6)

    def test_graves_are_bounded(self) -> None:
        """When there are too many, the oldest are collected, on all servers alike."""
        self.patch(kv, "GRAVES_MAX", 4)
        self.patch(kv, "GRAVES_COLLECTED", 2)
        for number in range(5):
            self.do("set", f"k{number}", b"1")
            self.do("delete", f"k{number}")
        self.assertEqual(self.kv.snapshot().graves, {"k2": 6, "k3": 8, "k4": 10})
        self.assertEqual(self.kv.snapshot().floor, 4)
        for number in range(5):
            self.do("set", f"t{number}/x", b"1")
            self.do("delete-tree", f"t{number}/")
        self.assertEqual([*self.kv.snapshot().trees], ["t2/", "t3/", "t4/"])
        self.assertEqual(self.kv.snapshot().floor, 14)

    def test_many_trees(self) -> None:
        """A key under few of many deleted prefixes finds the newest."""
        for number in range(30):
            self.do("set", f"{number:02d}/x", b"1")
        for number in range(30):
            self.do("delete-tree", f"{number:02d}/")
        self.assertEqual(self.kv.get("07/q")[0], 38)
        self.assertEqual(self.kv.get("7")[0], 0)


class SnapshotTests(KVTestCase):
    def test_goes_on(self) -> None:
        """A table that was restored knows who holds what, in whatever form the rows came."""
        for number in range(50):
            self.do("set", f"k{number:02d}", b"v")
        for key in ("k41", "k03"):
            self.kv.lock(60, key, b"", 0, S1)
        snapshot = self.kv.snapshot()
        other = KVTable(Watches())
        discarded: list[int] = []
        other.discard = lambda gone: discarded.append(len(gone))
        for found in (snapshot, KVSnapshot(packed(snapshot.entries), {}, {}, 0)):
            other.restore(found)
            self.assertEqual(other.snapshot(), snapshot)
            self.assertEqual(other.held_by(S1), ["k03", "k41"])
        self.assertEqual(other.names("", "")[1], [f"k{number:02d}" for number in range(50)])
        self.assertEqual(discarded, [0, 50])

    def test_is_not_changed(self) -> None:
        """Neither by the table that it was taken of nor by the one that it was restored to."""
        self.do("set", "a", b"1")
        snapshot = self.kv.snapshot()
        before = [*snapshot.entries]
        other = KVTable(Watches())
        other.restore(snapshot)
        for table in (self.kv, other):
            table.set(9, "a", b"2", 0)
            table.set(9, "b", b"2", 0)
            table.delete_tree(10, "")
            self.assertEqual([*snapshot.entries], before)


class TreeTests(KVTestCase):
    """Deleting many keys at once takes other ways than deleting a few."""

    def test_locks(self) -> None:
        """Locks under the prefix are gone, others stay."""
        for key in ("a/1", "a/2", "a/3", "b/1"):
            self.do("set", key)
        self.kv.lock(10, "a/1", b"", 0, S1)
        self.kv.lock(11, "b/1", b"", 0, S1)
        self.kv.lock(12, "a/2", b"", 0, S2)
        self.do("delete-tree", "a/")
        self.assertEqual((self.kv.held_by(S1), self.kv.held_by(S2)), (["b/1"], []))
        self.do("delete-tree", "b/1")
        self.assertEqual(self.kv.held_by(S1), [])

    def test_watches(self) -> None:
        """Whoever reads what goes is woken once; more keys go than are watched, or fewer."""
        concerned = [("kv", "a/1"), ("kvp", "a/"), ("kvp", "a/1"), ("kvp", "")]
        others = [("kv", "a/none"), ("kv", "b"), ("kvp", "a/x"), ("kvp", "b"), ("kvp", "a/11")]
        for count in (2, 30):
            self.do("set", "b", b"1")
            for number in range(count):
                self.do("set", f"a/{number % 10}{'0' * (number // 10)}", b"1")
            self.do("set", "a/1", b"2")
            waiters = {watch: self.replica.wait(watch) for watch in concerned + others}
            self.do("delete-tree", "a/")
            woken = [watch for watch, waiter in waiters.items() if waiter.woken]
            self.assertEqual(woken, concerned)
            for watch, waiter in waiters.items():
                self.replica.store.watches.cancel((watch,), waiter)
            self.assertEqual(len(self.replica.store.watches), 0)

    def test_discarded(self) -> None:
        """What goes is handed over, to be freed slowly."""
        gone: list[str] = []
        self.kv.discard = lambda entries: gone.extend(row.key for row in entries)
        for key in ("a", "ab", "b"):
            self.do("set", key)
        self.do("delete-tree", "x")
        self.do("delete-tree", "a")
        self.assertEqual(gone, ["a", "ab"])


class WatchTests(KVTestCase):
    def woken_by(self, op: str, key: str, value: bytes | None = None, **more: Any) -> set[Any]:
        """Which of a set of watches a command wakes."""
        keys = [("kv", k) for k in ("a", "a/1", "a/2", "b")] + [
            ("kvp", p) for p in ("", "a", "a/", "a/1", "b", "c")
        ]
        waiters = {watch: self.replica.wait(watch) for watch in keys}
        self.do(op, key, value, **more)
        woken = {watch for watch, waiter in waiters.items() if waiter.woken}
        self.assertTrue(all(waiter.woken <= 1 for waiter in waiters.values()))
        for watch, waiter in waiters.items():
            self.replica.store.watches.cancel((watch,), waiter)
        return woken

    def test_each_operation(self) -> None:
        """A command wakes whoever reads what it changed, and nobody else."""
        under_1 = {("kv", "a/1"), ("kvp", ""), ("kvp", "a"), ("kvp", "a/"), ("kvp", "a/1")}
        under_2 = {("kv", "a/2"), ("kvp", ""), ("kvp", "a"), ("kvp", "a/")}
        for op, key, value, more, expected in (
            ("set", "a/1", b"1", {}, under_1),
            ("set", "a/1", b"1", {}, set()),
            ("set", "a/1", b"2", {}, under_1),
            ("cas", "a/1", b"3", {"cas": 99}, set()),
            ("cas", "a/1", b"3", {"cas": 3}, under_1),
            ("delete", "a/2", None, {}, set()),
            ("set", "a/2", b"1", {}, under_2),
            ("lock", "a/2", b"1", {"session": S1}, under_2),
            ("lock", "a/2", b"1", {"session": S2}, set()),
            ("unlock", "a/2", b"1", {"session": S1}, under_2),
            ("delete-tree", "b", None, {}, set()),
            ("delete-tree", "a", None, {}, under_1 | under_2),
            ("delete", "a/1", None, {}, set()),
        ):
            self.assertEqual(self.woken_by(op, key, value, **more), expected, (op, key, value))

    def test_woken_once_per_command(self) -> None:
        """A deletion of many keys wakes a watcher once, after all of them are gone."""
        for number in range(10):
            self.do("set", f"a/{number}", b"1")
        seen: list[int] = []
        table = self.kv

        class Looks:
            def wake(self) -> None:
                seen.append(len(table.under("a/")[1]))

        self.replica.store.watches.register((("kvp", "a/"),), Looks())
        self.do("delete-tree", "a/")
        self.assertEqual(seen, [0])
