"""Checks that follow those of another service or node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from pyconsul.checks.definition import CheckType
from pyconsul.checks.outcome import Outcome
from pyconsul.structs.catalog import CRITICAL, PASSING, WARNING, HealthCheck


def alias_outcome(checks: list[HealthCheck]) -> Outcome:
    """The worst of ``checks``."""
    if not checks:
        return Outcome(PASSING, "No checks found.")
    for status in (CRITICAL, WARNING):
        for check in checks:
            if check.status == status:
                return Outcome(status, f'Aliased check "{check.name}" failing: {check.output}')
    return Outcome(PASSING, "All checks passing.")


class AliasProbe:
    """Reads the checks of what it follows.

    :param read_checks: see ``CheckMaker``.
    """

    def __init__(self, definition: CheckType, read_checks: Callable[[str, str], Any]) -> None:
        self._node = definition.alias_node
        self._service = definition.alias_service
        self._read_checks = read_checks

    def run(self) -> Deferred[Outcome]:
        """Look."""
        read: Deferred[Any] = maybeDeferred(self._read_checks, self._node, self._service)
        return read.addCallback(self._look)

    def timed_out(self) -> Outcome:
        """The servers did not say."""
        return Outcome(CRITICAL, f"Failed checking aliased node or service {self._service or self._node}")

    def _look(self, checks: list[HealthCheck] | None) -> Outcome:
        if checks is None:
            what = f"Service {self._service} could not be found on node {self._node}"
            return Outcome(CRITICAL, what if self._service else f"Node {self._node} could not be found")
        return alias_outcome(checks)
