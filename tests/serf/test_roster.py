"""Members and intents, cell by cell (specs of serf, section 3)."""

from __future__ import annotations

from pyconsul.serf import roster
from pyconsul.serf.events import AnnounceJoin, ForceLeave, SetTags
from pyconsul.serf.members import Status
from pyconsul.serf.messages import JoinIntent, LeaveIntent
from pyconsul.swim.events import ExchangeEnded
from pyconsul.swim.messages import Alive
from tests.serf.fixture import SerfTestCase
from tests.swim.fixture import addr_of


class StatusTests(SerfTestCase):
    def _put(self, status: Status) -> None:
        """Make ``a`` a member with this status, its latest intent at time 5 if it has one."""
        self.alive("a")
        if status in (Status.LEAVING, Status.LEFT):
            self.user(LeaveIntent(5, "a"))
        if status in (Status.FAILED, Status.LEFT):
            self.dead("a")
        self.assertIs(self.status("a"), status)
        self.core.roster.records["a"].status_ltime = 5
        self.intents()

    def test_start(self) -> None:
        self.assertEqual(self.events(self.started), [("join", "me", Status.ALIVE)])
        self.assertEqual(self.core.roster.records["me"].member.tags, {"role": "test"})

    def test_gossip_says_alive(self) -> None:
        self.assertEqual(self.events(self.alive("a", tag="x")), [("join", "a", Status.ALIVE)])
        for status in (Status.FAILED, Status.LEFT):
            self.setUp()
            self._put(status)
            self.assertEqual(self.events(self.alive("a", 10, tag="x")), [("join", "a", Status.ALIVE)])
            self.assertEqual(self.core.roster.records["a"].member.tags, {"tag": "x"})
            self.assertEqual(self.core.roster.gone, {})

    def test_gossip_says_new_tags(self) -> None:
        self.alive("a", tag="x")
        self.assertEqual(self.events(self.alive("a", 2, tag="y")), [("update", "a", Status.ALIVE)])
        self.assertEqual(self.core.roster.records["a"].member.tags, {"tag": "y"})

    def test_gossip_says_gone(self) -> None:
        """Failed or left: the intent decides, not whose word it is."""
        for accuser in ("a", "x"):
            for before, kind, after in (
                (Status.ALIVE, "failed", Status.FAILED), (Status.LEAVING, "leave", Status.LEFT),
            ):  # fmt: skip
                self.setUp()
                self._put(before)
                self.assertEqual(self.events(self.dead("a", accuser)), [(kind, "a", after)])
                self.assertIn("a", self.core.roster.gone)

    def test_leave_intent(self) -> None:
        for before, after, events in (
            (Status.ALIVE, Status.LEAVING, []),
            (Status.LEAVING, Status.LEAVING, []),
            (Status.LEFT, Status.LEFT, []),
            (Status.FAILED, Status.LEFT, [("leave", "a", Status.LEFT)]),
        ):
            self.setUp()
            self._put(before)
            for ltime in (4, 5):
                self.assertEqual(self.events(self.user(LeaveIntent(ltime, "a"))), [])
                self.assertEqual((self.status("a"), self.intents()), (before, []))
            self.assertEqual(self.events(self.user(LeaveIntent(6, "a"))), events)
            self.assertEqual(self.status("a"), after)
            self.assertEqual(self.intents(), [LeaveIntent(6, "a")])

    def test_join_intent(self) -> None:
        for before, after in (
            (Status.ALIVE, Status.ALIVE), (Status.LEAVING, Status.ALIVE), (Status.LEFT, Status.LEFT),
            (Status.FAILED, Status.FAILED),
        ):  # fmt: skip
            self.setUp()
            self._put(before)
            self.user(JoinIntent(5, "a"))
            self.assertEqual((self.status("a"), self.intents()), (before, []))
            told = [("update", "a", after)] if before != after else []
            self.assertEqual(self.events(self.user(JoinIntent(6, "a"))), told)
            self.assertEqual((self.status("a"), self.intents()), (after, [JoinIntent(6, "a")]))

    def test_prune(self) -> None:
        """The failed and the gone are forgotten at once, the others once they have had time to leave."""
        for before, kinds in (
            (Status.FAILED, ["leave", "reap"]),
            (Status.LEFT, ["reap"]),
            (Status.LEAVING, []),
            (Status.ALIVE, []),
        ):
            self.setUp()
            self._put(before)
            events = self.events(self.user(LeaveIntent(6, "a", True)))
            self.assertEqual([kind for kind, *_ in events], kinds)
            if kinds:
                self.assertIsNone(self.status("a"))
            else:
                self.dead("a")
                self.assertIs(self.status("a"), Status.LEFT)
                self.assertEqual(self.events(self.advance(8.1)), [("reap", "a", Status.LEFT)])

    def test_a_pruned_member_that_lives(self) -> None:
        self._put(Status.LEAVING)
        self.user(LeaveIntent(6, "a", True))
        self.user(JoinIntent(7, "a"))
        self.assertEqual(self.events(self.advance(8.1)), [])
        self.assertIs(self.status("a"), Status.ALIVE)

    def test_a_pruned_member_whose_node_goes_later(self) -> None:
        self._put(Status.LEAVING)
        self.user(LeaveIntent(6, "a", True))
        self.advance(8.1)
        self.assertIsNone(self.status("a"))
        self.assertEqual(self.events(self.alive("a", 2, tag="new") + self.dead("a")), [])


