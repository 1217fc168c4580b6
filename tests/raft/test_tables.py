from __future__ import annotations

from enum import Enum
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft import core, progress
from pyconsul.raft.events import Role
from pyconsul.raft.messages import RequestVote, TimeoutNow
from pyconsul.raft.progress import Progress
from pyconsul.raft.reference import render
from pyconsul.raft.tables import PACES, ROLES, Pace, Step
from pyconsul.testing.network import CALM
from pyconsul.testing.raft_world import RaftWorld
from tests.raft.single import Single, configuration, snapshot
from tests.sim.test_raft_world import FAR, HARSH

SEEDS = 12


class Watched(dict[Any, Any]):
    """A table that notes which of its cells the code looks at."""

    def __init__(self, table: Any) -> None:
        self.seen: set[tuple[Enum, Enum]] = set()
        super().__init__({event: _Row(self, event, row) for event, row in table.items()})


class _Row(dict[Any, Any]):
    def __init__(self, table: Watched, event: Enum, row: Any) -> None:
        super().__init__(row)
        self._table = table
        self._event = event

    def __getitem__(self, state: Enum) -> Any:
        self._table.seen.add((self._event, state))
        return super().__getitem__(state)


def moving(table: Any) -> set[tuple[Enum, Enum]]:
    """The cells that lead to another state."""
    return {
        (event, state) for event, row in table.items() for state, to in row.items() if to.state is not state
    }


class TablesTests(SynchronousTestCase):
    def test_every_way_is_gone(self) -> None:
        """Among faults of all kinds, what the tables show happens, and nothing else (that would raise)."""
        roles, paces = Watched(ROLES), Watched(PACES)
        self.patch(core, "ROLES", roles)
        self.patch(progress, "PACES", paces)
        for seed in range(SEEDS):
            RaftWorld(seed, plan=HARSH, conditions=FAR if seed % 2 else CALM).trouble(40.0)
        self.rare()
        cells = {(cause, role) for cause, row in ROLES.items() for role in row}
        self.assertEqual(cells - roles.seen, set())
        self.assertEqual(moving(PACES) - paces.seen, set())

    def rare(self) -> None:
        """What takes many hours to happen by itself."""
        one = Single()
        one.lead()
        one.heartbeat("b", one.core.term + 1)
        self.assertEqual(one.core.role, Role.FOLLOWER)
        one = Single()
        one.time_out()
        one.receive("b", RequestVote(1, 9, 1))
        self.assertEqual((one.core.role, one.core.voted_for), (Role.FOLLOWER, "b"))
        one = Single()
        one.time_out()
        one.receive("b", TimeoutNow(1))
        self.assertEqual((one.core.role, one.core.term), (Role.CANDIDATE, 2))
        one.core._s.membership.reset(1, configuration("bc"))  # as by a snapshot that was on its way
        one.time_out()
        self.assertEqual(one.core.role, Role.FOLLOWER)
        follower = Progress("b", "b:8300", 5, 0.0)
        follower.forget()  # another disk, the same id
        self.assertEqual(follower.pace, Pace.REPLICATE)
        follower.begin_snapshot(snapshot(9, 1))
        self.assertEqual(follower.pace, Pace.SNAPSHOT)

    def test_complete(self) -> None:
        """Every event is there, and a follower that is sent a snapshot is asked nothing else."""
        self.assertEqual({pace for row in PACES.values() for pace in row}, set(Pace))
        self.assertEqual(set(PACES), set(Step))
        self.assertEqual({role for row in ROLES.values() for role in row}, set(Role))


class RenderTests(SynchronousTestCase):
    def test_render(self) -> None:
        """Each event is a row, each state a column."""
        text = render()
        self.assertEqual(text.count(".. list-table::"), 2)
        self.assertEqual(text.count("\n   * - "), 2 + len(ROLES) + len(PACES))
        self.assertIn("   * - a majority votes for it\n     - (cannot be)\n     - **LEADER**: appends", text)
        self.assertIn("     - stays: begins again, in the same way\n     - (cannot be)\n", text)
        self.assertIn(".. [#lost] A heartbeat", text)
