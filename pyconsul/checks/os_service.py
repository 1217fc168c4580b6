"""Checks of a service of the operating system, as systemd sees it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed

from pyconsul.checks.definition import CheckType
from pyconsul.checks.outcome import Outcome, Tail
from pyconsul.checks.script import Running, took_too_long
from pyconsul.structs.catalog import CRITICAL, PASSING, WARNING

SYSTEMCTL = "systemctl"
STATES = {"active": PASSING, "reloading": WARNING, "activating": WARNING}
"""Any other state (inactive, failed, deactivating, unknown) is critical."""


class OsServiceProbe:
    """Asks ``systemctl is-active``. The name is handed over as one argument; there is no shell."""

    def __init__(
        self,
        definition: CheckType,
        reactor: Any,
        which: Callable[[str], str | None] = shutil.which,
    ) -> None:
        self._definition = definition
        self._reactor = reactor
        self._which = which
        self._tail = Tail(1)

    def run(self) -> Deferred[Outcome]:
        """Ask."""
        program = self._which(SYSTEMCTL)
        name = self._definition.target
        if program is None:
            text = f'Service "{name}" cannot be looked up: {SYSTEMCTL} is not installed'
            return succeed(Outcome(CRITICAL, text))
        self._tail = Tail(self._definition.output_bytes_max)
        running = Running(self._tail)
        args = [SYSTEMCTL, "is-active", "--", name]
        self._reactor.spawnProcess(running, program, args, env=None, childFDs={0: "w", 1: "r", 2: "r"})
        return running.done.addCallback(self._outcome)

    def timed_out(self) -> Outcome:
        """systemd did not say."""
        return Outcome(CRITICAL, took_too_long(self._definition.timeout_s, self._tail.text()))

    def _outcome(self, status: int | None) -> Outcome:
        said = self._tail.text().strip()
        name = self._definition.target
        if " " in said:  # no state, but why there is none
            return Outcome(CRITICAL, f'Service "{name}" cannot be looked up: {said}')
        return Outcome(STATES.get(said, CRITICAL), f'Service "{name}" is {said or "in no known state"}')
