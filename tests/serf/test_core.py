"""What comes in and goes out at the serf layer."""

from __future__ import annotations

from typing import Any

from pyconsul.serf.events import (
    FireEvent,
    ForceLeave,
    StartLeave,
    UserEventReceived,
)
from pyconsul.serf.members import Status
from pyconsul.serf.messages import JoinIntent, LeaveIntent, PushPullState, UserEvent
from pyconsul.swim.core import VERSIONS
from pyconsul.swim.events import Answer, ExchangeEnded, LeaveEnded, PushPull, PushPullEnded, Send
from pyconsul.swim.messages import Alive, Dead, NodeState
from pyconsul.swim.messages import PushPull as State
from pyconsul.swim.wire import DecodeError
from tests.serf.fixture import SerfTestCase
from tests.swim.fixture import addr_of, address_of


def _received(effects: list[Any]) -> list[UserEvent]:
    return [effect.event for effect in effects if isinstance(effect, UserEventReceived)]


class UserEventTests(SerfTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.alive("a")

    def test_once(self) -> None:
        event = UserEvent(4, "deploy", b"now", True)
        self.assertEqual(_received(self.user(event)), [event])
        self.assertEqual(self.spread_events(), [event])
        self.assertEqual(self.core.event_clock.time(), 5)
        self.assertEqual(self.user(event), [])
        self.assertEqual(self.user(UserEvent(4, "deploy", b"now", False)), [])
        self.assertEqual(self.spread_events(), [])
        self.assertEqual(len(_received(self.user(UserEvent(4, "deploy", b"then")))), 1)

    def test_too_old(self) -> None:
        self.user(UserEvent(1000, "new"))
        self.assertEqual(_received(self.user(UserEvent(400, "old"))), [])

    def test_fired(self) -> None:
        (event,) = _received(self.feed(FireEvent("deploy", b"x", True)))
        self.assertEqual(event, UserEvent(1, "deploy", b"x", True))
        self.assertEqual(self.spread_events(), [event])
        self.assertEqual(self.core.event_clock.time(), 2)

    def test_what_cannot_be_spread_is_not_kept(self) -> None:
        effects = self.user(UserEvent(4, "large", bytes(3000)))
        self.assertEqual(len(_received(effects)), 1)
        self.assertIn("too large to be spread", self.problems(effects)[0])
        self.assertEqual(len(self.core.event_queue), 0)


class OddMessageTests(SerfTestCase):
    def test_notes(self) -> None:
        for packet in (b"\x08", b"\x08\x63", b"\x08\x00", b"\x08\x03\xc1", b"\x08\x09\x80"):
            effects = self.packet(packet)
            self.assertEqual(len(self.problems(effects)) + len(effects) > 0, packet != b"\x08\x09\x80")

    def test_bad_addresses_are_noted(self) -> None:
        effects = self.gossip(Alive(1, "a", b"abc", 1, b"", VERSIONS))
        self.assertEqual(self.problems(effects), ["ignoring alive message of 'a': an address of 3 bytes"])

    def test_bad_coordinates_are_noted(self) -> None:
        class Odd:
            resets = 0

            def observe(self, node: str, payload: bytes, rtt_s: float) -> None:
                raise DecodeError("no coordinate")

        self.alive("a")
        self.core.coordinates = Odd()  # type: ignore[assignment]
        self.core.swim.begin(0.0)
        node = self.core.swim.nodes.get("a")
        assert node is not None
        self.core.probed(node, 0.1, b"x")
        self.assertEqual(self.problems(self.core.swim.end()), ["coordinate of 'a': no coordinate"])


class PushPullTests(SerfTestCase):
    def _state(self, **more: Any) -> PushPullState:
        fields: dict[str, Any] = {
            "ltime": 1, "status_ltimes": {}, "left": [], "event_ltime": 1, "events": [], "query_ltime": 1,
        }  # fmt: skip
        return PushPullState(**(fields | more))

    def _node(self, name: str) -> NodeState:
        return NodeState(name, addr_of(name), 7946, b"", 1, 0, VERSIONS)

    def test_clocks(self) -> None:
        """Witnessed less one, so that nothing moves by a mere exchange."""
        self.push_pull([], self._state(ltime=10, event_ltime=20, query_ltime=30))
        clocks = (self.core.member_clock, self.core.event_clock, self.core.query_clock)
        self.assertEqual([clock.time() for clock in clocks], [10, 20, 30])

    def test_intents(self) -> None:
        """Those who left are about to leave here, at a later time than their latest intent."""
        state = self._state(status_ltimes={"a": 5, "b": 6, "me": 0}, left=["b"])
        self.push_pull([self._node("a"), self._node("b")], state)
        records = self.core.roster.records
        self.assertEqual((self.status("a"), records["a"].status_ltime), (Status.ALIVE, 5))
        self.assertEqual((self.status("b"), records["b"].status_ltime), (Status.LEAVING, 7))
        self.assertEqual(self.intents(), [])

    def test_we_are_said_to_have_left(self) -> None:
        """As after a restart."""
        self.push_pull([self._node("a")], self._state(status_ltimes={"me": 9}, left=["me"]))
        self.assertIs(self.status("me"), Status.ALIVE)
        self.assertEqual(self.intents(), [JoinIntent(11, "me")])

    def test_an_intent_about_us_that_we_did_not_hear(self) -> None:
        """It may be that we leave, so it is denied: once, and not while we do leave."""
        state = self._state(status_ltimes={"me": 9})
        self.push_pull([self._node("a")], state)
        self.assertEqual(self.intents(), [JoinIntent(10, "me")])
        self.assertEqual(self.core.roster.records["me"].status_ltime, 10)
        self.push_pull([self._node("a")], state)
        self.push_pull([self._node("a")], self._state(status_ltimes={"me": 10}))
        self.assertEqual(self.intents(), [])
        self.feed(StartLeave())
        self.intents()
        self.push_pull([self._node("a")], self._state(status_ltimes={"me": 20}))
        self.assertEqual(self.intents(), [])

    def test_leaving_for_long(self) -> None:
        """A member that is said to leave, and stays, is told, until it denies it or is gone."""
        self.push_pull([self._node("b")], self._state(status_ltimes={"b": 6}, left=["b"]))
        self.assertIs(self.status("b"), Status.LEAVING)
        told = (b"\x08" + LeaveIntent(7, "b").encode(), address_of("b"))
        for seconds, times in ((29.0, 0), (2.0, 1), (30.0, 1)):
            sent = [effect for effect in self.advance(seconds) if isinstance(effect, Send)]
            self.assertEqual([(effect.packet, effect.to) for effect in sent].count(told), times)
        self.user(JoinIntent(8, "b"))
        self.assertIs(self.status("b"), Status.ALIVE)
        sent = [effect for effect in self.advance(100.0) if isinstance(effect, Send)]
        self.assertNotIn(told, [(effect.packet, effect.to) for effect in sent])

    def test_said_at_the_same_time(self) -> None:
        """Of two intents of one time about us, one to leave and our own, both are heard by somebody."""
        self.push_pull([self._node("a")], self._state(status_ltimes={"me": 9}))
        self.assertEqual(self.intents(), [JoinIntent(10, "me")])
        self.user(LeaveIntent(10, "me"))
        self.assertEqual(self.intents(), [JoinIntent(11, "me")])
        self.user(LeaveIntent(10, "me"))
        self.assertEqual(self.intents(), [])

    def test_events_are_replayed_once(self) -> None:
        event = UserEvent(4, "deploy", b"x")
        state = self._state(event_ltime=5, events=[event])
        self.assertEqual(_received(self.push_pull([], state)), [event])
        self.assertEqual(_received(self.push_pull([], state)), [])
        self.assertEqual(self.spread_events(), [])

    def test_old_events_are_ignored_on_request(self) -> None:
        state = self._state(event_ltime=5, events=[UserEvent(4, "deploy", b"x")])
        for ignore_old, expected in ((True, 0), (False, 1)):
            self.setUp()
            (exchange,) = self.feed(PushPull(3, address_of("a"), True, ignore_old))
            answer = State(True, [self._node("a")], state.encode()).encode()
            effects = self.feed(ExchangeEnded(exchange.token, answer))
            self.assertEqual(len(_received(effects)), expected)
            self.assertIn(PushPullEnded(3, ""), effects)
        self.assertEqual(len(_received(self.user(UserEvent(5, "after")))), 1)

    def test_ours(self) -> None:
        self.alive("a")
        self.alive("b")
        self.user(LeaveIntent(5, "b"))
        self.dead("b")
        self.feed(FireEvent("deploy", b"x"))
        (answer,) = [e for e in self.push_pull([], self._state()) if isinstance(e, Answer)]
        state = PushPullState.decode(State.decode(answer.data[1:]).user_state)
        self.assertEqual(dict(state.status_ltimes), {"me": 0, "a": 0, "b": 5})
        self.assertEqual((state.left, state.events), (["b"], [UserEvent(1, "deploy", b"x")]))
        self.assertEqual((state.ltime, state.event_ltime, state.query_ltime), (6, 2, 1))

    def test_refusals(self) -> None:
        """One member that may not be here, and nothing of the other pool is taken."""
        self.refusal = "wrong datacenter"
        effects = self.push_pull([self._node("a"), self._node("b")], self._state(ltime=50))
        self.assertIn("wrong datacenter", self.problems(effects)[0])
        self.assertEqual((self.status("a"), self.core.member_clock.time()), (None, 1))
        self.alive("c", tag="x")
        self.assertEqual((self.asked[-1].name, self.asked[-1].tags), ("c", {"tag": "x"}))
        self.assertIsNone(self.status("c"))
        self.refusal = None
        odd = NodeState("a", b"abc", 7946, b"", 1, 0, VERSIONS)
        self.assertIn("3 bytes", self.problems(self.push_pull([odd], self._state()))[0])


class LeaveTests(SerfTestCase):
    def test_alone(self) -> None:
        effects = self.feed(StartLeave())
        self.assertEqual(effects[-1], LeaveEnded())
        self.assertEqual(self.events(effects), [("leave", "me", Status.LEFT)])

    def test_with_others(self) -> None:
        """The intent first, then gossip's own word, then time for both to get around."""
        self.alive("a")
        self.advance(3.0)
        self.assertEqual(self.events(self.feed(StartLeave())), [])
        self.assertIs(self.status("me"), Status.LEAVING)
        began = self.now
        effects = self.advance(2.5)
        self.assertEqual(self.events(effects), [("leave", "me", Status.LEFT)])
        packets = [e.packet for e in effects if isinstance(e, Send)]
        intent, word = LeaveIntent(1, "me").encode(), Dead(1, "me", "me").encode()
        self.assertEqual(sum(intent in packet for packet in packets), 4)
        self.assertEqual(sum(word in packet for packet in packets), 5)  # one of them hurried
        self.assertNotIn(LeaveEnded(), effects)
        self.assertIn(LeaveEnded(), self.advance(3.0))
        self.assertLess(self.now - began, 6.0)
        self.user(LeaveIntent(90, "me"))
        self.assertNotIn("JoinIntent", str(self.intents()))  # no refuting any more

    def test_nobody_hears(self) -> None:
        """When the others fail meanwhile, it takes the broadcast timeout."""
        self.alive("a")
        self.advance(3.0)
        self.feed(StartLeave())
        self.dead("a", "a")
        self.assertEqual(self.advance(16.0).count(LeaveEnded()), 1)


class StatsTests(SerfTestCase):
    def test_keys(self) -> None:
        self.alive("a")
        self.alive("b")
        self.dead("a")
        self.dead("b")
        self.feed(ForceLeave("b"))
        stats = self.core.stats()
        self.assertEqual(
            stats,
            {
                "coordinate_resets": "0", "encrypted": "false", "event_queue": "0", "event_time": "1",
                "failed": "1", "health_score": "0", "intent_queue": "1", "left": "1", "member_time": "2",
                "members": "3", "not_authentic": "0", "query_queue": "0", "query_time": "1",
            },
        )  # fmt: skip
        self.assertEqual(list(stats), sorted(stats))

    def test_next_deadline(self) -> None:
        self.assertEqual(self.core.next_deadline(), self.core.swim.next_deadline())
