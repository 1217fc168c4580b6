"""The rules about nodes, cell by cell (specs of gossip, section 8)."""

from __future__ import annotations

from typing import Any

from pyconsul.swim.core import VERSIONS
from pyconsul.swim.events import Leave, LeaveEnded, Tick, UpdateMeta
from pyconsul.swim.messages import (
    STATE_ALIVE,
    STATE_DEAD,
    STATE_LEFT,
    STATE_SUSPECT,
    Alive,
    Dead,
    NodeState,
    Suspect,
)
from tests.swim.fixture import ME, CoreTestCase, addr_of, alive


class StateTableTests(CoreTestCase):
    """State before, message, state after, what the layer above is told, what is spread."""

    def _put(self, state: int) -> None:
        """Make ``a`` known in this state at incarnation 5."""
        self.receive(alive("a", 5))
        if state == STATE_SUSPECT:
            self.receive(Suspect(5, "a", "x"))
        elif state == STATE_DEAD:
            self.receive(Dead(5, "a", "x"))
        elif state == STATE_LEFT:
            self.receive(Dead(5, "a", "a"))
        self.assertEqual(self.node("a").state, state)
        self.quiet()

    def _check(self, before: int, message: Any, after: int, told: str = "", spread: bool = True) -> None:
        self.setUp()
        self._put(before)
        self.receive(message)
        case = f"{before} {message}"
        self.assertEqual(self.node("a").state, after, case)
        self.assertEqual(self.above.told, [(told, "a")] if told else [], case)
        self.assertEqual(self.news(), [message] if spread else [], case)
        if spread:
            self.assertEqual(self.node("a").incarnation, message.incarnation)
        else:
            self.assertEqual(self.node("a").incarnation, 5)

    def test_unknown(self) -> None:
        self.receive(Suspect(5, "a", "x"), Dead(5, "a", "x"), alive("a", 0))
        self.assertIsNone(self.core.nodes.get("a"))
        self.receive(alive("a", 1))
        self.assertEqual(self.node("a").state, STATE_ALIVE)
        self.assertEqual(self.above.told, [("join", "a")])
        self.assertIn(alive("a", 1), self.news())

    def test_alive(self) -> None:
        for incarnation in (4, 5):
            self._check(STATE_ALIVE, alive("a", incarnation), STATE_ALIVE, spread=False)
        self._check(STATE_ALIVE, alive("a", 6), STATE_ALIVE)
        self._check(STATE_ALIVE, alive("a", 6, b"new"), STATE_ALIVE, "update")
        self._check(STATE_ALIVE, Suspect(4, "a", "x"), STATE_ALIVE, spread=False)
        for incarnation in (5, 6):
            self._check(STATE_ALIVE, Suspect(incarnation, "a", "x"), STATE_SUSPECT)
            self._check(STATE_ALIVE, Dead(incarnation, "a", "x"), STATE_DEAD, "left")
            self._check(STATE_ALIVE, Dead(incarnation, "a", "a"), STATE_LEFT, "left")
        self._check(STATE_ALIVE, Dead(4, "a", "x"), STATE_ALIVE, spread=False)

    def test_suspect(self) -> None:
        self._check(STATE_SUSPECT, alive("a", 5), STATE_SUSPECT, spread=False)
        self._check(STATE_SUSPECT, alive("a", 6), STATE_ALIVE)
        self._check(STATE_SUSPECT, Suspect(5, "a", "x"), STATE_SUSPECT, spread=False)
        self._check(STATE_SUSPECT, Dead(5, "a", "x"), STATE_DEAD, "left")
        self._check(STATE_SUSPECT, Dead(5, "a", "a"), STATE_LEFT, "left")
        self._check(STATE_SUSPECT, Dead(4, "a", "a"), STATE_SUSPECT, spread=False)

    def test_dead_and_left(self) -> None:
        for state in (STATE_DEAD, STATE_LEFT):
            self._check(state, alive("a", 5), state, spread=False)
            self._check(state, alive("a", 6), STATE_ALIVE, "join")
            self._check(state, Suspect(6, "a", "x"), state, spread=False)
            self._check(state, Dead(6, "a", "a"), state, spread=False)

    def test_suspicion_ends(self) -> None:
        """Nobody refutes in time: dead, and we are the one who says so."""
        self._put(STATE_SUSPECT)
        self.advance(3.9)
        self.feed(UpdateMeta(b"keep"))
        self.assertEqual(self.node("a").state, STATE_SUSPECT)
        self.advance(0.2)
        self.assertEqual(self.node("a").state, STATE_DEAD)
        self.assertEqual(self.above.told, [("update", "me"), ("left", "a")])
        self.assertIn(Dead(5, "a", "me"), self.news())

    def test_refuted_in_time(self) -> None:
        self._put(STATE_SUSPECT)
        self.receive(alive("a", 6))
        self.advance(4.5)
        self.assertNotIn(("left", "a"), self.above.told)

    def test_after_we_stood_still(self) -> None:
        """What refutes the suspicion is read before it ends, within a probe interval; then it ends."""
        for refuted in (True, False):
            self.setUp()
            self._put(STATE_SUSPECT)
            self.now += 20.0
            self.feed(Tick())
            self.assertEqual(self.node("a").state, STATE_SUSPECT)
            if refuted:
                self.receive(alive("a", 6))
            self.advance(1.1)
            self.assertEqual(("left", "a") in self.above.told, not refuted)

    def test_confirmations(self) -> None:
        """They are spread, and shorten the time, until there are enough of them."""
        self.add("bcdef")
        self._put(STATE_SUSPECT)
        for accuser, news in (("x", False), ("b", True), ("b", False), ("c", True), ("d", False)):
            self.quiet()
            self.receive(Suspect(5, "a", accuser))
            self.assertEqual(self.news(), [Suspect(5, "a", accuser)] if news else [])
        self.advance(4.1)
        self.assertEqual(self.node("a").state, STATE_DEAD)

    def test_a_late_confirmation_ends_it_at_once(self) -> None:
        self.add("bcdef")
        self._put(STATE_SUSPECT)
        self.advance(15.0)
        if self.node("a").state == STATE_SUSPECT:  # our own probes may have confirmed it
            self.receive(Suspect(5, "a", "b"), Suspect(5, "a", "c"))
        self.assertEqual(self.node("a").state, STATE_DEAD)


