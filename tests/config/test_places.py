"""Where in the files something is said."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul import hcl
from pyconsul.config.places import Mistake, Places, json_noted
from pyconsul.errors import ConfigurationError

JSON = '{"a": 1,\n "b": {"c": [{"d":\n 2}, {}],\n "a": "\\n"}}'
HCL = 'a = 1\nb "x" "y" {\n  c = <<E\none\nE\n  d = 2\n}\nb "z" {}\n'


class PlacesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.places = Places()

    def test_json(self) -> None:
        """The line of each value, at any depth."""
        tree = json_noted(JSON, self.places.reader("f", JSON))
        self.assertEqual(tree, {"a": 1, "b": {"c": [{"d": 2}, {}], "a": "\n"}})
        lines = [
            self.places.line(body, key)
            for body, key in (
                (tree, "a"),
                (tree, "b"),
                (tree["b"], "c"),
                (tree["b"]["c"][0], "d"),
                (tree["b"], "a"),
            )
        ]
        self.assertEqual(lines, [1, 2, 2, 3, 4])
        self.assertEqual(self.places.line(tree, "zz"), 0)

    def test_hcl(self) -> None:
        """The line of each key; those of labels are the block's."""
        tree = hcl.loads(HCL, self.places.reader("f", HCL))
        inner: Any = tree["b"][0]["x"]["y"]
        self.assertEqual(inner, {"c": "one\n", "d": 2})
        lines = [self.places.line(inner, key) for key in ("c", "d")]
        self.assertEqual(lines, [3, 6])
        self.assertEqual([self.places.line(tree["b"][0], "x"), self.places.line(tree["b"][1], "z")], [2, 8])
        self.assertEqual(self.places.line(tree, "a"), 1)

    def test_shown(self) -> None:
        """A mistake is told with its places, each once, before the newlines at the end of its text."""
        text = '{"a": 1,\n "b": 2, "c": 3}'
        tree = json_noted(text, self.places.reader("f.json", text))
        for key in ("a", "b", "c"):
            self.places.of_setting(f"x.{key}", tree, key)
        self.places.of_setting("unknown", tree, "d")
        self.assertEqual(
            self.places.shown(Mistake("t\n\n", "x.a", "x.b", "x.c", "d")), "t (f.json:1, f.json:2)\n\n"
        )
        self.assertEqual(self.places.shown(Mistake("t", "b", within=tree)), "t (f.json:2)")
        self.assertEqual(self.places.shown(Mistake("t", "zz")), "t")
        self.assertEqual(self.places.shown(ConfigurationError("t")), "t")

    def test_copied(self) -> None:
        """What is copied keeps its place; what has none gets none."""
        text = '\n{"A": 1}'
        tree = json_noted(text, self.places.reader("f", text))
        new = {"a": 1}
        self.places.copied(tree, "A", new, "a")
        self.places.copied(tree, "B", new, "b")
        self.assertEqual((self.places.line(new, "a"), self.places.line(new, "b")), (2, 0))
