"""Layers around packets and streams."""

from base64 import b64encode
from zlib import crc32

import msgpack
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.swim.keyring import Keyring
from pyconsul.swim.layers import CIPHERTEXT_REFUSED, PLAINTEXT_REFUSED, Layers, compressed
from pyconsul.swim.messages import Nack, Ping
from pyconsul.swim.packet import compound, decode_packet, encode_packet
from pyconsul.swim.stream import STREAM_MAX, StreamFramer, StreamRefused, decode_stream, encode_stream
from pyconsul.swim.wire import DecodeError, pack


def _zeros(size: int) -> bytes:
    return bytes(size)


PLAIN = Layers(_zeros)
SEALED = Layers(_zeros, Keyring([b"k" * 16]))
NACK = Nack(7).encode()


class PacketTests(SynchronousTestCase):
    def test_compound(self) -> None:
        self.assertEqual(compound([NACK]), NACK)
        packet = decode_packet(PLAIN, compound([NACK, b"\x08user"]))
        self.assertEqual(packet.messages, [(11, NACK[1:]), (8, b"user")])

    def test_a_cut_compound_gives_its_whole_parts(self) -> None:
        packet = decode_packet(PLAIN, compound([NACK, NACK, NACK])[:-1])
        self.assertEqual(len(packet.messages), 2)
        self.assertEqual(packet.problems, ["compound with 1 messages cut off"])

    def test_odd_compounds(self) -> None:
        for data, problem in (
            (b"\x07", "without a count"),
            (b"\x07\x03\x00\x01", "lengths cut off"),
            (b"\x07\xff" + b"\x00" * 100, "lengths cut off"),
            (b"\x07\x01\x00\x00", "empty message"),
            (b"\x07\x01\xff\xff", "1 messages cut off"),
        ):
            packet = decode_packet(PLAIN, data)
            self.assertEqual(packet.messages, [])
            self.assertIn(problem, packet.problems[0])
        self.assertEqual(decode_packet(PLAIN, b"\x07\x00").problems, [])

    def test_nesting(self) -> None:
        inner = compound([compressed(NACK), NACK])
        self.assertEqual(len(decode_packet(PLAIN, compressed(inner)).messages), 2)
        for _ in range(20):
            inner = b"\x07\x01" + len(inner).to_bytes(2, "big") + inner
        packet = decode_packet(PLAIN, inner)
        self.assertEqual((packet.messages, packet.problems), ([], ["nested too deep"]))

    def test_bombs_share_one_budget(self) -> None:
        part = compressed(b"\x08" + bytes(150_000))
        packet = decode_packet(PLAIN, compound([part, part]))
        self.assertEqual(len(packet.messages), 1)
        self.assertIn("more than", packet.problems[0])

    def test_compression(self) -> None:
        self.assertIn("unknown compression", decode_packet(PLAIN, b"\x09" + pack({"Algo": 1})).problems[0])
        self.assertIn("no end code", decode_packet(PLAIN, b"\x09" + pack({"Algo": 0})).problems[0])
        layers = Layers(_zeros, compress=True)
        self.assertEqual(encode_packet(layers, NACK), NACK)
        self.assertLess(len(encode_packet(layers, b"\x08" + b"x" * 400)), 200)

    def test_crc(self) -> None:
        packet = encode_packet(PLAIN, NACK, True)
        self.assertEqual(packet, b"\x0c" + crc32(NACK).to_bytes(4, "big") + NACK)
        self.assertEqual(decode_packet(PLAIN, packet).messages, [(11, NACK[1:])])
        self.assertRaisesRegex(DecodeError, "wrong CRC", decode_packet, PLAIN, packet + b"x")
        self.assertRaisesRegex(DecodeError, "cut off", decode_packet, PLAIN, packet[:4])
        inside = decode_packet(PLAIN, compound([packet, NACK]))
        self.assertEqual([kind for kind, _ in inside.messages], [12, 11])

    def test_encryption(self) -> None:
        packet = encode_packet(SEALED, NACK, True)
        self.assertEqual(decode_packet(SEALED, packet).messages, [(11, NACK[1:])])
        self.assertRaises(DecodeError, decode_packet, SEALED, NACK)
        self.assertRaises(DecodeError, decode_packet, SEALED, packet[:-1])
        self.assertEqual(SEALED.overhead, 29)

    def test_switching_to_encryption(self) -> None:
        """In: false takes both; out: false sends plain."""
        keyring = Keyring([b"k" * 16])
        first = Layers(_zeros, keyring, verify_incoming=False, verify_outgoing=False)
        self.assertEqual(encode_packet(first, NACK), NACK)
        self.assertEqual((first.overhead, first.sealing), (0, False))
        for packet in (NACK, encode_packet(SEALED, NACK)):
            self.assertEqual(decode_packet(first, packet).messages, [(11, NACK[1:])])
        self.assertEqual(decode_stream(first, NACK), (11, NACK[1:]))

    def test_labels(self) -> None:
        labelled = Layers(_zeros, Keyring([b"k" * 16]), label=b"blue")
        packet = encode_packet(labelled, NACK)
        self.assertEqual(packet[:6], b"\xf4\x04blue")
        self.assertEqual(labelled.overhead, 29 + 6)
        self.assertEqual(len(packet), len(NACK) + labelled.overhead)
        self.assertEqual(decode_packet(labelled, packet).messages, [(11, NACK[1:])])
        self.assertRaisesRegex(DecodeError, "not ours", decode_packet, PLAIN, packet)
        self.assertRaisesRegex(DecodeError, "not ours", decode_packet, labelled, NACK)
        self.assertRaises(DecodeError, decode_packet, SEALED, packet[6:])  # the label is authenticated
        for odd in (b"\xf4", b"\xf4\x00", b"\xf4\x04blu"):
            self.assertRaisesRegex(DecodeError, "cut off", decode_packet, labelled, odd)

    def test_empty(self) -> None:
        self.assertEqual(decode_packet(PLAIN, b"").problems, ["empty message"])
        self.assertRaises(DecodeError, decode_packet, SEALED, b"")


