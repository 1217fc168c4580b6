"""A web application that carries its own agent; its instances find each other through it."""

from klein import Klein
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import MultiService
from twisted.internet import endpoints, reactor
from twisted.web.server import Site

from pyconsul.agent import Agent


def make_application(name, port, **settings):
    """The application as one service: set it into a .tac file, or start it yourself."""
    application, app = MultiService(), Klein()
    agent = Agent(node_name=name, **settings)
    agent.setServiceParent(application)
    agent.register(name="hello", port=port, check={"tcp": f"127.0.0.1:{port}", "interval": "1s"})

    @app.route("/")
    async def instances(request):
        rows = await agent.healthy("hello")
        return "".join(f"{row.node.node}:{row.service.port}\n" for row in rows)

    endpoint = endpoints.TCP4ServerEndpoint(reactor, port)
    StreamServerEndpointService(endpoint, Site(app.resource())).setServiceParent(application)
    return application