class RecentIntentTests(SerfTestCase):
    def test_leave_before_join(self) -> None:
        self.user(LeaveIntent(5, "a"))
        self.user(LeaveIntent(4, "a"))
        self.assertEqual(self.intents(), [LeaveIntent(5, "a")])
        self.alive("a")
        self.assertIs(self.status("a"), Status.LEAVING)
        self.assertEqual(self.core.roster.records["a"].status_ltime, 5)

    def test_a_later_join(self) -> None:
        self.user(LeaveIntent(5, "a"))
        self.user(JoinIntent(6, "a"))
        self.alive("a")
        self.assertIs(self.status("a"), Status.ALIVE)
        self.assertEqual(self.core.roster.records["a"].status_ltime, 6)

    def test_forgotten_after_a_while(self) -> None:
        self.user(LeaveIntent(5, "a"))
        self.now = 301.0
        self.alive("a")
        self.assertIs(self.status("a"), Status.ALIVE)

    def test_bound(self) -> None:
        for number in range(4200):
            self.user(JoinIntent(5, f"n{number}"))
        self.assertLessEqual(len(self.core.roster._intents), 4096)
        self.now = 301.0
        self.user(JoinIntent(5, "a"))
        self.assertEqual(list(self.core.roster._intents), ["a"])


class AboutUsTests(SerfTestCase):
    def test_refuted(self) -> None:
        """Somebody says that we leave: we say that we are here, at a later time."""
        self.alive("a")
        self.user(LeaveIntent(5, "me"))
        self.assertIs(self.status("me"), Status.ALIVE)
        self.assertEqual(self.intents(), [JoinIntent(6, "me")])
        self.user(LeaveIntent(5, "me"))
        self.assertEqual(self.intents(), [])

    def test_announced(self) -> None:
        self.feed(AnnounceJoin())
        self.assertEqual(self.intents(), [JoinIntent(1, "me")])
        self.assertEqual(self.core.member_clock.time(), 2)

    def test_tags(self) -> None:
        events = self.events(self.feed(SetTags({"role": "other"})))
        self.assertEqual(events, [("update", "me", Status.ALIVE)])
        self.assertEqual(self.core.roster.records["me"].member.tags, {"role": "other"})


