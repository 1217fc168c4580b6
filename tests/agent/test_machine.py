from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.machine import (
    INTERRUPTED,
    Image,
    RestorePiece,
    StateMachine,
    _encode,
    abort,
    pieces,
)
from pyconsul.errors import Refused
from pyconsul.raft.messages import COMMAND, CONFIGURATION, NOOP, RESTORE, Entry
from pyconsul.state import commands
from pyconsul.state.fsm import FSM
from pyconsul.state.store import Store
from tests.agent.fixture import put


def state(index: int, count: int = 3) -> Store:
    """A store with some keys, whose last index is ``index``."""
    store = Store()
    for number in range(count):
        store.kv.set(index, f"new{number:05d}", b"v" * 300, 0)
    store.index = index
    return store


class MachineTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = Store()
        self.machine = StateMachine(FSM(self.store))
        self.replaced = 0
        self.machine.replaced = self.note
        self.index = 0

    def note(self) -> None:
        self.replaced += 1

    def apply(self, kind: int, data: bytes = b"") -> object:
        self.index += 1
        return self.machine.apply(Entry(1, self.index, kind, data))

    def write(self, key: str = "k") -> int:
        """Write a key; the index that it has then."""
        self.assertIs(self.apply(COMMAND, commands.encode_kv(put(key))), True)
        row = self.store.kv.row(key)
        assert row is not None
        return row.modify_index


class RestoreTests(MachineTestCase):
    def restore(self, store: Store) -> object:
        result: object = None
        for piece in pieces(store.snapshot()):
            result = self.apply(RESTORE, piece)
        return result

    def test_replaces_everything(self) -> None:
        """With the last piece, and not before."""
        self.write()
        parts = [*pieces(state(2, 4000).snapshot())]
        self.assertGreater(len(parts), 3)
        for part in parts[:-1]:
            self.assertEqual(self.apply(RESTORE, part), 0)
            self.assertFalse(self.machine.is_whole)
        self.assertIsNotNone(self.store.kv.row("k"))
        self.assertEqual((self.apply(RESTORE, parts[-1]), self.replaced), (self.index, 1))
        self.assertEqual(len(self.store.kv), 4000)
        self.assertTrue(self.machine.is_whole)
        self.assertEqual(self.store.index, self.index)
        self.assertEqual((self.machine.offset, self.write()), (0, self.index))

    def test_indexes_above_ours(self) -> None:
        """What is written later is newer than all that was restored."""
        self.assertEqual(self.restore(state(1000)), 1001)
        self.assertEqual(self.write(), 1002)
        self.assertEqual(self.restore(state(5)), 1003)  # and never goes back
        self.assertEqual(self.restore(state(2000)), 2001)
        self.assertEqual(self.write(), 2002)

    def test_small_state(self) -> None:
        """One piece."""
        self.assertEqual(len([*pieces(state(1, 0).snapshot())]), 1)
        self.assertEqual(self.restore(state(1, 0)), 2)

    def test_interrupted(self) -> None:
        """Another leader, pieces that do not follow, or one that says that it is over: nothing changes."""
        first, second, *_ = pieces(state(2, 3000).snapshot())
        for between in (
            lambda: self.apply(NOOP),
            lambda: self.apply(RESTORE, abort()),
            lambda: self.apply(RESTORE, b"\xc1"),
            lambda: self.apply(RESTORE, _encode(RestorePiece(5))),
        ):
            self.apply(RESTORE, first)
            between()
            if self.machine.is_whole:
                self.assertEqual(str(self.apply(RESTORE, second)), INTERRUPTED)
        self.assertEqual((self.replaced, len(self.store.kv)), (0, 0))
        self.apply(RESTORE, first)
        self.apply(RESTORE, first)
        self.assertEqual(self.apply(RESTORE, second), 0)  # it has begun anew

    def test_unreadable(self) -> None:
        """The same on all servers: refused."""
        for piece in (RestorePiece(0, True, b"\x01\0\0\0\xc1"), RestorePiece(0, True, b"")):
            result = self.apply(RESTORE, _encode(piece))
            self.assertIsInstance(result, Refused)
            self.assertIn("unreadable state", str(result))
        self.assertTrue(self.machine.is_whole)
        self.assertIsInstance(self.apply(RESTORE, b"\xc1"), Refused)

    def test_other_kinds(self) -> None:
        self.assertIsNone(self.apply(NOOP))
        self.assertIsNone(self.apply(CONFIGURATION))


class SnapshotTests(MachineTestCase):
    def test_snapshot(self) -> None:
        """Holds the store and what its indexes are above the log's."""
        for piece in pieces(state(1000).snapshot()):
            self.apply(RESTORE, piece)
        self.write()
        data = b"".join(self.machine.slices())
        digest = self.store.digest()
        self.write("later")
        other = StateMachine(FSM(Store()))
        decoder = other.decoder()
        decoder.feed(data)
        other.restore(decoder.finish())
        self.assertEqual((other.offset, other._store.digest()), (self.machine.offset, digest))

    def test_ends_a_restore(self) -> None:
        """The leader's snapshot is of another time than the pieces that came."""
        first, second, *_ = pieces(state(2, 3000).snapshot())
        self.apply(RESTORE, first)
        self.machine.restore(Image(0, Store().snapshot()))
        self.assertEqual((self.replaced, self.machine.is_whole), (1, True))
        self.assertEqual(str(self.apply(RESTORE, second)), INTERRUPTED)

    def test_two_servers_write_the_same(self) -> None:
        """One that was restored from a snapshot, and one that applied the log."""
        for number in range(50):
            self.write(f"k{number * 7 % 50}")
        other = StateMachine(FSM(Store()))
        decoder = other.decoder()
        for part in self.machine.slices():
            decoder.feed(part)
        other.restore(decoder.finish())
        for machine in (self.machine, other):
            machine.apply(Entry(1, 60, COMMAND, commands.encode_kv(put("k3"))))
            machine.apply(Entry(1, 61, COMMAND, commands.encode_kv(put("new"))))
        self.assertEqual(b"".join(self.machine.slices()), b"".join(other.slices()))
