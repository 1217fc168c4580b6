"""The rows of the key/value table and how they lie in blocks."""

from __future__ import annotations

import gc
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.state import entries
from pyconsul.state.entries import Entries, Pack, Stretch
from pyconsul.structs.kv import DirEntry


def row(key: str, index: int = 1, **more: Any) -> DirEntry:
    return DirEntry(key=key, create_index=more.pop("create_index", index), modify_index=index, **more)


def packed(source: Entries) -> Entries:
    """The same as they come out of a snapshot, parts of which travel as bytes."""
    found = Entries()
    for count, part in source.parts():
        again = msgspec.msgpack.decode(msgspec.msgpack.encode(part), type=Entries.part_type)
        assert isinstance(again, Pack) and again == part and again.count == count
        found.add(again)
    return found


def keys(found: Entries) -> list[str]:
    return [row.key for row in found]


class SmallBlocks(SynchronousTestCase):
    """Blocks of four rows, so that there are many."""

    def setUp(self) -> None:
        self.patch(entries, "ROWS_MAX", 4)

    def check(self, found: Entries) -> None:
        """What holds for all entries."""
        fences, blocks = found._fences, found._blocks
        self.assertEqual(fences[0], "")
        self.assertEqual((fences, len(fences)), (sorted({*fences}), len(blocks)))
        self.assertEqual(sum(map(len, blocks)), len(found))
        self.assertTrue(all(map(len, blocks)) or len(blocks) == 1)
        for at, block in enumerate(blocks):
            names = sorted(block.rows)
            self.assertLessEqual(len(names), entries.ROWS_MAX)
            if names:
                self.assertLessEqual(fences[at], names[0])
                self.assertTrue(at + 1 == len(fences) or names[-1] < fences[at + 1])
                self.assertTrue(not block.in_order or names == [*block.rows])


class WritingTests(SmallBlocks):
    def test_orders(self) -> None:
        """In whatever order keys come, they are there and in their order."""
        names = [f"k{number:03d}" for number in range(100)]
        shuffled = names.copy()
        Random(4).shuffle(shuffled)
        for order in (names, names[::-1], shuffled):
            found = Entries(row(key, 7) for key in order)
            self.check(found)
            self.assertEqual((keys(found), len(found), found.newest_between("", None)), (names, 100, 7))
            self.assertEqual((found.get("k050"), found.get("k0500")), (row("k050", 7), None))
            self.assertIn("k000", found)
            self.assertNotIn("", found)

    def test_full_blocks(self) -> None:
        """Who writes keys in their order fills the blocks; else half of a full one goes."""
        found = Entries(row(f"k{number:03d}") for number in range(20))
        self.assertEqual([len(block) for block in found._blocks], [4] * 5)
        found.put(row("k0005"))
        self.assertEqual([len(block) for block in found._blocks], [3, 2, 4, 4, 4, 4])
        self.check(found)

    def test_replaces(self) -> None:
        found = Entries([row("a", 1), row("b", 2)])
        found.put(row("a", 3, value=b"x"))
        self.assertEqual([*found], [row("a", 3, value=b"x"), row("b", 2)])
        self.assertEqual((len(found), found.newest_between("", None)), (2, 3))

    def test_pop(self) -> None:
        """Blocks that become empty go, but for the last one."""
        found = Entries(row(f"k{number}") for number in range(10))
        for number in (1, 0, 3, 2, 9, 8, 4, 6, 5, 7):
            self.assertEqual(found.pop(f"k{number}"), row(f"k{number}"))
            self.assertIsNone(found.pop(f"k{number}"))
            self.check(found)
        self.assertEqual((len(found), [*found], [*found.parts()]), (0, [], []))
        found.put(row("x"))
        self.assertEqual(keys(found), ["x"])

    def test_sees_no_garbage(self) -> None:
        """The collector does not look at rows and blocks, of which there may be millions."""
        gc.collect()
        before = len(gc.get_objects())
        found = Entries(row(f"k{number}", number) for number in range(1_000))
        gc.collect()
        self.assertLess(len(gc.get_objects()) - before, 50)
        self.assertEqual(len(found), 1_000)


