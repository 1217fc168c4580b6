"""Tell systemd how this process is doing (sd_notify(3), sd_watchdog_enabled(3)): datagrams, no library."""

from __future__ import annotations

import os
import socket

from twisted.internet.interfaces import IDelayedCall, IReactorTime


def notify(state: str) -> bool:
    """Send ``state`` ("READY=1", "STOPPING=1", ...); false when nobody asked for it."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return False
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(1.0)
            channel.sendto(state.encode(), address)
    except OSError:
        return False
    return True


def watchdog_s() -> float:
    """How long this process may be silent before systemd ends it; 0: as long as it likes."""
    text = os.environ.get("WATCHDOG_USEC", "")
    meant = os.environ.get("WATCHDOG_PID") or str(os.getpid())
    return int(text) / 1e6 if text.isascii() and text.isdigit() and meant == str(os.getpid()) else 0.0


class Watchdog:
    """Tells systemd that the reactor still turns, twice as often as it has to."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._pause_s = 0.0
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Begin, if systemd wants that."""
        self._pause_s = watchdog_s() / 2
        if self._pause_s:
            self._tell()

    def stop(self) -> None:
        """Say nothing more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _tell(self) -> None:
        notify("WATCHDOG=1")
        self._call = self._clock.callLater(self._pause_s, self._tell)
