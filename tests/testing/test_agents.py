"""Agents for tests, the example in the documentation, and the fixtures for pytest."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent as WebAgent
from twisted.web.client import readBody

from pyconsul.client import kv
from pyconsul.errors import PyconsulError
from pyconsul.testing.agents import AgentProcess, Agents
from pyconsul.testing.ports import GROUP, free_ports, local_settings

reactor: Any = any_reactor
ROOT = Path(__file__).parent.parent.parent


class PortTests(SynchronousTestCase):
    def test_free_ports(self) -> None:
        """One for each purpose, all different."""
        ports = free_ports()
        self.assertEqual(tuple(ports), GROUP)
        self.assertEqual(len(set(ports.values())), len(GROUP))

    def test_settings(self) -> None:
        settings = local_settings("a", ports={"dns": -1}, server=True)
        self.assertEqual(
            (settings["node_name"], settings["ports"]["dns"], settings["server"]), ("a", -1, True)
        )


class InProcessTests(TestCase):
    async def test_quickly_there(self) -> None:
        """A development server takes about 0.1 s; the bound leaves room for a busy machine."""
        agents = Agents(reactor)
        self.addCleanup(agents.stop)
        started = time.perf_counter()
        await agents.start("quick")
        self.assertLess(time.perf_counter() - started, 30.0)

    async def test_a_cluster(self) -> None:
        """Three servers, one leader; their folders go with them."""
        agents = Agents(reactor)
        servers = await agents.start_servers()
        try:
            self.assertEqual(len({await server.ready() for server in servers}), 1)
            folder = Path(servers[0].config.data_dir)
            self.assertTrue(folder.exists())
        finally:
            await agents.stop()
        self.assertFalse(folder.exists())


class ProcessTests(SynchronousTestCase):
    def test_one(self) -> None:
        """It answers as soon as the block begins, and has ended after."""
        with AgentProcess("child") as agent:
            agent.client.do(kv.put("colour", b"blue"))
            found = agent.client.do(kv.get("colour"))
            self.assertEqual(found and found.value, b"blue")
        self.assertRaises(PyconsulError, agent.client.do, kv.get("colour"))

    def test_one_that_ends(self) -> None:
        """Nobody waits for an agent that is not there."""
        log = Path(self.mktemp())
        broken = AgentProcess(log=log, datacenter="a.b")
        self.assertRaises(PyconsulError, broken.__enter__)
        self.assertIn("datacenter", log.read_text())


class ExampleTests(TestCase):
    def test_short(self) -> None:
        """The example fits on half a page."""
        self.assertLess(len((ROOT / "docs/examples/hello.py").read_text().splitlines()), 30)

    async def test_two_instances(self) -> None:
        """Each registers itself and finds the other."""
        spec = spec_from_file_location("hello", ROOT / "docs/examples/hello.py")
        assert spec is not None and spec.loader is not None
        hello = module_from_spec(spec)
        spec.loader.exec_module(hello)
        first = local_settings("web1", dev=True)
        second = local_settings("web2", data_dir=self.mktemp())
        second["retry_join"] = [f"127.0.0.1:{first['ports']['serf_lan']}"]
        ports = free_ports(names=("one", "two"))
        for number, settings in zip(ports.values(), (first, second), strict=True):
            application = hello.make_application(settings.pop("node_name"), number, **settings)
            application.startService()
            self.addCleanup(application.stopService)
        expected = f"web1:{ports['one']}\nweb2:{ports['two']}\n".encode()
        for number in ports.values():
            while await self.get(f"http://127.0.0.1:{number}/") != expected:
                await deferLater(reactor, 0.05)

    async def get(self, url: str) -> bytes:
        response = await WebAgent(reactor).request(b"GET", url.encode())
        body: bytes = await readBody(response)
        return body


PYTEST = """
from pyconsul.client import kv

def test_agent(pyconsul_agent):
    pyconsul_agent.client.do(kv.put("a", b"1"))
    assert pyconsul_agent.client.do(kv.get("a")).value == b"1"

def test_another(pyconsul_agent):
    assert pyconsul_agent.client.do(kv.get("a")) is None

def test_cluster(pyconsul_cluster):
    pyconsul_cluster[0].client.do(kv.put("a", b"2"))
    assert pyconsul_cluster[1].client.do(kv.get("a", consistent=True)).value == b"2"
"""


class PytestTests(SynchronousTestCase):
    if not find_spec("pytest"):
        skip = "pytest is not installed"

    def test_fixtures(self) -> None:
        """A test suite of somebody else's."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "test_it.py").write_text(PYTEST)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "pyconsul.testing.pytest_plugin"]
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)],
            capture_output=True,
            text=True,
            timeout=60,
            # Where this package is installed the plugin would be loaded twice.
            env={**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("3 passed", done.stdout)
