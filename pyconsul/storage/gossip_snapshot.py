"""The file in which a gossip pool remembers who was there (``pyconsul.serf.snapshot``).

Nothing in it is needed to be right, so nothing waits for the disk and nothing is synced but a file
that is written anew. When it cannot be written, the pool goes on without it.
"""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pyconsul.interfaces import Disk, DiskFile
from pyconsul.log import make_logger
from pyconsul.serf import snapshot
from pyconsul.serf.members import JOIN, REAP, UPDATE, MemberEvent
from pyconsul.serf.snapshot import Previous
from pyconsul.swim.address import join_host_port

FLUSH_S = 0.5
"""Lines are gathered for so long."""

READ_MAX = 64 << 20
"""Bytes at the end of a file that are looked at."""

_WAITING_MAX = 1 << 20
"""Bytes of lines that wait while the file is written anew; beyond, it is done once more instead."""


class SnapshotFile:
    """``GossipSnapshot`` on a disk.

    :param path: in a folder of ``disk`` that need not exist yet.
    :param rejoin_after_leave: find back even after this node left.
    """

    def __init__(self, disk: Disk, path: str, clock: IReactorTime, rejoin_after_leave: bool = False) -> None:
        self._log = make_logger("gossip")
        self._disk, self._path, self._clock = disk, path, clock
        self._rejoin_after_leave = rejoin_after_leave
        self._file: DiskFile | None = None
        self._size = 0
        self._alive: dict[str, str] = {}
        self._written = self._clocks = (0, 0, 0)
        self._lines: list[str] = []
        self._waiting = 0
        self._timer: IDelayedCall | None = None
        self._compacting = self._closing = self._ended = False

    def open(self) -> Previous:
        """What the file says; an empty one is made if there is none. Blocks for the disk."""
        self._ended = self._closing = False
        try:
            folder = self._path.rpartition("/")[0]
            if folder:
                self._disk.make_folder(folder)
            self._file = self._disk.open(self._path, create=True)
            size = self._file.size()
            start = max(0, size - READ_MAX)
            text = self._file.read(size - start, start).decode("utf-8", "replace")
        except OSError as error:
            self._give_up(error)
            return Previous()
        found = snapshot.replay(text, self._rejoin_after_leave)
        for line in found.problems:
            self._log.warn("gossip: {path}: unrecognized line: {line}", path=self._path, line=line)
        self._size = size
        if text and not text.endswith("\n"):  # the last line was torn in a crash
            self._lines.append("\n")
        self._alive = dict(found.alive)
        self._written = self._clocks = (found.clock, found.event_clock, found.query_clock)
        return found

    # ------------------------------------------------------------ what happens

    def member_event(self, event: MemberEvent) -> None:
        """Remember who is alive."""
        name = event.member.name
        if self._ended or event.kind in (UPDATE, REAP):
            return
        if event.kind == JOIN:
            address = join_host_port(event.member.addr, event.member.port)
            if self._alive.get(name) == address:
                return
            self._alive[name] = address
            self._add(snapshot.alive_line(name, address))
        elif self._alive.pop(name, None) is not None:
            self._add(snapshot.gone_line(name))

    def clocks(self, member: int, event: int, query: int) -> None:
        """Remember the highest logical times that were seen."""
        now = (member, event, query)
        if now != self._clocks and not self._ended:
            self._clocks = now
            self._add("")

    def left(self) -> None:
        """This node leaves: write that down, and nothing after it."""
        if self._ended:
            return
        if not self._rejoin_after_leave:
            self._add("leave\n")
        self._flush()
        self._ended = True

    def close(self) -> None:
        """Write what is not written yet."""
        if not self._ended:
            self._flush()
        self._ended = self._closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._compacting:
            self._close_file()

    # ------------------------------------------------------------ writing

    def _add(self, line: str) -> None:
        if self._file is None:
            return
        self._lines.append(line)
        self._waiting += len(line)
        if self._waiting > _WAITING_MAX:
            self._lines, self._waiting = [], 0
            self._size = READ_MAX  # so that the next flush writes everything anew
        if self._timer is None:
            self._timer = self._clock.callLater(FLUSH_S, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._flush()

    def _flush(self) -> None:
        """Write the lines that wait, or everything anew if the file has become too long."""
        if self._file is None or self._compacting:
            return
        lines = [*self._lines, *snapshot.clock_lines(self._written, self._clocks)]
        data = "".join(lines).encode("utf-8", "replace")
        self._lines, self._waiting, self._written = [], 0, self._clocks
        try:
            if data:
                self._file.write([data], self._size)
                self._size += len(data)
            if snapshot.is_too_long(self._size, len(self._alive)) and not self._ended:
                self._compact()
        except OSError as error:
            self._give_up(error)

    def _compact(self) -> None:
        """Write a new file off the reactor and put it in the place of the old one."""
        path, disk = self._path, self._disk
        fresh = disk.open(path + ".compact", create=True)
        data = snapshot.whole(self._alive, self._clocks).encode("utf-8", "replace")
        fresh.truncate(0)
        fresh.write([data], 0)
        self._compacting = True

        def job() -> None:
            fresh.sync()
            disk.rename(path + ".compact", path)
            disk.sync_folder(path.rpartition("/")[0])

        disk.submit(job, lambda error: self._compacted(fresh, len(data), error))

    def _compacted(self, fresh: DiskFile, size: int, error: BaseException | None) -> None:
        self._compacting = False
        if error is not None:
            fresh.close()
            self._give_up(error)
            return
        if self._file is not None:
            self._file.close()
        self._file, self._size = fresh, size
        if self._lines or self._clocks != self._written:
            self._flush()
        if self._closing:
            self._close_file()

    def _give_up(self, error: BaseException) -> None:
        self._log.warn("gossip: cannot keep {path}: {why}", path=self._path, why=error)
        self._close_file()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        self._lines, self._waiting = [], 0
        if file is not None:
            file.close()
