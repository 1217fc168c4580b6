"""Pools of serf cores in memory, on virtual time."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.serf.coordinates import CoordinateClient
from pyconsul.serf.core import SerfCore
from pyconsul.serf.events import (
    AnnounceJoin,
    FireEvent,
    ForceLeave,
    SetTags,
    StartLeave,
    UserEventReceived,
)
from pyconsul.serf.members import MemberEvent, Status
from pyconsul.swim.events import LeaveEnded, PushPull
from pyconsul.swim.layers import Layers
from pyconsul.swim.timing import LAN
from tests.swim.world import World, address_of

COUNT = 20


class ClusterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(3)
        for number in range(COUNT):
            self._add(number)
        for number in range(1, COUNT):
            self._join(number)
        self.world.run(5.0)

    def _add(self, number: int) -> None:
        rng = Random(number)
        name, address = f"n{number}", address_of(number)
        core = SerfCore(name, address, LAN, Layers(rng.randbytes), rng, coordinates=CoordinateClient(rng))
        self.world.add(name, address, core, core.start(self.world.now, {"n": str(number)}))

    def _join(self, number: int) -> None:
        self.world.feed(address_of(number), PushPull(1, address_of(0), True, True))
        self.world.feed(address_of(number), AnnounceJoin())

    def _statuses(self, name: str) -> set[Any]:
        """What the others that live say about a member."""
        found = set()
        for address, core in self.world.cores.items():
            record = core.roster.records.get(name)
            if address not in self.world.cut and address != address_of(int(name[1:])):
                found.add(record.member.status if record is not None else None)
        return found

    def _events(self, kind: str) -> list[str]:
        return [
            effect.member.name for _, _, effect in self.world.effects
            if isinstance(effect, MemberEvent) and effect.kind == kind
        ]  # fmt: skip

    def test_converged(self) -> None:
        for number in range(COUNT):
            self.assertEqual(self._statuses(f"n{number}"), {Status.ALIVE})
        core = self.world.cores[address_of(7)]
        self.assertEqual(core.roster.records["n3"].member.tags, {"n": "3"})
        self.assertEqual(len(self._events("join")), COUNT * COUNT)

    def test_crash(self) -> None:
        self.world.cut.add(address_of(3))
        self.world.run(20.0)
        self.assertEqual(self._statuses("n3"), {Status.FAILED})
        self.assertEqual(self._events("failed"), ["n3"] * (COUNT - 1))
        self.world.feed(address_of(0), ForceLeave("n3"))
        self.world.run(3.0)
        self.assertEqual(self._statuses("n3"), {Status.LEFT})
        self.world.feed(address_of(1), ForceLeave("n3", True))
        self.world.run(3.0)
        self.assertEqual(self._statuses("n3"), {None})

    def test_leave(self) -> None:
        self.world.feed(address_of(3), StartLeave())
        self.world.run(8.0)
        self.assertEqual([name for _, name, e in self.world.effects if isinstance(e, LeaveEnded)], ["n3"])
        self.world.cut.add(address_of(3))
        self.world.run(20.0)
        self.assertEqual(self._statuses("n3"), {Status.LEFT})
        self.assertEqual(self._events("failed"), [])

    def test_force_leave_of_the_living(self) -> None:
        self.world.feed(address_of(0), ForceLeave("n3"))
        self.world.run(5.0)
        self.assertEqual(self._statuses("n3"), {Status.ALIVE})
        self.assertEqual(self._events("leave"), [])

    def test_back_after_leaving(self) -> None:
        self.world.feed(address_of(3), StartLeave())
        self.world.run(8.0)
        self._add(3)
        self._join(3)
        self.world.run(5.0)
        self.assertEqual(self._statuses("n3"), {Status.ALIVE})

    def test_failed_members_are_sought(self) -> None:
        """After a split both sides buried each other; reconnecting brings them together."""
        self.world.cut.update(address_of(number) for number in (18, 19))
        self.world.run(20.0)
        self.assertEqual(self._statuses("n18"), {Status.FAILED})
        self.world.cut.clear()
        self.world._timers.clear()
        for address, core in self.world.cores.items():
            self.world._perform(address, [])
            self.assertIsNotNone(core.next_deadline())
        self.world.run(600.0)
        for number in range(COUNT):
            self.assertEqual(self._statuses(f"n{number}"), {Status.ALIVE})

    def test_user_events_reach_everybody_once(self) -> None:
        self.world.feed(address_of(5), FireEvent("deploy", b"x"))
        self.world.run(5.0)
        heard = [name for _, name, effect in self.world.effects if isinstance(effect, UserEventReceived)]
        self.assertEqual(sorted(heard), sorted(self.world.names.values()))
        self._add(99)
        self._join(99)
        late = [e for _, name, e in self.world.effects if isinstance(e, UserEventReceived) and name == "n99"]
        self.assertEqual(late, [])

    def test_tags(self) -> None:
        self.world.feed(address_of(5), SetTags({"n": "new"}))
        self.world.run(3.0)
        for core in self.world.cores.values():
            self.assertEqual(core.roster.records["n5"].member.tags, {"n": "new"})
        self.assertEqual(self._events("update"), ["n5"] * COUNT)

    def test_coordinates(self) -> None:
        self.world.run(60.0)
        core = self.world.cores[address_of(5)]
        self.assertGreater(len(core.coordinates.peers), 10)
        self.assertLess(core.coordinates.coordinate.error, 1.5)
