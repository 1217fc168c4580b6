"""Clocks, tags, messages and buffers of the serf layer."""

from __future__ import annotations

from typing import Any

import msgpack
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import PyconsulError
from pyconsul.serf import messages
from pyconsul.serf.buffers import SLOTS, RecentBuffer
from pyconsul.serf.clock import LamportClock
from pyconsul.serf.members import Status, member_of_message, member_of_state
from pyconsul.serf.messages import (
    JoinIntent,
    LeaveIntent,
    PushPullState,
    Query,
    QueryResponse,
    Relay,
    UserEvent,
)
from pyconsul.serf.tags import decode_tags, encode_tags
from pyconsul.swim.messages import STATE_DEAD, STATE_LEFT, STATE_SUSPECT, Alive, NodeState, PushPull
from pyconsul.swim.stream import decode_stream
from pyconsul.swim.wire import DecodeError
from tests.swim.captured import captured, layers_of, shown


class ClockTests(SynchronousTestCase):
    def test_rules(self) -> None:
        clock = LamportClock()
        self.assertEqual((clock.time(), clock.stamp(), clock.time()), (1, 1, 2))
        clock.witness(1)
        self.assertEqual(clock.time(), 2)
        clock.witness(2)
        self.assertEqual(clock.time(), 3)
        clock.witness(40)
        self.assertEqual(clock.time(), 41)


class TagTests(SynchronousTestCase):
    def test_captured(self) -> None:
        for record in captured("tags"):
            meta = bytes.fromhex(record["meta_hex"])
            self.assertEqual(decode_tags(meta), record["tags"])
            self.assertEqual(decode_tags(encode_tags(record["tags"])), record["tags"])
            self.assertEqual(len(encode_tags(record["tags"])), len(meta))

    def test_old_and_odd_meta(self) -> None:
        self.assertEqual(decode_tags(b"web"), {"role": "web"})
        self.assertEqual(decode_tags(b""), {"role": ""})
        self.assertEqual(decode_tags(b"\xff\xc1"), {})
        self.assertEqual(decode_tags(b"\xff\x91\x01"), {})
        self.assertEqual(decode_tags(b"\xff" + msgpack.packb({"a": 1, "b": "c"})), {"b": "c"})
        self.assertEqual(decode_tags(b"\xff\x81\xa1a\xa1\xfe"), {"a": "\ufffd"})

    def test_limit(self) -> None:
        fits = {"a": "x" * 505}
        self.assertEqual(len(encode_tags(fits)), 512)
        self.assertRaisesRegex(PyconsulError, "exceeds limit of 512 bytes", encode_tags, {"a": "x" * 506})


