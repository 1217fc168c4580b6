"""``/v1/coordinate/``: where nodes and datacenters are, in terms of round-trip times."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred

from pyconsul.http.answer import Answer, empty
from pyconsul.http.catalog import of_nodes
from pyconsul.http.query import Query
from pyconsul.http.reads import Shape, ask, read
from pyconsul.http.routes import App, hot
from pyconsul.interfaces import Agent
from pyconsul.structs.bodies import decode
from pyconsul.structs.catalog import NodeSpecificRequest
from pyconsul.structs.coordinate import CoordinateUpdateRequest, NodeCoordinate
from pyconsul.structs.query import DCSpecificRequest

Result = Answer | Deferred[Answer]

_WHOLE_MAX = 1e15
"""Whole numbers beyond are left as they are."""


def add_routes(app: App, agent: Agent) -> None:
    """Declare the routes of this module."""

    @hot(app, "/v1/coordinate/datacenters")
    def datacenters(query: Query) -> Result:
        """Where the servers of each datacenter are, as the asked server sees it."""
        return ask(agent, "Coordinate.ListDatacenters", DCSpecificRequest(), _datacenters)

    @hot(app, "/v1/coordinate/nodes")
    def nodes(query: Query) -> Result:
        """Where the nodes are that have told it; with ``?segment=`` only those in one."""
        request = DCSpecificRequest(**of_nodes(query))

        def shape(reply: Any) -> Answer:
            return Answer(json=_chosen(query, reply))

        return _read(query, "Coordinate.ListNodes", request, shape)

    @hot(app, "/v1/coordinate/node/<path:node>")
    def node(query: Query, node: str) -> Result:
        """Where one node is, in each of its segments or only in ``?segment=``."""
        request = NodeSpecificRequest(node=node, **query.options())

        def shape(reply: Any) -> Answer:
            rows = _chosen(query, reply)
            return Answer(json=rows) if rows else Answer(status=404, content_type=b"")

        answer = _read(query, "Coordinate.Node", request, shape)
        return answer.addCallback(_bare_if_none) if isinstance(answer, Deferred) else _bare_if_none(answer)

    def _read(query: Query, method: str, request: Any, shape: Shape) -> Result:
        return read(agent, query, method, request, shape, consistency=False, stamp_failures=True)

    @hot(app, "/v1/coordinate/update", ["PUT"])
    def update(query: Query) -> Result:
        """Tell where a node is, in its place."""
        request = decode(query.body, CoordinateUpdateRequest, rewrite=_nothing_by_default)
        options = query.write_options()
        if request.datacenter:
            options.pop("datacenter", None)
        return ask(agent, "Coordinate.Update", replace(request, **options), lambda _: empty())


def _nothing_by_default(body: Any) -> Any:
    """``body`` with what is left out of its place, which is not what an agent begins with."""
    if not isinstance(body, dict):
        return body
    nowhere = {"Vec": [], "Error": 0, "Adjustment": 0, "Height": 0}
    return {
        key: nowhere | {name: part for name, part in value.items() if part is not None}
        if key.lower() == "coord" and isinstance(value, dict)
        else value
        for key, value in body.items()
    }


def _chosen(query: Query, reply: Any) -> list[dict[str, Any]]:
    segment = query.get("segment") if query.has("segment") else None
    rows = reply.coordinates or ()
    return [_shown(row) for row in rows if segment is None or row.segment == segment]


def _datacenters(reply: Any) -> Answer:
    shown = [
        {
            "Datacenter": found.datacenter,
            "AreaID": found.area_id,
            "Coordinates": [_shown(row) for row in found.coordinates],
        }
        for found in reply
    ]
    return Answer(json=shown)


def _shown(row: NodeCoordinate) -> dict[str, Any]:
    """A row with its numbers written as Consul writes them."""
    place = row.coord
    return {
        "Node": row.node,
        "Segment": row.segment,
        "Coord": {
            "Vec": [_number(part) for part in place.vec],
            "Error": _number(place.error),
            "Adjustment": _number(place.adjustment),
            "Height": _number(place.height),
        },
    }


def _number(value: float) -> float | int:
    """Go writes no fraction that is nothing."""
    return int(value) if value.is_integer() and abs(value) < _WHOLE_MAX else value


def _bare_if_none(answer: Answer) -> Answer:
    """There is nothing to wait on where there is nobody."""
    if answer.status == 404:
        answer.index = -1
    return answer
