"""Whole servers in a simulated world: Raft, gossip, store and storage, as in production.

Only five things are exchanged: the clock, chance, the network, the disk and the wall time.

    world = World(seed=7)
    world.trouble(600.0)  # ten minutes of faults and load, then everything has to be well
    print(world.summary())
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from random import Random
from time import process_time
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred

from pyconsul.agent.environment import Environment
from pyconsul.agent.machine import StateMachine
from pyconsul.agent.replica import Replica
from pyconsul.agent.server import ServerAgent
from pyconsul.config.groups import Performance
from pyconsul.config.schema import AgentConfig
from pyconsul.errors import PyconsulError
from pyconsul.interfaces import Later
from pyconsul.raft import events
from pyconsul.raft.configuration import VOTER, Server
from pyconsul.raft.events import ChangeConfiguration, ChangeKind
from pyconsul.raft.messages import Entry
from pyconsul.serf.members import Status
from pyconsul.state.fsm import FSM
from pyconsul.state.store import Store
from pyconsul.storage.raft_storage import RecoveredLog, SegmentedStorage
from pyconsul.structs.kv import DirEntry, IndexedDirEntries, KeyRequest, KVSRequest
from pyconsul.testing import stale
from pyconsul.testing.disk import SimDisk
from pyconsul.testing.faults import PLAN, FaultPlan
from pyconsul.testing.history import CAS, CONSISTENT, DELETE, DELETE_CAS, GET, PUT, STALE, Operation
from pyconsul.testing.kernel import CLOCK_DRIFT, SimNode, Simulation, SimulationFailed
from pyconsul.testing.linearizability import check
from pyconsul.testing.lockers import Lockers
from pyconsul.testing.network import CALM, Conditions, Stack
from pyconsul.testing.operators import OperatorFaults
from pyconsul.testing.safety import SafetyChecker
from pyconsul.testing.states import States
from pyconsul.testing.transports import GossipSocket, RaftSocket, RpcSocket
from pyconsul.testing.watchers import Watchers
from pyconsul.testing.workload import LOAD, Clients, Load

DATACENTER = "dc1"
SEGMENT_BYTES = 16 * 1024
SNAPSHOT_EVERY = 100
SNAPSHOT_LOOK_S = 5.0
TRAILING_LOGS = 20

SPELL_S = 60.0
"""For so long there are faults, then all is mended for a moment."""

LEADER_WITHIN_S = 60.0
LOCKED_WITHIN_S = 45.0
"""Its owner may have died: two TTLs, the lock delay, and what another client needs."""

CONVERGED_WITHIN_S = 240.0


class ServerStorage(SegmentedStorage):
    """The production storage; keeps what it recovered for the safety checker."""

    found: RecoveredLog

    def recover(self) -> RecoveredLog:
        """See ``SegmentedStorage``."""
        self.found = super().recover()
        return self.found


MakeStorage = Callable[[SimDisk, Random], ServerStorage]


def server_storage(disk: SimDisk, rng: Random) -> ServerStorage:
    """Production storage with segments small enough that several are used."""
    return ServerStorage(disk, rng, segment_bytes=SEGMENT_BYTES)


class ServerProcess:
    """One server agent on a node."""

    def __init__(self, agent: ServerAgent) -> None:
        self.agent = agent

    def start(self) -> None:
        """Take part in everything."""
        self.agent.startService()

    def stop(self) -> None:
        """End without leaving, as on SIGTERM of a server."""
        self.agent.stopService()

    def change(self, kind: ChangeKind, server: Server) -> None:
        """Ask for a change of the Raft configuration, as an operator would; it may be refused."""
        change = ChangeConfiguration(kind, server.id, server.address)
        self.agent.raft.change(change).addErrback(lambda failure: failure.trap(PyconsulError))

    def transfer(self) -> None:
        """Ask for leadership to be handed over to anybody."""
        self.agent.raft.transfer().addErrback(lambda failure: failure.trap(PyconsulError))

    @property
    def leads(self) -> bool:
        """Whether this server's Raft core leads."""
        return self.agent.raft.is_leader

    def perform(self, operation: Operation, version: int | None) -> Any:
        """One operation of a client, as its HTTP request would do it."""
        if operation.kind == GET:
            if operation.mode == STALE and not self.agent.raft.core.last_log_index:
                operation.server = ""  # it has nothing to answer with, and asks the leader
            return self._get(operation.key, operation.mode)
        entry = DirEntry(key=operation.key, value=operation.value, modify_index=version or 0)
        op = {PUT: "set", CAS: "cas", DELETE: "delete", DELETE_CAS: "delete-cas"}[operation.kind]
        waiter: Deferred[Any] = Deferred()
        request = KVSRequest(datacenter=DATACENTER, op=op, dir_ent=entry)
        answer = self.agent.ask("KVS.Apply", request, waiter=waiter)
        return waiter if isinstance(answer, Later) else answer

    def _get(self, key: str, mode: str) -> Any:
        request = KeyRequest(
            datacenter=DATACENTER,
            key=key,
            require_consistent=mode == CONSISTENT,
            allow_stale=mode == STALE,
        )
        answer = self.agent.ask("KVS.Get", request)
        if isinstance(answer, Deferred):
            return answer.addCallback(_value_and_version)
        return _value_and_version(answer)

    def ask(self, method: str, request: Any) -> Any:
        """Call an endpoint, as a program on this machine would."""
        return self.agent.ask(method, request)

    def watch(self, key: str, index: int, wait_s: float) -> Any:
        """A blocking read; gives, or fires with, the index and the value."""
        request = KeyRequest(
            datacenter=DATACENTER, key=key, min_query_index=index, max_query_time=int(wait_s * 1e9)
        )
        answer = self.agent.ask("KVS.Get", request)
        if isinstance(answer, Deferred):
            return answer.addCallback(_index_and_value)
        return _index_and_value(answer)


