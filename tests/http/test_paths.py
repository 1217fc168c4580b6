"""Targets that no route may see."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.http import paths
from pyconsul.http.answer import Answer


class ScreenTests(SynchronousTestCase):
    def screen(self, target: bytes, method: bytes = b"GET") -> Answer | None:
        return paths.screen(target, method)

    def test_passed(self) -> None:
        for target in (
            b"/", b"/v1/kv/a", b"/v1/kv/a/", b"/v1/kv/a?b=//", b"/v1/kv/a%2Fb%20c", b"/v1/kv/%E2%98%83",
            b"/v1/kv/..a", b"/v1/kv/a.", b"http://host/v1/kv/a", b"http://host",
        ):  # fmt: skip
            self.assertIsNone(self.screen(target), target)

    def test_cleaned(self) -> None:
        """Seen on 1.8.7: decoded, cleaned, encoded again, the query kept as it is."""
        for target, location in [
            (b"/v1//kv/a", b"/v1/kv/a"),
            (b"//v1/kv/a", b"/v1/kv/a"),
            (b"/v1/kv/a//b?x=1&y=%20", b"/v1/kv/a/b?x=1&y=%20"),
            (b"/v1/kv/a/../b", b"/v1/kv/b"),
            (b"/v1/kv/a/./b/", b"/v1/kv/a/b/"),
            (b"/v1/kv/a/..", b"/v1/kv"),
            (b"/v1/kv/a/.", b"/v1/kv/a"),
            (b"/v1/kv/%2E%2E", b"/v1"),
            (b"/v1/kv/a/../", b"/v1/kv/"),
            (b"/../../v1/kv/a", b"/v1/kv/a"),
            (b"/v1/kv/a%2F%2Fb%20c%3f", b"/v1/kv/a/b%20c%3F"),
            (b"/v1/kv/%E2%98%83//x", b"/v1/kv/%E2%98%83/x"),
            (b"/..", b"/"),
        ]:
            answer = self.screen(target)
            assert answer is not None, target
            self.assertEqual((answer.status, answer.headers), (301, ((b"Location", location),)), target)

    def test_only_below(self) -> None:
        """Where nothing is but below it, the redirect leads there at once."""
        answer = paths.screen(b"/v1/kv/a/..", b"GET", False, lambda path: path == "/v1/kv")
        assert answer is not None
        self.assertEqual(answer.headers, ((b"Location", b"/v1/kv/"),))
        answer = paths.screen(b"/v1/kv/a/b/..", b"GET", False, lambda path: path == "/v1/kv")
        assert answer is not None
        self.assertEqual(answer.headers, ((b"Location", b"/v1/kv/a"),))

    def test_redirect_page(self) -> None:
        """Only GET and HEAD get the little page."""
        answer = self.screen(b"/v1/kv//a?x&y")
        assert answer is not None
        self.assertEqual(answer.body, b'<a href="/v1/kv/a?x&amp;y">Moved Permanently</a>.\n\n')
        answer = self.screen(b"/v1/kv//a", b"PUT")
        assert answer is not None
        self.assertEqual((answer.body, answer.content_type), (b"", b""))

    def test_refused(self) -> None:
        for target, status in [
            (b"/v1/kv/%00", 400), (b"/v1/kv/%07", 400), (b"/v1/kv/%0a", 400), (b"/v1/kv/%zz", 400),
            (b"/v1/kv/%2", 400), (b"/v1/kv/%80", 400), (b"*", 400), (b"nothing", 400),
        ]:  # fmt: skip
            answer = self.screen(target)
            assert answer is not None
            self.assertEqual(answer.status, status, target)
        answer = self.screen(b"*", b"OPTIONS")
        assert answer is not None
        self.assertEqual(answer.status, 200)

    def test_unprintable_allowed(self) -> None:
        """``disable_http_unprintable_char_filter``."""
        self.assertIsNone(paths.screen(b"/v1/kv/%07", b"GET", allow_unprintable=True))

    @given(st.text(alphabet="/.ab%2F", max_size=24))
    def test_plain_paths_need_no_screening(self, tail: str) -> None:
        """What the short check lets through decodes to itself and is clean."""
        path = ("/" + tail).encode()
        if paths.PLAIN_PATH.fullmatch(path):
            self.assertEqual(paths.decode(path), path.decode())
            self.assertEqual(paths.clean(path.decode()), path.decode())

    @given(st.text(alphabet="/.ab", max_size=24))
    def test_cleaning_is_final(self, tail: str) -> None:
        """No redirect leads to another."""
        cleaned = paths.clean("/" + tail)
        self.assertEqual(paths.clean(cleaned), cleaned)
