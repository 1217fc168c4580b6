"""The table of network coordinates."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.state import commands
from pyconsul.state.coordinate import ALL, distance_s
from pyconsul.state.records import Decoder, encode
from pyconsul.state.store import Store
from pyconsul.structs.catalog import DeregisterRequest
from pyconsul.structs.coordinate import Coordinate, NodeCoordinate
from tests.state.replica import Replica, Waiter


def place(node: str, far: float, segment: str = "") -> NodeCoordinate:
    """A node ``far`` seconds out on the first axis."""
    return NodeCoordinate(node=node, segment=segment, coord=Coordinate((far,) + (0.0,) * 7))


class TableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.replica = Replica()
        self.table = self.replica.store.coordinates
        self.replica.register("b")
        self.replica.register("A")

    def write(self, *rows: NodeCoordinate) -> None:
        self.replica.apply(commands.encode_coordinates(list(rows)))

    def forget(self, node: str) -> None:
        self.replica.apply(commands.encode_deregister(DeregisterRequest(node=node)))

    def test_rows(self) -> None:
        """By node and segment; unknown nodes do not count."""
        self.assertEqual((self.table.index, self.table.all()), (0, []))
        self.write(place("b", 1.0), place("nobody", 1.0), place("a", 2.0, "x"), place("A", 3.0))
        self.assertEqual(self.table.all(), [place("A", 3.0), place("a", 2.0, "x"), place("b", 1.0)])
        self.assertEqual(self.table.of_node("B"), (3, [place("b", 1.0)]))
        self.assertEqual(self.table.of_node("nobody"), (0, []))
        self.assertEqual(dict(self.table.places("a")), {"x": place("a", 2.0, "x"), "": place("A", 3.0)})

    def test_indexes(self) -> None:
        """Of all, of each node, and of what is not there."""
        self.write(place("b", 1.0), place("a", 1.0))
        self.write(place("b", 2.0))
        self.write(place("nobody", 1.0))
        self.assertEqual(self.table.index, 4)
        self.assertEqual([self.table.of_node(name)[0] for name in ("a", "b", "c")], [3, 4, 0])
        self.forget("b")
        self.assertEqual((self.table.index, self.table.of_node("b")), (6, (6, [])))
        self.assertEqual(self.table.of_node("a")[0], 3)
        self.replica.register("c")
        self.forget("c")  # it had none
        self.assertEqual((self.table.index, self.table.of_node("c")[0]), (6, 6))

    def test_watchers(self) -> None:
        """One node's news wakes nobody who waits for another."""
        everybody, one, other = Waiter(), Waiter(), Waiter()
        watches = self.replica.store.watches

        def watch() -> None:
            watches.register((ALL,), everybody)
            watches.register((("coordinate", "a"),), one)
            watches.register((("coordinate", "b"),), other)

        watch()
        self.write(place("A", 1.0), place("nobody", 1.0))
        self.assertEqual((everybody.woken, one.woken, other.woken), (1, 1, 0))
        watch()
        self.forget("a")
        self.assertEqual((everybody.woken, one.woken, other.woken), (2, 2, 0))
        watch()
        self.replica.register("c", checks=[{"name": "c"}])
        self.forget("c")
        self.assertEqual((everybody.woken, one.woken, other.woken), (2, 2, 0))

    def test_snapshots(self) -> None:
        """A restored store is equal to the last index, and goes on alike."""
        self.write(place("b", 1.0), place("a", 1.0, "x"), place("a", 2.0))
        self.write(place("b", 2.0))
        self.forget("b")
        store = self.replica.store
        copy = Store()
        copy.restore(store.snapshot())
        self.assertEqual(copy.digest(), store.digest())
        self.assertEqual(copy.coordinates.all(), self.table.all())
        decoder = Decoder()
        for slice_ in encode(store.snapshot()):
            decoder.feed(slice_)
        again = Store()
        again.restore(decoder.finish())
        self.assertEqual(again.coordinates.snapshot(), self.table.snapshot())
        self.assertEqual(decoder.skipped.counts, {})
        snapshot = store.snapshot()
        self.write(place("a", 9.0))
        self.assertNotIn(place("a", 9.0), snapshot.coordinates.rows)

    def test_distances(self) -> None:
        """Within a segment that both are in; infinite without one."""
        here, there = {"": place("a", 1.0)}, {"": place("b", 3.0)}
        self.assertAlmostEqual(distance_s(here, there), 2.00002)
        client, server = {"x": place("a", 1.0, "x")}, {"": place("b", 3.0), "x": place("b", 2.0, "x")}
        self.assertAlmostEqual(distance_s(client, server), 1.00002)
        self.assertAlmostEqual(distance_s(server, client), 1.00002)
        self.assertAlmostEqual(distance_s(server, there), 0.00002)
        self.assertEqual(distance_s(client, there), float("inf"))
        self.assertEqual(distance_s({}, there), float("inf"))
        odd = {"": NodeCoordinate(node="c", coord=Coordinate((0.0,) * 3))}
        self.assertEqual(distance_s(here, odd), float("inf"))
