"""The failure detector (specs of gossip, section 9)."""

from __future__ import annotations

from typing import Any

from pyconsul.swim.events import Exchange, ExchangeEnded, Send
from pyconsul.swim.messages import (
    STATE_ALIVE,
    STATE_SUSPECT,
    Ack,
    Dead,
    IndirectPing,
    Nack,
    Ping,
    Suspect,
)
from pyconsul.swim.stream import decode_stream, encode_stream
from tests.swim.fixture import ME, CoreTestCase, addr_of, address_of, alive

MY_ADDR = b"\x0a\0\0\1"


class ProbeTests(CoreTestCase):
    def _until_ping(self) -> tuple[Ping, str]:
        """Let time pass until somebody is pinged: the ping and who."""
        for _ in range(100):
            deadline = self.core.next_deadline()
            assert deadline is not None
            for message, _ in self.sent(self.advance(deadline - self.now)):
                if isinstance(message, Ping):
                    return message, message.node
        self.fail("nobody was pinged")

    def _ack(self, ping: Ping, payload: bytes | None = b"there") -> list[Any]:
        return self.receive(Ack(ping.seq_no, payload))

    def test_nobody_to_probe_costs_nothing(self) -> None:
        """Alone, only the periodic exchange is on the clock."""
        deadline = self.core.next_deadline()
        assert deadline is not None
        self.assertGreaterEqual(deadline, self.timing.push_pull_interval_s)

    def test_ping(self) -> None:
        self.add("a")
        ping, name = self._until_ping()
        self.assertEqual(ping, Ping(1, "a", MY_ADDR, ME[1], "me"))
        self.assertLessEqual(self.now, self.timing.probe_interval_s)
        self.assertEqual(name, "a")

    def test_acked(self) -> None:
        """The round-trip time and the payload go up; the score goes down; the next one follows."""
        self.add("a")
        self.core.awareness.add(2)
        first, _ = self._until_ping()
        began = self.now
        self.now += 0.02
        self._ack(first)
        self.assertEqual(self.core.awareness.score, 1)
        ((name, rtt_s, payload),) = self.above.rtts
        self.assertEqual((name, payload), ("a", b"there"))
        self.assertAlmostEqual(rtt_s, 0.02)
        second, _ = self._until_ping()
        self.assertEqual(second.seq_no, 2)
        self.assertAlmostEqual(self.now, began + 1.0)

    def test_acks_that_are_not_ours(self) -> None:
        self.add("a")
        ping, _ = self._until_ping()
        self.receive(Ack(ping.seq_no + 1, b"x"))
        self.assertEqual(self.above.rtts, [])
        self._ack(ping)
        self._ack(ping)
        self.assertEqual(len(self.above.rtts), 1)

    def test_no_payload_no_coordinate(self) -> None:
        self.add("a")
        ping, _ = self._until_ping()
        self._ack(ping, None)
        self.assertEqual(self.above.rtts, [])

    def test_each_once_per_round(self) -> None:
        self.add("abcd")
        seen = []
        for _ in range(8):
            ping, name = self._until_ping()
            seen.append(name)
            self._ack(ping)
        self.assertEqual(sorted(seen[:4]), list("abcd"))
        self.assertEqual(sorted(seen[4:]), list("abcd"))

    def test_helpers_are_asked(self) -> None:
        """Three others and TCP, once the timeout is over."""
        self.add("abcdef")
        ping, target = self._until_ping()
        effects = self.advance(0.5)
        asked = [(message, to) for message, to in self.sent(effects) if isinstance(message, IndirectPing)]
        self.assertEqual(len(asked), 3)
        for message, to in asked:
            self.assertNotEqual(to, address_of(target))
            expected = IndirectPing(ping.seq_no, addr_of(target), 7946, target, True, MY_ADDR, ME[1], "me")
            self.assertEqual(message, expected)
        (stream,) = [effect for effect in effects if isinstance(effect, Exchange)]
        self.assertEqual(stream.to, address_of(target))
        self.assertAlmostEqual(stream.timeout_s, 0.5)
        kind, body = decode_stream(self.layers, stream.request)
        self.assertEqual((kind, Ping.decode(body)), (0, ping))

    def test_old_helpers_and_targets(self) -> None:
        """No nack from who cannot give one, no TCP ping of who does not answer it."""
        for name in "ab":
            self.receive(alive(name, versions=b"\1\2\2\2\5\4"))
        self.quiet()
        self._until_ping()
        effects = self.advance(0.5)
        (message,) = [message for message, _ in self.sent(effects) if isinstance(message, IndirectPing)]
        self.assertFalse(message.nack)
        self.assertEqual([effect for effect in effects if isinstance(effect, Exchange)], [])

    def test_an_ack_by_way_of_a_helper(self) -> None:
        self.add("ab")
        ping, target = self._until_ping()
        self.advance(0.6)
        self._ack(ping, b"late")
        self.advance(0.3)
        self.assertEqual(self.node(target).state, STATE_ALIVE)
        self.assertEqual(self.above.rtts, [])

    def test_failure(self) -> None:
        """Nobody helped and nobody was there to help: the score goes up by one."""
        self.add("a")
        self._until_ping()
        self.advance(1.0)
        self.assertEqual(self.node("a").state, STATE_SUSPECT)
        self.assertIn(Suspect(1, "a", "me"), self.news())
        self.assertEqual(self.core.awareness.score, 1)

    def test_nacks(self) -> None:
        """Helpers that answered do not count against us."""
        for nacks, score in ((0, 3), (2, 1), (3, 0), (5, 0)):
            self.setUp()
            self.add("abcde")
            ping, target = self._until_ping()
            self.advance(0.5)
            self.receive(*[Nack(ping.seq_no)] * nacks, Nack(ping.seq_no + 5))
            self.advance(0.49)
            self.assertEqual(self.node(target).state, STATE_ALIVE)
            self.advance(0.02)
            self.assertEqual(self.node(target).state, STATE_SUSPECT)
            self.assertEqual(self.core.awareness.score, score)

    def test_tcp_saves_it(self) -> None:
        self.add("a")
        ping, _ = self._until_ping()
        (stream,) = [effect for effect in self.advance(0.5) if isinstance(effect, Exchange)]
        answer = encode_stream(self.layers, Ack(ping.seq_no).encode())
        self.feed(ExchangeEnded(stream.token, answer))
        problems = self.problems(self.advance(0.5))
        self.assertIn("over TCP but UDP probes failed", problems[0])
        self.assertEqual(self.node("a").state, STATE_ALIVE)

    def test_tcp_answers_that_do_not(self) -> None:
        for answer in (None, b"", b"\x63", encode_stream(self.layers, Ack(999).encode()), b"\x00\x80"):
            self.setUp()
            self.add("a")
            self._until_ping()
            (stream,) = [effect for effect in self.advance(0.5) if isinstance(effect, Exchange)]
            self.feed(ExchangeEnded(stream.token, answer, "refused"))
            self.advance(0.5)
            self.assertEqual(self.node("a").state, STATE_SUSPECT)

    def test_poor_health_takes_longer(self) -> None:
        """A probe that overruns makes ticks be skipped, and the next begins with a tick."""
        self.add("a")
        self.core.awareness.add(2)
        self._until_ping()
        began = self.now
        self.advance(2.9)
        self.assertEqual(self.node("a").state, STATE_ALIVE)
        self.advance(0.2)
        self.assertEqual(self.node("a").state, STATE_SUSPECT)
        self.receive(alive("a", 2))
        self.core.awareness.add(-7)
        self._until_ping()
        self.assertAlmostEqual((self.now - began) % 1.0, 0.0)

    def test_the_suspected_may_refute_at_once(self) -> None:
        """They get their accusation together with the ping, and a CRC as their record is at hand."""
        self.add("a")
        self.receive(Suspect(1, "a", "x"))
        self.quiet()
        for _ in range(10):
            deadline = self.core.next_deadline()
            assert deadline is not None
            effects = self.advance(deadline - self.now)
            if any(isinstance(message, Ping) for message, _ in self.sent(effects)):
                break
        messages = [message for message, _ in self.sent(effects)]
        self.assertEqual(messages[1], Suspect(1, "a", "me"))
        (packet,) = [effect.packet for effect in effects if isinstance(effect, Send)]
        self.assertEqual(packet[0], 12)

    def test_probing_ends_with_the_last_other(self) -> None:
        self.add("a")
        self.receive(Dead(1, "a", "a"))
        self.advance(60.0)
        self.assertEqual([node.name for node in self.core.nodes], ["me"])
        self.assertEqual(self.sent(self.advance(20.0)), [])
        self.receive(alive("b"))
        self.quiet()
        self.assertEqual(self._until_ping()[1], "b")

    def test_sequence_numbers_wrap(self) -> None:
        self.core._detector._seq_no = 0xFFFFFFFF
        self.add("a")
        self.assertEqual(self._until_ping()[0].seq_no, 1)


