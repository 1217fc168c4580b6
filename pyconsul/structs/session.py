"""Sessions, which hold locks and live as long as their node, their checks and their TTL (Session.*)."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field

from pyconsul.structs.query import QueryMeta, QueryOptions, WriteRequest

RELEASE, DELETE = "release", "delete"
"""What becomes of the keys that a session has locked when it ends."""

LOCK_DELAY_NS = 15_000_000_000
LOCK_DELAY_MAX_NS = 60_000_000_000
"""A longer lock delay is stored and shown, but no longer kept than this."""
TTL_MIN_NS = 10_000_000_000
TTL_MAX_NS = 86_400_000_000_000


class ServiceCheck(Struct, rename="pascal", frozen=True):
    """A check of a service that a session depends on."""

    id: str = field(default="", name="ID")
    namespace: str = ""


class Session(Struct, rename="pascal", frozen=True, kw_only=True):
    """A row of the session table.

    :ivar lock_delay: nanoseconds after its end in which nobody gets the locks that it held.
    :ivar ttl: a duration as it was given; empty or zero for none.
    :ivar checks: checks of the node by the older name of that field, absent unless given so.
    """

    id: str = field(default="", name="ID")
    name: str = ""
    node: str = ""
    lock_delay: int = 0
    behavior: str = ""
    ttl: str = field(default="", name="TTL")
    node_checks: list[str] | None = None
    service_checks: list[ServiceCheck] | None = None
    checks: list[str] | UnsetType | None = UNSET
    create_index: int = 0
    modify_index: int = 0

    def linked_checks(self) -> list[str]:
        """The ids of all checks that it depends on, once each, without regard to case."""
        named = [*(self.checks or ()), *(self.node_checks or ())]
        named += (check.id for check in self.service_checks or ())
        return [*{check_id.lower(): check_id for check_id in reversed(named)}.values()][::-1]


class SessionRequest(WriteRequest, rename="pascal", kw_only=True):
    """Session.Apply: ``op`` is ``create`` or ``destroy``; the reply is the id of what was created."""

    datacenter: str = ""
    op: str
    session: Session


class SessionSpecificRequest(QueryOptions, rename="pascal", kw_only=True):
    """Session.Get, List and Renew. Older peers give the id in ``session`` alone."""

    datacenter: str = ""
    session_id: str = field(default="", name="SessionID")
    session: str = ""


class IndexedSessions(QueryMeta, rename="pascal", kw_only=True):
    """Sessions by id."""

    sessions: list[Session] | None = None
