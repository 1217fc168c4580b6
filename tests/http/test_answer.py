"""Rendering answers."""

from __future__ import annotations

import gzip
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import datetimeToString

from pyconsul import errors
from pyconsul.http import answer as module
from pyconsul.http.answer import Answer, Dates, Renderer, canonical, empty, http_date, refusal, text


def renderer(**extra: str) -> Renderer:
    return Renderer(Dates(lambda: 0.0), {name.replace("_", "-"): value for name, value in extra.items()})


class RendererTests(SynchronousTestCase):
    def test_read(self) -> None:
        """The head of a read, as Consul orders and spells it."""
        answer = Answer(json=[1], index=12, known_leader=True, last_contact_ms=3, consistency="stale")
        before, after = renderer().parts(answer, b"[1]")
        self.assertEqual(
            before + b"<date>" + after,
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nVary: Accept-Encoding\r\n"
            b"X-Consul-Effective-Consistency: stale\r\nX-Consul-Index: 12\r\nX-Consul-Knownleader: true\r\n"
            b"X-Consul-Lastcontact: 3\r\nDate: <date>\r\nContent-Length: 3\r\n\r\n[1]",
        )

    def test_short_cut_changes_nothing(self) -> None:
        """The template for plain reads gives the bytes that the general way gives."""
        for fields in ({}, {"consistency": "leader"}, {"known_leader": True}, {"last_contact_ms": 5}):
            plain = Answer(index=0, **fields)
            general = Answer(index=0, content_type=bytes(bytearray(module.JSON)), **fields)
            self.assertEqual(renderer().parts(plain, b"x"), renderer().parts(general, b"x"))

    def test_index_is_at_least_one(self) -> None:
        """A client that waits on index 0 would not wait."""
        for answer in (Answer(index=0), Answer(index=0, status=404)):
            self.assertIn((b"X-Consul-Index", b"1"), renderer().headers(answer))

    def test_versions_and_connection(self) -> None:
        """Status line and Connection by version and by what becomes of the connection."""
        cases: list[tuple[int, bool, bytes, bytes]] = [
            (1, True, b"HTTP/1.1", b""),
            (1, False, b"HTTP/1.1", b"\r\nConnection: close"),
            (0, True, b"HTTP/1.0", b"\r\nConnection: keep-alive"),
            (0, False, b"HTTP/1.0", b""),
        ]
        for minor, keep, version, end in cases:
            before, after = renderer().parts(Answer(), b"", minor=minor, keep=keep)
            self.assertEqual(before.split(b" ")[0], version)
            self.assertEqual(after, b"\r\nContent-Length: 0" + end + b"\r\n\r\n")

    def test_extra_headers(self) -> None:
        """Configured headers are in their place on all answers but bare ones."""
        extra = renderer(x_conf_custom="yes", access_control_allow_origin="*")
        names = [name for name, _ in extra.headers(Answer(index=1))]
        self.assertEqual(names, sorted(names))
        self.assertIn((b"X-Conf-Custom", b"yes"), extra.headers(Answer()))
        self.assertIn((b"Access-Control-Allow-Origin", b"*"), extra.headers(text(500, "x")))
        self.assertEqual(extra.headers(Answer(bare=True, content_type=b"")), [])

    def test_pretty(self) -> None:
        """Four spaces and a final newline, when asked or always."""
        answer = Answer(json={"a": [], "b": [1]})
        self.assertEqual(renderer().body(answer, False), b'{"a":[],"b":[1]}')
        shown = b'{\n    "a": [],\n    "b": [\n        1\n    ]\n}\n'
        self.assertEqual(renderer().body(answer, True), shown)
        always = Renderer(Dates(lambda: 0.0), {}, always_pretty=True)
        self.assertEqual(always.body(answer, False), shown)
        self.assertEqual(always.body(Answer(b"raw"), True), b"raw")

    def test_gzip(self) -> None:
        """Anything with a body is compressed, of any size, and said to be."""
        for size in (1, 100, 600, 5000, 100_000):
            packed = renderer().compress(Answer(), b"x" * size)
            assert packed is not None
            self.assertEqual(gzip.decompress(packed), b"x" * size)
        self.assertIsNone(renderer().compress(Answer(), b""))
        self.assertIsNone(renderer().compress(Answer(bare=True), b"x"))
        before, _ = renderer().parts(Answer(index=1), b"..", packed=True)
        self.assertIn(b"\r\nContent-Encoding: gzip\r\nContent-Type: application/json\r\n", before)

    def test_unknown_status(self) -> None:
        before, _ = renderer().parts(Answer(status=599), b"")
        self.assertTrue(before.startswith(b"HTTP/1.1 599 Unknown\r\n"))


class SmallThingsTests(SynchronousTestCase):
    def test_dates_as_twisted_has_them(self) -> None:
        """Every month and day of the week, and a leap day."""
        for seconds in (0, 951_782_400, *range(1_700_000_000, 1_735_000_000, 1_000_003)):
            self.assertEqual(http_date(seconds), datetimeToString(seconds))

    def test_dates(self) -> None:
        """The date is made once a second."""
        now = [1_000_000_000.0]
        dates = Dates(lambda: now[0])
        first = dates.value()
        self.assertEqual(first, b"Sun, 09 Sep 2001 01:46:40 GMT")
        now[0] += 0.9
        self.assertIs(dates.value(), first)
        now[0] += 0.2
        self.assertEqual(dates.value(), b"Sun, 09 Sep 2001 01:46:41 GMT")

    def test_refusal(self) -> None:
        """Each expected failure has its status; the text is the body; the connection goes on."""
        cases: list[tuple[Any, int]] = [
            (errors.BadRequest("a"), 400),
            (errors.PermissionDenied("a"), 403),
            (errors.NotFound("a"), 404),
            (errors.TooLarge("a"), 413),
            (errors.RateLimited("a"), 429),
            (errors.Refused("a"), 500),
        ]
        for error, status in cases:
            answer = refusal(error)
            self.assertEqual((answer.status, answer.body, answer.close), (status, b"a", False))
        self.assertEqual(refusal(errors.NoLeader()).body, b"No cluster leader")

    def test_empty(self) -> None:
        self.assertEqual((empty().body, empty().content_type), (b"", b""))
        self.assertEqual(text(400, "").content_type, b"")

    def test_canonical(self) -> None:
        self.assertEqual(canonical("x-conf-CUSTOM"), b"X-Conf-Custom")