class ForceLeaveTests(SerfTestCase):
    def test_failed(self) -> None:
        self.alive("a")
        self.dead("a")
        self.assertEqual(self.events(self.feed(ForceLeave("a"))), [("leave", "a", Status.LEFT)])
        self.assertEqual(self.intents(), [LeaveIntent(1, "a")])
        self.feed(ForceLeave("a", True))
        self.assertIsNone(self.status("a"))
        self.assertEqual(self.intents(), [LeaveIntent(2, "a", True)])

    def test_alive(self) -> None:
        """Only until it says otherwise."""
        self.alive("a")
        self.feed(ForceLeave("a"))
        self.assertIs(self.status("a"), Status.LEAVING)
        self.user(JoinIntent(2, "a"))
        self.assertIs(self.status("a"), Status.ALIVE)

    def test_unknown(self) -> None:
        self.assertEqual(self.events(self.feed(ForceLeave("x"))), [])

    def test_ourselves(self) -> None:
        self.feed(ForceLeave("me"))
        self.assertIs(self.status("me"), Status.ALIVE)


class ReapTests(SerfTestCase):
    def test_times(self) -> None:
        """The failed after 72 hours, those who left after 24."""
        for name in "ab":
            self.alive(name)
        self.user(LeaveIntent(5, "b"))
        self.dead("a")
        self.dead("b")
        hour = 3600.0
        self.core.swim.context.timers._heap.clear()
        self.core._reaping = False
        self.core._arm_upkeep()
        self.assertEqual(self._reaped(24 * hour - 10), [])
        self.assertEqual(self._reaped(24 * hour + 3600), ["b"])
        self.assertEqual(self._reaped(72 * hour - 10), [])
        self.assertEqual(self._reaped(72 * hour + 3600), ["a"])
        self.assertEqual(self.core.roster.gone, {})

    def _reaped(self, until: float) -> list[str]:
        effects = self.advance(until - self.now)
        return [name for kind, name, _ in self.events(effects) if kind == "reap"]

    def test_reconnect(self) -> None:
        """Failed members are tried now and then; those who left are not."""
        self.alive("a")
        self.dead("a")
        streams = [effect for effect in self.advance(31.0) if hasattr(effect, "request")]
        self.assertEqual([effect.to for effect in streams], [("10.0.1.97", 7946)])
        problems = self.problems(self.feed(ExchangeEnded(streams[0].token, None, "refused")))
        self.assertEqual(problems, ["reconnect failed: refused"])
        self.feed(ForceLeave("a"))
        streams = [effect.to for effect in self.advance(300.0) if hasattr(effect, "request")]
        self.assertEqual(streams, [])

    def test_rarely_in_large_pools(self) -> None:
        for name in "abcdefghij":
            self.alive(name)
        self.dead("a")
        tried = [e for e in self.advance(3000.0) if getattr(e, "to", None) == ("10.0.1.97", 7946)]
        streams = [effect for effect in tried if hasattr(effect, "request")]
        self.assertTrue(1 <= len(streams) <= 40, len(streams))

    def test_conflicts_are_noted(self) -> None:
        self.alive("a")
        message = Alive(5, "a", addr_of("b"), 7946, b"", b"\1\5\2\2\5\4")
        text = "Name conflict for 'a' both 10.0.1.97:7946 and 10.0.1.98:7946 are claiming"
        self.assertEqual(self.problems(self.gossip(message)), [text])

    def test_more_than_can_be_remembered(self) -> None:
        """Of members that are gone, those are forgotten that have been so for longest."""
        self.patch(roster, "GONE_MAX", 3)
        for name in "abcde":
            self.alive(name)
        kinds = []
        for name in "abcd":
            self.advance(1.0)
            kinds += [event[:2] for event in self.events(self.dead(name))]
        self.assertEqual(kinds[-2:], [("failed", "d"), ("reap", "a")])
        self.assertEqual(list(self.core.roster.gone), ["b", "c", "d"])
        self.assertIsNone(self.status("a"))
        self.assertIs(self.status("e"), Status.ALIVE)