class AnswerTests(CoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.quiet()

    def test_ack(self) -> None:
        """It goes to the source that is named, else to where the ping came from."""
        ping = Ping(5, "me", b"\x0a\0\0\x09", 99, "x")
        self.assertEqual(self.sent(self.receive(ping)), [(Ack(5, b"here"), ("10.0.0.9", 99))])
        for ping in (Ping(5), Ping(5, "me", b"\x0a\0\0\x09"), Ping(5, "me", b"", 99)):
            self.assertEqual(self.sent(self.receive(ping)), [(Ack(5, b"here"), ("10.0.1.99", 7946))])

    def test_not_for_us(self) -> None:
        effects = self.receive(Ping(5, "other"))
        self.assertEqual(self.problems(effects), ["got ping for unexpected node 'other'"])
        self.assertEqual(self.sent(effects), [])

    def test_bad_source(self) -> None:
        self.assertEqual(self.sent(self.receive(Ping(5, "me", b"abc", 99))), [])

    def test_news_ride_along(self) -> None:
        self.receive(alive("a"))
        sent = self.sent(self.receive(Ping(5, "me")))
        self.assertEqual([message for message, _ in sent], [Ack(5, b"here"), alive("a")])


class RelayTests(CoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.quiet()
        self.request = IndirectPing(77, addr_of("t"), 7946, "t", True, addr_of("r"), 7946, "r")

    def test_acked(self) -> None:
        """Our own number towards the target, theirs towards who asked, and no payload."""
        ((ping, to),) = self.sent(self.receive(self.request))
        self.assertEqual((ping, to), (Ping(1, "t", MY_ADDR, ME[1], "me"), address_of("t")))
        self.assertEqual(self.sent(self.receive(Ack(1, b"x"))), [(Ack(77), address_of("r"))])
        self.assertEqual(self.sent(self.receive(Ack(1, b"x")) + self.advance(1.0)), [])

    def test_nack(self) -> None:
        self.receive(self.request)
        self.assertEqual(self.sent(self.advance(0.49)), [])
        self.assertEqual(self.sent(self.advance(0.02)), [(Nack(77), address_of("r"))])

    def test_no_nack_wanted(self) -> None:
        self.receive(IndirectPing(77, addr_of("t"), 7946, "t"))
        self.assertEqual(self.sent(self.advance(1.0)), [])

    def test_bound(self) -> None:
        for _ in range(512):
            self.receive(self.request)
        effects = self.receive(self.request)
        self.assertEqual((self.sent(effects), self.problems(effects)), ([], ["too many indirect pings"]))

    def test_bad_target(self) -> None:
        self.assertEqual(self.sent(self.receive(IndirectPing(1, b"x", 1, "t"))), [])
