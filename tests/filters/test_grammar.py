"""Filter expressions from text to tree."""

from __future__ import annotations

from time import process_time

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.filters.grammar import COMPARISONS_MAX, DEPTH_MAX, TEXT_MAX, Malformed, parse
from pyconsul.filters.tree import Comparison, Every, Not, Operator, Some

A = Comparison(("A",), Operator.EQUAL, "1")
B = Comparison(("B",), Operator.EQUAL, "2")
C = Comparison(("C",), Operator.EQUAL, "3")


class TreeTests(SynchronousTestCase):
    def test_precedence(self) -> None:
        """``not`` binds before ``and``, ``and`` before ``or``; parentheses before all."""
        self.assertEqual(parse("A == 1 or B == 2 and C == 3"), Some((A, Every((B, C)))))
        self.assertEqual(parse("(A == 1 or B == 2) and C == 3"), Every((Some((A, B)), C)))
        self.assertEqual(parse("not A == 1 and B == 2"), Every((Not(A), B)))
        self.assertEqual(parse("not (A == 1 and B == 2)"), Not(Every((A, B))))
        self.assertEqual(parse("A==1 or B==2 or C==3"), Some((A, B, C)))

    def test_comparisons(self) -> None:
        """Every way to write one."""
        for text, operator, value in (
            ("A.b != x", Operator.NOT_EQUAL, "x"),
            ("A.b contains x", Operator.IN, "x"),
            ("x in A.b", Operator.IN, "x"),
            ("A.b not contains `x`", Operator.NOT_IN, "x"),
            ('"x y" not in A["b"]', Operator.NOT_IN, "x y"),
            ("A.b is empty", Operator.EMPTY, ""),
            ("A[`b`] is not empty", Operator.NOT_EMPTY, ""),
            ("A.b matches -1.5", Operator.MATCHES, "-1.5"),
            ("A.b not matches x.y", Operator.NOT_MATCHES, "x.y"),
        ):
            self.assertEqual(parse(text), Comparison(("A", "b"), operator, value), text)

    def test_words_are_names_too(self) -> None:
        """An operator's word where only a name or a value can be is one."""
        self.assertEqual(parse("not in not"), Comparison(("not",), Operator.IN, "not"))
        self.assertEqual(parse("is is empty"), Comparison(("is",), Operator.EMPTY))


class BoundsTests(SynchronousTestCase):
    def refused(self, text: str) -> str:
        return str(self.assertRaises(Malformed, parse, text))

    def test_depth(self) -> None:
        """Ten thousand parentheses are refused at once, the allowed ones are cheap."""
        began = process_time()
        self.assertIn("nested more than", self.refused("(" * 10_000 + "A == 1" + ")" * 10_000))
        self.assertIn("nested more than", self.refused("not " * 10_000 + "A == 1"))
        depth = DEPTH_MAX - 1
        self.assertEqual(parse("(" * depth + "A == 1" + ")" * depth), A)
        self.assertIn("Unmatched parentheses", self.refused("(" * depth + "A == 1"))
        self.assertLess(process_time() - began, 20.0)

    def test_length(self) -> None:
        """Bounded by characters and by comparisons."""
        self.assertIn("longer than", self.refused("A" * (TEXT_MAX + 1)))
        self.assertIn("comparisons", self.refused(" or ".join(["A == 1"] * (COMPARISONS_MAX + 1))))
        self.assertEqual(parse(" or ".join(["A == 1"] * COMPARISONS_MAX)), Some((A,) * COMPARISONS_MAX))
