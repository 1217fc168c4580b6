"""Who led, and whether that server still answers what it was asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pyconsul.errors import PyconsulError, Unreachable
from pyconsul.log import make_logger

PING_TIMEOUT_S = 3.0
"""For how long a server that leads no more may keep silent before nothing is expected of it."""


class Succession:
    """Gives up what a former leader was asked, unless it shows that it lives.

    Who stops leading tells at once everybody who waits for a write there. Who hangs, or was cut off, tells
    nobody, and the kernel may take minutes to notice.

    :param own: this server's address, which is never asked.
    :param ping: asks the server at an address whether it lives; fails with ``Unreachable`` after
        ``PING_TIMEOUT_S`` at the latest.
    :param abandon: expects no answer of the server at an address any more.
    """

    def __init__(
        self, own: str, ping: Callable[[str], Deferred[Any]], abandon: Callable[[str], None]
    ) -> None:
        self._log = make_logger("agent.server.rpc")
        self._own = own
        self._ping = ping
        self._abandon = abandon
        self._leader = ""
        self._asked: set[str] = set()

    def leads(self, address: str) -> None:
        """The server at ``address`` leads; if that is empty, nobody does."""
        before, self._leader = self._leader, address
        if before in ("", address, self._own) or before in self._asked:
            return
        self._asked.add(before)
        self._ping(before).addBoth(self._told, before)

    def _told(self, result: object, address: str) -> None:
        self._asked.discard(address)
        if not isinstance(result, Failure):
            return
        if result.check(Unreachable):
            self._log.debug("{address}, which led, does not answer", address=address)
            self._abandon(address)
        elif not result.check(PyconsulError):
            self._log.failure("asking whether a former leader lives failed", failure=result)
