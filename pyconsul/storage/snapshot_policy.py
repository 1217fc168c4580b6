"""When a snapshot is taken, and how much of the log is kept behind it.

Source: specs of Consul's Raft, section 5.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from msgspec import Struct
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pyconsul.interfaces import RaftStorage
from pyconsul.raft.core import RaftCore
from pyconsul.raft.snapshot import SnapshotInfo
from pyconsul.storage.snapshotting import Machine, Snapshotting


class SnapshotSettings(Struct, frozen=True):
    """How often, and how much.

    :ivar threshold: entries since the last snapshot that make another worth while.
    :ivar interval_s: it is looked at every random(this): one to two times as long.
    :ivar trailing_logs: entries that are kept for followers that are a little behind.
    :ivar log_bytes: so large a log makes a snapshot worth while with fewer entries, too, unless the last
        snapshot was larger: to read a million keys from transactions takes longer than from a snapshot.
    """

    threshold: int = 16_384
    interval_s: float = 30.0
    trailing_logs: int = 10_000
    log_bytes: int = 64 * 1024 * 1024


class SnapshotPolicy:
    """Has one server's snapshots taken, and its log compacted.

    :param applied: up to where the machine is.
    :ivar settings: may be replaced at any time.
    """

    def __init__(
        self,
        settings: SnapshotSettings,
        clock: IReactorTime,
        rng: Random,
        core: RaftCore,
        storage: RaftStorage,
        work: Snapshotting,
        machine: Machine,
        applied: Callable[[], int],
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._rng = rng
        self._core = core
        self._storage = storage
        self._work = work
        self._machine = machine
        self._applied = applied
        self._timer: IDelayedCall | None = None
        self._soon: IDelayedCall | None = None

    def start(self) -> None:
        """Look now and then."""
        wait_s = self.settings.interval_s * (1.0 + self._rng.random())
        self._timer = self._clock.callLater(wait_s, self._look)

    def stop(self) -> None:
        """Look no more."""
        for timer in (self._timer, self._soon):
            if timer is not None:
                timer.cancel()
        self._timer = self._soon = None

    def _look(self) -> None:
        self.start()
        if self._is_due():
            self.take()

    def _is_due(self) -> bool:
        snapshot, settings = self._core.snapshot, self.settings
        index, size = (0, 0) if snapshot is None else (snapshot.index, snapshot.size)
        if self._core.last_log_index - index >= settings.threshold:
            return True
        return self._storage.bytes_after(index) >= max(settings.log_bytes, size)

    def soon(self) -> None:
        """Take a snapshot once what is being done is done: everything before is of no use any more."""
        if self._soon is None:
            self._soon = self._clock.callLater(0, self._now)

    def _now(self) -> None:
        self._soon = None
        self.take()

    def take(self) -> bool:
        """Begin to take a snapshot, if that can be done now and there is something new."""
        snapshot = self._core.snapshot
        applied = self._applied()
        if self._work.is_taking or not self._machine.is_whole:
            return False
        if snapshot is not None and applied <= snapshot.index:
            return False
        info = self._core.describe_snapshot(applied)
        if info is None:
            return False
        self._work.take(info)
        return True

    def taken(self, info: SnapshotInfo) -> None:
        """Drop what the snapshot ``info`` makes needless, but for what somebody may want soon.

        Who is being sent an earlier snapshot has to find the entries after it.
        """
        core = self._core
        last_dropped = min(info.index, core.last_log_index - self.settings.trailing_logs)
        for progress in core.progress.values():
            if progress.snapshot is not None:
                last_dropped = min(last_dropped, progress.snapshot.index)
        kept = self._storage.compact(last_dropped + 1)
        if kept - 1 > core.log.base_index:
            core.compact(kept - 1)
