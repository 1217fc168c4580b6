from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import NoLeader
from pyconsul.structs.session import IndexedSessions, Session
from pyconsul.testing.kernel import SimNode, Simulation, SimulationFailed
from pyconsul.testing.lockers import TTL_S, Lockers
from pyconsul.testing.network import Stack


class Server:
    """A process that has one lock, and sessions that end one TTL after they were renewed."""

    def start(self) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """Nothing to do."""


class Locks(Simulation[Server]):
    owner = ""
    ttl_s = TTL_S
    created = 0

    def make_process(self, node: SimNode[Server], stack: Stack) -> Server:
        self.until: dict[str, float] = {}
        return Server()

    def serve(self, process: Server, method: str, request: Any) -> Any:
        now = self.clock.now
        if method == "Catalog.Register":
            return True
        if method == "Session.Apply":
            self.created += 1
            session = f"s{self.created}"
            self.until[session] = now + self.ttl_s
            return succeed(session)
        if method == "Session.Renew":
            if self.until.get(request.session_id, 0.0) < now:
                return IndexedSessions()
            self.until[request.session_id] = now + self.ttl_s
            return IndexedSessions(sessions=[Session(id=request.session_id)])
        session = request.dir_ent.session
        free = not self.owner or self.until.get(self.owner, 0.0) < now
        if request.op == "lock" and (free or self.owner == session):
            self.owner = session
            return True
        if request.op == "unlock":
            self.owner = ""
        return request.op == "unlock"


class LockersTests(SynchronousTestCase):
    def lockers(self, ask: Callable[..., Any] | None = None) -> Lockers[Server]:
        self.world = Locks(1, 1)
        self.world.boot(self.world.nodes[0])
        lockers = Lockers(self.world, self.world.chance("lockers"), ask or self.world.serve, 2)
        lockers.start()
        return lockers

    def test_in_turns(self) -> None:
        """The lock goes from one to the other, also if one that has it dies."""
        lockers = self.lockers()
        self.world.run(1000.0)
        self.assertGreater(lockers.taken, 50)
        self.assertGreater(lockers.abandoned, 5)
        lockers.stop()
        self.world.run(30.0)
        taken = lockers.taken
        self.world.run(100.0)
        self.assertEqual(lockers.taken, taken)

    def test_two_owners(self) -> None:
        """A session that ends too early lets another one in."""
        self.lockers()
        self.world.ttl_s = 2.0
        error = self.assertRaises(SimulationFailed, self.world.run, 1000.0)
        self.assertIn("two have the lock", str(error))

    def test_no_answer(self) -> None:
        """Whatever goes wrong, they begin anew; what had no answer is not counted on."""
        count = 0

        def ask(process: Server, method: str, request: Any) -> Any:
            nonlocal count
            count += 1
            if count % 7 == 0:
                raise NoLeader()
            if count % 11 == 0:
                return fail(NoLeader())
            return Deferred() if count % 13 == 0 else self.world.serve(process, method, request)

        lockers = self.lockers(ask)
        self.world.run(100.0)
        self.world.crash(self.world.nodes[0])
        self.world.run(10.0)
        taken = lockers.taken
        self.assertGreater(taken, 3)
        self.world.boot(self.world.nodes[0])
        self.world.owner = ""
        self.world.run(100.0)
        self.assertGreater(lockers.taken, taken)

    def test_bugs(self) -> None:
        """Other errors fail the run."""
        self.lockers(lambda process, method, request: fail(KeyError("bug")))
        self.assertRaises(AssertionError, self.world.run, 1.0)
