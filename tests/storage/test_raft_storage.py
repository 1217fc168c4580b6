"""Term, vote and log as the Raft core uses them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import StorageDamaged
from pyconsul.interfaces import RaftStorage, Recovered
from pyconsul.storage import segments, spares
from pyconsul.storage.memory import MemoryStorage
from pyconsul.storage.raft_storage import PATIENCE_TURNS, RecoveredLog
from tests.storage.worlds import World, entries, entry


class RecoverTests(SynchronousTestCase):
    def test_new_folder(self) -> None:
        """There is nothing, and that much is durable."""
        world = World()
        nothing = RecoveredLog(0, "", 1, 0, 0, 0, world.recovered.terms)
        self.assertEqual(world.recovered, nothing)
        self.assertEqual(list(world.recovered.terms), [])
        world.disk.crash()
        self.assertEqual(world.start(), nothing)
        self.assertEqual(world.disk.list("raft"), ["00000000000000000001-0000000001.segment", "state"])

    def test_everything_comes_back(self) -> None:
        """Term, vote, entries and their terms."""
        world = World()
        world.storage.save_state(1, 3, "me")
        world.append(2, [*entries(1, 3, term=1), *entries(4, 5, term=3)])
        world.disk.crash()
        found = world.start()
        self.assertEqual((found.term, found.voted_for, found.first_index, found.last_index), (3, "me", 1, 5))
        self.assertEqual(list(found.terms), [1, 1, 1, 3, 3])
        self.assertEqual(world.all(), [*entries(1, 3, term=1), *entries(4, 5, term=3)])
        self.assertEqual(world.storage.notes, [])
        world.append(1, [entry(6, 3)])
        self.assertEqual(world.restart().last_index, 6)

    def test_entries_outran_the_term(self) -> None:
        """The term is that of the last entry at least, and stays so when the entry is dropped."""
        world = World()
        world.storage.save_state(1, 1, "me")
        world.settle()
        world.append(2, [entry(1, 5)])
        found = world.restart()
        self.assertEqual((found.term, found.voted_for), (5, ""))
        world.storage.truncate(1, 1)
        world.settle()
        world.disk.crash()
        self.assertEqual(world.start().term, 5)

    def test_state_lost(self) -> None:
        """A log without term and vote is no new server: it might vote twice."""
        world = World()
        world.disk.remove("raft/state")
        with self.assertRaisesRegex(StorageDamaged, "raft/state: is missing"):
            world.restart()

    def test_log_lost(self) -> None:
        """Nor is a term without a log, at this start or the next."""
        world = World()
        world.storage.save_state(1, 1, "")
        world.settle()
        for name in world.segments():
            world.disk.remove(f"raft/{name}")
        for _ in range(2):
            with self.assertRaisesRegex(StorageDamaged, "raft: the log is missing"):
                world.restart()

    def test_died_before_the_first_segment(self) -> None:
        """The very first start may be cut short anywhere."""
        for operations in range(25):
            world = World()
            for name in world.disk.list("raft"):
                world.disk.remove(f"raft/{name}")
            world.disk.sync_folder("raft")
            done = world.disk.cut_short(world.start, operations)
            world.disk.crash()
            self.assertEqual(world.start().last_index, 0)
        self.assertTrue(done)


class ContractTests(SynchronousTestCase):
    def test_interfaces(self) -> None:
        """Both storages are what the agent asks for, and the type checker agrees."""
        storages: list[RaftStorage] = [World().storage, MemoryStorage()]
        for storage in storages:
            told: list[int] = []
            storage.persisted = told.append
            found: Recovered = storage.recover()
            self.assertEqual((found.first_index, found.last_index, found.snapshot_index), (1, 0, 0))


class MemoryTests(SynchronousTestCase):
    def test_like_the_durable_one(self) -> None:
        """Everything is durable at once, the log is the same."""
        storage = MemoryStorage()
        told: list[int] = []
        storage.persisted = told.append
        storage.append(1, entries(1, 6))
        storage.truncate(2, 5)
        storage.save_state(3, 1, "me")
        self.assertEqual(storage.compact(3), 3)
        self.assertEqual(storage.compact(1), 3)
        self.assertEqual(storage.read(3, 5, 1000), entries(3, 4))
        self.assertEqual(storage.read(3, 5, 1), entries(3, 3))
        sizes = [storage.bytes_after(index) for index in range(6)]
        self.assertEqual([size // len(entry(3).data) for size in sizes], [2, 2, 2, 1, 0, 0])
        storage.reset(4, 10, 1)
        storage.append(5, entries(11, 12))
        self.assertEqual(storage.read(11, 13, 1000), entries(11, 12))
        storage.close()
        self.assertEqual(told, [1, 2, 3, 4, 5])


class GroupCommitTests(SynchronousTestCase):
    def test_reported_when_durable(self) -> None:
        """Not before the job is done, and then it is on the disk."""
        world = World()
        world.storage.append(1, entries(1, 2))
        self.assertEqual(world.storage.read(1, 3, 1000), entries(1, 2))
        self.assertEqual(world.persisted, [])
        world.clock.advance(1)
        self.assertEqual(world.persisted, [1])

    def test_one_sync_for_all_that_gathers(self) -> None:
        """What arrives while the disk works becomes one job, reported once."""
        world = World()
        for index in range(1, 21):
            world.storage.append(index, [entry(index)])
        world.clock.advance(1)
        self.assertEqual(world.persisted, [1])
        before = world.disk.operations
        world.clock.advance(1)
        self.assertEqual(world.persisted, [1, 20])
        self.assertEqual(world.disk.operations - before, 1)
        statistics = world.storage.statistics
        self.assertEqual((statistics.syncs, statistics.entries, statistics.appends), (2, 20, 20))
        self.assertEqual(statistics.bytes, sum(40 + len(entry(index).data) for index in range(1, 21)))

    def test_all_kinds_in_one_job(self) -> None:
        """State, entries and truncation gathered together are done together."""
        world = World()
        world.append(1, entries(1, 5))
        storage = world.storage
        storage.append(2, [entry(6)])
        storage.save_state(3, 2, "b")
        storage.truncate(4, 3)
        storage.append(5, entries(3, 4, term=2))
        storage.save_state(6, 3, "")
        world.settle()
        self.assertEqual(world.persisted, [1, 2, 6])
        self.assertEqual((storage.statistics.state_saves, storage.statistics.truncations), (2, 1))
        world.disk.crash()
        found = world.start()
        self.assertEqual((found.term, found.voted_for, list(found.terms)), (3, "", [1, 1, 2, 2]))

    def test_nothing_to_do_is_reported_too(self) -> None:
        """An empty append and a truncation at the end have their place in the order."""
        world = World()
        world.append(1, [entry(1)])
        world.storage.truncate(2, 2)
        self.assertEqual(world.persisted, [1])
        world.settle()
        world.append(3, [])
        self.assertEqual(world.persisted, [1, 2, 3])
        self.assertEqual(len(world.segments()), 1)

    def test_called_from_persisted(self) -> None:
        """What the news leads to goes into the next job, with what had gathered."""
        world = World()
        storage = world.storage

        def persisted(seq: int) -> None:
            world.persisted.append(seq)
            if seq == 1:
                storage.append(3, [entry(3)])

        storage.persisted = persisted
        storage.append(1, [entry(1)])
        storage.append(2, [entry(2)])
        world.settle()
        self.assertEqual(world.persisted, [1, 3])

    def _written_again(self, count: int, turns: int) -> World:
        """A world whose writers, of four whose entries are durable, write again one a turn, so many of them.

        Two more entries had gathered before.
        """
        world = World()
        world.storage.append(1, entries(1, 4))
        world.storage.append(2, entries(5, 6))

        def write(left: int) -> None:
            if left:
                last = world.storage.statistics.entries
                world.storage.append(last + 1, [entry(last + 1)])
                world.disk.soon(lambda: write(left - 1))

        def persisted(seq: int) -> None:
            world.persisted.append(seq)
            if seq == 1:
                later(turns)

        def later(turns: int) -> None:
            world.disk.soon((lambda: later(turns - 1)) if turns else lambda: write(count))

        world.storage.persisted = persisted
        return world

    def test_writers_join_again(self) -> None:
        """After many entries the next job waits until as many have come again."""
        world = self._written_again(4, turns=1)
        world.settle()
        self.assertEqual(world.persisted, [1, 10])

    def test_nobody_joins(self) -> None:
        """It does not wait for what does not come, or comes late."""
        self.assertEqual(self._jobs(self._written_again(0, turns=0)), [1, 2])
        self.assertEqual(self._jobs(self._written_again(4, turns=PATIENCE_TURNS)), [1, 2, 10])

    def _jobs(self, world: World) -> list[int]:
        world.settle()
        return world.persisted

    def test_all_joined(self) -> None:
        """Once as many have come, the job begins at once."""
        world = self._written_again(4, turns=0)
        world.clock.advance(1)
        self.assertEqual(world.storage.statistics.syncs, 1)
        world.storage.append(11, [entry(11)])
        world.settle()
        self.assertEqual(world.persisted, [1, 10, 11])

    def test_term_and_vote_join_nothing(self) -> None:
        """Whoever waits for a vote does not wait for writers, too."""
        world = self._written_again(0, turns=0)
        world.storage.persisted = lambda seq: world.storage.save_state(3, 2, "me") if seq == 1 else None
        world.clock.advance(1)
        world.clock.advance(1)
        self.assertEqual(world.storage.statistics.syncs, 2)

    def test_closed_while_it_waits(self) -> None:
        """Nothing begins any more; what had gathered is made durable."""
        world = self._written_again(0, turns=0)
        world.storage.persisted = lambda seq: world.storage.close()
        world.settle()
        self.assertEqual(world.restart().last_index, 6)


class ChangingTests(SynchronousTestCase):
    def test_truncate(self) -> None:
        """The end goes, for good, and the log goes on from there: from within a file or from its start."""
        for first in range(1, 7):
            world = World(segment_bytes=256)
            for index in range(1, 7):
                world.append(index, [entry(index)])
            self.assertGreater(len(world.segments()), 1)
            world.storage.truncate(7, first)
            world.settle()
            world.disk.crash()
            self.assertEqual(world.start().last_index, first - 1)
            self.assertEqual(world.all(), entries(1, first - 1))
            world.append(1, entries(first, 9, term=2))
            world.restart()
            self.assertEqual(world.all(), entries(1, first - 1) + entries(first, 9, term=2))

    def test_truncated_again_and_again(self) -> None:
        """Each cut makes void what the ones before it began."""
        world = World(segment_bytes=256)
        world.append(1, entries(1, 9))
        for seq, first in enumerate((8, 5, 5, 7, 2), 2):
            last = world.storage._log.last_index
            world.storage.truncate(2 * seq, min(first, last + 1))
            world.append(2 * seq + 1, entries(min(first, last + 1), 8, term=seq))
        world.disk.crash()
        world.start()
        self.assertEqual(world.all(), entries(1, 1) + entries(2, 8, term=6))
        self.assertEqual(len(world.segments()), 2)

    def test_compact(self) -> None:
        """Whole files go, at most up to what was allowed."""
        world = World(segment_bytes=256)
        for index in range(1, 21):
            world.append(index, [entry(index, index)])
        files = len(world.segments())
        self.assertEqual(world.storage.compact(1), 1)
        self.assertEqual(len(world.segments()), files)
        first = world.storage.compact(11)
        self.assertTrue(6 < first <= 11)
        with self.assertRaises(LookupError):
            world.storage.read(first - 1, first, 10)
        self.assertEqual(world.storage.read(first, 21, 1 << 20)[0].index, first)
        world.settle()
        self.assertLess(len(world.segments()), files)
        self.assertEqual(world.persisted[-1], 20)
        found = world.restart()
        self.assertEqual((found.first_index, found.snapshot_index), (first, first - 1))
        self.assertEqual(found.snapshot_term, first - 1)
        self.assertEqual(found.terms[0], first)
        self.assertEqual(world.storage.compact(1000), int(world.segments()[-1][:20]))  # the last file stays

    def test_reset(self) -> None:
        """After a snapshot came from the leader the log starts behind it, whatever was there."""
        for index in (3, 5, 100):
            world = World(segment_bytes=256)
            world.append(1, entries(1, 5))
            world.storage.reset(2, index, 7)
            world.storage.append(3, [entry(index + 1, 8)])
            world.settle()
            self.assertEqual(world.persisted[-1], 3)
            self.assertEqual(len(world.segments()), 1)
            world.disk.crash()
            found = world.start()
            self.assertEqual((found.first_index, found.last_index), (index + 1, index + 1))
            self.assertEqual((found.snapshot_index, found.snapshot_term, list(found.terms)), (index, 7, [8]))
            world.storage.truncate(1, index + 1)
            world.settle()
            found = world.restart()
            self.assertEqual((found.last_index, found.snapshot_term), (index, 7))

    def test_spare_files(self) -> None:
        """The next file is made before it is needed, and cleared away if it never is."""
        world = World(segment_bytes=1024)
        world.append(1, [entry(1, data=bytes(500))])
        temporary = [name for name in world.disk.list("raft") if name.endswith(".new")]
        self.assertEqual(len(temporary), 1)
        world.append(2, [entry(2, data=bytes(500))])
        before = world.disk.operations
        world.storage.append(3, [entry(3, data=bytes(10))])
        self.assertEqual(world.disk.operations - before, 3)  # header, size, frames: no file was made
        world.settle()
        self.assertEqual(len(world.segments()), 2)
        self.assertEqual(world.disk.open("raft/" + world.segments()[0]).size(), 64 + 2 * 540)
        world.append(4, [entry(4, data=bytes(500))])
        world.restart()
        self.assertEqual([name for name in world.disk.list("raft") if name.endswith(".new")], [])

    def test_zeros_of_a_spare(self) -> None:
        """They are written step by step, and the log does not wait for all of them."""
        self.patch(spares, "STEP_BYTES", 512)
        self.patch(spares, "PIECE_BYTES", 200)
        world = World(segment_bytes=1200)
        world.storage.append(1, [entry(1, data=bytes(600))])
        world.clock.advance(1)  # the entry
        world.clock.advance(1)  # the file
        before = world.disk.operations
        world.clock.advance(1)
        self.assertEqual(world.disk.operations - before, 3 + 1)
        world.storage.append(2, [entry(2, data=bytes(320))])
        world.clock.advance(1)
        world.clock.advance(1)
        self.assertEqual(world.persisted, [1, 2])
        self.assertEqual(world.disk.operations - before, 4 + 2 + 3 + 1)
        world.settle()
        self.assertEqual(world.disk.operations - before, 4 + 2 + 4 + 2)
        [temporary] = [name for name in world.disk.list("raft") if name.endswith(".new")]
        file = world.disk.open("raft/" + temporary)
        self.assertEqual(file.read(5000, 0), bytes(1200))
        world.append(3, [entry(3, data=bytes(300))])
        self.assertEqual(len(world.segments()), 2)

    def test_file_without_zeros(self) -> None:
        """The first one is given up soon for one that has zeros, as is the one that a start finds."""
        self.patch(segments, "WORTH_ZEROS_BYTES", 1000)
        world = World(segment_bytes=10_000)
        world.append(1, [entry(1, data=bytes(900))])
        self.assertEqual(len(world.segments()), 1)
        world.append(2, [entry(2, data=bytes(100))])
        world.append(3, [entry(3)])
        self.assertEqual(len(world.segments()), 2)
        for index in range(4, 8):
            world.append(index, [entry(index, data=bytes(900))])
        self.assertEqual(len(world.segments()), 2)
        self.assertEqual(world.restart().last_index, 7)
        for index in range(8, 11):
            world.append(index, [entry(index, data=bytes(900))])
        self.assertEqual(len(world.segments()), 3)

    def test_nothing_in_it_yet(self) -> None:
        """A file that has no entries is kept, whatever it lacks."""
        self.patch(segments, "WORTH_ZEROS_BYTES", 1000)
        world = World(segment_bytes=10_000)
        world.append(1, [entry(1, data=bytes(1000))])
        world.append(2, [entry(2)])
        world.storage.append(3, [entry(3, data=bytes(5000))])  # another one is made
        world.storage.truncate(4, 2)
        world.storage.truncate(5, 1)
        world.settle()
        world.append(6, [entry(1)])
        self.assertEqual(world.restart().last_index, 1)

    def test_closed_while_a_spare_is_made(self) -> None:
        """What is left to do is not done."""
        self.patch(spares, "STEP_BYTES", 64)
        world = World(segment_bytes=1024)
        world.storage.append(1, [entry(1, data=bytes(500))])
        for _ in range(4):
            world.clock.advance(1)
        world.storage.close()
        world.settle()
        before = world.disk.operations
        world.settle()
        self.assertEqual(world.disk.operations, before)
        self.assertEqual(world.restart().last_index, 1)

    def test_one_spare_is_enough(self) -> None:
        """The file that was not ready in time is there for the segment after."""
        world = World(segment_bytes=1024)
        for number in range(1, 4):  # too fast for the disk
            world.storage.append(number, [entry(number, data=bytes(900))])
        world.settle()
        self.assertEqual(len([name for name in world.disk.list("raft") if name.endswith(".new")]), 1)

    def test_spare_fails(self) -> None:
        """An error among the zeros is no failure of the log."""
        world = World(segment_bytes=1024)
        world.storage.append(1, [entry(1, data=bytes(500))])
        world.clock.advance(1)
        world.clock.advance(1)
        world.disk.faults["write"] = OSError(5, "Input/output error")
        world.clock.advance(1)
        world.disk.faults.clear()
        world.append(2, [entry(2, data=bytes(500))])
        world.append(3, [entry(3, data=bytes(500))])
        self.assertEqual((world.persisted, world.failures), ([1, 2, 3], []))

    def test_no_room_for_a_spare(self) -> None:
        """That is no failure until the file is needed."""
        world = World(segment_bytes=1024)
        world.disk.faults["allocate"] = OSError(28, "No space left on device")
        world.append(1, [entry(1, data=bytes(500))])
        world.append(2, [entry(2, data=bytes(500))])
        self.assertEqual((world.persisted, world.failures), ([1, 2], []))
        world.storage.append(3, [entry(3)])
        self.assertEqual([seq for seq, _ in world.failures], [3])


class ReadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(segment_bytes=512)
        for index in range(1, 31):
            self.world.append(index, [entry(index)])
        self.size = 40 + len(entry(10).data)

    def test_ranges(self) -> None:
        """Any range, from memory and from the files, over the borders of files."""
        for _ in range(2):
            self.assertGreater(len(self.world.segments()), 3)
            for first in range(1, 31):
                for end in range(first + 1, 32):
                    self.assertEqual(self.world.storage.read(first, end, 1 << 20), entries(first, end - 1))
            self.world.restart()

    def test_bytes_after(self) -> None:
        """Headers of files and what is preallocated do not count, nor what is not held any more."""
        for _ in range(2):
            for index in range(32):
                expected = sum(40 + len(entry(later).data) for later in range(index + 1, 31))
                self.assertEqual(self.world.storage.bytes_after(index), expected)
            self.world.restart()
        first = self.world.storage.compact(20)
        self.assertGreater(first, 1)
        self.assertEqual(self.world.storage.bytes_after(0), self.world.storage.bytes_after(first - 1))

    def test_bytes_after_the_end_was_dropped(self) -> None:
        """The file that began there has no entries yet."""
        self.world.storage.truncate(31, 3)
        self.world.settle()
        for _ in range(2):
            self.assertEqual(self.world.storage.bytes_after(0), 2 * (40 + len(entry(1).data)))
            self.world.restart()

    def test_limit(self) -> None:
        """As many as fit, at least one."""
        for _ in range(2):
            for first in (10, 15, 20):
                for fit in range(1, 10):
                    for slack in (0, 1, self.size - 1):
                        found = self.world.storage.read(first, 31, fit * self.size + slack)
                        self.assertEqual(found, entries(first, first + fit - 1))
                for limit in (0, 1, self.size - 1):
                    self.assertEqual(self.world.storage.read(first, 31, limit), entries(first, first))
            self.world.restart()

    def test_large_entry_at_the_end_of_a_file(self) -> None:
        """One entry that is above the limit comes alone."""
        world = World(segment_bytes=128)
        world.append(1, [entry(1, data=bytes(200))])
        world.append(2, [entry(2)])
        self.assertEqual(len(world.segments()), 2)
        self.assertEqual(len(world.storage.read(1, 3, 100)), 1)

    def test_not_held(self) -> None:
        """Whoever asks for what is not there has a bug."""
        for first, end in ((0, 1), (31, 32), (30, 32), (5, 5)):
            with self.assertRaises(LookupError):
                self.world.storage.read(first, end, 100)

    def test_the_disk_lies(self) -> None:
        """What comes back from the disk is checked."""
        self.world.restart()
        name = self.world.segments()[1]
        first = int(name[:20])
        self.world.disk.damage(f"raft/{name}", 64 + self.size + 45)
        self.assertEqual(self.world.storage.read(first, first + 1, 100), entries(first, first))
        with self.assertRaisesRegex(
            StorageDamaged, f"raft/{name}: damaged at offset {64 + self.size} or behind"
        ):
            self.world.storage.read(first + 1, first + 3, 1000)


class FailureTests(SynchronousTestCase):
    def test_sync_fails(self) -> None:
        """Reported once; nothing is called durable or written any more, whatever comes."""
        world = World()
        world.append(1, [entry(1)])
        world.disk.faults["sync"] = OSError(5, "Input/output error")
        storage = world.storage
        storage.append(2, [entry(2)])
        storage.append(3, [entry(3)])
        world.settle()
        world.disk.faults.clear()
        name = world.segments()[-1]
        self.assertEqual(world.persisted, [1])
        self.assertEqual(world.said(), [(2, f"raft/{name}: Input/output error")])
        before = world.disk.operations
        storage.append(4, [entry(4)])
        storage.save_state(5, 2, "me")
        storage.truncate(6, 1)
        storage.reset(7, 10, 1)
        self.assertEqual(storage.compact(2), 1)
        world.settle()
        self.assertEqual(world.disk.operations, before)
        self.assertEqual((world.persisted, len(world.failures)), ([1], 1))
        storage.close()
        world.settle()
        self.assertTrue(1 <= world.restart().last_index <= 3)

    def test_write_fails(self) -> None:
        """A full disk is noticed at once; jobs under way report no success afterwards."""
        for fault, call, file in (
            ("write", lambda storage: storage.append(2, [entry(2)]), "0+1-0+1.segment"),
            ("write", lambda storage: storage.reset(2, 5, 1), "[12].new"),
            ("open", lambda storage: storage.truncate(2, 1), "[12].new"),
        ):
            world = World()
            world.storage.append(1, [entry(1)])
            world.disk.faults[fault] = OSError(28, "No space left on device")
            call(world.storage)
            [(seq, text)] = world.said()
            self.assertEqual(seq, 2)
            self.assertRegex(text, f"^raft/{file}: No space left on device$")
            world.disk.faults.clear()
            world.storage.append(3, [entry(3)])
            world.settle()
            self.assertEqual(world.persisted, [])
            self.assertEqual(world.restart().last_index, 1)

    def test_no_step_after_a_failed_one(self) -> None:
        """A segment gets no name if the one before it could not be synced, not even on closing."""
        world = World(segment_bytes=256)
        world.append(1, [entry(1, data=bytes(200))])
        storage = world.storage
        storage.append(2, [entry(2, data=bytes(200))])
        world.disk.faults["sync"] = OSError(5, "Input/output error")
        storage.append(3, [entry(3)])
        storage.close()
        world.settle()
        world.disk.faults.clear()
        self.assertEqual(len(world.segments()), 1)
        self.assertEqual(world.failures, [])  # nobody asks any more
        self.assertEqual(world.restart().last_index, 1)


class CloseTests(SynchronousTestCase):
    def test_everything_is_durable(self) -> None:
        """Also what nobody has been told of, and nobody is told any more."""
        world = World()
        world.storage.append(1, entries(1, 3))
        world.storage.append(2, entries(4, 5))
        world.storage.close()
        world.storage.close()
        world.disk.close()
        world.storage.append(3, [entry(6)])
        world.disk.crash()
        self.assertEqual(world.persisted, [])
        self.assertEqual(world.start().last_index, 5)
        self.assertEqual(world.storage.notes, [])
        self.assertEqual(world.all(), entries(1, 5))
        world.append(1, [entry(6)])
        world.disk.crash()
        self.assertEqual(world.start().last_index, 6)

    def test_sealed_log_must_be_whole(self) -> None:
        """After an orderly end a bad last entry is damage, not a torn write."""
        world = World()
        world.append(1, entries(1, 3))
        world.storage.close()
        world.disk.close()
        world.disk.damage("raft/" + world.segments()[0], 64 + 2 * 47 + 41)
        with self.assertRaisesRegex(StorageDamaged, "offset 158: entry 3 cannot be read, though it was once"):
            world.start()
