"""Streams (specs of gossip, sections 5 and 7)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from pyconsul.swim.core import VERSIONS
from pyconsul.swim.events import Answer, Exchange, ExchangeEnded, PushPull, PushPullEnded, StreamReceived
from pyconsul.swim.exchange import verify_versions
from pyconsul.swim.keyring import Keyring
from pyconsul.swim.layers import CIPHERTEXT_REFUSED, PLAINTEXT_REFUSED, Layers
from pyconsul.swim.messages import (
    STATE_ALIVE,
    STATE_DEAD,
    STATE_SUSPECT,
    Ack,
    ErrorMessage,
    NodeState,
    Ping,
    Suspect,
    encode_user_stream,
)
from pyconsul.swim.messages import PushPull as State
from pyconsul.swim.stream import decode_stream, encode_stream
from tests.swim.fixture import CoreTestCase, addr_of, address_of

SOURCE = ("127.0.0.1", 40000)


def _state(name: str, versions: bytes = VERSIONS, state: int = STATE_ALIVE) -> NodeState:
    return NodeState(name, addr_of(name), 7946, b"", 1, state, versions)


class AskingTests(CoreTestCase):
    def _answered(self, answer: bytes | None, error: str = "") -> str:
        """What a join reports that gets this answer."""
        (exchange,) = self.feed(PushPull(4, address_of("a"), True, True))
        self.assertEqual((exchange.to, exchange.timeout_s), (address_of("a"), 10.0))
        effects = self.feed(ExchangeEnded(exchange.token, answer, error))
        (ended,) = [effect for effect in effects if isinstance(effect, PushPullEnded)]
        self.assertEqual(ended.token, 4)
        found: str = ended.error
        return found

    def _encoded(self, *states: NodeState, user_state: bytes = b"theirs") -> bytes:
        return encode_stream(self.layers, State(True, states, user_state).encode())

    def test_request(self) -> None:
        self.add("b")
        (exchange,) = self.feed(PushPull(4, address_of("a"), True))
        kind, body = decode_stream(self.layers, exchange.request)
        state = State.decode(body)
        self.assertEqual((kind, state.join, state.user_state), (6, True, b"state"))
        self.assertEqual(sorted(node.name for node in state.nodes), ["b", "me"])

    def test_merged(self) -> None:
        self.assertEqual(self._answered(self._encoded(_state("a"))), "")
        self.assertEqual(self.node("a").state, STATE_ALIVE)
        self.assertEqual(self.above.merged, [(b"theirs", True, True)])
        self.assertEqual(self._answered(self._encoded(user_state=b"")), "")
        self.assertEqual(len(self.above.merged), 1)

    def test_failures(self) -> None:
        self.assertEqual(self._answered(None, "connection refused"), "connection refused")
        refusal = encode_stream(self.layers, ErrorMessage("no").encode())
        self.assertEqual(self._answered(refusal), "remote error: no")
        self.assertIn("invalid msgType (2)", self._answered(encode_stream(self.layers, Ack(1).encode())))
        self.assertIn("msgpack", self._answered(b"\x06\xc1"))
        self.assertIn("empty", self._answered(b""))
        self.above.merge_refusal = "wrong datacenter"
        self.assertEqual(self._answered(self._encoded(_state("a"))), "wrong datacenter")
        self.assertIsNone(self.core.nodes.get("a"))

    def test_what_a_joiner_hears_about_encryption(self) -> None:
        """Source: specs of gossip, section 6, last texts."""
        sealed = Layers(lambda size: bytes(size), Keyring([b"k" * 16]))
        refusal = encode_stream(sealed, ErrorMessage(PLAINTEXT_REFUSED).encode())
        self.assertEqual(self._answered(refusal), CIPHERTEXT_REFUSED)

    def test_unknown_tokens(self) -> None:
        self.assertEqual(self.feed(ExchangeEnded(99, b"")), [])

    def test_periodic(self) -> None:
        """With one random other, every interval; failures are noted."""
        self.add("a")
        mine = [effect for effect in self.live(65.0) if isinstance(effect, Exchange)]
        self.assertEqual(len(mine), 1)
        self.assertFalse(State.decode(decode_stream(self.layers, mine[0].request)[1]).join)
        problems = self.problems(self.feed(ExchangeEnded(mine[0].token, None, "gone")))
        self.assertEqual(problems, ["push/pull with a failed: gone"])

    def test_large_pools_exchange_less_often(self) -> None:
        for number in range(99):
            name = chr(200 + number)
            self.core.membership.merge(
                [NodeState(name, b"\x0a\2\0" + bytes((number,)), 1, b"", 1, STATE_ALIVE, VERSIONS)]
            )
        times: list[float] = []
        while len(times) < 4:
            times += [self.now for effect in self.live(1.0) if isinstance(effect, Exchange)]
        for earlier, later in pairwise(times):
            self.assertEqual(later - earlier, 30.0 * 3)


class AnsweringTests(CoreTestCase):
    def _ask(self, message: bytes, layers: Layers | None = None) -> list[Any]:
        return self.feed(StreamReceived(encode_stream(layers or self.layers, message), SOURCE))

    def _answer(self, effects: list[Any], layers: Layers | None = None) -> tuple[int, bytes]:
        (answer,) = [effect for effect in effects if isinstance(effect, Answer)]
        return decode_stream(layers or self.layers, answer.data)

    def test_push_pull(self) -> None:
        """What we knew before goes back; then theirs is merged."""
        kind, body = self._answer(self._ask(State(True, [_state("a")], b"theirs").encode()))
        state = State.decode(body)
        self.assertEqual((kind, state.join, [node.name for node in state.nodes]), (6, True, ["me"]))
        self.assertEqual(self.node("a").state, STATE_ALIVE)
        self.assertEqual(self.above.merged, [(b"theirs", True, False)])

    def test_refused_merges_are_answered_all_the_same(self) -> None:
        self.above.merge_refusal = "wrong datacenter"
        effects = self._ask(State(True, [_state("a")], b"").encode())
        self.assertEqual(self._answer(effects)[0], 6)
        self.assertEqual(self.problems(effects), ["push/pull with 127.0.0.1 failed: wrong datacenter"])
        self.assertIsNone(self.core.nodes.get("a"))

    def test_suspicions_are_news_even_if_known(self) -> None:
        """The same state again confirms, as it comes from somebody else."""
        self.add("abcde")
        self.receive(Suspect(1, "a", "x"))
        self.quiet()
        self._ask(State(False, [_state("a", state=STATE_SUSPECT)], b"").encode())
        self.assertEqual(self.news(), [Suspect(1, "a", "me")])

    def test_ping(self) -> None:
        kind, body = self._answer(self._ask(Ping(9, "me").encode()))
        self.assertEqual((kind, Ack.decode(body)), (2, Ack(9)))
        self.assertEqual(self._answer(self._ask(Ping(9).encode()))[0], 2)
        effects = self._ask(Ping(9, "other").encode())
        self.assertEqual([effect for effect in effects if isinstance(effect, Answer)], [])

    def test_user_message(self) -> None:
        self.assertEqual(self._ask(encode_user_stream(b"hello")), [])
        self.assertEqual(self.above.user, [b"hello"])

    def test_odd_requests_are_closed_without_an_answer(self) -> None:
        for message in (b"\x63", b"\x06\xc1", b"\x00\x81", b"\x08\x81\xaaUserMsgLen\x09ab"):
            effects = self._ask(message)
            self.assertEqual([effect for effect in effects if isinstance(effect, Answer)], [])
            self.assertEqual(len(self.problems(effects)), 1)

    def test_refusals_are_told_in_our_own_way(self) -> None:
        sealed = Layers(lambda size: bytes(size), Keyring([b"k" * 16]))
        kind, body = self._answer(self._ask(Ping(9).encode(), sealed))
        self.assertEqual((kind, ErrorMessage.decode(body).error), (13, CIPHERTEXT_REFUSED))
        self.layers = sealed
        self.core.context.layers = sealed
        plain = Layers(lambda size: bytes(size))
        kind, body = self._answer(self._ask(Ping(9).encode(), plain), sealed)
        self.assertEqual((kind, ErrorMessage.decode(body).error), (13, PLAINTEXT_REFUSED))


class VersionTests(CoreTestCase):
    """Source: specs of gossip, section 5, with texts from real agents."""

    def _check(self, *states: NodeState) -> str:
        return verify_versions(states, self.core.nodes)

    def test_texts(self) -> None:
        self.assertEqual(self._check(_state("a")), "")
        self.assertEqual(
            self._check(_state("p", b"\6\6\6\2\5\4")),
            "Node 'p' protocol version (6) is incompatible: [6, 5]",
        )
        self.assertEqual(
            self._check(_state("p", b"")), "Node 'p' protocol version (0) is incompatible: [1, 5]"
        )
        self.assertEqual(
            self._check(_state("p", b"\1\5\2\2\3\5")),
            "Node 'p' delegate protocol version (5) is incompatible: [2, 3]",
        )

    def test_the_dead_do_not_narrow_the_range_but_must_fit(self) -> None:
        self.assertEqual(self._check(_state("p", b"\2\2\2\2\5\4", STATE_DEAD)), "")
        self.assertIn("(6)", self._check(_state("p", b"\1\6\6\2\5\4", STATE_DEAD)))