class ReadingTests(SmallBlocks):
    def test_between(self) -> None:
        """From a key on, up to before another, in lists of which none is empty."""
        names = [f"k{number:02d}" for number in range(0, 40, 2)]
        source = Entries(map(row, names))
        for found in (source, packed(source), Entries(map(row, names[::-1]))):
            for start in ("", "k", "k00", "k05", "k08", "k38", "k39", "z"):
                for end in (None, "k00", "k08", "k09", "k16", "k38", "z"):
                    expected = [key for key in names if start <= key and (end is None or key < end)]
                    self.assertEqual([row.key for row in found.between(start, end)], expected)
                    self.assertTrue(all(found.lists_between(start, end)))
            self.assertEqual([found.has_under(prefix) for prefix in ("k0", "k05", "z")], [True, False, False])

    def test_newest(self) -> None:
        """The highest index in a range, also of packed rows; a block knows that of what it had."""
        names = [f"k{number:02d}" for number in range(20)]
        source = Entries(row(key, 100 - at) for at, key in enumerate(names))
        shuffled = Entries(
            row(key, 100 - at) for at, key in sorted(enumerate(names), key=lambda pair: pair[0] % 7)
        )
        for found in (source, packed(source), shuffled, packed(shuffled), source.share()):
            for at, start in enumerate(names):
                for end in (None, *names[at + 1 :]):
                    self.assertEqual(found.newest_between(start, end), 100 - at)
            self.assertEqual((found.newest_between("", None), found.newest_between("z", None)), (100, 0))
        self.assertEqual(
            (source.cut("k01", "k06").newest_between("", None), Entries().newest_between("", None)), (99, 0)
        )
        self.assertEqual(source.newest_between("k01", None), 96)  # which is gone, but of a block that stays

    def test_locked(self) -> None:
        """Which rows somebody holds, also of those that are packed."""
        found = Entries(row(f"k{number}", session="s" if number % 3 else UNSET) for number in range(7))
        for each in (found, packed(found)):
            self.assertEqual([*each.locked()], [(key, "s") for key in ("k1", "k2", "k4", "k5")])

    def test_equality(self) -> None:
        """By rows, not by how they lie."""
        one, two = Entries(map(row, "abcdefgh")), Entries(map(row, "hgfedcba"))
        self.assertNotEqual(one._fences, two._fences)
        self.assertEqual(one, two)
        two.put(row("a", 2))
        self.assertNotEqual(one, two)
        self.assertNotEqual(one, Entries())
        self.assertNotEqual(one, [*one])
        self.assertEqual(repr(one), "<8 entries in 2 blocks>")


class CutTests(SmallBlocks):
    def test_all_ranges(self) -> None:
        """What is cut out is there, and the rest is here."""
        names = [f"k{number:02d}" for number in range(20)]
        bounds = ["", "k", *names, "k075", "z"]
        for start in bounds:
            for end in (None, *(bound for bound in bounds if bound > start)):
                for make in (Entries, lambda rows: packed(Entries(rows)), lambda rows: Entries(rows).share()):
                    found = make(map(row, names))
                    gone = found.cut(start, end)
                    inside = [key for key in names if start <= key and (end is None or key < end)]
                    self.assertEqual((keys(gone), len(gone)), (inside, len(inside)))
                    self.assertEqual(keys(found), [key for key in names if key not in inside])
                    self.check(found)
                    self.assertEqual("k07" in gone, "k07" in inside)

    def test_leaves_others_alone(self) -> None:
        names = [f"k{number:02d}" for number in range(20)]
        found = Entries(map(row, names))
        other = found.share()
        found.cut("k03", "k13")
        found.put(row("k05", 2))
        self.assertEqual([*other], [*map(row, names)])

    def test_crumbles(self) -> None:
        """What nobody needs goes a block at a time."""
        self.assertEqual([*Entries(map(row, "abcdef")).crumble()], [2, 4])


class ShareTests(SmallBlocks):
    def test_writes_do_not_show(self) -> None:
        """In neither direction, whoever packs, sorts or unpacks what both have."""
        for make in (Entries, lambda rows: packed(Entries(rows))):
            one = make(map(row, "hgfedcba"))
            two = one.share()
            one.put(row("a", 2))
            two.put(row("b", 3))
            one.pop("h")
            two.put(row("x"))
            one.put(row("b2"))
            three = two.share()
            two.cut("", None)
            self.assertEqual(keys(one), [*"ab", "b2", *"cdefg"])
            self.assertEqual(keys(three), [*"abcdefghx"])
            self.assertEqual((one.get("a"), three.get("a")), (row("a", 2), row("a")))
            self.assertEqual((one.get("b"), three.get("b")), (row("b"), row("b", 3)))
            self.assertEqual((len(one), len(two), len(three)), (8, 0, 9))

    def test_copies_what_is_written(self) -> None:
        """One block, once."""
        one = Entries(map(row, "abcdefghijkl"))
        two = one.share()
        for key in "bcb":
            one.put(row(key, 2))
        same = [a is b for a, b in zip(one._blocks, two._blocks, strict=True)]
        self.assertEqual(same, [False, True, True])


