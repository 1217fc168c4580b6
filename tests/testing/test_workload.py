from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import LeadershipLost, NoLeader
from pyconsul.testing.history import CAS, DELETE_CAS, GET, NEVER, Operation
from pyconsul.testing.kernel import SimNode, Simulation, SimulationFailed
from pyconsul.testing.linearizability import check
from pyconsul.testing.network import Stack
from pyconsul.testing.watchers import Watchers
from pyconsul.testing.workload import CONDITIONAL, Clients, Load


class Shared:
    """One store that all nodes answer from."""

    def __init__(self) -> None:
        self.index = 0
        self.rows: dict[str, tuple[bytes | None, int]] = {}
        self.waiting: list[tuple[str, Deferred[Any]]] = []

    def perform(self, operation: Operation, version: int | None) -> Any:
        value, index = self.rows.get(operation.key, (None, 0))
        if operation.kind == GET:
            return value, index
        if operation.kind in CONDITIONAL and index != version:
            return operation.kind == DELETE_CAS and not index
        self.index += 1
        self.rows[operation.key] = (operation.value, self.index if operation.value else 0)
        for key, deferred in self.waiting:
            if key == operation.key and not deferred.called:
                deferred.callback((self.index, operation.value))
        return True

    def watch(self, key: str, index: int) -> Any:
        value, now = self.rows.get(key, (None, 0))
        if now > index:
            return now, value
        deferred: Deferred[Any] = Deferred()
        self.waiting.append((key, deferred))
        return deferred


class Door:
    """A process that passes everything on to the shared store, as long as ``answer`` is not set."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    def start(self) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """Nothing to do."""


class Doors(Simulation[Door]):
    shared = Shared()

    def make_process(self, node: SimNode[Door], stack: Stack) -> Door:
        return Door(self.shared)

    def leaders(self) -> list[SimNode[Door]]:
        return self.nodes[:1]


class WorldTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = Doors(1, 3)
        self.shared = self.world.shared = Shared()
        for node in self.world.nodes:
            self.world.boot(node)

    def restart(self) -> None:
        for node in self.world.nodes:
            self.world.crash(node)
            self.world.boot(node)


class ClientsTests(WorldTestCase):
    def clients(self, perform: Callable[[Operation, Any], Any], **load: Any) -> Clients[Door]:
        clients: Clients[Door] = Clients(
            self.world, self.world.chance("clients"), lambda process, o, v: perform(o, v), Load(**load)
        )
        clients.start()
        return clients

    def outcomes(self, clients: Clients[Door]) -> set[str]:
        return {
            "void" if o.void else "unknown" if o.returned == NEVER else "known"
            for o in clients.history.operations[: -clients.load.clients if clients.running else None]
        }  # the last ones may be under way

    def test_probe(self) -> None:
        """A write that begins now is soon acknowledged, or the world is not alive."""
        clients = self.clients(self.shared.perform, think_s=1e9)
        self.assertLess(self.world.must_live(clients.probe, "all is mended"), 0.5)
        for node in self.world.nodes:
            self.world.crash(node)
        self.assertIsNone(clients.probe())
        error = self.assertRaises(SimulationFailed, self.world.must_live, clients.probe, "all is mended")
        self.assertIn("all is mended: no write in 5 s", str(error))

    def test_load(self) -> None:
        """Operations of all kinds, whose outcomes fit together."""
        clients = self.clients(self.shared.perform)
        self.world.run(60.0)
        self.assertTrue(700 < len(clients.history) < 1300)
        self.assertEqual(self.outcomes(clients), {"known"})
        self.assertEqual({o.kind for o in clients.history}, {"put", "get", "cas", "delete", "delete-cas"})
        modes = {o.mode for o in clients.history if o.kind == GET}
        self.assertEqual(modes, {"default", "consistent", "stale"})
        cas = [o.result for o in clients.history if o.kind == CAS]
        self.assertTrue(True in cas and False in cas)
        self.assertIsNone(check(clients.history))
        self.assertEqual(
            clients.acknowledged, sum(o.kind != GET and o.returned != NEVER for o in clients.history)
        )
        values = [o.value for o in clients.history if o.value]
        self.assertEqual(len(values), len(set(values)))

    def test_stop(self) -> None:
        """Nothing new is begun, and what is under way ends."""
        clients = self.clients(lambda o, v: Deferred(), timeouts_s=(2.0,))
        self.world.run(1.5)
        self.assertGreater(clients.waiting, 0)
        clients.stop()
        self.world.run(10.0)
        self.assertEqual(clients.waiting, 0)
        self.assertEqual(self.outcomes(clients), {"unknown"})

    def test_late_answers(self) -> None:
        """An answer after the client's timeout changes nothing."""
        answers: list[Deferred[Any]] = []

        def late(operation: Operation, version: Any) -> Deferred[Any]:
            answers.append(Deferred())
            return answers[-1]

        clients = self.clients(late, timeouts_s=(0.5,))
        self.world.run(3.0)
        clients.stop()
        self.world.run(3.0)
        for answer in answers:
            answer.callback(True)
        self.world.run(1.0)
        self.assertEqual(self.outcomes(clients), {"unknown"})

    def test_answers_in_time(self) -> None:
        """Deferred answers count like others."""
        clients = self.clients(lambda o, v: succeed(self.shared.perform(o, v)))
        self.world.run(10.0)
        self.assertEqual(self.outcomes(clients), {"known"})

    def test_errors(self) -> None:
        """Some errors promise that nothing was done, the others leave it open."""

        def refuse(operation: Operation, version: Any) -> Any:
            raise NoLeader()

        clients = self.clients(refuse)
        self.world.run(5.0)
        self.assertEqual(self.outcomes(clients), {"void"})
        for error in (LeadershipLost(), CancelledError()):
            clients = self.clients(lambda o, v, e=error: fail(e))  # type: ignore[misc]
            self.world.run(5.0)
            self.assertEqual(self.outcomes(clients), {"unknown"})

    def test_bugs(self) -> None:
        """An error that is none of ours fails the run."""
        self.clients(lambda o, v: fail(KeyError("bug")))
        error = self.assertRaises(AssertionError, self.world.run, 5.0)
        self.assertIn("KeyError", str(error))

    def test_crashes(self) -> None:
        """A process that ends takes its answers with it; nobody asks one that is down."""
        clients = self.clients(lambda o, v: Deferred(), timeouts_s=(3.0,))
        self.world.run(1.0)
        self.restart()
        self.world.run(1.0)
        for node in self.world.nodes:
            self.world.crash(node)
        self.world.run(6.0)
        clients.stop()
        self.assertEqual(self.outcomes(clients), {"unknown"})
        self.assertEqual(clients.waiting, 0)
        self.assertGreaterEqual(len(clients.history), 5)

    def test_paused(self) -> None:
        """A paused process answers nobody."""
        waiting: Deferred[Any] = Deferred()
        clients = self.clients(lambda o, v: waiting, clients=1, timeouts_s=(2.0,))
        self.world.run_while(lambda: not clients.waiting, 5.0, "a request")
        clients.stop()
        for node in self.world.nodes:
            self.world.pause(node)
        waiting.callback(True)
        self.world.run(5.0)
        self.assertEqual(self.outcomes(clients), {"unknown"})

    def test_choice(self) -> None:
        """Leaders may be preferred."""
        clients = self.clients(self.shared.perform)
        self.assertEqual({clients.choose() for _ in range(50)}, set(self.world.nodes))
        clients.at_leader = 1.0
        self.assertEqual({clients.choose() for _ in range(50)}, {self.world.nodes[0]})


