"""Writes that one agent passes on to another, many at a time."""

from __future__ import annotations

from msgspec import Struct


class BatchRequest(Struct, rename="pascal", kw_only=True):
    """Writes: the endpoint of each, and its request as MessagePack.

    :ivar hops: how many agents have passed them on before.
    """

    datacenter: str = ""
    writes: list[tuple[str, bytes]]
    hops: int = 0


class BatchReply(Struct, rename="pascal", kw_only=True):
    """What became of each, in order: its reply as MessagePack, or code and text of an error."""

    outcomes: list[bytes | tuple[str, str]]
