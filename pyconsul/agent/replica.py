"""One server's replica: the Raft core with its disk, its peers and the state it drives."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count, repeat
from typing import Any

from twisted.internet.defer import Deferred, fail

from pyconsul.agent.confirming import Applied, Confirming, Question, fail_all
from pyconsul.agent.environment import Environment
from pyconsul.agent.hearsay import Hearsay
from pyconsul.agent.machine import StateMachine
from pyconsul.agent.raft_driver import RaftDriver
from pyconsul.agent.restoring import Restoring
from pyconsul.agent.sweeping import Sweeping
from pyconsul.errors import LeadershipLost, NoLeader, PyconsulError, Refused, StorageDamaged
from pyconsul.interfaces import Disk, RaftStorage, Recovered, Waiter
from pyconsul.log import make_logger
from pyconsul.raft import events
from pyconsul.raft.configuration import Configuration, Server
from pyconsul.raft.core import RaftCore
from pyconsul.raft.events import Role
from pyconsul.raft.leader import TRANSFER_IN_PROGRESS
from pyconsul.raft.messages import RESTORE, Message
from pyconsul.raft.snapshot import SnapshotInfo
from pyconsul.raft.timing import Timing
from pyconsul.state.fsm import FSM
from pyconsul.state.store import Snapshot
from pyconsul.storage.mending import LOOK_S, Mending, Opened, said
from pyconsul.storage.patience import Patience
from pyconsul.storage.peers_file import ConfigurationRecovery, PeersFile
from pyconsul.storage.raft_storage import FOLDER
from pyconsul.storage.snapshot_policy import SnapshotPolicy, SnapshotSettings
from pyconsul.storage.snapshotting import Snapshotting, after
from pyconsul.structs.metrics import Durations

PROPOSALS_WAITING_MAX = 100_000
PATIENCE_TURNS = 2
"""A turn of the reactor that brings no command ends the wait for those who were answered together."""
COMMANDS_PER_PROPOSAL_MAX = 256
COMMIT_TIME, FSM_APPLY = "raft.commitTime", "raft.fsm.apply"
SNAPSHOT_FOLDER = f"{FOLDER}/snapshots"


class Replica:
    """Propose commands, confirm leadership, and know what is applied.

    All Deferreds fail with ``PyconsulError``: ``NoLeader`` when nothing was appended,
    ``LeadershipLost`` when the outcome is unknown.

    :ivar role_changed: called with each ``RoleChanged`` once it is in force.
    :ivar configuration_changed: called with each ``ConfigurationChanged``.
    :ivar became_ready: called when this leader has applied an entry of its own term, so that its
        store holds everything that any earlier leader acknowledged.
    :param address: where others reach this server's Raft.
    :ivar reopened: called when the disk had failed, and core and driver are new ones.
    :ivar recovered: what the log was when it was opened. :ivar started_from: the snapshot that it
        followed.
    """

    def __init__(
        self,
        environment: Environment,
        server_id: str,
        timing: Timing,
        storage: RaftStorage,
        fsm: FSM,
        settings: SnapshotSettings | None = None,
        address: str = "",
    ) -> None:
        self._log = make_logger("agent.server.raft")
        self._environment = environment
        self._clock = environment.clock
        self._server_id = server_id
        self._address = address
        self._timing = timing
        self._settings = settings or SnapshotSettings()
        self.machine = StateMachine(fsm)
        self._sweeping = Sweeping(environment.clock)
        fsm.store.kv.discard = self._sweeping.take
        assert environment.raft_transport is not None
        self._transport = environment.raft_transport
        self._transport.received = self._received
        self._transport.unreachable = self._peer_unreachable
        self.role_changed: Callable[[events.RoleChanged], None] = lambda change: None
        self.configuration_changed: Callable[[events.ConfigurationChanged], None] = lambda change: None
        self.became_ready: Callable[[], None] = lambda: None
        self.reopened: Callable[[], None] = lambda: None
        self.ready = False
        """This server leads and its store is up to date; the default reads may be served."""
        self._barrier = 0
        self._gathering: list[bytes] = []
        self._gathered_for: list[Waiter] = []
        """Who waits for the commands that are being gathered, in the same order."""
        self._submitted = 0
        self._patience = Patience(PATIENCE_TURNS)
        self._proposing: deque[list[Waiter]] = deque()
        self._waiters: deque[tuple[int, int, Waiter]] = deque()
        """Who waits for an entry to be applied: its index and term."""
        self._confirming = Confirming(
            environment.clock, self._feed, lambda: self.is_leader, environment.stay_awake
        )
        self._until_applied = Applied(environment.clock)
        self._transfers: deque[Deferred[None]] = deque()
        self._restoring: Restoring | None = None
        self.timings = {name: Durations() for name in (COMMIT_TIME, FSM_APPLY)}
        """How long it took until entries were committed, and to apply one."""
        self.roles = dict.fromkeys(Role, 0)
        """How often this server has taken each role."""
        self._proposed_at: deque[tuple[int, float]] = deque()
        self._stopped = self._ended = False
        self._hearsay = Hearsay(environment.clock, timing)
        work = None if environment.disk is None else self._make_work(environment.disk)
        self._mending: Mending | None = None
        if environment.disk is not None:
            make_work = partial(self._make_work, environment.disk)
            self._mending = Mending(environment.disk, environment.clock, make_work, self._reopen)
        found = storage.recover()
        snapshot = None if work is None else self._recover(storage, work, found)
        self._open(storage, work, found, snapshot)
        self.applied_index = self.core.last_applied

    def _open(
        self,
        storage: RaftStorage,
        work: Snapshotting | None,
        found: Recovered,
        snapshot: SnapshotInfo | None,
    ) -> None:
        """Make a core of what is on the disk. Raises ``OSError`` or ``StorageDamaged``."""
        left = after(found, snapshot)
        rng = self._environment.rng
        self.core = RaftCore(self._timing, rng, self._server_id, left or found, storage.read, snapshot)
        self.recovered = left or found
        self._drops_log = left is not None
        self.started_from = snapshot
        self._work = work
        self._storage = storage
        storage.persisted = self._persisted
        storage.failed = self._storage_failed
        self.driver = RaftDriver(
            self._driver_failed,
            self.core,
            {
                events.Send: self._send,
                events.PersistState: lambda e: storage.save_state(e.seq, e.term, e.voted_for),
                events.PersistEntries: lambda e: storage.append(e.seq, e.entries),
                events.PersistTruncation: lambda e: storage.truncate(e.seq, e.first_dropped),
                events.SendPiece: self._send_piece,
                events.StorePiece: self._store_piece,
                events.RestoreSnapshot: self._restored,
                events.Apply: self._apply,
                events.RoleChanged: self._role_changed,
                events.ConfigurationChanged: lambda e: self._tell(self.configuration_changed, e),
                events.Proposed: self._proposed,
                events.ProposalRefused: self._refused,
                events.LeadershipConfirmed: self._confirmed,
                events.LeadershipRefused: self._unconfirmed,
                events.TransferEnded: self._transfer_ended,
            },
            self._clock,
            events.Tick(),
        )
        self.policy: SnapshotPolicy | None = None
        if work is not None:
            self.policy = SnapshotPolicy(
                self._settings,
                self._clock,
                rng,
                self.core,
                storage,
                work,
                self.machine,
                lambda: self.applied_index,
            )
            self.machine.restored = self.policy.soon

    def configure(self, settings: SnapshotSettings) -> None:
        """Take snapshots by other rules from now on."""
        self._settings = settings
        if self.policy is not None:
            self.policy.settings = settings

    def _make_work(self, disk: Disk) -> Snapshotting:
        """What is done with snapshots."""
        return Snapshotting(
            disk,
            SNAPSHOT_FOLDER,
            self._clock,
            self._environment.wall_time,
            self.machine,
            self._transport,
            lambda event: self.driver.feed(event),
            self._taken,
        )

    def _recover(self, storage: RaftStorage, work: Snapshotting, found: Recovered) -> SnapshotInfo | None:
        """At the start: bring the store to where the newest snapshot is.

        After an outage an operator may have written a configuration, which this server goes on from then.
        """
        environment = self._environment
        assert environment.disk is not None
        snapshot = work.recover(found)
        peers = PeersFile(environment.disk, FOLDER)
        server = Server(self._server_id, self._address)
        recovery = ConfigurationRecovery(peers, work.files, storage, self.machine, server)
        return recovery.run(found, snapshot, int(environment.wall_time() * 1000)) or snapshot

    # ------------------------------------------------------------ life

    @property
    def notes(self) -> Sequence[str]:
        """What was found at the start that people should know of."""
        return [] if self._work is None else self._work.notes

    def start(self) -> None:
        """Begin to take part."""
        if self._drops_log:  # not before: this takes the disk's thread, and twistd forks until now
            self._storage.reset(0, self.recovered.snapshot_index, self.recovered.snapshot_term)
            if self._stopped:  # the disk failed
                return
        self.driver.start()
        if self.policy is not None:
            self.policy.start()

    def stop(self) -> None:
        """Take part no longer. Whoever waits is told that the outcome is unknown."""
        self._ended = True
        if self._mending is not None:
            self._mending.stop()
        self._end()
        self._sweeping.stop()
        self._storage.close()
        self._fail_all()

    def _end(self) -> None:
        """The core is not asked any more, whatever it was: this server neither leads nor follows."""
        self._stopped = True
        self.ready = False
        self._barrier = 0
        self.driver.stop()
        if self.policy is not None:
            self.policy.stop()
        if self._work is not None:
            self._work.stop()

    def _give_up(self) -> None:
        """End by ourselves. What the core believes does not count any more, and all are told so."""
        self._end()
        self._fail_all()
        self._tell(self.role_changed, events.RoleChanged(Role.FOLLOWER, self.core.term, "", ""))

    # ------------------------------------------------------------ a disk that fails

    def _storage_failed(self, seq: int, error: BaseException) -> None:
        """Without its disk a server can promise nothing: it takes no part until the disk works."""
        if self._stopped:
            return
        mending = self._mending
        if mending is None:
            self._bug(error)
            return
        self._log.error(
            "the log cannot be used: {error}; this server takes no part in consensus, and looks every "
            "{wait_s} s whether it can again",
            error=said(error),
            wait_s=LOOK_S,
        )
        mending.begin(self._storage, self.applied_index, error)
        self._give_up()

    def _reopen(self, opened: Opened) -> None:
        """The disk works again. What this server applied stays, whatever of it is in the log here."""
        if self.policy is not None:
            self._settings = self.policy.settings
        info, state = opened.snapshot if opened.snapshot is not None else (None, None)
        self._open(opened.storage, opened.work, opened.found, info)
        if info is not None and info.index > self.applied_index:
            self.machine.restore(state)  # type: ignore[arg-type]  # there is one
            self._advance_to(info.index)
        self._stopped = False
        self._log.info(
            "the log can be used again, up to entry {last}; this server takes part in consensus again",
            last=self.core.last_log_index,
        )
        for note in (*opened.storage.notes, *opened.work.notes):
            self._log.warn("{note}", note=note)
        self._tell(self.reopened)
        self.start()

    @property
    def trouble(self) -> str:
        """Why this server takes no part in consensus for now: file and error; else empty."""
        return "" if self._mending is None else self._mending.error

    def no_leader(self) -> NoLeader:
        """The error of who finds no leader here."""
        return NoLeader(f"No cluster leader: {self.trouble}") if self.trouble else NoLeader()

    # ------------------------------------------------------------ asking

    @property
    def is_leader(self) -> bool:
        """Whether this server leads, as far as it knows."""
        return not self._stopped and self.core.role is Role.LEADER

    @property
    def holds_lease(self) -> bool:
        """Whether no other server can lead now, so that the store may answer default reads at once."""
        return self.ready and self._clock.seconds() < self.core.reads_until

    @property
    def is_stopped(self) -> bool:
        """Whether this server takes no part in consensus any more, until it is restarted."""
        return self._stopped and (self._ended or not self.trouble)

    @property
    def leader_id(self) -> str:
        """The leader's id; empty if none is known."""
        return self._hearsay.leader_id if self._stopped else self.core.leader_id

    @property
    def leader_address(self) -> str:
        """``ip:port`` of the leader; empty if none is known."""
        return self._hearsay.address if self._stopped else self.core.leader_address

    def propose(self, command: bytes) -> Deferred[Any]:
        """Append ``command``; fires with what applying it returned."""
        deferred: Deferred[Any] = Deferred()
        try:
            self.submit(command, deferred)
        except PyconsulError as error:
            deferred.errback(error)
        return deferred

    def submit(self, command: bytes, waiter: Waiter) -> None:
        """Append ``command``; ``waiter`` is told what applying it returned.

        Commands of one turn of the reactor are gathered into one batch for the log, the disk and
        the followers; so are those of the turns after many were answered at once (``Patience``).

        :raises PyconsulError: nothing was appended, and ``waiter`` is told nothing.
        """
        if not (self.ready or self.is_leader):
            raise self.no_leader()
        if len(self._waiters) + len(self._gathering) >= PROPOSALS_WAITING_MAX:
            raise Refused("too many writes are waiting; try again later")
        if not self._gathering:
            self._clock.callLater(0, self._turn)
        self._submitted += 1
        self._gathering.append(command)
        self._gathered_for.append(waiter)

    def confirm(self, waiter: Waiter, leased: bool = False) -> Question:
        """Tell ``waiter`` when all is applied here that was acknowledged before this call.

        For that a majority has to confirm whoever leads, this server or another. Everybody who asks in
        one turn of the reactor shares one question.

        :param leased: see ``events.ConfirmLeadership``.
        :returns: that question.
        :raises PyconsulError: ``NoLeader`` if none is known; ``waiter`` is told nothing.
        """
        if self._stopped or not self.core.leader_id:
            raise self.no_leader()
        return self._confirming.ask(waiter, leased)

    @property
    def confirmations(self) -> int:
        """How often a majority was asked."""
        return self._confirming.asked

    def bootstrap(self, configuration: Configuration) -> None:
        """Write the first configuration; ignored unless the log is empty."""
        self.driver.feed(events.Bootstrap(configuration))

    def change(self, change: events.ChangeConfiguration) -> Deferred[Any]:
        """Change one server of the configuration; fires when that is committed."""
        deferred: Deferred[Any] = Deferred()
        if self._stopped:
            deferred.errback(self.no_leader())
            return deferred
        self._proposing.append([deferred])
        self.driver.feed(change)
        return deferred

    def transfer(self, target: str = "") -> Deferred[None]:
        """Hand leadership over to ``target``, or to whoever is most up to date."""
        deferred: Deferred[None] = Deferred()
        if self._stopped:
            deferred.errback(self.no_leader())
        elif self._transfers:
            deferred.errback(Refused(TRANSFER_IN_PROGRESS))
        else:
            self._transfers.append(deferred)
            self.driver.feed(events.TransferLeadership(target))
        return deferred

    def restore(self, snapshot: Snapshot) -> Deferred[int]:
        """Make ``snapshot`` the state of all servers; fires with the index that it has then.

        What was written before is gone, what is written after it is newer than all of it. Fails with
        ``NoLeader`` if nothing has changed, with ``LeadershipLost`` if that is not known.
        """
        if not self.ready:
            return fail(self.no_leader())
        if self._restoring is not None:
            return fail(Refused("another snapshot is being restored"))
        self._restoring = Restoring(self._clock, self._propose_piece)

        def ended(result: Any) -> Any:
            self._restoring = None
            return result

        return Deferred.fromCoroutine(self._restoring.run(snapshot)).addBoth(ended)

    def _propose_piece(self, data: bytes) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred()
        if not self.is_leader:
            deferred.errback(self.no_leader())
        else:
            self._proposing.append([deferred])
            self.driver.feed(events.Propose([data], RESTORE))
        return deferred

    # ------------------------------------------------------------ events

    def _turn(self) -> None:
        """A turn of the reactor is over in which commands were submitted, or others waited for."""
        if self._gathering and self._patience.waits and self._patience.turn(self._submitted):
            self._clock.callLater(0, self._turn)
        else:
            self._flush()

    def _flush(self) -> None:
        """Propose what is gathered; what comes of that is gathered anew."""
        self._patience.end()
        commands, self._gathering = self._gathering, []
        waiters, self._gathered_for = self._gathered_for, []
        for begin in range(0, len(commands), COMMANDS_PER_PROPOSAL_MAX):
            end = begin + COMMANDS_PER_PROPOSAL_MAX
            if self._stopped:  # the disk failed
                fail_all(waiters[begin:], self.no_leader)
                return
            self._proposing.append(waiters[begin:end])
            self.driver.feed(events.Propose(commands[begin:end]))

    def _feed(self, event: object) -> None:
        if not self._stopped:
            self.driver.feed(event)

    def _received(self, sender: str, message: Message) -> None:
        if not self._stopped:
            self.driver.feed(events.MessageReceived(sender, message))
        elif not self.is_stopped:
            self._hearsay.heard(sender, message)

    def _peer_unreachable(self, peer: str) -> None:
        self._feed(events.Unreachable(peer))

    def _persisted(self, seq: int) -> None:
        self._feed(events.Persisted(seq))

    def _driver_failed(self, error: Exception) -> None:
        if isinstance(error, OSError | StorageDamaged):
            self._storage_failed(0, error)
        elif not self._stopped:
            self._bug(error)

    def _bug(self, error: BaseException) -> None:
        self._log.error(
            "this server takes no part in consensus until it is restarted: {error!r}", error=error
        )
        self._give_up()

    # ------------------------------------------------------------ effects

    def _send(self, effect: events.Send) -> None:
        self._transport.send(effect.to, effect.address, effect.message)

    def _send_piece(self, effect: events.SendPiece) -> None:
        assert self._work is not None  # without it there is no snapshot to send
        self._work.send(effect)

    def _taken(self, info: SnapshotInfo) -> None:
        """A snapshot of our own is durable."""
        assert self.policy is not None
        if not self._stopped:
            self.policy.taken(info)

    def _store_piece(self, effect: events.StorePiece) -> None:
        if self._work is None:  # nowhere to put it
            self.driver.feed(events.SnapshotFailed(effect.info))
        else:
            self._work.store(effect)

    def _restored(self, effect: events.RestoreSnapshot) -> None:
        """The leader's snapshot has come, and is the state from now on, unless ours is newer."""
        if self._stopped:
            return
        assert self._work is not None
        index = effect.info.index
        if index > self.applied_index:
            self._work.restore(effect)
        self._storage.reset(effect.seq, index, effect.info.term)
        if index > self.applied_index:
            self._advance_to(index)

    def _proposed(self, effect: events.Proposed) -> None:
        if self._stopped:  # the disk failed within this very step
            return
        waiters = self._proposing.popleft()
        self._waiters.extend(zip(count(effect.first_index), repeat(effect.term), waiters))
        self._proposed_at.append((effect.first_index, self._clock.seconds()))

    def _refused(self, effect: events.ProposalRefused) -> None:
        if self._stopped:
            return
        # Nothing was appended, so whoever asked may go on: when leadership is being handed over,
        # there is a leader again in a moment.
        elsewhere = effect.not_leader or effect.reason == TRANSFER_IN_PROGRESS
        for waiter in self._proposing.popleft():
            waiter.errback(NoLeader() if elsewhere else Refused(effect.reason))

    def _apply(self, effect: events.Apply) -> None:
        if self._stopped:
            return
        begun = self._clock.seconds()
        waiters = self._waiters
        apply = self.machine.apply
        answers: list[tuple[Waiter, Any]] = []
        for entry in effect.entries:
            index = entry.index
            if index <= self.applied_index:  # before the disk failed
                continue
            result = apply(entry)
            self.applied_index = index
            if waiters and waiters[0][0] <= index:
                awaited, term, waiter = waiters.popleft()
                is_ours = awaited == index and term == entry.term
                answers.append((waiter, result if is_ours else LeadershipLost()))
        self._measure(begun, len(effect.entries))
        self._patience.begin(self._submitted, len(answers))
        for waiter, result in answers:  # all at once: who reads them then has something to do meanwhile
            if isinstance(result, PyconsulError):
                waiter.errback(result)
            else:
                waiter.callback(result)
        self._advance_to(self.applied_index)

    def _measure(self, begun: float, entries: int) -> None:
        """Entries are applied, which began just now, when they were known to be committed."""
        if entries:
            took_s = self._clock.seconds() - begun
            self.timings[FSM_APPLY].add(took_s * 1e3 / entries, entries)
        proposed_at = self._proposed_at
        while proposed_at and proposed_at[0][0] <= self.applied_index:
            self.timings[COMMIT_TIME].add((begun - proposed_at.popleft()[1]) * 1e3)

    def _advance_to(self, index: int) -> None:
        """Tell those who wait for ``index`` to be applied."""
        self.applied_index = index
        if self._barrier and self.applied_index >= self._barrier and not self.ready:
            self.ready = True
            self._tell(self.became_ready)
        self._until_applied.reached(self.applied_index)

    def _role_changed(self, change: events.RoleChanged) -> None:
        if self._stopped:
            return
        self.roles[change.role] += 1
        led = self._barrier > 0
        self._until_applied.fail(NoLeader)  # nobody may be left to send what they wait for
        if change.role is Role.LEADER:
            self._barrier = change.barrier
            self.ready = self.applied_index >= change.barrier
        elif led:
            self._barrier = 0
            self.ready = False
            self._fail_waiters()
        self._log.info(
            "{role} in term {term}, leader {leader}",
            role=change.role.value,
            term=change.term,
            leader=change.leader_address or "unknown",
        )
        self._tell(self.role_changed, change)

    def _tell(self, listener: Callable[..., None], *arguments: Any) -> None:
        """Call a listener; its bugs are not Raft's, whose effects have to be carried out."""
        try:
            listener(*arguments)
        except Exception:
            self._log.failure("a listener of Raft failed")

    def _confirmed(self, effect: events.LeadershipConfirmed) -> None:
        waiters = self._confirming.answered(effect.token)
        if effect.index > self.applied_index:
            self._until_applied.wait(effect.index, waiters)
            return
        for waiter in waiters:
            waiter.callback(None)

    def _unconfirmed(self, effect: events.LeadershipRefused) -> None:
        for waiter in self._confirming.answered(effect.token):
            waiter.errback(NoLeader())

    def _transfer_ended(self, effect: events.TransferEnded) -> None:
        if self._transfers:
            deferred = self._transfers.popleft()
            if effect.error:
                deferred.errback(Refused(effect.error))
            else:
                deferred.callback(None)

    # ------------------------------------------------------------ failures

    def _fail_waiters(self) -> None:
        waiters, self._waiters = self._waiters, deque()
        self._proposed_at.clear()
        fail_all((waiter for _, _, waiter in waiters), self._unknown)

    def _fail_all(self) -> None:
        self._fail_waiters()
        gathering, self._gathering, self._gathered_for = self._gathered_for, [], []
        proposing, self._proposing = self._proposing, deque()
        transfers, self._transfers = self._transfers, deque()
        fail_all(gathering, self.no_leader)
        fail_all((waiter for batch in proposing for waiter in batch), self._unknown)
        self._confirming.fail(self.no_leader)
        self._until_applied.fail(self.no_leader)
        fail_all(transfers, self._unknown)

    def _unknown(self) -> LeadershipLost:
        """The error of who may have been served, or not."""
        lost = LeadershipLost()
        return LeadershipLost(f"{lost}: {self.trouble}") if self.trouble else lost
