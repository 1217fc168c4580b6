"""What both roles have: a place in the gossip pool, the node's own services, and a way to leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from msgspec.structs import replace
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, fail, succeed

from pyconsul import __version__
from pyconsul.agent.antientropy import AntiEntropy
from pyconsul.agent.coordinates import CoordinateSender
from pyconsul.agent.describe import BUILD, ConfigDescription, runtime_stats, tagged_addresses
from pyconsul.agent.discovery import Discovery
from pyconsul.agent.environment import Environment
from pyconsul.agent.events import Events
from pyconsul.agent.forwarding import Forwarder, blocking_time_s, shared_time_s
from pyconsul.agent.joining import RetryJoin, StartJoin
from pyconsul.agent.keyring import LAN_FILE, KeyringFile
from pyconsul.agent.local import LocalState
from pyconsul.agent.maintenance import Maintenance
from pyconsul.agent.metrics import Filter, Telemetry
from pyconsul.agent.persistence import Persistence
from pyconsul.agent.pool_timing import pool_timing
from pyconsul.agent.reaping import Reaper
from pyconsul.agent.registration import Registrations
from pyconsul.agent.reloading import Definitions, Reloading, Settings
from pyconsul.agent.remote_checks import RemoteChecks
from pyconsul.agent.waiting import ServiceWaits
from pyconsul.config.schema import AgentConfig
from pyconsul.errors import Refused
from pyconsul.interfaces import AnswerWatcher, Joining, SnapshotStream, Waiter
from pyconsul.log import make_logger
from pyconsul.net.gossip import GossipPool, MemberEvent, Resolver, literals_only
from pyconsul.net.networks import within
from pyconsul.net.tls_files import NO_CREDENTIALS, Credentials
from pyconsul.serf.coordinates import CoordinateClient, NoCoordinates
from pyconsul.serf.members import FAILED, JOIN, LEAVE, REAP, UPDATE, Member, Status
from pyconsul.serf.tags import TLS_TAG
from pyconsul.storage.gossip_snapshot import SnapshotFile
from pyconsul.structs.agent import ALL_SEGMENTS, CheckDefinition, ServiceDefinition
from pyconsul.structs.catalog import HealthCheck, Node, NodeService
from pyconsul.structs.metrics import Metrics
from pyconsul.swim.keyring import Keyring
from pyconsul.swim.timing import LAN

if TYPE_CHECKING:
    from pyconsul.agent.remote_snapshots import ClientSnapshots
    from pyconsul.agent.snapshots import ServerSnapshots

NETWORK_SEGMENT_META = "consul-network-segment"
PROTOCOL, PROTOCOL_MIN, PROTOCOL_MAX = 2, 2, 3
LAN_SNAPSHOT = "serf/local.snapshot"


class BaseAgent(MultiService):
    """An agent of either role; ``ServerAgent`` and ``ClientAgent`` add how requests are answered."""

    is_server = False
    sync_after_s = 0.0
    """When to sync first, unless a server that turns up is reason to do so before."""
    no_segment = 'segment "{}" not found'

    def __init__(
        self,
        config: AgentConfig,
        environment: Environment,
        node_id: str,
        keyring: Keyring | None = None,
        resolver: Resolver = literals_only,
    ) -> None:
        super().__init__()
        self._log = make_logger("agent")
        self.config = config
        self.environment = environment
        self.clock = environment.clock
        self.node_name: str = config.node_name
        self.node_id = node_id
        self._described = ConfigDescription(config, node_id)
        self.datacenter: str = config.datacenter
        self.coordinates = None if config.disable_coordinates else CoordinateClient(environment.rng)
        self._ids: dict[str, str] = {}
        """The node id of each member, by name."""
        self._alive_by_id: dict[str, str] = {}
        """The name of the alive member that has a node id."""
        self.pool = self._make_pool(keyring, resolver)
        clock, rng = environment.clock, environment.rng
        self._waits = ServiceWaits(clock, rng, config.default_query_time, config.max_query_time)
        self.local = LocalState(
            self.node_name,
            service_changed=self._waits.changed,
            seconds=clock.seconds,
            discard_output=config.discard_check_output,
        )
        self.node = own_node(config, node_id)
        disk = environment.disk
        self._persistence = None if disk is None else Persistence(disk, clock, environment.wall_time)
        self._registrations = self._make_registrations()
        self._maintenance = Maintenance(self.local, self._persistence)
        self._reaper = Reaper(self._registrations.reap, clock)
        self.reloading = self._make_reloading()
        self.telemetry = Telemetry(
            config.telemetry.metrics_prefix, self.gauges, self.totals, clock, environment.wall_time
        )
        self._configure_telemetry(config)
        self.reloading.parts.append(
            Settings(["telemetry.prefix_filter", "telemetry.filter_default"], self._configure_telemetry)
        )
        self.asked = 0
        """Requests to servers, wherever those are."""
        self._events_heard = dict.fromkeys((JOIN, LEAVE, FAILED, UPDATE, REAP), 0)
        self.events = Events(self.node_name, self.local, self.ask, environment.clock, environment.rng)
        self._coordinate_sender = self._make_coordinate_sender()
        self.sync = self._make_sync()
        self.joining = self._make_joining()
        self.joins: list[StartJoin | RetryJoin] = [
            StartJoin(self.join, config.start_join),
            StartJoin(self.join_wan, config.start_join_wan),
            self.joining,
        ]
        """What the configuration wants this agent to join; it ends if one of them gives up."""
        self.name_lost: Callable[[], None] = lambda: None
        """Called when a pool has found that this agent's name belongs to another node."""
        self.left: Deferred[None] = Deferred()
        """Fires once this agent has left on request (``leave``) and may be ended."""
        self._leaving: Deferred[None] | None = None

    def _make_pool(self, keyring: Keyring | None, resolver: Resolver) -> GossipPool:
        config, environment = self.config, self.environment
        disk = environment.disk
        keeps_keys = keyring is not None and not config.disable_keyring_file
        return GossipPool(
            self.node_name,
            environment.gossip_transport,
            environment.clock,
            environment.rng,
            pool_timing(LAN, config.gossip_lan, config.reconnect_timeout),
            self.tags(),
            keyring=keyring,
            verify_incoming=config.encrypt_verify_incoming,
            verify_outgoing=config.encrypt_verify_outgoing,
            accept_member=self._accept_member,
            allowed=within(config.serf_lan_allowed_cidrs),
            on_event=self._heard,
            on_user_event=lambda event: self.events.received(event),
            advertise=(config.advertise_addr, environment.gossip_transport.address[1]),
            on_name_lost=lambda: self.name_lost(),
            resolve_conflicts=True,
            resolver=resolver,
            coordinates=self.coordinates or NoCoordinates(),
            save_keyring=KeyringFile(disk, LAN_FILE).save if disk is not None and keeps_keys else None,
            snapshot=(
                None
                if disk is None
                else SnapshotFile(disk, LAN_SNAPSHOT, environment.clock, config.rejoin_after_leave)
            ),
        )

    def _make_registrations(self) -> Registrations:
        config = self.config
        return Registrations(
            self.local,
            self.clock,
            self.environment.rng,
            config.enable_script_checks,
            config.enable_local_script_checks,
            config.check_output_max_size,
            RemoteChecks(self.datacenter, self.ask),
            self._credentials if config.enable_agent_tls_for_checks else None,
            self._persistence,
            range(config.ports.sidecar_min_port, config.ports.sidecar_max_port + 1),
        )

    def _credentials(self) -> Credentials:
        """The agent's certificates as they are now."""
        tls = self.environment.tls
        return NO_CREDENTIALS if tls is None else tls.state.credentials

    def _make_reloading(self) -> Reloading:
        reloading = Reloading(self.config)
        reloading.parts += [
            Definitions(self._registrations),
            Settings(["node_meta"], self._take_node_meta),
            Settings(["discard_check_output"], self._take_discarding),
        ]
        return reloading

    def _make_sync(self) -> AntiEntropy:
        return AntiEntropy(
            self,
            self.node,
            self.local,
            self.clock,
            self.environment.rng,
            self.config.check_update_interval,
            lambda: len(self.members()),
        )

    def _make_forwarder(self) -> Forwarder:
        config, environment = self.config, self.environment
        return Forwarder(
            environment.rpc_transport,
            environment.clock,
            environment.rng,
            config.performance.rpc_hold_timeout,
            (config.default_query_time, config.max_query_time),
        )

    def _make_coordinate_sender(self) -> CoordinateSender | None:
        if self.coordinates is None:
            return None
        return CoordinateSender(
            self.coordinates,
            self.datacenter,
            self.node_name,
            lambda: len(self.members()),
            self.ask,
            self.environment.clock,
            self.environment.rng,
        )

    def _make_joining(self) -> RetryJoin:
        config = self.config
        return RetryJoin(
            Discovery(self.pool.join, config.retry_join, self.clock),
            config.retry_join,
            config.retry_interval,
            config.retry_max,
            self.clock,
        )

    # ------------------------------------------------------------ life

    def startService(self) -> None:
        """Join gossip, take up the services of the configuration, begin to sync.

        :raises ConfigurationError: if one of them is wrong.
        """
        self._registrations.load(self.config.services, self.config.checks)
        self._start_gossip()
        super().startService()
        self.sync.start(self.sync_after_s)
        self._reaper.start()
        self.telemetry.start()
        for joining in self.joins:
            joining.start()
        if self._coordinate_sender is not None:
            self._coordinate_sender.start()

    def _start_gossip(self) -> None:
        self.pool.start()

    def stopService(self) -> Deferred[None]:
        """End at once, without leaving: to the others this looks like a failure."""
        self._stop_joining()
        self.sync.stop()
        if self._coordinate_sender is not None:
            self._coordinate_sender.stop()
        self.events.stop()
        self._reaper.stop()
        self.telemetry.stop()
        self._waits.stop()
        if self._persistence is not None:
            self._persistence.close()
        self._registrations.stop()
        self.pool.stop()
        done: Deferred[None] | None = super().stopService()
        return done or succeed(None)

    def hand_over(self) -> Deferred[None]:
        """Let others take on what only this agent does, before it ends without leaving."""
        return succeed(None)

    def leave(self) -> Deferred[None]:
        """Leave the cluster gracefully; fires when that is done."""
        if self._leaving is None:
            self._log.info("starting leave")
            self._stop_joining()
            self.sync.stop()
            self._leaving = Deferred.fromCoroutine(self._leave_anyhow())
        waiting: Deferred[None] = Deferred()
        self._leaving.addCallback(lambda _: waiting.callback(None))
        return waiting

    def _stop_joining(self) -> None:
        for joining in self.joins:
            joining.stop()

    async def _leave_anyhow(self) -> None:
        try:
            await self._leave()
        except Exception:
            self._log.failure("leaving did not go well")
        self._log.info("leave complete")
        self.left.callback(None)

    async def _leave(self) -> None:
        await self.pool.leave()

    # ------------------------------------------------------------ gossip

    def tags(self) -> dict[str, str]:
        """What this agent tells about itself (specs of serf, section 11)."""
        tls = self.environment.tls
        return {
            **({TLS_TAG: "1"} if tls is not None and tls.serves else {}),
            "role": "node",
            "dc": self.config.datacenter,
            "segment": "",
            "id": self.node_id,
            "vsn": str(PROTOCOL),
            "vsn_min": str(PROTOCOL_MIN),
            "vsn_max": str(PROTOCOL_MAX),
            "build": f"{__version__}:",
            "acls": "0",
        }

    def tls_changed(self) -> None:
        """Tell the others whether they may speak TLS to this agent."""
        self.pool.set_tags(self.tags())

    def datacenter_of(self, address: str) -> str:
        """Of which datacenter the server at ``address`` is, as far as this agent knows."""
        return self.datacenter

    def _accept_member(self, member: Member) -> str | None:
        """Why ``member`` may not be in this pool, if so (specs of serf, section 11, "Merge rules")."""
        tags = member.tags
        datacenter = tags.get("dc")
        if datacenter is not None and datacenter != self.datacenter:
            return f"Member '{member.name}' part of wrong datacenter '{datacenter}'"
        segment = tags.get("segment", "")
        if segment:
            return f"Member '{member.name}' part of wrong segment '{segment}' (expected '')"
        node_id = tags.get("id")
        if not node_id or member.status not in (Status.ALIVE, Status.LEAVING):
            return None  # a node that has another name now may well have left its old one behind
        conflict = f"Member '{member.name}' has conflicting node ID '{node_id}' with "
        if node_id == self.node_id and member.name != self.node_name:
            return f"{conflict}this agent's ID"
        holder = self._alive_by_id.get(node_id, member.name)
        if holder != member.name:  # two machines made from one image would push each other out
            return f"{conflict}member '{holder}'"
        return None

    def _heard(self, event: MemberEvent) -> None:
        """Gossip reports a change of a member."""
        self._events_heard[event.kind] += 1
        member = event.member
        old_id = self._ids.pop(member.name, "")
        if self._alive_by_id.get(old_id) == member.name:
            del self._alive_by_id[old_id]
        node_id = member.tags.get("id", "")
        if node_id and event.kind != REAP:
            self._ids[member.name] = node_id
            if member.status in (Status.ALIVE, Status.LEAVING):
                self._alive_by_id.setdefault(node_id, member.name)
        self._member_event(event)

    def _member_event(self, event: MemberEvent) -> None:
        raise NotImplementedError

    def members(self, segment: str = "") -> list[Member]:
        """See ``pyconsul.interfaces.LocalAgent``."""
        if segment not in ("", ALL_SEGMENTS):
            raise Refused(self.no_segment.format(segment))
        return self.pool.members()

    def wan_members(self) -> list[Member] | None:
        """See ``pyconsul.interfaces.LocalAgent``."""
        return None

    def join(self, addresses: Sequence[str]) -> Deferred[int]:
        """Join through ``addresses``; fires with how many answered."""
        return self.pool.join(addresses)

    def join_wan(self, addresses: Sequence[str]) -> Deferred[int]:
        """See ``pyconsul.interfaces.LocalAgent``."""
        return fail(Refused("Must be a server to join WAN cluster"))

    def force_leave(self, name: str, prune: bool = False, wan: bool = False) -> None:
        """See ``pyconsul.interfaces.LocalAgent``."""
        if wan or self.pool.member(name) is None:
            raise Refused(f"agent: No node found with name '{name}'")
        self.pool.force_leave(name, prune)

    # ------------------------------------------------------------ services and checks

    def local_services(self) -> dict[str, NodeService]:
        """See ``pyconsul.interfaces.LocalAgent``."""
        return {key: entry.service for key, entry in self.local.services.items()}

    def local_checks(self) -> dict[str, HealthCheck]:
        """See ``pyconsul.interfaces.LocalAgent``."""
        return {key: entry.check for key, entry in self.local.checks.items()}

    def register_service(self, definition: ServiceDefinition, replace_checks: bool) -> None:
        """See ``pyconsul.interfaces.LocalAgent``."""
        self._registrations.register_service(definition, replace_checks)

    def deregister_service(self, service_id: str) -> None:
        """See ``pyconsul.interfaces.LocalAgent``."""
        self._registrations.deregister_service(service_id)

    def register_check(self, definition: CheckDefinition) -> None:
        """See ``pyconsul.interfaces.LocalAgent``."""
        self._registrations.register_check(definition)

    def deregister_check(self, check_id: str) -> None:
        """See ``pyconsul.interfaces.LocalAgent``."""
        self._registrations.deregister_check(check_id)

    def update_ttl(self, check_id: str, status: str, output: str) -> None:
        """See ``pyconsul.interfaces.LocalAgent``."""
        self._registrations.update_ttl(check_id, status, output)

    def service_changed(self, service_id: str, wait_s: float) -> Deferred[None]:
        """See ``pyconsul.interfaces.LocalAgent``."""
        return self._waits.wait(service_id, wait_s)

    def maintain_node(self, enable: bool, reason: str, token: str) -> None:
        """See ``pyconsul.interfaces.LocalAgent``."""
        self._maintenance.node(enable, reason, token)

    def maintain_service(self, service_id: str, enable: bool, reason: str, token: str) -> None:
        """See ``pyconsul.interfaces.LocalAgent``."""
        self._maintenance.service(service_id, enable, reason, token)

    # ------------------------------------------------------------ new settings

    def reload(self) -> None:
        """See ``pyconsul.interfaces.LocalAgent``."""
        self.reloading.reload()

    def reload_diff(self) -> list[str]:
        """See ``pyconsul.interfaces.LocalAgent``."""
        return self.reloading.diff()

    def _take_node_meta(self, config: AgentConfig) -> None:
        self.node = replace(self.node, meta=node_meta(config))
        self.sync.node_changed(self.node)

    def _configure_telemetry(self, config: AgentConfig) -> None:
        telemetry = config.telemetry
        self.telemetry.filter = Filter(telemetry.prefix_filter, telemetry.filter_default)

    def _take_discarding(self, config: AgentConfig) -> None:
        self.local.discard_output = config.discard_check_output

    # ------------------------------------------------------------ answers

    def describe(self) -> dict[str, Any]:
        """See ``pyconsul.interfaces.LocalAgent``."""
        shown = {
            **self._described.parts(self.reloading.config, self.node),
            "Coord": None if self.coordinates is None else self.coordinates.coordinate,
            "Member": self.pool.local,
            "Stats": self.stats(),
        }
        if self.config.ports.grpc >= 0:
            shown["xDS"] = {"SupportedProxies": {}}
        return shown

    def describe_host(self) -> dict[str, Any]:
        """See ``pyconsul.interfaces.LocalAgent``."""
        from pyconsul.agent.host import describe_host  # few ask

        return describe_host(self.environment.wall_time)

    @property
    def serves_prometheus(self) -> bool:
        """See ``pyconsul.interfaces.LocalAgent``."""
        return self.config.telemetry.prometheus_retention_time > 0

    @property
    def allows_scripts(self) -> bool:
        """See ``pyconsul.interfaces.LocalAgent``."""
        return self.config.enable_script_checks

    def metrics(self) -> Metrics:
        """See ``pyconsul.interfaces.LocalAgent``."""
        return self.telemetry.show()

    def gauges(self) -> dict[str, float]:
        """What ``metrics`` shows as it is now."""
        pool = self.pool.stats()
        return {
            "memberlist.health.score": float(pool["health_score"]),
            "serf.queue.Event": float(pool["event_queue"]),
            "serf.queue.Intent": float(pool["intent_queue"]),
            "serf.queue.Query": float(pool["query_queue"]),
        }

    def refused_requests(self) -> int:
        """How many requests this agent was not allowed to make; only a client's are limited."""
        return 0

    def totals(self) -> dict[str, float]:
        """What ``metrics`` counts."""
        heard = self._events_heard
        return {
            "client.rpc": self.asked,
            "client.rpc.exceeded": self.refused_requests(),
            "memberlist.udp.received": self.pool.received_bytes,
            "memberlist.udp.sent": self.pool.sent_bytes,
            "serf.events": sum(heard.values()),
            **{f"serf.member.{kind}": count for kind, count in heard.items()},
        }

    def ask(
        self,
        method: str,
        request: Any,
        watcher: AnswerWatcher | None = None,
        waiter: Waiter | None = None,
    ) -> Any:
        """See ``pyconsul.interfaces.Agent``."""
        raise NotImplementedError

    def confirm(self, waiter: Waiter, leased: bool) -> Joining:
        """See ``pyconsul.interfaces.Agent``."""
        raise NotImplementedError

    def last_contact_ms(self) -> int:
        """See ``pyconsul.interfaces.Agent``; what tells that is kept by servers only."""
        return 0

    def holds_lease(self) -> bool:
        """See ``pyconsul.interfaces.Agent``."""
        return False

    def relay(self, target: bytes) -> Any:
        """See ``pyconsul.interfaces.Agent``."""
        return None

    def shared_time_s(self, request: Any) -> float:
        """See ``pyconsul.interfaces.Agent``."""
        times = self.config.default_query_time, self.config.max_query_time
        return shared_time_s(blocking_time_s(request, *times))

    def forget(self, watcher: AnswerWatcher) -> None:
        """See ``pyconsul.interfaces.Agent``."""
        raise NotImplementedError

    def stats(self) -> dict[str, dict[str, str]]:
        """The sections of ``pyconsul info``."""
        types = [local.check.type for local in self.local.checks.values()]
        return {
            "agent": {
                "check_monitors": str(types.count("script")),
                "check_ttls": str(types.count("ttl")),
                "checks": str(len(types)),
                "services": str(len(self.local.services)),
            },
            "build": BUILD,
            "consul": self.consul_stats(),
            "runtime": runtime_stats(),
            "serf_lan": self.pool.stats(),
        }

    def snapshot(self, datacenter: str, token: str, allow_stale: bool) -> Deferred[SnapshotStream]:
        """See ``pyconsul.interfaces.LocalAgent``."""
        return self._snapshots().save(datacenter, token, allow_stale)

    def restore_snapshot(self, archive: BinaryIO, datacenter: str, token: str) -> Deferred[dict[str, int]]:
        """See ``pyconsul.interfaces.LocalAgent``."""
        return self._snapshots().restore(archive, datacenter, token)

    def _snapshots(self) -> ServerSnapshots | ClientSnapshots:
        """What saves and restores the whole state."""
        raise NotImplementedError

    def consul_stats(self) -> dict[str, str]:
        """The ``consul`` section."""
        raise NotImplementedError


def own_node(config: AgentConfig, node_id: str) -> Node:
    """The node as the catalog is to have it."""
    return Node(
        id=node_id,
        node=config.node_name,
        address=config.advertise_addr,
        datacenter=config.datacenter,
        tagged_addresses=tagged_addresses(config),
        meta=node_meta(config),
    )


def node_meta(config: AgentConfig) -> dict[str, str]:
    """The node's metadata, with what Consul adds to it."""
    return {NETWORK_SEGMENT_META: "", **dict(config.node_meta)}


def alive(members: Iterable[Member]) -> list[Member]:
    """Those that are alive."""
    return [member for member in members if member.status is Status.ALIVE]
