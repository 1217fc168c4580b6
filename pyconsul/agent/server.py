"""A server: its replica of the state, the requests it answers, and what it does while it leads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.python.failure import Failure

from pyconsul import __version__
from pyconsul.agent import server_figures
from pyconsul.agent.autopilot import DEADLINE_S, Autopilot
from pyconsul.agent.base import BaseAgent
from pyconsul.agent.batching import HOPS_MAX, Batches, PassedWrites
from pyconsul.agent.blocking import Parking
from pyconsul.agent.bootstrap import Bootstrap
from pyconsul.agent.coordinates import BATCH_DEV_S, BATCH_S, CoordinateBatches
from pyconsul.agent.doubts import Doubts
from pyconsul.agent.environment import Environment
from pyconsul.agent.events import NEW_LEADER, PREFIX
from pyconsul.agent.federation import Federation
from pyconsul.agent.forwarding import blocking_time_s, encode
from pyconsul.agent.keyring import KeyringOperations
from pyconsul.agent.leader import LeaderDuties
from pyconsul.agent.raft_stats import stats
from pyconsul.agent.relaying import RelayedReads
from pyconsul.agent.reloading import Settings
from pyconsul.agent.replica import Replica
from pyconsul.agent.server_figures import Served
from pyconsul.agent.servers import parse, raft_servers, servers_of
from pyconsul.agent.sessions import LockDelays, SessionTimers
from pyconsul.agent.snapshots import ServerSnapshots
from pyconsul.agent.standing import HAND_OVER_ATTEMPTS, Standing
from pyconsul.agent.tombstones import Tombstones
from pyconsul.config.schema import AgentConfig
from pyconsul.endpoints.base import Answered, Method, Read, Registry
from pyconsul.endpoints.batch import Batch
from pyconsul.endpoints.catalog import Catalog
from pyconsul.endpoints.changes import Changes
from pyconsul.endpoints.coordinate import Coordinates
from pyconsul.endpoints.health import Health
from pyconsul.endpoints.internal import Internal
from pyconsul.endpoints.kvs import KVS
from pyconsul.endpoints.operator import Operator
from pyconsul.endpoints.prepared_query import PreparedQueries
from pyconsul.endpoints.relay import Relay
from pyconsul.endpoints.session import Sessions
from pyconsul.endpoints.status import Status, StatusRequest
from pyconsul.endpoints.txn import Txn
from pyconsul.errors import BadRequest, NoLeader, PyconsulError, Refused
from pyconsul.interfaces import LATER, Agent, AnswerWatcher, Joining, RaftStorage, Waiter
from pyconsul.net.gossip import MemberEvent, Resolver, literals_only
from pyconsul.net.wheel import Wheel
from pyconsul.raft.configuration import Configuration, Server
from pyconsul.raft.events import RoleChanged
from pyconsul.raft.leader import HEARTBEATS_PER_TIMEOUT
from pyconsul.raft.timing import Timing
from pyconsul.serf.members import FAILED, REAP, Member
from pyconsul.state.fsm import FSM
from pyconsul.state.store import Store
from pyconsul.storage.snapshot_policy import SnapshotSettings
from pyconsul.structs.operator import RaftRemovePeerRequest, RaftServer, RaftStats, RaftStatsRequest
from pyconsul.structs.session import Session
from pyconsul.swim.keyring import Keyring

if TYPE_CHECKING:
    from pyconsul.http.surface import Surface


def raft_timing(config: AgentConfig) -> Timing:
    """Raft's timers: Consul's, times ``raft_multiplier``; very short for ``-dev``."""
    return Timing.dev() if config.dev else Timing.scaled(config.performance.raft_multiplier)


SNAPSHOT_SETTINGS = ("raft_snapshot_threshold", "raft_snapshot_interval", "raft_trailing_logs")


def snapshot_settings(config: AgentConfig) -> SnapshotSettings:
    """When Raft takes snapshots."""
    return SnapshotSettings(
        config.raft_snapshot_threshold, config.raft_snapshot_interval, config.raft_trailing_logs
    )


class _Proposal(Struct, eq=False):
    """A write that this leader was asked for; if it loses leadership before, the next leader is asked."""

    _agent: ServerAgent
    _method: Method
    _request: Any
    _waiter: Waiter
    _begun: float

    def callback(self, reply: Any) -> None:
        """It is written."""
        self._agent.served.wrote(self._method.name, self._begun)
        self._waiter.callback(reply)

    def errback(self, error: Any) -> None:
        """It was not written, or nobody knows whether it was."""
        waiter = self._waiter
        if isinstance(error, NoLeader):
            again = self._agent.persist(self._method, self._request)
            again.addCallbacks(waiter.callback, waiter.errback)
        else:
            waiter.errback(error)


class ServerAgent(BaseAgent):
    """A server agent.

    :param storage: term, vote and log: durable, or in memory for ``-dev``.
    :param wan_keyring: the keys of the WAN pool.
    """

    is_server = True
    no_segment = "Network segments are not supported in this version of Consul"

    def __init__(
        self,
        config: AgentConfig,
        environment: Environment,
        node_id: str,
        storage: RaftStorage,
        keyring: Keyring | None = None,
        resolver: Resolver = literals_only,
        wan_keyring: Keyring | None = None,
    ) -> None:
        super().__init__(config, environment, node_id, keyring, resolver)
        self.rpc_address = f"{config.advertise_addr}:{config.ports.server}"
        self.store = Store()
        self.store.watches.on_failure = self._watcher_failed
        self.raft = self._make_replica(storage)
        self.reloading.parts.append(
            Settings(SNAPSHOT_SETTINGS, lambda new: self.raft.configure(snapshot_settings(new)))
        )
        self._standing = Standing(
            self.raft,
            Server(node_id, self.rpc_address),
            raft_timing(config),
            self._ask_who_leads,
            environment.clock,
            environment.rng,
        )
        self._wheel = Wheel(environment.clock)
        times = config.default_query_time, config.max_query_time
        self.parking = Parking(
            self.store.watches, self._wheel, environment.clock, environment.rng, self._complete,
            self._elsewhere, times,
        )  # fmt: skip
        self._forwarder = self._make_forwarder()
        self._last_leader = ""
        self.served = Served(environment.clock.seconds)
        self.telemetry.timings += [self.raft.timings, self.served.timings]
        self._doubts = Doubts(self._forwarder.ping, self._forwarder.abandon, self.rpc_address)
        self.lock_delays = LockDelays(environment.clock)
        self.session_timers = SessionTimers(self.store.sessions, self.raft.propose, environment.clock)
        self.store.sessions.created = self.session_timers.created
        self.store.sessions.ended = self._session_ended
        self.store.sessions.replaced = self._state_replaced
        self._tombstones = Tombstones(self.store, self.raft.propose, environment.clock)
        self.coordinate_batches = CoordinateBatches(
            self.raft.propose, environment.clock, BATCH_DEV_S if config.dev else BATCH_S
        )
        self.events.new_leader = lambda name: None  # Raft has told
        self.federation = Federation(
            config, environment, self.pool, self._forwarder, lambda: self.name_lost(), wan_keyring, resolver
        )
        self.joins += self.federation.retry_join()
        self.autopilot = self._make_autopilot()
        self.snapshots: ServerSnapshots = ServerSnapshots(
            environment, self.datacenter, self.store, self.raft, self._forwarder, config.data_dir
        )
        self.snapshots.route = self.federation.route
        self._relayed_reads = RelayedReads(self, self._make_surface)
        self._batches = Batches(self._forwarder, self._leader_elsewhere, self.persist, hops=HOPS_MAX)
        self._passed_on = Batches(
            self._forwarder, self._leader_elsewhere, lambda method, request: fail(NoLeader()), hops=HOPS_MAX
        )
        self.registry = self._make_registry()
        self._decoders = {m.name: msgspec.msgpack.Decoder(m.request).decode for m in self.registry.methods()}
        environment.rpc_transport.handler = self.serve
        self._bootstrap = self._make_bootstrap()
        self._alone = config.bootstrap or config.dev or config.bootstrap_expect == 1
        self._duties = self._make_duties()

    def _make_replica(self, storage: RaftStorage) -> Replica:
        config = self.config
        raft = Replica(
            self.environment,
            self.node_id,
            raft_timing(config),
            storage,
            FSM(self.store),
            snapshot_settings(config),
            self.rpc_address,
        )
        raft.machine.replaced = self._snapshot_restored
        raft.role_changed = self._role_changed
        raft.became_ready = self._became_ready
        return raft

    def _make_registry(self) -> Registry:
        config, rng = self.config, self.environment.rng
        keyring_operations = KeyringOperations(
            self.datacenter, self.federation.pools, self.federation.keyrings_elsewhere
        )
        return Registry(
            [
                KVS(self.store, self.lock_delays.holds),
                Txn(self.store, self.datacenter, self.lock_delays.holds),
                Sessions(
                    self.store,
                    rng,
                    self.session_timers.renew,
                    round(config.session_ttl_min * 1e9),
                ),
                Catalog(self.store, self.datacenter, self.federation.datacenters),
                Health(self.store, self.datacenter),
                Changes(self.store),
                PreparedQueries(
                    self.store,
                    self.datacenter,
                    rng,
                    self.federation.datacenters,
                    self.federation.execute,
                ),
                Coordinates(self.store, self.coordinate_batches.gather, self.federation.maps),
                Internal(self.store, self._fire_event, keyring_operations.run),
                Status(lambda: self.raft.leader_address, self._peers, self._raft_stats),
                Operator(
                    self.store.autopilot,
                    self.autopilot.defaults,
                    self._raft_servers,
                    self.raft.change,
                    self.raft.transfer,
                    self.autopilot.health,
                ),
                self.snapshots.endpoints,
                Relay(self._relayed_reads.read),
                Batch(PassedWrites(self._begin_passed).apply),
            ]
        )

    def _make_surface(self, agent: Agent) -> Surface:
        """What answers reads that other agents pass on; loaded when the first of them comes."""
        from pyconsul.http.app import make_surface
        from pyconsul.http.settings import HttpSettings

        return make_surface(agent, HttpSettings(), self.clock, self.environment.wall_time)

    def _make_bootstrap(self) -> Bootstrap:
        config = self.config
        return Bootstrap(
            0 if config.bootstrap or config.dev else config.bootstrap_expect,
            lambda: servers_of(self.members(), self.datacenter),
            lambda: self.raft.core.last_log_index == 0,
            self._ask_peers,
            self.raft.bootstrap,
            self.clock,
        )

    def _make_duties(self) -> LeaderDuties:
        return LeaderDuties(
            server_id=self.node_id,
            version=__version__,
            datacenter=self.datacenter,
            store=self.store,
            members=self.members,
            configuration=lambda: self.raft.core.configuration,
            propose=self.raft.propose,
            change=self.raft.change,
            clock=self.clock,
        )

    def _make_autopilot(self) -> Autopilot:
        return Autopilot(
            server_id=self.node_id,
            settings=self.config.autopilot,
            table=self.store.autopilot,
            servers=lambda: servers_of(self.members(), self.datacenter),
            configuration=lambda: self.raft.core.configuration,
            last=lambda: (self.raft.core.last_log_term, self.raft.core.last_log_index),
            ask=self._ask_stats,
            propose=self.raft.propose,
            change=lambda change: self._duties.change(change),
            force_leave=self.force_leave,
            heartbeat_s=2.0 * raft_timing(self.config).heartbeat_timeout_s / HEARTBEATS_PER_TIMEOUT,
            clock=self.clock,
            wall_time=self.environment.wall_time,
        )

    # ------------------------------------------------------------ life

    def startService(self) -> None:
        """Take part in Raft, then in gossip."""
        self.raft.start()
        if self._alone:
            self.raft.bootstrap(Configuration([Server(self.node_id, self.rpc_address)]))
        super().startService()
        self._bootstrap.look()

    def _start_gossip(self) -> None:
        super()._start_gossip()
        self.federation.start()

    def stopService(self) -> Deferred[None]:
        """End at once. What was acknowledged is on the disk."""
        self._bootstrap.stop()
        self.sync.stop()  # before what it waits for fails
        self._lead_no_more()
        self.snapshots.stop()
        self.raft.stop()
        self.federation.stop()
        self._forwarder.stop()
        self.parking.wake_all()  # whoever is parked here is told that there is no leader now
        self._wheel.stop()
        return super().stopService()

    def hand_over(self) -> Deferred[None]:
        """Hand leadership over, so that the others need no election; fires when that went well or ill."""
        return Deferred.fromCoroutine(self._standing.hand_over(1))

    async def _leave(self) -> None:
        """A leader hands over first; who is on the way here has some time left to get his answer."""
        others = self._standing.others
        await self._standing.hand_over(HAND_OVER_ATTEMPTS)
        await self.federation.leave()
        await super()._leave()
        if others:
            await self._standing.drained(self.config.performance.leave_drain_time, self._remove_me)

    def _remove_me(self) -> Deferred[Any]:
        request = RaftRemovePeerRequest(id=self.node_id)
        return maybeDeferred(self.ask, "Operator.RaftRemovePeerByID", request)

    # ------------------------------------------------------------ events

    def tags(self) -> dict[str, str]:
        """A client's tags and what makes a server."""
        config = self.config
        tags = super().tags()
        tags.update(role="consul", port=str(config.ports.server), raft_vsn="3", ft_fs="1")
        if self.environment.wan_transport is not None:
            tags["wan_join_port"] = str(config.ports.serf_wan)
        tls = self.environment.tls
        if tls is not None and tls.state.credentials.authorities:
            tags["use_tls"] = "1"
        if config.bootstrap or (config.bootstrap_expect == 1 and not config.dev):
            tags["bootstrap"] = "1"
        elif config.bootstrap_expect > 1:
            tags["expect"] = str(config.bootstrap_expect)
        return tags

    def tls_changed(self) -> None:
        """See ``BaseAgent``."""
        super().tls_changed()
        if self.federation.wan is not None:
            self.federation.wan.tell(self.tags())

    def datacenter_of(self, address: str) -> str:
        """See ``BaseAgent``."""
        return self.federation.router.datacenter_of(address)

    def _member_event(self, event: MemberEvent) -> None:
        self._bootstrap.look()
        self._duties.member_changed(event.member, event.kind == REAP)
        if event.kind == FAILED and (server := parse(event.member)) is not None:
            self._doubts.doubt(server.address)
        self.federation.heard(event)

    def _role_changed(self, change: RoleChanged) -> None:
        self._doubts.leads(change.leader_address)
        if change.leader and change.leader != self._last_leader:
            self._last_leader = change.leader
            names = [m.name for m in self.members() if m.tags.get("id") == change.leader]
            self._log.info("New leader elected: payload={name}", name=names[0] if names else change.leader)
        if change.leader_address and not self.raft.is_leader:
            self._forwarder.hurry()
            self.sync.leader_found()
        if not self.raft.is_leader:
            self._lead_no_more()
            # Whoever waits here in default mode has to wait at the new leader, and no cached
            # answer may outlive the leadership that vouched for it.
            self.store.watches.wake_all()

    def _became_ready(self) -> None:
        self._log.info("cluster leadership acquired")
        self._duties.start()
        self.session_timers.start()
        self._tombstones.start()
        self.autopilot.start()
        self._forwarder.hurry()
        self.sync.leader_found()
        try:
            self.pool.fire_event(NEW_LEADER, self.node_name.encode())
        except PyconsulError as error:
            self._log.warn("cannot tell that this server leads: {error}", error=error)

    def _lead_no_more(self) -> None:
        self._duties.stop()
        self.session_timers.stop()
        self._tombstones.stop()
        self.autopilot.stop()
        self.coordinate_batches.stop()

    def _state_replaced(self) -> None:
        """A snapshot has taken the place of everything: what is known beside it begins anew."""
        self.session_timers.restart()
        self._tombstones.restart()

    def _snapshot_restored(self) -> None:
        """The same, once it is done: nothing that anybody knows of the state need be right."""
        self.parking.release()
        if self.raft.ready:
            self._duties.stop()
            self._duties.start()

    def _watcher_failed(self, error: Exception) -> None:
        """A bug in what waited for a change: it is told, and whoever changed the store goes on."""
        self._log.failure("a watcher failed and is forgotten", Failure(error))

    def _session_ended(self, session: Session, keys: Sequence[str]) -> None:
        self.lock_delays.ended(session, keys)
        self.session_timers.ended(session)

    def _fire_event(self, name: str, payload: bytes) -> None:
        try:
            self.pool.fire_event(PREFIX + name, payload)
        except PyconsulError as error:
            problem = f'error broadcasting event to segment "": {error}'
            raise PyconsulError(f"1 error occurred:\n\t* {problem}\n\n") from None

    # ------------------------------------------------------------ other datacenters

    def wan_members(self) -> list[Member] | None:
        """See ``pyconsul.interfaces.LocalAgent``."""
        return self.federation.members()

    def join_wan(self, addresses: Sequence[str]) -> Deferred[int]:
        """See ``pyconsul.interfaces.LocalAgent``."""
        return self.federation.join(addresses)

    def force_leave(self, name: str, prune: bool = False, wan: bool = False) -> None:
        """See ``pyconsul.interfaces.LocalAgent``."""
        if not wan:
            super().force_leave(name, prune)
            self.federation.force_leave_node(name, prune)
        elif not self.federation.force_leave(name, prune):
            raise Refused(f"agent: No node found with name '{name}'")

    # ------------------------------------------------------------ servers of this datacenter

    def _peers(self) -> list[str]:
        return [server.address for server in self.raft.core.configuration.servers]

    def _ask_peers(self, address: str) -> Deferred[list[str]]:
        if address == self.rpc_address:
            done: Deferred[list[str]] = Deferred()
            done.callback(self._peers())
            return done
        method = self.registry.get("Status.Peers")
        assert method is not None
        return self._forwarder.call(address, method, StatusRequest(datacenter=self.datacenter))

    def _ask_who_leads(self, address: str) -> Deferred[str]:
        method = self.registry.get("Status.Leader")
        assert method is not None
        request = StatusRequest(datacenter=self.datacenter)
        return self._forwarder.call(address, method, request, DEADLINE_S)

    def _raft_servers(self) -> list[RaftServer]:
        known = servers_of(self.members(), self.datacenter)
        return raft_servers(self.raft.core.configuration, self.raft.leader_id, known)

    def _raft_stats(self) -> RaftStats:
        core = self.raft.core
        contact = stats(self.raft, self.clock.seconds())["last_contact"]
        return RaftStats(last_contact=contact, last_term=core.last_log_term, last_index=core.last_log_index)

    def _ask_stats(self, address: str) -> Deferred[RaftStats]:
        method = self.registry.get("Status.RaftStats")
        assert method is not None
        return self._forwarder.call(address, method, RaftStatsRequest(), DEADLINE_S)

    # ------------------------------------------------------------ answers

    def serve(self, method: str, body: bytes) -> Any:
        """A call that came over the network; the reply's bytes or a Deferred of them."""
        request = self._decoded(method, body)
        self.served.calls += 1
        self.asked -= 1  # somebody else does
        answer = self.ask(method, request)
        if isinstance(answer, Deferred):
            return answer.addCallback(encode)
        return encode(answer)

    def _decoded(self, method: str, body: bytes) -> Any:
        decode = self._decoders.get(method)
        if decode is None:
            raise Refused(f"rpc: can't find service {method}")
        try:
            return decode(body)
        except msgspec.MsgspecError as error:
            raise BadRequest(f"cannot decode the request of {method}: {error}") from None

    def ask(
        self,
        method: str,
        request: Any,
        watcher: AnswerWatcher | None = None,
        waiter: Waiter | None = None,
    ) -> Any:
        """See ``pyconsul.interfaces.Agent``."""
        self.asked += 1
        declared = self.registry.get(method)
        if declared is None:
            raise Refused(f"rpc: can't find service {method}")
        datacenter = request.datacenter
        if datacenter and datacenter != self.datacenter:
            self.served.elsewhere += 1
            return self.federation.ask(declared, request)
        if declared.kind == "read":
            self.served.reads[method] += 1
            if request.allow_stale and self.raft.leader_id:
                return self._serve(declared, request, watcher)
            if self.raft.holds_lease and not request.require_consistent:
                return self._serve(declared, request, watcher)
            if request.allow_stale and self.raft.core.last_log_index:
                return self._serve(declared, request, watcher)
            # What waits for a change waits at the leader: a follower that is cut off would not see it.
            if self.raft.ready or (self.raft.leader_id and not request.min_query_index):
                confirmed = self._serve_confirmed(declared, request, watcher)
                return confirmed.addErrback(self._once_more, declared, request)
            return self.persist(declared, request)
        if declared.kind == "write":
            if self.raft.ready:
                return self._write(declared, request, waiter)
            if waiter is not None and self._leader_elsewhere():
                self._batches.submit(declared, request, waiter)
                return LATER
            return self.persist(declared, request)
        return declared.call(request)

    def _begin_passed(self, name: str, body: bytes, waiter: Waiter, hops: int) -> Any:
        """Begin a write that another agent has passed on (``PassedWrites``)."""
        request = self._decoded(name, body)
        declared = self.registry.get(name)
        if declared is None or declared.kind != "write" or request.datacenter not in ("", self.datacenter):
            raise Refused(f"rpc: {name} is not to be passed on")
        if self.raft.ready:
            return self._propose(declared, request, waiter)
        if hops >= HOPS_MAX or not self._leader_elsewhere():
            raise self.raft.no_leader()
        self._passed_on.submit(declared, request, waiter)
        return LATER

    def _leader_elsewhere(self) -> str:
        """The address of the server that leads, if it is another one."""
        return "" if self.raft.is_leader else self.raft.leader_address

    def confirm(self, waiter: Waiter, leased: bool) -> Joining:
        """See ``pyconsul.interfaces.Agent``."""
        return self.raft.confirm(waiter, leased)

    def holds_lease(self) -> bool:
        """See ``pyconsul.interfaces.Agent``."""
        return self.raft.holds_lease

    def relay(self, target: bytes) -> None:
        """See ``pyconsul.interfaces.Agent``; a server answers what it is asked, or asks for that itself."""

    def last_contact_ms(self) -> int:
        """See ``pyconsul.interfaces.Agent``."""
        return self._last_contact_ns() // 1_000_000

    def _last_contact_ns(self) -> int:
        heard = self.raft.core.last_contact
        if heard is None or self.raft.is_leader:
            return 0
        return max(1, int((self.clock.seconds() - heard) * 1e9))

    def forget(self, watcher: AnswerWatcher) -> None:
        """See ``pyconsul.interfaces.Agent``."""
        self.store.watches.cancel(watcher.watch, watcher)

    def persist(self, method: Method, request: Any) -> Deferred[Any]:
        """Ask the leader, whoever that is by then, until it answers or too long has passed."""
        return self._forwarder.persist_with(
            request, partial(self._ask_leader, method), is_read=method.kind != "write"
        )

    def _once_more(self, failure: Failure, method: Method, request: Any) -> Any:
        """This server stopped leading before it did anything: the next leader may do it."""
        failure.trap(NoLeader)
        return self.persist(method, request)

    def _ask_leader(self, method: Method, request: Any) -> Any:
        """One attempt, wherever the leader is now."""
        if self.raft.ready:
            if method.kind == "write":
                return self._propose(method, request)
            if request.require_consistent or not self.raft.holds_lease:
                return self._serve_confirmed(method, request, None)
            return self._serve(method, request, None)
        address = self.raft.leader_address
        if not address and self._standing.relies_on_hearsay:
            heard = self._standing.hearsay()
            return heard.addCallback(lambda leader: self._forwarder.call(leader, method, request))
        if self.raft.is_leader or not address:
            raise self.raft.no_leader()
        return self._forwarder.call(address, method, request)

    def _write(self, method: Method, request: Any, waiter: Waiter | None) -> Any:
        """As ``_propose``; if this server stops leading before it did anything, the next leader may do it."""
        begun = self.clock.seconds()
        if waiter is not None:
            waiter = _Proposal(self, method, request, waiter, begun)
        try:
            reply = self._propose(method, request, waiter)
        except NoLeader:
            return self.persist(method, request)
        if reply is LATER or not isinstance(reply, Deferred):
            return reply
        return reply.addCallbacks(
            self._wrote, self._once_more, callbackArgs=(method, begun), errbackArgs=(method, request)
        )

    def _wrote(self, reply: Any, method: Method, begun: float) -> Any:
        self.served.wrote(method.name, begun)
        return reply

    def _propose(self, method: Method, request: Any, waiter: Waiter | None = None) -> Any:
        """Let the log decide; the reply at once if the leader already knows it, and still leads."""
        command: bytes | Answered = method.call(request)
        if not isinstance(command, Answered):
            if waiter is None:
                return self.raft.propose(command)
            self.raft.submit(command, waiter)
            return LATER
        reply = command.reply
        if isinstance(reply, Deferred) or self.raft.holds_lease:
            return reply
        return self._confirmed(leased=False).addCallback(lambda _: reply)

    def _serve(self, method: Method, request: Any, watcher: AnswerWatcher | None) -> Any:
        """Answer from the local store, now or when something has changed."""
        read: Read | Deferred[Read] = method.call(request)
        if isinstance(read, Deferred):
            return read.addCallback(self._complete, request)
        wanted = request.min_query_index
        if wanted and read.index <= wanted and not read.at_once:
            now = self.clock.seconds()
            # A confirmed read gets here later than it was allowed: nobody would tell it now that it
            # waits at the wrong place.
            elsewhere = self._elsewhere(method, request, now + blocking_time_s(request, *self.parking.times))
            return elsewhere or self.parking.park(method, request, read, now)
        if watcher is not None and not wanted and read.watch:
            self.store.watches.register(read.watch, watcher)
            watcher.watch = read.watch
            watcher.armed = True
        return self._complete(read, request)

    def _confirmed(self, leased: bool) -> Deferred[None]:
        """Fires once all is in the store that was acknowledged before; see ``Replica.confirm``."""
        confirmed: Deferred[None] = Deferred()
        try:
            self.raft.confirm(confirmed, leased)
        except PyconsulError as error:
            confirmed.errback(error)
        return confirmed

    def _serve_confirmed(self, method: Method, request: Any, watcher: AnswerWatcher | None) -> Deferred[Any]:
        """Answer once the leader is confirmed and the store is as new as its was."""
        confirmed = self._confirmed(leased=not request.require_consistent)
        return confirmed.addCallback(lambda _: self._serve(method, request, watcher))

    def _elsewhere(self, method: Method, request: Any, until: float) -> Deferred[Any] | None:
        """Where a parked request has to go on when this server no longer leads.

        It takes along only what is left of its time.
        """
        if self.raft.ready or (request.allow_stale and not self.raft.is_stopped):
            return None
        left_ns = max(1, int((until - self.clock.seconds()) * 1e9))
        return self.persist(method, replace(request, max_query_time=left_ns))

    def _complete(self, read: Read, request: Any) -> Any:
        reply = read.reply
        reply.index = read.index or 1
        reply.known_leader = bool(self.raft.leader_id)
        reply.last_contact = self._last_contact_ns() if request.allow_stale else 0
        if request.require_consistent:
            reply.consistency_level = "consistent"
        elif request.allow_stale:
            reply.consistency_level = "stale"
        else:
            reply.consistency_level = "leader"
        return reply

    def stats(self) -> dict[str, dict[str, str]]:
        """A client's sections and Raft's."""
        raft = stats(self.raft, self.clock.seconds())
        return {**super().stats(), "raft": raft, **self.federation.stats()}

    def gauges(self) -> dict[str, float]:
        """A client's and a server's."""
        return {**super().gauges(), **server_figures.gauges(self)}

    def totals(self) -> dict[str, float]:
        """A client's and a server's."""
        return {**super().totals(), **server_figures.totals(self)}

    def _snapshots(self) -> ServerSnapshots:
        return self.snapshots

    def consul_stats(self) -> dict[str, str]:
        """The ``consul`` section."""
        return {
            "acl": "disabled",
            "bootstrap": "true" if self._alone and not self.config.dev else "false",
            "known_datacenters": str(len(self.federation.datacenters())),
            "leader": "true" if self.raft.is_leader else "false",
            "leader_addr": self.raft.leader_address,
            "server": "true",
        }