def _value_and_version(reply: IndexedDirEntries) -> tuple[bytes | None, int]:
    if not reply.entries:
        return None, 0
    return reply.entries[0].value, reply.entries[0].modify_index


def _index_and_value(reply: IndexedDirEntries) -> tuple[int, bytes | None]:
    return reply.index, reply.entries[0].value if reply.entries else None


def make_agent(
    node: SimNode[ServerProcess],
    environment: Environment,
    storage: ServerStorage,
    others: Iterable[str],
    servers: int,
) -> ServerAgent:
    """The production server for ``node``; the only place that knows how one is made."""
    config = AgentConfig(
        node_name=node.name,
        node_id=node.id,
        datacenter=DATACENTER,
        server=True,
        bootstrap_expect=servers,
        bind_addr=node.ip,
        advertise_addr=node.ip,
        retry_join=tuple(others),
        performance=Performance(raft_multiplier=1),
        raft_snapshot_threshold=SNAPSHOT_EVERY,
        raft_snapshot_interval=SNAPSHOT_LOOK_S,
        raft_trailing_logs=TRAILING_LOGS,
    )
    return ServerAgent(config, environment, node.id, storage)


class ServerFaults(OperatorFaults[ServerProcess]):
    """Operators are trouble, too; some of them have servers leave."""

    def __init__(self, world: Simulation[ServerProcess], rng: Random, plan: FaultPlan) -> None:
        super().__init__(world, rng, plan)
        self._leaving: dict[SimNode[ServerProcess], ServerProcess] = {}

    def _leave(self) -> None:
        """A server leaves for good, ends, and comes back after all."""
        node = self._one()
        if node is None or self.rotten is not None or not all(other.up for other in self._world.nodes):
            return
        process = node.process
        assert process is not None
        self._world.note(f"{node} is told to leave")
        self._leaving[node] = process
        process.agent.leave().addCallback(lambda _: self._left(node, process))

        def come_back() -> None:
            self._left(node, process)
            self._boot(node)

        self._later(come_back, 3.0)

    def _left(self, node: SimNode[ServerProcess], process: ServerProcess) -> None:
        """It has left, or takes too long; whatever may have started there since is left alone."""
        if self._leaving.get(node) is process:
            del self._leaving[node]
            if node.process is process:
                self._world.stop(node)

    def stop(self) -> None:
        """See ``Faults``."""
        for node, process in list(self._leaving.items()):
            self._left(node, process)
        super().stop()


OPERATORS = (("transfer", 1.0), ("change", 1.5), ("leave", 0.7))
PLAN_WITH_OPERATORS = replace(PLAN, weights=(*PLAN.weights, *OPERATORS))


