"""The in-memory view of the log, against a plain list."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft.log import ENTRY_OVERHEAD_BYTES, RaftLog
from pyconsul.raft.messages import Entry
from tests.raft.harness import Disk
from tests.raft.single import command

MANY = 1 << 30


def unread(first: int, end: int, bytes_max: int) -> list[Entry]:
    raise AssertionError("the disk is not to be read")


class TermTests(SynchronousTestCase):
    def test_empty(self) -> None:
        log = RaftLog(unread)
        self.assertEqual((log.last_index, log.last_term, log.base_index), (0, 0, 0))
        self.assertEqual(log.term_at(0), 0)
        self.assertIsNone(log.term_at(1))

    def test_recovered_terms(self) -> None:
        log = RaftLog(unread, terms=[1, 1, 3, 3, 3, 7])
        self.assertEqual([log.term_at(index) for index in range(8)], [0, 1, 1, 3, 3, 3, 7, None])
        self.assertEqual((log.last_index, log.last_term), (6, 7))

    def test_log_after_a_snapshot(self) -> None:
        """The entry before the first one is known by its term only."""
        log = RaftLog(unread, 10, 4, [4, 5])
        self.assertEqual([log.term_at(index) for index in range(9, 14)], [None, 4, 4, 5, None])
        self.assertEqual((log.last_index, log.last_term), (12, 5))

    def test_nothing_after_a_snapshot(self) -> None:
        log = RaftLog(unread, 10, 4)
        self.assertEqual((log.last_index, log.last_term), (10, 4))
        log.append([command(4, 11)])
        self.assertEqual([log.term_at(index) for index in (10, 11)], [4, 4])

    def test_base_of_unknown_term(self) -> None:
        """Entries kept from before the snapshot: the one before them is unknown."""
        log = RaftLog(unread, 10, None, [4, 5])
        self.assertEqual([log.term_at(index) for index in (10, 11, 12)], [None, 4, 5])

    def test_last_of_terms_to(self) -> None:
        log = RaftLog(unread, terms=[1, 1, 3, 3, 3, 7])
        for term, index, expected in (
            (7, 9, 6), (7, 4, 4), (6, 6, 5), (3, 6, 5), (2, 6, 2), (1, 1, 1), (0, 6, 0),
        ):  # fmt: skip
            self.assertEqual(log.last_of_terms_to(term, index), expected, (term, index))
        self.assertEqual(RaftLog(unread, 10, 4, [5]).last_of_terms_to(3, 11), 10)


class EntryTests(SynchronousTestCase):
    def test_batch_is_handed_out_as_it_is(self) -> None:
        """One list serves the disk, every follower and the state machine."""
        log = RaftLog(unread)
        batch = [command(1, 1), command(1, 2)]
        log.append(batch)
        self.assertIs(log.slice(1, 2, 10, 1000), batch)
        self.assertEqual(log.slice(1, 1, 10, 1000), batch[:1])
        self.assertEqual(log.slice(1, 2, 1, 1000), batch[:1])

    def test_limits(self) -> None:
        """At least one entry, however large, then as many as fit."""
        log = RaftLog(unread)
        log.append([command(1, index, b"x" * 68) for index in range(1, 10)])
        size = 68 + ENTRY_OVERHEAD_BYTES
        self.assertEqual(len(log.slice(1, 9, 4, MANY)), 4)
        self.assertEqual(len(log.slice(1, 9, 99, 3 * size)), 3)
        self.assertEqual(len(log.slice(2, 9, 99, 3 * size - 1)), 2)
        self.assertEqual(len(log.slice(1, 9, 99, 1)), 1)

    def test_old_entries_come_from_the_disk(self) -> None:
        disk = Disk()
        disk.entries = [command(1, index) for index in range(1, 6)]
        log = RaftLog(disk.read, terms=disk.terms)
        log.append([command(2, 6)])
        self.assertEqual(log.cached_first, 6)
        self.assertEqual(log.slice(2, 4, 99, MANY), disk.entries[1:4])
        self.assertEqual(log.slice(2, 6, 99, MANY), [*disk.entries[1:], command(2, 6)])
        self.assertEqual(log.slice(6, 6, 99, MANY), [command(2, 6)])

    def test_cache_is_bounded(self) -> None:
        """The oldest go first; what was just appended is always there."""
        disk = Disk()
        log = RaftLog(disk.read, cache_bytes_max=10 * (68 + ENTRY_OVERHEAD_BYTES))
        for index in range(1, 101):
            entry = command(1, index, b"x" * 68)
            log.append([entry])
            disk.entries.append(entry)
            self.assertEqual(log.slice(index, index, 1, MANY), [entry])
            self.assertLessEqual(index - log.cached_first, 11)
        self.assertGreater(log.cached_first, 80)
        self.assertEqual(log.slice(1, 100, 100, MANY), disk.entries)

    def test_truncate(self) -> None:
        log = RaftLog(unread)
        log.append([command(1, 1), command(2, 2), command(2, 3)])
        log.truncate(2)
        self.assertEqual((log.last_index, log.last_term), (1, 1))
        log.append([command(3, 2)])
        self.assertEqual(log.slice(1, 2, 9, MANY), [command(1, 1), command(3, 2)])

    def test_truncate_what_is_only_on_the_disk(self) -> None:
        disk = Disk()
        disk.entries = [command(1, 1), command(1, 2), command(2, 3)]
        log = RaftLog(disk.read, terms=disk.terms)
        log.truncate(2)
        del disk.entries[1:]
        log.append([command(4, 2)])
        self.assertEqual(log.slice(1, 2, 9, MANY), [command(1, 1), command(4, 2)])
        self.assertEqual(log.slice(2, 2, 9, MANY), [command(4, 2)])

    def test_compact(self) -> None:
        log = RaftLog(unread)
        log.append([command(1, 1), command(1, 2), command(2, 3), command(2, 4)])
        log.compact(3)
        self.assertEqual((log.base_index, log.base_term, log.last_index), (3, 2, 4))
        self.assertEqual([log.term_at(index) for index in (2, 3, 4)], [None, 2, 2])
        log.compact(2)
        self.assertEqual(log.base_index, 3)
        log.compact(4)
        self.assertEqual((log.base_index, log.last_index, log.last_term), (4, 4, 2))
        log.append([command(2, 5)])
        self.assertEqual(log.slice(5, 5, 9, MANY), [command(2, 5)])

    def test_like_a_list(self) -> None:
        """Random appends, truncations and compactions."""
        for seed in range(30):
            self._random(Random(seed))

    def _random(self, rng: Random) -> None:
        disk = Disk()
        entries = disk.entries
        log = RaftLog(disk.read, cache_bytes_max=rng.choice([100, 1000, 100_000]))
        term = 1
        for _ in range(60):
            term += rng.random() < 0.3
            choice = rng.random()
            last = len(entries)
            if choice < 0.6:
                batch = [command(term, last + 1 + n) for n in range(rng.randint(1, 5))]
                log.append(batch)
                entries.extend(batch)
            elif choice < 0.8 and last > log.base_index:
                first = rng.randint(log.base_index + 1, last)
                log.truncate(first)
                del entries[first - 1 :]
            elif choice < 0.9:
                log.compact(rng.randint(log.base_index, last))
            self.assertEqual(log.last_index, len(entries))
            for index in range(log.base_index, log.last_index + 1):
                self.assertEqual(log.term_at(index), entries[index - 1].term if index else 0)
            if log.last_index > log.base_index:
                first = rng.randint(log.base_index + 1, log.last_index)
                found = list(log.slice(first, log.last_index, 99, MANY))
                self.assertTrue(found)
                self.assertEqual(found, entries[first - 1 :][: len(found)])
