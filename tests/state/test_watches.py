"""The watch registry: who is woken, when, and who is not."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.state.watches import Watches
from tests.state.replica import Waiter


class WatchesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.watches = Watches()

    def wait(self, *keys: Any) -> Waiter:
        waiter = Waiter()
        self.watches.register(keys, waiter)
        return waiter

    def test_nothing_to_wake(self) -> None:
        """Touching and firing without watchers does nothing."""
        self.watches.touch_entry("a")
        self.watches.touch(("nodes",))
        self.watches.fire()
        self.assertEqual(len(self.watches), 0)

    def test_wakes_after_fire_and_once(self) -> None:
        """A touch only notes; ``fire`` wakes; afterwards the watcher is forgotten."""
        waiter = self.wait(("nodes",))
        self.watches.touch(("nodes",))
        self.assertEqual(waiter.woken, 0)
        self.watches.fire()
        self.watches.touch(("nodes",))
        self.watches.fire()
        self.assertEqual(waiter.woken, 1)

    def test_exact(self) -> None:
        """Other keys wake nobody."""
        waiter = self.wait(("node", "a"))
        self.watches.touch(("node", "b"))
        self.watches.touch(("nodes",))
        self.watches.fire()
        self.assertEqual((waiter.woken, len(self.watches)), (0, 1))

    def test_several_keys_wake_once(self) -> None:
        """A watcher of several keys is woken once, and forgotten on all of them."""
        waiter = self.wait(("nodes",), ("services",), ("kv", "a"), ("kvp", "a"))
        self.watches.touch(("nodes",))
        self.watches.touch_entry("ab")
        self.watches.fire()
        self.assertEqual((waiter.woken, len(self.watches)), (1, 0))
        self.watches.touch(("services",))
        self.watches.touch_entry("a")
        self.watches.fire()
        self.assertEqual(waiter.woken, 1)

    def test_forgetting_keeps_the_others(self) -> None:
        """Forgetting one watcher on its other keys leaves whoever shares them."""
        first = self.wait(("nodes",), ("services",), ("kvp", "x"))
        second = self.wait(("services",), ("kvp", "x"))
        self.watches.touch(("nodes",))
        self.watches.fire()
        self.assertEqual((first.woken, second.woken, len(self.watches)), (1, 0, 2))
        self.watches.touch_entry("xy")
        self.watches.fire()
        self.assertEqual((first.woken, second.woken, len(self.watches)), (1, 1, 0))

    def test_entries_and_prefixes(self) -> None:
        """A key wakes its own watchers and those of each of its prefixes, the empty one included."""
        waiters = {p: self.wait(("kvp", p)) for p in ("", "a", "a/", "a/b", "a/bc", "b", "a/b/")}
        exact = self.wait(("kv", "a/b"))
        longer = self.wait(("kv", "a/b/c"))
        self.watches.touch_entry("a/b")
        self.watches.fire()
        woken = {prefix for prefix, waiter in waiters.items() if waiter.woken}
        self.assertEqual(woken, {"", "a", "a/", "a/b"})
        self.assertEqual((exact.woken, longer.woken), (1, 0))
        self.assertEqual(len(self.watches), 4)

    def test_prefixes_of_one_length(self) -> None:
        """A length is probed as long as any prefix of it is watched."""
        one, two = self.wait(("kvp", "aa")), self.wait(("kvp", "bb"))
        self.watches.touch_entry("aa")
        self.watches.fire()
        self.watches.touch_entry("bbb")
        self.watches.fire()
        self.assertEqual((one.woken, two.woken), (1, 1))

    def test_cancel(self) -> None:
        """A cancelled watcher is not woken, not even if its change was noted before."""
        keys = (("kvp", "a"), ("nodes",))
        waiter, noted = Waiter(), Waiter()
        self.watches.register(keys, waiter)
        self.watches.register(keys, noted)
        self.watches.cancel(keys, waiter)
        self.watches.touch_entry("a")
        self.watches.cancel(keys, noted)
        self.watches.fire()
        self.assertEqual((waiter.woken, noted.woken, len(self.watches)), (0, 0, 0))
        self.watches.cancel(keys, waiter)

    def test_cancel_by_another_watcher(self) -> None:
        """Who is woken first may cancel who would be next."""
        keys = (("nodes",),)
        second = Waiter()

        class First:
            def wake(inner) -> None:
                self.watches.cancel(keys, second)

        self.watches.register(keys, First())
        self.watches.register(keys, second)
        self.watches.touch(("nodes",))
        self.watches.fire()
        self.assertEqual(second.woken, 0)

    def test_register_again_while_woken(self) -> None:
        """A watcher may wait on while it is being woken, without being woken for the same change."""
        watches = self.watches

        class Patient(Waiter):
            def wake(self) -> None:
                super().wake()
                watches.register((("kv", "a"), ("nodes",)), self)

        patient = Patient()
        watches.register((("kv", "a"), ("nodes",)), patient)
        for count in (1, 2):
            watches.touch_entry("a")
            watches.touch(("nodes",))
            watches.fire()
            self.assertEqual((patient.woken, len(watches)), (count, 2))

    def test_change_while_waking(self) -> None:
        """Changes made by a watcher are fired by the round under way."""
        later = self.wait(("services",))
        watches = self.watches

        class Writer:
            def wake(self) -> None:
                watches.touch(("services",))
                watches.fire()

        watches.register((("nodes",),), Writer())
        watches.touch(("nodes",))
        watches.fire()
        self.assertEqual(later.woken, 1)

    def test_order(self) -> None:
        """Watchers are woken in the order in which they came to a key."""
        order: list[int] = []

        class Numbered:
            def __init__(self, number: int) -> None:
                self.number = number

            def wake(self) -> None:
                order.append(self.number)

        for number in range(5):
            self.watches.register((("nodes",),), Numbered(number))
        self.watches.touch(("nodes",))
        self.watches.fire()
        self.assertEqual(order, [0, 1, 2, 3, 4])

    def test_a_failing_watcher(self) -> None:
        """The others are woken, then the failure comes out, and the registry goes on working."""

        class Broken:
            def wake(self) -> None:
                raise ValueError("broken")

        self.watches.register((("nodes",),), Broken())
        other = self.wait(("nodes",))
        self.watches.touch(("nodes",))
        self.assertRaises(ValueError, self.watches.fire)
        self.assertEqual(other.woken, 1)
        again = self.wait(("nodes",))
        self.watches.touch(("nodes",))
        self.watches.fire()
        self.assertEqual(again.woken, 1)

    def test_failures_that_are_told(self) -> None:
        """Each is told; none comes out, also when all are woken; who failed is forgotten."""

        class Broken:
            def __init__(self, text: str) -> None:
                self.text = text

            def wake(self) -> None:
                raise ValueError(self.text)

        told: list[str] = []
        self.watches.on_failure = lambda error: told.append(str(error))
        self.watches.register((("nodes",), ("kv", "a")), Broken("one"))
        self.watches.register((("nodes",),), Broken("two"))
        other = self.wait(("nodes",))
        self.watches.touch(("nodes",))
        self.watches.fire()
        self.assertEqual((told, other.woken, len(self.watches)), (["one", "two"], 1, 0))
        self.watches.register((("kv", "a"),), Broken("three"))
        self.watches.wake_all()
        self.assertEqual((told[2:], len(self.watches)), (["three"], 0))

    def test_wake_all(self) -> None:
        """Everybody is woken once and forgotten."""
        waiters = [self.wait(("nodes",), ("kv", "a")), self.wait(("kvp", "x")), self.wait(("kv", "b"))]
        self.watches.wake_all()
        self.assertEqual([waiter.woken for waiter in waiters], [1, 1, 1])
        self.assertEqual(len(self.watches), 0)
        prefix = self.wait(("kvp", "x"))
        self.watches.touch_entry("xy")
        self.watches.fire()
        self.assertEqual(prefix.woken, 1)

    def test_many_on_one_key(self) -> None:
        """Ten thousands wait on one key; half of them leave; the rest are woken."""
        keys = (("kv", "hot"),)
        waiters = [Waiter() for _ in range(20_000)]
        for waiter in waiters:
            self.watches.register(keys, waiter)
        for waiter in waiters[::2]:
            self.watches.cancel(keys, waiter)
        self.watches.touch_entry("hot")
        self.watches.fire()
        self.assertEqual(sum(waiter.woken for waiter in waiters), 10_000)
        self.assertEqual(sum(waiter.woken for waiter in waiters[::2]), 0)
