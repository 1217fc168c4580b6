"""What the leader does besides Raft: keep catalog and Raft configuration in step with gossip.

Source: specs of Raft, section 7, "Leader start" and "Serf -> Raft".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from pyconsul.agent.servers import ServerRecord, parse
from pyconsul.errors import PyconsulError
from pyconsul.log import make_logger
from pyconsul.raft.configuration import NONVOTER, Configuration, ServerId
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
    NodeService,
    RegisterRequest,
)

RECONCILE_INTERVAL_S = 60.0
RETRY_S = 5.0


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
        self._loop = LoopingCall(self.reconcile)
        self._loop.clock = clock
        self._writing: set[str] = set()
        self._again: set[str] = set()
        self._changing = False
        self._running = False

    def start(self) -> None:
        """Reconcile everything now, then every minute and on each event."""
        if not self._running:
            self._running = True
            self._loop.start(RECONCILE_INTERVAL_S)

    def stop(self) -> None:
        """No longer the leader."""
        self._running = False
        if self._loop.running:
            self._loop.stop()

    def reconcile(self) -> None:
        """Compare all members with the catalog and the Raft configuration."""
        known = set()
        for member in self._members():
            known.add(member.name.lower())
            self.reconcile_member(member)
        for node in self._store.catalog.nodes():
            if node.node.lower() not in known and self._store.catalog.node_check(node.node, SERF_CHECK_ID):
                self._deregister(node.node, "is unknown to gossip")
        self._reconcile_servers()

    def member_changed(self, member: Member, reaped: bool) -> None:
        """Gossip reported a change of ``member``."""
        if not self._running:
            return
        if reaped:
            self._deregister(member.name, "was reaped")
        else:
            self.reconcile_member(member)
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
        service = self._consul_service(member) if status == PASSING else None
        known = catalog.service_of(member.name, CONSUL_SERVICE) if service is not None else None
        if (
            node is not None
            and node.address == member.addr
            and node.id == member.tags.get("id", "")
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
        request = RegisterRequest(
            datacenter=self._datacenter,
            id=member.tags.get("id", ""),
            node=member.name,
            address=member.addr,
            tagged_addresses=None if node is None else node.tagged_addresses,
            node_meta=None if node is None else node.meta,
            service=service,
            check=HealthCheck(
                node=member.name, check_id=SERF_CHECK_ID, name=SERF_CHECK_NAME, status=status, output=output
            ),
        )
        self._write(member.name, commands.encode_register(request))

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
        if self._store.catalog.node(name) is None or name in self._writing:
            return
        self._log.info("deregistering member: member={member} reason={why}", member=name, why=why)
        request = DeregisterRequest(datacenter=self._datacenter, node=name)
        self._write(name, commands.encode_deregister(request))

    def _write(self, name: str, command: bytes) -> None:
        self._writing.add(name)
        self._propose(command).addCallbacks(self._written, self._not_written, (name,), None, (name,))

    def _written(self, _: object, name: str) -> None:
        self._writing.discard(name)
        if name in self._again:
            self._again.discard(name)
            for member in self._members():
                if self._running and member.name == name:
                    self.reconcile_member(member)

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
        if change is None:
            return
        self._log.info(
            "{what}: id={id} address={address}",
            what=change.kind.value,
            id=change.server,
            address=change.address,
        )
        self._changing = True
        self._change(change).addCallbacks(self._changed, self._not_changed)

    def _next_change(self) -> ChangeConfiguration | None:
        in_force = {server.id: server for server in self._configuration().servers}
        by_address = {server.address: server for server in in_force.values()}
        for member in self._members():
            server = parse(member)
            if server is None or server.datacenter != self._datacenter:
                continue
            if member.status is Status.ALIVE:
                change = _wanted(server, in_force, by_address)
                if change is not None:
                    return change
            elif member.status is Status.LEFT and server.id in in_force and server.id != self._server_id:
                return ChangeConfiguration(ChangeKind.REMOVE_SERVER, server.id, server.address)
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
            self._clock.callLater(RETRY_S, self._reconcile_servers)


def _wanted(
    server: ServerRecord, in_force: dict[str, Any], by_address: dict[str, Any]
) -> ChangeConfiguration | None:
    """What an alive server still needs: its address freed, or to be added under it."""
    now = in_force.get(server.id)
    if now is not None and now.address == server.address:
        return None
    holder = by_address.get(server.address)
    if holder is not None and holder.id != server.id:
        return ChangeConfiguration(ChangeKind.REMOVE_SERVER, holder.id, holder.address)
    nonvoter = server.nonvoter or (now is not None and now.suffrage == NONVOTER)
    kind = ChangeKind.ADD_NONVOTER if nonvoter else ChangeKind.ADD_VOTER
    return ChangeConfiguration(kind, server.id, server.address)
