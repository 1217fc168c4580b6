"""An agent as a service of another program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet import reactor as any_reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

import pyconsul.agent
from pyconsul.agent import Agent
from pyconsul.config.sources import Sources, load
from pyconsul.errors import BadRequest, ConfigurationError, NoLeader
from pyconsul.testing.agents import Agents
from pyconsul.testing.ports import local_settings

reactor: Any = any_reactor


class AgentTests(TestCase):
    async def test_in_an_application(self) -> None:
        """It starts and stops with the service that it belongs to."""
        application = MultiService()
        agent = Agent(dev=True, reactor=reactor, **local_settings("mine"))
        self.assertTrue(verifyObject(IService, agent))
        agent.setServiceParent(application)
        agent.register(name="web", port=80, tags=["a"], checks=[{"ttl": "10s", "status": "passing"}])
        agent.register(name="web", id="bad", check={"ttl": "10s"})
        application.startService()
        try:
            self.assertEqual(await agent.ready(), f"127.0.0.1:{agent.config.ports.server}")
            while len(found := await agent.healthy("web")) < 1:
                await deferLater(reactor, 0.01)
            self.assertEqual([(row.node.node, row.service.id) for row in found], [("mine", "web")])
            self.assertEqual(await agent.healthy("web", tag="b"), [])
            agent.deregister("web")
            while await agent.healthy("web"):
                await deferLater(reactor, 0.01)
            self.assertEqual(agent.endpoint.port, agent.config.ports.http)
        finally:
            await application.stopService()

    async def test_no_leader(self) -> None:
        """Waiting has an end."""
        agents = Agents(reactor)
        self.addCleanup(agents.stop)
        folder = self.mktemp()
        settings = local_settings("alone", data_dir=folder)
        agent = Agent(reactor=reactor, **settings)
        agent.startService()
        self.addCleanup(agent.stopService)
        with self.assertRaises(NoLeader):
            await agent.ready(within_s=0.05)

    async def test_other_agents(self) -> None:
        """A client agent finds what a server has registered, and leaves."""
        agents = Agents(reactor)
        self.addCleanup(agents.stop)
        server = await agents.start()
        server.register(name="db", port=5432)
        client = await agents.start_client(server)
        while not (rows := await client.healthy("db")):
            await deferLater(reactor, 0.01)
        self.assertEqual(rows[0].service.port, 5432)
        await client.leave()


class SettingsTests(SynchronousTestCase):
    def test_wrong_ones(self) -> None:
        """As in files, they are named."""
        error = self.assertRaises(ConfigurationError, Agent, dev=True, ports={"htp": 1})
        self.assertIn("htp", str(error))
        config = load(Sources(dev=True))
        self.assertRaises(ConfigurationError, Agent, config, node_name="x")
        agent = Agent(config, reactor)
        self.assertIs(agent.config, config)
        self.assertRaises(BadRequest, agent.register, nmae="x")

    def test_sockets(self) -> None:
        agent = Agent(reactor=reactor, dev=True, addresses={"http": "unix:///tmp/x.sock"})
        self.assertEqual(agent.endpoint.unix_path, "/tmp/x.sock")

    def test_light(self) -> None:
        """Importing the package takes nothing else with it."""
        code = "import sys, pyconsul.agent; print(any(name.startswith('twisted') for name in sys.modules))"
        environment = {**os.environ, "PYTHONPATH": str(Path(pyconsul.__file__).parent.parent)}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        self.assertEqual(done.stdout.strip(), "False")
        self.assertRaises(AttributeError, getattr, pyconsul.agent, "Nothing")
