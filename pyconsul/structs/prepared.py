"""Prepared queries: what they are, and the requests about them (PreparedQuery.*)."""

from __future__ import annotations

from msgspec import Struct, field

from pyconsul.structs.catalog import CheckServiceNode
from pyconsul.structs.query import QueryMeta, QueryOptions, QuerySource, WriteRequest

NAME_PREFIX_MATCH = "name_prefix_match"
"""The only type of template there is."""

HIDDEN = "<hidden>"
"""What is shown in the place of a token."""


class QueryTemplateOptions(Struct, rename="pascal", frozen=True, kw_only=True):
    """What makes a query answer to all names that begin with its own.

    :ivar regexp: run over the name; its groups are there as ``${match(N)}``.
    :ivar remove_empty_tags: leave out tags that are empty once they are filled in.
    """

    type: str = ""
    regexp: str = ""
    remove_empty_tags: bool = False


class QueryDatacenterOptions(Struct, rename="pascal", frozen=True, kw_only=True):
    """Where to ask when no instance is left here: the nearest datacenters, then those named."""

    nearest_n: int = 0
    datacenters: list[str] | None = None


class ServiceQuery(Struct, rename="pascal", frozen=True, kw_only=True):
    """Which instances are wanted.

    :ivar only_passing: leave out warnings, too.
    :ivar ignore_check_ids: checks whose state does not count.
    :ivar near: a node to sort by distance from; ``_agent``: the one asked; ``_ip``: the client's.
    :ivar tags: all of them are needed; with a ``!`` in front, one that must not be there.
    """

    service: str = ""
    failover: QueryDatacenterOptions = QueryDatacenterOptions()
    only_passing: bool = False
    ignore_check_ids: list[str] | None = field(default=None, name="IgnoreCheckIDs")
    near: str = ""
    tags: list[str] | None = None
    node_meta: dict[str, str] | None = None
    service_meta: dict[str, str] | None = None
    connect: bool = False


class QueryDNSOptions(Struct, rename="pascal", frozen=True, kw_only=True):
    """``ttl``: a duration as it was given, for answers by DNS; empty for the service's own."""

    ttl: str = field(default="", name="TTL")


class PreparedQuery(Struct, rename="pascal", frozen=True, kw_only=True):
    """A row of the table of prepared queries.

    :ivar session: the query ends with it; empty for none.
    :ivar token: what to execute it with; never to be logged.
    """

    id: str = field(default="", name="ID")
    name: str = ""
    session: str = ""
    token: str = ""
    template: QueryTemplateOptions = QueryTemplateOptions()
    service: ServiceQuery = ServiceQuery()
    dns: QueryDNSOptions = field(default=QueryDNSOptions(), name="DNS")
    create_index: int = 0
    modify_index: int = 0

    @property
    def is_template(self) -> bool:
        """Whether it answers to names that begin with its own."""
        return bool(self.template.type)


class PreparedQueryRequest(WriteRequest, rename="pascal", kw_only=True):
    """PreparedQuery.Apply: ``op`` is ``create``, ``update`` or ``delete``; the reply is the id."""

    datacenter: str = ""
    op: str
    query: PreparedQuery


class PreparedQuerySpecificRequest(QueryOptions, rename="pascal", kw_only=True):
    """PreparedQuery.Get."""

    datacenter: str = ""
    query_id: str = field(default="", name="QueryID")


class PreparedQueryExecuteRequest(QueryOptions, rename="pascal", kw_only=True):
    """PreparedQuery.Execute and Explain.

    :ivar limit: how many instances at most; 0 or less for all.
    :ivar source: what to sort by distance from, in the place of the query's own ``Near``; its ``ip`` is
        the client's. :ivar agent: the agent that was asked, which ``_agent`` means.
    """

    datacenter: str = ""
    query_id_or_name: str = field(default="", name="QueryIDOrName")
    limit: int = 0
    connect: bool = False
    source: QuerySource = QuerySource()
    agent: QuerySource = QuerySource()


class PreparedQueryExecuteRemoteRequest(QueryOptions, rename="pascal", kw_only=True):
    """PreparedQuery.ExecuteRemote: a query of another datacenter that found nothing at home."""

    datacenter: str = ""
    query: PreparedQuery
    limit: int = 0
    connect: bool = False


class IndexedPreparedQueries(QueryMeta, rename="pascal", kw_only=True):
    """Queries by id."""

    queries: list[PreparedQuery] = []


class PreparedQueryExecuteResponse(Struct, rename="pascal", kw_only=True):
    """The instances found. What every read tells about itself comes last, as Consul has it.

    :ivar failovers: how many other datacenters were asked.
    """

    service: str = ""
    nodes: list[CheckServiceNode] = []
    dns: QueryDNSOptions = field(default=QueryDNSOptions(), name="DNS")
    datacenter: str = ""
    failovers: int = 0
    index: int = 0
    last_contact: int = 0
    known_leader: bool = False
    consistency_level: str = ""


class PreparedQueryExplainResponse(Struct, rename="pascal", kw_only=True):
    """What would be executed, with all templates filled in."""

    query: PreparedQuery = PreparedQuery()
    index: int = 0
    last_contact: int = 0
    known_leader: bool = False
    consistency_level: str = ""
