"""Queries: asked, received, answered, relayed."""

from __future__ import annotations

from typing import Any

from pyconsul.serf.events import AnswerQuery, CloseQuery, QueryAnswered, QueryEnded, QueryReceived, StartQuery
from pyconsul.serf.filters import nodes_filter, passes, tag_filter
from pyconsul.serf.messages import FLAG_ACK, FLAG_NO_BROADCAST, Query, QueryResponse, Relay
from pyconsul.swim.core import VERSIONS
from pyconsul.swim.events import Send
from pyconsul.swim.messages import Alive
from tests.serf.fixture import SerfTestCase
from tests.swim.captured import captured
from tests.swim.fixture import ME, addr_of, address_of

ACK, ANSWER = 1, 0


class QueryTestCase(SerfTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.alive("a")

    def sent(self, effects: list[Any]) -> list[tuple[str, Any]]:
        """The answers and relays that went out, with where to."""
        found: list[tuple[str, Any]] = []
        for effect in effects:
            packet = getattr(effect, "packet", b"")
            if packet[:2] == b"\x08\x05":
                found.append((effect.to[0], QueryResponse.decode(packet[2:])))
            elif packet[:2] == b"\x08\x09":
                found.append((effect.to[0], Relay.decode(packet[2:])))
        return found

    def query(self, **more: Any) -> Query:
        """A query of ``a``."""
        fields: dict[str, Any] = {"name": "uptime", "timeout_ns": 3_200_000_000} | more
        return Query(3, 77, addr_of("a"), 7946, "a", **fields)


class ReceivedTests(QueryTestCase):
    def test_once(self) -> None:
        query = self.query()
        self.assertEqual(self.user(query), [QueryReceived(query)])
        self.assertEqual(self.core.query_clock.time(), 4)
        self.assertEqual(len(self.core.query_queue), 1)
        self.assertEqual(self.user(query), [])
        self.assertEqual(self.user(Query(2, 77, addr_of("a"), 1, timeout_ns=1))[0].query.ltime, 2)

    def test_not_to_be_passed_on(self) -> None:
        query = self.query(flags=FLAG_NO_BROADCAST)
        self.assertEqual(self.user(query), [QueryReceived(query)])
        self.assertEqual(len(self.core.query_queue), 0)

    def test_acked_first(self) -> None:
        ack, received = self.user(self.query(flags=FLAG_ACK))
        self.assertEqual(self.sent([ack]), [("10.0.1.97", QueryResponse(3, 77, "me", FLAG_ACK))])
        self.assertIsInstance(received, QueryReceived)

    def test_filters(self) -> None:
        """Who is not meant says nothing but passes the query on."""
        mine, others = nodes_filter(["me", "b"]), nodes_filter(["b"])
        for filters, meant in (
            ([mine], True),
            ([others], False),
            ([mine, tag_filter("role", "^te")], True),
            ([mine, tag_filter("role", "^web$")], False),
            ([tag_filter("none", "^$")], True),
            ([tag_filter("role", "(")], False),
            ([b"\x07x"], False),
            ([b"\x00\xc1"], False),
            ([b""], False),
        ):
            self.setUp()
            effects = self.user(self.query(filters=filters, flags=FLAG_ACK))
            self.assertEqual(len(effects), 2 if meant else 0, filters)
            self.assertEqual(len(self.core.query_queue), 1)

    def test_captured_filter(self) -> None:
        (echo,) = [record for record in captured("serf-messages") if record["name"] == "query:echo"]
        query = Query.decode(bytes.fromhex(echo["message_hex"])[1:])
        self.assertEqual(list(query.filters), [nodes_filter(["s3", "c1"])])
        self.assertTrue(passes(query.filters, "c1", {}))
        self.assertFalse(passes(query.filters, "s2", {}))

    def test_nobody_to_answer(self) -> None:
        """A query whose answers could go nowhere is dropped with a note."""
        effects = self.user(Query(3, 77, b"abc", 7946, "a", flags=FLAG_ACK, timeout_ns=10**9))
        self.assertIn("an address of 3 bytes", self.problems(effects)[0])
        self.assertEqual((len(effects), len(self.core.query_queue)), (1, 0))

    def test_unknown_internal_ones(self) -> None:
        effects = self.user(self.query(name="_serf_dance"))
        self.assertEqual(self.problems(effects), ["unknown query '_serf_dance' from a"])
        self.assertEqual(self.user(Query(4, 78, addr_of("a"), 1, name="_serf_ping", timeout_ns=1)), [])

    def test_from_before_the_restart(self) -> None:
        self.core.queries.recent.min_time = 4
        self.assertEqual(self.user(self.query()), [])


class AnswerTests(QueryTestCase):
    def test_one_in_time(self) -> None:
        query = self.query()
        self.user(query)
        effects = self.feed(AnswerQuery(query, b"up"))
        self.assertEqual(self.sent(effects), [("10.0.1.97", QueryResponse(3, 77, "me", 0, b"up"))])
        self.assertEqual(self.feed(AnswerQuery(query, b"again")), [])

    def test_too_late(self) -> None:
        query = self.query(timeout_ns=1_000_000_000)
        self.user(query)
        self.now += 1.1
        self.assertEqual(self.feed(AnswerQuery(query, b"up")), [])
        self.assertEqual(self.user(Query(5, 1, addr_of("a"), 7946, "a", timeout_ns=-5)), [])

    def test_too_long(self) -> None:
        query = self.query()
        self.user(query)
        effects = self.feed(AnswerQuery(query, bytes(1000)))
        text = "answer to query 'uptime': response exceeds limit of 1024 bytes"
        self.assertEqual(self.problems(effects), [text])
        self.assertEqual(self.sent(effects), [])

    def test_unanswered_ones_are_bounded(self) -> None:
        first = Query(1, 0, addr_of("a"), 7946, "a", timeout_ns=10**9)
        for number in range(1025):
            self.user(Query(1 + number // 100, number, addr_of("a"), 7946, "a", timeout_ns=10**9))
        self.assertEqual(self.feed(AnswerQuery(first, b"x")), [])
        last = Query(11, 1024, addr_of("a"), 7946, "a", timeout_ns=10**9)
        self.assertEqual(len(self.sent(self.feed(AnswerQuery(last, b"x")))), 1)

    def test_by_way_of_others(self) -> None:
        """The answer itself, and the same bytes for somebody else to pass on."""
        self.alive("b")
        self.gossip(Alive(1, "c", addr_of("c"), 7946, b"", VERSIONS[:1] + b"\4" + VERSIONS[2:]))
        query = self.query(relay_factor=2)
        self.user(query)
        (direct, *relays) = self.sent(self.feed(AnswerQuery(query, b"up")))
        self.assertEqual(direct[0], "10.0.1.97")
        self.assertEqual({to for to, _ in relays}, {"10.0.1.97", "10.0.1.98"})
        for _, relay in relays:
            self.assertEqual((relay.addr, relay.port, relay.name), (addr_of("a"), 7946, "a"))
            self.assertEqual(QueryResponse.decode(relay.message[1:]), direct[1])

    def test_too_few_to_relay(self) -> None:
        query = self.query(relay_factor=2)
        self.user(query)
        self.assertEqual(len(self.sent(self.feed(AnswerQuery(query, b"up")))), 1)

    def test_passed_on(self) -> None:
        """Answers are, as they are; anything else is not."""
        inner = QueryResponse(3, 77, "b").encode()
        effects = self.user(Relay(addr_of("c"), 7946, "c", inner))
        self.assertEqual(effects, [Send(b"\x08" + inner, address_of("c"))])
        for other in (b"", b"\x03x", b"\x09" + inner):
            self.assertEqual(self.user(Relay(addr_of("c"), 7946, "c", other)), [])


class AskedTests(QueryTestCase):
    def start(self, **more: Any) -> list[Any]:
        """Start the query with token 9; its effects."""
        fields: dict[str, Any] = {"token": 9, "name": "load", "payload": b"?"} | more
        effects = self.feed(StartQuery(**fields))
        parts, _ = self.core.query_queue.take(100_000, 2, 1)
        self.queries = [Query.decode(part[2:]) for part in parts]
        return effects

    def answered(self, effects: list[Any]) -> list[tuple[str, int, bytes | None]]:
        """Who answered what."""
        found = [effect.response for effect in effects if isinstance(effect, QueryAnswered)]
        return [(response.sender, response.flags, response.payload) for response in found]

    def response(self, sender: str, payload: bytes | None = b"1", flags: int = ANSWER) -> list[Any]:
        """The effects of an answer."""
        return self.user(QueryResponse(self.queries[0].ltime, self.queries[0].number, sender, flags, payload))

    def test_what_is_asked(self) -> None:
        self.start(ack=True, relay_factor=1, filters=[nodes_filter(["a"])])
        (query,) = self.queries
        self.assertEqual((query.ltime, query.name, query.payload), (1, "load", b"?"))
        self.assertEqual((query.addr, query.port, query.source_node), (bytes((10, 0, 0, 1)), ME[1], "me"))
        self.assertEqual((query.flags, query.relay_factor, query.timeout_ns), (1, 1, 3_200_000_000))
        self.assertTrue(0 <= query.number < 1 << 31)
        self.assertEqual(self.core.query_clock.time(), 2)

    def test_timeouts_grow_with_the_pool(self) -> None:
        for letter in "bcdefghij":
            self.alive(letter)
        self.start()
        self.assertEqual(self.queries[0].timeout_ns, 6_400_000_000)
        self.start(token=10, timeout_s=1.5, spread=False)
        self.assertEqual(
            (self.queries[0].timeout_ns, self.queries[0].flags), (1_500_000_000, FLAG_NO_BROADCAST)
        )

    def test_answers(self) -> None:
        """Each member's first ack and first answer, until the time is over."""
        effects = self.start(ack=True)
        self.assertEqual(self.answered(effects), [("me", ACK, None)])  # not by way of the network
        (received,) = [effect for effect in effects if isinstance(effect, QueryReceived)]
        self.assertEqual(self.answered(self.feed(AnswerQuery(received.query, b"0"))), [("me", ANSWER, b"0")])
        self.assertEqual(self.answered(self.response("a", None, ACK)), [("a", ACK, None)])
        self.assertEqual(self.answered(self.response("a")), [("a", ANSWER, b"1")])
        self.assertEqual(self.response("a", b"2") + self.response("a", None, ACK), [])
        other = QueryResponse(1, self.queries[0].number ^ 1, "b", 0, b"1")
        self.assertEqual(self.user(other), [])
        ended = [effect for effect in self.advance(3.1) if isinstance(effect, QueryEnded)]
        self.assertEqual(ended, [])
        ended = [effect for effect in self.advance(0.2) if isinstance(effect, QueryEnded)]
        self.assertEqual(ended, [QueryEnded(9)])
        self.assertEqual(self.response("b"), [])

    def test_enough(self) -> None:
        self.start(enough=2)
        self.response("a", None, ACK)
        self.assertEqual(
            self.response("a")[-1], QueryAnswered(9, QueryResponse(1, self.queries[0].number, "a", 0, b"1"))
        )
        self.assertEqual(self.response("b")[-1], QueryEnded(9))
        self.assertNotIn(QueryEnded(9), self.advance(5.0))

    def test_closed(self) -> None:
        self.start()
        self.assertEqual(self.feed(CloseQuery(9)), [QueryEnded(9)])
        self.assertEqual(self.feed(CloseQuery(9)), [])
        self.assertEqual(self.response("a"), [])

    def test_not_for_ourselves(self) -> None:
        self.assertEqual(self.start(filters=[nodes_filter(["a"])]), [])

    def test_too_long(self) -> None:
        error = "query exceeds limit of 1024 bytes"
        self.assertEqual(self.start(payload=bytes(1000)), [QueryEnded(9, error)])
        self.assertEqual(self.queries, [])

    def test_too_many(self) -> None:
        for token in range(10, 266):
            self.start(token=token)
        self.assertEqual(self.start(), [QueryEnded(9, "too many queries at a time")])

    def test_forged_senders_are_bounded(self) -> None:
        self.start()
        answers = [self.response(f"n{number}") for number in range(200)]
        self.assertEqual(sum(map(len, answers)), 64)
