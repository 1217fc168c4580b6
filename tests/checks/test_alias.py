"""Checks that follow others."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.checks.alias import AliasProbe, alias_outcome
from pyconsul.checks.definition import CheckType
from pyconsul.structs.catalog import HealthCheck


def check(status: str) -> HealthCheck:
    return HealthCheck(name=f"is {status}", status=status, output="because")


class AliasTests(SynchronousTestCase):
    def test_the_worst_counts(self) -> None:
        good, odd, bad = check("passing"), check("warning"), check("critical")
        self.assertEqual(alias_outcome([]), ("passing", "No checks found."))
        self.assertEqual(alias_outcome([good, good]), ("passing", "All checks passing."))
        failing = 'Aliased check "is {}" failing: because'
        self.assertEqual(alias_outcome([good, odd]), ("warning", failing.format("warning")))
        self.assertEqual(alias_outcome([odd, bad, good]), ("critical", failing.format("critical")))

    def run_probe(self, found: Any, node: str = "", service: str = "web") -> Any:
        asked: list[tuple[str, str]] = []
        definition = CheckType(check_id="c", kind="alias", alias_node=node, alias_service=service)

        def read(node: str, service: str) -> Any:
            asked.append((node, service))
            return found

        probe = AliasProbe(definition, read)
        self.assertEqual(probe.timed_out().status, "critical")
        outcome = self.successResultOf(probe.run())
        self.assertEqual(asked, [(node, service)])
        return outcome

    def test_reading(self) -> None:
        """At once or later."""
        self.assertEqual(self.run_probe([check("passing")]).status, "passing")
        self.assertEqual(self.run_probe(succeed([check("warning")]), "n2").status, "warning")

    def test_what_is_not_there(self) -> None:
        for node, service, text in (
            ("n1", "none", "Service none could not be found on node n1"),
            ("", "none", "Service none could not be found on node "),
            ("n9", "", "Node n9 could not be found"),
        ):
            self.assertEqual(self.run_probe(None, node, service), ("critical", text))
