"""The commands that are one request, or none."""

import base64
import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pyconsul import __version__
from tests.cli.support import run


class RequestTests(SynchronousTestCase):
    def test_join(self) -> None:
        """One address that works is enough."""
        result = run("join", "10.0.0.1", "10.0.0.2", answers=[(500, b"why"), (200, b"")])
        self.assertEqual(
            (result.status, result.out), (0, "Successfully joined cluster by contacting 1 nodes.\n")
        )
        self.assertEqual(
            result.err, "Error joining address '10.0.0.1': Unexpected response code: 500 (why)\n"
        )
        self.assertEqual(result.lines, ["PUT /v1/agent/join/10.0.0.1", "PUT /v1/agent/join/10.0.0.2"])

    def test_join_fails(self) -> None:
        """None that works, and none at all."""
        result = run("join", "-wan", "10.0.0.1", answers=[(500, b"why")])
        self.assertEqual(result.status, 1)
        self.assertTrue(result.err.endswith("Failed to join any nodes.\n"))
        self.assertEqual(result.lines, ["PUT /v1/agent/join/10.0.0.1?wan=1"])
        result = run("join")
        self.assertEqual(result.status, 1)
        self.assertTrue(
            result.err.startswith("At least one address to join must be specified.\n\nUsage: pyconsul join")
        )

    def test_leave(self) -> None:
        """The agent ends."""
        result = run("leave", answers=[(200, b"")])
        self.assertEqual(
            (result.status, result.out, result.lines),
            (0, "Graceful leave complete\n", ["PUT /v1/agent/leave"]),
        )
        result = run("leave", answers=[(500, b"why")])
        self.assertEqual(result.err, "Error leaving: Unexpected response code: 500 (why)\n")
        result = run("leave", "a", "b")
        self.assertEqual((result.status, result.err), (1, "Error found unexpected args: [a b]\n"))
        self.assertIn("Usage: pyconsul leave", result.out)

    def test_force_leave(self) -> None:
        """Silent if it works."""
        result = run("force-leave", "n", answers=[(200, b"")])
        self.assertEqual((result.status, result.out, result.lines), (0, "", ["PUT /v1/agent/force-leave/n"]))
        result = run("force-leave", "-prune", "n", answers=[(500, b"agent: No node found with name 'n'")])
        self.assertEqual(
            result.err,
            "Error force leaving: Unexpected response code: 500 (agent: No node found with name 'n')\n",
        )
        self.assertEqual(result.lines, ["PUT /v1/agent/force-leave/n?prune=1"])
        for arguments in ((), ("a", "b")):
            text = "A single node name must be specified to force leave.\n\nUsage: "
            self.assertTrue(run("force-leave", *arguments).err.startswith(text))

    def test_info(self) -> None:
        """Sections and values by name."""
        stats = {"b": {"y": "1", "x": "2"}, "a": {}}
        result = run("info", "ignored", answers=[(200, {"Stats": stats})])
        self.assertEqual((result.status, result.out), (0, "a:\nb:\n\tx = 2\n\ty = 1\n"))
        self.assertEqual(result.lines, ["GET /v1/agent/self"])
        result = run("info", answers=[(200, {})])
        self.assertEqual((result.status, result.err), (1, "Agent response did not contain 'Stats' key\n"))
        result = run("info", answers=[(403, b"no")])
        self.assertEqual(result.err, "Error querying agent: Unexpected response code: 403 (no)\n")

    def test_reload(self) -> None:
        """The agent reads its files again."""
        result = run("reload", answers=[(200, b"")])
        self.assertEqual((result.status, result.out), (0, "Configuration reload triggered\n"))
        self.assertEqual(result.lines, ["PUT /v1/agent/reload"])
        result = run("reload", answers=[(500, b"why")])
        self.assertEqual(result.err, "Error reloading: Unexpected response code: 500 (why)\n")


class LocalTests(SynchronousTestCase):
    def test_version(self) -> None:
        """For people and for programs."""
        first, second, _ = run("version").out.split("\n", 2)
        self.assertEqual(first, f"Pyconsul v{__version__}")
        self.assertTrue(second.startswith("Protocol 2 spoken by default, understands 2 to 3 (agent"), second)
        facts = json.loads(run("version", "-format=json").out)
        self.assertEqual(facts["Version"], __version__)
        self.assertEqual(facts["RPC"], {"Default": 2, "Min": 2, "Max": 3})
        result = run("version", "-format=bad")
        self.assertEqual((result.status, result.err), (1, "Unknown format: bad\n"))

    def test_keygen(self) -> None:
        """32 bytes, never the same."""
        first, second = run("keygen").out, run("keygen").out
        self.assertEqual(len(base64.b64decode(first, validate=False)), 32)
        self.assertNotEqual(first, second)

    def test_validate(self) -> None:
        """Files are good or not."""
        folder = Path(self.mktemp())
        folder.mkdir()
        good, bad = folder / "good.hcl", folder / "bad.json"
        good.write_text('data_dir = "/tmp" bind_addr = "127.0.0.1" server = true bootstrap_expect = 3')
        bad.write_text('{"no_such_option": 1}')
        result = run("validate", str(good))
        self.assertEqual((result.status, result.out), (0, "Configuration is valid!\n"))
        self.assertEqual(result.err, "bootstrap_expect > 0: expecting 3 servers\n")
        result = run("validate", "-quiet", str(good))
        self.assertEqual((result.status, result.out, result.err), (0, "", ""))
        result = run("validate", "-quiet", str(bad))
        self.assertEqual(result.status, 1)
        self.assertTrue(result.err.startswith(f"Config validation failed: failed to parse {bad}: "))

    def test_validate_arguments(self) -> None:
        """Nothing to check, and formats that there are not."""
        result = run("validate")
        self.assertEqual(
            (result.status, result.err), (1, "Must specify at least one config file or directory\n")
        )
        result = run("validate", "-config-format=zz", "x")
        self.assertEqual(result.err, "-config-format must be either 'hcl' or 'json'\n")

    def test_configtest(self) -> None:
        """The same for scripts of old."""
        path = Path(self.mktemp() + ".json")
        path.write_text('{"data_dir": "/tmp", "bind_addr": "127.0.0.1"}')
        result = run("configtest", f"-config-file={path}")
        self.assertEqual((result.status, result.out), (0, "Configuration is valid!\n"))
        path.write_text('{"service": {"name": "web"}, "bind_addr": "127.0.0.1"}')
        self.assertEqual(run("configtest", f"-config-file={path}").status, 0)
        result = run("configtest", "-config-dir=/none")
        self.assertEqual(result.status, 1)
        self.assertEqual(run("configtest").err, "Must specify config using -config-file or -config-dir\n")