class AliveTests(CoreTestCase):
    def test_versions(self) -> None:
        for versions in (b"\0\5\2\2\5\4", b"\1\0\2\2\5\4", b"\6\5\2\2\5\4", b"", b"\1\5\2"):
            self.receive(alive("a", versions=versions))
            self.assertIsNone(self.core.nodes.get("a"), versions)
        self.above.hooked = False
        self.receive(alive("a", versions=b""))
        self.assertEqual(self.node("a").state, STATE_ALIVE)
        self.receive(alive("b", versions=b"\6\5\2"))
        self.assertIsNone(self.core.nodes.get("b"))

    def test_what_is_not_taken(self) -> None:
        for message in (alive("a", addr=b""), alive("a", addr=b"\1\2\3\4\5"), alive("a", meta=b"x" * 513)):
            self.assertEqual(len(self.problems(self.receive(message))), 1)
            self.assertIsNone(self.core.nodes.get("a"))
        self.above.refusal = "wrong datacenter"
        self.assertEqual(
            self.problems(self.receive(alive("a"))), ["ignoring alive message of 'a': wrong datacenter"]
        )
        self.assertIsNone(self.core.nodes.get("a"))

    def test_conflict(self) -> None:
        self.add("a")
        self.receive(alive("a", 9, port=99))
        self.assertEqual(self.above.told, [("conflict", "a")])
        self.assertEqual(self.node("a").port, 7946)

    def test_who_left_may_come_back_from_elsewhere(self) -> None:
        """Even with a lower incarnation, as it started anew."""
        self.receive(alive("a", 5), Dead(5, "a", "a"), alive("a", 1, port=99))
        self.assertEqual(self.node("a").state, STATE_ALIVE)
        self.assertEqual(self.node("a").address[1], 99)
        self.assertEqual(self.node("a").incarnation, 1)

    def test_the_dead_only_after_a_while(self) -> None:
        self.receive(alive("a", 5), Dead(5, "a", "x"))
        self.now = 30.0
        self.receive(alive("a", 6, port=99))
        self.assertEqual(self.above.told[-1], ("conflict", "a"))
        self.now = 30.1
        self.receive(alive("a", 6, port=99))
        self.assertEqual(self.node("a").state, STATE_ALIVE)

    def test_ipv6(self) -> None:
        self.receive(alive("a", addr=b"\0" * 15 + b"\1"))
        self.assertEqual(self.node("a").address, ("::1", 7946))


