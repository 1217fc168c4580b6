"""An agent that answers from a table, and the ends of a connection to talk to a site with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from pyconsul.errors import Refused
from pyconsul.http.app import make_site
from pyconsul.http.settings import HttpSettings
from pyconsul.http.site import Site
from pyconsul.interfaces import LATER
from pyconsul.structs.catalog import (
    CheckServiceNode,
    HealthCheck,
    IndexedCheckServiceNodes,
    IndexedHealthChecks,
    IndexedNodes,
    IndexedNodeServiceList,
    IndexedNodeServices,
    IndexedServiceNodes,
    IndexedServices,
    Node,
    NodeService,
    NodeServiceList,
    NodeServices,
    ServiceNode,
)
from pyconsul.structs.changes import (
    HealthChangesReply,
    InstanceChangesReply,
    InstanceKey,
    KVChangesReply,
    NodeChangesReply,
    ServiceChangesReply,
)
from pyconsul.structs.coordinate import Coordinate, DatacenterMap, IndexedCoordinates, NodeCoordinate
from pyconsul.structs.dumps import IndexedGatewayDump, IndexedGatewayServices, IndexedNodeDump, NodeInfo
from pyconsul.structs.kv import DirEntry, IndexedDirEntries, IndexedKeyList
from pyconsul.structs.operator import (
    AutopilotConfigReply,
    OperatorHealthReply,
    RaftConfigurationReply,
    RaftServer,
    ServerHealth,
    TransferLeaderReply,
)
from pyconsul.structs.prepared import (
    IndexedPreparedQueries,
    PreparedQuery,
    PreparedQueryExecuteResponse,
    PreparedQueryExplainResponse,
    QueryDNSOptions,
    ServiceQuery,
)
from pyconsul.structs.session import IndexedSessions, Session
from pyconsul.structs.txn import TxnReadResponse, TxnResponse, TxnResult

WALL_TIME = 1_795_000_000.0
DATE = b"Wed, 18 Nov 2026 11:06:40 GMT"

NODE = Node(id="9a4e0a3b-0f4c-4f07-8f1b-7b5f0a7a2a11", node="n1", address="192.0.2.1", datacenter="dc1")
PLACE = NodeCoordinate(node="n1", coord=Coordinate())
SERVICE = NodeService(id="web1", service="web", tags=["v1"], port=80, create_index=5, modify_index=6)
SESSION = Session(
    id="2a88cf87-5efa-d566-8b52-e578548e40a1", node="n1", lock_delay=15_000_000_000, behavior="release",
    node_checks=["serfHealth"], create_index=5, modify_index=5,
)  # fmt: skip


QUERY = PreparedQuery(
    id="a7d96076-ace3-fe71-4db2-3a942f4022bd", name="q", service=ServiceQuery(service="web"),
    dns=QueryDNSOptions(ttl="5s"), create_index=5, modify_index=6,
)  # fmt: skip


def check(status: str = "passing") -> HealthCheck:
    """A check of ``SERVICE``."""
    return HealthCheck(
        node="n1", check_id="c", name="c", status=status, service_id="web1", service_name="web"
    )


def meta(**more: Any) -> dict[str, Any]:
    """What the leader says about a read."""
    return {"index": 7, "known_leader": True, **more}


def entry(key: str = "a", value: bytes | None = b"hello") -> DirEntry:
    """A row of the key/value table."""
    return DirEntry(key=key, value=value, create_index=6, modify_index=7)


def _sessions(asked: str) -> list[Session]:
    return [] if asked.startswith("none") else [SESSION]


def operator_replies() -> dict[str, Any]:
    """Those of ``/v1/operator``."""
    server = RaftServer(
        id=NODE.id, node="n1", address="192.0.2.1:8300", leader=True, protocol_version="3", voter=True
    )
    health = ServerHealth(
        id=NODE.id, name="n1", address="192.0.2.1:8300", serf_status=1, version="1.2.3", leader=True,
        last_contact=0, last_term=2, last_index=7, healthy=True, voter=True,
        stable_since="2026-11-18T11:06:40Z",
    )  # fmt: skip
    return {
        "Operator.RaftGetConfiguration": RaftConfigurationReply(servers=[server], **meta()),
        "Operator.RaftRemovePeerByAddress": None,
        "Operator.RaftRemovePeerByID": None,
        "Operator.TransferLeader": TransferLeaderReply(True),
        "Operator.AutopilotGetConfiguration": AutopilotConfigReply(
            cleanup_dead_servers=True, last_contact_threshold=200_000_000, max_trailing_logs=250,
            server_stabilization_time=10_000_000_000, create_index=4, modify_index=9, **meta(),
        ),
        "Operator.AutopilotSetConfiguration": True,
        "Operator.ServerHealth": OperatorHealthReply(
            healthy=True, failure_tolerance=0, servers=[health], **meta()
        ),
    }  # fmt: skip


def query_replies() -> dict[str, Any]:
    """Those of ``/v1/query``."""
    told: dict[str, Any] = meta(consistency_level="leader")
    found = [CheckServiceNode(NODE, SERVICE, [check()])]
    return {
        "PreparedQuery.Apply": QUERY.id,
        "PreparedQuery.Get": IndexedPreparedQueries(queries=[QUERY], **meta()),
        "PreparedQuery.List": IndexedPreparedQueries(queries=[QUERY], **meta()),
        "PreparedQuery.Execute": PreparedQueryExecuteResponse(
            service="web", nodes=found, dns=QUERY.dns, datacenter="dc1", **told
        ),
        "PreparedQuery.Explain": PreparedQueryExplainResponse(query=QUERY, **told),
    }


def changes_replies() -> dict[str, Any]:
    """Those to ``?changed``."""
    told: dict[str, Any] = meta(consistency_level="leader", as_of=9)
    instance = ServiceNode(node="n1", address="192.0.2.1", service_name="web")
    gone = [InstanceKey("n2", "web2")]
    health = [CheckServiceNode(NODE, SERVICE, [check()])]
    return {
        "Changes.KV": KVChangesReply(
            changed=[entry("a/1")], deleted=["a/2"], deleted_prefixes=["a/b/"], **told
        ),
        "Changes.Nodes": NodeChangesReply(changed=[NODE], reset=True, **told),
        "Changes.Services": ServiceChangesReply(changed={"web": ["v1"]}, reset=True, **told),
        "Changes.ServiceNodes": InstanceChangesReply(changed=[instance], deleted=gone, reset=True, **told),
        "Changes.Health": HealthChangesReply(changed=health, deleted=gone, reset=True, **told),
    }


def replies() -> dict[str, Any]:
    """A reply to each method that HTTP asks."""
    instance = CheckServiceNode(NODE, SERVICE, [check()])
    failing = CheckServiceNode(NODE, SERVICE, [check(), check("warning")])
    return {
        "KVS.Get": lambda request: IndexedDirEntries(
            entries=[] if request.key.startswith("none") else [entry(request.key)], **meta()
        ),
        "KVS.List": lambda request: IndexedDirEntries(
            entries=[] if request.key.startswith("none") else [entry("a/1"), entry("a/2", None)], **meta()
        ),
        "KVS.ListKeys": lambda request: IndexedKeyList(
            keys=[] if request.prefix.startswith("none") else ["a/1", "a/2"], **meta()
        ),
        "KVS.Apply": lambda request: request.dir_ent.key != "refused",
        "Txn.Apply": lambda request: TxnResponse(results=[TxnResult(kv=entry("a", None))]),
        "Txn.Read": lambda request: TxnReadResponse(results=[TxnResult(kv=entry())], **meta()),
        "Session.Apply": SESSION.id,
        "Session.Renew": lambda request: IndexedSessions(sessions=_sessions(request.session_id)),
        "Session.Get": lambda request: IndexedSessions(sessions=_sessions(request.session_id), **meta()),
        "Session.List": IndexedSessions(sessions=[SESSION], **meta()),
        "Session.NodeSessions": lambda request: IndexedSessions(sessions=_sessions(request.node), **meta()),
        "Catalog.Register": None,
        "Catalog.Deregister": None,
        "Catalog.ListDatacenters": ["dc1", "dc2"],
        "Catalog.ListNodes": IndexedNodes(nodes=[NODE], **meta()),
        "Catalog.ListServices": IndexedServices(services={"web": ["v1"]}, **meta()),
        "Catalog.ServiceNodes": IndexedServiceNodes(
            service_nodes=[ServiceNode(node="n1", address="192.0.2.1", service_name="web")], **meta()
        ),
        "Catalog.NodeServices": IndexedNodeServices(
            node_services=NodeServices(NODE, {"web1": SERVICE}), **meta()
        ),
        "Catalog.NodeServiceList": IndexedNodeServiceList(
            node_services=NodeServiceList(NODE, [SERVICE]), **meta()
        ),
        "Health.NodeChecks": IndexedHealthChecks(health_checks=[check()], **meta()),
        "Health.ServiceChecks": IndexedHealthChecks(health_checks=[check()], **meta()),
        "Health.ChecksInState": IndexedHealthChecks(health_checks=[check()], **meta()),
        "Health.ServiceNodes": IndexedCheckServiceNodes(nodes=[instance, failing], **meta()),
        "Coordinate.ListDatacenters": [DatacenterMap(datacenter="dc1", coordinates=[PLACE])],
        "Coordinate.ListNodes": IndexedCoordinates(coordinates=[PLACE], **meta()),
        "Coordinate.Node": lambda request: IndexedCoordinates(
            coordinates=[PLACE] if request.node == "n1" else [], **meta()
        ),
        "Coordinate.Update": None,
        "Catalog.GatewayServices": IndexedGatewayServices(**meta()),
        "Internal.GatewayServiceDump": IndexedGatewayDump(**meta()),
        "Internal.NodeDump": IndexedNodeDump(dump=[NodeInfo(node="n1", checks=[check()])], **meta()),
        "Internal.NodeInfo": lambda request: IndexedNodeDump(
            dump=[NodeInfo(node="n1")] if request.node == "n1" else [], **meta()
        ),
        "Internal.ServiceDump": IndexedCheckServiceNodes(nodes=[instance, failing], **meta()),
        "Status.Leader": "192.0.2.1:8300",
        "Status.Peers": ["192.0.2.1:8300"],
        **operator_replies(),
        **query_replies(),
        **changes_replies(),
    }


class Unsent:
    """A question that others may share until it is sent."""

    sent = False

    def takes(self, waited_s: float) -> bool:
        return not self.sent


class FakeAgent:
    """Answers from ``replies``: a value, a function of the request, an error to raise, a Deferred, ``LATER``.

    :ivar asked: ``(method, request)`` in order.
    :ivar waiters: who is to be told later.
    :ivar watching: the watchers of reads, which it arms if ``arms`` is set.
    :ivar forgotten: the watchers that were taken back.
    :ivar relaying: what ``relay`` gives.
    :ivar confirming: how often its leadership was to be confirmed; ``confirmed`` is what that gives, and
        ``leases`` whether a lease would have done.
    """

    def __init__(self, **changes: Any) -> None:
        self.replies = replies()
        self.replies.update({name.replace("_", "."): reply for name, reply in changes.items()})
        self.asked: list[tuple[str, Any]] = []
        self.arms = True
        self.waiters: list[Any] = []
        self.watching: list[Any] = []
        self.forgotten: list[Any] = []
        self.confirming = 0
        self.leases: list[bool] = []
        self.soon: list[Callable[[], object]] = []
        self.leased = True
        self.contact_ms = 0
        self.confirmed: Deferred[None] | None = None
        self.relaying: Callable[[bytes], Any] = lambda target: None

    def ask(self, method: str, request: Any, watcher: Any = None, waiter: Any = None) -> Any:
        self.asked.append((method, request))
        if watcher is not None and self.arms:
            watcher.armed = True
            self.watching.append(watcher)
        if getattr(request, "datacenter", "") not in ("", "dc1"):
            raise Refused("No path to datacenter")
        reply = self.replies[method]
        if reply is LATER:
            self.waiters.append(waiter)
            return LATER
        if isinstance(reply, Exception):
            raise reply
        return reply(request) if callable(reply) and not isinstance(reply, Deferred) else reply

    def confirm(self, waiter: Any, leased: bool) -> Unsent:
        self.confirming += 1
        self.leases.append(leased)
        confirmed, self.confirmed = self.confirmed or succeed(None), None
        question = Unsent()

        def tell() -> None:
            question.sent = True
            confirmed.addCallbacks(waiter.callback, waiter.errback)

        self.soon.append(tell)
        return question

    def turn(self) -> None:
        """The next turn of the reactor: who waits is told."""
        soon, self.soon = self.soon, []
        for tell in soon:
            tell()

    def last_contact_ms(self) -> int:
        return self.contact_ms

    def holds_lease(self) -> bool:
        return self.leased

    def relay(self, target: bytes) -> Any:
        return self.relaying(target)

    def shared_time_s(self, request: Any) -> float:
        return 10.0

    def forget(self, watcher: Any) -> None:
        self.forgotten.append(watcher)

    def wake(self) -> None:
        """Everything changes."""
        watching, self.watching = self.watching, []
        for watcher in watching:
            watcher.wake()


class TurningClock(Clock):
    """A clock that takes turns as the reactor does: what is asked for in one is done in the next."""

    def advance(self, amount: float) -> None:
        self.rightNow += amount
        for call in [call for call in self.calls if call.getTime() <= self.rightNow]:
            if call in self.calls:
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)


class Client:
    """One connection to ``site`` by way of a ``StringTransport``."""

    def __init__(self, site: Site) -> None:
        self.transport = Wire()
        channel = site.buildProtocol(self.transport.getPeer())
        self.channel: Any = channel
        channel.makeConnection(self.transport)

    def send(self, data: bytes) -> bytes:
        """Send ``data``; what the site has written since the last call."""
        self.channel.dataReceived(data)
        getattr(self.channel.site.surface.agent, "turn", lambda: None)()
        return self.received()

    def received(self) -> bytes:
        """What the site has written since the last call."""
        written: bytes = self.transport.value()
        self.transport.clear()
        return written

    def get(self, target: str, method: str = "GET", body: bytes = b"", headers: str = "") -> bytes:
        """Send one request."""
        return self.send(request(target, method, body, headers))

    def lose(self) -> None:
        """The client goes away."""
        self.channel.connectionLost(Failure(ConnectionDone()))


class Wire(StringTransport):
    """A transport that knows all ways to end and notes how it ended."""

    half_closed = False
    no_delay = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def loseWriteConnection(self) -> None:
        self.half_closed = True


def request(target: str, method: str = "GET", body: bytes = b"", headers: str = "") -> bytes:
    """A request with ``headers``, each line ended by ``\\r\\n``."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}{length}\r\n".encode() + body


def site(agent: FakeAgent, clock: Clock | None = None, more: Any = (), **settings: Any) -> Site:
    """A site for ``agent`` at a fixed wall time."""
    clock = clock or Clock()
    return make_site(agent, HttpSettings(**settings), clock, lambda: WALL_TIME, more)
