"""The small parts of the core: awareness, timers, broadcasts, the table of nodes."""

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.swim.awareness import Awareness
from pyconsul.swim.broadcasts import BroadcastQueue, retransmit_limit
from pyconsul.swim.messages import STATE_ALIVE, STATE_DEAD, STATE_LEFT, STATE_SUSPECT
from pyconsul.swim.nodes import Node, NodeTable
from pyconsul.swim.timers import Timers


class AwarenessTests(SynchronousTestCase):
    def test_bounds(self) -> None:
        awareness = Awareness(7)
        awareness.add(-1)
        self.assertEqual(awareness.score, 0)
        self.assertEqual(awareness.scale(0.5), 0.5)
        awareness.add(20)
        self.assertEqual(awareness.score, 7)
        self.assertEqual(awareness.scale(0.5), 4.0)
        awareness.add(-2)
        self.assertEqual(awareness.score, 5)


class TimerTests(SynchronousTestCase):
    def test_order(self) -> None:
        timers, seen = Timers(), []
        timers.at(2.0, lambda: seen.append("b"))
        timers.at(1.0, lambda: seen.append("a"))
        timers.at(2.0, lambda: seen.append("c"))
        self.assertEqual(timers.next_deadline(), 1.0)
        timers.run(0.5)
        self.assertEqual(seen, [])
        timers.run(2.0)
        self.assertEqual(seen, ["a", "b", "c"])
        self.assertIsNone(timers.next_deadline())

    def test_cancel(self) -> None:
        timers, seen = Timers(), []
        first = timers.at(1.0, lambda: seen.append("a"))
        timers.at(2.0, lambda: seen.append("b"))
        first.cancel()
        self.assertEqual(timers.next_deadline(), 2.0)
        other = timers.at(1.5, lambda: seen.append("c"))
        timers.at(1.0, other.cancel)
        timers.run(3.0)
        self.assertEqual(seen, ["b"])

    def test_what_is_added_meanwhile_waits(self) -> None:
        """A call that adds another one at once cannot keep the core from coming back."""
        timers, seen = Timers(), []

        def again() -> None:
            seen.append("again")
            timers.at(1.0, again)

        timers.at(1.0, again)
        timers.run(1.0)
        self.assertEqual(seen, ["again"])
        self.assertEqual(timers.next_deadline(), 1.0)

    def test_cancelled_calls_do_not_pile_up(self) -> None:
        timers = Timers()
        for number in range(1000):
            timers.at(1e6 + number, lambda: None).cancel()
            timers.run(float(number))
        self.assertLess(len(timers._heap), 100)


class BroadcastTests(SynchronousTestCase):
    def test_limit(self) -> None:
        self.assertEqual([retransmit_limit(4, n) for n in (1, 2, 9, 10, 99, 100)], [4, 4, 4, 8, 8, 12])

    def test_each_goes_out_so_often(self) -> None:
        done: list[str] = []
        queue = BroadcastQueue(10)
        queue.add(b"x", done=lambda: done.append("x"))
        for _ in range(3):
            self.assertEqual(queue.take(100, 2, 3)[0], [b"x"])
        self.assertEqual((done, len(queue), queue.take(100, 2, 3)), (["x"], 0, ([], 100)))

    def test_newer_replaces_older_about_the_same(self) -> None:
        done: list[str] = []
        queue = BroadcastQueue(10)
        queue.add(b"old", "n", lambda: done.append("old"))
        queue.take(100, 2, 3)
        queue.add(b"other", "m")
        queue.add(b"new", "n", lambda: done.append("new"))
        self.assertEqual(done, ["old"])
        self.assertEqual(sorted(queue.take(100, 2, 3)[0]), [b"new", b"other"])

    def test_order(self) -> None:
        """Least sent first, then the largest that fits, then the newest."""
        queue = BroadcastQueue(10)
        queue.add(b"first" * 4)
        queue.take(100, 2, 9)
        for message in (b"aa", b"bbbb", b"cc"):
            queue.add(message)
        self.assertEqual(queue.take(100, 2, 9)[0], [b"bbbb", b"cc", b"aa", b"first" * 4])
        self.assertEqual(queue.take(5, 2, 9)[0], [b"cc"])
        self.assertEqual(queue.take(10, 2, 9), ([b"bbbb", b"aa"], 0))

    def test_a_tier_of_large_ones_does_not_hide_small_ones(self) -> None:
        queue = BroadcastQueue(10)
        queue.add(b"s")
        queue.take(100, 2, 9)
        queue.add(b"l" * 50)
        self.assertEqual(queue.take(20, 2, 9), ([b"s"], 17))
        self.assertEqual(queue.take(2, 2, 9), ([], 2))

    def test_clear(self) -> None:
        done: list[str] = []
        queue = BroadcastQueue(9)
        queue.add(b"one", "a", lambda: done.append("a"))
        queue.add(b"two")
        queue.clear()
        self.assertEqual((len(queue), done), (0, ["a"]))

    def test_bound(self) -> None:
        """The ones sent most go first."""
        done: list[str] = []
        queue = BroadcastQueue(2)
        queue.add(b"sent", done=lambda: done.append("sent"))
        queue.take(100, 2, 9)
        queue.add(b"b")
        queue.add(b"c")
        self.assertEqual((len(queue), done), (2, ["sent"]))


