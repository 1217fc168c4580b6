"""Everything captured is understood, and what we encode is what real agents sent."""

from __future__ import annotations

from typing import Any

import msgpack
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.swim import messages
from pyconsul.swim.layers import CIPHERTEXT_REFUSED, Layers
from pyconsul.swim.messages import Ack, Alive, Dead, ErrorMessage, IndirectPing, Nack, Ping, PushPull, Suspect
from pyconsul.swim.packet import decode_packet, encode_packet
from pyconsul.swim.stream import StreamFramer, StreamRefused, decode_stream, encode_stream
from tests.swim.captured import captured, layers_of, shown

_KINDS: dict[int, tuple[str, Any]] = {
    messages.PING: ("ping", Ping),
    messages.INDIRECT_PING: ("indirectPing", IndirectPing),
    messages.ACK: ("ackResp", Ack),
    messages.SUSPECT: ("suspect", Suspect),
    messages.ALIVE: ("alive", Alive),
    messages.DEAD: ("dead", Dead),
    messages.NACK: ("nackResp", Nack),
}


def _flat(decoded: list[Any]) -> list[Any]:
    """The messages in a record, without the layers around them."""
    last = decoded[-1]
    if last[0].startswith("compound"):
        return [message for part in last[1] for message in _flat(part)]
    return [last]


class PacketVectorTests(SynchronousTestCase):
    def _check(self, record: Any) -> None:
        packet = decode_packet(layers_of(record), bytes.fromhex(record["packet_hex"]))
        self.assertEqual(packet.problems, [])
        expected = _flat(record["decoded"])
        self.assertEqual(len(packet.messages), len(expected), record["name"])
        for (kind, body), (name, fields, *_) in zip(packet.messages, expected):
            if name == "user":
                self.assertEqual(kind, messages.USER)
                continue
            self.assertEqual(_KINDS[kind][0], name)
            message = _KINDS[kind][1].decode(body)
            self.assertEqual(message.encode(), bytes((kind,)) + body)
            unpacked = msgpack.unpackb(message.encode()[1:], raw=True)
            found = {key.decode(): value for key, value in unpacked.items()}
            self.assertEqual({key: shown(value) for key, value in found.items()}, fields)

    def test_plain(self) -> None:
        records = captured("udp-plain")
        self.assertGreater(len(records), 50)
        for record in records:
            self._check(record)

    def test_encrypted(self) -> None:
        for record in captured("udp-encrypted"):
            self._check(record)
            packet = bytes.fromhex(record["packet_hex"])
            keyring = layers_of(record).keyring
            assert keyring is not None
            plaintext = bytes.fromhex(record["plaintext_hex"])
            self.assertEqual(keyring.open(packet), plaintext)
            self.assertEqual(keyring.seal(plaintext, packet[1:13]), packet)

    def test_encoded_anew(self) -> None:
        """What we put around a captured message is opened again, in every combination."""
        for record in captured("udp-plain"):
            layers = layers_of(record)
            inner = decode_packet(layers, bytes.fromhex(record["packet_hex"]))
            for compress in (True, False):
                ours = Layers(lambda size: bytes(size), compress=compress)
                message = bytes((inner.messages[0][0],)) + inner.messages[0][1]
                for with_crc in (True, False):
                    again = decode_packet(ours, encode_packet(ours, message, with_crc))
                    self.assertEqual(again.messages, inner.messages[:1])


class StreamVectorTests(SynchronousTestCase):
    def test_frames_end_where_they_end(self) -> None:
        """Fed byte by byte, a stream is complete with its last byte, encrypted or not."""
        for record in captured("stream"):
            stream = bytes.fromhex(record["stream_hex"])
            framer = StreamFramer()
            for position in range(len(stream) - 1):
                self.assertIsNone(framer.feed(stream[position : position + 1]), record["name"])
            self.assertEqual(framer.feed(stream[-1:]), stream)

    def test_push_pulls(self) -> None:
        seen = 0
        for record in captured("stream"):
            if "pushPull" not in record["name"]:
                continue
            layers = layers_of(record)
            kind, body = decode_stream(layers, bytes.fromhex(record["stream_hex"]))
            self.assertEqual(kind, messages.PUSH_PULL)
            state = PushPull.decode(body)
            self.assertEqual(state.encode(), b"\x06" + body)
            header, nodes = record["decoded"][-1][1:3]
            self.assertEqual(state.join, header["Join"])
            self.assertEqual(len(state.user_state), header["UserStateLen"])
            self.assertEqual([node.name for node in state.nodes], [node["Name"] for node in nodes])
            self.assertEqual([node.port for node in state.nodes], [node["Port"] for node in nodes])
            again = decode_stream(layers, encode_stream(layers, state.encode()))
            self.assertEqual(again, (kind, body))
            framer = StreamFramer()
            plain = b"\x06" + body
            for position in range(len(plain) - 1):
                self.assertIsNone(framer.feed(plain[position : position + 1]))
            self.assertEqual(framer.feed(plain[-1:] + b"more"), plain)
            seen += 1
        self.assertGreaterEqual(seen, 8)

    def test_pings_and_errors(self) -> None:
        named = {record["name"]: record for record in captured("stream")}
        plain = Layers(lambda size: bytes(size))

        def opened(name: str) -> tuple[int, bytes]:
            return decode_stream(plain, bytes.fromhex(named[name]["stream_hex"]))

        kind, body = opened("request compress/ping ")
        self.assertEqual((kind, Ping.decode(body).node), (messages.PING, "c1"))
        kind, body = opened("response compress/ackResp ")
        self.assertEqual((kind, Ack.decode(body).payload), (messages.ACK, None))
        kind, body = opened("response compress/err ")
        self.assertEqual(
            ErrorMessage.decode(body).error, "Remote state is encrypted and encryption is not configured"
        )
        sealed = "response encrypt-stream v1/compress/err "
        self.assertRaisesRegex(StreamRefused, CIPHERTEXT_REFUSED, opened, sealed)
