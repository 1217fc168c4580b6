"""Reads that one agent has another answer as they came by HTTP, many at a time."""

from __future__ import annotations

from msgspec import Struct


class RelayRequest(Struct, rename="pascal", kw_only=True):
    """Reads by their request targets."""

    datacenter: str = ""
    targets: list[bytes]


class Relayed(Struct, array_like=True):
    """An answer as ``http.answer.Answer`` has it, its body ready."""

    body: bytes
    content_type: bytes
    index: int
    known_leader: bool
    last_contact_ms: int
    consistency: str
    headers: tuple[tuple[bytes, bytes], ...]


class RelayReply(Struct, rename="pascal", kw_only=True):
    """An answer to each target, in order; ``None``: ask in the usual way, for it is not as simple."""

    answers: list[Relayed | None]
