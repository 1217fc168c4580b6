"""The keys of an encrypted pool: seal with the first, open with any.

A sealed payload is a version byte, a nonce of 12 bytes, the ciphertext and a tag of 16 bytes
(AES-GCM). Version 1 has no padding; version 0 pads the plaintext as PKCS#7 does (specs of gossip,
section 6).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pyconsul.errors import PyconsulError
from pyconsul.swim.wire import DecodeError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_SIZE = 12
_TAG_SIZE = 16
_BLOCK = 16
OVERHEAD = 1 + NONCE_SIZE + _TAG_SIZE
"""Bytes that sealing adds to a packet."""

_VERSION = 1

KEYS_MAX = 256
"""Each packet that nobody's key opens is tried with all of them."""


class KeyringError(PyconsulError):
    """A change of the keyring that may not be made."""


class NotAuthentic(DecodeError):
    """Nobody who has one of the keys sent this."""

    def __init__(self) -> None:
        super().__init__("No installed keys could decrypt the message")


class Keyring:
    """An ordered set of keys, the primary first.

    :raises KeyringError: if there is no key or one has the wrong size.
    """

    def __init__(self, keys: Iterable[bytes]) -> None:
        # Most pools are plain, and cryptography costs each agent 6 MiB.
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._make_cipher = AESGCM
        self._forged = InvalidTag
        self._ciphers: dict[bytes, AESGCM] = {}
        for key in keys:
            self.install(key)
        if not self._ciphers:
            raise KeyringError("Keyring is empty (encryption not enabled)")

    @classmethod
    def from_base64(cls, keys: Iterable[str]) -> Keyring:
        """A keyring of keys as configuration spells them."""
        return cls(decode_key(key) for key in keys)

    @property
    def keys(self) -> list[bytes]:
        """All keys, the primary first."""
        return list(self._ciphers)

    @property
    def primary(self) -> bytes:
        """The key that seals."""
        return next(iter(self._ciphers))

    def keys_base64(self) -> list[str]:
        """All keys as configuration spells them, the primary first."""
        return [b64encode(key).decode() for key in self._ciphers]

    def install(self, key: bytes) -> None:
        """Add ``key`` at the end, unless it is there."""
        if len(key) not in (16, 24, 32):
            raise KeyringError("key size must be 16, 24 or 32 bytes")
        if key in self._ciphers:
            return
        if len(self._ciphers) >= KEYS_MAX:
            raise KeyringError(f"the keyring has {KEYS_MAX} keys and takes no more")
        self._ciphers[key] = self._make_cipher(key)

    def use(self, key: bytes) -> None:
        """Make ``key`` the primary."""
        cipher = self._ciphers.get(key)
        if cipher is None:
            raise KeyringError("Requested key is not in the keyring")
        self._ciphers = {key: cipher, **self._ciphers}

    def remove(self, key: bytes) -> None:
        """Forget ``key``; one that is not there counts as removed."""
        if key == self.primary:
            raise KeyringError("Removing the primary key is not allowed")
        self._ciphers.pop(key, None)

    def seal(self, plaintext: bytes, nonce: bytes, aad: bytes = b"") -> bytes:
        """The payload for ``plaintext``; ``nonce`` may never be used twice with a key."""
        return b"\x01" + nonce + self._ciphers[self.primary].encrypt(nonce, plaintext, aad or None)

    def open(self, payload: bytes, aad: bytes = b"") -> bytes:
        """The plaintext of ``payload``.

        :raises NotAuthentic: if no key opens it.
        :raises DecodeError: if what is in it is not padded as it should be.
        """
        if len(payload) < OVERHEAD or payload[0] > _VERSION:
            raise NotAuthentic()
        nonce, sealed = payload[1 : 1 + NONCE_SIZE], payload[1 + NONCE_SIZE :]
        for cipher in self._ciphers.values():
            try:
                plaintext = cipher.decrypt(nonce, sealed, aad or None)
            except self._forged:
                continue
            return plaintext if payload[0] == _VERSION else _unpad(plaintext)
        raise NotAuthentic()


def _unpad(plaintext: bytes) -> bytes:
    """Take the padding of version 0 off."""
    count = plaintext[-1] if plaintext else 0
    if not 1 <= count <= _BLOCK or count > len(plaintext):
        raise DecodeError("wrong padding")
    return plaintext[:-count]


def decode_key(key: str) -> bytes:
    """A key as configuration spells it, as bytes.

    :raises KeyringError: if it is not base64 or has the wrong size.
    """
    try:
        decoded = b64decode(key, validate=True)
    except ValueError as error:
        raise KeyringError(f"Invalid encryption key: {error}") from error
    if len(decoded) not in (16, 24, 32):
        raise KeyringError("key size must be 16, 24 or 32 bytes")
    return decoded
