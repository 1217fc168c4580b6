"""Reading with tolerance."""

import msgpack
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.swim import address, wire
from pyconsul.swim.messages import (
    Ack,
    Alive,
    Dead,
    ErrorMessage,
    IndirectPing,
    NodeState,
    Ping,
    PushPull,
    Suspect,
    decode_user_stream,
    encode_user_stream,
)
from pyconsul.swim.wire import DecodeError


class ToleranceTests(SynchronousTestCase):
    """Source: specs of gossip, section 2."""

    def test_new_string_types(self) -> None:
        body = msgpack.packb({"SeqNo": 7, "Node": "x" * 40, "SourceAddr": b"\x7f\0\0\1"}, use_bin_type=True)
        self.assertEqual(Ping.decode(body), Ping(7, "x" * 40, b"\x7f\0\0\1"))

    def test_what_is_missing_nil_or_unknown(self) -> None:
        body = msgpack.packb({"SeqNo": None, "Extra": [1, {"a": 2}], "node": "wrong case"})
        self.assertEqual(Ping.decode(body), Ping(0))
        self.assertEqual(Ping.decode(b"\xc0"), Ping(0))
        self.assertEqual(Ping.decode(b"\x80"), Ping(0))
        self.assertEqual(PushPull.decode(msgpack.packb({"Nodes": 0})), PushPull(False, [], b""))

    def test_wide_integers_and_trailing_bytes(self) -> None:
        body = b"\x81\xa5SeqNo\xcf" + (9).to_bytes(8, "big") + b"more"
        self.assertEqual(Ping.decode(body), Ping(9))

    def test_positional_arrays(self) -> None:
        self.assertEqual(Suspect.decode(msgpack.packb([4, "n", "me"])), Suspect(4, "n", "me"))
        self.assertEqual(Dead.decode(msgpack.packb([4, "n"])), Dead(4, "n", ""))
        body = msgpack.packb([1, b"\x01\x02\x03\x04", 80, "n", True, b"\x05\x06\x07\x08", 90, "s", "extra"])
        expected = IndirectPing(1, b"\x01\x02\x03\x04", 80, "n", True, b"\x05\x06\x07\x08", 90, "s")
        self.assertEqual(IndirectPing.decode(body), expected)

    def test_versions_as_a_list(self) -> None:
        body = msgpack.packb({"Node": "n", "Vsn": [1, 5, 2]})
        self.assertEqual(Alive.decode(body).versions, b"\x01\x05\x02")

    def test_what_is_refused(self) -> None:
        bad = [
            {"SeqNo": 1.0}, {"SeqNo": -1}, {"SeqNo": 1 << 32}, {"SeqNo": True}, {"SeqNo": "1"}, {"Node": 5},
            {"Node": b"\xff\xfe"}, {"SourceAddr": 5}, {"SourceAddr": [1]}, {"SourcePort": 65536}, 5, "x",
        ]  # fmt: skip
        for fields in bad:
            self.assertRaises(DecodeError, Ping.decode, msgpack.packb(fields))
        self.assertRaises(DecodeError, Ping.decode, b"")
        self.assertRaises(DecodeError, Ping.decode, b"\x81\xa5Seq")
        self.assertRaises(DecodeError, Ping.decode, b"\xc1")
        self.assertRaises(DecodeError, IndirectPing.decode, msgpack.packb({"Nack": 1}))
        self.assertRaises(DecodeError, Ping.decode, b"\x81\x81\xc0\xc0\xc0")  # a map as a key

    def test_claims_of_length_take_no_memory(self) -> None:
        for claim in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"):
            self.assertRaises(DecodeError, Ping.decode, claim * 3)
        self.assertRaises(DecodeError, Ping.decode, b"\x91" * 2000 + b"\xc0")

    def test_readers(self) -> None:
        self.assertEqual(wire.signed64(-5), -5)
        self.assertEqual(wire.signed64(None), 0)
        self.assertRaises(DecodeError, wire.signed64, 1 << 63)
        self.assertEqual(wire.number(3), 3.0)
        self.assertEqual(wire.number(None), 0.0)
        self.assertRaises(DecodeError, wire.number, "3")
        self.assertEqual(wire.sequence(None), [])
        self.assertRaises(DecodeError, wire.sequence, {})
        self.assertEqual(wire.mapping(None), {})
        self.assertRaises(DecodeError, wire.mapping, [])
        self.assertEqual(wire.raw([]), b"")
        self.assertFalse(wire.boolean(None))

    def test_long_strings_use_the_old_types(self) -> None:
        """Never str8 or bin, which old readers do not know."""
        encoded = Ack(1, b"\x00" * 100).encode()
        self.assertIn(b"\xda\x00\x64", encoded)
        self.assertNotIn(b"\xc4", encoded)


