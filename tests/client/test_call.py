"""What a call says before it is sent, and how its answer is read."""

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.client import call
from pyconsul.client.call import Answer, Call, Response, ResponseError, UnexpectedResponse


def answer(body: bytes, status: int = 200) -> Response:
    return Response(status, "X", {}, body)


class QuoteTests(SynchronousTestCase):
    def test_query(self) -> None:
        """In a query everything that could mean something is escaped."""
        self.assertEqual(call.quote("a b/ü?&=%~"), "a%20b%2F%C3%BC%3F%26%3D%25~")

    def test_path(self) -> None:
        """In a path slashes stay, as do characters that mean nothing there."""
        self.assertEqual(call.quote_path("a b/c&=?#%"), "a%20b/c&=%3F%23%25")

    def test_bytes_of_the_command_line(self) -> None:
        """An argument that is not UTF-8 goes through as its bytes."""
        self.assertEqual(call.quote(b"\xff".decode("utf-8", "surrogateescape")), "%FF")


class CallTests(SynchronousTestCase):
    def test_target(self) -> None:
        """Parameters without a value are left out, True is one without a value."""
        query = [("a", ""), ("b", None), ("c", False), ("d", True), ("e", 0), ("f", "x y")]
        made = Call("GET", "/p", call.nothing, query)
        self.assertEqual(made.target(), "/p?d&e=0&f=x%20y")
        self.assertEqual(Call("GET", "/p", call.nothing).target(), "/p")

    def test_with_query(self) -> None:
        """More parameters go behind those that are there."""
        made = Call("PUT", "/p", call.nothing, [("a", 1)], b"body", 5.0).with_query([("b", 2)])
        self.assertEqual(made.target(), "/p?a=1&b=2")
        self.assertEqual((made.method, made.body, made.timeout_s), ("PUT", b"body", 5.0))

    def test_read_options(self) -> None:
        """Options of reads under their names in the API."""
        query = call.read_options(
            datacenter="d", stale=True, consistent=True, index=7, wait_s=1.5, near="n", filter="f",
            node_meta={"k": "v"},
        )  # fmt: skip
        target = Call("GET", "/p", call.nothing, query).target()
        self.assertEqual(target, "/p?dc=d&stale&consistent&index=7&wait=1.5s&near=n&filter=f&node-meta=k%3Av")
        self.assertEqual(Call("GET", "/p", call.nothing, call.read_options()).target(), "/p")

    def test_blocking_timeout(self) -> None:
        """A read that waits may take as long as the agent lets it wait, and some more."""
        self.assertEqual(call.blocking_timeout(0, 0.0), 60.0)
        self.assertEqual(call.blocking_timeout(5, 160.0), 230.0)
        self.assertEqual(call.blocking_timeout(5, 0.0), 697.5)


class DecodeTests(SynchronousTestCase):
    def test_nothing(self) -> None:
        """Only the status matters."""
        call.nothing(answer(b"whatever"))
        self.assertRaises(UnexpectedResponse, call.nothing, answer(b"", 500))

    def test_truth(self) -> None:
        """The body is true, or it is not."""
        self.assertTrue(call.truth(answer(b"true\n")))
        self.assertFalse(call.truth(answer(b"false")))

    def test_a_list(self) -> None:
        """A list, where null is an empty one."""
        self.assertEqual(call.a_list(answer(b"[1]")), [1])
        self.assertEqual(call.a_list(answer(b"null")), [])
        self.assertRaises(ResponseError, call.a_list, answer(b"{}"))
        self.assertRaises(ResponseError, call.a_list, answer(b"junk"))

    def test_a_dict(self) -> None:
        """An object, where null is an empty one."""
        self.assertEqual(call.a_dict(answer(b'{"a":1}')), {"a": 1})
        self.assertEqual(call.a_dict(answer(b"null")), {})
        self.assertRaises(ResponseError, call.a_dict, answer(b"[]"))

    def test_expect(self) -> None:
        """Other statuses may be fine too."""
        found = answer(b"", 404)
        self.assertIs(call.expect(found, 200, 404), found)

    def test_error_texts(self) -> None:
        """The agent's reason is part of the text, unless it is not wanted."""
        error = self.assertRaises(UnexpectedResponse, call.expect, answer(b"why\xff", 500))
        self.assertEqual(str(error), "Unexpected response code: 500 (why\ufffd)")
        self.assertEqual(error.status, 500)
        self.assertEqual(str(UnexpectedResponse(answer(b"why", 500), with_body=False)), str(error)[:29])

    def test_answer(self) -> None:
        """The headers that say how old a value is."""
        headers = {"x-consul-index": "12", "x-consul-lastcontact": "3", "x-consul-knownleader": "true"}
        found = Answer("v", headers)
        facts = (found.value, found.index, found.last_contact_ms, found.known_leader)
        self.assertEqual(facts, ("v", 12, 3, True))
        bare = Answer("v", {"x-consul-index": "-1"})
        self.assertEqual((bare.index, bare.last_contact_ms, bare.known_leader), (0, 0, False))
