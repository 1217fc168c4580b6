"""``/v1/event/``: fires user events and lists those that this agent has seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from pyconsul.errors import BadRequest
from pyconsul.http.answer import Answer
from pyconsul.http.query import Query
from pyconsul.http.reads import as_json
from pyconsul.http.routes import App, hot
from pyconsul.structs.event import UserEvent

Result = Answer | Deferred[Answer]


class EventLog(Protocol):
    """The user events of an agent."""

    def fire(self, event: UserEvent, datacenter: str = "", token: str = "") -> Any:
        """Send an event; gives it, or a Deferred of it, with its id."""
        ...

    def read(self, name: str, index: int, wait_s: float) -> Any:
        """What stands for an index, and the events, oldest first; or a Deferred of both."""
        ...


def add_routes(app: App, events: EventLog) -> None:
    """Declare the routes of this module."""

    @hot(app, "/v1/event/fire/<path:name>", ["PUT"])
    def fire(query: Query, name: str) -> Result:
        """Send an event to everybody whom its filters concern; the body is its payload."""
        if not name:
            raise BadRequest("Missing name")
        event = UserEvent(
            id="",
            name=name,
            payload=query.body or None,
            node_filter=query.get("node"),
            service_filter=query.get("service"),
            tag_filter=query.get("tag"),
        )
        fired = events.fire(event, query.get("dc"), query.token)
        return fired.addCallback(as_json) if isinstance(fired, Deferred) else as_json(fired)

    @hot(app, "/v1/event/list")
    def list_(query: Query) -> Result:
        """The latest events, of any name or with ``?name=`` of one, oldest first."""
        options = query.waiting()
        wait_s = options.get("max_query_time", 0) / 1e9
        found = events.read(query.get("name"), options.get("min_query_index", 0), wait_s)
        return found.addCallback(_listed) if isinstance(found, Deferred) else _listed(found)


def _listed(found: tuple[int, Sequence[UserEvent]]) -> Answer:
    index, events = found
    return Answer(json=list(events), headers=((b"X-Consul-Index", b"%d" % index),))
