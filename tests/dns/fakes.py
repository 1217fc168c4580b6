"""A catalog to ask, questions for it, and answers in readable form as twisted.names reads them."""

from __future__ import annotations

import struct
from typing import Any

from twisted.internet.defer import Deferred
from twisted.names import dns as names_dns

from pyconsul.dns.wire import name_bytes
from pyconsul.errors import NoPath, NotFound, PyconsulError, Refused
from pyconsul.structs.catalog import (
    CheckServiceNode,
    HealthCheck,
    IndexedCheckServiceNodes,
    IndexedNodes,
    IndexedNodeServices,
    IndexedServiceNodes,
    Node,
    NodeService,
    NodeServices,
    ServiceNode,
    Weights,
)

TYPES = {
    "A": 1,
    "NS": 2,
    "CNAME": 5,
    "SOA": 6,
    "PTR": 12,
    "MX": 15,
    "TXT": 16,
    "AAAA": 28,
    "SRV": 33,
    "AXFR": 252,
    "ANY": 255,
}
RCODES = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"]


def row(
    node: str = "a",
    node_address: str = "192.0.2.1",
    service: str = "web",
    *,
    port: int = 80,
    address: str = "",
    tags: tuple[str, ...] = (),
    status: str = "passing",
    node_status: str = "passing",
    weights: Weights | None = None,
    meta: dict[str, str] | None = None,
) -> CheckServiceNode:
    """An instance on a node, with a check of each."""
    return CheckServiceNode(
        Node(node=node, address=node_address, datacenter="dc1", meta=meta),
        NodeService(
            id=service,
            service=service,
            port=port,
            address=address,
            tags=list(tags),
            weights=weights or Weights(1, 1),
        ),
        [
            HealthCheck(node=node, status=node_status),
            HealthCheck(node=node, status=status, service_id=service),
        ],
    )


class FakeAgent:
    """Answers what DNS asks from ``rows`` and ``nodes``.

    :ivar deferred: give Deferreds that fire when ``flush`` is called, as a client agent does.
    :ivar error: what to raise instead, or to fail with.
    :ivar watchers: those that were given, armed if ``arms``.
    """

    def __init__(self, rows: list[CheckServiceNode], nodes: list[Node] | None = None) -> None:
        self.rows = rows
        self.nodes = nodes if nodes is not None else list({r.node.node: r.node for r in rows}.values())
        self.deferred = False
        self.arms = True
        self.error: Exception | None = None
        self.asked: list[tuple[str, Any]] = []
        self.watchers: list[Any] = []
        self.last_contact = 0
        self.waiting: list[tuple[Deferred[Any], Any]] = []
        self.forgotten: list[Any] = []
        self.queries: dict[str, Any] = {}
        self.refused = ""

    def confirm(self, waiter: Any, leased: bool) -> Any:
        raise AssertionError("DNS does not ask for it")

    def relay(self, target: bytes) -> Any:
        return None

    def shared_time_s(self, request: Any) -> float:
        return 0.0

    def last_contact_ms(self) -> int:
        return 0

    def holds_lease(self) -> bool:
        raise AssertionError("DNS does not ask for it")

    def forget(self, watcher: Any) -> None:
        self.forgotten.append(watcher)

    def ask(self, method: str, request: Any, watcher: Any = None, waiter: Any = None) -> Any:
        self.asked.append((method, request))
        if not self.deferred:
            reply = self._reply(method, request)
            if watcher is not None and self.arms:
                watcher.armed = True
                self.watchers.append(watcher)
            return reply
        waiting: Deferred[Any] = Deferred()
        try:
            self.waiting.append((waiting, self._reply(method, request)))
        except Exception as error:
            self.waiting.append((waiting, error))
        return waiting

    def flush(self) -> None:
        """Let every Deferred fire, also those that are asked for meanwhile."""
        while self.waiting:
            waiting, reply = self.waiting.pop(0)
            waiting.errback(reply) if isinstance(reply, Exception) else waiting.callback(reply)

    def _reply(self, method: str, request: Any) -> Any:
        if self.error is not None:
            raise self.error
        if request.datacenter not in ("", "dc1"):
            raise NoPath()
        reply = self._found(method, request)
        reply.last_contact = self.last_contact if request.allow_stale else 0
        return reply

    def _found(self, method: str, request: Any) -> Any:
        if method == self.refused:
            raise Refused("Must provide service name")
        if method == "Health.ServiceNodes":
            tags = {tag.lower() for tag in request.service_tags or ()}
            name = request.service_name.lower()
            rows = [
                row
                for row in self.rows
                if row.service.service.lower() == name
                and not request.connect
                and not request.ingress
                and tags <= {tag.lower() for tag in row.service.tags or ()}
            ]
            return IndexedCheckServiceNodes(nodes=rows)
        if method == "Catalog.NodeServices":
            for node in self.nodes:
                if node.node.lower() == request.node.lower():
                    return IndexedNodeServices(node_services=NodeServices(node, {}))
            return IndexedNodeServices()
        if method == "Catalog.ListNodes":
            return IndexedNodes(nodes=self.nodes)
        if method == "Catalog.ServiceNodes":
            return IndexedServiceNodes(
                service_nodes=[
                    ServiceNode(node=row.node.node, address="", service_name=row.service.service)
                    for row in self.rows
                    if row.service.address == request.service_address
                ]
            )
        if method == "PreparedQuery.Execute" and request.query_id_or_name in self.queries:
            found = self.queries[request.query_id_or_name]
            if isinstance(found, PyconsulError):
                raise found
            return found
        if method == "PreparedQuery.Execute":
            raise NotFound("Query not found")
        raise Refused(f"rpc: can't find service {method}")


