from __future__ import annotations

import gc
import subprocess
import sys
from typing import Any

from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import PyconsulError
from pyconsul.serf.members import Status
from pyconsul.testing.faults import FaultPlan
from pyconsul.testing.history import CONSISTENT, PUT, History
from pyconsul.testing.kernel import SimulationFailed
from pyconsul.testing.workload import Load
from pyconsul.testing.world import ServerProcess, ServerStorage, World

CALM_PLAN = FaultPlan(gap_s=1e9)


class WorldTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        # Errors in Deferreds of servers that crashed: nobody was left to look at them.
        self.addCleanup(self.flushLoggedErrors, PyconsulError)
        self.addCleanup(gc.collect)  # now, lest the next world take what this one leaves for its own


class WorldTests(WorldTestCase):
    def test_trouble(self) -> None:
        """Whole servers come through faults of all kinds."""
        for seed, servers in ((1, 5), (2, 3), (3, 1)):
            world = World(seed, servers, plan=FaultPlan(gap_s=3.0, length_s=3.0))
            summary = world.trouble(60.0)
            self.assertGreater(summary.acknowledged, 20)
            self.assertGreater(sum(summary.faults.values()), 5)
            self.assertLess(summary.recovery_s, 5.0)
            self.assertGreater(summary.checks, 500)
            self.assertIn(f"seed {seed}: ", str(summary))

    def test_speed(self) -> None:
        """Virtual time goes much faster than real time; the bound leaves room for slow machines."""
        self.assertGreater(World(4, plan=FaultPlan(gap_s=5.0)).trouble(60.0).speed, 20.0)

    def test_calm(self) -> None:
        """Without faults: one election, no failures, the servers in each other's gossip and catalog."""
        world = World(1, 3, plan=CALM_PLAN, load=Load(think_s=0.05))
        summary = world.trouble(20.0)
        self.assertEqual((summary.faults, summary.elections), ({}, 1))
        self.assertGreater(summary.acknowledged, 500)
        for number in (1, 2, 3):
            agent = world.agent(number)
            self.assertEqual(
                {m.name for m in agent.members() if m.status is Status.ALIVE}, {"s1", "s2", "s3"}
            )
            self.assertEqual({node.node for node in agent.store.catalog.nodes()}, {"s1", "s2", "s3"})
            self.assertEqual(len(agent.raft.core.configuration.servers), 3)

    def test_asking(self) -> None:
        """A test may ask any server, as HTTP would, and let time pass for the answer."""
        world = World(2, 3, plan=CALM_PLAN)
        world.start()
        world.run(5.0)
        put = History().invoke(1, PUT, "a", b"1")
        for number in (1, 2, 3):
            process = world.nodes[number - 1].process
            assert process is not None
            self.assertIs(world.result_of(as_deferred(process.perform(put, None))), True)
            value, index = world.result_of(as_deferred(process._get("a", CONSISTENT)))
            self.assertEqual(value, b"1")
            self.assertGreater(index, 0)

    def test_failure_is_seen(self) -> None:
        """A member that fails is found by gossip, and written into the catalog by the leader."""
        world = World(3, 3, plan=CALM_PLAN)
        world.start()
        world.run(10.0)
        [leader] = world.leaders()
        victim = next(node for node in world.nodes if node is not leader)
        world.crash(victim)

        def health() -> str:
            found = world.agent(leader.number).store.catalog.node_check(victim.name, "serfHealth")
            return found.status if found is not None else "unknown"

        world.run_while(lambda: health() != "critical", 60.0, "a failed member in the catalog")
        world.boot(victim)
        world.run_while(lambda: health() != "passing", 60.0, "its return")

    def test_halves(self) -> None:
        """Servers that start while they are cut off from each other come together."""
        world = World(4, 5, plan=CALM_PLAN)
        here, there = ([node.ip for node in part] for part in (world.nodes[:2], world.nodes[2:]))
        world.network.partition(here, there)
        for node in world.nodes:
            world.boot(node)
        world.run(20.0)
        world.network.heal()
        world.run_while(lambda: not world._all_alive(), 60.0, "one pool")

    def test_same_everywhere(self) -> None:
        """A seed means one run, whatever the hashes of the process are."""
        program = (
            "from pyconsul.testing.world import World\n"
            "world = World(5, 3)\n"
            "print(world.trouble(30.0).digest)\n"
        )
        digests = {
            subprocess.run(
                [sys.executable, "-c", program],
                env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
                capture_output=True,
                text=True,
                check=True,
                timeout=100,
            ).stdout
            for seed in "12"
        }
        self.assertEqual(len(digests), 1, digests)
        self.assertNotEqual(digests, {""})


