"""``/v1/agent/``: this node and its place in the cluster. Services, checks and so on are beside this."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from pyconsul.errors import BadRequest
from pyconsul.http.answer import Answer, empty, text
from pyconsul.http.query import Query
from pyconsul.http.routes import App, hot, route
from pyconsul.interfaces import LocalAgent
from pyconsul.structs.agent import ALL_SEGMENTS

Result = Answer | Deferred[Answer]

NO_PROMETHEUS = "Prometheus is not enabled since its retention time is not positive"


def add_routes(app: App, agent: LocalAgent) -> None:
    """Declare the routes of this prefix."""
    _add_node(app, agent)
    app.later(lambda: _add_rest(app, agent))


def _add_rest(app: App, agent: LocalAgent) -> None:
    from pyconsul.http import agent_checks, agent_mesh, agent_monitor, agent_services

    _add_life(app, agent)
    agent_services.add_routes(app, agent)
    agent_checks.add_routes(app, agent)
    agent_monitor.add_routes(app)
    agent_mesh.add_routes(app)


def _add_node(app: App, agent: LocalAgent) -> None:
    @hot(app, "/v1/agent/self")
    def self_(query: Query) -> Result:
        """This agent: configuration, member, counters."""
        return Answer(json=agent.describe())

    @hot(app, "/v1/agent/host")
    def host(query: Query) -> Result:
        """The machine under it."""
        return Answer(json=agent.describe_host())

    @hot(app, "/v1/agent/metrics")
    def metrics(query: Query) -> Result:
        """What it measures; with ``?format=prometheus`` for Prometheus."""
        if query.get("format") == "prometheus" or "openmetrics-text" in query.facts.accept:
            if not agent.serves_prometheus:
                return text(415, NO_PROMETHEUS)
            from pyconsul.http.prometheus import CONTENT_TYPE, exposition

            return Answer(exposition(agent.metrics()), content_type=CONTENT_TYPE)
        return Answer(json=agent.metrics())

    @hot(app, "/v1/agent/members")
    def members(query: Query) -> Result:
        """The gossip pool as this agent sees it, or with ``?wan=1`` that of all datacenters' servers."""
        segment = query.get("segment")
        if not query.get("wan"):
            return Answer(json=agent.members(segment))
        if segment not in ("", ALL_SEGMENTS):
            raise BadRequest("Cannot provide a segment with wan=true")
        return Answer(json=agent.wan_members())


def _add_life(app: App, agent: LocalAgent) -> None:
    @route(app, "/v1/agent/join/<path:address>", ["PUT"])
    def join(query: Query, address: str) -> Result:
        """Join the cluster through ``address``."""
        joined = agent.join_wan([address]) if query.get("wan") else agent.join([address])
        return joined.addCallback(lambda _: empty())

    @route(app, "/v1/agent/leave", ["PUT"])
    def leave(query: Query) -> Result:
        """Leave the cluster, then end."""
        return agent.leave().addCallback(lambda _: empty())

    @route(app, "/v1/agent/force-leave/<path:node>", ["PUT"])
    def force_leave(query: Query, node: str) -> Result:
        """Make a failed member one that left."""
        agent.force_leave(node, query.has("prune"), query.has("wan"))
        return empty()

    @route(app, "/v1/agent/reload", ["PUT"])
    def reload(query: Query) -> Result:
        """Read the configuration again; with ``?diff`` only say what that would change."""
        if query.has("diff"):
            return Answer(json=agent.reload_diff())
        agent.reload()
        return empty()

    from pyconsul.http.agent_services import wants

    @route(app, "/v1/agent/maintenance", ["PUT"])
    def maintenance(query: Query) -> Result:
        """Take this node out of use, or back into it."""
        agent.maintain_node(wants(query), query.get("reason"), query.token)
        return empty()
