"""What header blocks say."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.http.facts import GZIP, IDENTITY, OTHER, Facts

HOST = (b"Host", b"h")


class FactsTests(SynchronousTestCase):
    def test_gzip(self) -> None:
        for value, takes in [
            (b"gzip", True), (b"deflate, GZIP;q=0.5", True), (b"gzip;q=0", False), (b"gzip; q=0.0", False),
            (b"*", False), (b"identity", False), (b"", False),
        ]:  # fmt: skip
            self.assertIs(Facts([HOST, (b"Accept-Encoding", value)]).gzip, takes, value)

    def test_variant(self) -> None:
        """Which kept rendering suits: none if the answer could differ in more than compression."""
        self.assertEqual(Facts([HOST]).variant, IDENTITY)
        self.assertEqual(Facts([HOST, (b"Accept-Encoding", b"gzip")]).variant, GZIP)
        for facts in (
            Facts([HOST], minor=0),
            Facts([HOST], keep=False),
            Facts([HOST, (b"X-Consul-Token", b"t")]),
            Facts([HOST, (b"Authorization", b"Bearer t")]),
            Facts([HOST, (b"Cache-Control", b"max-age=0")]),
            Facts([HOST, (b"Cache-Control", b"Must-Revalidate")]),
        ):
            self.assertEqual(facts.variant, OTHER)
        self.assertEqual(Facts([HOST, (b"Cache-Control", b"max-age=60")]).variant, IDENTITY)

    def test_cache_fault(self) -> None:
        """Seconds have to be a number where there are any; other directives may be anything."""
        for value in (b"max-age=x", b"max-age=", b"max-age= 5", b'Max-Age="5"', b"a, stale-if-error=1.5"):
            facts = Facts([HOST, (b"Cache-Control", value)])
            self.assertEqual((facts.cache_fault, facts.plain), (True, False), value)
        for value in (b"max-age=5", b"max-age=-5", b"max-age=5 , foo=x", b"max-age", b"max-age = x", b""):
            self.assertFalse(Facts([HOST, (b"Cache-Control", value)]).cache_fault, value)

    def test_repeatable(self) -> None:
        """Blocks whose meaning depends on nothing else."""
        self.assertTrue(Facts([HOST, (b"Content-Length", b"3"), (b"Connection", b"Keep-Alive")]).repeatable)
        for header in (
            (b"Transfer-Encoding", b"chunked"),
            (b"Expect", b"100-continue"),
            (b"Expect", b"miracles"),
            (b"Upgrade", b"h2c"),
            (b"Connection", b"upgrade"),
            (b"Host", b"again"),
        ):
            self.assertFalse(Facts([HOST, header]).repeatable, header)
        self.assertFalse(Facts([HOST], minor=0).repeatable)

    def test_problems(self) -> None:
        self.assertEqual(Facts([]).problem, "400 Bad Request: missing required Host header")
        self.assertEqual(Facts([HOST, HOST]).problem, "400 Bad Request: too many Host headers")
        self.assertEqual(Facts([], minor=0).problem, "")
        facts = Facts([HOST, (b"Expect", b"miracles")])
        self.assertEqual((facts.problem, facts.status), ("417 Expectation Failed", 417))
        self.assertEqual(Facts([HOST, (b"Content-Length", b"12")]).length, 12)
