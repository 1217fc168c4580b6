"""Fixtures for pytest: a development server, or three servers, in this process.

The reactor runs in a thread of its own, which the whole session shares, since it can run only once.
A test suite that runs the reactor itself uses ``pyconsul.testing.agents.Agents`` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pytest

CALL_WITHIN_S = 30.0


class RunningAgent:
    """An agent that runs in the reactor's thread.

    :ivar client: asks it and waits; see ``pyconsul.client``.
    :ivar agent: the service; to be used in the reactor's thread only.
    """

    def __init__(self, agent: Any) -> None:
        from pyconsul.client.blocking import Client

        self.agent = agent
        self.endpoint = agent.endpoint
        self.client = Client(agent.endpoint)


@pytest.fixture(scope="session")
def pyconsul_reactor() -> Iterator[Any]:
    """Calls a function in the thread in which the reactor runs, and waits for what its Deferred gives."""
    from twisted.internet import reactor as any_reactor
    from twisted.internet.threads import blockingCallFromThread

    reactor: Any = any_reactor
    thread = Thread(target=reactor.run, kwargs={"installSignalHandlers": False}, daemon=True)
    thread.start()

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        return blockingCallFromThread(reactor, function, *arguments)

    yield call
    reactor.callFromThread(reactor.stop)
    thread.join(CALL_WITHIN_S)


@pytest.fixture
def pyconsul_agent(pyconsul_reactor: Any) -> Iterator[RunningAgent]:
    """A development server of this test's own."""
    for running in _running(pyconsul_reactor, lambda agents: agents.start()):
        yield running[0]


@pytest.fixture
def pyconsul_cluster(pyconsul_reactor: Any) -> Iterator[list[RunningAgent]]:
    """Three servers of this test's own."""
    yield from _running(pyconsul_reactor, lambda agents: agents.start_servers())


def _running(call: Any, start: Callable[[Any], Any]) -> Iterator[list[RunningAgent]]:
    from twisted.internet import reactor
    from twisted.internet.defer import ensureDeferred

    from pyconsul.testing.agents import Agents

    agents = Agents(reactor)
    try:
        started = call(lambda: ensureDeferred(start(agents)))
        running = [RunningAgent(agent) for agent in (started if isinstance(started, list) else [started])]
        yield running
        for one in running:
            one.client.close()
    finally:
        call(agents.stop)
