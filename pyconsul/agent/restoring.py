"""A user's restore, on the leader: the new state goes into the log, piece by piece."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pyconsul.agent.machine import abort, pieces
from pyconsul.errors import LeadershipLost, NoLeader
from pyconsul.state.store import Snapshot

WINDOW = 4
"""Pieces that may be on their way to a majority at once."""


class Restoring:
    """One restore.

    :param propose: appends a piece; fires once it is applied.
    """

    def __init__(self, clock: IReactorTime, propose: Callable[[bytes], Deferred[Any]]) -> None:
        self._clock = clock
        self._propose = propose

    async def run(self, snapshot: Snapshot) -> int:
        """Append everything; the index at which it became the state.

        Until the last piece is appended nothing has changed for certain, so an error before that is
        ``NoLeader`` or ``Refused``.
        """
        waiting: deque[Deferred[Any]] = deque()
        source = pieces(snapshot)
        piece = next(source)
        try:
            while (following := next(source, None)) is not None:
                waiting.append(self._propose(piece))
                piece = following
                while len(waiting) >= WINDOW:
                    await waiting.popleft()
                await self._turn()
            while waiting:
                await waiting.popleft()
        except LeadershipLost:
            self._drop(waiting)
            raise NoLeader() from None
        except Exception:  # cancelled, too
            self._drop(waiting)
            raise
        return int(await self._propose(piece))

    def _drop(self, waiting: deque[Deferred[Any]]) -> None:
        """Nobody waits for the other pieces; let the servers forget what came."""
        for deferred in (*waiting, self._propose(abort())):
            deferred.addErrback(lambda _: None)

    async def _turn(self) -> None:
        done: Deferred[None] = Deferred()
        self._clock.callLater(0, done.callback, None)
        await done
