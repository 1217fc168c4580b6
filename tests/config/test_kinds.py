"""Values of each kind: their shape in files, their conversion, and how layers combine."""

import ipaddress
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.config import kinds
from pyconsul.config.kinds import Kind
from pyconsul.errors import ConfigurationError

SHAPED: list[tuple[Kind, object, object]] = [
    (kinds.STRING, "x", "x"),
    (kinds.BOOL, True, True),
    (kinds.INT, 3, 3),
    (kinds.INT, 3.7, 3),
    (kinds.NUMBER, 3, 3.0),
    (kinds.STRINGS, ["a"], ["a"]),
    (kinds.STRING_MAP, {"a": "b"}, {"a": "b"}),
    (kinds.STRING_MAP, [{"a": "b"}], {"a": "b"}),
    (kinds.ANY_MAP, {"a": 1}, {"a": 1}),
    (kinds.MAPS, {"a": 1}, [{"a": 1}]),
    (kinds.MAPS, [{"a": 1}], [{"a": 1}]),
]

REFUSED: list[tuple[Kind, object, str]] = [
    (kinds.STRING, 1.0, "'k' expected type 'string', got unconvertible type 'float64'"),
    (kinds.STRING, None, "'k' expected type 'string', got unconvertible type 'nil'"),
    (kinds.BOOL, "true", "'k' expected type 'bool', got unconvertible type 'string'"),
    (kinds.INT, "3", "'k' expected type 'int', got unconvertible type 'string'"),
    (kinds.INT, True, "'k' expected type 'int', got unconvertible type 'bool'"),
    (kinds.NUMBER, [], "'k' expected type 'float64', got unconvertible type '[]interface {}'"),
    (kinds.STRINGS, "a", "'k': source data must be an array or slice, got string"),
    (kinds.STRINGS, [1], "'k[0]' expected type 'string', got unconvertible type 'int'"),
    (kinds.STRING_MAP, {"a": {}},
     "'k[a]' expected type 'string', got unconvertible type 'map[string]interface {}'"),
    (kinds.ANY_MAP, 3, "'k' expected a map, got 'int'"),
    (kinds.ANY_MAP, [{}, {}], "'k' expected a map, got 'slice'"),
    (kinds.MAPS, 3, "'k': source data must be an array or slice, got int"),
    (kinds.MAPS, [3], "'k[0]' expected a map, got 'int'"),
]  # fmt: skip

CONVERTED: list[tuple[Kind, Any, object]] = [
    (kinds.STRING, "x", "x"),
    (kinds.DURATION, "1m30s", 90.0),
    (kinds.DURATION, "-250ms", -0.25),
    (kinds.PORT, 8500, 8500),
    (kinds.PORT, 0, -1),
    (kinds.PORT, -7, -1),
    (kinds.IP, "", ""),
    (kinds.IP, "[::]", "::"),
    (kinds.IPS, "10.0.0.1 ::1 unix:///x", ("10.0.0.1", "::1", "unix:///x")),
    (kinds.STRINGS, ["a", "b"], ("a", "b")),
    (kinds.NETWORKS, ["10.0.0.0/8"], ("10.0.0.0/8",)),
    (kinds.DURATION_MAP, {"*": "5s"}, {"*": 5.0}),
]

NOT_CONVERTED: list[tuple[Kind, Any, str]] = [
    (kinds.DURATION, "abc", 'k: invalid duration: "abc": time: invalid duration "abc"'),
    (kinds.DURATION, "5", 'k: invalid duration: "5": time: missing unit in duration "5"'),
    (kinds.DURATION_MAP, {"w": "x"}, 'k.w: invalid duration: "x": time: invalid duration "x"'),
    (kinds.PORT, 70000, "k: invalid port: 70000"),
    (kinds.IP, "host", "k: invalid ip address: host"),
    (kinds.IPS, "10.0.0.1 host", "k: invalid ip address: host"),
    (kinds.NETWORKS, ["10.0.0.0"], "k: invalid cidr: invalid CIDR address: 10.0.0.0"),
    (kinds.NETWORKS, ["net/8"], "k: invalid cidr: invalid CIDR address: net/8"),
]


class IpTests(SynchronousTestCase):
    def test_as_the_library_has_it(self) -> None:
        """What is an address is told as ``ipaddress`` tells it."""
        texts = (
            "1.2.3.4 01.2.3.4 1.2.3 :: ::1% ::1%eth0 fe80::1%a%b 1.2.3.4%e ::ffff:1.2.3.4 1:2:3:4:5:6:7:8 "
            "12345:: ::g 1.2.3.256 ::ffff:01.2.3.4 1:2:3:4:5:6:7:: ::2:3:4:5:6:7:8 1.2.3.+4 "
            "00001:: %eth0 1::2::3 \u0661.2.3.4"
        )
        for text in ("", "1.2.3.4 ", " ::1", "1.2.3.4\0", *texts.split()):
            try:
                expected = bool(ipaddress.ip_address(text))
            except ValueError:
                expected = False
            self.assertEqual(kinds.is_ip(text), expected, text)


class KindTests(SynchronousTestCase):
    def test_shapes(self) -> None:
        """What files may hold."""
        for kind, given, expected in SHAPED:
            self.assertEqual(kind.shape(given, "k"), expected, (kind.name, given))

    def test_wrong_shapes(self) -> None:
        """What they may not, in the words of Consul's decoder."""
        for kind, given, text in REFUSED:
            error = self.assertRaises(ConfigurationError, kind.shape, given, "k")
            self.assertEqual(str(error), text)

    def test_conversions(self) -> None:
        """What the program uses."""
        for kind, given, expected in CONVERTED:
            self.assertEqual(kind.convert(given, "k"), expected, (kind.name, given))

    def test_failed_conversions(self) -> None:
        """Values of the right type that make no sense."""
        for kind, given, text in NOT_CONVERTED:
            error = self.assertRaises(ConfigurationError, kind.convert, given, "k")
            self.assertEqual(str(error), text)

    def test_merging(self) -> None:
        """Scalars replace, lists join, maps merge."""
        self.assertEqual(kinds.STRING.merge("a", "b"), "b")
        self.assertEqual(kinds.STRINGS.merge(["a"], ["b"]), ["a", "b"])
        self.assertEqual(kinds.STRING_MAP.merge({"a": 1, "b": 1}, {"b": 2}), {"a": 1, "b": 2})

    def test_flags(self) -> None:
        """What the text of a flag becomes."""
        self.assertEqual(kinds.STRING.flag("x"), "x")
        self.assertEqual(kinds.STRINGS.flag("x"), ["x"])
        self.assertEqual(kinds.STRING_MAP.flag("a:b:c"), {"a": "b:c"})
        self.assertEqual(kinds.INT.flag("7"), 7)
        self.assertIs(kinds.BOOL.flag("t"), True)
        self.assertIs(kinds.BOOL.flag("False"), False)
        self.assertRaises(ValueError, kinds.BOOL.flag, "maybe")
