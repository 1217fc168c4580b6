"""Listings of keys page by page, against the whole listing."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.state import entries
from pyconsul.state.kv import KVTable
from pyconsul.state.watches import Watches
from tests.state.replica import Replica, travelled


def filled(seed: int) -> KVTable:
    rng = Random(seed)
    made = Replica()
    for _ in range(60):
        key = "/".join(rng.choice(("a", "b", "c-d", "c0")) for _ in range(rng.randrange(1, 5)))
        made.kv("set", key + rng.choice(("", "/", "x")), b"1")
    return made.store.kv


class NameTests(SynchronousTestCase):
    """Names that are cut are not looked for key by key."""

    def test_as_if_key_by_key(self) -> None:
        """Whatever lies in which block, and whatever went; the index is that of all entries."""
        self.patch(entries, "ROWS_MAX", 4)
        for seed in range(12):
            table, rng = filled(seed), Random(seed)
            for index in range(100, 130):
                for prefix in ("", "a", "a/", "c", "c-d/b", "zz"):
                    at, rows = table.under(prefix)
                    for separator in ("", "/", "-", "/a"):
                        cut: dict[str, None] = {}
                        for row in rows:
                            head, found, _ = row.key[len(prefix) :].partition(separator or "\0")
                            cut[prefix + head + found] = None
                        self.assertEqual(
                            table.names(prefix, separator), (at, [*cut]), (seed, prefix, separator)
                        )
                key = rng.choice(["a/b", *(row.key for row in table.under("")[1])])
                if rng.random() < 0.2:
                    table.delete_tree(index, key)
                elif rng.random() < 0.7:
                    table.delete(index, key)
                else:
                    table.set(index, key, b"%d" % index, 0)

    def test_passes_over(self) -> None:
        """What lies below a cut name is not even unpacked."""
        self.patch(entries, "ROWS_MAX", 4)
        made = Replica()
        for number in range(100):
            made.kv("set", f"a/{number:03d}", b"1")
        made.kv("set", "b", b"1")
        table = KVTable(Watches())
        table.restore(travelled(made.store.snapshot()).kv)
        self.assertEqual(table.names("", "/"), (101, ["a/", "b"]))
        self.assertLess(sum(not block.packs for block in table._entries._blocks), 4)


class PageTests(SynchronousTestCase):
    def test_all_pages_make_the_whole(self) -> None:
        """Whatever the prefix, the size of pages and the separator."""
        for seed in range(8):
            table = filled(seed)
            for prefix in ("", "a", "a/", "c", "c-d/b", "zz"):
                rows = table.under(prefix)[1]
                for size in (1, 2, 7, 100):
                    found, after = [], ""
                    while page := table.page(prefix, after, size)[1]:
                        self.assertLessEqual(len(page), size)
                        found += page
                        after = page[-1].key
                    self.assertEqual(found, rows, (seed, prefix, size))
                    for separator in ("", "/", "-", "/a"):
                        names, after = [], ""
                        while some := table.names_page(prefix, separator, after, size)[1]:
                            self.assertLessEqual(len(some), size)
                            names += some
                            after = some[-1]
                        self.assertEqual(names, table.names(prefix, separator)[1], (seed, prefix, separator))

    def test_without_limit(self) -> None:
        """All that is behind a key, which need not be there."""
        table = filled(1)
        rows = table.under("")[1]
        self.assertEqual(table.page("", "b", None)[1], [row for row in rows if row.key > "b"])
        self.assertEqual(table.page("b", "", None)[1], table.under("b")[1])
        self.assertEqual(table.names_page("b", "", "aaa/", None)[1], table.names("b", "")[1])
        self.assertEqual(table.names_page("b", "/", "aaa/", None)[1], table.names("b", "/")[1])
        self.assertEqual(table.page("a", "b", None)[1], [])
        self.assertEqual(table.names_page("a", "/", "b/", None)[1], [])

    def test_last_character(self) -> None:
        """Nothing comes behind what begins with the greatest character there is."""
        made = Replica()
        last = chr(0x10FFFF)
        for key in ("a", last, last + "a"):
            made.kv("set", key, b"1")
        table = made.store.kv
        self.assertEqual(table.names_page("", last, "", 9)[1], ["a", last])
        self.assertEqual(table.names_page("", last, last, 9)[1], [])

    def test_index(self) -> None:
        """It moves with what is on the page, and with what goes."""
        made = Replica()
        for key in ("p/1", "p/2", "p/3"):
            made.kv("set", key, b"1")
        table = made.store.kv
        self.assertEqual((table.page("p/", "", 2)[0], table.names_page("p/", "", "", 2)[0]), (2, 2))
        made.kv("set", "p/3", b"2")
        self.assertEqual(table.page("p/", "", 2)[0], 2)
        made.kv("set", "p/11", b"2")
        self.assertEqual((table.page("p/", "", 2)[0], table.names_page("p/", "", "", 2)[0]), (5, 5))
        made.kv("delete", "p/3")
        self.assertEqual((table.page("p/", "", 2)[0], table.names_page("p/", "", "", 2)[0]), (6, 6))
