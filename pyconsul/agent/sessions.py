"""What a server knows about sessions that is not in the log: when a TTL is over, and lock delays.

Source: specs of the runtime, section 4, "Sessions".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from pyconsul.errors import PyconsulError
from pyconsul.log import make_logger
from pyconsul.state import commands
from pyconsul.state.session import SessionTable
from pyconsul.structs.durations import parse_ns
from pyconsul.structs.session import LOCK_DELAY_MAX_NS, Session

TTLS_TO_WAIT = 2
"""How many TTLs a session lives without being renewed, so that clients may be slow."""

ENDING_MAX = 128
RETRY_S = 2.0
SPARE = 1024
"""How much that is out of date is kept before it is swept out."""


class SessionTimers:
    """Ends sessions whose TTL is over. Only the leader's run, and all begin anew with each leader.

    A renewal costs one entry of a dict: deadlines only move back, so a session's place in the heap is
    looked at when its old deadline comes.

    :param propose: appends a log command; fires once it is applied.
    """

    def __init__(
        self, sessions: SessionTable, propose: Callable[[bytes], Deferred[Any]], clock: IReactorTime
    ) -> None:
        self._log = make_logger("agent.sessions")
        self._sessions = sessions
        self._propose = propose
        self._clock = clock
        self._running = False
        self._reign = 0
        self._deadlines: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._timer: IDelayedCall | None = None
        self._due: deque[str] = deque()
        self._proposed = 0
        self._ending: set[str] = set()
        """Those whose end is due or proposed; nobody may renew them any more."""

    def __len__(self) -> int:
        """How many sessions have a timer."""
        return len(self._deadlines)

    def start(self) -> None:
        """This server leads: every session has its whole time again."""
        if not self._running:
            self._running = True
            self._reign += 1
            for session in self._sessions.all():
                self.created(session)

    def stop(self) -> None:
        """This server does not lead any more."""
        self._running = False
        self._deadlines.clear()
        self._heap.clear()
        self._due.clear()
        self._ending.clear()
        self._proposed = 0
        self._disarm()

    def restart(self) -> None:
        """There are other sessions now: the same as with a new leader, if this server leads."""
        if self._running:
            self.stop()
            self.start()

    # ------------------------------------------------------------ what becomes of sessions

    def created(self, session: Session) -> None:
        """Begin to wait for the TTL of ``session``, if it has one."""
        if self._running:
            wait_s = _wait_s(session)
            if wait_s:
                self._wait(session.id, wait_s)

    def ended(self, session: Session) -> None:
        """There is nothing to wait for any more."""
        if self._running:
            self._deadlines.pop(session.id, None)
            self._ending.discard(session.id)
            if len(self._heap) > 2 * len(self._deadlines) + SPARE:
                self._heap = [(deadline, session_id) for session_id, deadline in self._deadlines.items()]
                heapify(self._heap)

    def renew(self, session: Session) -> bool:
        """Let the TTL start again; ``False`` if the end of the session is already on its way."""
        if session.id in self._ending:
            return False
        if session.id in self._deadlines:
            self._deadlines[session.id] = self._clock.seconds() + _wait_s(session)
        return True

    def _wait(self, session_id: str, wait_s: float) -> None:
        deadline = self._clock.seconds() + wait_s
        self._deadlines[session_id] = deadline
        heappush(self._heap, (deadline, session_id))
        if self._heap[0][1] == session_id:
            self._arm()

    # ------------------------------------------------------------ time

    def _arm(self) -> None:
        self._disarm()
        if self._heap:
            delay = max(0.0, self._heap[0][0] - self._clock.seconds())
            self._timer = self._clock.callLater(delay, self._look)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """The first deadline has come."""
        self._timer = None
        now = self._clock.seconds()
        while self._heap and self._heap[0][0] <= now:
            _, session_id = heappop(self._heap)
            deadline = self._deadlines.get(session_id)
            if deadline is not None and deadline > now:
                heappush(self._heap, (deadline, session_id))
            elif deadline is not None:
                del self._deadlines[session_id]
                self._ending.add(session_id)
                self._due.append(session_id)
        self._arm()
        self._end_some()

    def _end_some(self) -> None:
        """Propose the end of sessions, not too many at a time."""
        while self._due and self._proposed < ENDING_MAX:
            session_id = self._due.popleft()
            if session_id not in self._ending:  # it has ended in another way
                continue
            self._log.debug("session TTL expired: session={session}", session=session_id)
            self._proposed += 1
            ended = self._propose(commands.encode_destroy(session_id))
            arguments = self._reign, session_id
            ended.addCallbacks(self._was_ended, self._was_not, callbackArgs=arguments, errbackArgs=arguments)

    def _was_ended(self, _: object, reign: int, session_id: str) -> None:
        if self._running and reign == self._reign:
            self._proposed -= 1
            self._end_some()

    def _was_not(self, failure: Failure, reign: int, session_id: str) -> None:
        if not isinstance(failure.value, PyconsulError):
            self._log.failure("ending session {session} failed", failure=failure, session=session_id)
        if self._running and reign == self._reign:
            self._proposed -= 1
            if session_id in self._ending:
                self._wait(session_id, RETRY_S)
            self._end_some()


def _wait_s(session: Session) -> float:
    return parse_ns(session.ttl) * TTLS_TO_WAIT / 1e9 if session.ttl else 0.0


class LockDelays:
    """Keys that nobody may lock yet, because the session that held them ended a moment ago.

    Whoever held the lock may not know so yet. Every server keeps these times, as it applies the log,
    so that a new leader has them too: no shorter than the leader before it.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}
        self._sweep_above = SPARE

    def __len__(self) -> int:
        """How many keys are noted, some of which may be over."""
        return len(self._until)

    def ended(self, session: Session, keys: Sequence[str]) -> None:
        """``session`` has ended and held ``keys``."""
        delay_s = min(session.lock_delay, LOCK_DELAY_MAX_NS) / 1e9
        if delay_s <= 0 or not keys:
            return
        now = self._clock.seconds()
        for key in keys:
            self._until[key] = max(now + delay_s, self._until.get(key, 0.0))
        if len(self._until) > self._sweep_above:
            self._until = {key: until for key, until in self._until.items() if until > now}
            self._sweep_above = 2 * len(self._until) + SPARE

    def holds(self, key: str) -> bool:
        """Whether ``key`` may not be locked yet."""
        until = self._until.get(key)
        if until is None:
            return False
        if self._clock.seconds() < until:
            return True
        del self._until[key]
        return False
