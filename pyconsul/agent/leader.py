"""What the leader does besides Raft: keep catalog and Raft configuration in step with gossip.

Source: specs of Raft, section 7, "Leader start" and "Serf -> Raft".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from pyconsul.agent.servers import ServerRecord, parse
from pyconsul.errors import PyconsulError
from pyconsul.log import make_logger
from pyconsul.raft.configuration import Configuration, Server, ServerId
from pyconsul.raft.events import ChangeConfiguration, ChangeKind
from pyconsul.serf.members import Member, Status
from pyconsul.state import commands
from pyconsul.state.store import Store
from pyconsul.structs.catalog import (
    CONSUL_SERVICE,
    CRITICAL,
    PASSING,
    SERF_ALIVE_OUTPUT,
    SERF_CHECK_ID,
    SERF_CHECK_NAME,
    SERF_FAILED_OUTPUT,
    DeregisterRequest,
    HealthCheck,
    Node,
    NodeService,
    RegisterRequest,
)

RECONCILE_INTERVAL_S = 60.0
RETRY_S = 5.0
UNKNOWN_S = 600.0


class LeaderDuties:
    """Runs from the moment a leader is ready until it no longer leads.

    :param propose: appends a log command; fires once it is applied.
    :param change: changes the Raft configuration; fires once that is committed.
    :param configuration: the latest Raft configuration.
    """

    def __init__(
        self,
        *,
        server_id: ServerId,
        version: str,
        datacenter: str,
        store: Store,
        members: Callable[[], Iterable[Member]],
        configuration: Callable[[], Configuration],
        propose: Callable[[bytes], Deferred[Any]],
        change: Callable[[ChangeConfiguration], Deferred[Any]],
        clock: IReactorTime,
    ) -> None:
        self._log = make_logger("agent.leader")
        self._server_id = server_id
        self._version = version
        self._datacenter = datacenter
        self._store = store
        self._members = members
        self._configuration = configuration
        self._propose = propose
        self._change = change
        self._clock = clock
        self._loop = LoopingCall(self._reconcile_all)
        self._loop.clock = clock
        self._writing: set[str] = set()
        self._again: set[str] = set()
        self._changing = False
        self._retry: IDelayedCall | None = None
        self._reaped: dict[ServerId, ServerRecord] = {}
        self._unknown_since: dict[str, float] = {}
        self._running = False

    def start(self) -> None:
        """Reconcile everything now, then every minute and on each event."""
        if not self._running:
            self._running = True
            self._loop.start(RECONCILE_INTERVAL_S)

    def stop(self) -> None:
        """No longer the leader."""
        self._running = False
        self._reaped.clear()
        self._unknown_since.clear()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._loop.running:
            self._loop.stop()

    def _reconcile_all(self) -> None:
        try:
            self.reconcile()
        except Exception:  # a bug, but the next round may do better
            self._log.failure("reconciling failed")

    def reconcile(self) -> None:
        """Compare all members with the catalog and the Raft configuration."""
        members = list(self._members())
        for member in members:
            self.reconcile_member(member)
        self._reconcile_unknown(members)
        self._reconcile_servers()

    def _reconcile_unknown(self, members: Sequence[Member]) -> None:
        """Deregister nodes that gossip has forgotten, as they were reaped under an earlier leader.

        Consul does so at once. But gossip of a server that was just started knows nobody yet, and a
        live node that is deregistered takes minutes to come back with its services. So gossip has to
        show at least one other server of the Raft configuration, and the node has to be unknown for
        as long as push/pulls and reconnects need to bring any member back. Nothing presses: gossip
        itself forgets a member after days, and a leader hears of that as it happens.
        """
        known = {member.name.lower() for member in members}
        ids = {member.tags.get("id") for member in members}
        others = [server.id for server in self._configuration().servers if server.id != self._server_id]
        now = self._clock.seconds()
        since: dict[str, float] = {}
        catalog = self._store.catalog
        if self._server_id in ids and (not others or any(other in ids for other in others)):
            for node in catalog.nodes():
                if node.node.lower() not in known and catalog.node_check(node.node, SERF_CHECK_ID):
                    since[node.node] = self._unknown_since.get(node.node, now)
        self._unknown_since = since
        for name, first in since.items():
            if now - first >= UNKNOWN_S:
                self._deregister(name, "is unknown to gossip")

    def member_changed(self, member: Member, reaped: bool) -> None:
        """Gossip reported a change of ``member``."""
        if not self._running:
            return
        server = parse(member)
        if reaped:
            if server is not None:
                self._reaped[server.id] = server
            self._deregister(member.name, "was reaped")
        else:
            self.reconcile_member(member)
        if server is not None:
            self._reconcile_servers()

    # ------------------------------------------------------------ catalog

    def reconcile_member(self, member: Member) -> None:
        """Make the catalog say what gossip says of ``member``."""
        if member.name in self._writing:
            self._again.add(member.name)
        elif member.status is Status.ALIVE:
            self._register(member, PASSING, SERF_ALIVE_OUTPUT)
        elif member.status is Status.FAILED:
            self._register(member, CRITICAL, SERF_FAILED_OUTPUT)
        elif member.status is Status.LEFT and member.tags.get("id") != self._server_id:
            self._deregister(member.name, "left")

    def _register(self, member: Member, status: str, output: str) -> None:
        catalog = self._store.catalog
        node = catalog.node(member.name)
        check = catalog.node_check(member.name, SERF_CHECK_ID)
        if status == CRITICAL and node is None:
            return
        node_id = member.tags.get("id", "")
        if status == PASSING and node is not None and _is_another(node, node_id, check):
            self._free_name(node)
            return
        service = self._consul_service(member) if status == PASSING else None
        known = catalog.service_of(member.name, CONSUL_SERVICE) if service is not None else None
        if (
            node is not None
            and node.address == member.addr
            and node.id == node_id
            and check is not None
            and check.status == status
            and (
                service is None
                or (known is not None and (known.port, known.meta) == (service.port, service.meta))
            )
        ):
            return
        self._log.info(
            "member {what}, marking health {status}: member={member}",
            what="joined" if status == PASSING else "failed",
            status="alive" if status == PASSING else CRITICAL,
            member=member.name,
        )
        # A node's own agent knows more of it (addresses, metadata) and may be registering it at this
        # moment, so a node that is there is left as it is unless gossip contradicts it.
        agrees = node is None or (node.address, node.id) == (member.addr, node_id)
        request = RegisterRequest(
            datacenter=self._datacenter,
            id=node_id,
            node=member.name,
            address=member.addr,
            tagged_addresses=None if node is None else node.tagged_addresses,
            node_meta=None if node is None else node.meta,
            skip_node_update=agrees,
            service=service,
            check=_serf_health(member.name, status, output),
        )
        self._write(member.name, commands.encode_register(request))

    def _free_name(self, node: Node) -> None:
        """Let another node have the name of ``node``: gossip has one member of a name, so this one is dead.

        It was rebuilt before anybody saw it fail. The catalog gives the name of a living node to nobody,
        and in Consul it stays that node's for good.
        """
        self._log.info("node {name} was rebuilt, {id} is no more", name=node.node, id=node.id)
        self._again.add(node.node)
        self._write(
            node.node,
            commands.encode_register(
                RegisterRequest(
                    datacenter=self._datacenter,
                    id=node.id,
                    node=node.node,
                    address=node.address,
                    skip_node_update=True,
                    check=_serf_health(node.node, CRITICAL, SERF_FAILED_OUTPUT),
                )
            ),
        )

    def _consul_service(self, member: Member) -> NodeService | None:
        server = parse(member)
        if server is None:
            return None
        tags = member.tags
        return NodeService(
            id=CONSUL_SERVICE,
            service=CONSUL_SERVICE,
            tags=[],
            meta={
                "version": tags.get("build", "").partition(":")[0],
                "raft_version": tags.get("raft_vsn", ""),
                "serf_protocol_current": str(member.protocol_cur),
                "serf_protocol_max": str(member.protocol_max),
                "serf_protocol_min": str(member.protocol_min),
                "non_voter": "true" if server.nonvoter else "false",
            },
            port=int(tags["port"]),
        )

    def _deregister(self, name: str, why: str) -> None:
        if name in self._writing:
            self._again.add(name)
            return
        node = self._store.catalog.node(name)
        if node is None or node.id == self._server_id:
            return
        self._log.info("deregistering member: member={member} reason={why}", member=name, why=why)
        request = DeregisterRequest(datacenter=self._datacenter, node=name)
        self._write(name, commands.encode_deregister(request))

    def _write(self, name: str, command: bytes) -> None:
        self._writing.add(name)
        written = self._propose(command)
        written.addCallbacks(self._written, self._not_written, callbackArgs=(name,), errbackArgs=(name,))

    def _written(self, _: object, name: str) -> None:
        self._writing.discard(name)
        if name not in self._again:
            return
        self._again.discard(name)
        if not self._running:
            return
        member = next((member for member in self._members() if member.name == name), None)
        if member is not None:
            self.reconcile_member(member)
        else:
            self._deregister(name, "was reaped")

    def _not_written(self, failure: Failure, name: str) -> None:
        """Whatever went wrong, the next full reconcile tries again."""
        self._writing.discard(name)
        self._again.discard(name)
        if not isinstance(failure.value, PyconsulError):
            self._log.failure("reconciling {member} failed", failure=failure, member=name)
        elif self._running:
            self._log.warn("cannot reconcile member {member}: {error}", member=name, error=failure.value)

    # ------------------------------------------------------------ raft configuration

    def _reconcile_servers(self) -> None:
        """Make the next change that brings the Raft configuration nearer to gossip, if any."""
        if self._changing or not self._running:
            return
        change = self._next_change()
        if change is not None:
            self._make(change)

    def change(self, change: ChangeConfiguration) -> bool:
        """Make a change for Autopilot, unless one is under way or this is no leader; whether it is made."""
        if self._changing or not self._running:
            return False
        self._make(change)
        return True

    def _make(self, change: ChangeConfiguration) -> None:
        self._log.info(
            "{what}: id={id} address={address}",
            what=change.kind.value,
            id=change.server,
            address=change.address,
        )
        self._changing = True
        self._change(change).addCallbacks(self._changed, self._not_changed)

    def _next_change(self) -> ChangeConfiguration | None:
        in_force = self._configuration().servers
        gone = dict(self._reaped)
        stays = {self._server_id}
        alive: list[ServerRecord] = []
        for member in self._members():
            record = parse(member)
            if record is None or record.datacenter != self._datacenter:
                continue
            if member.status is Status.LEFT:
                gone[record.id] = record
                continue
            stays.add(record.id)  # perhaps under a new name, while its old one left
            if record.alive:
                alive.append(record)
        # Those that are gone come first: while they count, a majority is harder to get.
        for server in in_force:
            if server.id in gone and server.id not in stays:
                return ChangeConfiguration(ChangeKind.REMOVE_SERVER, server.id, server.address)
        self._reaped.clear()
        return self._next_arrival(alive, in_force)

    def _next_arrival(
        self, alive: Sequence[ServerRecord], configuration: Sequence[Server]
    ) -> ChangeConfiguration | None:
        """What the first server that is not where the configuration has it needs."""
        in_force = {server.id: server for server in configuration}
        by_address = {server.address: server for server in configuration}
        there = {(server.id, server.address) for server in alive}
        bootstrapping = sum(server.bootstrap for server in alive)
        for server in alive:
            now, holder = in_force.get(server.id), by_address.get(server.address)
            if now is not None and now.address == server.address:
                continue
            claimed = next((s for s in (now, holder) if s is not None and (s.id, s.address) in there), None)
            if claimed is not None:
                # Whichever of them we believed, the other one would want it back at once.
                why = f"{claimed.id} at {claimed.address} is alive too"
            elif now is None and server.bootstrap and bootstrapping > 1:
                why = "there are several servers in bootstrap mode, which only one may be"
            elif holder is not None and holder.id == self._server_id:
                why = "it claims the address of this server"
            elif holder is not None and holder.id != server.id:
                return ChangeConfiguration(ChangeKind.REMOVE_SERVER, holder.id, holder.address)
            else:
                # One that is known keeps its vote; a new one gets it from Autopilot.
                return ChangeConfiguration(ChangeKind.ADD_NONVOTER, server.id, server.address)
            self._log.warn(
                "not adding server {name} at {address}: {why}",
                name=server.name,
                address=server.address,
                why=why,
            )
        return None

    def _changed(self, _: object) -> None:
        self._changing = False
        self._reconcile_servers()

    def _not_changed(self, failure: Failure) -> None:
        self._changing = False
        if not isinstance(failure.value, PyconsulError):
            self._log.failure("changing the Raft configuration failed", failure=failure)
        elif self._running:
            self._log.warn("cannot change the Raft configuration yet: {error}", error=failure.value)
            if self._retry is None:
                self._retry = self._clock.callLater(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._reconcile_servers()


def _serf_health(name: str, status: str, output: str) -> HealthCheck:
    return HealthCheck(node=name, check_id=SERF_CHECK_ID, name=SERF_CHECK_NAME, status=status, output=output)


def _is_another(node: Node, node_id: str, check: HealthCheck | None) -> bool:
    """Whether the catalog has a living node of another id by the name of the member ``node_id``."""
    return (
        "" not in (node.id, node_id)
        and node.id.lower() != node_id.lower()
        and check is not None
        and check.status != CRITICAL
    )
