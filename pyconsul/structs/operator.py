"""What operators see and change of the servers: Raft's configuration, Autopilot, health.

Field names are those of Consul 1.8.7 (specs of the RPC, section 6). Durations are nanoseconds.
"""

from msgspec import Struct, field

from pyconsul.structs.query import QueryMeta, WriteRequest

NEVER_NS = -1
"""The last contact of a server that has heard of no leader yet."""

UNKNOWN_NODE = "(unknown)"
"""The name of a server in the Raft configuration that gossip does not know."""


class AutopilotConfig(Struct, rename="pascal", frozen=True, kw_only=True):
    """How Autopilot behaves; there is one row of it, replaced and never changed.

    The last three settings but the indexes are kept for Consul's Enterprise edition and do nothing.

    :ivar cleanup_dead_servers: remove failed servers by itself.
    :ivar last_contact_threshold: a server silent for longer is not healthy.
    :ivar max_trailing_logs: a server more entries behind the leader is not healthy.
    :ivar min_quorum: never remove a server if fewer voters would be left.
    :ivar server_stabilization_time: how long a server has to be healthy before it gets a vote.
    """

    cleanup_dead_servers: bool = False
    last_contact_threshold: int = 0
    max_trailing_logs: int = 0
    min_quorum: int = 0
    server_stabilization_time: int = 0
    redundancy_zone_tag: str = ""
    disable_upgrade_migration: bool = False
    upgrade_version_tag: str = ""
    create_index: int = 0
    modify_index: int = 0


class AutopilotConfigReply(  # type: ignore[misc]  # what holds for dataclasses does not for structs
    AutopilotConfig, rename="pascal", frozen=False, kw_only=True
):
    """Operator.AutopilotGetConfiguration: the row, and what ``QueryMeta`` has."""

    index: int = 0
    last_contact: int = 0
    known_leader: bool = False
    consistency_level: str = ""


class AutopilotSetConfigRequest(WriteRequest, rename="pascal", kw_only=True):
    """Operator.AutopilotSetConfiguration; the reply tells whether it was done.

    :ivar cas: only if the stored one still has ``config.modify_index``.
    """

    datacenter: str = ""
    config: AutopilotConfig = AutopilotConfig()
    cas: bool = field(default=False, name="CAS")


class RaftServer(Struct, rename="pascal", frozen=True, kw_only=True):
    """A server of the Raft configuration.

    :ivar node: its name in gossip, or ``(unknown)``.
    """

    id: str = field(name="ID")
    node: str
    address: str
    leader: bool
    protocol_version: str
    voter: bool


class RaftConfigurationReply(QueryMeta, rename="pascal", kw_only=True):
    """Operator.RaftGetConfiguration."""

    servers: list[RaftServer] = []


class RaftRemovePeerRequest(WriteRequest, rename="pascal", kw_only=True):
    """Operator.RaftRemovePeerByAddress and Operator.RaftRemovePeerByID: which server."""

    datacenter: str = ""
    address: str = ""
    id: str = field(default="", name="ID")


class TransferLeaderRequest(WriteRequest, rename="pascal", kw_only=True):
    """Operator.TransferLeader: to whom; empty for the most up-to-date voter."""

    datacenter: str = ""
    id: str = field(default="", name="ID")


class TransferLeaderReply(Struct, rename="pascal"):
    """Whether another server has taken over."""

    success: bool


class RaftStatsRequest(Struct, rename="pascal", kw_only=True):
    """Status.RaftStats: an empty map."""

    datacenter: str = ""


class RaftStats(Struct, rename="pascal", frozen=True, kw_only=True):
    """What one server says of its replica.

    :ivar last_contact: since it heard of the leader, as Go writes a duration; ``0`` on the leader
        itself, ``never`` if it has heard of none.
    """

    last_contact: str = ""
    last_term: int = 0
    last_index: int = 0


class ServerHealth(Struct, rename="pascal", frozen=True, kw_only=True):
    """What Autopilot thinks of one server.

    :ivar serf_status: a number of ``pyconsul.serf.members.Status``; 0 if gossip does not know it.
    :ivar last_contact: in nanoseconds, ``NEVER_NS`` if it has heard of no leader.
    :ivar stable_since: when ``healthy`` last changed, as text in UTC to the second. (Consul's own RPC
        has Go's binary form of a time here.)
    """

    id: str = field(name="ID")
    name: str
    address: str
    serf_status: int
    version: str
    leader: bool
    last_contact: int
    last_term: int
    last_index: int
    healthy: bool
    voter: bool
    stable_since: str


class OperatorHealthReply(QueryMeta, rename="pascal", kw_only=True):
    """Operator.ServerHealth.

    :ivar failure_tolerance: how many healthy voters may be lost before there is no majority.
    """

    healthy: bool = False
    failure_tolerance: int = 0
    servers: list[ServerHealth] = []