VERSIONS = b"\x01\x05\x02\x02\x05\x04"


def _node(name: str, state: int = STATE_ALIVE, changed: float = 0.0) -> Node:
    return Node(name, b"\x0a\x00\x00\x01", 1, ("10.0.0.1", 1), b"", VERSIONS, 1, state, changed)


class NodeTableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = NodeTable(Random(5))
        for name in ("me", "a", "b", "c", "d"):
            self.table.add(_node(name))

    def test_rounds(self) -> None:
        """Everybody once per round, in another order each time."""
        rounds = []
        for _ in range(6):
            names = [self.table.next_probed(0.0, "me", 30.0) for _ in range(4)]
            rounds.append(tuple(node.name for node in names if node))
            self.assertEqual(sorted(rounds[-1]), ["a", "b", "c", "d"])
        self.assertGreater(len(set(rounds)), 1)

    def test_the_gone_are_skipped_and_forgotten(self) -> None:
        for name, state in (("a", STATE_DEAD), ("b", STATE_LEFT), ("c", STATE_SUSPECT)):
            node = self.table.get(name)
            assert node is not None
            node.set_state(state, 10.0)
        names = {node.name for _ in range(8) if (node := self.table.next_probed(20.0, "me", 30.0))}
        self.assertEqual(names, {"c", "d"})
        self.assertEqual(len(self.table), 5)
        for _ in range(8):
            self.table.next_probed(41.0, "me", 30.0)
        self.assertEqual(sorted(node.name for node in self.table), ["c", "d", "me"])
        self.assertIsNone(self.table.get("a"))

    def test_nobody_to_probe(self) -> None:
        table = NodeTable(Random(5))
        table.add(_node("me", STATE_LEFT))
        self.assertIsNone(table.next_probed(100.0, "me", 30.0))
        self.assertEqual(len(table), 1)

    def test_choose(self) -> None:
        chosen = self.table.choose(3, lambda node: node.name != "me")
        self.assertEqual(len({node.name for node in chosen}), 3)
        self.assertEqual(self.table.choose(3, lambda node: False), [])

    def test_choose_where_few_fit(self) -> None:
        """One among a thousand is found, though drawing hardly ever hits it."""
        table = NodeTable(Random(4))
        for number in range(1000):
            table.add(_node(f"n{number}"))
        for _ in range(5):
            (chosen,) = table.choose(3, lambda node: node.name == "n77")
            self.assertEqual(chosen.name, "n77")

    def test_others_alive(self) -> None:
        self.assertTrue(self.table.others_alive("me"))
        for node in self.table:
            node.set_state(STATE_DEAD, 0.0)
        self.assertFalse(self.table.others_alive("me"))

    def test_encoded_state_follows_changes(self) -> None:
        node = _node("x")
        before = node.encode_state()
        self.assertIs(node.encode_state(), before)
        node.set_state(STATE_SUSPECT, 1.0)
        self.assertNotEqual(node.encode_state(), before)
        self.assertEqual(node.protocol_max, 5)
        self.assertEqual(Node("y", b"", 1, ("", 1), b"", b"", 0, 0, 0.0).protocol_max, 0)
