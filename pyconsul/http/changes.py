"""``?changed``: what became of a view since ``?index=``, instead of all there is. Consul has no such thing.

The same requests, asked again and again, are the streams of ``stream``.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from pyconsul.errors import BadRequest
from pyconsul.http.answer import Answer
from pyconsul.http.query import Query
from pyconsul.http.reads import read
from pyconsul.interfaces import Agent
from pyconsul.structs.changes import ChangesRequest

Question = tuple[str, ChangesRequest]
"""A method, and what to ask it."""


def wanted(query: Query) -> bool:
    """Whether a read is to tell only what changed."""
    return bool(query.parameters) and query.has("changed")


def read_changes(
    agent: Agent, query: Query, method: str, request: ChangesRequest, *, consistency: bool = True
) -> Answer | Deferred[Answer]:
    """Ask for what changed since ``?index=``, and wait for it if nothing did."""
    request.since = request.min_query_index
    return read(agent, query, method, request, _shape, consistency=consistency)


def _shape(reply: Any) -> Answer:
    reply.index = reply.as_of
    return Answer(json=told(reply))


def told(reply: Any) -> dict[str, Any]:
    """A reply as JSON shows it."""
    shown = {
        "Index": reply.as_of,
        "Reset": reply.reset,
        "Changed": reply.changed,
        "Deleted": reply.deleted,
    }
    prefixes = getattr(reply, "deleted_prefixes", None)
    if prefixes is not None:
        shown["DeletedPrefixes"] = prefixes
    return shown


# ---------------------------------------------------------------- questions


def kv(query: Query, prefix: str) -> Question:
    """Entries under a prefix."""
    return "Changes.KV", ChangesRequest(prefix=prefix, **query.options())


def nodes(query: Query) -> Question:
    """Nodes."""
    _refuse(query, "near")
    return "Changes.Nodes", ChangesRequest(**_options(query))


def services(query: Query) -> Question:
    """Names of services."""
    _refuse(query, "node-meta", "filter", "near")
    return "Changes.Services", ChangesRequest(**_options(query))


def service_nodes(query: Query, name: str, *, connect: bool = False) -> Question:
    """Instances of a service."""
    return "Changes.ServiceNodes", ChangesRequest(**_of_service(query, name), connect=connect)


def health(query: Query, name: str, *, connect: bool = False) -> Question:
    """Instances of a service with their checks."""
    passing = query.flag("passing")
    if passing is None:
        raise BadRequest("Invalid value for ?passing")
    return "Changes.Health", ChangesRequest(**_of_service(query, name), connect=connect, passing=passing)


def _of_service(query: Query, name: str) -> dict[str, Any]:
    if not name:
        raise BadRequest("Missing service name")
    _refuse(query, "near")
    options = _options(query)
    if tags := query.all("tag"):
        options["tags"] = tags
    return {"name": name, **options}


def _options(query: Query) -> dict[str, Any]:
    options = query.options()
    if query.parameters and (meta := query.node_meta()):
        options["node_meta_filters"] = meta
    return options


def _refuse(query: Query, *names: str) -> None:
    for name in names:
        if query.has(name):
            raise BadRequest(f"?{name} cannot be used when only changes are asked for")
