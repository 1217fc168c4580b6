"""What metadata of nodes, services and queries may be; the texts are Consul's."""

from __future__ import annotations

import re
from collections.abc import Mapping

PAIRS_MAX = 64
KEY_MAX, VALUE_MAX = 128, 512
RESERVED = "consul-"

_KEY = re.compile(r"[A-Za-z0-9_-]+")


def metadata_fault(pairs: Mapping[str, str], reserved: bool = True) -> str:
    """What is wrong with ``pairs``; empty if nothing is.

    :param reserved: keys with the prefix that Consul keeps for itself are wrong, too.
    """
    if len(pairs) > PAIRS_MAX:
        return f"Node metadata cannot contain more than {PAIRS_MAX} key/value pairs"
    for key, value in pairs.items():
        problem = ""
        if not key:
            problem = "Key cannot be blank"
        elif not _KEY.fullmatch(key):
            problem = "Key contains invalid characters"
        elif len(key) > KEY_MAX:
            problem = f"Key is too long (limit: {KEY_MAX} characters)"
        elif reserved and key.startswith(RESERVED):
            problem = f"Key prefix '{RESERVED}' is reserved for internal use"
        elif len(value) > VALUE_MAX:
            problem = f"Value is too long (limit: {VALUE_MAX} characters)"
        if problem:
            return f"Couldn't load metadata pair ('{key}', '{value}'): {problem}"
    return ""
