"""A digest of everything that happens in a run, to tell whether two runs are the same."""

from __future__ import annotations

from array import array
from hashlib import blake2b

FLUSH_AT = 8_192


class Trace:
    """Hashes numbers in order; cheap enough to be called several times for each event."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=16)
        self._numbers = array("d")

    def note(self, number: float) -> None:
        """Take one number into the digest (integers up to 2**53)."""
        numbers = self._numbers
        numbers.append(number)
        if len(numbers) >= FLUSH_AT:
            self._flush()

    def _flush(self) -> None:
        self._hash.update(self._numbers.tobytes())
        del self._numbers[:]

    def digest(self) -> str:
        """The digest so far, in hex."""
        self._flush()
        return self._hash.hexdigest()
