"""The table with Autopilot's configuration, its log command and its place in snapshots."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.state import commands
from pyconsul.state.autopilot import WATCH
from pyconsul.state.store import Store
from pyconsul.structs.operator import AutopilotConfig
from tests.state.replica import Replica, Waiter


class AutopilotTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.replica = Replica()
        self.table = self.replica.store.autopilot

    def set(self, quorum: int, *, cas: int | None = None, only_first: bool = False) -> object:
        config = AutopilotConfig(min_quorum=quorum, create_index=70, modify_index=80 if cas is None else cas)
        return self.replica.apply(
            commands.encode_autopilot(config, cas=cas is not None, only_first=only_first)
        )

    def facts(self) -> tuple[int, int, int]:
        row = self.table.row
        assert row is not None
        return row.min_quorum, row.create_index, row.modify_index

    def test_set(self) -> None:
        """The whole row is replaced; its indexes are the log's, whatever the command says."""
        self.assertIsNone(self.table.row)
        self.assertIs(self.set(1), True)
        self.assertEqual(self.facts(), (1, 1, 1))
        self.assertIs(self.set(2), True)
        self.assertEqual(self.facts(), (2, 1, 2))

    def test_number(self) -> None:
        """The command has Consul's number."""
        self.assertEqual(commands.encode_autopilot(AutopilotConfig())[0], 9)

    def test_cas(self) -> None:
        """Only if it is still as it was; never if there is none."""
        self.assertIs(self.set(1, cas=0), False)
        self.assertIsNone(self.table.row)
        self.set(1)
        self.assertIs(self.set(2, cas=1), False)
        self.assertIs(self.set(2, cas=0), False)
        self.assertEqual(self.facts(), (1, 2, 2))
        self.assertIs(self.set(2, cas=2), True)
        self.assertEqual(self.facts(), (2, 2, 5))

    def test_only_first(self) -> None:
        """What a new leader writes does not undo what somebody chose."""
        self.assertIs(self.set(1, only_first=True), True)
        self.assertIs(self.set(2, only_first=True), False)
        self.assertEqual(self.facts(), (1, 1, 1))

    def test_watch(self) -> None:
        """Whoever waits is woken by a change, and by nothing else."""
        waiter = Waiter()
        self.replica.store.watches.register((WATCH,), waiter)
        self.set(1, cas=3)
        self.replica.kv("set", "a", b"1")
        self.assertEqual(waiter.woken, 0)
        self.set(1)
        self.assertEqual(waiter.woken, 1)

    def test_snapshot(self) -> None:
        """It is part of snapshots and of the digest."""
        empty = self.replica.store.digest()
        self.set(3)
        store = Store()
        self.assertEqual(store.digest(), empty)
        store.restore(self.replica.store.snapshot())
        self.assertEqual(store.autopilot.row, self.table.row)
        self.assertEqual(store.digest(), self.replica.store.digest())
        other = Replica()
        other.apply(commands.encode_autopilot(AutopilotConfig(min_quorum=4)))
        self.assertNotEqual(other.store.digest(), store.digest())
        store.restore(Store().snapshot())
        self.assertIsNone(store.autopilot.row)
