"""``debug``: what is recorded, and what is no recording."""

import json
import os
import tarfile

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.cli import debug
from tests.cli.support import Result, run

SELF = (200, {"Config": {"Version": "1.2.3"}})
MEMBERS = (200, [{"Name": "n1.dc1"}])


class RecordingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = self.mktemp()

    def text(self, name: str) -> str:
        with open(os.path.join(self.path, name)) as file:
            return file.read()

    def test_once(self) -> None:
        """What does not change is there at once; a folder, if no archive is wanted."""
        flags = ("-capture=agent", "-capture=cluster", "-archive=false", f"-output={self.path}")
        result = run("debug", *flags, answers=[SELF, SELF, MEMBERS])
        self.assertEqual((result.status, result.err), (0, ""))
        self.assertEqual(
            result.out,
            "==> Starting debugger and capturing static information...\n"
            "     Agent Version: '1.2.3'\n"
            "          Interval: '30s'\n"
            "          Duration: '2m0s'\n"
            f"            Output: '{self.path}'\n"
            "           Capture: 'agent, cluster'\n"
            f"    Saved debug archive: {self.path}\n",
        )
        self.assertEqual(
            result.lines, ["GET /v1/agent/self", "GET /v1/agent/self", "GET /v1/agent/members?wan=1"]
        )
        self.assertEqual(self.text("cluster.json"), '[\n\t{\n\t\t"Name": "n1.dc1"\n\t}\n]')
        self.assertEqual(
            json.loads(self.text("index.json")),
            {
                "Version": 1, "AgentVersion": "1.2.3", "Interval": "30s", "Duration": "2m0s",
                "Targets": ["agent", "cluster"],
            },
        )  # fmt: skip

    def test_again(self) -> None:
        """What changes is looked at until the time is over, and all of it is packed."""
        self.patch(debug, "MIN_S", 0.0)
        flags = ("-capture=metrics", "-duration=0.02s", "-interval=0.01s", f"-output={self.path}")
        result = run("debug", *flags, answers=[SELF, *[(200, {"Gauges": []})] * 9])
        self.assertEqual((result.status, result.err), (0, ""))
        self.assertIn("\n==> Beginning capture interval 20", result.out)
        self.assertIn(" +0000 UTC (2)\n", result.out)
        self.assertFalse(os.path.exists(self.path))
        with tarfile.open(f"{self.path}.tar.gz") as archive:
            names = [member.name for member in archive if member.isfile()]
        name = os.path.basename(self.path)
        self.assertIn(f"{name}/index.json", names)
        self.assertTrue(any(found.endswith("/metrics.json") for found in names), names)

    def test_what_cannot_be_had(self) -> None:
        """It is told, and the rest is recorded."""
        flags = ("-capture=cluster", "-capture=pprof", "-archive=false", f"-output={self.path}")
        result = run("debug", *flags, answers=[SELF, (500, b"no")])
        self.assertEqual(result.status, 0)
        self.assertEqual(
            result.err, debug.NO_PROFILES + "\n==> Capture error: Unexpected response code: 500\n"
        )
        self.assertEqual(self.text("cluster.json"), "null")

    def refused(self, *flags: str) -> str:
        result: Result = run("debug", *flags, answers=[SELF])
        self.assertEqual((result.status, result.out), (1, ""))
        return result.err

    def test_refused(self) -> None:
        os.mkdir(self.path)
        for flags, why in (
            (("-duration=1s",), "duration must be longer than 10s"),
            (("-interval=1s",), "interval must be longer than 10s"),
            (("-duration=10s", "-interval=20s"), "duration (10s) must be longer than interval (20s)"),
            (("-capture=zz",), "target not found: zz"),
            ((f"-output={self.path}",), f"output directory already exists: {self.path}"),
        ):
            self.assertEqual(self.refused(*flags), f"==> Capture validation failed: {why}\n")
        self.assertEqual(self.refused("x"), "==> debug: Too many arguments provided, expected 0\n")
        self.assertTrue(self.refused("-duration=x").startswith('invalid value "x" for flag -duration: '))
        result = run("debug", answers=[(403, b"")])
        self.assertIn("==> Capture validation failed: error querying target agent: ", result.err)
        self.assertIn(". verify connectivity and agent address\n", result.err)
