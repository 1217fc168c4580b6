"""Runs what ``exec`` asks for, if the configuration allows that (``disable_remote_exec = false``).

An event names a job in the key/value store (``pyconsul.structs.execution``). What the program prints is
written there, piece by piece, in keys that the caller's session holds: they go when that ends. From
then on the program runs on unheard.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pyconsul.checks.script import Running, shell
from pyconsul.errors import PyconsulError, Refused
from pyconsul.log import make_logger
from pyconsul.structs import execution
from pyconsul.structs.event import UserEvent
from pyconsul.structs.kv import DirEntry, IndexedDirEntries, KeyRequest, KVSRequest

JOBS_MAX = 32
"""So many programs may run at a time; what is asked for meanwhile is left undone."""

PIECE_BYTES = 4096
PENDING_BYTES_MAX = 64 * PIECE_BYTES
"""With so much on its way to the store, the program has to wait with its output."""

OUTPUT_BYTES_MAX = 16 * 1024 * 1024
"""Of what a program prints beyond that, nobody hears."""

FLUSH_S = 0.5
"""So long output is gathered that does not fill a piece."""

FAILED = 255
"""Exit status of what could not be started."""

SIGNALLED = -1
"""Exit status of what a signal has ended."""


class Summons(Struct, rename="pascal"):
    """What the event says: where the job is."""

    prefix: str
    session: str


class Job(Struct, rename="pascal"):
    """What is to be run: a line for the shell, a script, or a program with its arguments.

    :ivar script: base64 in JSON.
    :ivar wait: for how long, in nanoseconds, the caller waits for a word of this node.
    """

    command: str = ""
    args: list[str] | None = None
    script: bytes | None = None
    wait: int = 0


class RemoteExecution:
    """Called with the events that ask this node to run something.

    :param ask: see ``pyconsul.interfaces.Agent``.
    :param reactor: a reactor that can start processes.
    """

    def __init__(self, node_name: str, datacenter: str, ask: Callable[[str, Any], Any], reactor: Any) -> None:
        self._log = make_logger("agent")
        self._node_name = node_name
        self._datacenter = datacenter
        self._ask = ask
        self._reactor = reactor
        self._running = 0

    def __call__(self, event: UserEvent) -> None:
        """Do what the event asks for, if it is right."""
        self._log.debug("received remote exec event: id={id}", id=event.id)
        if self._running >= JOBS_MAX:
            self._log.warn("remote exec event left undone: {count} jobs are running", count=self._running)
            return
        self._running += 1
        Deferred.fromCoroutine(self._perform(event)).addErrback(self._failed).addBoth(self._finished)

    def _failed(self, failure: Any) -> None:
        if failure.check(PyconsulError, msgspec.MsgspecError):
            self._log.error("failed remote exec: error={error}", error=failure.value)
        else:
            self._log.failure("a bug in remote exec", failure)

    def _finished(self, _: object) -> None:
        self._running -= 1

    async def _perform(self, event: UserEvent) -> None:
        summons = msgspec.json.decode(event.payload or b"", type=Summons)
        root = execution.root(summons.prefix, summons.session)
        job = msgspec.json.decode(await self._read(root + execution.JOB), type=Job)
        keys = _Keys(f"{root}{self._node_name}/", summons.session, self._datacenter, self._ask)
        await keys.write(execution.ACK, b"")
        output = _Output(keys, self._reactor, max(job.wait / 1e9, FLUSH_S))
        status, told = await self._run(job, output)
        await told
        await keys.write(execution.EXIT, b"%d" % status)

    async def _read(self, key: str) -> bytes:
        """The value of a key. Any server may tell; if that one does not have it yet, the leader does."""
        for stale in (True, False):
            request = KeyRequest(datacenter=self._datacenter, key=key, allow_stale=stale)
            found: IndexedDirEntries = await _result(self._ask("KVS.Get", request))
            if found.entries:
                return found.entries[0].value or b""
        raise Refused(f"there is no job at {key}")

    async def _run(self, job: Job, output: _Output) -> tuple[int, Deferred[None]]:
        """The exit status, and what fires when all output is in the store."""
        path = _stored(job.script) if job.script else ""
        args = job.args or shell(path or job.command)
        self._log.info("remote exec script: script={script}", script=path or job.command or args)
        told = Deferred.fromCoroutine(output.deliver())
        try:
            status = await self._status(args, output)
        finally:
            output.end()
            if path:
                with suppress(OSError):
                    os.unlink(path)
        return status, told

    async def _status(self, args: list[str], output: _Output) -> int:
        """The exit status of a program, once it has ended and all of its output is there."""
        program = Running(output)
        try:
            executable = shutil.which(args[0])
            if executable is None:
                raise FileNotFoundError(f'exec: "{args[0]}": executable file not found in $PATH')
            output.producer = self._reactor.spawnProcess(
                program, executable, args, env=None, childFDs={0: "w", 1: "r", 2: "r"}
            )
        except (OSError, ValueError) as error:  # a NUL in an argument is a ValueError
            output.write(f"{error}\n".encode())
            return FAILED
        status: int | None = await program.done
        return SIGNALLED if status is None else status


def _stored(script: bytes) -> str:
    """A file of this user's with a script, which may be run."""
    handle, path = tempfile.mkstemp(prefix="rexec")
    with open(handle, "wb") as file:
        file.write(script)
        os.fchmod(handle, 0o700)
    return path


