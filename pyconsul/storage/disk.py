"""The real disk: files of the operating system and one thread that waits for them."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, TypeAlias

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from pyconsul.errors import ConfigurationError
from pyconsul.log import make_logger

try:
    import fcntl
except ImportError:  # not on Windows, where nobody looks whether a folder is in use
    fcntl = None  # type: ignore[assignment]

Done: TypeAlias = Callable[[BaseException | None], None]

LOCK_NAME = "pyconsul.lock"
PARTS_MAX = 1024
"""Parts of one ``pwritev``: IOV_MAX of Linux, macOS and the BSDs."""

_sync = getattr(os, "fdatasync", os.fsync)


class RealFile:
    """``DiskFile`` over a file descriptor."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, parts: Sequence[bytes], offset: int) -> None:
        """All of ``parts``, one after the other, with as few system calls as the system allows."""
        if len(parts) == 1:
            _write_all(self._fd, parts[0], offset)
            return
        for start in range(0, len(parts), PARTS_MAX):
            some = parts[start : start + PARTS_MAX]
            size = sum(map(len, some))
            written = os.pwritev(self._fd, some, offset)
            if written < size:  # the disk is nearly full, or a signal came: the rest says which
                _write_all(self._fd, b"".join(some)[written:], offset + written)
            offset += size

    def read(self, size: int, offset: int) -> bytes:
        """At most ``size`` bytes; fewer at the end of the file."""
        return os.pread(self._fd, size, offset)

    def allocate(self, size: int) -> None:
        """Make room on the disk, so that no later write within it can find it full; never shrinks."""
        if size <= self.size():
            return
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._fd, 0, size)
        else:
            os.ftruncate(self._fd, size)

    def truncate(self, size: int) -> None:
        """Cut, or fill up with zeros that need no room."""
        os.ftruncate(self._fd, size)

    def size(self) -> int:
        """What the file holds or has allocated, in bytes."""
        return os.fstat(self._fd).st_size

    def sync(self) -> None:
        """Wait until the data is durable, and its size; times and rights need not be."""
        _sync(self._fd)

    def close(self) -> None:
        """Give the descriptor back; a second time does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


@implementer(IReadDescriptor)
class RealDisk:
    """``Disk`` over the folder ``root``, which is created if absent and belongs to one agent.

    Completions come back through an eventfd that the reactor watches: cheaper than
    ``callFromThread``, and many completions need one wake-up. Thread and eventfd are made with the
    first job, since ``twistd`` forks after the services have been made.

    :param reactor: one with file descriptors and time.
    :raises ConfigurationError: the folder cannot be used, or another agent uses it.
    """

    def __init__(self, root: str, reactor: Any) -> None:
        self._root = os.path.abspath(root)
        self._reactor = reactor
        self._log = make_logger("storage.disk")
        self._lock = _lock_folder(self._root)
        self._jobs: SimpleQueue[tuple[Callable[[], None], Done] | None] = SimpleQueue()
        self._finished: deque[tuple[Done, BaseException | None]] = deque()
        self._thread: threading.Thread | None = None
        self._read_fd = self._write_fd = -1
        self._closed = False

    # ------------------------------------------------------------ files

    def open(self, path: str, create: bool = False) -> RealFile:
        """Open for reading and writing; what is created only its owner may read."""
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        return RealFile(os.open(self._path(path), flags, 0o600))

    def list(self, folder: str) -> list[str]:
        """Sorted names; none for a folder that does not exist."""
        try:
            return sorted(os.listdir(self._path(folder)))
        except FileNotFoundError:
            return []

    def make_folder(self, path: str) -> None:
        """Create it, for its owner alone, unless it is there."""
        try:
            os.mkdir(self._path(path), 0o700)
        except FileExistsError:
            pass

    def rename(self, old: str, new: str) -> None:
        """Replace what has the new name, in one step; durable after ``sync_folder``."""
        os.replace(self._path(old), self._path(new))

    def remove(self, path: str) -> None:
        """A file, or a folder that is empty."""
        full = self._path(path)
        if os.path.isdir(full):
            os.rmdir(full)
        else:
            os.unlink(full)

    def sync_folder(self, path: str) -> None:
        """Make creations, renames and removals in it durable."""
        _sync_folder(self._path(path))

    def _path(self, path: str) -> str:
        return os.path.join(self._root, path) if path else self._root

    # ------------------------------------------------------------ jobs

    def submit(self, job: Callable[[], None], done: Done) -> None:
        """Have the thread do ``job``; ``done`` is called in the reactor, in the order of submission."""
        if self._closed:
            raise RuntimeError("the disk is closed")
        if self._thread is None:
            self._start()
        self._jobs.put((job, done))

    def soon(self, call: Callable[[], None]) -> None:
        """Call it in the reactor, once that has looked for news."""
        self._reactor.callLater(0, call)

    def close(self) -> None:
        """End the thread after the jobs that are queued, then call what waits for them.

        Waits for the thread, so that everything asked for is on the disk when the agent ends.
        """
        if self._closed:
            return
        self._closed = True
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._reactor.removeReader(self)
            self._deliver()
            for fd in {self._read_fd, self._write_fd}:
                os.close(fd)
        os.close(self._lock)

    def _start(self) -> None:
        if hasattr(os, "eventfd"):
            self._read_fd = self._write_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._read_fd, self._write_fd = os.pipe()
            os.set_blocking(self._read_fd, False)
            os.set_blocking(self._write_fd, False)
        self._reactor.addReader(self)
        self._thread = threading.Thread(target=self._work, name="pyconsul-disk", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        """The thread. It wants the interpreter's lock twice a job, and briefly."""
        next_job, finished, wake = self._jobs.get, self._finished, self._wake
        while (item := next_job()) is not None:
            job, done = item
            error: BaseException | None = None
            try:
                job()
            except BaseException as caught:  # whatever it is, it belongs to who asked
                error = caught
            finished.append((done, error))
            if len(finished) == 1:  # else a wake-up is already on its way
                wake()
            item = job = done = error = None  # type: ignore[assignment]  # keep nothing alive

    def _wake(self) -> None:
        try:
            os.write(self._write_fd, b"\x01\0\0\0\0\0\0\0")
        except BlockingIOError:  # a full pipe is readable: the reactor will look
            pass

    def _deliver(self) -> None:
        finished = self._finished
        while finished:
            done, error = finished.popleft()
            try:
                done(error)
            except Exception:
                self._log.failure("a bug in what waited for the disk")

    # ------------------------------------------------------------ IReadDescriptor

    def fileno(self) -> int:
        """For the reactor: what tells that jobs are done."""
        return self._read_fd

    def doRead(self) -> None:
        """Tell whose jobs are done; one call for however many there are."""
        try:
            os.read(self._read_fd, 4096)
        except BlockingIOError:
            pass
        self._deliver()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends. ``close`` does the rest."""

    def logPrefix(self) -> str:
        """What Twisted puts before messages about this descriptor."""
        return "disk"


def _write_all(fd: int, data: bytes, offset: int) -> None:
    written = os.pwrite(fd, data, offset)
    while written < len(data):
        written += os.pwrite(fd, memoryview(data)[written:], offset + written)


def _sync_folder(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _lock_folder(root: str) -> int:
    """Create ``root`` if need be and hold its lock file; the descriptor that holds it."""
    try:
        if not os.path.isdir(root):
            os.makedirs(root, 0o700)
            _sync_folder(os.path.dirname(root))
        fd = os.open(os.path.join(root, LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(f"data folder {root} cannot be used: {error.strerror}") from error
    if fcntl is not None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            raise ConfigurationError(f"data folder {root} is in use by another agent") from error
    return fd
