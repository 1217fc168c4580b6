"""Whole servers in a simulated world: Raft, gossip, store and storage, as in production.

Only five things are exchanged: the clock, chance, the network, the disk and the wall time.

    world = World(seed=7)
    world.trouble(600.0)  # ten minutes of faults and load, then everything has to be well
    print(world.summary())
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from time import process_time
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred

from pyconsul.agent.environment import Environment
from pyconsul.agent.replica import Replica
from pyconsul.agent.server import ServerAgent
from pyconsul.config.groups import Performance
from pyconsul.config.schema import AgentConfig
from pyconsul.raft.configuration import VOTER
from pyconsul.serf.members import Status
from pyconsul.storage.raft_storage import RecoveredLog, SegmentedStorage
from pyconsul.structs.kv import DirEntry, IndexedDirEntries, KeyRequest, KVSRequest
from pyconsul.testing.disk import SimDisk
from pyconsul.testing.faults import PLAN, FaultPlan, Faults
from pyconsul.testing.history import CAS, DELETE, GET, PUT, Operation
from pyconsul.testing.kernel import SimNode, Simulation, SimulationFailed
from pyconsul.testing.linearizability import check
from pyconsul.testing.network import CALM, Conditions, Stack
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

LEADER_WITHIN_S = 60.0
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

    @property
    def leads(self) -> bool:
        """Whether this server's Raft core leads."""
        return self.agent.raft.is_leader

    def perform(self, operation: Operation, version: int | None) -> Any:
        """One operation of a client, as its HTTP request would do it."""
        if operation.kind == GET:
            return self._get(operation.key)
        entry = DirEntry(key=operation.key, value=operation.value, modify_index=version or 0)
        op = {PUT: "set", CAS: "cas", DELETE: "delete"}[operation.kind]
        return self.agent.ask("KVS.Apply", KVSRequest(datacenter=DATACENTER, op=op, dir_ent=entry))

    def _get(self, key: str) -> Any:
        request = KeyRequest(datacenter=DATACENTER, key=key, require_consistent=True)
        answer = self.agent.ask("KVS.Get", request)
        if isinstance(answer, Deferred):
            return answer.addCallback(_value_and_version)
        return _value_and_version(answer)

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


class Summary(Struct):
    """What a run came to. ``speed`` is virtual seconds per second of this process's time."""

    seed: int
    seconds: float
    events: int
    checks: int
    faults: int
    elections: int
    committed: int
    operations: int
    acknowledged: int
    lost: int
    digest: str
    speed: float

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.seconds:.0f} s, {self.events} events, {self.checks} checks of Raft, "
            f"{self.faults} faults, {self.elections} elections, {self.committed} entries, "
            f"{self.acknowledged} writes acknowledged in {self.operations} operations, "
            f"{self.lost} messages lost; {self.speed:.0f} x real time; trace {self.digest}"
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
        plan: FaultPlan = PLAN,
        conditions: Conditions = CALM,
        check_codec: bool = False,
        watchers: int = 5,
        make_storage: MakeStorage = server_storage,
    ) -> None:
        super().__init__(seed, servers, conditions, check_codec)
        self._begun = process_time()
        self._make_storage = make_storage
        self.checker = SafetyChecker(self.trace.note)
        self.faults = Faults(self, self.chance("faults"), plan)
        self.clients = Clients(self, self.chance("clients"), ServerProcess.perform, load)
        self.watchers = Watchers(self, self.chance("watchers"), ServerProcess.watch, watchers, load.keys)

    # ------------------------------------------------------------ nodes

    def make_process(self, node: SimNode[ServerProcess], stack: Stack) -> ServerProcess:
        """A server agent on ``node``."""
        storage = self._make_storage(node.disk, node.rng)
        environment = Environment(
            clock=node.clock,
            rng=node.rng,
            wall_time=self.wall_time,
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

        def observe(event: object, effects: Iterable[Any]) -> None:
            states.observe(event, effects)
            checker.observe(identity, core, event, effects)
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
        """Let faults and clients loose on the servers, then see that all is well."""
        self.start()
        self.faults.start()
        self.clients.start()
        self.watchers.start()
        self.run(seconds)
        self.settle()
        return self.summary()

    def settle(self) -> None:
        """Mend everything and demand what must hold then. Raises ``SimulationFailed``.

        There is one leader that accepts writes, whoever asked has an answer, all replicas are
        equal, gossip shows everybody alive to everybody, watchers have seen the last change, and
        the history is linearizable.
        """
        self.faults.stop()
        wanted = self.clients.acknowledged + 5
        self.run_while(
            lambda: self.clients.acknowledged < wanted, LEADER_WITHIN_S, "writes after all is mended"
        )
        self.clients.stop()
        self.run_while(lambda: self.clients.waiting > 0, LEADER_WITHIN_S, "answers to all that was asked")
        self.run_while(lambda: not self._all_alive(), CONVERGED_WITHIN_S, "everybody alive in gossip")
        self.run_while(lambda: not self._equal(), LEADER_WITHIN_S, "equal replicas")
        values = self._values()
        self.run_while(
            lambda: not self.watchers.up_to_date(values), LEADER_WITHIN_S, "watchers that saw the end"
        )
        self.watchers.stop()
        for key, value in values.items():
            operation = self.clients.history.invoke(0, GET, key)
            self.clients.history.returned(operation, value)
        violation = check(self.clients.history)
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
            faults=self.faults.count,
            elections=self.checker.elections,
            committed=len(self.checker.committed),
            operations=len(self.clients.history),
            acknowledged=self.clients.acknowledged,
            lost=self.network.lost,
            digest=self.trace.digest(),
            speed=self.clock.now / max(1e-9, process_time() - self._begun),
        )

    def _all_alive(self) -> bool:
        names = {node.name for node in self.nodes}
        return all(
            {m.name for m in self.agent(node.number).members() if m.status is Status.ALIVE} == names
            for node in self.nodes
        )

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
