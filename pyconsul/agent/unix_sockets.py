"""Unix sockets that the agent listens on: who owns them, and who may connect (``unix_sockets``)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any

from pyconsul.config.groups import UnixSockets
from pyconsul.errors import ConfigurationError
from pyconsul.log import make_logger

MODE_MAX = 0o7777
BACKLOG = 1024
UNCHANGED = -1


class UnixListener:
    """Makes sockets as the configuration wants them.

    :raises ConfigurationError: if there is no such user or group, or the mode is none.
    """

    def __init__(self, wanted: UnixSockets) -> None:
        self._log = make_logger("agent")
        self._user = _number(wanted.user, "user", _user)
        self._group = _number(wanted.group, "group", _group)
        self._mode = _mode(wanted.mode)

    def listen(self, reactor: Any, path: str, factory: Any) -> Any:
        """A listening port; a socket that is there already is replaced.

        :raises ConfigurationError: if it cannot be given away. Raises ``CannotListenError``.
        """
        if _is_socket(path):
            self._log.warn("Replacing socket: path={path}", path=path)
            os.unlink(path)
        port = reactor.listenUNIX(path, factory, backlog=BACKLOG, mode=self._mode)
        if (self._user, self._group) != (UNCHANGED, UNCHANGED):
            try:
                os.chown(path, self._user, self._group)
            except OSError as error:
                port.stopListening()
                reason = (error.strerror or "").lower()
                raise ConfigurationError(f"Failed setting up socket: {path}: {reason}") from None
        return port


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _number(text: str, what: str, look_up: Callable[[str], int]) -> int:
    """The number of a user or group that is given by number or name."""
    if not text:
        return UNCHANGED
    try:
        return int(text) if text.isdecimal() else look_up(text)
    except KeyError:
        raise ConfigurationError(f"Failed setting up socket: unknown {what} {text}") from None


def _user(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_uid


def _group(name: str) -> int:
    import grp

    return grp.getgrnam(name).gr_gid


def _mode(text: str) -> int:
    """The mode; by default what the umask leaves, as for other programs. Twisted's lets everybody write."""
    if not text:
        umask = os.umask(0o077)
        os.umask(umask)
        return 0o777 & ~umask
    try:
        mode = int(text, 8)
    except ValueError:
        mode = UNCHANGED
    if not 0 <= mode <= MODE_MAX:
        raise ConfigurationError(f"Failed setting up socket: invalid mode specified: {text}")
    return mode
