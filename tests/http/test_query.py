"""Parameters of a request."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import BadRequest, PyconsulError, Refused
from pyconsul.http.facts import Facts
from pyconsul.http.query import Query, parse_query


def query(parameters: str = "", headers: Any = ()) -> Query:
    target = b"/v1/x" + (b"?" + parameters.encode() if parameters else b"")
    return Query(b"GET", target, Facts([(b"Host", b"h"), *headers]), b"", "192.0.2.1", "this-node")


class OptionsTests(SynchronousTestCase):
    def test_nothing(self) -> None:
        self.assertEqual(query().options(), {})
        self.assertEqual(query().write_options(), {})

    def test_cache_control(self) -> None:
        """A read whose ``Cache-Control`` makes no sense is refused, whatever its parameters."""
        for parameters in ("", "stale"):
            bad = query(parameters, [(b"Cache-Control", b"max-age=soon")])
            error = self.assertRaises(BadRequest, bad.options)
            self.assertEqual(str(error), "Invalid Cache-Control header.")
            self.assertRaises(BadRequest, bad.mode)
            self.assertEqual(bad.write_options(), {})

    def test_mode(self) -> None:
        """Of all options only those that say how consistent an answer has to be."""
        self.assertEqual(query().mode(), {})
        self.assertEqual(query("stale&index=7&dc=dc2&filter=x&token=t").mode(), {"allow_stale": True})
        self.assertEqual(query("consistent").mode(), {"require_consistent": True})

    def test_all(self) -> None:
        """Every parameter of a read in its field; durations in nanoseconds."""
        self.assertEqual(
            query("index=7&wait=1m30s&stale&max_stale=2s&filter=a%20==%20b&dc=dc2&token=t").options(),
            {
                "token": "t",
                "min_query_index": 7,
                "max_query_time": 90_000_000_000,
                "allow_stale": True,
                "max_stale_duration": 2_000_000_000,
                "filter": "a == b",
                "datacenter": "dc2",
            },
        )
        self.assertEqual(query("consistent").options(), {"require_consistent": True})
        self.assertEqual(query("max_stale=1s").options()["allow_stale"], True)
        self.assertEqual(query("dc=dc2&token=t").write_options(), {"datacenter": "dc2", "token": "t"})

    def test_empty_values(self) -> None:
        """Given but empty is the same as left out; a negative wait is the default one."""
        self.assertEqual(query("index=&wait=&filter=&dc=&token=&max_stale=").options(), {})
        self.assertEqual(query("wait=-5s").options(), {"max_query_time": 0})

    def test_refused(self) -> None:
        """The texts are Consul's."""
        stale = "Cannot specify ?stale with ?consistent, conflicting semantics."
        for parameters, message in [
            ("index=abc", "Invalid index"),
            ("index=-1", "Invalid index"),
            ("index=18446744073709551616", "Invalid index"),
            ("index=" + "9" * 5000, "Invalid index"),
            ("index=٣", "Invalid index"),
            ("wait=abc", "Invalid wait time"),
            ("wait=5", "Invalid wait time"),
            ("stale&consistent", stale),
            ("stale=false&consistent=false", stale),
            ("max_stale=1s&consistent", stale),
            ("cached&consistent", "Cannot specify ?cached with ?consistent, conflicting semantics."),
            ("max_stale=junk", 'Invalid max_stale value "junk"'),
            ("a=%zz", 'Bad request: invalid URL escape "%zz"'),
            ("a=%2", 'Bad request: invalid URL escape "%2"'),
        ]:
            error = self.assertRaises(BadRequest, query(parameters).options)
            self.assertEqual(str(error), message, parameters)

    def test_broken_query_is_said_once(self) -> None:
        """After a broken escape was refused, the answer to that can still be rendered."""
        broken = query("%zz")
        self.assertRaises(BadRequest, broken.options)
        self.assertFalse(broken.wants_pretty)
        self.assertFalse(query("pretty&a=%zz").wants_pretty)
        self.assertRaises(BadRequest, query("%zz").parse)
        query("a=%20").parse()

    def test_largest_index(self) -> None:
        self.assertEqual(query("index=18446744073709551615").options()["min_query_index"], 2**64 - 1)


class TokenTests(SynchronousTestCase):
    HEADER = (b"x-consul-token", b" header ")
    BEARER = (b"Authorization", b"bearer   from-bearer ")

    def test_order(self) -> None:
        """Query, X-Consul-Token, Bearer: the first that is not empty."""
        self.assertEqual(query("token=q&token=r", [self.HEADER, self.BEARER]).token, "q")
        self.assertEqual(query("token=", [self.HEADER, self.BEARER]).token, "header")
        self.assertEqual(query("", [(b"X-Consul-Token", b""), self.BEARER]).token, "from-bearer")
        self.assertEqual(query("", [self.HEADER]).options(), {"token": "header"})

    def test_other_schemes(self) -> None:
        for value in (b"Basic dXNlcjpwYXNz", b"token", b""):
            self.assertEqual(query("", [(b"Authorization", value)]).token, "")


class ValuesTests(SynchronousTestCase):
    def test_unsigned(self) -> None:
        self.assertEqual(query("cas=18446744073709551615").unsigned("cas"), 2**64 - 1)
        for value, reason in [
            ("abc", '"abc": invalid syntax'),
            ("-1", '"-1": invalid syntax'),
            ("", '"": invalid syntax'),
            ("0x10", '"0x10": invalid syntax'),
            ("18446744073709551616", '"18446744073709551616": value out of range'),
        ]:
            error = self.assertRaises(Refused, query(f"cas={value}").unsigned, "cas")
            self.assertEqual(str(error), f"strconv.ParseUint: parsing {reason}")
            self.assertEqual(error.http_status, 500)

    def test_flag(self) -> None:
        for given_, value in [
            ("", False), ("p", True), ("p=", True), ("p=1", True), ("p=true", True), ("p=T", True),
            ("p=0", False), ("p=false", False), ("p=junk", None),
        ]:  # fmt: skip
            self.assertIs(query(given_).flag("p"), value, given_)

    def test_repeated(self) -> None:
        both = query("tag=a&tag=b+c&node-meta=k:v:w&node-meta=x:")
        self.assertEqual(both.all("tag"), ["a", "b c"])
        self.assertEqual((both.get("tag"), both.get("none"), both.all("none")), ("a", "", []))
        self.assertEqual(both.node_meta(), {"k": "v:w", "x": ""})

    def test_semicolons(self) -> None:
        """They separate, too, as for Go of that time."""
        self.assertTrue(query("pretty;stale").has("stale"))

    def test_near(self) -> None:
        self.assertEqual(query("near=_agent").near(), "this-node")
        self.assertEqual(query("near=other").near(), "other")
        self.assertEqual(query().near(), "")

    def test_namespace(self) -> None:
        error = self.assertRaises(BadRequest, query("ns=x").refuse_namespace)
        reason = "Namespaces are a Consul Enterprise feature"
        self.assertEqual(str(error), f'Bad request: Invalid query parameter: "ns" - {reason}')
        named = query("", [(b"X-Consul-Namespace", b"x")])
        error = self.assertRaises(BadRequest, named.refuse_namespace)
        self.assertEqual(str(error), f'Bad request: Invalid header: "X-Consul-Namespace" - {reason}')
        query().refuse_namespace()
        query("ns=").refuse_namespace()

    @given(st.binary(max_size=60))
    def test_any_bytes(self, raw: bytes) -> None:
        """No query string does more than be refused."""
        try:
            parse_query(raw)
        except PyconsulError:
            pass
