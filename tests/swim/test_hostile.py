"""Whatever comes in, the core stays whole (specs of gossip, section 13)."""

from __future__ import annotations

from random import Random

from pyconsul.swim import membership
from pyconsul.swim.events import PacketReceived, StreamReceived, Tick
from pyconsul.swim.keyring import Keyring
from pyconsul.swim.layers import Layers, compressed
from pyconsul.swim.messages import STATE_ALIVE, Dead, Ping, Suspect
from pyconsul.swim.messages import PushPull as State
from pyconsul.swim.nodes import Node
from pyconsul.swim.packet import compound
from pyconsul.swim.stream import StreamFramer, decode_stream
from pyconsul.swim.wire import DecodeError
from tests.mutation import mutated
from tests.swim.captured import captured
from tests.swim.fixture import ME, CoreTestCase, alive

SOURCE = ("10.0.9.9", 7946)


class HostileTests(CoreTestCase):
    def _takes(self, packet: bytes) -> None:
        """The packet leads to no more than a note, and pings are still answered."""
        effects = self.feed(PacketReceived(packet, SOURCE))
        self.assertEqual(len(self.sent(effects)), 0, packet)
        self.assertGreaterEqual(len(self.problems(effects)), 1, packet)

    def test_checklist(self) -> None:
        self.quiet()
        for kind in (0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14, 255):
            self._takes(bytes((kind,)))
        for packet in (
            b"",
            b"\x07",
            b"\x07\x01",
            b"\x07\xff" + b"\xff" * 510,
            b"\x09" + b"\xff" * 50,
            compressed(b"\x08" + bytes(1 << 19)),
            b"\x0c\0\0\0\0" + Ping(1).encode(),
            bytes((1,)) + bytes(60),
            b"\xf4\x03abc" + Ping(1).encode(),
            Ping(1, "other").encode(),
            alive("a", addr=b"").encode(),
            alive("a", addr=b"12345").encode(),
            alive("a", meta=b"x" * 513).encode(),
            alive("a", versions=b"").encode(),
            compound([b"\x03\xc1", b"\x08"[:0], b"\x63"]),
        ):
            self._takes(packet)
        self.assertEqual(len(self.core.nodes), 1)
        self.assertEqual(len(self.receive(Ping(1, "me"))), 1)

    def test_versions_that_nobody_speaks(self) -> None:
        """Such a member would make every later join fail; found by mutation."""
        self.quiet()
        for versions in (
            (1, 5, 41, 2, 5, 4), (41, 41, 41, 2, 5, 4), (1, 1, 1, 2, 5, 4), (1, 5, 2, 5, 5, 5),
            (1, 5, 2, 2, 3, 3),
        ):  # fmt: skip
            self._takes(alive("a", versions=bytes(versions)).encode())
        self.assertIsNone(self.core.nodes.get("a"))
        self.receive(alive("a", versions=bytes((1, 5, 3, 1, 6, 4))))
        self.assertIsNotNone(self.core.nodes.get("a"))

    def test_compound_of_nothing(self) -> None:
        self.assertEqual(self.feed(PacketReceived(b"\x07\x00", SOURCE)), [])

    def test_the_last_incarnation_of_another(self) -> None:
        """It is not believed, neither of a node that is known nor of one that is not."""
        self.receive(alive("a", 0xFFFFFFFF), alive("a", 0))
        self.assertIsNone(self.core.nodes.get("a"))
        self.receive(alive("a"))
        self.receive(Suspect(0xFFFFFFFF, "a", "x"), Dead(0xFFFFFFFF, "a", "a"), alive("a", 0xFFFFFFFF))
        self.assertEqual((self.node("a").incarnation, self.node("a").state), (1, STATE_ALIVE))

    def test_incarnations_far_ahead(self) -> None:
        """What was missed may be much, but not again and again; what comes then is taken in after a while."""
        jump = 1 << 24
        self.receive(alive("a", 100))
        self.receive(alive("a", 1100))
        self.assertEqual(self.node("a").incarnation, 1100)
        self.receive(alive("a", 1100 + jump))
        self.assertEqual(self.node("a").incarnation, 1100 + jump)
        self.receive(Suspect(1100 + 2 * jump, "a", "x"))
        self.assertEqual(self.node("a").state, STATE_ALIVE)
        self.receive(Suspect(1101 + jump, "a", "x"))  # small steps go on
        self.assertNotEqual(self.node("a").state, STATE_ALIVE)
        self.advance(10.0)
        self.receive(alive("a", 1100 + 2 * jump))
        self.assertEqual(self.node("a").incarnation, 1100 + 2 * jump)

    def test_a_jump_is_refuted(self) -> None:
        """Ours grows with what others claim, so that everybody believes the refutation."""
        self.receive(alive("a"))
        self.receive(Suspect(1 << 24, "me", "x"))
        self.assertEqual(self.core.me.incarnation, (1 << 24) + 1)

    def test_made_up_members(self) -> None:
        """So many are taken in and no more; who comes later is not heard, and those that are go on."""
        self.patch(membership, "NODES_MAX", 200)
        for number in range(300):
            self.receive(alive(f"n{number}", addr=bytes((10, 0, 2, number % 200))))
        self.assertEqual(len(self.core.nodes), 200)
        self.receive(alive("n5", 2, addr=bytes((10, 0, 2, 5))), Dead(1, "n6", "n6"))
        self.assertEqual(self.node("n5").incarnation, 2)
        self.assertEqual(len(self.receive(Ping(1, "me"))), 1)

    def test_made_up_members_that_left(self) -> None:
        """Looking for one that is alive among them ends soon, and after a while they are forgotten."""
        self.receive(alive("a"))
        for number in range(3000):
            name = f"n{number}"
            self.receive(alive(name, addr=bytes((10, 0, number >> 8, number & 255))), Dead(1, name, name))
        asked: list[str] = []

        def fits(node: Node) -> bool:
            asked.append(node.name)
            return False

        self.assertEqual(self.core.nodes.choose(3, fits), [])
        self.assertLess(len(asked), 1300)
        self.advance(40.0)
        self.assertLess(len(self.core.nodes), 10)

    def test_mutated_packets(self) -> None:
        """Some thousands of broken packets, plain and under a key that is known."""
        rng = Random(11)
        keyring = Keyring([b"k" * 16])
        sealed = Layers(rng.randbytes, keyring)
        samples = [bytes.fromhex(record["packet_hex"]) for record in captured("udp-plain")]
        samples += [bytes.fromhex(record["plaintext_hex"]) for record in captured("udp-encrypted")]
        self.add("abc")
        for number in range(6000):
            self.now += 0.01
            packet = mutated(rng, rng.choice(samples))
            if number % 3 == 0:
                self.core.context.layers = sealed
                packet = sealed.seal(packet, b"")
                if number % 2:
                    packet = mutated(rng, packet)
            else:
                self.core.context.layers = self.layers
            self.feed(PacketReceived(packet, SOURCE))
            if number % 20 == 0:
                self.feed(Tick())
        self.core.context.layers = self.layers
        self.assertEqual(self.core.me.address, ME)

    def test_mutated_streams(self) -> None:
        """The framer takes no more than is there, and what it lets through breaks nothing."""
        rng = Random(12)
        plain = []
        for record in captured("stream"):
            if "encrypt" not in record["name"] and "pushPull" in record["name"]:
                stream = bytes.fromhex(record["stream_hex"])
                kind, body = decode_stream(self.layers, stream)
                plain += [stream, bytes((kind,)) + body]
        whole = 0
        for _ in range(2000):
            data = mutated(rng, rng.choice(plain))
            framer, found, position = StreamFramer(), None, 0
            try:
                while found is None and position < len(data):
                    size = rng.randint(1, 400)
                    found = framer.feed(data[position : position + size])
                    position += size
            except DecodeError:
                continue
            if found is not None:
                whole += 1
                self.now += 0.01
                self.feed(StreamReceived(found, SOURCE))
        self.assertGreater(whole, 100)

    def test_states_of_a_stream_may_be_anything(self) -> None:
        state = State(True, [], b"").encode()
        for junk in (b"\x06\x83\xa5Nodes\x01\xacUserStateLen\x00\xa4Join\xc3\xc0", state[:-1], b"\x06"):
            self.feed(StreamReceived(junk, SOURCE))
        self.assertEqual(len(self.core.nodes), 1)
