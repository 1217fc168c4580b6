"""PreparedQuery.*: queries that are stored, and executed by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from random import Random

from msgspec.structs import replace
from twisted.internet.defer import Deferred

from pyconsul.endpoints.base import Read, read, write
from pyconsul.endpoints.coordinate import nearest_first
from pyconsul.errors import NotFound, PyconsulError, Refused
from pyconsul.log import make_logger
from pyconsul.state import commands
from pyconsul.state.queries import ALL, CREATE, DELETE, NOT_FOUND, UPDATE, no_such_query
from pyconsul.state.store import Store
from pyconsul.state.uuids import session_id_fault
from pyconsul.structs.catalog import CRITICAL, PASSING, CheckServiceNode
from pyconsul.structs.durations import parse_ns
from pyconsul.structs.metadata import metadata_fault
from pyconsul.structs.prepared import (
    HIDDEN,
    IndexedPreparedQueries,
    PreparedQuery,
    PreparedQueryExecuteRemoteRequest,
    PreparedQueryExecuteRequest,
    PreparedQueryExecuteResponse,
    PreparedQueryExplainResponse,
    PreparedQueryRequest,
    PreparedQuerySpecificRequest,
    ServiceQuery,
)
from pyconsul.structs.query import DCSpecificRequest, QuerySource

AGENT, IP = "_agent", "_ip"

Elsewhere = Callable[[PreparedQueryExecuteRemoteRequest], Awaitable[PreparedQueryExecuteResponse]]
"""Has a server of the request's datacenter execute a query; raises ``PyconsulError`` if none does."""

_INVALID = "Invalid prepared query: "