class StreamTests(SynchronousTestCase):
    def test_layers(self) -> None:
        keyring = Keyring([b"k" * 16])
        for layers in (
            PLAIN, SEALED, Layers(_zeros, compress=True), Layers(_zeros, keyring, label=b"x", compress=True),
        ):  # fmt: skip
            stream = encode_stream(layers, Ping(1, "n").encode())
            framer = StreamFramer()
            self.assertIsNone(framer.feed(stream[:3]))
            self.assertEqual(framer.feed(stream[3:]), stream)
            self.assertEqual(decode_stream(layers, stream)[0], 0)

    def test_refusals_are_told(self) -> None:
        sealed = encode_stream(SEALED, NACK)
        self.assertRaisesRegex(StreamRefused, PLAINTEXT_REFUSED, decode_stream, SEALED, NACK)
        self.assertRaisesRegex(StreamRefused, CIPHERTEXT_REFUSED, decode_stream, PLAIN, sealed)
        other = Layers(_zeros, Keyring([b"o" * 16]))
        self.assertRaisesRegex(StreamRefused, "No installed keys", decode_stream, other, sealed)
        garbage = b"\x09" + pack({"Buf": b"\xff\xff"})
        self.assertRaisesRegex(StreamRefused, "lzw", decode_stream, PLAIN, garbage)

    def test_empty(self) -> None:
        self.assertRaises(DecodeError, decode_stream, PLAIN, b"")
        self.assertRaises(DecodeError, decode_stream, PLAIN, compressed(b""))

    def test_framer_bounds(self) -> None:
        for stream, problem in (
            (b"\x0a\xff\xff\xff\xff", "encrypted bytes"),
            (b"\x63", "unknown type 99"),
            (b"\x06" + msgpack.packb({"Nodes": 1 << 30}), "nodes"),
            (b"\x06" + msgpack.packb({"UserStateLen": 1 << 30}), "user state"),
            (b"\x08" + msgpack.packb({"UserMsgLen": 1 << 30}), "user message"),
            (b"\x09\xc1", "FormatError"),
            (b"\x00" + b"\x91" * 3000, "stream"),
        ):
            self.assertRaisesRegex(DecodeError, problem, StreamFramer().feed, stream)
        framer = StreamFramer()
        framer.feed(b"\x0a\x00\x10\x00\x00")
        framer.feed(bytes(1 << 19))
        self.assertRaisesRegex(DecodeError, "too long", framer.feed, bytes(STREAM_MAX))

    def test_framer_waits_for_a_label(self) -> None:
        framer = StreamFramer()
        for byte in b"\xf4\x02ab\x00":
            self.assertIsNone(framer.feed(bytes((byte,))))
        self.assertEqual(framer.feed(b"\x80"), b"\xf4\x02ab\x00\x80")

    def test_user_messages(self) -> None:
        stream = b"\x08" + pack({"UserMsgLen": 3}) + b"abc"
        framer = StreamFramer()
        self.assertIsNone(framer.feed(stream[:-1]))
        self.assertEqual(framer.feed(stream[-1:]), stream)

    def test_keys_as_configured(self) -> None:
        keyring = Keyring.from_base64([b64encode(b"k" * 16).decode()])
        self.assertEqual(keyring.primary, b"k" * 16)
