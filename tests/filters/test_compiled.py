"""Filter expressions against rows."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import Refused
from pyconsul.filters.compiled import EXPRESSIONS_MAX, KEPT_TEXT_MAX, PREFIX, make_test
from pyconsul.structs.catalog import CheckServiceNode, HealthCheck, Node, NodeService, Proxy
from tests.filters.fixture import vectors


def outcome(text: str, kind: type[Any], rows: list[Any]) -> list[Any] | str:
    """The rows that pass, or the error without its beginning."""
    try:
        test = make_test(text, kind)
    except Refused as error:
        return str(error).removeprefix(PREFIX)
    return [row for row in rows if test(row)]


class RecordedTests(SynchronousTestCase):
    """What Consul 1.8.7 answered."""

    def test_errors(self) -> None:
        """Every malformed expression gets the same words."""
        for text, expected in vectors("errors.json"):
            found = outcome(text, Node, [])
            self.assertEqual(found if isinstance(found, str) else "", expected, text)

    def test_rows(self) -> None:
        """Every operator on every type, and what cannot be asked."""
        recorded = vectors("health.json")
        rows = msgspec.convert(recorded["rows"], list[CheckServiceNode])
        for text, expected in recorded["cases"]:
            found = outcome(text, CheckServiceNode, rows)
            self.assertEqual(
                found if isinstance(found, str) else [row.service.id for row in found], expected, text
            )


class RowTests(SynchronousTestCase):
    def passes(self, text: str, row: Any) -> bool:
        return make_test(text, type(row))(row)

    def test_left_out(self) -> None:
        """What a row lacks is empty, 0 or false."""
        row = NodeService(id="a", weights=None, connect=None, tags=None, meta=None)
        for text in (
            'Kind == ""', "Weights.Passing == 0", "Connect.Native == false", "Tags is empty", "Meta is empty",
            'Proxy.MeshGateway.Mode == ""', "Proxy.Upstreams is empty", "Proxy.LocalServicePort == 0",
        ):  # fmt: skip
            self.assertTrue(self.passes(text, row), text)

    def test_what_users_keep_in_open_fields(self) -> None:
        """Of another type than declared, it counts as missing."""
        proxy = Proxy(
            upstreams=[{"DestinationName": 5, "LocalBindPort": "x"}, {}], expose={"Paths": {"a": 1}}
        )
        row = NodeService(id="a", proxy=proxy, connect={"Native": "yes"})
        self.assertTrue(self.passes('Proxy.Upstreams.DestinationName == ""', row))
        self.assertFalse(self.passes("Proxy.Upstreams.DestinationName matches 5", row))
        self.assertTrue(self.passes("Proxy.Upstreams.LocalBindPort == 0", row))
        self.assertTrue(self.passes("Proxy.Expose.Paths is empty", row))
        self.assertTrue(self.passes("Connect.Native == false", row))

    def test_long_chains(self) -> None:
        """Three and more parts of ``and`` and ``or``."""
        row = HealthCheck(node="n", name="x", status="passing")
        self.assertTrue(self.passes("Node == n and Name == x and Status == passing", row))
        self.assertFalse(self.passes("Node == n and Name == y and Status == passing", row))
        self.assertTrue(self.passes("Node == a or Node == b or Node == n", row))
        self.assertFalse(self.passes("Node == a or Node == b or Node == c", row))

    def test_bytes_that_are_no_text(self) -> None:
        """They equal nothing."""
        self.assertFalse(self.passes(r'Name == "\xe9"', HealthCheck(name="\xe9")))
        self.assertTrue(self.passes(r'Name == "\xc3\xa9"', HealthCheck(name="\xe9")))


class KeepingTests(SynchronousTestCase):
    def test_once_per_expression(self) -> None:
        """The same text gives the same test, per kind of row; very long ones are not kept."""
        self.assertIs(make_test("Node == a", Node), make_test("Node == a", Node))
        self.assertIsNot(make_test("Node == a", Node), make_test("Node == a", HealthCheck))
        long = f'Node == "{"a" * KEPT_TEXT_MAX}"'
        self.assertIsNot(make_test(long, Node), make_test(long, Node))

    def test_bounds(self) -> None:
        """Regular expressions are few."""
        text = " or ".join(["Node matches a"] * (EXPRESSIONS_MAX + 1))
        self.assertIn("more than", str(self.assertRaises(Refused, make_test, text, Node)))
