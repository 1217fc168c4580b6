"""Agents of a test's own: in the test's process, or as child processes. They keep nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from twisted.internet.defer import Deferred, gatherResults

from pyconsul.agent.embedding import Agent
from pyconsul.client.blocking import Client
from pyconsul.client.call import Call, Response
from pyconsul.client.endpoint import Endpoint
from pyconsul.errors import PyconsulError
from pyconsul.testing.ports import HOST, local_settings

READY_WITHIN_S = 20.0
END_WITHIN_S = 10.0
LOOK_EVERY_S = 0.02
QUICK = {
    "performance": {"raft_multiplier": 1},
    "gossip_lan": {"gossip_interval": "50ms", "probe_interval": "100ms", "probe_timeout": "100ms"},
}
"""Timing for the loopback interface."""


def cluster_settings(size: int, folder: str) -> list[dict[str, Any]]:
    """Settings of servers that find each other and elect a leader once all are there.

    :param folder: where they keep what they have to keep.
    """
    names = [f"server{number}" for number in range(1, size + 1)]
    every = [local_settings(name, data_dir=f"{folder}/{name}", **QUICK) for name in names]
    for settings in every:
        others = [f"{HOST}:{other['ports']['serf_lan']}" for other in every if other is not settings]
        settings.update(server=True, bootstrap_expect=size, retry_join=others)
    return every


class Agents:
    """Agents in this process, for tests that have a reactor (trial, or pytest with a plugin for it).

    In a trial test: ``agents = Agents(reactor)``, ``self.addCleanup(agents.stop)`` and then
    ``agent = await agents.start()``.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._started: list[Agent] = []
        self._folders: list[TemporaryDirectory[str]] = []

    async def start(self, name: str = "dev", **settings: Any) -> Agent:
        """A development server that leads; ``settings`` as in a configuration file."""
        agent = self._begin(local_settings(name, **{"dev": True, **settings}))
        await agent.ready(READY_WITHIN_S)
        return agent

    async def start_servers(self, size: int = 3) -> list[Agent]:
        """A cluster of servers that have a leader."""
        agents = [self._begin(settings) for settings in cluster_settings(size, self._folder())]
        await gatherResults([agent.ready(READY_WITHIN_S) for agent in agents], consumeErrors=True)
        return agents

    async def start_client(self, *others: Agent, name: str = "client", **settings: Any) -> Agent:
        """A client agent that has joined ``others``."""
        join = [f"{HOST}:{other.config.ports.serf_lan}" for other in others]
        agent = self._begin(
            local_settings(name, **{"data_dir": self._folder(), "retry_join": join, **QUICK, **settings})
        )
        await agent.ready(READY_WITHIN_S)
        return agent

    def stop(self) -> Deferred[Any]:
        """Stop all of them; fires when their ports are closed and their folders are gone."""
        started, self._started = self._started, []
        stopping = gatherResults([agent.stopService() for agent in started], consumeErrors=True)
        return stopping.addBoth(self._clean)

    def _clean(self, result: Any) -> Any:
        while self._folders:
            self._folders.pop().cleanup()
        return result

    def _folder(self) -> str:
        folder = TemporaryDirectory(prefix="pyconsul-")
        self._folders.append(folder)
        return folder.name

    def _begin(self, settings: dict[str, Any]) -> Agent:
        agent = Agent(reactor=self._reactor, **settings)
        agent.startService()
        self._started.append(agent)
        return agent


class AgentProcess:
    """An agent as a child process, for tests without a reactor; also a context manager.

    :param settings: as in a configuration file; ``dev`` unless something else is said.
    :ivar client: asks it; see ``pyconsul.client``.
    """

    def __init__(self, name: str = "dev", log: Path | None = None, **settings: Any) -> None:
        self.settings = local_settings(**{"name": name, "dev": True, **settings})
        self.endpoint = Endpoint(f"{HOST}:{self.settings['ports']['http']}")
        self.client = Client(self.endpoint)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; ``wait`` says when it can be used."""
        settings = dict(self.settings)
        development = ["-dev"] if settings.pop("dev") else []
        command = [sys.executable, "-m", "pyconsul", "agent", *development]
        root = str(Path(__file__).parent.parent.parent)
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
        with open(self._log or os.devnull, "ab") as output:
            self._process = subprocess.Popen(
                [*command, "-hcl", json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONPATH": path},
            )

    def wait(self, within_s: float = READY_WITHIN_S) -> None:
        """Wait until it knows a leader; raises ``PyconsulError`` if it ended, or if that takes too long."""
        until = time.monotonic() + within_s
        while not self._leader():
            if self._process is None or self._process.poll() is not None:
                raise PyconsulError("the agent has ended")
            if time.monotonic() > until:
                raise PyconsulError(f"the agent knows no leader after {within_s} s")
            time.sleep(LOOK_EVERY_S)

    def stop(self) -> None:
        """End it; it is killed if it does not."""
        process, self._process = self._process, None
        self.client.close()
        if process is None:
            return
        process.terminate()
        try:
            process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _leader(self) -> str:
        try:
            return str(self.client.do(Call("GET", "/v1/status/leader", Response.json)))
        except PyconsulError:
            return ""

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class ClusterProcesses:
    """Servers as child processes that elect a leader; a context manager.

    :ivar servers: each with a ``client``.
    """

    def __init__(self, size: int = 3) -> None:
        self._folder = TemporaryDirectory(prefix="pyconsul-")
        self.servers = [
            AgentProcess(settings.pop("node_name"), dev=False, **settings)
            for settings in cluster_settings(size, self._folder.name)
        ]

    def __enter__(self) -> list[AgentProcess]:
        try:
            for server in self.servers:
                server.start()
            for server in self.servers:
                server.wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self.servers

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self.servers:
            server.stop()
        self._folder.cleanup()
