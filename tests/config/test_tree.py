"""Decoded files against the keys there are."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.config.kinds import INT, STRING
from pyconsul.config.tree import ListOf, MapOf, Problems, Spec, errors_text, read_object
from pyconsul.errors import ConfigurationError

INNER: Spec = {"port": INT}
SPEC: Spec = {"name": STRING, "inner": INNER, "many": ListOf(INNER), "by_name": MapOf(INNER)}


class ReadTests(SynchronousTestCase):
    def read(self, tree: object) -> tuple[dict[str, Any], Problems]:
        problems = Problems()
        return read_object(tree, SPEC, "", problems), problems

    def test_everything(self) -> None:
        """All forms of a value; null is as good as nothing."""
        found, problems = self.read(
            {"name": "n", "inner": {"port": 1}, "many": [{"port": 2}], "by_name": {"A": {"port": 3}}}
        )
        problems.check("f")
        self.assertEqual(
            found, {"name": "n", "inner": {"port": 1}, "many": [{"port": 2}], "by_name": {"A": {"port": 3}}}
        )
        self.assertEqual(self.read({"name": None})[0], {})

    def test_case(self) -> None:
        """The case of declared keys does not matter, that of free ones does."""
        self.assertEqual(
            self.read({"NAME": "n", "Inner": {"PORT": 1}})[0], {"name": "n", "inner": {"port": 1}}
        )

    def test_blocks(self) -> None:
        """One object may stand for a list, and a list of one for an object, as HCL gives them."""
        self.assertEqual(self.read({"many": {"port": 1}})[0], {"many": [{"port": 1}]})
        self.assertEqual(self.read({"inner": [{"port": 1}]})[0], {"inner": {"port": 1}})

    def test_unknown_keys(self) -> None:
        """All of them, with their places."""
        _, problems = self.read(
            {"foo": 1, "inner": {"Bar": 1}, "many": [{}, {"x": 1}], "by_name": {"A": {"y": 1}}}
        )
        error = self.assertRaises(ConfigurationError, problems.check, "f.json")
        self.assertEqual(
            str(error),
            "failed to parse f.json: 4 errors occurred:\n"
            "\t* invalid config key foo\n"
            "\t* invalid config key inner.Bar\n"
            "\t* invalid config key many[1].x\n"
            "\t* invalid config key by_name[A].y\n\n",
        )

    def test_wrong_types(self) -> None:
        """All of them, in the words of Consul's decoder."""
        _, problems = self.read({"name": 1, "inner": 2, "many": 3, "by_name": 4})
        error = self.assertRaises(ConfigurationError, problems.check, "f.json")
        self.assertEqual(
            str(error),
            "failed to parse f.json: 4 error(s) decoding:\n\n"
            "* 'name' expected type 'string', got unconvertible type 'int'\n"
            "* 'inner' expected a map, got 'int'\n"
            "* 'many': source data must be an array or slice, got int\n"
            "* 'by_name' expected a map, got 'int'",
        )

    def test_one_problem(self) -> None:
        """The count is grammatical."""
        self.assertEqual(errors_text(["x"]), "1 error occurred:\n\t* x\n\n")

    def test_one_name_twice(self) -> None:
        """Beside a key as it is declared, another spelling of it is a key that is not known."""
        _, problems = self.read({"name": "a", "NAME": "b"})
        error = self.assertRaises(ConfigurationError, problems.check, "f.json")
        self.assertIn("* invalid config key NAME", str(error))
        found, problems = self.read({"NAME": "b"})
        self.assertEqual((found, problems.unknown), ({"name": "b"}, []))
