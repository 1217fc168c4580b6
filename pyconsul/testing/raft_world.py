"""Raft alone in a simulated world: core, storage and a small key/value machine on each node.

Faster than whole servers, and the place to plant bugs in: ``RaftWorld`` takes the classes of core
and storage, and its own tests show that broken ones are found out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import msgspec
from msgspec import Struct
from twisted.internet.defer import Deferred, fail, succeed

from pyconsul.agent.raft_driver import RaftDriver
from pyconsul.errors import LeadershipLost, NoLeader, StorageDamaged
from pyconsul.interfaces import RaftStorage, Recovered
from pyconsul.raft import events
from pyconsul.raft.configuration import VOTER, Configuration, Server
from pyconsul.raft.core import RaftCore
from pyconsul.raft.events import ChangeKind, Role
from pyconsul.raft.messages import COMMAND, Entry
from pyconsul.raft.snapshot import SnapshotInfo
from pyconsul.raft.timing import Timing
from pyconsul.storage.mending import Mending, Opened
from pyconsul.storage.raft_storage import SegmentedStorage
from pyconsul.storage.snapshot_policy import SnapshotPolicy, SnapshotSettings
from pyconsul.storage.snapshotting import Snapshotting, after
from pyconsul.testing import stale
from pyconsul.testing.disk import SimDisk
from pyconsul.testing.faults import PLAN, FaultPlan
from pyconsul.testing.history import CAS, DELETE, DELETE_CAS, GET, STALE, Operation
from pyconsul.testing.kernel import CLOCK_DRIFT, SimNode, Simulation, SimulationFailed
from pyconsul.testing.linearizability import check
from pyconsul.testing.network import CALM, Conditions, Stack
from pyconsul.testing.operators import OperatorFaults
from pyconsul.testing.safety import SafetyChecker
from pyconsul.testing.states import States
from pyconsul.testing.transports import RaftSocket
from pyconsul.testing.workload import LOAD, Clients, Load

SEGMENT_BYTES = 1_024
SNAPSHOTS = SnapshotSettings(threshold=25, interval_s=0.5, trailing_logs=3)
TIMING = msgspec.structs.replace(Timing.scaled(1), snapshot_piece_bytes=24, snapshot_window_bytes=72)
"""Pieces so small that the little state of this world takes many."""

MakeStorage = Callable[[SimDisk, Random], RaftStorage]


def segmented_storage(disk: SimDisk, rng: Random) -> RaftStorage:
    """The production storage, with segments small enough that many are used."""
    return SegmentedStorage(disk, rng, segment_bytes=SEGMENT_BYTES)


class Command(Struct, array_like=True):
    """One write; ``version`` is the index at which a cas expects the key, 0 if not to be there."""

    kind: str
    key: str
    value: bytes | None
    version: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Command).decode
_decode_data = msgspec.msgpack.Decoder(tuple[int, list[tuple[str, tuple[bytes | None, int]]]]).decode


Data = dict[str, tuple[bytes | None, int]]
"""Values with the index at which each was written."""


class DataMachine:
    """The little state machine of this world (``storage.snapshotting.Machine``)."""

    is_whole = True

    def __init__(self) -> None:
        self.data: Data = {}
        self.writes = 0
        """How many were applied: one that is applied again, or never, is told by that."""

    def slices(self) -> Iterator[bytes]:
        """See ``Machine``."""
        whole = _encode((self.writes, sorted(self.data.items())))
        return iter([whole[start : start + 100] for start in range(0, len(whole), 100)])

    def decoder(self) -> DataDecoder:
        """See ``Machine``."""
        return DataDecoder()

    def restore(self, state: tuple[int, Data]) -> None:
        """See ``Machine``."""
        self.writes, self.data = state


class DataDecoder:
    """See ``StateDecoder``."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """See ``StateDecoder``."""
        self._parts.append(data)

    def finish(self) -> tuple[int, Data]:
        """See ``StateDecoder``."""
        try:
            writes, items = _decode_data(b"".join(self._parts))
            return writes, dict(items)
        except msgspec.MsgspecError as error:
            raise StorageDamaged(str(error)) from None


class RaftProcess:
    """What runs on a node of a ``RaftWorld``."""

    def __init__(self, node: SimNode[RaftProcess], stack: Stack, world: RaftWorld) -> None:
        self.machine = DataMachine()
        self.applied_index = 0
        self._world = world
        self._node = node
        self._transport = RaftSocket(stack, node.id)
        self._transport.received = lambda sender, m: self.driver.feed(events.MessageReceived(sender, m))
        self._transport.unreachable = lambda peer: self.driver.feed(events.Unreachable(peer))
        self._mending = Mending(node.disk, node.clock, self._make_work, self._reopen)
        self.failed = False
        self._proposing: deque[Deferred[Any]] = deque()
        self._waiting: deque[tuple[int, int, Deferred[Any]]] = deque()
        self._reads: dict[int, tuple[str, Deferred[Any]]] = {}
        self._ready: deque[tuple[int, str, Deferred[Any]]] = deque()
        self._token = 0
        storage = world.make_storage(node.disk, node.rng)
        found = storage.recover()
        work = self._make_work()
        snapshot = work.recover(found)
        self._open(storage, work, found, snapshot)

    def _make_work(self) -> Snapshotting:
        return Snapshotting(
            self._node.disk,
            "raft/snapshots",
            self._node.clock,
            self._node.wall_time,
            self.machine,
            self._transport,
            lambda event: self.driver.feed(event),
            lambda info: self._policy.taken(info),
        )

    def _open(
        self, storage: RaftStorage, work: Snapshotting, found: Recovered, snapshot: SnapshotInfo | None
    ) -> None:
        """Make a core of what is on the disk, as ``Replica`` does."""
        world, node = self._world, self._node
        errors: list[BaseException] = []
        storage.failed = lambda seq, error: errors.append(error)
        left = after(found, snapshot)
        if left is not None:
            storage.reset(0, left.snapshot_index, left.snapshot_term)
        if errors:
            raise errors[0]
        core = world.make_core(world.timing, node.rng, node.id, left or found, storage.read, snapshot)
        self.core, self._storage, self._work = core, storage, work
        self.applied_index = max(self.applied_index, 0 if snapshot is None else snapshot.index)
        world.checker.started(node.id, self.core, left or found, snapshot)
        self._states = States(world.checker, node.id, self.machine, snapshot, lambda: self.applied_index)
        self._policy = SnapshotPolicy(
            world.snapshots,
            node.clock,
            node.rng,
            self.core,
            storage,
            self._work,
            self.machine,
            lambda: self.applied_index,
        )
        self.driver = RaftDriver(
            self._driver_failed,
            self.core,
            {
                events.Send: lambda e: self._transport.send(e.to, e.address, e.message),
                events.PersistState: lambda e: storage.save_state(e.seq, e.term, e.voted_for),
                events.PersistEntries: lambda e: storage.append(e.seq, e.entries),
                events.PersistTruncation: lambda e: storage.truncate(e.seq, e.first_dropped),
                events.SendPiece: self._work.send,
                events.StorePiece: self._work.store,
                events.RestoreSnapshot: self._restored,
                events.Apply: self._apply,
                events.RoleChanged: self._role_changed,
                events.ConfigurationChanged: lambda e: None,
                events.Proposed: self._proposed,
                events.ProposalRefused: self._refused,
                events.LeadershipConfirmed: self._confirmed,
                events.LeadershipRefused: self._unconfirmed,
                events.TransferEnded: lambda e: None,
            },
            node.clock,
            events.Tick(),
        )
        self.driver.observer = self._observe
        storage.persisted = lambda seq: self.driver.feed(events.Persisted(seq))
        storage.failed = lambda seq, error: self._suspend(error)

    def start(self) -> None:
        """Take part."""
        self.driver.start()
        self._policy.start()
        if self.core.last_log_index == 0 and not self._node.wiped:
            self.driver.feed(events.Bootstrap(self._world.configuration))

    def stop(self) -> None:
        """Take part no longer."""
        self._mending.stop()
        self._end()
        self._storage.close()

    def _end(self) -> None:
        self.driver.stop()
        self._policy.stop()
        self._work.stop()

    @property
    def leads(self) -> bool:
        """Whether this server leads, as far as it knows."""
        return not self.failed and self.core.role is Role.LEADER

    # ------------------------------------------------------------ a disk that fails

    def _driver_failed(self, error: Exception) -> None:
        if isinstance(error, OSError | StorageDamaged):
            self._suspend(error)

    def _suspend(self, error: BaseException) -> None:
        if self.failed:
            return
        self._world.note(f"the disk of {self._node} failed: {error}")
        self.failed = True
        self._mending.begin(self._storage, self.applied_index, error)
        self._end()
        waiting = [deferred for _, _, deferred in self._waiting]
        reads = [deferred for _, deferred in self._reads.values()]
        reads += [deferred for _, _, deferred in self._ready]
        waiting += self._proposing
        for queue in (self._waiting, self._reads, self._ready, self._proposing):
            queue.clear()
        for deferred in waiting:
            deferred.errback(LeadershipLost())
        for deferred in reads:
            deferred.errback(NoLeader())

    def _reopen(self, opened: Opened) -> None:
        """The disk works again."""
        self._world.note(f"the disk of {self._node} works again")
        info, state = opened.snapshot if opened.snapshot is not None else (None, None)
        if info is not None and info.index > self.applied_index:
            assert state is not None
            self.machine.restore(state)
        self._open(opened.storage, opened.work, opened.found, info)
        self.failed = False
        self.start()
        self._answer_reads()

    @property
    def data(self) -> Data:
        """What the machine holds."""
        return self.machine.data

    def _observe(self, event: object, effects: Iterable[Any]) -> None:
        self._states.observe(event, effects)
        self._world.checker.observe(self._node.id, self.core, event, effects)
        if self._node.tripwire is not None:
            self._node.trip(effects)
        self.core.invariants()

    # ------------------------------------------------------------ asking

    def perform(self, operation: Operation, version: int | None) -> Deferred[Any]:
        """Do one operation of a client."""
        if operation.mode == STALE:
            return succeed(self.data.get(operation.key, (None, 0)))
        if not self.leads and operation.kind != GET:
            return fail(NoLeader())
        deferred: Deferred[Any] = Deferred()
        if operation.kind == GET:
            self._token += 1
            self._reads[self._token] = (operation.key, deferred)
            self.driver.feed(events.ConfirmLeadership(self._token))
        else:
            command = Command(operation.kind, operation.key, operation.value, version or 0)
            self._proposing.append(deferred)
            self.driver.feed(events.Propose([_encode(command)]))
        return deferred

    def change(self, kind: ChangeKind, server: Server) -> None:
        """Ask for a change of the configuration, as an operator would."""
        if self.failed:
            return
        ignored: Deferred[Any] = Deferred()
        ignored.addErrback(lambda failure: None)
        self._proposing.append(ignored)
        self.driver.feed(events.ChangeConfiguration(kind, server.id, server.address))

    def transfer(self) -> None:
        """Ask for leadership to be handed over to anybody."""
        self.driver.feed(events.TransferLeadership())

    def _proposed(self, effect: events.Proposed) -> None:
        if self.failed:  # within this very step
            return
        self._waiting.append((effect.first_index, effect.term, self._proposing.popleft()))

    def _refused(self, effect: events.ProposalRefused) -> None:
        if self.failed:
            return
        self._proposing.popleft().errback(NoLeader())

    def _unconfirmed(self, effect: events.LeadershipRefused) -> None:
        if not self.failed:
            self._reads.pop(effect.token)[1].errback(NoLeader())

    def _confirmed(self, effect: events.LeadershipConfirmed) -> None:
        if self.failed:
            return
        key, deferred = self._reads.pop(effect.token)
        self._ready.append((effect.index, key, deferred))
        self._answer_reads()

    def _answer_reads(self) -> None:
        while self._ready and self._ready[0][0] <= self.applied_index:
            _, key, deferred = self._ready.popleft()
            deferred.callback(self.data.get(key, (None, 0)))

    # ------------------------------------------------------------ the machine

    def _restored(self, effect: events.RestoreSnapshot) -> None:
        if self.failed:
            return
        index = effect.info.index
        if index > self.applied_index:
            self._work.restore(effect)
        self._storage.reset(effect.seq, index, effect.info.term)
        self.applied_index = max(self.applied_index, index)
        self._answer_reads()

    def _apply(self, effect: events.Apply) -> None:
        if self.failed:
            return
        for entry in effect.entries:
            if entry.index <= self.applied_index:
                continue
            result = self._apply_one(entry) if entry.kind == COMMAND else None
            self.applied_index = entry.index
            self._states.applied(entry.index)
            while self._waiting and self._waiting[0][0] <= entry.index:
                index, term, deferred = self._waiting.popleft()
                if (index, term) == (entry.index, entry.term):
                    deferred.callback(result)
                else:
                    deferred.errback(LeadershipLost())
        self._answer_reads()

    def _apply_one(self, entry: Entry) -> bool:
        self.machine.writes += 1
        command = _decode(entry.data)
        version = self.data.get(command.key, (None, 0))[1]
        if command.kind == DELETE_CAS and not version:
            return True
        if command.kind in (CAS, DELETE_CAS) and version != command.version:
            return False
        if command.kind in (DELETE, DELETE_CAS):
            self.data.pop(command.key, None)
        else:
            self.data[command.key] = (command.value, entry.index)
        return True

    def _role_changed(self, change: events.RoleChanged) -> None:
        if change.role is not Role.LEADER:
            waiting, self._waiting = self._waiting, deque()
            for _, _, deferred in waiting:
                deferred.errback(LeadershipLost())


class RaftFaults(OperatorFaults[RaftProcess]):
    """Operators are trouble, too, and so are clocks that are set."""

    def _clock_jump(self) -> None:
        """The clock that a process waits by is set, as happens where that is the wall clock."""
        node = self._rng.choice(self._world.nodes)
        seconds = self._rng.uniform(-0.5, 0.5)
        self._world.note(f"clock of {node} jumps by {seconds:.3f} s")
        node.clock.step_by(seconds)


OPERATORS = (("clock_jump", 0.3), ("transfer", 1.5), ("change", 4.0))
PLAN_WITH_OPERATORS = replace(PLAN, weights=(*PLAN.weights, *OPERATORS))


class RaftWorld(Simulation[RaftProcess]):
    """A Raft group under observation.

    :param make_core: ``RaftCore`` or a broken one, to see whether the checkers find it; so for
        ``make_storage`` and ``process``.
    :ivar checker: has looked at every event of every core.
    """

    def __init__(
        self,
        seed: int,
        servers: int = 5,
        *,
        timing: Timing | None = None,
        load: Load = LOAD,
        plan: FaultPlan = PLAN_WITH_OPERATORS,
        conditions: Conditions = CALM,
        check_codec: bool = False,
        drift: float = CLOCK_DRIFT,
        make_core: Callable[..., RaftCore] = RaftCore,
        make_storage: MakeStorage = segmented_storage,
        process: type[RaftProcess] = RaftProcess,
        snapshots: SnapshotSettings = SNAPSHOTS,
    ) -> None:
        super().__init__(seed, servers, conditions, check_codec, drift)
        self.timing = timing or TIMING
        self.snapshots = snapshots
        self.make_core = make_core
        self.make_storage = make_storage
        self._process = process
        self.configuration = Configuration([Server(node.id, f"{node.ip}:8300") for node in self.nodes])
        self.checker = SafetyChecker(self.trace.note)
        self.faults = RaftFaults(self, self.chance("faults"), plan)
        self.clients = Clients(self, self.chance("clients"), _perform, load, at_leader=0.9)

    def make_process(self, node: SimNode[RaftProcess], stack: Stack) -> RaftProcess:
        """A server of the group."""
        return self._process(node, stack, self)

    def leaders(self) -> list[SimNode[RaftProcess]]:
        """The nodes whose core leads."""
        return [node for node in self.nodes if node.process is not None and node.process.leads]

    def trouble(self, seconds: float) -> None:
        """Start all servers, let faults and clients loose on them, then see that all is well."""
        for node in self.nodes:
            self.boot(node)
        self.faults.start()
        self.clients.start()
        self.run(seconds)
        self.settle()

    def settle(self) -> None:
        """Mend everything; there must be a leader, an accepted write, equal logs, a linear history."""
        self.faults.stop()
        self.run_while(self._lack_voters, 60.0, "all servers as voters, as far as a leader knows")
        acknowledged = self.clients.acknowledged
        self.run_while(lambda: self.clients.acknowledged < acknowledged + 5, 60.0, "five writes")
        self.run_while(self._lack_voters, 60.0, "all servers as voters")
        self.clients.stop()
        self.run_while(lambda: self.clients.waiting > 0, 30.0, "answers to all that was asked")
        self.run_while(lambda: not self._equal(), 30.0, "equal replicas")
        for violation in (check(self.clients.history), stale.check(self.clients.history)):
            if violation is not None:
                raise self.failed(SimulationFailed(str(violation)))
        self.collect()

    def _lack_voters(self) -> bool:
        """Whether some servers are no voters; if so, the leader is told to add them."""
        return not any(self.complete(node) for node in self.leaders())

    def has_back(self, node: SimNode[RaftProcess]) -> bool:
        """See ``Simulation``; here nobody but us looks after that."""
        return any(self.complete(leader) for leader in self.leaders())

    def complete(self, leader: SimNode[RaftProcess]) -> bool:
        """Whether the servers that there are, and no others, vote for ``leader``; if not, it is told to."""
        process = leader.process
        assert process is not None
        wanted = {node.id: Server(node.id, f"{node.ip}:8300") for node in self.nodes}
        servers = process.core.configuration.servers
        voters = {server.id for server in servers if server.suffrage == VOTER}
        gone = [server for server in servers if server.id not in wanted]
        missing = [server for identity, server in wanted.items() if identity not in voters]
        if gone:
            process.change(ChangeKind.REMOVE_SERVER, gone[0])
        elif missing:
            process.change(ChangeKind.ADD_VOTER, missing[0])
        return not gone and not missing

    def _equal(self) -> bool:
        processes = [node.process for node in self.nodes]
        first = processes[0]
        return all(
            p is not None and first is not None and not p.failed
            and p.applied_index == first.applied_index == len(self.checker.committed)
            and p.data == first.data
            for p in processes
        )  # fmt: skip


def _perform(process: RaftProcess, operation: Operation, version: int | None) -> Deferred[Any]:
    return process.perform(operation, version)