class StreamMessageTests(SynchronousTestCase):
    def test_push_pull_bounds(self) -> None:
        for header in ({"Nodes": 1 << 21}, {"UserStateLen": 21 << 20}, {"Nodes": -1}):
            self.assertRaises(DecodeError, PushPull.decode, msgpack.packb(header))
        self.assertRaisesRegex(
            DecodeError, "cut off", PushPull.decode, msgpack.packb({"UserStateLen": 5}) + b"abc"
        )
        self.assertRaises(DecodeError, PushPull.decode, msgpack.packb({"Nodes": 2}) + b"\x80")

    def test_known_states_are_left_out(self) -> None:
        states = [NodeState(name, b"\x01\x02\x03\x04", 1, b"", 1, 0, b"") for name in "abc"]
        encoded = PushPull(True, states, b"user").encode()[1:]
        found = PushPull.decode(encoded, {states[1].encode()})
        self.assertEqual(found, PushPull(True, [states[0], states[2]], b"user"))

    def test_user_messages(self) -> None:
        self.assertEqual(decode_user_stream(encode_user_stream(b"hello")[1:]), b"hello")
        self.assertRaises(DecodeError, decode_user_stream, encode_user_stream(b"hello")[1:-1])
        self.assertRaises(DecodeError, decode_user_stream, msgpack.packb({"UserMsgLen": 1 << 30}))

    def test_errors(self) -> None:
        self.assertEqual(ErrorMessage.decode(ErrorMessage("why").encode()[1:]), ErrorMessage("why"))


class AddressTests(SynchronousTestCase):
    def test_forms(self) -> None:
        self.assertEqual(address.host_of(b"\x7f\x00\x00\x01"), "127.0.0.1")
        self.assertEqual(address.host_of(b"\0" * 10 + b"\xff\xff\x0a\x00\x00\x01"), "10.0.0.1")
        self.assertEqual(address.host_of(b"\0" * 15 + b"\x01"), "::1")
        self.assertEqual(address.packed_of("::1"), b"\0" * 15 + b"\x01")
        self.assertEqual(address.packed_of("fe80::1%eth0")[-1], 1)
        for odd in (b"", b"\x01", b"\x01" * 5, b"\x01" * 17):
            self.assertRaises(DecodeError, address.host_of, odd)

    def test_text(self) -> None:
        self.assertTrue(address.is_literal("10.1.2.3"))
        for text in ("host", "1.2.3", "1.2.3.04", "1.2.3.256", "1.2.3.-1", "1.2.3. 4", "1.2.3.\u0664"):
            self.assertFalse(address.is_literal(text), text)
        self.assertTrue(address.is_unspecified("0.0.0.0"))
        self.assertTrue(address.is_unspecified("::"))
        self.assertFalse(address.is_unspecified("127.0.0.1"))
        self.assertEqual(address.join_host_port("::1", 80), "[::1]:80")
        self.assertEqual(address.join_host_port("1.2.3.4", 80), "1.2.3.4:80")
