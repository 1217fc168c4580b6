"""Autopilot on the leader: asks all servers how they are, gives votes, and clears away the dead.

Source: specs of Consul's Raft, section 7, "Autopilot". What is decided is in
``pyconsul.raft.autopilot``; a change of the Raft configuration is made by ``LeaderDuties``, which
makes one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from pyconsul.agent.servers import ServerRecord, by_id
from pyconsul.config.groups import Autopilot as Settings
from pyconsul.errors import PyconsulError
from pyconsul.interfaces import WallTime
from pyconsul.log import make_logger
from pyconsul.raft import autopilot as rules
from pyconsul.raft.autopilot import Judged, Lead, Policy, Seen, Stats
from pyconsul.raft.configuration import VOTER, Configuration, Server, ServerId
from pyconsul.raft.events import ChangeConfiguration, ChangeKind
from pyconsul.serf.members import Status
from pyconsul.state.autopilot import AutopilotTable
from pyconsul.state.commands import encode_autopilot
from pyconsul.structs.durations import parse_ns
from pyconsul.structs.operator import (
    NEVER_NS,
    AutopilotConfig,
    OperatorHealthReply,
    RaftStats,
    ServerHealth,
)

ROUND_S = 2.0
DEADLINE_S = 1.0
"""For the answers of a round; less than ``ROUND_S``, so that rounds do not overlap."""

NS = 1_000_000_000


class Autopilot:
    """Runs from the moment a leader is ready until it no longer leads.

    :param settings: what is stored as the configuration if there is none yet.
    :param servers: the servers of this datacenter as gossip shows them.
    :param configuration: the latest Raft configuration.
    :param last: term and index of the last entry of this server's log.
    :param ask: Status.RaftStats of the server at an address, by ``DEADLINE_S``.
    :param change: begins a change of the Raft configuration, unless another one is under way.
    :param force_leave: makes a failed member one that left, which takes it out of everything.
    :param heartbeat_s: how long a follower may hear nothing from a leader that has nothing to say.
        Consul's idle leaders speak up more often, so that it can do without this.
    """

    def __init__(
        self,
        *,
        server_id: ServerId,
        settings: Settings,
        table: AutopilotTable,
        servers: Callable[[], Iterable[ServerRecord]],
        configuration: Callable[[], Configuration],
        last: Callable[[], tuple[int, int]],
        ask: Callable[[str], Deferred[RaftStats]],
        propose: Callable[[bytes], Deferred[Any]],
        change: Callable[[ChangeConfiguration], bool],
        force_leave: Callable[[str], None],
        heartbeat_s: float,
        clock: IReactorTime,
        wall_time: WallTime,
    ) -> None:
        self._log = make_logger("agent.server.autopilot")
        self._server_id = server_id
        self._table = table
        self._servers = servers
        self._configuration = configuration
        self._last = last
        self._ask = ask
        self._propose = propose
        self._change = change
        self._force_leave = force_leave
        self._heartbeat_s = heartbeat_s
        self._clock = clock
        self._wall_time = wall_time
        self.defaults = stored(settings)
        """What holds until a configuration is stored."""
        self._loop = LoopingCall(self._round)
        self._loop.clock = clock
        self._rounds = 0
        self._judged: dict[str, Judged] = {}
        self._health = OperatorHealthReply()
        self._refused = ""
        self._writing = False
        self._running = False

    def start(self) -> None:
        """Look now and then every two seconds; what an earlier leader knew begins anew."""
        if not self._running:
            self._running = True
            self._loop.start(ROUND_S)

    def stop(self) -> None:
        """No longer the leader."""
        self._running = False
        self._rounds += 1  # answers that are under way come too late
        self._judged = {}
        self._health = OperatorHealthReply()
        self._refused = ""
        if self._loop.running:
            self._loop.stop()

    def health(self) -> OperatorHealthReply | None:
        """What the last round found; ``None`` if this server does not lead."""
        if not self._running:
            return None
        found = self._health
        return OperatorHealthReply(
            healthy=found.healthy, failure_tolerance=found.failure_tolerance, servers=found.servers
        )

    # ------------------------------------------------------------ a round

    def _round(self) -> None:
        try:
            self._begin()
        except Exception:  # a bug, but the next round may do better
            self._log.failure("a round of Autopilot failed")

    def _begin(self) -> None:
        self._rounds += 1
        if self._table.row is None and not self._writing:
            self._writing = True
            self._propose(encode_autopilot(self.defaults, only_first=True)).addBoth(self._written)
        lead = Lead(self._server_id, *self._last())
        servers = list(self._configuration().servers)
        answers = DeferredList([self._stats(server, lead) for server in servers], consumeErrors=True)
        answers.addCallback(self._answered, self._rounds, servers, lead)
        answers.addErrback(lambda failure: self._log.failure("a round of Autopilot failed", failure=failure))

    def _written(self, result: object) -> None:
        """Whatever went wrong, the next round tries again."""
        self._writing = False
        if isinstance(result, Failure) and not isinstance(result.value, PyconsulError):
            self._log.failure("storing the configuration of Autopilot failed", failure=result)

    def _stats(self, server: Server, lead: Lead) -> Deferred[Stats]:
        if server.id == self._server_id:
            own: Deferred[Stats] = Deferred()
            own.callback(Stats(0.0, lead.last_term, lead.last_index))
            return own
        return self._ask(server.address).addCallback(stats_of)

    def _answered(
        self, results: Sequence[tuple[bool, Any]], number: int, servers: Sequence[Server], lead: Lead
    ) -> None:
        if number != self._rounds:
            return
        stats: dict[ServerId, Stats] = {}
        for server, (answered, result) in zip(servers, results, strict=True):
            if answered:
                stats[server.id] = result
            elif not isinstance(result.value, PyconsulError):
                self._log.failure("asking {id} for its state failed", failure=result, id=server.id)
        known = by_id(self._servers())
        now, config = self._clock.seconds(), self._table.row or self.defaults
        seen = [*self._seen(servers, known, stats), *self._beyond(servers, known)]
        policy = self._policy(config)
        self._judged = rules.judge(seen, lead, policy, self._judged, now, self._wall_time())
        judged = [one for one in self._judged.values() if one.seen.member]
        self._health = OperatorHealthReply(
            healthy=all(one.healthy for one in judged),
            failure_tolerance=rules.failure_tolerance(judged),
            servers=[_shown(one, known.get(one.seen.id), self._server_id) for one in judged],
        )
        self._act(policy, now)

    def _policy(self, config: AutopilotConfig) -> Policy:
        return Policy(
            last_contact_s=config.last_contact_threshold / NS + self._heartbeat_s,
            trailing_logs_max=config.max_trailing_logs,
            stable_s=config.server_stabilization_time / NS,
            remove_dead=config.cleanup_dead_servers,
            voters_min=config.min_quorum,
        )

    def _seen(
        self, servers: Iterable[Server], known: dict[ServerId, ServerRecord], stats: dict[ServerId, Stats]
    ) -> Iterable[Seen]:
        for server in servers:
            record = known.get(server.id)
            seen = Seen(
                id=server.id,
                address=server.address,
                voter=server.suffrage == VOTER,
                stats=stats.get(server.id),
            )
            yield seen if record is None else _with_gossip(seen, record)

    def _beyond(self, servers: Iterable[Server], known: dict[ServerId, ServerRecord]) -> Iterable[Seen]:
        """Failed members that are in no Raft configuration, or are in it under another name by now."""
        in_force = {server.id for server in servers}
        for record in self._servers():
            if record.status is Status.FAILED and (
                record.id not in in_force or known[record.id].name != record.name
            ):
                yield _with_gossip(Seen(id=record.id, address=record.address, member=False), record)

    # ------------------------------------------------------------ what follows from it

    def _act(self, policy: Policy, now: float) -> None:
        judged = self._judged.values()
        removal = rules.removal(judged, self._server_id, policy, now)
        if removal.refused and removal.refused != self._refused:
            self._log.warn("not removing dead servers: {why}", why=removal.refused)
        self._refused = removal.refused
        for seen in removal.failed:
            self._log.info("removing failed server: server={name} id={id}", name=seen.name, id=seen.id)
            try:
                self._force_leave(seen.name)
            except PyconsulError as error:
                self._log.warn("cannot remove {name}: {error}", name=seen.name, error=error)
        for seen in removal.stale:
            kind, what = ChangeKind.REMOVE_SERVER, "removing server that gossip does not know"
            self._wish(ChangeConfiguration(kind, seen.id, seen.address), what)
        for seen in rules.promotable(judged, policy, now):
            self._wish(ChangeConfiguration(ChangeKind.ADD_VOTER, seen.id, seen.address), "promoting to voter")

    def _wish(self, change: ChangeConfiguration, what: str) -> None:
        """Begin a change, unless another one is under way; then one of the next rounds does it."""
        if self._change(change):
            self._log.info(
                "{what}: id={id} address={address}", what=what, id=change.server, address=change.address
            )


def stored(settings: Settings) -> AutopilotConfig:
    """The row that a new datacenter begins with."""
    return AutopilotConfig(
        cleanup_dead_servers=settings.cleanup_dead_servers,
        last_contact_threshold=round(settings.last_contact_threshold * NS),
        max_trailing_logs=settings.max_trailing_logs,
        min_quorum=settings.min_quorum,
        server_stabilization_time=round(settings.server_stabilization_time * NS),
        redundancy_zone_tag=settings.redundancy_zone_tag,
        disable_upgrade_migration=settings.disable_upgrade_migration,
        upgrade_version_tag=settings.upgrade_version_tag,
    )


def stats_of(reply: RaftStats) -> Stats:
    """A server's answer; a contact that makes no sense is none."""
    try:
        contact_s = parse_ns(reply.last_contact) / NS
    except ValueError:  # "never"
        contact_s = None
    return Stats(contact_s, reply.last_term, reply.last_index)


def _with_gossip(seen: Seen, record: ServerRecord) -> Seen:
    return Seen(
        id=seen.id,
        address=seen.address,
        name=record.name,
        alive=record.alive,
        failed=record.status is Status.FAILED,
        voter=seen.voter,
        wants_vote=not record.nonvoter,
        member=seen.member,
        stats=seen.stats,
    )


def _shown(judged: Judged, record: ServerRecord | None, leader: ServerId) -> ServerHealth:
    seen, stats = judged.seen, judged.seen.stats
    contact_ns = 0
    if stats is not None:
        contact_ns = NEVER_NS if stats.contact_s is None else round(stats.contact_s * NS)
    since = datetime.fromtimestamp(judged.since_wall, UTC)
    return ServerHealth(
        id=seen.id,
        name=seen.name,
        address=seen.address,
        serf_status=Status.NONE if record is None else record.status,
        version="" if record is None else record.version,
        leader=seen.id == leader,
        last_contact=contact_ns,
        last_term=0 if stats is None else stats.last_term,
        last_index=0 if stats is None else stats.last_index,
        healthy=judged.healthy,
        voter=seen.voter,
        stable_since=since.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
