"""That what a snapshot makes of a server is what the log would have made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from zlib import crc32

from pyconsul.raft import events
from pyconsul.raft.snapshot import SnapshotInfo
from pyconsul.storage.snapshotting import Machine
from pyconsul.testing.safety import SafetyChecker


def fingerprint(slices: Iterable[bytes]) -> int:
    """What a state is compared by: the checksum that a snapshot of it has."""
    checksum = 0
    for data in slices:
        checksum = crc32(data, checksum)
    return checksum


class States:
    """Tells the checker of the states that snapshots are made of, and of those made of snapshots.

    :param have: up to where the machine is.
    """

    def __init__(
        self,
        checker: SafetyChecker,
        server: str,
        machine: Machine,
        started_from: SnapshotInfo | None,
        have: Callable[[], int],
    ) -> None:
        self._checker = checker
        self._server = server
        self._machine = machine
        self._have = have
        self._restored = 0 if started_from is None else started_from.index
        self._look()

    def observe(self, event: object, effects: Iterable[Any]) -> None:
        """The core handled ``event``; what it asked for before has been done."""
        self._look()
        if type(event) is events.SnapshotTaken:
            self._checker.state_is(self._server, event.info.index, event.info.checksum)
        for effect in effects:
            if type(effect) is events.RestoreSnapshot:
                self._restored = effect.info.index

    def applied(self, index: int) -> None:
        """The machine has applied the entry ``index``; to be told where that is cheap."""
        self._checker.state_is(self._server, index, fingerprint(self._machine.slices()))

    def _look(self) -> None:
        if self._restored and self._restored == self._have():  # not above what it had already applied
            self._checker.state_is(self._server, self._restored, fingerprint(self._machine.slices()))
        self._restored = 0
