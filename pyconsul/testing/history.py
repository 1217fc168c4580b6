"""What clients asked of a key/value store, what they were told, and in which order that was seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

PUT: Final = "put"
GET: Final = "get"
CAS: Final = "cas"
DELETE: Final = "delete"
DELETE_CAS: Final = "delete-cas"

DEFAULT: Final = "default"
CONSISTENT: Final = "consistent"
STALE: Final = "stale"

NEVER: Final = 1 << 62
"""Later than any return."""


class Operation(Struct, eq=False):
    """One operation on one key. Values are ``None`` where there is no entry.

    Values written must be different in all writes of one history: then "the entry has still the
    value that I read" is what Consul's ``cas`` by ModifyIndex means.

    :ivar kind: ``put`` (of ``value``), ``get``, ``cas`` (``value`` if the entry has ``expected``),
        ``delete``, ``delete-cas`` (if the entry has ``expected``; done if there is none).
    :ivar invoked: position of the invocation among all invocations and returns.
    :ivar returned: position of the return; ``NEVER`` while there is none or the outcome is unknown.
    :ivar result: what a get saw, or whether a conditional write was done.
    :ivar mode: of a get: ``default`` and ``consistent`` have to be linearizable, ``stale`` need not.
    :ivar server: the process that answers a stale read; a restart makes another one.
    :ivar version: Consul's ModifyIndex of what a get saw, 0 if there was no entry.
    """

    client: int
    kind: str
    key: str
    value: bytes | None
    expected: bytes | None
    invoked: int
    returned: int = NEVER
    result: bytes | bool | None = None
    void: bool = False
    mode: str = ""
    server: str = ""
    version: int = 0

    def __str__(self) -> str:
        told = "no answer" if self.returned == NEVER else f"{self.result!r}"
        asked = {
            PUT: f"{self.value!r}",
            GET: f"({self.mode})",
            CAS: f"{self.expected!r} -> {self.value!r}",
            DELETE: "",
            DELETE_CAS: f"{self.expected!r}",
        }
        until = "" if self.returned == NEVER else self.returned
        what = f"{self.kind} {self.key} {asked[self.kind]}"
        if self.server:
            what += f" at {self.server}"
        return f"[{self.invoked}..{until}] client {self.client}: {what}: {told}"


class History:
    """Records operations as they begin and end."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._position = 0

    def __len__(self) -> int:
        return len(self.operations)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    def invoke(
        self,
        client: int,
        kind: str,
        key: str,
        value: bytes | None = None,
        expected: bytes | None = None,
        mode: str = "",
        server: str = "",
    ) -> Operation:
        """An operation begins. It counts as one of unknown outcome until ``returned`` is called."""
        if kind == GET and not mode:
            mode = CONSISTENT
        operation = Operation(client, kind, key, value, expected, self._tick(), mode=mode, server=server)
        self.operations.append(operation)
        return operation

    def returned(self, operation: Operation, result: bytes | bool | None = None, version: int = 0) -> None:
        """The client was told ``result``, and with a get the version of that."""
        operation.returned = self._tick()
        operation.result = result
        operation.version = version

    def not_done(self, operation: Operation) -> None:
        """The client was told that its operation certainly had no effect, nor will have."""
        operation.void = True

    def by_key(self) -> dict[str, list[Operation]]:
        """The operations that may have had an effect, for each key in the order of invocation."""
        keys: dict[str, list[Operation]] = {}
        for operation in self.operations:
            if not operation.void:
                keys.setdefault(operation.key, []).append(operation)
        return keys

    def _tick(self) -> int:
        self._position += 1
        return self._position


def show(operations: Iterable[Operation]) -> str:
    """Operations for people, one a line."""
    return "\n".join(str(operation) for operation in operations)
