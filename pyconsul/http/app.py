"""Puts the HTTP interface of an agent together."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime

from pyconsul.http import status
from pyconsul.http.answer import Answer, Dates
from pyconsul.http.paths import redirect
from pyconsul.http.query import Query
from pyconsul.http.routes import App, route
from pyconsul.http.settings import HttpSettings
from pyconsul.http.site import Site
from pyconsul.http.surface import Surface
from pyconsul.interfaces import Agent, WallTime

AddRoutes = Callable[[App, Agent], None]

NO_UI = b"Consul Agent: UI disabled. To enable, set ui=true in the agent config."


def make_site(
    agent: Agent,
    settings: HttpSettings,
    clock: IReactorTime,
    wall_time: WallTime | None = None,
    more: Iterable[AddRoutes] = (),
) -> Site:
    """The factory to serve ``agent`` over HTTP with.

    :param wall_time: for the Date header; the clock's seconds if not given.
    :param more: ``add_routes`` of further prefix modules; each gets the Klein application and the agent.
    """
    surface = make_surface(agent, settings, clock, wall_time or clock.seconds, more)
    surface.app.later(lambda: _add_stream(surface.app, agent, clock))
    _add_root(surface.app, surface)
    surface.compile()
    return Site(surface, clock)


def make_surface(
    agent: Agent,
    settings: HttpSettings,
    clock: IReactorTime,
    wall_time: WallTime,
    more: Iterable[AddRoutes] = (),
) -> Surface:
    """What answers for ``agent`` without any connection, with the routes that ask servers, and ``more``."""
    app = App()
    for add_routes in (status.add_routes, *more):
        add_routes(app, agent)
    app.later(lambda: _add_prefixes(app, agent))
    return Surface(app, agent, settings, Dates(wall_time), clock)


def _add_prefixes(app: App, agent: Agent) -> None:
    from pyconsul.http.prefixes import MODULES

    for add_routes in MODULES:
        add_routes(app, agent)


def _add_stream(app: App, agent: Agent, clock: IReactorTime) -> None:
    from pyconsul.http import stream

    stream.add_routes(app, agent, clock)


def _add_root(app: App, surface: Surface) -> None:
    @route(app, "/", ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"])
    def root(query: Query) -> Answer:
        """The way to the web interface, if there is one."""
        if surface.settings.ui:
            return redirect("/ui/", b"", query.method)
        return Answer(NO_UI, content_type=b"text/plain; charset=utf-8")