def question(
    name: str,
    type_: str = "A",
    *,
    ident: int = 0x1234,
    edns: int = 0,
    options: bytes = b"",
    flags: int = 0x0100,
    class_: int = 1,
) -> bytes:
    """A message that asks."""
    data = struct.pack("!HHHHHH", ident, flags, 1, 0, 0, 1 if edns else 0)
    data += name_bytes(name) + struct.pack("!HH", TYPES.get(type_) or int(type_), class_)
    if edns:
        data += struct.pack("!xHHIH", 41, edns, 0, len(options)) + options
    return data


def read(data: bytes) -> dict[str, Any]:
    """An answer, its sections as sets of lines."""
    message = names_dns.Message()
    message.maxCompressionPointers = 100_000
    message.fromStr(data)
    flags = [
        name
        for name, value in (
            ("qr", message.answer),
            ("aa", message.auth),
            ("tc", message.trunc),
            ("rd", message.recDes),
            ("ra", message.recAv),
        )
        if value
    ]
    edns: list[Any] = [header for header in message.additional if header.type == 41]
    return {
        "id": message.id,
        "rcode": RCODES[message.rCode],
        "flags": " ".join(flags),
        "answer": [_line(header) for header in message.answers],
        "authority": [_line(header) for header in message.authority],
        "additional": [_line(header) for header in message.additional if header.type != 41],
        "edns": edns[0].cls if edns else 0,
        "options": edns[0].payload.data if edns else b"",
        "size": len(data),
    }


def _line(header: Any) -> str:
    kind = {number: name for name, number in TYPES.items()}[header.type]
    payload = header.payload
    if kind in ("A", "AAAA"):
        value = payload.dottedQuad() if kind == "A" else payload._address
    elif kind in ("NS", "CNAME", "PTR"):
        value = payload.name.name.decode()
    elif kind == "SRV":
        value = f"{payload.priority} {payload.weight} {payload.port} {payload.target.name.decode()}"
    elif kind == "TXT":
        value = b"".join(payload.data).decode()
    else:
        value = " ".join(
            str(part)
            for part in (
                payload.mname.name.decode(),
                payload.rname.name.decode(),
                payload.serial,
                payload.refresh,
                payload.retry,
                payload.expire,
                payload.minimum,
            )
        )
    return f"{header.name.name.decode()} {header.ttl} {kind} {value}"
