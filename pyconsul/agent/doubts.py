"""Servers that may have gone: whether they still answer what they were asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pyconsul.errors import PyconsulError, Unreachable
from pyconsul.log import make_logger

PING_TIMEOUT_S = 3.0
"""For how long a server that is doubted may keep silent before nothing is expected of it."""

Ping = Callable[[str], Deferred[Any]]
"""Asks the server at an address whether it lives; fails with ``Unreachable`` after some seconds."""


class Doubts:
    """Gives up what a server was asked that led until now, or that gossip takes for failed.

    Who stops leading tells at once everybody who waits for a write there. Who hangs, or was cut off, tells
    nobody, and the kernel may take minutes to notice. Gossip may be wrong. So the server is asked.

    :param ping: within ``PING_TIMEOUT_S``.
    :param abandon: expects no answer of the server at an address any more.
    :param own: this server's address, which is never asked.
    """

    def __init__(self, ping: Ping, abandon: Callable[[str], None], own: str = "") -> None:
        self._log = make_logger("agent.rpc")
        self._ping = ping
        self._abandon = abandon
        self._own = own
        self._leader = ""
        self._asked: set[str] = set()

    def leads(self, address: str) -> None:
        """The server at ``address`` leads, so whoever did is in doubt; if it is empty, nobody leads."""
        before, self._leader = self._leader, address
        if before != address:
            self.doubt(before)

    def doubt(self, address: str) -> None:
        """Ask the server at ``address``, unless that is done already."""
        if address in ("", self._own) or address in self._asked:
            return
        self._asked.add(address)
        self._ping(address).addBoth(self._told, address)

    def _told(self, result: object, address: str) -> None:
        self._asked.discard(address)
        if not isinstance(result, Failure):
            return
        if result.check(Unreachable):
            self._log.debug("no answer is expected of {address} any more", address=address)
            self._abandon(address)
        elif not result.check(PyconsulError):
            self._log.failure("asking whether a server lives failed", failure=result)
