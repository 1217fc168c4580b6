"""Bodies in JSON."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Struct, UnsetType, field
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import BadRequest
from pyconsul.structs.bodies import convert, decode
from pyconsul.structs.catalog import RegisterRequest


class Part(Struct, rename="pascal"):
    name: str
    port: int = 0


class Whole(Struct, rename="pascal"):
    service_id: str = field(default="", name="ServiceID")
    enabled: bool = False
    ratio: float = 1.0
    payload: bytes = b""
    tags: list[str] = []
    meta: dict[str, str] = {}
    part: Part | None = None
    parts: list[Part] | None = None
    named: dict[str, Part] = {}
    wait: str | int = ""
    open: dict[str, Any] = {}
    anything: Any = None
    kind: str | UnsetType = UNSET


class Demanding(Struct, rename="pascal"):
    text: str
    some: int | None
    items: list[str]
    table: dict[str, str]
    part: Part
    anything: Any


class Nested(Struct, rename="pascal"):
    inner: Nested | None = None


def _nested(values: Any) -> Any:
    names = st.sampled_from(
        ["ServiceID", "Part", "Parts", "Tags", "Meta", "Port", "Service", "Check", "Node", "x"]
    )
    return st.lists(values, max_size=3) | st.dictionaries(names, values, max_size=4)


class DecodeTests(SynchronousTestCase):
    def test_all_kinds(self) -> None:
        read = decode(
            b"""{"serviceid": "s", "ENABLED": true, "Ratio": 2, "Payload": "aGk=", "Tags": ["a", null],
            "Meta": {"K": "v", "n": null}, "Part": {"name": "p", "Port": 1}, "Parts": [{}, null],
            "Named": {"x": {}}, "Wait": 5, "Open": {"a": [1]}, "Anything": null, "Kind": "k"} """,
            Whole,
        )
        self.assertEqual(
            read,
            Whole(
                service_id="s", enabled=True, ratio=2.0, payload=b"hi", tags=["a", ""],
                meta={"K": "v", "n": ""}, part=Part("p", 1), parts=[Part(""), Part("")],
                named={"x": Part("")}, wait=5, open={"a": [1]}, kind="k",
            ),
        )  # fmt: skip
        self.assertEqual(decode(b'{"Wait": "5s"}', Whole).wait, "5s")

    def test_null_is_nothing(self) -> None:
        self.assertEqual(decode(b"null", Whole), Whole())
        self.assertEqual(
            decode(b'{"Tags": null, "Part": null, "Kind": null, "Enabled": null}', Whole), Whole()
        )

    def test_snake_case(self) -> None:
        """Only where it is asked for."""
        self.assertEqual(decode(b'{"service_id": "s"}', Whole, snake_case=True).service_id, "s")
        error = self.assertRaises(BadRequest, decode, b'{"service_id": "s"}', Whole)
        self.assertEqual(str(error), 'Request decode failed: json: unknown field "service_id"')

    def test_open_structs(self) -> None:
        """Structs whose unknown fields are ignored."""
        read = decode(b'{"Part": {"Name": "p", "Other": 1}}', Whole, open_structs=(Part,))
        self.assertEqual(read.part, Part("p"))
        self.assertRaises(BadRequest, decode, b'{"Part": {"Other": 1}}', Whole)

    def test_wording(self) -> None:
        into = "json: cannot unmarshal"
        for body, message in [
            (b"", "EOF"),
            (b"  \n", "EOF"),
            (b'{"Part": ', "unexpected EOF"),
            (b"[]", f"{into} array into Go value of type structs.Whole"),
            (b'"x"', f"{into} string into Go value of type structs.Whole"),
            (b'{"ServiceID": 1}', f"{into} number into Go struct field Whole.ServiceID of type string"),
            (b'{"Part": {"Port": "1"}}', f"{into} string into Go struct field Whole.Part.Port of type int"),
            (b'{"Part": {"Port": true}}', f"{into} bool into Go struct field Whole.Part.Port of type int"),
            (
                b'{"Part": {"Port": 1.5}}',
                f"{into} number 1.5 into Go struct field Whole.Part.Port of type int",
            ),
            (
                b'{"Part": {"Port": 18446744073709551616}}',
                f"{into} number 18446744073709551616 into Go struct field Whole.Part.Port of type int",
            ),
            (
                b'{"Wait": -9223372036854775809}',
                f"{into} number -9223372036854775809 into Go struct field Whole.Wait of type int",
            ),
            (b'{"Part": []}', f"{into} array into Go struct field Whole.Part of type structs.Part"),
            (b'{"Parts": {}}', f"{into} object into Go struct field Whole.Parts of type []structs.Part"),
            (b'{"Meta": []}', f"{into} array into Go struct field Whole.Meta of type map[string]string"),
            (b'{"Meta": {"a": 1}}', f"{into} number into Go struct field Whole.Meta of type string"),
            (b'{"Tags": [1]}', f"{into} number into Go struct field Whole.Tags of type string"),
            (b'{"Enabled": "true"}', f"{into} string into Go struct field Whole.Enabled of type bool"),
            (b'{"Ratio": "1"}', f"{into} string into Go struct field Whole.Ratio of type float64"),
            (b'{"Payload": 1}', f"{into} number into Go struct field Whole.Payload of type []uint8"),
            (
                b'{"Open": 1}',
                f"{into} number into Go struct field Whole.Open of type map[string]interface {{}}",
            ),
            (b'{"Wait": []}', f"{into} array into Go struct field Whole.Wait of type int"),
            (b'{"Payload": "%%"}', "json: illegal base64 data at input byte 0"),
            ('{"Payload": "\u2603"}'.encode(), "json: illegal base64 data at input byte 0"),
            (b'{"Foo": 1}', 'json: unknown field "Foo"'),
            (
                b'{"Namespace": "x"}',
                'json: unknown field "Namespace" - Namespaces are a Consul Enterprise feature',
            ),
        ]:
            error = self.assertRaises(BadRequest, decode, body, Whole)
            self.assertEqual(str(error), "Request decode failed: " + message)
        found = decode(b'{"Part": {"Port": 18446744073709551615}, "Wait": -9223372036854775808}', Whole)
        assert found.part is not None
        self.assertEqual((found.part.port, found.wait), (2**64 - 1, -(2**63)))

    def test_syntax(self) -> None:
        for body in (b"{]", b'{"a" 1}', b"{} {}", b"\xff", b'"\xff"', b"[" * 100_000):
            error = self.assertRaises(BadRequest, decode, body, Whole)
            self.assertTrue(str(error).startswith("Request decode failed: invalid character "), body[:10])

    def test_syntax_tells_where(self) -> None:
        for body, text in (
            (b"{nope", "invalid character at byte 1: object keys must be strings"),
            (b'{"Part": x}', "invalid character at byte 9"),
        ):
            error = self.assertRaises(BadRequest, decode, body, Whole)
            self.assertEqual(str(error), "Request decode failed: " + text)

    def test_required_fields(self) -> None:
        """A field without a default gets the zero that Go would give it."""
        zero = Demanding("", None, [], {}, Part(""), None)
        self.assertEqual(decode(b"{}", Demanding), zero)
        self.assertEqual(decode(b'{"Text": null, "Items": null, "Part": null}', Demanding), zero)

    def test_depth(self) -> None:
        """Recursive structs end somewhere."""
        error = self.assertRaises(BadRequest, decode, b'{"Inner":' * 40 + b"null" + b"}" * 40, Nested)
        self.assertEqual(str(error), "Request decode failed: json: exceeded max depth")

    def test_prefix(self) -> None:
        error = self.assertRaises(BadRequest, decode, b"", Whole, prefix="Bad request: ")
        self.assertEqual(str(error), "Bad request: EOF")

    def test_convert(self) -> None:
        """For values that are decoded already, for instance elements of a transaction."""
        self.assertEqual(convert({"NAME": "x"}, Part), Part("x"))
        self.assertRaises(BadRequest, convert, [], Part)

    @given(
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), _nested, max_leaves=12)
    )
    def test_anything(self, value: Any) -> None:
        """No value does more than be refused."""
        for kind in (Whole, RegisterRequest):
            try:
                self.assertIsInstance(convert(value, kind), kind)
            except BadRequest:
                pass
