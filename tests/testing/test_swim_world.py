"""A hundred gossip cores on virtual time, held to what was published about SWIM and Lifeguard."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import PyconsulError
from pyconsul.swim.messages import STATE_ALIVE, STATE_DEAD
from pyconsul.testing import swim_world
from pyconsul.testing.chart import Bars, Lines, Series, draw
from pyconsul.testing.swim_figures import (
    FALSE_POSITIVE_SHARE,
    FIRST_DETECTION,
    LIFEGUARD,
    OURS,
    PLAIN,
    WAYS,
    join_bound_s,
    main,
    measure_accuracy,
    measure_spread,
)
from pyconsul.testing.swim_world import SwimWorld

MEMBERS = 100


class SpreadTests(SynchronousTestCase):
    def test_within_the_bounds(self) -> None:
        spread = measure_spread(MEMBERS)
        self.assertLessEqual(spread.join_s, join_bound_s(MEMBERS))
        self.assertLessEqual(spread.known_s, join_bound_s(MEMBERS))
        self.assertLess(spread.suspected_s, (2 * FIRST_DETECTION + 1) * OURS.probe_interval_s)
        self.assertLess(spread.failed_s, 15.0)
        self.assertLess(spread.sent, 3.0)

    def test_with_loss(self) -> None:
        spread = measure_spread(MEMBERS, seed=2, lost=0.1)
        self.assertLessEqual(spread.join_s, join_bound_s(MEMBERS))
        self.assertLessEqual(spread.known_s, join_bound_s(MEMBERS))

    def test_a_seed_repeats(self) -> None:
        first, again, other = (measure_spread(20, seed=seed) for seed in (3, 3, 4))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)


class AccuracyTests(SynchronousTestCase):
    def test_lifeguard(self) -> None:
        """With loss and slow members healthy ones are hardly ever given up, and all are found again."""
        plain, ours = (measure_accuracy(MEMBERS, 60.0, timing) for timing in (PLAIN, OURS))
        self.assertGreater(plain.rate, 0.0)
        self.assertLessEqual(ours.rate, plain.rate * FALSE_POSITIVE_SHARE)
        self.assertTrue(plain.all_alive)
        self.assertTrue(ours.all_alive)


class WorldTests(SynchronousTestCase):
    def test_a_cut_heals(self) -> None:
        """A member that is cut off counts as dead, and is taken back when it is heard again."""
        world = SwimWorld(1, LIFEGUARD)
        world.settle(20)
        lost = next(iter(world.members.values()))
        world.cut.add(lost.address)
        self.assertIsNotNone(
            world.run_until(lambda: set(world.states_of(lost.name)) == {STATE_DEAD}, 60.0), world.deaths
        )
        world.cut.clear()
        self.assertIsNotNone(
            world.run_until(lambda: set(world.states_of(lost.name)) == {STATE_ALIVE}, 60.0)
        )

    def test_frozen_members(self) -> None:
        """A join through a member that does not run waits until it does, or fails in time."""
        world = SwimWorld(1, LIFEGUARD)
        world.settle(3)
        slow = next(iter(world.members.values()))
        slow.frozen_until = 2.0
        world.join(world.add(), slow)
        world.run(1.9)
        self.assertNotIn(STATE_ALIVE, world.states_of("n3"))
        self.assertIsNotNone(world.run_until(lambda: set(world.states_of("n3")) == {STATE_ALIVE}, 2.0))
        slow.frozen_until = 100.0
        world.join(world.add(), slow)
        self.assertRaisesRegex(PyconsulError, "n4 cannot join: .*timeout", world.run, 60.0)

    def test_nobody_there(self) -> None:
        world = SwimWorld(1, LIFEGUARD)
        one, two = world.add(), world.add()
        world.crash(one)
        world.join(two, one)
        self.assertRaisesRegex(PyconsulError, "connection refused", world.run, 1.0)

    def test_not_too_many(self) -> None:
        self.patch(swim_world, "MEMBERS_MAX", 2)
        world = SwimWorld(1, LIFEGUARD)
        self.assertRaisesRegex(PyconsulError, "at most 2 members", world.settle, 3)


class PictureTests(SynchronousTestCase):
    def test_command(self) -> None:
        """What the documentation shows is written by one command."""
        folder = Path(self.mktemp())
        folder.mkdir()
        said: list[str] = []
        main(folder, [10, 30], 0.02, said.append)
        self.assertEqual(len(said), 4)
        root = ElementTree.fromstring((folder / "gossip-figures.svg").read_text())
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        self.assertLessEqual({"SWIM", "SWIM / 50", "Lifeguard", "pyconsul"}, set(texts))
        table = (folder / "gossip-figures.inc").read_text()
        self.assertEqual(table.count("csv-table"), 2)
        for name, _ in WAYS:
            self.assertIn(f"\n   30, 0.0, {name}, ", table)

    def test_text_is_escaped(self) -> None:
        lines = Lines("a < b & c", "x", "y", (Series("one", [1, 10], [2, 3]),))
        picture = draw((lines, Bars("none", "x", (("zero", 0.0),))))
        root = ElementTree.fromstring(picture)
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        self.assertIn("a < b & c", texts)
        self.assertEqual(picture.count("<polyline"), 1)
        self.assertEqual(picture.count("<g "), 2)
