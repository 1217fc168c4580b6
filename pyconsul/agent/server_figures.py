"""What a server measures beyond what every agent does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyconsul.raft.events import Role
from pyconsul.structs.metrics import Durations

if TYPE_CHECKING:
    from pyconsul.agent.server import ServerAgent

TIMED_WRITES = {
    "Catalog.Deregister": "catalog.deregister",
    "Catalog.Register": "catalog.register",
    "KVS.Apply": "kvs.apply",
    "PreparedQuery.Apply": "prepared-query.apply",
    "Session.Apply": "session.apply",
    "Txn.Apply": "txn.apply",
}
"""Endpoints whose writes are timed, and what Consul calls that."""

COUNTED_READS = {
    "Catalog.ServiceNodes": "catalog.service.query",
    "Health.ServiceNodes": "health.service.query",
}
"""The same for reads that are counted beside all others."""


class Served:
    """What a server was asked so far.

    :ivar calls: requests that came over the network.
    :ivar reads: those of all requests that read, by endpoint.
    :ivar elsewhere: those that were passed on to another datacenter.
    :ivar timings: how long writes took, by Consul's names.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.seconds = seconds
        self.calls = self.elsewhere = 0
        self.reads: defaultdict[str, int] = defaultdict(int)
        self._writes = {method: Durations() for method in TIMED_WRITES}
        self.timings = {name: self._writes[method] for method, name in TIMED_WRITES.items()}

    def wrote(self, method: str, begun: float) -> None:
        """The log has answered a write that was asked for at ``begun``."""
        timing = self._writes.get(method)
        if timing is not None:
            timing.add((self.seconds() - begun) * 1e3)


def gauges(server: ServerAgent) -> dict[str, float]:
    """How things are now."""
    raft = server.raft
    health = server.autopilot.health() if raft.is_leader else None
    found: dict[str, float] = {
        "raft.applied_index": raft.applied_index,
        "raft.commitNumLogs": raft.core.commit_index - raft.applied_index,
        "raft.last_index": raft.core.last_log_index,
        "raft.peers": len(raft.core.configuration.servers),
        "rpc.queries_blocking": server.parking.count,
        "server.isLeader": float(raft.is_leader),
        "session_ttl.active": len(server.session_timers),
        "state.kv_entries": len(server.store.kv),
    }
    if health is not None:
        found["autopilot.failure_tolerance"] = health.failure_tolerance
        found["autopilot.healthy"] = float(health.healthy)
    return found


def totals(server: ServerAgent) -> dict[str, float]:
    """What only grows."""
    raft, served = server.raft, server.served
    return {
        "raft.apply": raft.applied_index,
        "raft.state.candidate": raft.roles[Role.CANDIDATE],
        "raft.state.follower": raft.roles[Role.FOLLOWER],
        "raft.state.leader": raft.roles[Role.LEADER],
        "raft.transition.heartbeat_timeout": raft.roles[Role.CANDIDATE],
        "raft.verify_leader": raft.confirmations,
        "rpc.cross-dc": served.elsewhere,
        "rpc.query": sum(served.reads.values()),
        "rpc.request": served.calls,
        **{name: served.reads[method] for method, name in COUNTED_READS.items()},
    }
