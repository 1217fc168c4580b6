"""The checks that Consul makes of UUIDs, with its words."""

import re

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_NOT_HEX = re.compile(r"[^0-9a-fA-F]")
_GROUPS = ((0, 8), (9, 13), (14, 18), (19, 23), (24, 36))


def fault(text: str) -> str:
    """What is wrong with a UUID of 36 characters; empty if nothing is."""
    if _UUID.fullmatch(text):
        return ""
    if any(text[end] != "-" for _, end in _GROUPS[:-1]):
        return "uuid is improperly formatted"
    digits = "".join(text[start:end] for start, end in _GROUPS)
    wrong = _NOT_HEX.search(digits)
    assert wrong is not None
    return f"encoding/hex: invalid byte: U+{ord(wrong[0]):04X} {wrong[0]!r}"


def node_id_fault(text: str) -> str:
    """What Consul answers to a node id that is no UUID; empty if it is one."""
    if len(text) != 36:
        return "Bad node ID: uuid string is wrong length"
    found = fault(text)
    return f"Bad node ID: {found}" if found else ""


def session_id_fault(text: str) -> str:
    """What Consul answers to a session id that is no UUID; empty if it is one."""
    if len(text) != 36:
        return "failed session lookup: index error: UUID must be 36 characters"
    found = fault(text)
    return f"failed session lookup: index error: Invalid UUID: {found}" if found else ""