class PreparedQueries:
    """Stores and executes.

    :param datacenter: the name of this one.
    :param rng: where ids come from, which the leader chooses, and the order of instances.
    :param datacenters: the names of all that are known, the nearest first.
    :param elsewhere: how another one is asked.
    """

    def __init__(
        self,
        store: Store,
        datacenter: str,
        rng: Random,
        datacenters: Callable[[], Sequence[str]],
        elsewhere: Elsewhere,
    ) -> None:
        self._log = make_logger("agent.server.prepared_query")
        self._store = store
        self._queries = store.queries
        self._datacenter = datacenter
        self._rng = rng
        self._datacenters = datacenters
        self._elsewhere = elsewhere

    # ------------------------------------------------------------ definitions

    @write("PreparedQuery.Apply", PreparedQueryRequest, str, "query:write")
    def apply(self, request: PreparedQueryRequest) -> bytes:
        """Create, change or delete a query; the reply is its id.

        :raises Refused: if something is missing or malformed, or the query is not there.
        """
        query = request.query
        if request.op == "create":
            if query.id:
                raise Refused("ID must be empty when creating a new prepared query")
            query = replace(query, id=self._new_id())
        elif request.op in ("update", "delete"):
            fault = _id_fault(query.id)
            if fault:
                raise Refused(f"Prepared Query lookup failed: {fault}")
            if self._queries.get(query.id.lower())[1] is None:
                raise Refused(no_such_query(query.id))
            query = replace(query, id=query.id.lower())
        else:
            raise Refused(f"Unknown prepared query operation: {request.op}")
        if request.op == "delete":
            return commands.encode_query(DELETE, PreparedQuery(id=query.id))
        fault = definition_fault(query)
        if fault:
            raise Refused(_INVALID + fault)
        return commands.encode_query(CREATE if request.op == "create" else UPDATE, query)

    def _new_id(self) -> str:
        while True:
            digits = f"{self._rng.getrandbits(128):032x}"
            query_id = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
            if self._queries.get(query_id)[1] is None:
                return query_id

    @read("PreparedQuery.Get", PreparedQuerySpecificRequest, IndexedPreparedQueries, "query:read")
    def get(self, request: PreparedQuerySpecificRequest) -> Read:
        """One query as it is stored.

        :raises NotFound: if there is none.
        :raises Refused: if the id is malformed.
        """
        fault = _id_fault(request.query_id)
        if fault:
            raise Refused(fault)
        query_id = request.query_id.lower()
        index, row = self._queries.get(query_id)
        if row is None:
            raise NotFound(NOT_FOUND)
        return Read(index, IndexedPreparedQueries(queries=[row]), (("query", query_id),))

    @read("PreparedQuery.List", DCSpecificRequest, IndexedPreparedQueries, "query:read")
    def list_all(self, request: DCSpecificRequest) -> Read:
        """All queries as they are stored."""
        return Read(self._queries.index, IndexedPreparedQueries(queries=self._queries.all()), (ALL,))

    @read("PreparedQuery.Explain", PreparedQueryExecuteRequest, PreparedQueryExplainResponse, "query:read")
    def explain(self, request: PreparedQueryExecuteRequest) -> Read:
        """What would be executed under an id or a name.

        :raises NotFound: if there is no such query. :raises Refused: if it cannot be executed so.
        """
        query = self._queries.resolve(request.query_id_or_name, request.agent.segment)
        return Read(0, PreparedQueryExplainResponse(query=query), ())

    # ------------------------------------------------------------ execution

    @read("PreparedQuery.Execute", PreparedQueryExecuteRequest, PreparedQueryExecuteResponse, "service:read")
    def execute(self, request: PreparedQueryExecuteRequest) -> Read | Deferred[Read]:
        """The instances that a query asks for: in random order, or by distance from a node, its own first.

        If there is none here, other datacenters are asked, as far as the query wants that. Nothing short
        of every service stands for the answer, and each has another order, so that it cannot be watched.

        :raises NotFound: if there is no such query. :raises Refused: if it cannot be executed so.
        """
        query = self._queries.resolve(request.query_id_or_name, request.agent.segment)
        rows = self._found(query.service, connect=request.connect)
        source = self._source(query.service.near, request.source, request.agent)
        if source.node:
            rows = nearest_first(self._store, self._datacenter, source, rows, lambda row: row.node.node)
            rows.sort(key=lambda row: row.node.node.lower() != source.node.lower())
        answer = self._answer(query, rows, request.limit)
        if rows or not (candidates := self._candidates(query)):
            return answer
        return Deferred.fromCoroutine(self._fail_over(query, request, candidates, answer))

    def _candidates(self, query: PreparedQuery) -> list[str]:
        """The datacenters to ask instead of this one, in order: the nearest, then those that are named."""
        failover = query.service.failover
        if failover.nearest_n <= 0 and not failover.datacenters:
            return []
        known = [name for name in self._datacenters() if name != self._datacenter]
        named = [name for name in failover.datacenters or () if name in known]
        return list(dict.fromkeys(known[: max(0, failover.nearest_n)] + named))

    async def _fail_over(
        self, query: PreparedQuery, asked: PreparedQueryExecuteRequest, candidates: list[str], answer: Read
    ) -> Read:
        """Ask one datacenter after the other until one has an instance; else the last that answered counts.

        Source: specs of several datacenters, section 5.
        """
        for tried, datacenter in enumerate(candidates, 1):
            request = PreparedQueryExecuteRemoteRequest(
                datacenter=datacenter,
                query=query,
                limit=asked.limit,
                connect=asked.connect,
                token=asked.token,
                allow_stale=asked.allow_stale,
                require_consistent=asked.require_consistent,
                max_stale_duration=asked.max_stale_duration,
            )
            try:
                answer.reply = await self._elsewhere(request)
            except PyconsulError as error:
                self._log.warn(
                    "Failed querying for service in datacenter: service={service} datacenter={datacenter} "
                    "error={error}",
                    service=query.service.service,
                    datacenter=datacenter,
                    error=error,
                )
            answer.reply.failovers = tried
            if answer.reply.nodes:
                break
        return answer

    @read(
        "PreparedQuery.ExecuteRemote",
        PreparedQueryExecuteRemoteRequest,
        PreparedQueryExecuteResponse,
        "service:read",
    )
    def execute_remote(self, request: PreparedQueryExecuteRemoteRequest) -> Read:
        """The same for a query of another datacenter, in random order and without going on to a third."""
        rows = self._found(request.query.service, connect=request.connect)
        return self._answer(request.query, rows, request.limit)

    def _answer(self, query: PreparedQuery, rows: list[CheckServiceNode], limit: int) -> Read:
        reply = PreparedQueryExecuteResponse(
            service=query.service.service,
            nodes=rows[:limit] if limit > 0 else rows,
            dns=query.dns,
            datacenter=self._datacenter,
        )
        return Read(0, reply, (), at_once=True)

    def _found(self, wanted: ServiceQuery, *, connect: bool) -> list[CheckServiceNode]:
        """The instances that fit, shuffled; a list of the caller's own."""
        group = self._store.catalog.group(wanted.service.lower(), wanted.connect or connect)
        if group is None:
            return []
        fits = _Filter(wanted)
        rows = [row for row in group.health() if fits(row)]
        self._rng.shuffle(rows)
        return rows

    def _source(self, near: str, asked: QuerySource, agent: QuerySource) -> QuerySource:
        """The node to sort by distance from, what the request says coming before what the query says.

        No sorting if it is the client's and there is none with its address.
        """
        node = asked.node or near
        if node == IP:
            address = asked.ip
            found = (row.node for row in self._store.catalog.nodes() if address and row.address == address)
            node = next(found, "")
        if node == AGENT:
            return agent
        return QuerySource(datacenter=asked.datacenter, segment=asked.segment, node=node)