async def _result(answer: Any) -> Any:
    return await answer if isinstance(answer, Deferred) else answer


class _Keys:
    """The keys of one job that this node writes."""

    def __init__(self, root: str, session: str, datacenter: str, ask: Callable[[str, Any], Any]) -> None:
        self._root, self._session, self._datacenter, self._ask = root, session, datacenter, ask

    async def write(self, name: str, value: bytes) -> None:
        """Write one as long as the session lives; raises ``PyconsulError`` if it does not."""
        entry = DirEntry(key=self._root + name, value=value, session=self._session)
        request = KVSRequest(datacenter=self._datacenter, op="lock", dir_ent=entry)
        if not await _result(self._ask("KVS.Apply", request)):
            raise Refused(f"{entry.key} cannot be written with session {self._session}")


class _Output:
    """What a program prints, on its way to the store.

    :ivar producer: told to pause while too much is on its way.
    :param heartbeat_s: how often to say something if the program does not.
    """

    def __init__(self, keys: _Keys, clock: IReactorTime, heartbeat_s: float) -> None:
        self._log = make_logger("agent")
        self._keys, self._clock, self._heartbeat_s = keys, clock, heartbeat_s
        self._pending = bytearray()
        self._left = OUTPUT_BYTES_MAX
        self._ended = self._paused = False
        self._news: Deferred[None] | None = None
        self._timer: Any = None
        self.producer: Any = None

    def write(self, data: bytes) -> None:
        """The program has printed something."""
        if self._left <= 0:
            return
        self._left -= len(data)
        if self._left <= 0:
            data += b"\n(the rest of the output is left out)\n"
        was_empty = not self._pending
        self._pending += data
        if len(self._pending) >= PIECE_BYTES:
            self._wake()
        elif was_empty and self._news is not None:
            self._timer.reset(FLUSH_S)
        if len(self._pending) > PENDING_BYTES_MAX and not self._paused:
            self._paused = True
            self.producer.pauseProducing()

    def end(self) -> None:
        """It prints no more."""
        self._ended = True
        self._wake()

    async def deliver(self) -> None:
        """Write it to the store until all is told, or nobody listens any more."""
        number = 0
        while not self._ended or self._pending:
            if not self._ended and len(self._pending) < PIECE_BYTES:
                await self._more()
                if self._ended and not self._pending:
                    return
            piece = bytes(self._pending[:PIECE_BYTES])
            del self._pending[:PIECE_BYTES]
            try:
                await self._keys.write(f"{execution.OUT}{number:05}", piece)
            except PyconsulError as error:
                self._log.error("failed to write output for remote exec job: error={error}", error=error)
                self._left = 0
                self._pending.clear()
                self._resume()
                return
            number += 1
            if len(self._pending) <= PENDING_BYTES_MAX // 2:
                self._resume()

    async def _more(self) -> None:
        """Wait until there is something to write, which may be that there is nothing."""
        self._news = Deferred()
        wait_s = FLUSH_S if self._pending else self._heartbeat_s
        self._timer = self._clock.callLater(wait_s, self._wake)
        await self._news

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None:
            if self._timer.active():
                self._timer.cancel()
            news.callback(None)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self.producer.resumeProducing()
