"""Saving and restoring the whole state as an archive, on whichever agent that is asked for.

A server saves from its own store: the leader once a majority has confirmed it, any server if a stale
state will do. Other agents read along, piece by piece. Nothing of this takes the reactor's thread for
longer than a slice, and no archive is ever in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from pyconsul.agent.environment import Environment
from pyconsul.agent.forwarding import Forwarder
from pyconsul.agent.remote_snapshots import open_at, restore_at
from pyconsul.agent.replica import Replica
from pyconsul.endpoints.snapshot import (
    PIECE_BYTES,
    Snapshot,
    SnapshotOpen,
    SnapshotRestore,
)
from pyconsul.errors import NoLeader, NoPath, Refused
from pyconsul.interfaces import SnapshotStream
from pyconsul.log import make_logger
from pyconsul.state import records, store
from pyconsul.state.records_kinds import describe
from pyconsul.storage import archive

T = TypeVar("T")

SAVING_MAX = 8
SPOOL_IN_MEMORY_BYTES = 8 * 1024 * 1024
RESTORE_FAILED = "Raft error when restoring snapshot: "

Install = Callable[[store.Snapshot], Deferred[Any]]
"""Makes a snapshot the state of all servers, on the leader: Raft's user restore.

Fires once every later read sees it; fails with ``PyconsulError``, ``NoLeader`` if nothing was changed.
"""


def in_steps(clock: IReactorTime, steps: Generator[None, None, T]) -> Deferred[T]:
    """Do something in steps, one a turn of the reactor; fires with what it returns."""
    pending: list[IDelayedCall] = []

    def turn() -> None:
        try:
            next(steps)
        except StopIteration as end:
            done.callback(end.value)
        except Exception:
            done.errback(Failure())
        else:
            pending[:] = [clock.callLater(0, turn)]

    def cancel(_: Deferred[T]) -> None:
        for call in pending:
            if call.active():
                call.cancel()
        steps.close()

    done: Deferred[T] = Deferred(cancel)
    turn()
    return done


# ---------------------------------------------------------------- streams


class LocalStream:
    """An archive that is made here while it is read (``SnapshotStream``).

    :param pieces: of the archive; empty ones mean that it takes longer.
    :param closed: called once, with the stream.
    """

    def __init__(
        self,
        clock: IReactorTime,
        pieces: Iterator[bytes],
        index: int,
        last_contact: int,
        known_leader: bool,
        closed: Callable[[LocalStream], None],
    ) -> None:
        self.index, self.last_contact, self.known_leader = index, last_contact, known_leader
        self._clock = clock
        self._pieces: Iterator[bytes] | None = pieces
        self._closed = closed
        self._reading: Deferred[bytes] | None = None

    def read(self) -> Deferred[bytes]:
        """See ``pyconsul.interfaces.SnapshotStream``."""
        if self._pieces is None or self._reading is not None:
            return fail(Refused("the snapshot is closed or being read"))
        reading = self._reading = in_steps(self._clock, self._gather(self._pieces))
        reading.addBoth(self._read)
        return reading

    def _gather(self, pieces: Iterator[bytes]) -> Generator[None, None, bytes]:
        parts: list[bytes] = []
        size = 0
        for piece in pieces:
            parts.append(piece)
            size += len(piece)
            if size >= PIECE_BYTES:
                break
            yield
        return b"".join(parts)

    def _read(self, result: Any) -> Any:
        self._reading = None
        if not result or isinstance(result, Failure):
            self.close()
        if isinstance(result, Failure) and result.check(CancelledError):
            raise Refused("the snapshot is not read any more")
        return result

    def close(self) -> None:
        """See ``pyconsul.interfaces.SnapshotStream``."""
        if self._pieces is None:
            return
        self._pieces = None
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.addErrback(lambda _: b"")  # whoever closes does not wait any more
            reading.cancel()
        self._closed(self)


class ServerSnapshots:
    """Saves and restores on a server.

    :param folder: where archives that come in are kept when they are large; empty: the system's.
    :ivar endpoints: the ``Snapshot`` family, for the server's registry.
    :ivar install: Raft's part of a restore.
    :ivar route: the address of a server of another datacenter; raises ``NoPath``.
    """

    def __init__(
        self,
        environment: Environment,
        datacenter: str,
        state: store.Store,
        raft: Replica,
        forwarder: Forwarder,
        folder: str = "",
    ) -> None:
        self._log = make_logger("agent.server.snapshot")
        self._environment = environment
        self._clock = environment.clock
        self._transport = environment.rpc_transport
        self._datacenter = datacenter
        self._store = state
        self._raft = raft
        self._forwarder = forwarder
        self._folder = folder or None
        self._saving: set[LocalStream] = set()
        self._restoring: Deferred[Any] | None = None
        self.install: Install = raft.restore
        self.route: Callable[[str], str] = _no_path
        self.endpoints = Snapshot(
            self._asked_to_save, self._asked_to_restore, self._clock, environment.rng, self._spool
        )

    def stop(self) -> None:
        """Break off whatever is going on."""
        self.endpoints.stop()
        for stream in [*self._saving]:
            stream.close()
        if self._restoring is not None:
            self._restoring.cancel()

    def _spool(self) -> BinaryIO:
        return cast(BinaryIO, SpooledTemporaryFile(SPOOL_IN_MEMORY_BYTES, dir=self._folder))

    # ------------------------------------------------------------ save

    def save(self, datacenter: str, token: str, allow_stale: bool) -> Deferred[SnapshotStream]:
        """See ``pyconsul.interfaces.LocalAgent.snapshot``."""
        return self._asked_to_save(SnapshotOpen(datacenter=datacenter, token=token, allow_stale=allow_stale))

    def _asked_to_save(self, request: SnapshotOpen) -> Deferred[SnapshotStream]:
        if request.datacenter and request.datacenter != self._datacenter:
            return maybeDeferred(lambda: open_at(self._transport, self.route(request.datacenter), request))
        if request.relayed:
            return maybeDeferred(self._open, request)
        return self._forwarder.persist(partial(self._open, request), is_read=True)

    def _open(self, request: SnapshotOpen) -> Any:
        """One attempt: here, or at the leader."""
        if request.allow_stale:
            return self._begin()
        if self._raft.ready:
            confirmed: Deferred[None] = Deferred()
            self._raft.confirm(confirmed)
            return confirmed.addCallback(lambda _: self._begin())
        address = self._leader_elsewhere(request.relayed)
        relayed = SnapshotOpen(datacenter=request.datacenter, token=request.token, relayed=True)
        return open_at(self._transport, address, relayed)

    def _leader_elsewhere(self, relayed: bool) -> str:
        address = self._raft.leader_address
        if relayed or self._raft.is_leader or not address:
            raise NoLeader()
        return address

    def _begin(self) -> LocalStream:
        if len(self._saving) >= SAVING_MAX:
            raise Refused("too many snapshots at once; try again later")
        core = self._raft.core
        now_s = self._environment.wall_time()
        snapshot = self._store.snapshot()
        meta = archive.make_meta(
            snapshot.index, core.term, core.configuration, core.configuration_index, now_s
        )
        pieces = archive.write(meta, partial(records.encode, snapshot), now_s)
        contact = core.last_contact
        last_contact = 0
        if not self._raft.is_leader and contact is not None:
            last_contact = int(max(0.0, self._clock.seconds() - contact) * 1e9)
        stream = LocalStream(
            self._clock,
            pieces,
            snapshot.index or 1,
            last_contact,
            bool(self._raft.leader_id),
            self._saving.discard,
        )
        self._saving.add(stream)
        return stream

    # ------------------------------------------------------------ restore

    def restore(self, file: BinaryIO, datacenter: str, token: str) -> Deferred[dict[str, int]]:
        """See ``pyconsul.interfaces.LocalAgent.restore_snapshot``."""
        request = SnapshotRestore(datacenter=datacenter, token=token, upload=0, size=0)
        return self._asked_to_restore(file, request)

    def _asked_to_restore(self, file: BinaryIO, request: SnapshotRestore) -> Deferred[dict[str, int]]:
        if request.datacenter and request.datacenter != self._datacenter:
            return maybeDeferred(self._restore_elsewhere, file, request)
        if request.relayed:
            return maybeDeferred(self._restore, file, request)
        return self._forwarder.persist(partial(self._restore, file, request), is_read=False)

    def _restore_elsewhere(self, file: BinaryIO, request: SnapshotRestore) -> Deferred[dict[str, int]]:
        address, name = self.route(request.datacenter), request.datacenter
        return Deferred.fromCoroutine(
            restore_at(self._transport, address, file, name, request.token, False)
        )

    def _restore(self, file: BinaryIO, request: SnapshotRestore) -> Deferred[dict[str, int]]:
        """One attempt: here, or at the leader."""
        if self._raft.ready:
            return self._restore_here(file)
        address = self._leader_elsewhere(request.relayed)
        return Deferred.fromCoroutine(
            restore_at(self._transport, address, file, request.datacenter, request.token, True)
        )

    def _restore_here(self, file: BinaryIO) -> Deferred[dict[str, int]]:
        if self._restoring is not None:
            raise Refused("another snapshot is being restored")

        def ended(result: Any) -> Any:
            self._restoring = None
            return result

        self._restoring = Deferred.fromCoroutine(self._read_and_install(file))
        return self._restoring.addBoth(ended)

    async def _read_and_install(self, file: BinaryIO) -> dict[str, int]:
        meta = await in_steps(self._clock, archive.check(file))
        problem = meta.problem()
        if problem:
            raise Refused(RESTORE_FAILED + problem)
        decoder = records.Decoder()
        size = await in_steps(self._clock, _feed(decoder, archive.state(file)))
        if size != meta.size:
            raise Refused(
                f"{RESTORE_FAILED}failed to write snapshot, size didn't match ({size} != {meta.size})"
            )
        snapshot = decoder.finish()
        await self.install(snapshot)
        skipped = decoder.skipped.counts
        self._log.info("restored the snapshot {id} of index {index}", id=meta.id, index=meta.index)
        if skipped:
            self._log.warn("left out of the restored snapshot: {what}", what=describe(skipped))
        return skipped


def _feed(decoder: records.Decoder, pieces: Iterator[bytes]) -> Generator[None, None, int]:
    size = 0
    for piece in pieces:
        decoder.feed(piece)
        size += len(piece)
        yield
    return size


def _no_path(datacenter: str) -> str:
    raise NoPath()
