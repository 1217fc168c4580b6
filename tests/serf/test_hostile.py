"""Whatever serf messages come in, the core and what stands on it stay whole."""

from __future__ import annotations

from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.events import PREFIX, Events
from pyconsul.agent.local import LocalState
from pyconsul.serf import keys
from pyconsul.serf.events import AnswerQuery, KeyringChanged, KeyringSaved, QueryReceived, StartQuery
from pyconsul.serf.filters import nodes_filter, tag_filter
from pyconsul.serf.messages import UserEvent
from pyconsul.swim.events import PacketReceived, Tick
from pyconsul.swim.keyring import Keyring
from pyconsul.swim.layers import Layers
from pyconsul.swim.wire import DecodeError
from tests.mutation import mutated
from tests.serf.fixture import SOURCE, SerfTestCase
from tests.swim.captured import captured

ROUNDS = 6000


class MutatedMessageTests(SerfTestCase):
    def test_captured_messages(self) -> None:
        """With queries under way on both sides, keys to change and applications that answer."""
        rng = Random(13)
        layers = Layers(rng.randbytes, Keyring([b"k" * 32]), verify_incoming=False, verify_outgoing=False)
        self.core = self.make(layers, saves_keys=True, resolve_conflicts=True)
        self.core.start(0.0, {"role": "node"})
        for name in "abc":
            self.alive(name)
        samples = [bytes.fromhex(record["message_hex"]) for record in captured("serf-messages")]
        kinds: set[str] = set()
        for number in range(ROUNDS):
            self.now += 0.01
            effects = self.feed(PacketReceived(b"\x08" + mutated(rng, rng.choice(samples)), SOURCE))
            if number % 50 == 0:
                filters = [nodes_filter(["a", "me"])] if number % 100 else [tag_filter("role", "n(o|d)*e")]
                effects += self.feed(StartQuery(token=number, name="load", filters=filters, ack=True))
                effects += self.feed(Tick())
            for effect in effects:
                kinds.add(type(effect).__name__)
                if isinstance(effect, QueryReceived):
                    self.feed(AnswerQuery(effect.query, rng.randbytes(rng.randrange(1200))))
                elif isinstance(effect, KeyringChanged):
                    self.feed(KeyringSaved(effect.token, "" if number % 2 else "disk full"))
        self.assertLessEqual(
            {"QueryReceived", "QueryAnswered", "QueryEnded", "KeyringChanged", "Problem"}, kinds
        )
        assert layers.keyring is not None
        self.assertIn(b"k" * 32, layers.keyring.keys)
        self.assertIn("me", self.core.roster.records)

    def test_keys_of_any_kind(self) -> None:
        rng = Random(14)
        ring = Keyring([b"k" * 32])
        request = keys.encode_request(b"n" * 32)
        for _ in range(3000):
            name = rng.choice(keys.NAMES)
            response, _changed = keys.perform(ring, name, mutated(rng, request))
            payload = mutated(rng, keys.shortened(response, lambda data: len(data) < 900))
            keys.tally([], 1)
            try:
                keys.KeyResponse.decode(payload)
            except DecodeError:
                pass
        self.assertTrue(ring.keys)


class MutatedEventTests(SynchronousTestCase):
    def test_payloads(self) -> None:
        """What is in an event is read by the agent alone."""
        rng = Random(15)
        local = LocalState("n1")
        events = Events("n1", local, lambda method, request: None, Clock(), rng)
        (record,) = [r for r in captured("serf-messages") if r["name"] == "userEvent:consul:event:restart"]
        payload = UserEvent.decode(bytes.fromhex(record["message_hex"])[1:]).payload
        payload = b"\x86" + payload[1:] + b"\xa2nf\xa6n[0-9]\xa2sf\xa1w"
        for _ in range(ROUNDS):
            events.received(UserEvent(1, PREFIX + "x", mutated(rng, payload)))
        self.assertLessEqual(len(events.list()[1]), 256)
