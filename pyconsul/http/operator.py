"""``/v1/operator/``: Raft's configuration, leadership and Autopilot."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred

from pyconsul.errors import BadRequest, Refused
from pyconsul.http.answer import Answer, empty
from pyconsul.http.query import INDEX_MAX, Query
from pyconsul.http.reads import ask
from pyconsul.http.routes import App, route
from pyconsul.interfaces import Agent
from pyconsul.serf.members import Status
from pyconsul.structs.bodies import decode
from pyconsul.structs.durations import format_ns, parse_ns
from pyconsul.structs.operator import (
    AutopilotConfig,
    AutopilotSetConfigRequest,
    RaftRemovePeerRequest,
    ServerHealth,
    TransferLeaderRequest,
)
from pyconsul.structs.query import DCSpecificRequest

Result = Answer | Deferred[Answer]

PREFIX = "Bad request: Error parsing autopilot config: "
NS_MAX = (1 << 63) - 1


class AutopilotConfiguration(Struct, rename="pascal"):
    """The body of a PUT, which is that of a GET; indexes in it are not minded."""

    cleanup_dead_servers: bool = False
    last_contact_threshold: str | int | float = 0
    max_trailing_logs: int = 0
    min_quorum: int = 0
    server_stabilization_time: str | int | float = 0
    redundancy_zone_tag: str = ""
    disable_upgrade_migration: bool = False
    upgrade_version_tag: str = ""
    create_index: int = 0
    modify_index: int = 0


def add_routes(app: App, agent: Agent) -> None:
    """Declare the routes of this module."""

    def read(query: Query, method: str, shape: Any) -> Result:
        return ask(agent, method, DCSpecificRequest(**query.options()), shape)

    @route(app, "/v1/operator/raft/configuration")
    def raft_configuration(query: Query) -> Result:
        """The servers of the Raft configuration; with ``?stale`` also without a leader."""
        return read(query, "Operator.RaftGetConfiguration", _raft_configuration)

    @route(app, "/v1/operator/raft/peer", ["DELETE"])
    def remove_peer(query: Query) -> Result:
        """Take the server with ``?id=`` or ``?address=`` out of the Raft configuration."""
        if not query.has("id") and not query.has("address"):
            raise BadRequest(
                "Bad request: Must specify either ?id with the server's ID "
                "or ?address with IP:port of peer to remove"
            )
        if query.has("id") and query.has("address"):
            raise BadRequest("Bad request: Must specify only one of ?id or ?address")
        request = RaftRemovePeerRequest(
            id=query.get("id"), address=query.get("address"), **query.write_options()
        )
        method = "RaftRemovePeerByID" if query.has("id") else "RaftRemovePeerByAddress"
        return ask(agent, f"Operator.{method}", request, lambda reply: empty())

    @route(app, "/v1/operator/raft/transfer-leader", ["PUT", "POST"])
    def transfer_leader(query: Query) -> Result:
        """Hand leadership over, to the server with ``?id=`` if it is given."""
        request = TransferLeaderRequest(id=query.get("id"), **query.write_options())
        return ask(
            agent, "Operator.TransferLeader", request, lambda reply: Answer(json={"Success": reply.success})
        )

    @route(app, "/v1/operator/autopilot/configuration")
    def configuration(query: Query) -> Result:
        """How Autopilot behaves."""
        return read(query, "Operator.AutopilotGetConfiguration", _configuration)

    @route(app, "/v1/operator/autopilot/configuration", ["PUT"])
    def set_configuration(query: Query) -> Result:
        """Replace that, all of it, if its index is still ``?cas=``; says whether it was done."""
        config = autopilot_config(query.body, _cas(query))
        request = AutopilotSetConfigRequest(config=config, cas=query.has("cas"), **query.write_options())
        return ask(agent, "Operator.AutopilotSetConfiguration", request, lambda done: Answer(json=done))

    @route(app, "/v1/operator/autopilot/health")
    def health(query: Query) -> Result:
        """How the servers are; status 429 if not all of them are well."""
        return _ask_health(query, _health)

    @route(app, "/v1/operator/autopilot/state")
    def state(query: Query) -> Result:
        """The same in the form of later versions of Consul."""
        return _ask_health(query, _state)

    def _ask_health(query: Query, shape: Any) -> Result:
        options = query.options()
        options.pop("allow_stale", None)  # only the leader knows
        return ask(agent, "Operator.ServerHealth", DCSpecificRequest(**options), shape)


def _cas(query: Query) -> int:
    if not query.has("cas"):
        return 0
    try:
        return query.unsigned("cas")
    except Refused as error:
        raise BadRequest(f"Bad request: Error parsing cas value: {error}") from None


def autopilot_config(body: bytes, modify_index: int) -> AutopilotConfig:
    """The configuration in a body.

    :raises BadRequest: if it cannot be read.
    """
    given = decode(body, AutopilotConfiguration, prefix=PREFIX)
    for name, value, kind in (
        ("MaxTrailingLogs", given.max_trailing_logs, "uint64"),
        ("MinQuorum", given.min_quorum, "uint"),
    ):
        if not 0 <= value <= INDEX_MAX:
            where = f"AutopilotConfiguration.{name}"
            raise BadRequest(
                f"{PREFIX}json: cannot unmarshal number {value} into Go struct field {where} of type {kind}"
            )
    return AutopilotConfig(
        cleanup_dead_servers=given.cleanup_dead_servers,
        last_contact_threshold=_duration_ns(given.last_contact_threshold),
        max_trailing_logs=given.max_trailing_logs,
        min_quorum=given.min_quorum,
        server_stabilization_time=_duration_ns(given.server_stabilization_time),
        redundancy_zone_tag=given.redundancy_zone_tag,
        disable_upgrade_migration=given.disable_upgrade_migration,
        upgrade_version_tag=given.upgrade_version_tag,
        modify_index=modify_index,
    )


def _duration_ns(value: str | int | float) -> int:
    """A duration: text as Go writes it, or nanoseconds."""
    try:
        found = parse_ns(value) if isinstance(value, str) else int(value)
    except (ValueError, OverflowError) as error:  # infinity is a float too
        raise BadRequest(f"{PREFIX}{error}") from None
    if abs(found) > NS_MAX:
        raise BadRequest(f"{PREFIX}duration out of range: {value}")
    return found


def _raft_configuration(reply: Any) -> Answer:
    return Answer(json={"Servers": reply.servers, "Index": 0})


def _configuration(reply: Any) -> Answer:
    return Answer(
        json={
            "CleanupDeadServers": reply.cleanup_dead_servers,
            "LastContactThreshold": format_ns(reply.last_contact_threshold),
            "MaxTrailingLogs": reply.max_trailing_logs,
            "MinQuorum": reply.min_quorum,
            "ServerStabilizationTime": format_ns(reply.server_stabilization_time),
            "RedundancyZoneTag": reply.redundancy_zone_tag,
            "DisableUpgradeMigration": reply.disable_upgrade_migration,
            "UpgradeVersionTag": reply.upgrade_version_tag,
            "CreateIndex": reply.create_index,
            "ModifyIndex": reply.modify_index,
        }
    )


def _health(reply: Any) -> Answer:
    servers = [
        {
            "ID": server.id,
            "Name": server.name,
            "Address": server.address,
            "SerfStatus": _status_name(server),
            "Version": server.version,
            "Leader": server.leader,
            "LastContact": format_ns(server.last_contact),
            "LastTerm": server.last_term,
            "LastIndex": server.last_index,
            "Healthy": server.healthy,
            "Voter": server.voter,
            "StableSince": server.stable_since,
        }
        for server in reply.servers
    ]
    found = {"Healthy": reply.healthy, "FailureTolerance": reply.failure_tolerance, "Servers": servers}
    return Answer(json=found, status=200 if reply.healthy else 429)


def _state(reply: Any) -> Answer:
    servers = {
        server.id: {
            "ID": server.id,
            "Name": server.name,
            "Address": server.address,
            "NodeStatus": _status_name(server),
            "Version": server.version,
            "LastContact": format_ns(server.last_contact),
            "LastTerm": server.last_term,
            "LastIndex": server.last_index,
            "Healthy": server.healthy,
            "StableSince": server.stable_since,
            "ReadReplica": False,
            "Status": "leader" if server.leader else "voter" if server.voter else "non-voter",
            "Meta": {},
            "NodeType": "voter" if server.voter else "",
        }
        for server in reply.servers
    }
    return Answer(
        json={
            "Healthy": reply.healthy,
            "FailureTolerance": reply.failure_tolerance,
            "OptimisticFailureTolerance": reply.failure_tolerance,
            "Servers": servers,
            "Leader": next((server.id for server in reply.servers if server.leader), ""),
            "Voters": [server.id for server in reply.servers if server.voter],
        }
    )


def _status_name(server: ServerHealth) -> str:
    known = {int(status): status.name.lower() for status in Status}
    return known.get(server.serf_status, "unknown")