class StretchTests(SmallBlocks):
    def setUp(self) -> None:
        super().setUp()
        self.patch(entries, "STRETCH_ROWS_MIN", 2)

    def test_all_ranges(self) -> None:
        """The same rows, one by one, in lists and by their keys; few are a list."""
        names = [f"k{number:02d}" for number in range(13)]
        for found in (Entries(map(row, names)), packed(Entries(map(row, names[::-1])))):
            for start in ("", *names):
                for end in (*names, "z", None):
                    rows = [*found.between(start, end)]
                    stretch = found.stretch(start, end)
                    self.assertEqual([*stretch], rows)
                    self.assertEqual(isinstance(stretch, Stretch), len(rows) > 2)
                    if isinstance(stretch, Stretch):
                        named = stretch.keys()
                        self.assertEqual((len(stretch), len(named)), (len(rows), len(rows)))
                        self.assertEqual(stretch[0], rows[0])
                        self.assertTrue(all(stretch.lists()))
                        self.assertEqual([*named], [row.key for row in rows])

    def test_stays(self) -> None:
        """Whatever becomes of the entries: written, split, cut, dropped, restored."""
        found = Entries(map(row, "abcdefghijkl"))
        whole, part = found.stretch("", None), found.stretch("b", "k")
        found.put(row("b", 2))
        found.put(row("a1", 2))
        found.pop("f")
        middle = found.stretch("a1", "h")
        found.cut("c", "i")
        found.put(row("m", 3))
        found.cut("", None)
        for text, rows in (("abcdefghijkl", whole), ("bcdefghij", part)):
            self.assertEqual([*rows], [*map(row, text)])
        self.assertEqual([*middle], [row("a1", 2), row("b", 2), row("c"), row("d"), row("e"), row("g")])
        self.check(found)

    def test_copies_what_is_written(self) -> None:
        """One block, once; a list of few costs no copy at all."""
        found = Entries(map(row, "abcdefghijkl"))
        before = found._blocks.copy()
        found.stretch("a", "c")
        found.put(row("a", 2))
        self.assertIs(found._blocks[0], before[0])
        found.stretch("", None)
        found.put(row("b", 2))
        after = found._blocks.copy()
        found.put(row("b", 3))
        self.assertEqual([a is b for a, b in zip(after, before, strict=True)], [False, True, True])
        self.assertEqual([a is b for a, b in zip(after, found._blocks, strict=True)], [True, True, True])

    def test_large_values(self) -> None:
        """A few large rows are not few, and come in several lists."""
        self.patch(entries, "PACK_BYTES", 10)
        found = Entries([row("a", value=b"1" * 6), row("b", value=b"2" * 6), row("c", value=b"3" * 20)])
        stretch = found.stretch("", "c")
        assert isinstance(stretch, Stretch)
        self.assertEqual([len(rows) for rows in stretch.lists()], [1, 1])


