"""Our commands against a real agent, side by side with the real commands.

Skipped where the reference binary is not present.
"""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from pyconsul.client import catalog
from pyconsul.client.blocking import Client
from pyconsul.client.endpoint import Endpoint
from pyconsul.errors import PyconsulError
from tests.cli.support import Result, run
from tests.cluster.processes import ProcessTestCase, block
from tests.test_hcl import real_consul

ADDRESS = f"{block(24)}.30"

COMMANDS: list[tuple[str, ...]] = [
    ("kv", "put", "a/b", "v"),
    ("kv", "put", "-flags=42", "a/c", "w"),
    ("kv", "put", "a/empty"),
    ("kv", "put", "odd key/ü?&%", "x"),
    ("kv", "get", "odd key/ü?&%"),
    ("kv", "get", "a/b"),
    ("kv", "get", "-base64", "a/b"),
    ("kv", "get", "-detailed", "a/c"),
    ("kv", "get", "-recurse", "a/"),
    ("kv", "get", "-recurse", "-detailed", "a/"),
    ("kv", "get", "-keys", ""),
    ("kv", "get", "-keys", "-separator=", "a"),
    ("kv", "get", "none"),
    ("kv", "get", "-datacenter=nowhere", "a/b"),
    ("kv", "get", "-stale", "a/b"),
    ("kv", "export", "a/"),
    ("kv", "export", "none/"),
    ("kv", "import", '[{"key":"i/a","flags":3,"value":"MQ=="}]'),
    ("kv", "put", "-cas", "-modify-index=1", "a/b", "z"),
    ("kv", "delete", "-cas", "-modify-index=1", "a/b"),
    ("kv", "put", "-acquire", "-session=40e4a748-2192-161a-0510-9bf59fe950b5", "a/b", "z"),
    ("kv", "delete", "a/b"),
    ("kv", "delete", "-recurse", "a/"),
    ("members",),
    ("members", "-detailed"),
    ("members", "-wan"),
    ("members", "-status=left"),
    ("members", "-segment=x"),
    ("catalog", "datacenters"),
    ("catalog", "nodes"),
    ("catalog", "nodes", "-detailed"),
    ("catalog", "nodes", "-service=consul"),
    ("catalog", "nodes", "-service=none"),
    ("catalog", "nodes", "-node-meta=a=b"),
    ("catalog", "nodes", "-filter=bad bad"),
    ("catalog", "services"),
    ("catalog", "services", "-tags"),
    ("catalog", "services", "-node=n1"),
    ("catalog", "services", "-node=none"),
    ("force-leave", "nobody"),
    ("reload",),
]


class RealConsulTests(ProcessTestCase):
    def setUp(self) -> None:
        binary = real_consul()
        if binary is None:
            raise SkipTest("the reference binary is not here")
        self.binary: str = binary
        log = Path(self.mktemp())
        with log.open("wb") as out:
            agent = subprocess.Popen(
                [binary, "agent", "-dev", "-node=n1", f"-bind={ADDRESS}", f"-client={ADDRESS}"],
                stdout=out,
                stderr=out,
            )
        self.addCleanup(agent.wait, 20)
        self.addCleanup(agent.terminate)
        self.wait_for_the_catalog()

    def wait_for_the_catalog(self) -> None:
        """Until the agent has put its own node there, for at most 20 seconds."""
        client = Client(Endpoint(f"{ADDRESS}:8500"))
        self.addCleanup(client.close)
        deadline = time.monotonic() + 60
        index = 0
        while time.monotonic() < deadline:
            try:
                answer = client.ask(catalog.nodes(index=index, wait_s=1))
            except PyconsulError:  # not listening yet, or no leader
                continue
            if answer.value:
                return
            index = answer.index
        self.fail("the agent did not come up")

    def theirs(self, arguments: tuple[str, ...]) -> Any:
        return subprocess.run(
            [self.binary, *arguments],
            env={**os.environ, "CONSUL_HTTP_ADDR": f"{ADDRESS}:8500"},
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def ours(self, arguments: tuple[str, ...]) -> Result:
        return run(*arguments, environ={"CONSUL_HTTP_ADDR": f"{ADDRESS}:8500"})

    def test_side_by_side(self) -> None:
        """Status and both outputs are the same; only indexes may have moved on."""
        for arguments in COMMANDS:
            theirs, ours = self.theirs(arguments), self.ours(arguments)
            self.assertEqual(ours.status, theirs.returncode, (arguments, ours.err))
            self.assertEqual(_settled(ours.out), _settled(theirs.stdout), arguments)
            self.assertEqual(ours.err, theirs.stderr, arguments)

    def test_info(self) -> None:
        """The sections are the same."""
        ours, theirs = self.ours(("info",)), self.theirs(("info",))
        self.assertEqual(ours.status, 0)
        self.assertEqual(_names(ours.out), _names(theirs.stdout))


def _settled(text: str) -> list[str]:
    """Lines without what differs between two runs."""
    return [line for line in text.split("\n") if not line.startswith("ModifyIndex ")]


def _names(text: str) -> list[str]:
    return [line.partition(" = ")[0] for line in text.split("\n")]