class _Filter:
    """Whether an instance is what a query asks for."""

    def __init__(self, wanted: ServiceQuery) -> None:
        self._only_passing = wanted.only_passing
        self._ignored = frozenset(wanted.ignore_check_ids or ())
        tags = [tag.lower() for tag in wanted.tags or ()]
        self._tags = frozenset(tag for tag in tags if not tag.startswith("!"))
        self._forbidden = frozenset(tag[1:] for tag in tags if tag.startswith("!"))
        self._node_meta = (wanted.node_meta or {}).items()
        self._service_meta = (wanted.service_meta or {}).items()

    def __call__(self, row: CheckServiceNode) -> bool:
        for check in row.checks:
            status = check.status
            if status == PASSING or check.check_id in self._ignored:
                continue
            if status == CRITICAL or self._only_passing:
                return False
        if self._tags or self._forbidden:
            tags = {tag.lower() for tag in row.service.tags or ()}
            if not self._tags <= tags or self._forbidden & tags:
                return False
        return (
            self._node_meta <= (row.node.meta or {}).items()
            and self._service_meta <= (row.service.meta or {}).items()
        )


# ---------------------------------------------------------------- what is refused


def _id_fault(query_id: str) -> str:
    fault = session_id_fault(query_id)
    return fault.replace("failed session lookup", "failed prepared query lookup", 1)


def definition_fault(query: PreparedQuery) -> str:
    """Why Consul 1.8.7 would not store a query, in its words; empty if it would."""
    service = query.service
    if not (query.session or query.name or query.is_template):
        return "Must be bound to a session"
    if query.token == HIDDEN:
        return f"Bad Token '{HIDDEN}', it looks like a query definition with a redacted token was submitted"
    if not service.service:
        return "Must provide a Service name to query"
    if service.failover.nearest_n < 0:
        return f"Bad NearestN '{service.failover.nearest_n}', must be >= 0"
    return metadata_fault(service.node_meta or {}, reserved=False) or _ttl_fault(query.dns.ttl)


def _ttl_fault(ttl: str) -> str:
    if not ttl:
        return ""
    try:
        ttl_ns = parse_ns(ttl)
    except ValueError as error:
        return f"Bad DNS TTL '{ttl}': {error}"
    return f"DNS TTL '{ttl_ns}', must be >=0" if ttl_ns < 0 else ""
