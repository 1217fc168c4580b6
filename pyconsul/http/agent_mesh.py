"""``/v1/agent/``: tokens, and the mesh, which answer that there is no such thing here."""

from __future__ import annotations

from pyconsul.errors import BadRequest, Refused
from pyconsul.http.answer import Answer, text
from pyconsul.http.query import Query
from pyconsul.http.routes import App, route
from pyconsul.structs.agent import AuthorizeRequest
from pyconsul.structs.bodies import PREFIX, decode

NO_ACL = "ACL support disabled"
NO_CONNECT = "Connect must be enabled in order to use this endpoint"


def add_routes(app: App) -> None:
    """Declare the routes of this module."""

    @route(app, "/v1/agent/token/<path:kind>", ["PUT"])
    def token(query: Query, kind: str) -> Answer:
        """Give the agent one of its own tokens."""
        return text(401, NO_ACL)

    @route(app, "/v1/agent/connect/ca/roots")
    def roots(query: Query) -> Answer:
        """The certificates of the CA."""
        raise Refused(NO_CONNECT)

    @route(app, "/v1/agent/connect/ca/leaf/<path:service>")
    def leaf(query: Query, service: str) -> Answer:
        """A certificate for a service."""
        raise Refused(NO_CONNECT)

    @route(app, "/v1/agent/connect/authorize", ["POST"])
    def authorize(query: Query) -> Answer:
        """Whether a client may connect to a service."""
        request = decode(query.body, AuthorizeRequest, prefix=f"Bad request: {PREFIX}")
        if not request.target:
            raise BadRequest("Bad request: Target service must be specified")
        raise BadRequest("Bad request: ClientCertURI not a valid Connect identifier")
