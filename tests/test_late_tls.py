"""Loading OpenSSL late, in processes of their own since imports cannot be undone."""

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

HEAVY = {
    "argparse", "asyncio", "automat", "cryptography", "_hashlib", "h2", "html", "http.client",
    "importlib.metadata", "inspect", "ipaddress",
    "klein", "lark", "logging", "email.message", "pathlib", "pyconsul.agent.replica", "pyconsul.agent.server",
    "pyconsul.http.kv", "pyconsul.raft.core",
    "pyconsul.state.kv", "pyconsul.storage.raft_storage", "rich", "ssl", "treq", "twisted.names.dns",
    "twisted.internet.process", "twisted.python.modules", "twisted.web.client", "twisted.web.server",
    "werkzeug",
}  # fmt: skip


def run(script: str) -> str:
    """What a new interpreter prints."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    environment = {**os.environ, "PYTHONPATH": root}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    return done.stdout.strip() or done.stderr


class LateTlsTests(SynchronousTestCase):
    def test_an_agent_loads_little(self) -> None:
        """Nothing that an agent imports at its start needs OpenSSL, Klein or what few agents use."""
        found = run(
            "import sys\n"
            "from pyconsul.cli.main import load_lean\n"
            "load_lean('agent')\n"
            "from pyconsul.cli.agent import load_role\n"
            "load_role('client')\n"
            f"print(sys.modules['OpenSSL'], sorted({HEAVY!r} & set(sys.modules)))\n"
        )
        self.assertEqual(found, "None []")

    def test_provided_later(self) -> None:
        """After ``provide`` endpoints wrap connections in TLS, and the HTTP client does too."""
        found = run(
            "from pyconsul import late_tls\n"
            "late_tls.postpone()\n"
            "from twisted.internet import endpoints\n"
            "assert endpoints.TLSMemoryBIOFactory is None\n"
            "late_tls.provide()\n"
            "late_tls.provide()\n"
            "from twisted.internet.ssl import optionsForClientTLS\n"
            "from twisted.internet.testing import MemoryReactorClock\n"
            "from twisted.web.client import Agent\n"
            "reactor = MemoryReactorClock()\n"
            "point = endpoints.TCP4ClientEndpoint(reactor, '127.0.0.1', 443)\n"
            "wrapped = endpoints.wrapClientTLS(optionsForClientTLS('host'), point)\n"
            "Agent(reactor).request(b'GET', b'https://127.0.0.1/').addErrback(lambda f: None)\n"
            "print(type(wrapped).__name__, len(reactor.tcpClients))\n"
        )
        self.assertEqual(found, "_WrapperEndpoint 1")

    def test_where_it_is_loaded_already(self) -> None:
        """A program that has TLS keeps it."""
        found = run(
            "import OpenSSL, sys\n"
            "from pyconsul import late_tls\n"
            "late_tls.postpone()\n"
            "late_tls.provide()\n"
            "print(sys.modules['OpenSSL'] is OpenSSL)\n"
        )
        self.assertEqual(found, "True")
