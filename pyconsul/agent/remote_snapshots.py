"""Saving and restoring the whole state by way of another server: all that a client agent does of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO, TypeVar

import msgspec
from twisted.internet.defer import Deferred, fail

from pyconsul.agent.forwarding import CALL_TIMEOUT_S, Forwarder, encode
from pyconsul.agent.servers import ServerChoice
from pyconsul.endpoints.snapshot import (
    PIECE_BYTES,
    SnapshotClose,
    SnapshotOpen,
    SnapshotOpened,
    SnapshotRead,
    SnapshotRestore,
    SnapshotRestored,
    SnapshotUpload,
)
from pyconsul.errors import NoServers, PyconsulError, Refused, Unreachable
from pyconsul.interfaces import RpcTransport, SnapshotStream

T = TypeVar("T")

RESTORE_TIMEOUT_S = 600.0


class RemoteStream:
    """An archive that another server makes (``SnapshotStream``)."""

    def __init__(self, transport: RpcTransport, address: str, opened: SnapshotOpened) -> None:
        self.index, self.last_contact = opened.index, opened.last_contact
        self.known_leader = opened.known_leader
        self._transport = transport
        self._address = address
        self._stream = opened.stream
        self._offset = 0
        self._open = True

    def read(self) -> Deferred[bytes]:
        """See ``pyconsul.interfaces.SnapshotStream``."""
        if not self._open:
            return fail(Refused("the snapshot is closed"))
        request = SnapshotRead(stream=self._stream, offset=self._offset)
        piece = _call(self._transport, self._address, "Snapshot.Read", request, bytes)
        return piece.addCallback(self._came)

    def _came(self, piece: bytes) -> bytes:
        self._offset += len(piece)
        if not piece:
            self._open = False
        return piece

    def close(self) -> None:
        """See ``pyconsul.interfaces.SnapshotStream``."""
        if self._open:
            self._open = False
            request = SnapshotClose(stream=self._stream)
            closing = _call(self._transport, self._address, "Snapshot.Close", request, bool)
            closing.addErrback(lambda _: None)  # it gives up by itself, too


# ---------------------------------------------------------------- other servers


def _call(
    transport: RpcTransport,
    address: str,
    method: str,
    request: Any,
    reply: type[T],
    timeout_s: float = CALL_TIMEOUT_S,
) -> Deferred[T]:
    def decoded(body: bytes) -> T:
        try:
            return msgspec.msgpack.decode(body, type=reply)
        except msgspec.MsgspecError as error:
            raise PyconsulError(f"cannot decode the reply of {method}: {error}") from None

    return transport.call(address, method, encode(request), timeout_s).addCallback(decoded)


def open_at(transport: RpcTransport, address: str, request: SnapshotOpen) -> Deferred[SnapshotStream]:
    """Begin to read an archive that the server at ``address`` makes, or relays."""
    opened = _call(transport, address, "Snapshot.Open", request, SnapshotOpened)
    return opened.addCallback(partial(RemoteStream, transport, address))


async def restore_at(
    transport: RpcTransport, address: str, file: BinaryIO, datacenter: str, token: str, relayed: bool
) -> dict[str, int]:
    """Have the server at ``address`` restore an archive; what it could not take over.

    When this fails with ``NotSent``, nothing was restored.
    """
    file.seek(0)
    upload = offset = 0
    while True:
        data = file.read(PIECE_BYTES)
        if not data and upload:
            break
        piece = SnapshotUpload(datacenter=datacenter, token=token, upload=upload, offset=offset, data=data)
        upload = await _call(transport, address, "Snapshot.Upload", piece, int)
        offset += len(data)
    request = SnapshotRestore(datacenter=datacenter, token=token, upload=upload, size=offset, relayed=relayed)
    call = _call(transport, address, "Snapshot.Restore", request, SnapshotRestored, RESTORE_TIMEOUT_S)
    return (await call).skipped


class ClientSnapshots:
    """Has servers save and restore, for a client agent."""

    def __init__(self, transport: RpcTransport, forwarder: Forwarder, choice: ServerChoice) -> None:
        self._transport = transport
        self._forwarder = forwarder
        self._choice = choice

    def save(self, datacenter: str, token: str, allow_stale: bool) -> Deferred[SnapshotStream]:
        """See ``pyconsul.interfaces.LocalAgent.snapshot``."""
        request = SnapshotOpen(datacenter=datacenter, token=token, allow_stale=allow_stale)
        return self._persist(lambda address: open_at(self._transport, address, request), is_read=True)

    def restore(self, file: BinaryIO, datacenter: str, token: str) -> Deferred[dict[str, int]]:
        """See ``pyconsul.interfaces.LocalAgent.restore_snapshot``."""

        def attempt(address: str) -> Deferred[dict[str, int]]:
            sent = restore_at(self._transport, address, file, datacenter, token, False)
            return Deferred.fromCoroutine(sent)

        return self._persist(attempt, is_read=False)

    def _persist(self, attempt: Callable[[str], Deferred[T]], is_read: bool) -> Deferred[T]:
        called = [""]

        def once() -> Deferred[T]:
            address = self._choice.current()
            if address is None:
                raise NoServers()
            called[0] = address
            return attempt(address)

        def failed(error: Exception) -> None:
            if isinstance(error, Unreachable):
                self._choice.failed(called[0])

        return self._forwarder.persist(once, is_read=is_read, failed=failed)
