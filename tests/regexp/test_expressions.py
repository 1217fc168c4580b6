"""Regular expressions: what they match, what they cannot be, and what they cost."""

from __future__ import annotations

import re
import warnings
from random import Random
from time import process_time

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.regexp.expressions import BadExpression, Expression, matches

PIECES = (
    "a", "b", "c", ".", "[ab]", "[^a]", "^", "$", r"\d", r"\w", r"\s", r"\b", "(a|b)", "(ab)*", "(?:a|bc)+",
    "a{2}", "b{1,3}", "c{2,}", "[a-c]+?", r"\.", "|", "(?i:A)", "x*", "(a*)*", "(a|a)*", "[^]a]", r"\x61",
)  # fmt: skip


class MatchingTests(SynchronousTestCase):
    def test_as_another_implementation_does(self) -> None:
        """Random expressions against Python's own."""
        rng = Random(5)
        warnings.simplefilter("ignore", FutureWarning)
        for _ in range(3000):
            text = "".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 7)))
            try:
                other = re.compile(text.replace("$", r"\Z"), re.ASCII)
            except re.error:
                continue
            ours = Expression(text)
            for _ in range(4):
                subject = "".join(rng.choice("abcAx1. \n_") for _ in range(rng.randrange(8)))
                self.assertEqual(ours.search(subject), bool(other.search(subject)), (text, subject))

    def test_what_only_re2_knows(self) -> None:
        for expression, subject, expected in (
            (r"\Aweb-\d+\z", "web-12", True),
            (r"\Aweb-\d+\z", "web-12\n", False),
            (r"\Qa.b\E+", "a.bb", True),
            (r"\Qa.b\E", "axb", False),
            (r"\Qa.b", "a.b", True),
            (r"^\pL+$", "äb", True),
            (r"^\p{Lu}$", "a", False),
            (r"^\P{L}$", "1", True),
            (r"^\p{^L}$", "1", True),
            (r"[[:alpha:]][[:^digit:]]", "a-", True),
            (r"[[:punct:]]", "a1", False),
            (r"(?i)WEB", "a web", True),
            (r"(?i)[A-C]x", "bX", True),
            (r"(?i:a)b", "aB", False),
            (r"(?-i:a)", "A", False),
            (r"(?s)a.b", "a\nb", True),
            (r"a.b", "a\nb", False),
            (r"(?m)^b$", "a\nb\nc", True),
            (r"^b$", "a\nb\nc", False),
            (r"(?P<name>a)b", "ab", True),
            (r"(?P<1>a)b", "ab", True),
            (r"a{,2}", "a{,2}", True),
            (r"a{x}", "a{x}", True),
            (r"\x{e4}", "ä", True),
            (r"\101\0", "A\0", True),
            (r"[\d-]+$", "1-2", True),
            (r"[a\-z]$", "-", True),
            (r"\t\-", "\t-", True),
            (r"\B", "", True),
            (r"", "anything", True),
        ):
            self.assertEqual(Expression(expression).search(subject), expected, expression)

    def test_what_is_none(self) -> None:
        """With the words of Go's library, which Consul passes on."""
        for expression, reason in (
            ("(", "missing closing ): `(`"),
            ("a)", "unexpected ): `a)`"),
            ("x[a", "missing closing ]: `[a`"),
            ("*", "missing argument to repetition operator: `*`"),
            ("a|+", "missing argument to repetition operator: `+`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a+{2}", "invalid nested repetition operator: `+{2}`"),
            ("a{3,2}", "invalid repeat count: `{3,2}`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("(?P<n", "invalid named capture: `(?P<n`"),
            ("(?P<a-b>c)", "invalid named capture: `(?P<a-b>c)`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?i-", "invalid or unsupported Perl syntax: `(?i-`"),
            ("\\8", "invalid escape sequence: `\\8`"),
            ("\\xg0", "invalid escape sequence: `\\xg0`"),
            ("\\x{110000}", "invalid escape sequence: `\\x{110000}`"),
            ("[\\y]", "invalid escape sequence: `\\y`"),
            ("\\", "trailing backslash at end of expression: ``"),
            ("[\\", "trailing backslash at end of expression: ``"),
            ("[z-a]", "invalid character class range: `z-a`"),
            ("[a-\\d]", "invalid character class range: `a-\\d`"),
            ("[[:no:]]", "invalid character class range: `[:no:]`"),
            ("\\p{Greek}", "invalid character class range: `\\p{Greek}`"),
        ):
            error = self.assertRaises(BadExpression, Expression, expression)
            self.assertEqual(str(error), f"error parsing regexp: {reason}")
        self.assertFalse(matches("(", "("))
        self.assertTrue(matches("a+", "ba"))

    def test_groups(self) -> None:
        """What is matched first, greedily or not, and by which alternative."""
        for expression, text, found in (
            ("^geo-(.*?)-([^-]+)$", "geo-a-b-c", ["geo-a-b-c", "a-b", "c"]),
            ("(a+)(b+)?", "xaab", ["aab", "aa", "b"]),
            ("(a+?)(b+)?", "xaab", ["a", "a", ""]),
            ("(a|ab)(c|bcd)?", "abcd", ["abcd", "a", "bcd"]),
            ("(?:a|ab)c", "abc", ["abc"]),
            ("(?U)(b+)(.*)", "abb", ["b", "b", ""]),
            ("(?U)(b+?)(.*?)", "abb", ["bb", "bb", ""]),
            ("(?P<x>a){2}", "baa", ["aa", "a"]),
            ("(a)|b", "b", ["b", ""]),
            ("(a{1,2}?)(a*)", "aaa", ["aaa", "a", "aa"]),
            ("(^|,)x", "a,x", [",x", ","]),
            ("b()$", "ab", ["b", ""]),
            ("", "a", [""]),
            ("c", "ab", None),
        ):
            self.assertEqual(Expression(expression).find(text), found, expression)

    def test_cost_is_bounded(self) -> None:
        """What makes a backtracking matcher run for years, and what would fill the memory."""
        began = process_time()
        for expression in ("(a+)+$", "^(a|a)*$", "(.*)*x", "((a{30}){20})+b", "a*" * 200 + "b"):
            self.assertFalse(Expression(expression).search("a" * 500 + "c"))
            self.assertIsNone(Expression(expression).find("a" * 500 + "c"))
        for expression in ("(((){1000}){1000}){1000}", "((((a{10}){10}){10}){10})", "((a{100}){100}){2}"):
            error = self.assertRaises(BadExpression, Expression, expression)
            self.assertIn("invalid repeat count", str(error))
        error = self.assertRaises(BadExpression, Expression, "a{900}b{900}c{900}")
        self.assertIn("expression too large", str(error))
        error = self.assertRaises(BadExpression, Expression, "(" * 400)
        self.assertIn("nests too deeply", str(error))
        self.assertLess(process_time() - began, 30.0)


class RememberingTests(SynchronousTestCase):
    """An expression that is used again answers as a new one does."""

    def test_texts_one_after_another(self) -> None:
        """Whatever was looked at before; places depend on both neighbours."""
        rng = Random(11)
        for expression in (r"\ba\b", "(?m)^b$", r"a\Bb", "(a|b)*c", r"(?s)a.b|\Aab\z"):
            kept = Expression(expression)
            for _ in range(300):
                text = "".join(rng.choice("abc \n") for _ in range(rng.randrange(8)))
                self.assertEqual(kept.search(text), Expression(expression).search(text), (expression, text))

    def test_memory_is_bounded(self) -> None:
        """Many different characters make it start anew."""
        kept = Expression("x[^y]*z")
        for start in range(0, 60_000, 500):
            text = "".join(map(chr, range(0x100 + start % 50_000, 0x100 + start % 50_000 + 500)))
            self.assertFalse(kept.search("x" + text))
        self.assertTrue(kept.search("x-z"))
        self.assertLess(len(kept._known), 2 * 4096)
