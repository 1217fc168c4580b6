"""Queries that members answer by themselves: keys."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.serf import keys
from pyconsul.serf.events import KeyringChanged, KeyringSaved
from pyconsul.serf.keys import KeyResponse, tally
from pyconsul.serf.messages import Query, QueryResponse
from pyconsul.swim.keyring import Keyring
from pyconsul.swim.layers import Layers
from pyconsul.swim.packet import decode_packet
from tests.serf.fixture import SerfTestCase
from tests.swim.captured import captured
from tests.swim.fixture import addr_of

A, B = b"a" * 16, b"b" * 32
A64, B64 = b64encode(A).decode(), b64encode(B).decode()


class KeyQueryTests(SerfTestCase):
    """Encryption of packets is off on the way out, so that tests can read them."""

    def encrypted(self, saves_keys: bool = False) -> Keyring:
        """Let the core under test have the key ``A``."""
        ring = Keyring([A])
        layers = Layers(lambda size: bytes(size), ring, verify_incoming=False, verify_outgoing=False)
        self.core, self.layers = self.make(layers, saves_keys=saves_keys), layers
        self.core.start(0.0, {})
        self.number = 0
        return ring

    def setUp(self) -> None:
        super().setUp()
        self.number = 0

    def ask(self, operation: str, key: bytes = b"", **more: Any) -> list[Any]:
        """The effects of a query of ``a``."""
        self.number += 1
        fields: dict[str, Any] = {"name": f"_serf_{operation}", "payload": keys.encode_request(key)} | more
        query = Query(self.number, self.number, addr_of("a"), 7946, "a", timeout_ns=10**9, **fields)
        return self.user(query)

    def answers(self, effects: list[Any]) -> list[KeyResponse]:
        """The answers among effects."""
        found = []
        for effect in effects:
            packet = getattr(effect, "packet", None)
            for kind, body in decode_packet(self.layers, packet).messages if packet else ():
                if kind == 8 and body[0] == 5:
                    found.append(KeyResponse.decode(QueryResponse.decode(body[1:]).payload or b""))
        return found

    def test_not_encrypted(self) -> None:
        for operation in (keys.INSTALL, keys.USE, keys.REMOVE):
            effects = self.ask(operation, A)
            self.assertEqual(self.answers(effects), [KeyResponse(False, keys.NO_KEYRING)])
        effects = self.ask(keys.LIST)
        self.assertEqual(self.answers(effects), [KeyResponse(False, keys.EMPTY_KEYRING)])

    def test_rotation(self) -> None:
        ring = self.encrypted()
        for operation, key, result in (
            (keys.USE, B, KeyResponse(False, "Requested key is not in the keyring")),
            (keys.INSTALL, B, KeyResponse(True)),
            (keys.INSTALL, B, KeyResponse(True)),
            (keys.INSTALL, b"short", KeyResponse(False, "key size must be 16, 24 or 32 bytes")),
            (keys.LIST, b"", KeyResponse(True, "", (A64, B64), A64)),
            (keys.REMOVE, A, KeyResponse(False, "Removing the primary key is not allowed")),
            (keys.USE, B, KeyResponse(True)),
            (keys.REMOVE, A, KeyResponse(True)),
            (keys.LIST, b"", KeyResponse(True, "", (B64,), B64)),
        ):
            effects = self.ask(operation, key)
            self.assertEqual(self.answers(effects), [result], (operation, key))
            changed = any(isinstance(effect, KeyringChanged) for effect in effects)
            self.assertEqual(changed, result.result and operation != keys.LIST)
        self.assertEqual(ring.keys, [B])

    def test_answered_once_it_is_saved(self) -> None:
        self.encrypted(saves_keys=True)
        self.assertEqual(self.ask(keys.INSTALL, B), [KeyringChanged(1)])
        self.assertEqual(self.answers(self.feed(KeyringSaved(1))), [KeyResponse(True)])
        self.assertEqual(self.feed(KeyringSaved(1)), [])
        self.ask(keys.USE, B)
        failed = self.answers(self.feed(KeyringSaved(2, "disk full")))
        self.assertEqual(failed, [KeyResponse(False, "disk full")])

    def test_a_slow_disk(self) -> None:
        self.encrypted(saves_keys=True)
        for _ in range(64):
            self.assertEqual(self.answers(self.ask(keys.INSTALL, B)), [])
        (response,) = self.answers(self.ask(keys.INSTALL, B))
        self.assertIn("too many changes", response.message)

    def test_odd_requests(self) -> None:
        self.encrypted()
        for payload in (b"", b"\x08\x80", b"\x07\xc1", b"\x07\x81\xa3Key\x05"):
            (response,) = self.answers(self.ask(keys.INSTALL, payload=payload))
            self.assertFalse(response.result)

    def test_more_keys_than_fit(self) -> None:
        ring = self.encrypted()
        for number in range(40):
            ring.install(bytes((number,)) * 32)
        (response,) = self.answers(self.ask(keys.LIST))
        count = len(response.keys)
        self.assertTrue(10 < count < 41)
        self.assertEqual(response.message, f"truncated key list response, showing first {count} of 41 keys")
        self.assertEqual((response.keys[0], response.primary), (A64, A64))


class WireTests(SynchronousTestCase):
    def test_captured(self) -> None:
        records = {record["name"]: record["message_hex"] for record in captured("serf-messages")}
        listed = Query.decode(bytes.fromhex(records["query:_serf_list-keys"])[1:])
        self.assertEqual(listed.payload, keys.encode_request(b""))
        installed = Query.decode(bytes.fromhex(records["query:_serf_install-key"])[1:])
        ring = Keyring([A])
        self.assertEqual(keys.perform(ring, installed.name, installed.payload), (KeyResponse(True), True))
        self.assertEqual(keys.encode_request(ring.keys[1]), installed.payload)
        response = QueryResponse.decode(bytes.fromhex(records["queryResponse:flags0:type8"])[1:])
        expected = KeyResponse(False, keys.EMPTY_KEYRING)
        self.assertEqual(KeyResponse.decode(response.payload or b""), expected)
        self.assertEqual(expected.encode(), response.payload)

    def test_tally(self) -> None:
        def answer(name: str, response: KeyResponse) -> QueryResponse:
            return QueryResponse(1, 1, name, 0, response.encode())

        both = KeyResponse(True, "", (A64, B64), A64)
        one = KeyResponse(True, "", (A64,), A64)
        counted = tally([answer("a", both), answer("b", one), QueryResponse(1, 1, "b", 1)], 2)
        self.assertEqual((counted.keys, counted.primaries), ({A64: 2, B64: 1}, {A64: 2}))
        self.assertEqual((counted.nodes, counted.error, counted.messages), (2, "", {}))
        missing = tally([answer("a", KeyResponse(True))], 3)
        self.assertEqual(missing.error, "1/3 nodes reported success")
        odd = QueryResponse(1, 1, "c", 0, b"\x09")
        failed = tally([answer("a", KeyResponse(False, "no")), answer("b", one), odd], 4)
        self.assertEqual(failed.error, "2/4 nodes reported failure")
        self.assertEqual(failed.messages, {"a": "no", "c": "Invalid key query response type: [9]"})