class Summary(Struct):
    """What a run came to. ``speed`` is virtual seconds per second of this process's time."""

    seed: int
    seconds: float
    events: int
    checks: int
    faults: dict[str, int]
    elections: int
    committed: int
    operations: int
    acknowledged: int
    lost: int
    locks: int
    recovery_s: float
    digest: str
    speed: float

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.seconds:.0f} s, {self.events} events, {self.checks} checks of Raft, "
            f"{sum(self.faults.values())} faults, {self.elections} elections, {self.committed} entries, "
            f"{self.acknowledged} writes acknowledged in {self.operations} operations, "
            f"{self.lost} messages lost, writable {self.recovery_s:.1f} s after mending at the latest; "
            f"{self.speed:.0f} x real time; trace {self.digest}"
        )


class World(Simulation[ServerProcess]):
    """A datacenter of servers under observation; everything in it follows from ``seed``.

    :param make_storage: production storage or a broken one, to see whether that is found out.
    :ivar checker: has looked at every event of every Raft core.
    """

    def __init__(
        self,
        seed: int,
        servers: int = 5,
        *,
        load: Load = LOAD,
        plan: FaultPlan = PLAN_WITH_OPERATORS,
        conditions: Conditions = CALM,
        check_codec: bool = False,
        drift: float = CLOCK_DRIFT,
        watchers: int = 5,
        lockers: int = 2,
        make_storage: MakeStorage = server_storage,
    ) -> None:
        super().__init__(seed, servers, conditions, check_codec, drift)
        self._begun = process_time()
        self._make_storage = make_storage
        self.checker = SafetyChecker(self.trace.note)
        self.faults = ServerFaults(self, self.chance("faults"), plan)
        self.entries: list[Entry] = []
        """Everything that was applied, once."""
        self.slowest_recovery_s = 0.0
        self.clients = Clients(self, self.chance("clients"), ServerProcess.perform, load)
        self.lockers = Lockers(self, self.chance("lockers"), ServerProcess.ask, lockers)
        self.watchers = Watchers(self, self.chance("watchers"), ServerProcess.watch, watchers, load.keys)

    # ------------------------------------------------------------ nodes

    def make_process(self, node: SimNode[ServerProcess], stack: Stack) -> ServerProcess:
        """A server agent on ``node``."""
        storage = self._make_storage(node.disk, node.rng)
        environment = Environment(
            clock=node.clock,
            rng=node.rng,
            wall_time=node.wall_time,
            rpc_transport=RpcSocket(stack),
            gossip_transport=GossipSocket(stack),
            raft_transport=RaftSocket(stack, node.id),
            disk=node.disk,
        )
        others = [other.ip for other in self.nodes if other is not node]
        agent = make_agent(node, environment, storage, others, len(self.nodes))
        self._observe(node, agent.raft)
        return ServerProcess(agent)

    def _observe(self, node: SimNode[ServerProcess], raft: Replica) -> None:
        """Look at every event of the core, and of the one that follows when the disk has failed."""
        checker, identity, core = self.checker, node.id, raft.core
        checker.started(identity, core, raft.recovered, raft.started_from)
        states = States(checker, identity, raft.machine, raft.started_from, lambda: raft.applied_index)
        entries = self.entries

        def observe(event: object, effects: Iterable[Any]) -> None:
            states.observe(event, effects)
            checker.observe(identity, core, event, effects)
            for effect in effects:
                if type(effect) is events.Apply and effect.entries[-1].index > len(entries):
                    entries.extend(effect.entries[len(entries) + 1 - effect.entries[0].index :])
            if node.tripwire is not None:
                node.trip(effects)

        raft.driver.observer = observe
        raft.reopened = partial(self._observe, node, raft)

    def leaders(self) -> list[SimNode[ServerProcess]]:
        """The nodes whose Raft core leads."""
        return [node for node in self.nodes if node.process is not None and node.process.leads]

    def has_back(self, node: SimNode[ServerProcess]) -> bool:
        """See ``Simulation``; Autopilot looks after that."""
        identities = {one.id for one in self.nodes}
        configurations = [self.agent(leader.number).raft.core.configuration for leader in self.leaders()]
        return any(
            {server.id for server in configuration.servers if server.suffrage == VOTER} == identities
            for configuration in configurations
        )

    def agent(self, number: int) -> ServerAgent:
        """The agent on the node with ``number``, from 1; it must be up."""
        process = self.nodes[number - 1].process
        assert process is not None, f"node {number} is down"
        return process.agent

    # ------------------------------------------------------------ scenarios

    def start(self) -> None:
        """Boot all nodes and wait until one of them leads."""
        for node in self.nodes:
            self.boot(node)
        self.run_while(lambda: not self.leaders(), LEADER_WITHIN_S, "a first leader")

    def trouble(self, seconds: float) -> Summary:
        """Let faults and clients loose on the servers, then see that all is well.

        Every few minutes everything is mended, and the servers have to do their work at once.
        """
        self.start()
        self.clients.start()
        self.watchers.start()
        self.lockers.start()
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.faults.start()
            self.run(min(SPELL_S, until - self.clock.now))
            self.faults.stop()
            took_s = self.must_live(self.clients.probe, "all is mended")
            self.slowest_recovery_s = max(self.slowest_recovery_s, took_s)
        self.settle()
        return self.summary()

    def settle(self) -> None:
        """Mend everything and demand what must hold then. Raises ``SimulationFailed``.

        There is one leader that accepts writes, the lock is taken again whoever had it, whoever asked has
        an answer, gossip shows everybody
        alive to everybody, all have their vote, all replicas are equal and what the log makes if it is
        applied once, watchers have seen the last change, the history is linearizable, and no stale
        read went back in time.
        """
        self.faults.stop()
        wanted = self.clients.acknowledged + 5
        self.run_while(
            lambda: self.clients.acknowledged < wanted, LEADER_WITHIN_S, "writes after all is mended"
        )
        self.clients.stop()
        if self.lockers.running and self.lockers.count:
            taken = self.lockers.taken
            self.run_while(lambda: self.lockers.taken == taken, LOCKED_WITHIN_S, "somebody takes the lock")
            self.lockers.stop()
        self.run_while(lambda: self.clients.waiting > 0, LEADER_WITHIN_S, "answers to all that was asked")
        self.run_while(lambda: not self._all_alive(), CONVERGED_WITHIN_S, "everybody alive in gossip")
        self.run_while(lambda: not self._all_voters(), CONVERGED_WITHIN_S, "a vote for everybody")
        self.run_while(lambda: not self._equal(), LEADER_WITHIN_S, "equal replicas")
        if self._replayed() != self.agent(1).store.digest():
            raise self.failed(SimulationFailed("the log, applied once, makes another store"))
        values = self._values()
        self.run_while(
            lambda: not self.watchers.up_to_date(values), LEADER_WITHIN_S, "watchers that saw the end"
        )
        self.watchers.stop()
        for key, value in values.items():
            operation = self.clients.history.invoke(0, GET, key)
            self.clients.history.returned(operation, value)
        for violation in (check(self.clients.history), stale.check(self.clients.history)):
            if violation is not None:
                raise self.failed(SimulationFailed(str(violation)))
        self.collect()

    def summary(self) -> Summary:
        """What has happened so far."""
        return Summary(
            seed=self.seed,
            seconds=self.clock.now,
            events=self.clock.events,
            checks=self.checker.checks,
            faults=dict(self.faults.counts),
            elections=self.checker.elections,
            committed=len(self.checker.committed),
            operations=len(self.clients.history),
            acknowledged=self.clients.acknowledged,
            lost=self.network.lost,
            locks=self.lockers.taken,
            recovery_s=self.slowest_recovery_s,
            digest=self.trace.digest(),
            speed=self.clock.now / max(1e-9, process_time() - self._begun),
        )

    def _all_alive(self) -> bool:
        names = {node.name for node in self.nodes}
        return all(
            {m.name for m in self.agent(node.number).members() if m.status is Status.ALIVE} == names
            for node in self.nodes
        )

    def _all_voters(self) -> bool:
        everybody = {node.id for node in self.nodes}
        return all(
            {server.id for server in self.agent(node.number).raft.core.configuration.servers
             if server.suffrage == VOTER} == everybody
            for node in self.nodes
        )  # fmt: skip

    def _replayed(self) -> str:
        """The digest of the store that the log makes."""
        fsm = FSM(Store())
        machine = StateMachine(fsm)
        for entry in self.entries:
            machine.apply(entry)
        return fsm.store.digest()

    def _equal(self) -> bool:
        agents = [self.agent(node.number) for node in self.nodes]
        if {agent.raft.applied_index for agent in agents} != {len(self.checker.committed)}:
            return False
        if len({agent.store.digest() for agent in agents}) != 1:
            raise self.failed(SimulationFailed("the same log made different stores"))
        return True

    def _values(self) -> dict[str, bytes | None]:
        store = self.agent(1).store
        rows = {key: store.kv.get(key)[1] for key in self.clients.keys}
        return {key: None if row is None else row.value for key, row in rows.items()}