class WatchersTests(WorldTestCase):
    def watchers(self, watch: Callable[[str, int], Any] | None = None, count: int = 4) -> Watchers[Door]:
        look = watch or self.shared.watch
        watchers: Watchers[Door] = Watchers(
            self.world,
            self.world.chance("watchers"),
            lambda process, key, index, s: look(key, index),
            count,
            1,
        )
        watchers.start()
        return watchers

    def put(self, value: bytes) -> None:
        self.shared.perform(Operation(1, "put", "k0", value, None, 1), None)

    def test_changes(self) -> None:
        """Each change is seen, at once or when it comes."""
        self.put(b"1")
        watchers = self.watchers()
        self.assertTrue(watchers.up_to_date({"k0": None}))
        for value in (b"1", b"2", b"3"):
            if value != b"1":
                self.put(value)
            self.world.run(1.0)
            self.assertTrue(watchers.up_to_date({"k0": value}))
            self.assertFalse(watchers.up_to_date({"k0": b"?"}))
        watchers.stop()
        self.put(b"4")
        self.put(b"5")
        self.world.run(1.0)
        self.assertFalse(watchers.up_to_date({"k0": b"5"}))

    def test_crash(self) -> None:
        """The watcher asks the next process on its node, even if it finds it down at first."""
        watchers = self.watchers()
        self.world.run(1.0)
        self.restart()
        self.shared.waiting.clear()  # they went with the processes
        self.world.run(2.0)
        self.put(b"1")
        self.world.run(1.0)
        self.assertTrue(watchers.up_to_date({"k0": b"1"}))
        for node in self.world.nodes:
            self.world.crash(node)
        self.world.run(3.0)
        self.put(b"2")
        for node in self.world.nodes:
            self.world.boot(node)
        self.world.run(2.0)
        self.assertTrue(watchers.up_to_date({"k0": b"2"}))

    def test_errors(self) -> None:
        """Expected errors lead to another try, from the start."""
        asked: list[int] = []

        def watch(key: str, index: int) -> Any:
            asked.append(index)
            if len(asked) == 1:
                raise NoLeader()
            return fail(NoLeader()) if len(asked) == 2 else self.shared.watch(key, index)

        self.put(b"1")
        watchers = self.watchers(watch, 1)
        self.world.run(3.0)
        self.assertTrue(watchers.up_to_date({"k0": b"1"}))
        self.assertEqual(asked, [0, 0, 0, 1])

    def test_bugs(self) -> None:
        """Other errors fail the run."""
        self.watchers(lambda key, index: fail(KeyError("bug")))
        self.assertRaises(AssertionError, self.world.run, 1.0)

    def test_index_goes_back(self) -> None:
        """After a restore the watcher starts anew."""
        answers = [(5, b"a"), (3, b"b"), (9, b"c")]
        asked: list[int] = []

        def watch(key: str, index: int) -> Any:
            asked.append(index)
            return answers.pop(0) if answers else Deferred()

        self.watchers(watch, 1)
        self.world.run(1.0)
        self.assertEqual(asked, [0, 5, 0, 9])
