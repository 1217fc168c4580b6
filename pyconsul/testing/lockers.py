"""Clients of a simulated world that take turns with one lock, by sessions with a TTL.

Whoever has the lock has it alone until it gives it back, or until its session may have ended: that is
one TTL after it last asked for the session to be renewed, and was told that it is.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Generic, TypeVar

from msgspec import Struct
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from pyconsul.errors import PyconsulError
from pyconsul.structs.catalog import RegisterRequest
from pyconsul.structs.kv import DirEntry, KVSRequest
from pyconsul.structs.session import IndexedSessions, Session, SessionRequest, SessionSpecificRequest
from pyconsul.testing.kernel import Process, SimNode, Simulation, SimulationFailed

P = TypeVar("P", bound=Process)

Ask = Callable[[P, str, Any], Any]
"""Calls an endpoint at a process; gives, or fires with, the reply."""

KEY = "lock"
NODE = "lockers"
"""A node without an agent, so that only the TTL ends a session."""

TTL_S = 10.0
LOCK_DELAY_S = 1.0
HOP_S = 0.0002
TIMEOUT_S = 4.0
AGAIN_S = 1.0
RENEW_EVERY_S = 2.5


class _Claim(Struct):
    """Somebody has the lock, certainly until a time."""

    until: float


class Lockers(Generic[P]):
    """Two contend for the lock; now and then one that has it dies, and a new one takes its place.

    :ivar taken: how often the lock was taken. :ivar abandoned: how often its owner died.
    """

    def __init__(self, world: Simulation[P], rng: Random, ask: Ask[P], count: int) -> None:
        self.world = world
        self.rng = rng
        self.ask = ask
        self.count = count
        self.running = False
        self.taken = 0
        self.abandoned = 0
        self._claim = _Claim(0.0)
        self._lockers = [_Locker(self) for _ in range(count)]

    def start(self) -> None:
        """Begin."""
        self.running = True
        for locker in self._lockers:
            locker.begin()

    def stop(self) -> None:
        """Begin nothing new."""
        self.running = False

    def took(self, valid_until: float) -> _Claim:
        """The lock was given to a client whose session is valid so long; nobody else may have it."""
        left = self._claim.until - self.world.clock.now
        if left > 0.0:
            raise SimulationFailed(f"two have the lock: the session of the first is valid for {left:.3f} s")
        self.taken += 1
        self._claim = _Claim(valid_until)
        return self._claim


class _Locker(Generic[P]):
    """One client: a session, the lock, a while, and so on."""

    def __init__(self, lockers: Lockers[P]) -> None:
        self._claim: _Claim | None = None
        self._lockers = lockers
        self._session = ""
        self._valid_until = 0.0
        self._release_at = 0.0

    def begin(self) -> None:
        """Get a session."""
        self._session = ""
        self._claim = None
        register = RegisterRequest(node=NODE, address="192.0.2.1")
        self._ask("Catalog.Register", register, self._registered)

    def _registered(self, reply: Any, asked_at: float) -> None:
        session = Session(node=NODE, ttl=f"{TTL_S:.0f}s", lock_delay=int(LOCK_DELAY_S * 1e9))
        self._ask("Session.Apply", SessionRequest(op="create", session=session), self._created)

    def _created(self, session_id: str, asked_at: float) -> None:
        self._session = session_id
        self._valid_until = asked_at + TTL_S
        self._take()

    def _take(self) -> None:
        self._ask("KVS.Apply", self._request("lock"), self._taken)

    def _taken(self, taken: bool, asked_at: float) -> None:
        lockers = self._lockers
        if not taken:
            self._later(AGAIN_S, self._renew, self._take)
            return
        self._claim = lockers.took(self._valid_until)
        self._release_at = self._now + lockers.rng.expovariate(1.0 / 4.0)
        self._hold()

    def _hold(self) -> None:
        lockers = self._lockers
        if lockers.rng.random() < 0.05:  # it dies, and another client begins
            lockers.abandoned += 1
            self._later(AGAIN_S, self.begin)
        elif self._now >= self._release_at:
            self._disclaim()  # from now on it may be free
            self._ask("KVS.Apply", self._request("unlock"), self._released)
        else:
            self._later(RENEW_EVERY_S, self._renew, self._hold)

    def _released(self, released: bool, asked_at: float) -> None:
        self._later(AGAIN_S, self._take)

    def _disclaim(self) -> None:
        if self._claim is not None:
            self._claim.until = 0.0
            self._claim = None

    def _renew(self, then: Callable[[], None]) -> None:
        request = SessionSpecificRequest(session_id=self._session)

        def renewed(reply: IndexedSessions, asked_at: float) -> None:
            if not reply.sessions:
                self._failed()
                return
            self._valid_until = asked_at + TTL_S
            if self._claim is not None:
                self._claim.until = self._valid_until
            then()

        self._ask("Session.Renew", request, renewed)

    def _request(self, op: str) -> KVSRequest:
        return KVSRequest(op=op, dir_ent=DirEntry(key=KEY, value=b"", session=self._session))

    # ------------------------------------------------------------ asking

    @property
    def _now(self) -> float:
        return self._lockers.world.clock.now

    def _later(self, delay_s: float, function: Callable[..., None], *arguments: Any) -> None:
        self._lockers.world.clock.root.callLater(delay_s, function, *arguments)

    def _ask(self, method: str, request: Any, then: Callable[[Any, float], None]) -> None:
        """Ask some server; begin anew with another session if it has no answer."""
        lockers = self._lockers
        if not lockers.running:
            return
        node = lockers.rng.choice(lockers.world.nodes)
        if node.up:
            _Call(lockers, node, method, request, then, self._failed)
        else:
            self._later(AGAIN_S, self._ask, method, request, then)

    def _failed(self) -> None:
        """It may have been done or not. The lock is not counted on any more."""
        self._disclaim()
        self._later(AGAIN_S, self.begin)


class _Call(Generic[P]):
    """A request on its way to a process and back."""

    def __init__(
        self,
        lockers: Lockers[P],
        node: SimNode[P],
        method: str,
        request: Any,
        then: Callable[[Any, float], None],
        failed: Callable[[], None],
    ) -> None:
        self._lockers = lockers
        self._clock = node.clock
        self._then = then
        self._failed = failed
        self._over = False
        world = lockers.world.clock
        self._asked_at = world.now
        self._timer = world.post(TIMEOUT_S, world.root, self._end, (None,))
        world.post(HOP_S, node.clock, self._arrive, (node.process, method, request))

    def _arrive(self, process: P, method: str, request: Any) -> None:
        try:
            answer = self._lockers.ask(process, method, request)
        except PyconsulError:
            self._reply(None)
        else:
            if isinstance(answer, Deferred):
                answer.addBoth(self._reply)
            else:
                self._reply(answer)

    def _reply(self, answer: Any) -> None:
        if isinstance(answer, Failure):
            if not isinstance(answer.value, PyconsulError | CancelledError):
                self._lockers.world.failures.append(answer.getTraceback())
            answer = None
        world = self._lockers.world.clock
        if not self._clock.state:
            world.post(HOP_S, world.root, self._end, (answer,))

    def _end(self, answer: Any) -> None:
        if self._over:
            return
        self._over = True
        if self._timer.active():
            self._timer.cancel()
        if answer is None:
            self._failed()
        else:
            self._then(answer, self._asked_at)
