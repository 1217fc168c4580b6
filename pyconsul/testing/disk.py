"""A disk in memory that loses what a real one may lose.

A power cut keeps what was synced. Of every write since, it keeps all, nothing or a piece,
independently and in any order; of every change of a folder, all or nothing. A sync in a job covers
what was written before the job was submitted: no more than a real one promises.

Nothing is copied for this: a write remembers what it replaced until it is synced, a power cut
undoes the unsynced writes and does again those that survive. Allocated zeros take no memory.

Disks also fill up and fail. On a full one nothing grows, and a write that would is done in part. A
sync that fails loses what it should have made durable: it can still be read, as from the page cache
of a real system, but a later sync does not see it any more, and a power cut may lose it.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple, TypeAlias

from twisted.internet.interfaces import IDelayedCall, IReactorTime

Done: TypeAlias = Callable[[BaseException | None], None]
Latency: TypeAlias = Callable[[Random], float]

IN_JOB = 0
ALL = 1 << 63
FORSAKEN = ALL + 1
"""The stamp of writes that no sync covers any more."""

OPERATIONS_IN_CUT_JOB_MAX = 12


def flash(rng: Random) -> float:
    """Seconds a job takes: a flash disk that now and then thinks for a while."""
    return rng.uniform(0.0002, 0.003) if rng.random() < 0.98 else rng.uniform(0.01, 0.2)


class _PowerCut(BaseException):
    """The power went in the middle of a job."""


class _Write(NamedTuple):
    """A write that is not synced yet; ``new`` is ``None`` for a change of size to ``offset``."""

    stamp: int
    offset: int
    old: bytes
    new: bytes | None
    old_size: int


class _Node:
    """A file: its bytes (what is missing up to ``size`` is zeros), and what is not synced yet."""

    __slots__ = ("data", "forsaken", "pending", "size")

    def __init__(self) -> None:
        self.data = bytearray()
        self.size = 0
        self.pending: list[_Write] = []
        self.forsaken = False

    def write(self, offset: int, new: bytes) -> bytes:
        """Write; returns what was there."""
        data = self.data
        if offset > len(data):
            data.extend(bytes(offset - len(data)))
        end = offset + len(new)
        old = bytes(data[offset:end])
        data[offset:end] = new
        if end > self.size:
            self.size = end
        return old

    def resize(self, size: int) -> bytes:
        """Cut or extend; returns what was cut off."""
        old = bytes(self.data[size:])
        del self.data[size:]
        self.size = size
        return old

    def settle(self, limit: int) -> list[_Node | _Folder]:
        """What was written up to the stamp ``limit`` is durable."""
        pending = self.pending
        if self.forsaken:
            self._settle_some(limit)
        elif pending[-1].stamp <= limit:  # a job's own write at the end: it settles the ones before
            pending.clear()
        else:
            pending[:] = [write for write in pending if write.stamp > limit]
        return []

    def _settle_some(self, limit: int) -> None:
        """As ``settle``; what was written over forsaken writes makes up for them."""
        kept: list[_Write] = []
        for write in self.pending:
            if write.stamp > limit:
                kept.append(write)
                continue
            place = write.offset
            end = ALL if write.new is None else place + len(write.new)
            size = place if write.new is None else max(write.old_size, end)
            kept = [
                piece._replace(old_size=size)
                for other in kept
                for piece in (_without(other, place, end) if other.stamp == FORSAKEN else (other,))
            ]
        self.pending = kept
        self.forsaken = any(write.stamp == FORSAKEN for write in kept)

    def forsake(self, limit: int) -> None:
        """What was written up to the stamp ``limit`` will never be durable by itself."""
        self.pending = [_forsaken(write) if write.stamp <= limit else write for write in self.pending]
        self.forsaken = bool(self.pending)

    def cut_power(self, survive: Callable[[bytes | None], Sequence[tuple[int, int]]]) -> None:
        """Keep of each write that is not durable the pieces that ``survive`` names."""
        writes, self.pending = self.pending, []
        self.forsaken = False
        for write in reversed(writes):
            if write.new is not None:
                self.data[write.offset : write.offset + len(write.new)] = write.old
            else:
                self.data.extend(write.old)
            self.size = write.old_size
            del self.data[self.size :]
        for write in writes:
            for start, end in survive(write.new):
                if write.new is not None:
                    self.write(write.offset + start, write.new[start:end])
                else:
                    self.resize(write.offset)


def _forsaken(write: _Write) -> _Write:
    """The same write, to be undone even if others behind it in the file stay."""
    old = write.old if write.new is None else write.old.ljust(len(write.new), b"\0")
    return write._replace(stamp=FORSAKEN, old=old)


def _without(write: _Write, start: int, end: int) -> list[_Write]:
    """What is left of ``write`` beside the bytes from ``start`` to ``end``."""
    if write.new is None:
        return [write]
    first, last = write.offset, write.offset + len(write.new)
    pieces = []
    if first < start:
        cut = min(last, start) - first
        pieces.append(write._replace(old=write.old[:cut], new=write.new[:cut]))
    if end < last:
        cut = max(first, end) - first
        pieces.append(write._replace(offset=first + cut, old=write.old[cut:], new=write.new[cut:]))
    return pieces


class _Folder:
    """Names, and which changes of them are not synced yet.

    :ivar durable: the names that a power cut leaves for certain.
    :ivar pending: stamp, and which names a change makes what (``None``: gone).
    """

    __slots__ = ("durable", "names", "pending")

    def __init__(self) -> None:
        self.names: dict[str, _Node | _Folder] = {}
        self.durable: dict[str, _Node | _Folder] = {}
        self.pending: list[tuple[int, dict[str, _Node | _Folder | None]]] = []

    def settle(self, limit: int) -> list[_Node | _Folder]:
        """Changes up to the stamp ``limit`` are durable; what is gone for good by that."""
        displaced = []
        for stamp, change in self.pending:
            if stamp <= limit:
                displaced += [self.durable[name] for name in change if name in self.durable]
                _apply(self.durable, change)
        self.pending[:] = [change for change in self.pending if change[0] > limit]
        return [node for node in displaced if not any(node is other for other in self.durable.values())]

    def cut_power(self, survive: Callable[[bytes | None], Sequence[tuple[int, int]]]) -> None:
        """Keep the changes that are durable and those of the others that ``survive`` picks."""
        pending, self.pending = self.pending, []
        for _, change in pending:
            if survive(None):
                _apply(self.durable, change)
        self.names = dict(self.durable)


def _apply(names: dict[str, _Node | _Folder], change: dict[str, _Node | _Folder | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class SimFile:
    """``DiskFile`` of a ``SimDisk``; useless once the process that opened it is gone."""

    __slots__ = ("_disk", "_life", "_node")

    def __init__(self, disk: SimDisk, node: _Node) -> None:
        self._disk = disk
        self._node = node
        self._life = disk.life

    def write(self, parts: Sequence[bytes], offset: int) -> None:
        disk = self._disk
        new = parts[0] if len(parts) == 1 else b"".join(parts)
        try:
            self._check("write")
            if disk.full and offset + len(new) > self._node.size:
                raise _no_room()
        except OSError:
            if disk.short_writes and self._life == disk.life:
                self._write(new[: disk.some_of(len(new))], offset)
            raise
        self._write(new, offset)

    def _write(self, new: bytes, offset: int) -> None:
        node = self._node
        size = node.size
        self._disk.wrote(node, offset, node.write(offset, new), new, size)

    def read(self, size: int, offset: int) -> bytes:
        self._check("read")
        node = self._node
        end = min(offset + size, node.size)
        found = bytes(node.data[offset:end])
        return found + bytes(max(0, end - offset - len(found)))

    def allocate(self, size: int) -> None:
        self._check("allocate")
        if size > self._node.size:
            self._disk.must_have_room()
            self._resize(size)

    def truncate(self, size: int) -> None:
        self._check("truncate")
        self._resize(size)

    def _resize(self, size: int) -> None:
        old_size = self._node.size
        self._disk.wrote(self._node, size, self._node.resize(size), None, old_size)

    def size(self) -> int:
        self._check("size")
        return self._node.size

    def sync(self) -> None:
        try:
            self._check("sync")
        except OSError:
            self._disk.forsake(self._node)
            raise
        self._disk.settle(self._node)

    def close(self) -> None:
        self._life = -1

    def _check(self, operation: str) -> None:
        disk = self._disk
        if self._life != disk.life:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        disk.begin(operation)


class SimDisk:
    """``Disk`` in memory, on a clock, for one simulated process after the other.

    :ivar clock: when jobs end; a process that starts again brings its own by ``attach``.
    :ivar faults: errors to raise instead of doing an operation, by its name in ``Disk`` or
        ``DiskFile``, until removed again. :ivar fault_chance: how often they are.
    :ivar full: nothing may grow. :ivar short_writes: a write that fails is done in part.
    :ivar operations: how many have been done.
    :param latency: seconds that a job takes, drawn anew for each.
    """

    def __init__(self, clock: IReactorTime, rng: Random, latency: Latency = flash) -> None:
        self.clock = clock
        self.faults: dict[str, OSError] = {}
        self.fault_chance = 1.0
        self.full = False
        self.short_writes = False
        self.life = 0
        self.operations = 0
        self._rng = rng
        self._latency = latency
        self._root = _Folder()
        self._dirty: dict[_Node | _Folder, None] = {}
        self._stamp = IN_JOB
        self._limit = ALL
        self._budget = -1
        self._jobs: deque[tuple[int, Callable[[], None], Done]] = deque()
        self._timer: IDelayedCall | None = None
        self._closed = False

    # ------------------------------------------------------------ files

    def open(self, path: str, create: bool = False) -> SimFile:
        self.begin("open")
        folder, name = self._place(path)
        node = folder.names.get(name)
        if node is None:
            if not create:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            self.must_have_room()
            node = _Node()
            self._change(folder, {name: node})
        if isinstance(node, _Folder):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return SimFile(self, node)

    def list(self, folder: str) -> list[str]:
        self.begin("list")
        try:
            return sorted(self._folder(folder).names)
        except FileNotFoundError:
            return []

    def make_folder(self, path: str) -> None:
        self.begin("make_folder")
        folder, name = self._place(path)
        if name not in folder.names:
            self.must_have_room()
            self._change(folder, {name: _Folder()})

    def rename(self, old: str, new: str) -> None:
        self.begin("rename")
        folder, old_name = self._place(old)
        new_folder, new_name = self._place(new)
        if old_name not in folder.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), old)
        if new_folder is not folder:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), new)
        self._change(folder, {old_name: None, new_name: folder.names[old_name]})

    def remove(self, path: str) -> None:
        self.begin("remove")
        folder, name = self._place(path)
        node = folder.names.get(name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if isinstance(node, _Folder) and node.names:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        self._change(folder, {name: None})

    def sync_folder(self, path: str) -> None:
        self.begin("sync_folder")
        self.settle(self._folder(path))

    def _folder(self, path: str) -> _Folder:
        folder = self._root
        for name in path.split("/") if path else ():
            found = folder.names.get(name)
            if not isinstance(found, _Folder):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            folder = found
        return folder

    def _place(self, path: str) -> tuple[_Folder, str]:
        folder, _, name = path.rpartition("/")
        return self._folder(folder), name

    def _change(self, folder: _Folder, change: dict[str, _Node | _Folder | None]) -> None:
        _apply(folder.names, change)
        folder.pending.append((self._next_stamp(), change))
        self._dirty[folder] = None

    # ------------------------------------------------------------ jobs

    def submit(self, job: Callable[[], None], done: Done) -> None:
        if self._closed:
            raise RuntimeError("the disk is closed")
        self._jobs.append((self._stamp, job, done))
        if self._timer is None:
            self._wait()

    def soon(self, call: Callable[[], None]) -> None:
        life = self.life
        self.clock.callLater(0, lambda: call() if self.life == life else None)

    def hurry(self) -> None:
        """The disk is fast again: the job under way takes no longer than one that begins now."""
        if self._timer is not None:
            self._timer.cancel()
            self._wait()

    def close(self) -> None:
        """Do what is queued at once; ``attach`` opens the disk again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._closed = True
        while self._jobs:
            self._finish()

    def _wait(self) -> None:
        self._timer = self.clock.callLater(self._latency(self._rng), self._run)

    def _run(self) -> None:
        self._timer = None
        self._finish()

    def _finish(self) -> None:
        limit, job, done = self._jobs.popleft()
        error: BaseException | None = None
        self._limit = limit
        try:
            job()
        except _PowerCut:
            raise
        except BaseException as caught:  # whatever it is, it belongs to who asked
            error = caught
        finally:
            self._limit = ALL
        if self._jobs and not self._closed:
            self._wait()
        done(error)

    # ------------------------------------------------------------ what goes wrong

    @property
    def is_sound(self) -> bool:
        """Whether nothing is set to go wrong."""
        return not self.faults and not self.full

    def mend(self) -> None:
        """Nothing goes wrong any more; what has been lost stays lost."""
        self.faults.clear()
        self.fault_chance = 1.0
        self.full = self.short_writes = False

    def wipe(self) -> None:
        """A new disk, for a process to come."""
        self._root = _Folder()
        self._dirty.clear()

    def files(self, folder: str) -> Sequence[tuple[str, int]]:
        """The paths of all files in ``folder`` and below, and up to where each is written."""
        found: list[tuple[str, int]] = []
        node = self._root if not folder else self._folder(folder)
        for name, child in sorted(node.names.items()):
            path = f"{folder}/{name}" if folder else name
            if isinstance(child, _Folder):
                found += self.files(path)
            else:
                found.append((path, len(child.data)))
        return found

    def attach(self, clock: IReactorTime) -> None:
        """A process starts again on what its predecessor left."""
        self.clock = clock
        self._closed = False

    def crash(self, power_cut: bool = True) -> None:
        """End the process at once: its files are useless, its jobs never complete.

        The job under way may have been done in part. Unless ``power_cut``, the operating system
        lives on, so every write stays, but none is durable that was not.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._jobs and self._rng.random() < 0.7:
            self.cut_short(self._begin_jobs, self._rng.randrange(OPERATIONS_IN_CUT_JOB_MAX))
        self._jobs.clear()
        self._closed = False
        self.life += 1
        if power_cut:
            survive = _survival(self._rng)
            for node in self._dirty:
                node.cut_power(survive)
            self._dirty.clear()

    def damage(self, path: str, offset: int, flip: int = 0xFF) -> None:
        """Flip bits of one byte, as a bad disk may."""
        folder, name = self._place(path)
        node = folder.names[name]
        assert isinstance(node, _Node) and offset < len(node.data)
        node.data[offset] ^= flip

    def cut_short(self, work: Callable[[], object], operations: int) -> bool:
        """Do ``work`` up to so many operations; whether that was all of it. ``crash`` has to follow."""
        self._budget = operations
        try:
            work()
        except _PowerCut:
            return False
        finally:
            self._budget = -1
        return True

    def _begin_jobs(self) -> None:
        """Do the first operations of what is queued."""
        while self._jobs:
            self._limit, job, _ = self._jobs.popleft()
            try:
                job()
            except Exception:  # nobody is left to be told
                continue
            finally:
                self._limit = ALL

    # ------------------------------------------------------------ for SimFile

    def begin(self, operation: str) -> None:
        """An operation begins; raises what is to go wrong with it."""
        self.operations += 1
        if self._budget >= 0:
            if not self._budget:
                raise _PowerCut
            self._budget -= 1
        if self.faults and operation in self.faults:
            if self.fault_chance >= 1.0 or self._rng.random() < self.fault_chance:
                raise self.faults[operation].with_traceback(None)

    def must_have_room(self) -> None:
        """Something is to grow."""
        if self.full:
            raise _no_room()

    def some_of(self, size: int) -> int:
        """How much of a write that fails is done."""
        return self._rng.randrange(size + 1)

    def wrote(self, node: _Node, offset: int, old: bytes, new: bytes | None, old_size: int) -> None:
        """Remember a write until it is synced."""
        node.pending.append(_Write(self._next_stamp(), offset, old, new, old_size))
        self._dirty[node] = None

    def settle(self, node: _Node | _Folder) -> None:
        """What was done before the job was submitted, or in it, is durable."""
        if node.pending:
            for gone in node.settle(self._limit):
                self._dirty.pop(gone, None)
            if not node.pending:
                self._dirty.pop(node, None)

    def forsake(self, node: _Node) -> None:
        """A sync failed."""
        if node.pending:
            node.forsake(self._limit)

    def _next_stamp(self) -> int:
        if self._limit != ALL:
            return IN_JOB
        self._stamp += 1
        return self._stamp


def _no_room() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _survival(rng: Random) -> Callable[[bytes | None], Sequence[tuple[int, int]]]:
    """Which pieces of a write survive a power cut; of what is no write all or nothing."""
    luck = rng.random()

    def survive(new: bytes | None) -> Sequence[tuple[int, int]]:
        whole = [(0, len(new) if new is not None else 0)]
        if luck < 0.1 or luck > 0.9:
            return whole if luck > 0.9 else ()
        fate = rng.random()
        if fate < 0.4 or (new is None and fate < 0.5):
            return ()
        if fate > 0.7 or not new:
            return whole
        start = rng.choice((0, rng.randrange(len(new))))
        return [(start, rng.randrange(start, len(new)) + 1)]

    return survive