class AboutUsTests(CoreTestCase):
    def _about_me(self, incarnation: int, meta: bytes = b"meta", **more: Any) -> Alive:
        return alive("me", incarnation, meta, **({"addr": b"\x0a\0\0\1"} | more))

    def _refuted(self, incarnation: int) -> None:
        self.assertEqual(self.news(), [self._about_me(incarnation)])
        self.assertEqual(self.core.me.incarnation, incarnation)
        self.assertEqual(self.core.me.state, STATE_ALIVE)

    def setUp(self) -> None:
        super().setUp()
        self.quiet()

    def test_start(self) -> None:
        self.assertEqual((self.core.me.incarnation, self.core.me.address), (1, ME))

    def test_suspected(self) -> None:
        self.receive(Suspect(1, "me", "x"))
        self._refuted(2)
        self.assertEqual(self.core.awareness.score, 1)
        self.receive(Suspect(1, "me", "x"))
        self.assertEqual(self.core.me.incarnation, 2)

    def test_suspected_at_a_later_incarnation(self) -> None:
        """As after a restart, when others remember more than we do."""
        self.receive(Suspect(9, "me", "x"))
        self._refuted(10)

    def test_dead(self) -> None:
        self.receive(Dead(3, "me", "x"))
        self._refuted(4)
        self.assertEqual(self.above.told, [])

    def test_alive(self) -> None:
        self.receive(self._about_me(0, b"old"), self._about_me(1))
        self.assertEqual(self.news(), [])
        self.receive(self._about_me(1, b"other"))
        self._refuted(2)
        self.quiet()
        self.receive(self._about_me(7))
        self._refuted(8)

    def test_conflict(self) -> None:
        self.receive(self._about_me(7, port=99))
        self.assertEqual(self.above.told, [("conflict", "me")])
        self.assertEqual(self.news(), [])

    def test_the_last_incarnation(self) -> None:
        """Nobody can be brought there by one message, and who is there says so."""
        problems = self.problems(self.receive(Suspect(0xFFFFFFFF, "me", "x")))
        self.assertIn("impossible incarnation", problems[0])
        self.assertEqual(self.core.me.incarnation, 1)
        self.core.me.incarnation = 0xFFFFFFFF
        problems = self.problems(self.receive(Suspect(0xFFFFFFFF, "me", "x")))
        self.assertIn("cannot be refuted", problems[0])

    def test_update_meta(self) -> None:
        self.feed(UpdateMeta(b"new"))
        self.assertEqual(self.news(), [self._about_me(2, b"new")])
        self.assertEqual(self.above.told, [("update", "me")])


class LeaveTests(CoreTestCase):
    def test_alone(self) -> None:
        self.assertEqual(self.feed(Leave()), [LeaveEnded()])
        self.assertEqual(self.core.me.state, STATE_LEFT)

    def test_with_others(self) -> None:
        """It is over once the news went out as often as it should, or after a time."""
        self.add("a")
        self.assertEqual(self.feed(Leave()), [])
        effects = self.advance(2.0)
        dead = [to for message, to in self.sent(effects) if message == Dead(1, "me", "me")]
        self.assertGreaterEqual(len(dead), 4)
        self.assertEqual(effects.count(LeaveEnded()), 1)
        self.assertEqual(self.advance(10.0).count(LeaveEnded()), 0)

    def test_nobody_listens(self) -> None:
        """The queue cannot empty when the others fail meanwhile."""
        self.add("a")
        self.feed(Leave())
        self.receive(Dead(1, "a", "a"))
        self.core.gossip.queue.add(b"", "me")  # displaced: counts as sent
        self.assertEqual(self.advance(6.0).count(LeaveEnded()), 1)

    def test_no_more_refuting(self) -> None:
        self.add("a")
        self.feed(Leave())
        self.quiet()
        self.receive(Suspect(1, "me", "x"), Dead(1, "me", "x"), alive("me", 7, addr=b"\x0a\0\0\1"))
        self.assertEqual(self.news(), [])
        self.assertEqual(self.core.me.state, STATE_LEFT)


class MergeTests(CoreTestCase):
    def _merge(self, state: int, name: str = "a", incarnation: int = 5, port: int = 7946) -> None:
        self.core.membership.merge(
            [NodeState(name, addr_of(name), port, b"", incarnation, state, VERSIONS)]
        )

    def test_states(self) -> None:
        """Another node's word that somebody is dead is only a suspicion; that it left is believed."""
        self._merge(STATE_DEAD)
        self.assertIsNone(self.core.nodes.get("a"))
        self._merge(STATE_ALIVE)
        self.assertEqual(self.node("a").state, STATE_ALIVE)
        self._merge(STATE_DEAD)
        self.assertEqual(self.node("a").state, STATE_SUSPECT)
        self._merge(STATE_ALIVE, incarnation=6)
        self._merge(STATE_SUSPECT, incarnation=6)
        self.assertEqual(self.node("a").state, STATE_SUSPECT)
        self._merge(9, incarnation=7)
        self.assertEqual(self.node("a").incarnation, 6)
        self._merge(STATE_LEFT, incarnation=6)
        self.assertEqual(self.node("a").state, STATE_LEFT)

    def test_no_port_means_ours(self) -> None:
        self._merge(STATE_ALIVE, port=0)
        self.assertEqual(self.node("a").port, ME[1])
