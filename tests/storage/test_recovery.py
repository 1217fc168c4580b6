"""Torn ends are cut, damage is named."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import StorageDamaged
from pyconsul.storage.frames import SegmentHeader
from pyconsul.storage.segment import segment_name
from tests.storage.worlds import World, entries, entry

FRAME = 40 + len(entry(1).data)


def world_of(
    batches: list[list[int]], synced: bool = True, segment_bytes: int = 4096, seed: int = 1
) -> World:
    """A world with entries of these indexes, synced batch by batch or only page-cached."""
    world = World(segment_bytes, seed)
    for seq, indexes in enumerate(batches, 1):
        world.storage.append(seq, [entry(index) for index in indexes])
        if synced:
            world.settle()
    return world


class TornTests(SynchronousTestCase):
    def test_every_byte_of_an_unsynced_end(self) -> None:
        """Wherever the last batch is damaged, it is cut there, with a note, and the log goes on."""
        for place in range(64 + FRAME, 64 + 3 * FRAME):
            world = world_of([[1], [2, 3]])
            path = "raft/" + world.segments()[0]
            world.disk.damage(path, place)
            found = world.restart()
            kept = 1 if place < 64 + 2 * FRAME else 2
            self.assertEqual(found.last_index, kept)
            [note] = world.storage.notes
            self.assertIn(f"{path}: cut at offset {64 + kept * FRAME}, after entry {kept}: ", note)
            world.append(1, entries(kept + 1, 6, term=2))
            self.assertEqual(world.restart().last_index, 6)
            self.assertEqual(world.storage.notes, [])
            self.assertEqual(world.all(), entries(1, kept) + entries(kept + 1, 6, term=2))

    def test_lost_in_the_wrong_order(self) -> None:
        """A later batch that survived an earlier one does not make the loss damage."""
        world = world_of([[1]])
        storage = world.storage
        storage.append(2, [entry(2)])
        storage.append(3, [entry(3)])
        file = world.disk.open("raft/" + world.segments()[0])
        file.write([bytes(FRAME)], 64 + FRAME)
        self.assertEqual(world.restart().last_index, 1)
        self.assertEqual(len(world.storage.notes), 1)
        world.append(1, entries(2, 2, term=2))  # as long as the old one: what lay behind must not fit on
        self.assertEqual(world.restart().last_index, 2)

    def test_made_durable_by_recovery(self) -> None:
        """What a start has found is there after a power cut, although its writer never synced it."""
        world = world_of([[1], [2, 3]], synced=False)
        self.assertEqual(world.restart().last_index, 3)
        world.disk.crash()
        self.assertEqual(world.start().last_index, 3)


class DamageTests(SynchronousTestCase):
    def test_every_byte_before_the_last_batch(self) -> None:
        """A batch behind the bad entry was written when that was durable: nothing is dropped."""
        for place in range(64, 64 + FRAME):
            world = world_of([[1], [2]])
            path = "raft/" + world.segments()[0]
            world.disk.damage(path, place)
            with self.assertRaisesRegex(
                StorageDamaged,
                f"{path}: damaged at offset 64: entry 1 cannot be read, though it was once durable",
            ):
                world.restart()

    def test_every_header_byte(self) -> None:
        """A segment without a header is never taken for one that was being made."""
        for place in range(64):
            world = world_of([[1]])
            path = "raft/" + world.segments()[0]
            world.disk.damage(path, place)
            with self.assertRaisesRegex(StorageDamaged, f"{path}: damaged at offset 0"):
                world.restart()

    def test_finished_segment(self) -> None:
        """In a segment that others follow nothing can be torn."""
        world = world_of([[1], [2], [3], [4, 5]], segment_bytes=128)
        first, *others = world.segments()
        self.assertTrue(others)
        world.disk.damage(f"raft/{first}", 64 + FRAME + 3)
        with self.assertRaisesRegex(
            StorageDamaged, f"{first}: damaged at offset {64 + FRAME}: entry 2 cannot"
        ):
            world.restart()

    def test_void_end_may_be_bad(self) -> None:
        """What a later segment has made void is not read."""
        world = world_of([[1, 2, 3]])
        world.storage.truncate(2, 3)
        world.settle()
        path = "raft/" + world.segments()[0]
        file = world.disk.open(path)
        self.assertEqual(file.size(), 64 + 2 * FRAME)
        file.write([b"junk" * 20], file.size())
        self.assertEqual(world.restart().last_index, 2)

    def test_missing_segment(self) -> None:
        """A gap is damage."""
        world = world_of([[index] for index in range(1, 10)], segment_bytes=128)
        names = world.segments()
        world.disk.remove(f"raft/{names[1]}")
        with self.assertRaisesRegex(
            StorageDamaged, f"{names[0]}: damaged at offset .*entry 3 cannot be read"
        ):
            world.restart()

    def test_segment_of_another_log(self) -> None:
        """One whose predecessor has another term, and one under a false name."""
        world = world_of([[1]])
        for header, name, text in (
            (SegmentHeader(9, 2, 4, 77), None, "follows an entry of term 4, but entry 1 has term 1"),
            (
                SegmentHeader(9, 2, 1, 77),
                "00000000000000000003-0000000009.segment",
                "the header is that of 0+2-0+9",
            ),
        ):
            path = f"raft/{name or segment_name(header)}"
            world.disk.open(path, create=True).write([header.encode()], 0)
            with self.assertRaisesRegex(StorageDamaged, text):
                world.restart()
            world.disk.remove(path)

    def test_other_files(self) -> None:
        """What is not ours stays, what never got its name goes."""
        world = world_of([[1]])
        for name in ("peers.info", "17.new", "state.new"):
            world.disk.open(f"raft/{name}", create=True)
        self.assertEqual(world.restart().last_index, 1)
        self.assertEqual(world.disk.list("raft"), [*world.segments(), "peers.info", "state"])


class ResetTests(SynchronousTestCase):
    def test_power_cuts(self) -> None:
        """A reset happens or not, whatever becomes of the removal of the old files."""
        seen = set()
        for operations in range(25):
            world = world_of([[index] for index in range(1, 10)], segment_bytes=128)
            world.storage.reset(100, 50, 3)
            world.disk.cut_short(world.settle, operations)
            world.disk.crash()
            found = world.start()
            self.assertIn((found.first_index, found.last_index), [(1, 9), (51, 50)])
            seen.add(found.last_index)
            if found.last_index == 50:
                self.assertEqual(len(world.segments()), 1)
        self.assertEqual(seen, {9, 50})

    def test_void_reset(self) -> None:
        """A reset counts even when the segment it began has been made void."""
        seen = set()
        for attempt in range(400):
            world = world_of([[index] for index in range(1, 10)], segment_bytes=128, seed=attempt)
            world.storage.reset(100, 50, 3)
            world.storage.append(101, [entry(51, 3)])
            world.storage.truncate(102, 51)
            world.storage.append(103, [entry(51, 4)])
            world.disk.cut_short(world.settle, attempt % 40)
            world.disk.crash()
            found = world.start()
            seen.add((found.first_index, tuple(found.terms)))
        self.assertLessEqual({(1, (1,) * 9), (51, (3,)), (51, (4,))}, seen)
        self.assertLessEqual(seen, {(1, (1,) * 9), (51, ()), (51, (3,)), (51, (4,))})
