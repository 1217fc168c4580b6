"""Spreading news (specs of gossip, section 10)."""

from random import Random

from msgspec.structs import replace

from pyconsul.interfaces import Address
from pyconsul.swim.broadcasts import BroadcastQueue
from pyconsul.swim.core import VERSIONS, SwimCore
from pyconsul.swim.events import PacketReceived, Send, StreamReceived
from pyconsul.swim.keyring import Keyring
from pyconsul.swim.layers import Layers
from pyconsul.swim.messages import STATE_ALIVE, Dead, NodeState, Ping, PushPull, Suspect
from pyconsul.swim.stream import encode_stream
from tests.swim.fixture import ME, CoreTestCase, address_of, alive


class GossipTests(CoreTestCase):
    def test_alone_nothing_is_said(self) -> None:
        """Our own news waits, without a timer, until there is somebody to tell."""
        self.assertEqual(self.sent(self.advance(29.0)), [])
        self.assertEqual(len(self.core.gossip.queue), 1)
        self.receive(alive("a"))
        self.assertLess(self.core.next_deadline() or 99.0, self.now + 0.05)

    def test_rounds(self) -> None:
        """Three others are told per round, each news as often as the pool's size asks for."""
        self.add("abcdef")
        self.receive(alive("g"))
        first = self.sent(self.advance(0.05))
        self.assertEqual({message.node for message, _ in first}, {"g"})
        self.assertEqual(len({to for _, to in first}), 3)
        later = [message for message, _ in self.sent(self.advance(5.0)) if message == alive("g")]
        self.assertEqual(len(first) + len(later), 4)
        self.assertEqual(len(self.core.gossip.queue), 0)

    def test_pace(self) -> None:
        """At most one round per interval, if nothing is hurried."""
        self.core = SwimCore("me", ME, replace(self.timing, hurried=False), self.layers, Random(1))
        self.core.start(0.0)
        self.add("abcdef")
        self.receive(alive("g"))
        self.advance(0.05)
        self.receive(alive("h"))
        self.assertEqual(self.sent(self.advance(0.15)), [])
        self.assertGreater(len(self.sent(self.advance(0.05))), 0)

    def test_hurried(self) -> None:
        """News between two rounds goes to three others at once, and is repeated in rounds as ever."""
        self.add("abcdef")
        self.receive(alive("g"))
        self.advance(0.05)
        for name in "hij":
            self.receive(alive(name))
            self.assertEqual(self.sent(self.advance(0.001)), [])
        hurried = [effect for effect in self.advance(0.01) if isinstance(effect, Send)]
        self.assertEqual(len({send.to for send in hurried}), 3)
        told = self.sent(hurried)
        self.assertEqual({message.node for message, _ in told}, {"h", "i", "j"})
        self.assertEqual(len(told), 9)
        self.assertEqual(self.sent(self.advance(0.1)), [])
        later = [message for message, _ in self.sent(self.advance(5.0)) if message == alive("h")]
        self.assertEqual(len(later), 8)  # four for each power of ten that the pool fills

    def test_hurry_has_its_pace(self) -> None:
        """A flood of names is passed on in three packets every 40 ms, and the rest goes round by round."""
        self.add("abcdef")
        self.receive(alive("g"))
        self.advance(0.01)
        packets = 0
        for number in range(150):
            self.receive(*(alive(f"n{number}-{each}") for each in range(20)))
            packets += sum(isinstance(effect, Send) for effect in self.advance(0.001))
        self.assertGreater(packets, 3 * 2)
        self.assertLessEqual(packets, 3 * (150 // 40 + 2) + 3)

    def test_first_hand(self) -> None:
        """Everybody is told at once who has joined through us, in as many packets as it takes."""
        self.add("abcdefghij")
        self.quiet()
        names = [f"new{number}" for number in range(7)]
        states = [
            NodeState(name, bytes((10, 0, 7, number)), 7946, bytes(400), 1, STATE_ALIVE, VERSIONS)
            for number, name in enumerate(names)
        ]
        request = encode_stream(self.layers, PushPull(True, states, b"").encode())
        self.feed(StreamReceived(request, ("10.0.7.1", 40000)))
        hearing: dict[str, set[Address]] = {name: set() for name in names}
        for message, to in self.sent(self.advance(0.2)):
            hearing[message.node].add(to)
        for name in names:
            self.assertLessEqual({address_of(other) for other in "abcdefghij"}, hearing[name], name)

    def test_no_hurry_right_before_a_round(self) -> None:
        self.add("abcdef")
        self.receive(alive("g"))
        self.advance(0.205)
        self.receive(alive("h"))
        told = [message for message, _ in self.sent(self.advance(0.1)) if message == alive("h")]
        self.assertEqual(len(told), 3)

    def test_who_is_told(self) -> None:
        """The dead for a while, those who left never."""
        self.add("abc")
        self.receive(Dead(1, "a", "a"), Dead(1, "b", "x"), Suspect(1, "c", "x"))
        told = {to for _, to in self.sent(self.advance(1.0))}
        self.assertEqual(told, {address_of("b"), address_of("c")})
        self.now = 40.0
        self.receive(alive("d"))
        told = {to for message, to in self.sent(self.advance(1.0)) if message == alive("d")}
        self.assertNotIn(address_of("b"), told)

    def test_crc_for_who_understands_it(self) -> None:
        self.receive(alive("a", versions=b"\1\4\2\2\5\4"))
        packets = [effect.packet for effect in self.advance(0.05) if isinstance(effect, Send)]
        self.assertNotEqual(packets[0][0], 12)
        self.setUp()
        self.receive(alive("a"))
        packets = [effect.packet for effect in self.advance(0.05) if isinstance(effect, Send)]
        self.assertEqual(packets[0][0], 12)

    def test_packets_stay_within_their_budget(self) -> None:
        layers = Layers(lambda size: bytes(size), Keyring([b"k" * 16]), label=b"label")
        core = SwimCore("me", ME, self.timing, layers, Random(1))
        core.start(0.0)
        for number in range(40):
            core.gossip.queue.add(b"\x08" + bytes(100 + number))
        sizes = []
        self.core, self.layers = core, layers
        for effect in self.receive(*[self._sealed(layers, Ping(1, "me").encode())] * 20):
            if isinstance(effect, Send):
                sizes.append(len(effect.packet))
        self.assertEqual(len(sizes), 20)
        self.assertLessEqual(max(sizes), 1400)
        self.assertGreater(max(sizes), 1250)

    @staticmethod
    def _sealed(layers: Layers, message: bytes) -> bytes:
        return layers.add_label(layers.seal(message, b""))


class UserMessageTests(CoreTestCase):
    def test_own_messages_come_first(self) -> None:
        intents, events = BroadcastQueue(9), BroadcastQueue(9)
        core = SwimCore("me", ME, self.timing, self.layers, Random(1), self.above, (intents, events))
        core.start(0.0)
        self.core = core
        self.receive(alive("a"))
        self.quiet()
        events.add(b"\x08event")
        intents.add(b"\x08intent")
        core.wake()
        self.receive(alive("b"))
        first = self.sent(self.advance(0.05))
        self.assertEqual([message for message, _ in first[:3]], [alive("b"), (8, b"intent"), (8, b"event")])

    def test_direct(self) -> None:
        """Nothing rides along."""
        self.receive(alive("a"))
        self.core.begin(self.now)
        self.core.send_user(b"hello", ("10.0.0.9", 5))
        self.assertEqual(self.core.end(), [Send(b"\x08hello", ("10.0.0.9", 5))])

    def test_received(self) -> None:
        self.feed(PacketReceived(b"\x08hello", ME))
        self.assertEqual(self.above.user, [b"hello"])