class ForgetfulStorage(ServerStorage):
    """Loses what was not written in this run of the process."""

    def recover(self) -> Any:
        for name in self._disk.list("raft"):
            if name.endswith(".log"):
                self._disk.remove(f"raft/{name}")
        return super().recover()


class PlantedBugTests(WorldTestCase):
    """Bugs above Raft that only whole servers can show."""

    def finds(self, *words: str, seeds: int = 20, **arguments: Any) -> None:
        for seed in range(seeds):
            load = Load(clients=8, keys=4, think_s=0.1)
            world = World(seed, 3, plan=FaultPlan(gap_s=2.0, length_s=2.0), load=load, **arguments)
            try:
                world.trouble(60.0)
            except Exception as error:
                self.assertTrue(any(word in f"{error!r}" for word in words), repr(error))
                return
        self.fail("not found")

    def test_write_is_repeated(self) -> None:
        """A server that tries a write again when it does not know whether it was done."""
        from pyconsul.agent.forwarding import Forwarder

        persist = Forwarder.persist

        def careless(self: Forwarder, attempt: Any, **arguments: Any) -> Any:
            return persist(self, attempt, **{**arguments, "is_read": True})

        self.patch(Forwarder, "persist", careless)
        self.finds("not linearizable")

    def test_stale_read(self) -> None:
        """A server that takes any read for one that may be stale."""
        get = ServerProcess._get

        def stale(self: ServerProcess, key: str, mode: str) -> Any:
            if self.agent.raft.core.leader_id:
                row = self.agent.store.kv.get(key)[1]
                return (None, 0) if row is None else (row.value, row.modify_index)
            return get(self, key, mode)

        self.patch(ServerProcess, "_get", stale)
        self.finds("not linearizable", seeds=3)

    def test_lost_wakeup(self) -> None:
        """A store that forgets some of those who wait."""
        from pyconsul.state.watches import Watches

        register = Watches.register

        def forgetful(self: Watches, keys: Any, watcher: Any) -> None:
            if getattr(watcher, "read", None) is None or watcher.read.index % 3:
                register(self, keys, watcher)

        self.patch(Watches, "register", forgetful)
        self.finds("watchers that saw the end", seeds=10)

    def test_divergent_stores(self) -> None:
        """Servers that make different states of the same log."""
        from pyconsul.state.fsm import FSM

        apply = FSM.apply
        machines: list[FSM] = []

        def differently(self: FSM, index: int, data: bytes) -> Any:
            if self not in machines:
                machines.append(self)
            result = apply(self, index, data)
            if machines.index(self) % 2 and index > 50:
                self._store.kv.delete(index, "k1")
            return result

        self.patch(FSM, "apply", differently)
        self.finds("another state", "the same log made different stores", "not linearizable", seeds=3)


def as_deferred(answer: Any) -> Any:
    return answer if hasattr(answer, "addCallback") else succeed(answer)


class FailureTests(WorldTestCase):
    def test_no_majority(self) -> None:
        """A world that cannot get well says what is missing."""
        world = World(1, 3, plan=CALM_PLAN)
        world.boot(world.nodes[0])
        error = self.assertRaises(
            SimulationFailed, world.run_while, lambda: not world.leaders(), 20.0, "a leader"
        )
        self.assertIn("a leader: not within 20.0 s", str(error))