class PackTests(SmallBlocks):
    def test_every_field(self) -> None:
        """Rows come back as they were."""
        rows = [
            row("a"),
            row("b", 9, create_index=3, value=b"v", flags=1 << 63),
            row("c", 9, lock_index=3),
            row("d", 9, lock_index=4, session="s", flags=5),
            row("\U0010ffff", value=b"\0" * 300),
        ]
        found = packed(Entries(rows))
        self.assertEqual([*found], rows)
        self.assertEqual((len(found), found.newest_between("", None)), (5, 9))

    def test_stay_packed(self) -> None:
        """Until somebody looks into them; what nobody looked at goes on as it is."""
        found = packed(Entries(map(row, "abcdefgh")))
        first = [part for _, part in found.parts()]
        self.assertEqual([*found], [*map(row, "abcdefgh")])  # this is no look
        self.assertEqual([bool(block.packs) for block in found._blocks], [True, True])
        found.get("x")
        self.assertEqual([bool(block.packs) for block in found._blocks], [True, False])
        again = [part for _, part in found.parts()]
        self.assertIs(again[0], first[0])
        self.assertEqual(again[1], first[1])

    def test_pack(self) -> None:
        """All but the last block, each once."""
        found = Entries(map(row, "abcdefgh"))
        found.put(row("i", session="s"))
        other = found.share()
        found.pack()
        packs = [block.packs for block in found._blocks]
        self.assertEqual([len(each) for each in packs], [1, 1, 0])
        self.assertFalse(any(block.packs for block in other._blocks))
        found.put(row("j"))
        found.pack()
        self.assertIs(found._blocks[0].packs, packs[0])
        self.assertEqual([*found][:-1], [*other])
        found.put(row("a", 2))
        self.assertEqual(
            (found.get("a"), other.get("a"), found.newest_between("", "b")), (row("a", 2), row("a"), 2)
        )

    def test_large_values(self) -> None:
        """A block has several packs then, and is one again afterwards."""
        self.patch(entries, "PACK_BYTES", 10)
        sizes = {"a": 3, "b": 4, "c": 50, "d": 0, "e": 11}
        source = Entries(row(key, value=b"v" * size or None) for key, size in sizes.items())
        parts = [part for _, part in source.parts()]
        self.assertEqual(
            [(part.fence, part.count, part.goes_on) for part in parts],
            [("", 2, False), ("", 1, True), ("", 1, True), ("e", 1, False)],
        )
        found = packed(source)
        self.assertEqual((found._fences, [len(block) for block in found._blocks]), (["", "e"], [4, 1]))
        self.assertEqual([part for _, part in found.parts()], parts)
        self.assertEqual(found, source)

    def test_first_format(self) -> None:
        """Lists of rows."""
        rows = [*map(row, "abcdefgh")]
        part = msgspec.msgpack.decode(msgspec.msgpack.encode(rows), type=Entries.part_type)
        found = Entries()
        found.add(part)
        self.assertEqual([*found], rows)
        self.check(found)


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["put", "pop", "cut", "share", "pack", "look"]), st.text("ab", max_size=5)),
    max_size=60,
)


class ModelTests(SmallBlocks):
    @given(OPERATIONS)
    @settings(max_examples=150, deadline=None)
    def test_as_a_dict(self, operations: list[tuple[str, str]]) -> None:
        """Whatever is done, there is what a dict would have, and shares stay what they were."""
        found, model = Entries(), dict[str, DirEntry]()
        shares: list[tuple[Entries, dict[str, DirEntry]]] = []
        for index, (what, key) in enumerate(operations):
            if what == "put":
                model[key] = row(key, index)
                found.put(model[key])
            elif what == "pop":
                self.assertEqual(found.pop(key), model.pop(key, None))
            elif what == "cut":
                gone = found.cut(key, key + "b")
                expected = sorted(name for name in model if key <= name < key + "b")
                self.assertEqual(keys(gone), expected)
                for name in expected:
                    del model[name]
            elif what == "share":
                shares.append((found.share(), model.copy()))
            elif what == "pack":
                found = packed(found)
            else:
                self.assertEqual(found.get(key), model.get(key))
                self.assertEqual(
                    next(found.between(key, None), None),
                    model.get(min((name for name in model if name >= key), default="none")),
                )
            self.check(found)
        for some, expected_rows in [*shares, (found, model)]:
            self.assertEqual([*some], [entry for _, entry in sorted(expected_rows.items())])

    @given(OPERATIONS)
    @settings(max_examples=80, deadline=None)
    def test_same_bytes(self, operations: list[tuple[str, str]]) -> None:
        """How rows lie follows from the writes alone, whoever reads or was restored from a snapshot."""
        one, two = Entries(), Entries()
        actions: dict[str, Callable[[Entries, str, int], object]] = {
            "put": lambda found, key, index: found.put(row(key, index)),
            "pop": lambda found, key, _: found.pop(key),
            "cut": lambda found, key, _: found.cut(key, key + "b"),
        }
        for index, (what, key) in enumerate(operations):
            if what in actions:
                for found in (one, two):
                    actions[what](found, key, index)
            elif what == "share":
                two.share()
            elif what == "pack":
                two = packed(two)
            else:
                two.get(key), [*two.between(key, None)]
        self.assertEqual([*one.parts()], [*two.parts()])
