"""What an agent measures, declared once: the reference page comes from here.

Names are Consul's (specs of the run-time surface, section 7), without ``telemetry.metrics_prefix``.
"""

from __future__ import annotations

from dataclasses import dataclass

GAUGE, COUNTER, TIMING = "gauge", "counter", "timing, ms"


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure; ``on_servers``: clients do not have it. Parts of ``name`` in capitals stand for others."""

    name: str
    kind: str
    doc: str
    on_servers: bool = False


METRICS = (
    Metric("runtime.alloc_bytes", GAUGE, "Memory of the process."),
    Metric("runtime.sys_bytes", GAUGE, "The same."),
    Metric("runtime.heap_objects", GAUGE, "Blocks of memory that the interpreter uses."),
    Metric("runtime.num_goroutines", GAUGE, "Threads."),
    Metric("runtime.total_gc_runs", GAUGE, "Garbage collections so far."),
    Metric("http.METHOD.PATH", TIMING, "Answers of the HTTP API, from the whole request to the answer. "
           "Slashes are dots, and ``_`` stands for what follows the path, as in ``http.GET.v1.kv._``. "
           "Answers that were kept count as taking no time; waits of blocking queries are included."),
    Metric("dns.domain_query", TIMING, "Answers to questions of all types but PTR; as for HTTP."),
    Metric("dns.ptr_query", TIMING, "Answers to questions of type PTR."),
    Metric("client.rpc", COUNTER, "Requests of this agent to servers, or to itself if it is one."),
    Metric("client.rpc.exceeded", COUNTER, "Those of a client agent that ``limits.rpc_rate`` did not allow."),
    Metric("serf.events", COUNTER, "Changes of members that gossip has reported."),
    Metric("serf.member.join", COUNTER, "Members that joined."),
    Metric("serf.member.leave", COUNTER, "Members that left."),
    Metric("serf.member.failed", COUNTER, "Members that failed."),
    Metric("serf.member.update", COUNTER, "Members with new tags or another address."),
    Metric("serf.member.reap", COUNTER, "Members that were forgotten."),
    Metric("serf.queue.Event", GAUGE, "User events that are still being spread."),
    Metric("serf.queue.Intent", GAUGE, "Joins and leaves that are still being spread."),
    Metric("serf.queue.Query", GAUGE, "Queries that are still being spread."),
    Metric("memberlist.health.score", GAUGE, "How badly this node keeps up with gossip; 0 is well."),
    Metric("memberlist.udp.received", COUNTER, "Bytes of gossip that came in packets."),
    Metric("memberlist.udp.sent", COUNTER, "Bytes of gossip that went out in packets."),
    Metric("autopilot.failure_tolerance", GAUGE, "Servers that may fail; the leader's.", True),
    Metric("autopilot.healthy", GAUGE, "1 if all servers are healthy; the leader's.", True),
    Metric("catalog.deregister", TIMING, "Deregistrations on the leader, until they were written.", True),
    Metric("catalog.register", TIMING, "Registrations on the leader, until they were written.", True),
    Metric("catalog.service.query", COUNTER, "Reads of a service's instances in the catalog.", True),
    Metric("health.service.query", COUNTER, "Reads of a service's instances with their checks.", True),
    Metric("kvs.apply", TIMING, "Writes of keys on the leader.", True),
    Metric("prepared-query.apply", TIMING, "Writes of prepared queries on the leader.", True),
    Metric("session.apply", TIMING, "Sessions made and destroyed on the leader.", True),
    Metric("session_ttl.active", GAUGE, "Sessions with a TTL that the leader watches over.", True),
    Metric("txn.apply", TIMING, "Transactions on the leader.", True),
    Metric("raft.applied_index", GAUGE, "Index of the last entry applied.", True),
    Metric("raft.last_index", GAUGE, "Index of the last entry in the log.", True),
    Metric("raft.commitNumLogs", GAUGE, "Entries committed and not yet applied.", True),
    Metric("raft.peers", GAUGE, "Servers in the configuration.", True),
    Metric("raft.apply", COUNTER, "Entries applied.", True),
    Metric("raft.commitTime", TIMING, "From the log of the leader to a majority, per batch.", True),
    Metric("raft.fsm.apply", TIMING, "To apply an entry.", True),
    Metric("raft.state.candidate", COUNTER, "Elections that this server began.", True),
    Metric("raft.state.follower", COUNTER, "Times that this server became a follower.", True),
    Metric("raft.state.leader", COUNTER, "Times that this server became the leader.", True),
    Metric("raft.transition.heartbeat_timeout", COUNTER, "Leaders that were missed.", True),
    Metric("raft.verify_leader", COUNTER, "Times that a leader asked whether it still is one.", True),
    Metric("rpc.cross-dc", COUNTER, "Requests that were passed on to another datacenter.", True),
    Metric("rpc.queries_blocking", GAUGE, "Blocking queries that wait.", True),
    Metric("rpc.query", COUNTER, "Reads.", True),
    Metric("rpc.request", COUNTER, "Requests that came over the network.", True),
    Metric("server.isLeader", GAUGE, "1 on the leader.", True),
    Metric("state.kv_entries", GAUGE, "Keys.", True),
)  # fmt: skip


def render() -> str:
    """reStructuredText with a definition list."""
    text: list[str] = []
    for metric in METRICS:
        facts = f"*{metric.kind}*, servers only" if metric.on_servers else f"*{metric.kind}*"
        text += [f"``{metric.name}``", f"    {metric.doc}", "", f"    {facts}", ""]
    return "\n".join(text)
