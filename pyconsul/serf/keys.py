"""Changing the keys of all members by query (specs of serf, section 8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct, field

from pyconsul.serf import messages
from pyconsul.serf.messages import QueryResponse
from pyconsul.serf.queries import INTERNAL
from pyconsul.swim import wire
from pyconsul.swim.keyring import Keyring, KeyringError

LIST, INSTALL, USE, REMOVE = "list-keys", "install-key", "use-key", "remove-key"
NAMES = tuple(INTERNAL + operation for operation in (LIST, INSTALL, USE, REMOVE))
"""The names of the queries."""

NO_KEYRING = "No keyring to modify (encryption not enabled)"
EMPTY_KEYRING = "Keyring is empty (encryption not enabled)"


class KeyResponse(Struct, frozen=True):
    """What a member answers.

    :ivar keys: base64, those that it has; only when they were asked for.
    :ivar primary: base64, the one that it seals with.
    """

    result: bool
    message: str = ""
    keys: Sequence[str] = ()
    primary: str = ""

    def encode(self) -> bytes:
        return bytes((messages.KEY_RESPONSE,)) + wire.pack({
            "Keys": list(self.keys) or None, "Message": self.message, "PrimaryKey": self.primary,
            "Result": self.result,
        })  # fmt: skip

    @classmethod
    def decode(cls, payload: bytes) -> KeyResponse:
        """Read a whole payload; raises ``DecodeError``."""
        if payload[:1] != bytes((messages.KEY_RESPONSE,)):
            raise wire.DecodeError(f"Invalid key query response type: {list(payload[:1])}")
        found = wire.values(wire.unpack(payload[1:]), (b"Result", b"Message", b"Keys", b"PrimaryKey"))
        result, message, keys, primary = found
        return cls(
            wire.boolean(result), wire.text(message), tuple(wire.text(key) for key in wire.sequence(keys)),
            wire.text(primary),
        )  # fmt: skip


def encode_request(key: bytes) -> bytes:
    """The payload of a query."""
    return bytes((messages.KEY_REQUEST,)) + wire.pack({"Key": key})


def _decode_request(payload: bytes) -> bytes:
    if payload[:1] != bytes((messages.KEY_REQUEST,)):
        raise wire.DecodeError("no key request")
    (key,) = wire.values(wire.unpack(payload[1:]), (b"Key",))
    return wire.raw(key)


def perform(keyring: Keyring | None, name: str, payload: bytes) -> tuple[KeyResponse, bool]:
    """Do what the query ``name`` asks for; also tells whether the keyring is to be saved now."""
    operation = name.removeprefix(INTERNAL)
    if operation == LIST:
        if keyring is None:
            return KeyResponse(False, EMPTY_KEYRING), False
        keys = keyring.keys_base64()
        return KeyResponse(True, "", tuple(keys), keys[0]), False
    if keyring is None:
        return KeyResponse(False, NO_KEYRING), False
    try:
        key = _decode_request(payload)
        change: Callable[[bytes], None] = {
            INSTALL: keyring.install, USE: keyring.use, REMOVE: keyring.remove,
        }[operation]  # fmt: skip
        change(key)
    except (KeyringError, wire.DecodeError) as error:
        return KeyResponse(False, str(error)), False
    return KeyResponse(True), True


def shortened(response: KeyResponse, fits: Callable[[bytes], bool]) -> bytes:
    """The payload for ``response``, with as many of its keys as fit."""
    total = len(response.keys)
    payload = response.encode()
    count = total
    while count and not fits(payload):
        count -= 1
        text = f"truncated key list response, showing first {count} of {total} keys"
        payload = KeyResponse(response.result, text, response.keys[:count], response.primary).encode()
    return payload


class KeyTally(Struct):
    """What all members together have answered.

    :ivar nodes: members that should have answered.
    :ivar messages: by node, what they had to say.
    :ivar keys: how many members have each key. :ivar primaries: how many seal with it.
    :ivar error: empty if all is well.
    """

    nodes: int
    responses: int = 0
    errors: int = 0
    messages: dict[str, str] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    primaries: dict[str, int] = field(default_factory=dict)
    error: str = ""


def tally(responses: Iterable[QueryResponse], nodes: int) -> KeyTally:
    """Count the answers of ``nodes`` members."""
    found = KeyTally(nodes)
    for response in responses:
        if response.is_ack:
            continue
        found.responses += 1
        try:
            answer = KeyResponse.decode(response.payload or b"")
        except wire.DecodeError as error:
            answer = KeyResponse(False, str(error))
        if not answer.result:
            found.errors += 1
        if answer.message:
            found.messages[response.sender] = answer.message
        for key in answer.keys:
            found.keys[key] = found.keys.get(key, 0) + 1
        if answer.primary:
            found.primaries[answer.primary] = found.primaries.get(answer.primary, 0) + 1
    if found.errors:
        found.error = f"{found.errors}/{nodes} nodes reported failure"
    elif found.responses != nodes:
        found.error = f"{found.responses}/{nodes} nodes reported success"
    return found
