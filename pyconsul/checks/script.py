"""Checks that run a program."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from pyconsul.checks.definition import CheckType
from pyconsul.checks.outcome import Outcome, Tail
from pyconsul.structs.catalog import CRITICAL, PASSING, WARNING
from pyconsul.structs.durations import format_ns

EXIT_WARNING = 1


def kill_group(pid: int) -> None:
    """End a program and all that it has started, which share its process group."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def which(program: str) -> str | None:
    """As ``shutil.which``, which comes with archives of all kinds and is loaded when first used."""
    from shutil import which as found

    return found(program)


def shell(line: str, environ: Mapping[str, str] = os.environ) -> list[str]:
    """The arguments that have a shell run ``line``."""
    return [environ.get("SHELL") or "/bin/sh", "-c", line]


def took_too_long(timeout_s: float, output: str) -> str:
    """What is said of a program that had to be ended; with what it had printed."""
    text = f"Timed out ({format_ns(round(timeout_s * 1e9))}) running check"
    return f"{text}\n\n{output}" if output else text


def exit_state(status: int | None) -> str:
    """What an exit status means; ``None`` after a signal."""
    return {0: PASSING, EXIT_WARNING: WARNING}.get(-1 if status is None else status, CRITICAL)


class ScriptProbe:
    """Exit status 0 is passing, 1 warning, anything else critical; output is what it prints.

    The program gets a process group of its own through ``setsid``, where that exists, so that it can
    be ended together with what it started.

    :param which: finds a program.
    :param kill: ends a process group.
    """

    def __init__(
        self,
        definition: CheckType,
        reactor: Any,
        which: Callable[[str], str | None] = which,
        kill: Callable[[int], None] = kill_group,
    ) -> None:
        self._definition = definition
        self._reactor = reactor
        self._which = which
        self._kill = kill
        self._tail = Tail(1)

    def run(self) -> Deferred[Outcome]:
        """Run the program."""
        args = list(self._definition.args)
        program = self._which(args[0])
        if program is None:
            why = "permission denied" if os.path.exists(args[0]) else "no such file or directory"
            missing = f"fork/exec {args[0]}: {why}"
            if args[0] and "/" not in args[0]:
                missing = f'exec: "{args[0]}": executable file not found in $PATH'
            return succeed(Outcome(CRITICAL, missing))
        self._tail = Tail(self._definition.output_bytes_max)
        running = Running(self._tail)
        try:
            spawn_group(self._reactor, running, program, args, which=self._which, kill=self._kill)
        except OSError as error:
            return succeed(Outcome(CRITICAL, f"fork/exec {self._definition.args[0]}: {error.strerror}"))
        return running.done.addCallback(self._outcome)

    def timed_out(self) -> Outcome:
        """It was killed; what it had printed is told."""
        return Outcome(CRITICAL, took_too_long(self._definition.timeout_s, self._output()))

    def _outcome(self, status: int | None) -> Outcome:
        return Outcome(exit_state(status), self._output())

    def _output(self) -> str:
        return self._tail.captured()


class Writable(Protocol):
    """What takes the output of a process."""

    def write(self, data: bytes) -> None:
        """More output."""
        ...


class Running(ProcessProtocol):
    """One process.

    :param tail: gets what it prints, on either of its outputs.
    :ivar kill: ends its process group; ``None``: it has none of its own.
    :ivar done: fires with the exit status, ``None`` after a signal; cancelling it kills the process.
    """

    def __init__(self, tail: Writable) -> None:
        self._tail = tail
        self.kill: Callable[[int], None] | None = None
        self._pid = 0
        self.done: Deferred[Any] = Deferred(self._cancelled)

    def connectionMade(self) -> None:
        self._pid = self.transport.pid  # type: ignore[union-attr]
        self.transport.closeStdin()  # type: ignore[union-attr]

    def outReceived(self, data: bytes) -> None:
        self._tail.write(data)

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        """It has ended and its output is complete."""
        if not self.done.called:
            error: Any = reason.value
            self.done.callback(0 if reason.check(ProcessDone) else error.exitCode)

    def _cancelled(self, _: object) -> None:
        transport: Any = self.transport
        if self.kill is not None:
            # Its group lives on while any of its members does, also when it has ended itself.
            self.kill(self._pid)
        else:
            try:
                transport.signalProcess("KILL")
            except ProcessExitedAlready:
                pass
        transport.loseConnection()


def spawn_group(
    reactor: Any,
    running: Running,
    program: str,
    args: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    which: Callable[[str], str | None] = which,
    kill: Callable[[int], None] = kill_group,
) -> None:
    """Start a program, in a process group of its own where there is ``setsid``.

    :param program: the path of what ``args`` begin with.
    :param env: its environment; ``None`` for ours.
    :param which: finds a program.
    :param kill: ends a process group.
    :raises OSError: if it cannot be started.
    """
    setsid = which("setsid")
    if setsid:
        running.kill = kill
        program, args = setsid, ["setsid", *args]
    reactor.spawnProcess(running, program, args, env=env, childFDs={0: "w", 1: "r", 2: "r"})
