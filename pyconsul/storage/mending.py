"""What a server does once its disk has failed: look now and then, and open the log anew.

After a failed sync nobody knows what of the last writes is on the disk, so nothing that is in memory
of the log is believed any more. A file is allocated, written and synced to see whether the disk
works again; then the log and the snapshots are found as at a start, by a new ``RaftStorage``.
The state machine is not touched: what it has applied was committed, whatever became of it here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pyconsul.errors import PyconsulError
from pyconsul.interfaces import Disk, RaftStorage, Recovered
from pyconsul.log import make_logger
from pyconsul.raft.snapshot import SnapshotInfo
from pyconsul.storage.snapshotting import Snapshotting

LOOK_S = 2.0
LOOK_MAX_S = 60.0
"""Between attempts that came so far as to read the log, which may be long."""


class Opened(Struct, frozen=True):
    """What was found.

    :ivar snapshot: the newest one, and its state if that is above what the machine has.
    """

    storage: RaftStorage
    work: Snapshotting
    found: Recovered
    snapshot: tuple[SnapshotInfo, Any] | None


class Mending:
    """Waits for one server's disk.

    :param make_work: what is done with snapshots, from now on.
    :param opened: called with what was found; raises ``OSError`` or ``PyconsulError`` if that cannot be
        used after all.
    """

    def __init__(
        self,
        disk: Disk,
        clock: IReactorTime,
        make_work: Callable[[], Snapshotting],
        opened: Callable[[Opened], None],
    ) -> None:
        self._log = make_logger("agent.server.disk")
        self._disk = disk
        self._clock = clock
        self._make_work = make_work
        self._tell_opened = opened
        self._timer: IDelayedCall | None = None
        self._stopped = False
        self._wait_s = LOOK_S
        self.error = ""
        """What went wrong last; empty while nothing is wrong."""

    def begin(self, storage: RaftStorage, have: int, error: BaseException) -> None:
        """Look until ``storage``, which has failed, can be opened anew; it is closed.

        :param have: up to where the machine is.
        """
        self.error = said(error)
        storage.close()
        self._later(storage, have, LOOK_S)

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _later(self, storage: RaftStorage, have: int, wait_s: float) -> None:
        self._timer = self._clock.callLater(wait_s, self._look, storage, have)

    def _look(self, storage: RaftStorage, have: int) -> None:
        self._timer = None
        found: list[Opened] = []
        reading = False

        def job() -> None:
            nonlocal reading
            storage.probe()
            reading = True
            fresh, work = storage.reopened(), self._make_work()
            try:
                log = fresh.recover()
                found.append(Opened(fresh, work, log, work.find(log, have)))
            except BaseException:
                fresh.abandon()
                raise

        def done(error: BaseException | None) -> None:
            if self._stopped:
                for opened in found:
                    opened.storage.abandon()
            elif error is not None:
                self._again(storage, have, error, reading)
            else:
                self._open(storage, have, found[0])

        self._disk.submit(job, done)

    def _open(self, storage: RaftStorage, have: int, opened: Opened) -> None:
        before, self.error = self.error, ""
        try:
            self._tell_opened(opened)
        except (OSError, PyconsulError) as error:
            self.error = before
            opened.storage.close()
            self._again(storage, have, error, True)
        else:
            self._wait_s = LOOK_S

    def _again(self, storage: RaftStorage, have: int, error: BaseException, reading: bool) -> None:
        """It still does not work; say so if the reason is another."""
        text = said(error)
        if text != self.error:
            self.error = text
            self._log.error("the log cannot be used yet: {error}", error=text)
        self._wait_s = min(2.0 * self._wait_s, LOOK_MAX_S) if reading else LOOK_S
        self._later(storage, have, self._wait_s)


def said(error: BaseException) -> str:
    """The text of an error, with the file first if one is named."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or repr(error)
