"""Bytes that are nearly right."""

from __future__ import annotations

from random import Random


def mutated(rng: Random, data: bytes) -> bytes:
    """``data`` with up to four changes: bytes changed, put in, taken out or exchanged."""
    changed = bytearray(data)
    for _ in range(rng.randint(0, 4)):
        choice = rng.randrange(4)
        if not changed or choice == 0:
            changed.insert(rng.randint(0, len(changed)), rng.randrange(256))
        elif choice == 1:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        elif choice == 2:
            del changed[rng.randrange(len(changed)) :]
        else:
            at = rng.randrange(len(changed))
            changed[at : at + rng.randrange(8)] = rng.randbytes(rng.randrange(8))
    return bytes(changed)
