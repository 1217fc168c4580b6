"""What all reads and all writes have in common (specs of Consul's RPC, section 4)."""

from msgspec import Struct


class QuerySource(Struct, rename="pascal", frozen=True, kw_only=True):
    """From where results are sorted by distance: a node's name, empty for no sorting."""

    datacenter: str = ""
    segment: str = ""
    node: str = ""
    ip: str = ""


class QueryOptions(Struct, rename="pascal", kw_only=True):
    """Options of a read. Durations are nanoseconds, as on Consul's wire.

    :ivar min_query_index: above 0, wait until the result's index is greater.
    :ivar max_query_time: how long to wait at most; 0 means the server's default.
    """

    token: str = ""
    min_query_index: int = 0
    max_query_time: int = 0
    allow_stale: bool = False
    require_consistent: bool = False
    max_stale_duration: int = 0
    filter: str = ""


class QueryMeta(Struct, rename="pascal", kw_only=True):
    """What a read tells about itself. ``last_contact`` in nanoseconds; 0 on the leader."""

    index: int = 0
    last_contact: int = 0
    known_leader: bool = False
    consistency_level: str = ""


class WriteRequest(Struct, rename="pascal", kw_only=True):
    """Options of a write."""

    token: str = ""


class Empty(Struct):
    """The reply of a write that has nothing to say: an empty map."""


class DCSpecificRequest(QueryOptions, rename="pascal", kw_only=True):
    """A read of something of which a datacenter has one."""

    datacenter: str = ""
    node_meta_filters: dict[str, str] | None = None
    source: QuerySource = QuerySource()
