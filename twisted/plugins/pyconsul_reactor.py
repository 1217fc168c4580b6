"""Makes the lean reactor known: ``twistd -r pyconsul``, ``trial -r pyconsul``."""

from twisted.application.reactors import Reactor

pyconsul = Reactor("pyconsul", "pyconsul.net.reactor", "epoll with eager writes and a lean poll loop (Linux)")
