"""Everything that must pass: ruff, mypy, all tests and a day of the simulation.

Run as ``python -m tests.run``. The last line printed is ``N passed, N failed, N skipped``; a check
that finds fault counts as one failed. Arguments are given to trial instead of ``tests``, and then
nothing is simulated. The status is 0 only if nothing failed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHECKS = (
    ("ruff", "check", "pyconsul", "tests", "twisted/plugins"),
    ("mypy", "pyconsul", "tests", "twisted/plugins/pyconsul_plugin.py"),
)
JOBS = 2
SIMULATION = ("pyconsul", "simulate", "-runs=48", "-hours=0.5", f"-jobs={JOBS}")
"""Five servers, five clients, and more than 24 hours of faults."""

_SUMMARY = re.compile(r"^(?:PASSED|FAILED)(?: \((.*)\))?$")
_PASSED = ("successes", "expectedFailures")
_FAILED = ("failures", "errors", "unexpectedSuccesses")


def counts(lines: Iterable[str]) -> tuple[int, int, int] | None:
    """Passed, failed and skipped, from trial's summary line; ``None`` if there is none."""
    result = None
    for line in lines:
        if found := _SUMMARY.match(line.strip()):
            pairs = (item.split("=") for item in (found[1] or "").split(", ") if item)
            numbers = {name: int(number) for name, number in pairs}
            result = (
                sum(numbers.get(name, 0) for name in _PASSED),
                sum(numbers.get(name, 0) for name in _FAILED),
                numbers.get("skips", 0),
            )
    return result


def check(command: Sequence[str]) -> int:
    """Run one of the checks; 1 if it finds fault."""
    print(f"--- {command[0]}", flush=True)
    return int(subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode != 0)


def trial(targets: Sequence[str]) -> tuple[int, int, int]:
    """Run the tests; passed, failed and skipped."""
    print("--- trial", flush=True)
    command = [sys.executable, "-m", "twisted.trial", f"--jobs={JOBS}", *targets]
    running = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    assert running.stdout is not None
    lines = []
    for line in running.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    status = running.wait()
    passed, failed, skipped = counts(lines[-20:]) or (0, 0, 0)
    if status and not failed:  # trial itself broke, or ended without a summary
        failed = 1
    return passed, failed, skipped


def main(arguments: Sequence[str]) -> int:
    """Run everything; the exit status."""
    faults = sum(check(command) for command in CHECKS)
    passed, failed, skipped = trial(arguments or ["tests"])
    if not arguments:
        faults += check(SIMULATION)
    print(f"{passed} passed, {failed + faults} failed, {skipped} skipped")
    return int(failed + faults > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
