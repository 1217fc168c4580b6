"""Tags of a member, as the meta bytes of its node."""

from __future__ import annotations

from collections.abc import Mapping

from pyconsul.errors import PyconsulError
from pyconsul.swim import wire
from pyconsul.swim.messages import META_MAX

_MARK = 255

TLS_TAG = "gossip_tls"
"""Says that a member takes streams inside TLS. Members of other makes have no such tag, and pass it on."""


def encode_tags(tags: Mapping[str, str]) -> bytes:
    """The meta bytes for ``tags``.

    :raises PyconsulError: if there are too many.
    """
    meta = bytes((_MARK,)) + wire.pack(dict(sorted(tags.items())))
    if len(meta) > META_MAX:
        raise PyconsulError(f"Encoded length of tags exceeds limit of {META_MAX} bytes")
    return meta


def decode_tags(meta: bytes) -> dict[str, str]:
    """The tags in ``meta``; what cannot be read has none. Old members send their role alone."""
    if not meta or meta[0] != _MARK:
        return {"role": meta.decode("utf-8", "replace")}
    try:
        found = wire.mapping(wire.unpack(meta[1:]))
    except wire.DecodeError:
        return {}
    return {
        key.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for key, value in found.items()
        if type(key) is bytes and type(value) is bytes
    }
