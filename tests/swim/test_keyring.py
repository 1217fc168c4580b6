"""Keys."""

from base64 import b64encode

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.swim.keyring import KEYS_MAX, OVERHEAD, Keyring, KeyringError, decode_key
from pyconsul.swim.wire import DecodeError

A, B, C = b"a" * 16, b"b" * 24, b"c" * 32
NONCE = bytes(12)


class KeyringTests(SynchronousTestCase):
    def test_bound(self) -> None:
        ring = Keyring(bytes((number // 256, number % 256)) * 8 for number in range(KEYS_MAX))
        ring.install(ring.primary)
        error = self.assertRaises(KeyringError, ring.install, A)
        self.assertIn("takes no more", str(error))

    def test_order(self) -> None:
        """The first key is the primary; using another moves it to the front."""
        ring = Keyring([A])
        ring.install(B)
        ring.install(C)
        ring.install(B)
        self.assertEqual(ring.keys, [A, B, C])
        ring.use(C)
        self.assertEqual(ring.keys, [C, A, B])
        self.assertEqual(ring.primary, C)
        ring.use(C)
        ring.remove(A)
        ring.remove(A)
        self.assertEqual(ring.keys_base64(), [b64encode(C).decode(), b64encode(B).decode()])
        self.assertEqual(Keyring.from_base64(ring.keys_base64()).keys, ring.keys)

    def test_refusals(self) -> None:
        ring = Keyring([A])
        self.assertRaisesRegex(KeyringError, "Requested key is not in the keyring", ring.use, B)
        self.assertRaisesRegex(KeyringError, "Removing the primary key is not allowed", ring.remove, A)
        self.assertRaisesRegex(KeyringError, "16, 24 or 32", ring.install, b"short")
        self.assertRaisesRegex(KeyringError, "empty", Keyring, [])
        self.assertRaisesRegex(KeyringError, "Invalid", decode_key, "not base64!")
        self.assertRaisesRegex(KeyringError, "16, 24 or 32", decode_key, "AAAA")

    def test_any_key_opens(self) -> None:
        payload = Keyring([B]).seal(b"hello", NONCE, b"aad")
        self.assertEqual(len(payload), 5 + OVERHEAD)
        self.assertEqual(Keyring([A, C, B]).open(payload, b"aad"), b"hello")
        for ring, aad in ((Keyring([A]), b"aad"), (Keyring([B]), b"")):
            self.assertRaisesRegex(DecodeError, "No installed keys", ring.open, payload, aad)

    def test_padded_version(self) -> None:
        """Version 0 pads to the block, by a whole block if need be."""
        ring = Keyring([A])

        def sealed(plaintext: bytes) -> bytes:
            return b"\x00" + NONCE + AESGCM(A).encrypt(NONCE, plaintext, None)

        self.assertEqual(ring.open(sealed(b"hi" + b"\x0e" * 14)), b"hi")
        self.assertEqual(ring.open(sealed(b"\x10" * 16)), b"")
        for bad in (b"", b"hi\x00", b"hi\x11", b"\x05"):
            self.assertRaisesRegex(DecodeError, "padding", ring.open, sealed(bad))

    def test_odd_payloads(self) -> None:
        ring = Keyring([A])
        for odd in (b"", b"\x01", b"\x01" * (OVERHEAD - 1), b"\x02" * 60):
            self.assertRaises(DecodeError, ring.open, odd)
