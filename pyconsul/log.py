"""Logs: loggers to write to, and where the lines go.

A process has one log, as Twisted has it, however many agents run in it. A message is a format with
fields; fields that the format does not name are put after it, as ``key=value``::

    log = make_logger("agent.server")
    log.info("member joined, marking health alive", member=name)

This module alone calls ``txaio.use_twisted``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

import txaio
from twisted.logger import (
    ILogObserver,
    Logger,
    LogLevel,
    formatEvent,
    globalLogBeginner,
    globalLogPublisher,
)
from txaio import tx
from zope.interface import implementer

from pyconsul.errors import ConfigurationError

txaio.use_twisted()

LEVELS = {
    "ERR": "error",
    "ERROR": "error",
    "WARN": "warn",
    "INFO": "info",
    "DEBUG": "debug",
    "TRACE": "trace",
}
"""Consul's names for levels, and those of txaio."""

_ORDER = ("critical", "error", "warn", "info", "debug", "trace")
_SHOWN = {"critical": "[ERROR]", "warn": "[WARN] ", "info": "[INFO] "}
_OURS = "pyconsul"  # the source of our own events, to tell them from Twisted's
_NOT_FIELDS = frozenset(
    ("format", "failure", "isError", "message", "system", "time", "txaio_trace", "why", "namespace")
)


def _our_logger(observer: Any, namespace: str | None) -> Logger:
    return Logger(namespace=namespace, source=_OURS, observer=observer)


def make_logger(namespace: str) -> Any:
    """A logger with ``error``, ``warn``, ``info``, ``debug``, ``trace`` and ``failure``.

    A level that nobody listens to costs next to nothing.
    """
    return tx.Logger(logger=_our_logger, namespace=namespace)


# ---------------------------------------------------------------- lines


def level_of(event: dict[str, Any]) -> str:
    """The level of an event, as txaio calls it; Twisted's own chatter counts as trace."""
    if event.get("txaio_trace"):
        return "trace"
    level: str = event.get("log_level", LogLevel.info).name
    if level in ("info", "debug") and event.get("log_source") != _OURS:
        return "trace"
    return level


def fields_of(event: dict[str, Any]) -> dict[str, Any]:
    """What was given with a message and is not part of its text."""
    form = event.get("log_format") or ""
    return {
        key: value
        for key, value in event.items()
        if not key.startswith("log_") and key not in _NOT_FIELDS and f"{{{key}" not in form
    }


def _traceback(event: dict[str, Any]) -> str:
    failure = event.get("log_failure")
    return failure.getTraceback().rstrip() if failure is not None else ""


def _one_line(text: str) -> str:
    """``text`` without what could be taken for the end of the line."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _shown(value: Any) -> str:
    text = str(value)
    return _one_line(text) if text and " " not in text and '"' not in text else json.dumps(text)


def text_line(event: dict[str, Any]) -> str:
    """An event as Consul writes it: ``TIME [LEVEL]  NAMESPACE: MESSAGE: KEY=VALUE``."""
    level = level_of(event)
    label = _SHOWN.get(level) or f"[{level.upper()}]"
    stamp = datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds")
    message = _one_line(formatEvent(event).strip())
    fields = "".join(f" {key}={_shown(value)}" for key, value in fields_of(event).items())
    line = f"{stamp.replace('+00:00', 'Z')} {label} {event.get('log_namespace', '-')}: {message}"
    line += f":{fields}\n" if fields else "\n"
    trace = _traceback(event)
    return line + (trace + "\n" if trace else "")


def json_line(event: dict[str, Any]) -> str:
    """An event as one JSON object."""
    stamp = datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="microseconds")
    facts = {
        "@level": level_of(event),
        "@message": formatEvent(event).strip(),
        "@module": event.get("log_namespace", "-"),
        "@timestamp": stamp.replace("+00:00", "Z"),
        **fields_of(event),
    }
    if trace := _traceback(event):
        facts["stacktrace"] = trace
    return json.dumps(facts, default=str, separators=(",", ":")) + "\n"


# ---------------------------------------------------------------- sinks


@implementer(ILogObserver)
class Sink:
    """Somewhere that lines go.

    :ivar level: the finest level wanted, as Consul calls it.
    :ivar write: called with each line; must not block for long.
    """

    def __init__(self, level: str, write: Callable[[str], object], as_json: bool = False) -> None:
        self.level, self.write = level, write
        self._line = json_line if as_json else text_line

    def __call__(self, event: dict[str, Any]) -> None:
        """Twisted's observer interface."""
        level = level_of(event)
        if _ORDER.index(level) <= _ORDER.index(LEVELS[self.level]):
            self.emit(self._line(event), level)

    def emit(self, line: str, level: str) -> None:
        """Write a line of a level."""
        self.write(line)


class Log:
    """The sinks of this process; the loggers' level follows the finest of them."""

    def __init__(self) -> None:
        self._sinks: list[Sink] = []

    def add(self, sink: Sink) -> None:
        """Send lines there from now on."""
        self._sinks.append(sink)
        globalLogPublisher.addObserver(sink)
        self._follow()

    def remove(self, sink: Sink) -> None:
        """Send no more lines there; nothing happens if none were."""
        if sink in self._sinks:
            self._sinks.remove(sink)
            globalLogPublisher.removeObserver(sink)
            self._follow()

    def set_level(self, level: str, *sinks: Sink) -> None:
        """Give these sinks another level."""
        for sink in sinks:
            sink.level = level
        self._follow()

    def _follow(self) -> None:
        levels = [LEVELS[sink.level] for sink in self._sinks]
        tx.set_global_log_level(max(levels, key=_ORDER.index, default="info"))


