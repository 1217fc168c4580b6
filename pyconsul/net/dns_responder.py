"""From a question to the bytes of its answer, asking the agent in between."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, TypeAlias

from msgspec import Struct
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from pyconsul.dns import answers, names
from pyconsul.dns.names import Lookup, understand
from pyconsul.dns.settings import DnsSettings
from pyconsul.dns.wire import CNAME, IN, Query, Record, Reply, fit, name_bytes, only_there
from pyconsul.dns.wire import REFUSED as REFUSED_CODE
from pyconsul.dns.zone import Zone
from pyconsul.errors import NoPath, NotFound, PyconsulError, Refused
from pyconsul.interfaces import Agent, AnswerWatcher, WallTime
from pyconsul.log import make_logger
from pyconsul.net.dns_recursors import Recursors
from pyconsul.net.dns_timings import DnsTimings
from pyconsul.structs.catalog import CONSUL_SERVICE, NodeSpecificRequest, ServiceSpecificRequest
from pyconsul.structs.durations import parse_ns
from pyconsul.structs.prepared import PreparedQueryExecuteRequest
from pyconsul.structs.query import DCSpecificRequest, QuerySource

CLASS_ANY = 255
CNAMES_MAX = 8
NS_PER_S = 1_000_000_000
QUERY_NOT_FOUND = "Query not found"

Make: TypeAlias = Callable[[], Reply]
"""Makes an answer from what was read; another order of records each time."""
Made: TypeAlias = "Make | Deferred[Make]"


class Answer(Struct):
    """The bytes of an answer, and how to make them again in another order, if that is of use."""

    data: bytes
    make: Callable[[], bytes] | None = None


class Responder:
    """Answers questions for one DNS server.

    Whatever happens, there is an answer: a failure that is none of ours to explain is SERVFAIL.
    """

    _log = make_logger("agent.dns")

    def __init__(
        self,
        agent: Agent,
        settings: DnsSettings,
        recursors: Recursors,
        rng: Random,
        wall_time: WallTime,
        timings: DnsTimings | None = None,
    ) -> None:
        self._agent = agent
        self._recursors = recursors
        self._rng = rng
        self._wall_time = wall_time
        self.timings = timings or DnsTimings()
        self.configure(settings)

    def configure(self, settings: DnsSettings) -> None:
        """Answer by other settings from now on."""
        self.settings = settings
        self.zone = Zone(settings)
        self._compress = not settings.disable_compression
        self._recursors.configure(settings)

    # ------------------------------------------------------------ from question to bytes

    def answer(
        self, query: Query, data: bytes, watcher: AnswerWatcher | None = None
    ) -> Answer | Deferred[Answer]:
        """The answer to ``query``; ``data`` is the whole message, for recursors.

        :param watcher: for what is read to answer; only if the answer can be made again.
        """
        begun = self.timings.seconds()
        try:
            answer = self._answer(query, data, watcher)
        except Exception:
            answer = self._failed(Failure(), query)
        if isinstance(answer, Deferred):
            return answer.addErrback(self._failed, query).addCallback(self._timed, query, begun)
        return self._timed(answer, query, begun)

    def _timed(self, answer: Answer, query: Query, begun: float) -> Answer:
        self.timings.answered(query.type, begun)
        return answer

    def _answer(self, query: Query, data: bytes, watcher: AnswerWatcher | None) -> Answer | Deferred[Answer]:
        if query.class_ not in (IN, CLASS_ANY):
            return self._encoded(query, answers.refused())
        lookup = understand(query.labels, query.type, self.zone.domains)
        if lookup.kind == names.OUTSIDE:
            return self._outside(query, data, answers.refused())
        made = self._look_up(lookup, query, watcher)
        if isinstance(made, Deferred):
            return made.addCallback(self._finish, lookup, query, data)
        return self._finish(made, lookup, query, data)

    def _finish(self, make: Make, lookup: Lookup, query: Query, data: bytes) -> Answer | Deferred[Answer]:
        reply = make()
        if lookup.kind == names.REVERSE and reply.code == REFUSED_CODE:
            return self._outside(query, data, answers.nobody_knows())
        if reply.follow and query.type != CNAME and (self._recursors or self.zone.contains(reply.follow)):
            following = self._follow(query, reply.follow, ())
            return following.addCallback(self._followed, query, reply)
        encoded = self._encoded(query, reply)
        encoded.make = lambda: self._encoded(query, make()).data
        return encoded

    def _encoded(self, query: Query, reply: Reply) -> Answer:
        return Answer(fit(query, reply, self._compress, self.settings.enable_truncate))

    def _failed(self, failure: Failure, query: Query) -> Answer:
        error = failure.value
        if isinstance(error, NoPath):
            return self._encoded(query, answers.no_such_name(self.zone, self._serial()))
        if not isinstance(error, PyconsulError):
            self._log.failure(
                "bug while answering {question}", failure=failure, question=".".join(query.labels)
            )
        return self._encoded(query, answers.failed(self.zone))

    def _outside(self, query: Query, data: bytes, otherwise: Reply) -> Answer | Deferred[Answer]:
        """What a recursor answers."""
        if not self._recursors:
            return self._encoded(query, otherwise)
        asked: Deferred[Any] = self._recursors.ask(data, query.tcp)
        return asked.addCallback(self._recursed, query)

    def _recursed(self, found: bytes | None, query: Query) -> Answer:
        return self._encoded(query, answers.nobody_knows()) if found is None else Answer(found)

    def _serial(self) -> int:
        return int(self._wall_time())

    # ------------------------------------------------------------ CNAMEs

    def _follow(self, query: Query, host: str, before: tuple[str, ...]) -> Deferred[list[Record]]:
        """The records that ``host`` has of the type asked for; none if that cannot be found out.

        :param before: the host names that led here.
        """
        if not self.zone.contains(host):
            return self._recursors.records(host, query.type)
        further = Query(
            id=0,
            question=name_bytes(host) + query.type.to_bytes(2, "big") + b"\0\1",
            labels=host.rstrip(".").split("."),
            type=query.type,
            tcp=True,
        )
        lookup = understand(further.labels, further.type, self.zone.domains)
        made: Deferred[Any] = maybeDeferred(self._look_up, lookup, further, None)
        records: Deferred[list[Record]] = made.addCallback(
            self._further, further, host, (*before, host.lower())
        )
        return records.addErrback(self._cannot_follow)

    def _further(
        self, make: Make, further: Query, host: str, before: tuple[str, ...]
    ) -> list[Record] | Deferred[list[Record]]:
        reply = make()
        owner = name_bytes(host)
        records = [answers.owned(record, owner) for record in reply.answers]
        onward = reply.follow
        if not onward or onward.lower() in before or len(before) == CNAMES_MAX:
            return records
        if not self._recursors and not self.zone.contains(onward):
            return records
        return self._follow(further, onward, before).addCallback(lambda more: records + more)

    def _cannot_follow(self, failure: Failure) -> list[Record]:
        if not failure.check(PyconsulError):
            self._log.failure("bug while following a host name", failure=failure)
        return []

    def _followed(self, more: list[Record], query: Query, reply: Reply) -> Answer:
        reply.answers = [*reply.answers, *more]
        return self._encoded(query, reply)

    # ------------------------------------------------------------ what is read

    def _look_up(self, lookup: Lookup, query: Query, watcher: AnswerWatcher | None) -> Made:
        kind = lookup.kind
        if kind in (names.SERVICE, names.CONNECT, names.INGRESS):
            return self._service(lookup, query, watcher)
        if kind == names.NODE:
            return self._node(lookup, query, watcher)
        if kind == names.QUERY:
            return self._prepared(lookup, query)
        if kind == names.ZONE:
            return self._zone(query)
        if kind == names.REVERSE:
            return self._reverse(lookup, query)
        zone = self.zone
        if kind == names.ADDRESS:
            return lambda: answers.address_reply(zone, lookup)
        if kind == names.NODE_EMPTY:
            return lambda: answers.empty(zone)
        if kind == names.UNSUPPORTED:
            return lambda: answers.unsupported(zone)
        return lambda: answers.no_such_name(zone, self._serial())

    def _ask(
        self, method: str, request: Any, then: Callable[[Any], Made], watcher: AnswerWatcher | None = None
    ) -> Made:
        """Ask the agent; ask the leader instead of a server that is too far behind."""
        reply = self._agent.ask(method, request, watcher)
        if isinstance(reply, Deferred):
            return reply.addCallback(self._fresh, method, request, then)
        return self._fresh(reply, method, request, then)

    def _fresh(self, reply: Any, method: str, request: Any, then: Callable[[Any], Made]) -> Made:
        if request.allow_stale and reply.last_contact > self.settings.max_stale_s * NS_PER_S:
            request.allow_stale = False
            return self._ask(method, request, then)
        return then(reply)

    def _service(self, lookup: Lookup, query: Query, watcher: AnswerWatcher | None) -> Made:
        tag = lookup.tag
        request = ServiceSpecificRequest(
            datacenter=lookup.datacenter.lower(),
            service_name=lookup.name,
            service_tag=tag,
            service_tags=[tag] if tag else None,
            tag_filter=bool(tag),
            connect=lookup.kind == names.CONNECT,
            ingress=lookup.kind == names.INGRESS,
            allow_stale=self.settings.allow_stale,
        )
        zone, rng = self.zone, self._rng
        ttl = zone.service_ttl(lookup.name)

        def then(reply: Any) -> Make:
            rows = reply.nodes or ()
            return lambda: answers.service_reply(zone, query, rows, ttl, rng, self._serial())

        return self._ask("Health.ServiceNodes", request, then, watcher)

    def _node(self, lookup: Lookup, query: Query, watcher: AnswerWatcher | None) -> Made:
        request = NodeSpecificRequest(
            datacenter=lookup.datacenter.lower(), node=lookup.name, allow_stale=self.settings.allow_stale
        )
        zone = self.zone

        def then(reply: Any) -> Make:
            found = reply.node_services
            if found is None:
                return lambda: answers.no_such_name(zone, self._serial())
            return lambda: answers.node_reply(zone, query, found.node)

        return self._ask("Catalog.NodeServices", request, then, watcher)

    def _zone(self, query: Query) -> Made:
        request = ServiceSpecificRequest(service_name=CONSUL_SERVICE, allow_stale=self.settings.allow_stale)
        zone, rng = self.zone, self._rng
        return self._ask(
            "Health.ServiceNodes",
            request,
            lambda reply: lambda: answers.zone_reply(zone, query, reply.nodes or (), rng, self._serial()),
        )

    def _reverse(self, lookup: Lookup, query: Query) -> Made:
        """First the nodes, then the services that have an address of their own."""
        zone = self.zone
        address = lookup.name
        if not address:
            return answers.refused
        stale = self.settings.allow_stale

        def by_node(reply: Any) -> Made:
            found = answers.reverse_reply(zone, query, self._serial(), address, reply.nodes or (), ())
            if found is not None:
                return lambda: found
            request = ServiceSpecificRequest(service_address=address, allow_stale=stale)
            try:
                made = self._ask("Catalog.ServiceNodes", request, by_service)
            except Refused:
                return answers.refused
            return made.addErrback(unknown) if isinstance(made, Deferred) else made

        def unknown(failure: Failure) -> Make:
            failure.trap(Refused)
            return answers.refused

        def by_service(reply: Any) -> Make:
            services = reply.service_nodes or ()
            found = answers.reverse_reply(zone, query, self._serial(), address, (), services)
            return (lambda: found) if found is not None else answers.refused

        return self._ask("Catalog.ListNodes", DCSpecificRequest(allow_stale=stale), by_node)

    def _prepared(self, lookup: Lookup, query: Query) -> Made:
        settings, zone = self.settings, self.zone
        here = QuerySource(datacenter=settings.datacenter, segment=settings.segment, node=settings.node_name)
        request = PreparedQueryExecuteRequest(
            datacenter=lookup.datacenter.lower(),
            query_id_or_name=lookup.name,
            source=QuerySource(datacenter=settings.datacenter, segment=settings.segment, ip=query.client),
            agent=here,
            allow_stale=settings.allow_stale,
        )

        def then(reply: Any) -> Make:
            query.subnet = only_there(query.subnet)
            rows = reply.nodes or ()
            text = reply.dns.ttl
            ttl = parse_ns(text) // NS_PER_S if text else zone.service_ttl(reply.service)
            # The query itself says which instances are healthy enough, and in which order.
            return lambda: answers.service_reply(
                zone, query, rows, ttl, None, self._serial(), answers.WHATEVER
            )

        def unknown(failure: Failure) -> Make:
            if QUERY_NOT_FOUND not in str(failure.value):
                failure.trap(NotFound)
            return lambda: answers.no_such_name(zone, self._serial())

        try:
            made = self._ask("PreparedQuery.Execute", request, then)
        except PyconsulError:
            return unknown(Failure())
        return made.addErrback(unknown) if isinstance(made, Deferred) else made
