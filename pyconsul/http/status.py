"""``/v1/status/``: what the servers say of their leader and of each other.

A good place to see what a prefix module consists of: ``add_routes`` declares each endpoint as a
function of the query and gives back what ``reads.ask`` or ``reads.read`` make of a reply. List the
module in ``prefixes.MODULES`` and it is served.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from pyconsul.http.answer import Answer
from pyconsul.http.query import Query
from pyconsul.http.reads import as_json, ask
from pyconsul.http.routes import App, hot
from pyconsul.interfaces import Agent
from pyconsul.structs.query import DCSpecificRequest


def add_routes(app: App, agent: Agent) -> None:
    """Declare the routes of this module."""

    @hot(app, "/v1/status/leader")
    def leader(query: Query) -> Answer | Deferred[Answer]:
        """The leader's address for RPC, or an empty string."""
        return ask(agent, "Status.Leader", DCSpecificRequest(**query.options()), as_json)

    @hot(app, "/v1/status/peers")
    def peers(query: Query) -> Answer | Deferred[Answer]:
        """The servers' addresses for RPC."""
        return ask(agent, "Status.Peers", DCSpecificRequest(**query.options()), as_json)
