"""Checks of systemd's services, with a stand-in for systemctl."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.trial.unittest import TestCase

from pyconsul.checks.definition import CheckType
from pyconsul.checks.os_service import OsServiceProbe

reactor: Any = any_reactor

SYSTEMCTL = """#!/bin/sh
test "$1 $2" = "is-active --" || exit 9
case $3 in up) echo active;; soon) echo activating; exit 3;; slow) echo half; exec sleep 60;;
mute) exit 4;; lost) echo "no bus" >&2; exit 1;; *) echo "inactive"; exit 3;; esac
"""


class OsServiceTests(TestCase):
    def setUp(self) -> None:
        self.program = Path(self.mktemp()).absolute()
        self.program.write_text(SYSTEMCTL)
        self.program.chmod(0o755)

    def probe(self, name: str) -> OsServiceProbe:
        definition = CheckType(check_id="c", kind="os_service", target=name, timeout_s=2.0)
        return OsServiceProbe(definition, reactor, lambda _: str(self.program))

    async def test_states(self) -> None:
        for name, status, said in (
            ("up", "passing", "active"),
            ("soon", "warning", "activating"),
            ("down", "critical", "inactive"),
            ("--version", "critical", "inactive"),
            ("mute", "critical", "in no known state"),
        ):
            self.assertEqual(await self.probe(name).run(), (status, f'Service "{name}" is {said}'))

    async def test_no_systemd(self) -> None:
        found = await self.probe("lost").run()
        self.assertEqual(found, ("critical", 'Service "lost" cannot be looked up: no bus'))
        definition = CheckType(check_id="c", kind="os_service", target="x")
        status, output = await OsServiceProbe(definition, reactor, lambda _: None).run()
        self.assertEqual((status, "systemctl is not installed" in output), ("critical", True))

    async def test_too_slow(self) -> None:
        """The program is ended."""
        check = self.probe("slow")
        run = check.run()
        while not check._tail.total:
            await _turn()
        run.addErrback(lambda _: None)
        run.cancel()
        self.assertEqual(check.timed_out(), ("critical", "Timed out (2s) running check\n\nhalf\n"))


def _turn() -> Any:
    from twisted.internet.task import deferLater

    return deferLater(reactor, 0.01)
