"""The program that runs all checks."""

import io
import subprocess
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests import run as module


class CountTests(SynchronousTestCase):
    def test_summaries(self) -> None:
        """Trial's last line in its forms."""
        for line, expected in {
            "PASSED (successes=20)\n": (20, 0, 0),
            "PASSED (skips=2, expectedFailures=1, successes=20)": (21, 0, 2),
            "FAILED (failures=1, errors=2, unexpectedSuccesses=1, successes=3)": (3, 4, 0),
            "PASSED": (0, 0, 0),
        }.items():
            self.assertEqual(module.counts(["Ran 20 tests in 0.1s", "", line]), expected)

    def test_none(self) -> None:
        """Without a summary nothing is known."""
        self.assertIsNone(module.counts(["Traceback", ""]))


class MainTests(SynchronousTestCase):
    def outcome(self, statuses: dict[str, int], output: str, status: int) -> tuple[int, str]:
        """Run with stand-ins for the programs: status and last line."""

        class Trial:
            def __init__(self, command: Any, **options: Any) -> None:
                self.stdout = io.StringIO(output)

            def wait(self) -> int:
                return status

        def check(command: list[str], **options: Any) -> Any:
            checks.append(command[2])
            return subprocess.CompletedProcess(command, statuses.get(command[2], 0))

        checks: list[str] = []
        printed = io.StringIO()
        self.patch(sys, "stdout", printed)
        self.patch(subprocess, "Popen", Trial)
        self.patch(subprocess, "run", check)
        result = module.main([])
        self.assertEqual(checks, ["ruff", "mypy", "pyconsul"])
        return result, printed.getvalue().splitlines()[-1]

    def test_all_is_well(self) -> None:
        """The numbers are trial's."""
        self.assertEqual(
            self.outcome({}, "PASSED (skips=1, successes=5)\n", 0), (0, "5 passed, 0 failed, 1 skipped")
        )

    def test_a_check_fails(self) -> None:
        """Each check that finds fault counts as one failure."""
        found = self.outcome({"ruff": 1, "mypy": 1}, "PASSED (successes=5)\n", 0)
        self.assertEqual(found, (1, "5 passed, 2 failed, 0 skipped"))
        found = self.outcome({"pyconsul": 1}, "PASSED (successes=5)\n", 0)
        self.assertEqual(found, (1, "5 passed, 1 failed, 0 skipped"))

    def test_some_tests(self) -> None:
        """Whoever names tests gets those, and the quick checks."""
        asked: list[str] = []

        def check(command: list[str]) -> int:
            asked.append(command[0])
            return 0

        self.patch(module, "check", check)
        self.patch(module, "trial", lambda targets: (len(targets), 0, 0))
        self.assertEqual(module.main(["tests.raft", "tests.swim"]), 0)
        self.assertEqual(asked, ["ruff", "mypy"])

    def test_tests_fail(self) -> None:
        """As many as trial says."""
        found = self.outcome({}, "FAILED (failures=2, successes=5)\n", 1)
        self.assertEqual(found, (1, "5 passed, 2 failed, 0 skipped"))

    def test_trial_breaks(self) -> None:
        """No summary is a failure too, and so is a bad status with a good summary."""
        self.assertEqual(self.outcome({}, "Traceback\n", 1), (1, "0 passed, 1 failed, 0 skipped"))
        self.assertEqual(self.outcome({}, "PASSED (successes=5)\n", 1), (1, "5 passed, 1 failed, 0 skipped"))
