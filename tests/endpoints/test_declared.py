"""Declarations without a server, family by family."""

from __future__ import annotations

from importlib import import_module

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.endpoints.base import declarations
from pyconsul.endpoints.declared import FAMILIES, DeclaredMethods


class DeclaredMethodsTests(SynchronousTestCase):
    def test_names_begin_with_their_family(self) -> None:
        """Else nobody would find them."""
        for prefix, place in FAMILIES.items():
            module, _, family = place.partition(".")
            found = getattr(import_module(f"pyconsul.endpoints.{module}"), family)
            names = {method.name for method in declarations(found)}
            self.assertEqual({name.partition(".")[0] for name in names}, {prefix})

    def test_a_family_comes_with_its_first_method(self) -> None:
        methods = DeclaredMethods()
        self.assertEqual(methods["KVS.Get"].kind, "read")
        self.assertIn("KVS.Apply", methods)
        self.assertNotIn("Status.Ping", methods)

    def test_none_of_that_name(self) -> None:
        """Neither a family nor a method of one."""
        methods = DeclaredMethods()
        self.assertRaises(KeyError, methods.__getitem__, "Nobody.Knows")
        self.assertRaises(KeyError, methods.__getitem__, "KVS.Nothing")