class MessageTests(SynchronousTestCase):
    KINDS: dict[int, Any] = {
        messages.LEAVE: LeaveIntent,
        messages.JOIN: JoinIntent,
        messages.USER_EVENT: UserEvent,
        messages.QUERY: Query,
        messages.QUERY_RESPONSE: QueryResponse,
    }

    def test_captured(self) -> None:
        seen = set()
        for record in captured("serf-messages"):
            message = bytes.fromhex(record["message_hex"])
            kind = message[0]
            seen.add(kind)
            if kind == messages.RELAY:
                relay = Relay.decode(message[1:])
                self.assertEqual(relay.encode(), message)
                self.assertEqual(relay.message[0], messages.QUERY_RESPONSE)
                continue
            decoded = self.KINDS[kind].decode(message[1:])
            self.assertEqual(decoded.encode(), message)
            unpacked = msgpack.unpackb(message[1:], raw=True)
            fields = {key.decode(): shown(value) for key, value in unpacked.items()}
            expected = dict(record["decoded"][1])
            for name in ("Filters", "Payload", "Addr"):
                expected.pop(name, None)
                fields.pop(name, None)
            self.assertEqual(fields, expected)
        self.assertEqual(seen, {0, 1, 3, 4, 5, 9})

    def test_old_queries_have_no_source(self) -> None:
        self.assertEqual(Query.decode(msgpack.packb({"ID": 5, "Name": "n"})).source_node, "")

    def test_captured_user_states(self) -> None:
        """512 slots, most of them nil, as serf sends them; ours has no nils and means the same."""
        events: list[UserEvent] = []
        for record in captured("stream"):
            if "pushPull" not in record["name"]:
                continue
            _, body = decode_stream(layers_of(record), bytes.fromhex(record["stream_hex"]))
            state = PushPullState.decode(PushPull.decode(body).user_state)
            expected = record["decoded"][-1][3][1]
            self.assertEqual(dict(state.status_ltimes), expected["StatusLTimes"])
            self.assertEqual(
                (state.ltime, state.event_ltime, state.query_ltime),
                (expected["LTime"], expected["EventLTime"], expected["QueryLTime"]),
            )
            events += state.events
            again = PushPullState.decode(state.encode())
            self.assertEqual(again, state)
        self.assertIn(UserEvent(1, "consul:new-leader", b"c1"), events)

    def test_events_of_one_time_stand_together(self) -> None:
        events = [UserEvent(3, "a", b"1"), UserEvent(4, "b"), UserEvent(3, "c")]
        state = PushPullState(9, {"n": 2}, ["gone"], 5, events, 6)
        body = msgpack.unpackb(state.encode()[1:], raw=False)
        self.assertEqual([slot["LTime"] for slot in body["Events"]], [3, 4])
        self.assertEqual(len(PushPullState.decode(state.encode()).events), 3)

    def test_other_states(self) -> None:
        self.assertRaises(DecodeError, PushPullState.decode, b"")
        self.assertRaises(DecodeError, PushPullState.decode, b"\x01\x80")
        self.assertRaises(DecodeError, PushPullState.decode, b"\x02" + msgpack.packb({"Events": [5]}))
        self.assertEqual(PushPullState.decode(b"\x02\x80").events, [])


class BufferTests(SynchronousTestCase):
    def test_news(self) -> None:
        buffer: RecentBuffer[str] = RecentBuffer()
        self.assertTrue(buffer.is_news(3, 4, "a"))
        self.assertTrue(buffer.is_news(3, 4, "b"))
        self.assertFalse(buffer.is_news(3, 4, "a"))
        self.assertEqual(list(buffer), [(3, "a"), (3, "b")])

    def test_age(self) -> None:
        """The slot of an old time is taken over; what is older than all slots is not news."""
        buffer: RecentBuffer[str] = RecentBuffer()
        buffer.is_news(3, 4, "a")
        self.assertTrue(buffer.is_news(3 + SLOTS, 4 + SLOTS, "a"))
        self.assertEqual(list(buffer), [(3 + SLOTS, "a")])
        self.assertFalse(buffer.is_news(4, 5 + SLOTS, "x"))
        self.assertTrue(buffer.is_news(5, 5 + SLOTS, "x"))
        buffer.min_time = 600
        self.assertFalse(buffer.is_news(599, 600, "y"))

    def test_bound(self) -> None:
        buffer: RecentBuffer[int] = RecentBuffer()
        taken = sum(buffer.is_news(1, 2, number) for number in range(1000))
        self.assertEqual(taken, 128)


class MemberTests(SynchronousTestCase):
    def test_of_gossip(self) -> None:
        meta = encode_tags({"a": "b"})
        message = Alive(1, "n", b"\x01\x02\x03\x04", 5, meta, b"\1\5\2\2\5\4")
        member = member_of_message(message)
        self.assertEqual((member.name, member.addr, member.port), ("n", "1.2.3.4", 5))
        self.assertEqual(member.tags, {"a": "b"})
        self.assertEqual((member.protocol_max, member.delegate_cur), (5, 4))
        self.assertIs(member.status, Status.ALIVE)
        self.assertEqual(member.status_name, "alive")

    def test_of_states(self) -> None:
        for state, status in (
            (0, Status.ALIVE), (STATE_SUSPECT, Status.ALIVE), (STATE_DEAD, Status.FAILED),
            (STATE_LEFT, Status.LEFT),
        ):  # fmt: skip
            found = member_of_state(NodeState("n", b"\x01\x02\x03\x04", 5, b"", 1, state, b""))
            self.assertIs(found.status, status)
            self.assertEqual(found.protocol_cur, 0)
        self.assertRaises(DecodeError, member_of_state, NodeState("n", b"", 5, b"", 1, 0, b""))
