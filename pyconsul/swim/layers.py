"""The layers that packets and streams share: label, encryption, compression.

Outermost first: ``[label header] [encryption] [CRC header, packets only] message`` (specs of
gossip, section 3).
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from pyconsul.swim import lzw, messages, wire
from pyconsul.swim.keyring import NONCE_SIZE, OVERHEAD, Keyring
from pyconsul.swim.wire import DecodeError

PLAINTEXT_REFUSED = "Encryption is configured but remote state is not encrypted"
CIPHERTEXT_REFUSED = "Remote state is encrypted and encryption is not configured"


class Layers(Struct, frozen=True):
    """What a pool puts around its messages.

    :ivar random_bytes: source of nonces, such as ``os.urandom``.
    :ivar verify_incoming: refuse what is not encrypted, if there is a keyring.
    :ivar verify_outgoing: encrypt, if there is a keyring. Switched off on the way to encryption.
    :ivar compress: compress what gets smaller by it; costs much more time here than it saves.
    """

    random_bytes: Callable[[int], bytes]
    keyring: Keyring | None = None
    label: bytes = b""
    verify_incoming: bool = True
    verify_outgoing: bool = True
    compress: bool = False

    @property
    def overhead(self) -> int:
        """Bytes around each packet."""
        label = len(self.label) + 2 if self.label else 0
        return label + (OVERHEAD if self.sealing else 0)

    @property
    def sealing(self) -> bool:
        """Whether what goes out is encrypted."""
        return self.keyring is not None and self.verify_outgoing

    def seal(self, plaintext: bytes, aad: bytes) -> bytes:
        """Encrypt with the primary key."""
        assert self.keyring is not None
        return self.keyring.seal(plaintext, self.random_bytes(NONCE_SIZE), aad + self.label)

    def add_label(self, data: bytes) -> bytes:
        """Put the label header before ``data``, if there is a label."""
        if not self.label:
            return data
        return bytes((messages.LABEL, len(self.label))) + self.label + data

    def strip_label(self, data: bytes) -> bytes:
        """Take the label header off.

        :raises DecodeError: if the label is not ours.
        """
        label, start = find_label(data)
        if label != self.label:
            raise DecodeError("label is not ours")
        return data[start:] if start else data


def find_label(data: bytes) -> tuple[bytes, int]:
    """The label of a packet or stream, empty if it has none, and where the rest starts."""
    if not data or data[0] != messages.LABEL:
        return b"", 0
    if len(data) < 2 or data[1] == 0 or len(data) < 2 + data[1]:
        raise DecodeError("label header cut off")
    end = 2 + data[1]
    return data[2:end], end


def compressed(message: bytes) -> bytes:
    """``message`` as a compress message."""
    return bytes((messages.COMPRESS,)) + wire.pack({"Algo": 0, "Buf": lzw.compress(message)})


def decompressed(body: bytes, size_max: int) -> bytes:
    """The message inside the body of a compress message."""
    algorithm, packed = wire.values(wire.unpack(body), (b"Algo", b"Buf"))
    if wire.unsigned(algorithm) != 0:
        raise DecodeError("unknown compression")
    return lzw.decompress(wire.raw(packed), size_max)