LOG = Log()


def normal_level(level: str) -> str:
    """``level`` in capitals; raises ``ConfigurationError`` if there is none of that name."""
    if level.upper() not in LEVELS:
        raise ConfigurationError(f"Unknown log level: {level}")
    return level.upper()


class RotatingFile:
    """A log file that is exchanged for a new one by size and by age.

    Like Consul, every file has the time of its start in its name.

    :param path: ``/var/log/x.log``; with a slash at the end, files there are called ``consul-...``.
    A disk that is full, or a folder that is gone, costs lines but does not stop anybody.

    :param files_max: old files kept; 0: all, below 0: none.
    :param wall_time: seconds since 1970.
    :raises OSError: if there cannot be a first file.
    """

    def __init__(
        self,
        path: str,
        size_max: int = 0,
        age_max_s: float = 86400.0,
        files_max: int = 0,
        wall_time: Callable[[], float] = time.time,
    ) -> None:
        folder, name = os.path.split(path)
        self._folder = folder or "."
        self._stem, self._suffix = os.path.splitext(name or "consul")
        self._suffix = self._suffix or ".log"
        self._size_max, self._age_max_s, self._files_max = size_max, age_max_s, files_max
        self._wall_time = wall_time
        self._handle = -1
        self._open()

    def _open(self) -> None:
        started = self._wall_time()
        name = f"{self._stem}-{int(started * 1e9)}{self._suffix}"
        path = os.path.join(self._folder, name)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self.close()
        self._handle, self._started, self._size = handle, started, 0

    def write(self, line: str) -> None:
        """Append a line; starts a new file first if this one is full or old."""
        full = self._size_max > 0 and self._size >= self._size_max
        with suppress(OSError):
            if full or self._wall_time() - self._started >= self._age_max_s:
                self._open()
                self._prune()
        with suppress(OSError):
            self._size += os.write(self._handle, line.encode("utf-8", "replace"))

    def close(self) -> None:
        """Close the file that is open."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def _prune(self) -> None:
        if self._files_max == 0:
            return
        start, end = f"{self._stem}-", self._suffix
        old = sorted(
            name
            for name in os.listdir(self._folder)
            if name.startswith(start) and name.endswith(end) and name[len(start) : -len(end)].isdecimal()
        )
        for name in old[: -1 - max(self._files_max, 0)]:
            os.unlink(os.path.join(self._folder, name))


def open_problem(error: OSError) -> str:
    """Why a file cannot be opened, as Go says it."""
    return f"open {error.filename}: {(error.strerror or str(error)).lower()}"


FACILITIES = (
    "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV", "FTP",
    *[""] * 4, *(f"LOCAL{number}" for number in range(8)),
)  # fmt: skip
"""Syslog's facilities in the order of their codes."""
PRIORITIES = {"critical": 2, "error": 3, "warn": 4, "info": 5, "debug": 6, "trace": 7}
"""Syslog's priorities. Information is a notice, as in Consul, where everything is one."""


class Syslog(Sink):
    """The system's log, where agents are called ``consul``.

    :raises ConfigurationError: if there is no such facility.
    """

    def __init__(self, level: str, facility: str, as_json: bool = False) -> None:
        import syslog

        if not facility or facility.upper() not in FACILITIES:
            raise ConfigurationError(f"Syslog setup failed: invalid syslog facility: {facility}")
        syslog.openlog("consul", syslog.LOG_PID, FACILITIES.index(facility.upper()) << 3)
        super().__init__(level, lambda line: None, as_json)
        self._syslog = syslog.syslog

    def emit(self, line: str, level: str) -> None:
        """Write a line with the priority that belongs to its level."""
        self._syslog(PRIORITIES[level], line.rstrip("\n"))


def start(config: Any, stdout: TextIO | None = None) -> list[Sink]:
    """Send the log where an ``AgentConfig`` wants it; its sinks, for ``Log.set_level`` on a reload.

    Raises ``ConfigurationError`` if a log file cannot be written.
    """
    out = stdout or sys.stdout
    level = normal_level(config.log_level)

    def to_terminal(line: str) -> None:
        try:
            out.write("    " + line)
            out.flush()
        except (OSError, ValueError):  # nobody reads us any more; that is no reason to stop
            pass

    sinks = [Sink(level, to_terminal, config.log_json)]
    if config.log_file:
        try:
            file = RotatingFile(
                config.log_file,
                config.log_rotate_bytes,
                config.log_rotate_duration,
                config.log_rotate_max_files,
            )
        except OSError as error:
            raise ConfigurationError(f"Failed to setup logging: {open_problem(error)}") from None
        sinks.append(Sink(level, file.write, config.log_json))
    if config.enable_syslog:
        sinks.append(Syslog(level, config.syslog_facility, config.log_json))
    for sink in sinks:
        LOG.add(sink)
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    return sinks
