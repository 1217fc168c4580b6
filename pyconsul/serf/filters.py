"""Whom a query is for: each filter is a type byte and MessagePack (specs of serf, section 7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgpack

from pyconsul.regexp.expressions import matches
from pyconsul.swim import wire

NODES = 0
TAG = 1


def nodes_filter(names: Iterable[str]) -> bytes:
    """Only the members with these names."""
    packed: bytes = msgpack.packb(list(names), use_bin_type=False)
    return bytes((NODES,)) + packed


def tag_filter(tag: str, expression: str) -> bytes:
    """Only members in whose tag the expression matches."""
    return bytes((TAG,)) + wire.pack({"Expr": expression, "Tag": tag})


def passes(filters: Sequence[bytes], name: str, tags: Mapping[str, str]) -> bool:
    """Whether a member passes all filters. One that cannot be understood lets nobody pass."""
    try:
        return all(_passes_one(one, name, tags) for one in filters)
    except wire.DecodeError:
        return False


def _passes_one(one: bytes, name: str, tags: Mapping[str, str]) -> bool:
    kind, body = one[:1], one[1:]
    if kind == bytes((NODES,)):
        return name in [wire.text(item) for item in wire.sequence(wire.unpack(body))]
    if kind == bytes((TAG,)):
        tag, expression = wire.values(wire.unpack(body), (b"Tag", b"Expr"))
        return matches(wire.text(expression), tags.get(wire.text(tag), ""))
    return False
