"""When deletions of keys are forgotten: some time after they were made, by a command of the leader's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from pyconsul.errors import PyconsulError
from pyconsul.log import make_logger
from pyconsul.state import commands
from pyconsul.state.store import Store

TTL_S = 900.0
"""How long deletions are remembered, as with Consul."""
INTERVAL_S = 60.0


class Tombstones:
    """Proposes to forget deletions, while this server leads.

    Once a minute it notes how far the log has come. What was deleted before a note that is old enough
    may be forgotten. Deletions under an earlier leader wait from the start of this one.

    :param propose: appends a log command; fires once it is applied.
    """

    def __init__(self, store: Store, propose: Callable[[bytes], Deferred[Any]], clock: IReactorTime) -> None:
        self._log = make_logger("agent.tombstones")
        self._store = store
        self._propose = propose
        self._clock = clock
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock
        self._notes: deque[tuple[float, int]] = deque()

    def start(self) -> None:
        """This server leads."""
        if not self._loop.running:
            self._loop.start(INTERVAL_S)

    def stop(self) -> None:
        """This server does not lead any more."""
        self._notes.clear()
        if self._loop.running:
            self._loop.stop()

    def restart(self) -> None:
        """The store has another state, to whose deletions the notes say nothing."""
        self._notes.clear()

    def _look(self) -> None:
        now = self._clock.seconds()
        old = 0
        while self._notes and self._notes[0][0] <= now - TTL_S:
            old = self._notes.popleft()[1]
        oldest = self._store.kv.oldest_grave()
        if oldest is None:
            return
        self._notes.append((now, self._store.index))
        if oldest <= old:
            self._propose(commands.encode_collect_graves(old)).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        """The next note will do it."""
        if not isinstance(failure.value, PyconsulError):
            self._log.failure("collecting tombstones failed", failure=failure)
