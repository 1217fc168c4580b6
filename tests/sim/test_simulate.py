from __future__ import annotations

import subprocess
import sys
from io import BytesIO, StringIO

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.cli import simulate
from pyconsul.cli.command import Terminal
from pyconsul.cli.main import perform
from pyconsul.errors import PyconsulError
from pyconsul.testing.kernel import SimulationFailed
from pyconsul.testing.world import World


def nothing() -> None:
    """Instead of what a process does that runs nothing else."""


class SimulateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(self.flushLoggedErrors, PyconsulError)
        self.patch(simulate, "_prepare", nothing)

    def simulate(self, *arguments: str) -> tuple[int, str, str]:
        out, err = StringIO(), StringIO()
        status = perform(simulate.COMMAND, arguments, Terminal(BytesIO(), out, err, {}))
        return status, out.getvalue(), err.getvalue()

    def test_run(self) -> None:
        """One line for each seed, and the same one again for the same seed."""
        arguments = ("-servers=3", "-hours=0.005", "-seed=7", "-runs=2", "-check-codec")
        status, out, err = self.simulate(*arguments)
        self.assertEqual((status, err), (0, ""))
        first, second, total = out.splitlines()
        self.assertIn("0.01 hours simulated in 2 runs, seeds 7 to 8, ", total)
        self.assertTrue(total.endswith("; 0 violations"), total)
        self.assertTrue(first.startswith("seed 7: ") and second.startswith("seed 8: "), out)
        again = self.simulate("-servers=3", "-hours=0.005", "-seed=7", "-check-codec")[1]
        self.assertEqual(again.rpartition("trace ")[2].strip(), first.rpartition("trace ")[2])

    def test_jobs(self) -> None:
        """Several processes make the same runs as one, and tell of them in the same order."""
        alone = self.simulate("-servers=1", "-hours=0.003", "-runs=3")[1].splitlines()
        status, out, err = self.simulate("-servers=1", "-hours=0.003", "-runs=3", "-jobs=2")
        self.assertEqual((status, err), (0, ""))
        together = out.splitlines()
        self.assertIn(" by 2 processes: ", together[-1])
        digests = [[line.rpartition("trace ")[2] for line in lines[:-1]] for lines in (alone, together)]
        self.assertEqual(digests[0], digests[1])

    def test_story(self) -> None:
        """What was done to the servers."""
        status, out, _ = self.simulate("-servers=1", "-hours=0.002", "-story", "-fault-gap=1")
        self.assertEqual(status, 0)
        self.assertIn("0.000000 boot s1", out)
        self.assertIn("everything is mended", out)

    def test_failure(self) -> None:
        """A run that fails gives its error, how to get there, and status 1."""

        def settle(self: World) -> None:
            raise self.failed(SimulationFailed("so it goes"))

        self.patch(World, "settle", settle)
        status, out, err = self.simulate("-servers=1", "-hours=0.001", "-seed=9")
        self.assertEqual(status, 1)
        self.assertTrue(out.endswith("; 1 violations\n"), out)
        self.assertIn("seed 9: SimulationFailed: so it goes", err)
        self.assertIn("seed 9, at ", err)
        self.assertIn("1 of 1 runs failed", err)

    def test_bad_flags(self) -> None:
        """Numbers out of range are refused."""
        for flag in (
            "-servers=0", "-servers=99", "-hours=0", "-hours=nan", "-runs=0", "-jobs=0", "-keys=0", "more",
        ):  # fmt: skip
            status, out, err = self.simulate(flag)
            self.assertEqual((status, out), (1, ""), flag)
            self.assertNotEqual(err, "")

    def test_alone(self) -> None:
        """In a process of its own nothing is logged."""
        program = (
            "import sys\n"
            "from pyconsul.cli.command import Terminal\n"
            "from pyconsul.cli.main import perform\n"
            "from pyconsul.cli.simulate import COMMAND\n"
            "arguments = ['-servers=3', '-hours=0.01']\n"
            "sys.exit(perform(COMMAND, arguments, Terminal(sys.stdin.buffer, sys.stdout, sys.stderr, {})))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": ":".join(sys.path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("x real time", done.stdout)
