"""Reading by remembered header blocks gives what llhttp gives, whatever clients send and however split."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.http.facts import Facts
from tests.http.fakes import Client, FakeAgent, site

METHODS = (b"GET", b"PUT", b"DELETE", b"POST", b"HEAD", b"OPTIONS", b"PATCH", b"CONNECT", b"get", b"G")
TARGETS = (
    b"/v1/kv/a", b"/", b"/v1/kv/a%20b?x=%zz", b"/a#b", b"*", b"http://h/a", b"/a b", b"/\xc3\xa4", b"/a\x01",
    b"", b"/v1/health/service/web?passing&index=3", b'/a"<>^`{|}\\', b"a:1",
)  # fmt: skip
VERSIONS = (b"HTTP/1.1",) * 6 + (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.1 ", b"")
HEADERS = (
    b"Host: a", b"Host: a", b"Host:a", b"host: b", b"Content-Length: 3", b"Content-Length: 3",
    b"content-length:0", b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: 0x3",
    b"Content-Length: 3, 3", b"Content-Length : 3",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Connection: close",
    b"Connection: keep-alive", b"Connection: upgrade", b"Connection: close, keep-alive", b"Upgrade: h2c",
    b"Expect: 100-continue", b"Expect: x", b"Accept-Encoding: gzip", b"X-Consul-Token: t", b"X: y",
    b" folded: x", b"\tfolded", b"no colon", b": empty", b"X:", b"X: \x00", b"X: \xff", b"X Y: z",
    b"Proxy-Connection: close", b"X: a\rb", b"X: a\nContent-Length: 3", b"Keep-Alive: 5",
)  # fmt: skip
BODIES = (
    b"", b"abc", b"abcde", b"3\r\nabc\r\n0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n",
    b"\r\n\r\n",
)  # fmt: skip
ENDS = (b"\r\n",) * 8 + (b"\n", b"\r")

blocks = st.lists(st.sampled_from(HEADERS), max_size=4).map(lambda more: [b"Host: a", *more]) | st.lists(
    st.sampled_from(HEADERS), max_size=4
)


@st.composite
def requests(draw: Any) -> bytes:
    end = draw(st.sampled_from(ENDS))
    line = b" ".join(draw(st.sampled_from(part)) for part in (METHODS, TARGETS, VERSIONS))
    head: bytes = end.join([line, *draw(blocks), b"", b""])
    return head + bytes(draw(st.sampled_from(BODIES)))


# few different requests, often repeated: else nothing would be remembered
streams = st.lists(requests(), min_size=1, max_size=3).flatmap(
    lambda some: st.lists(st.sampled_from(some), min_size=1, max_size=6)
)


class Listener:
    """In place of the lane: notes what each request means."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def serve(self, channel: Any, method: bytes, target: bytes, facts: Facts, body: bytes) -> bytes:
        meaning = (facts.keep, facts.minor, facts.token, facts.gzip, facts.variant)
        self.heard.append((method, target, tuple(facts.headers), meaning, bytes(body)))
        return b"."


def hear(pieces: list[bytes], remember: bool) -> tuple[list[Any], bytes, bool]:
    """What a site makes of ``pieces``: the requests, what it wrote, whether it ended the connection."""
    heard = Listener()
    served = site(FakeAgent())
    served.lane = heard  # type: ignore[assignment]
    if not remember:
        served.remember = lambda block, facts: None  # type: ignore[method-assign]
    written = b""
    ended = False
    for _ in range(2):  # on the second connection everything may be known
        client = Client(served)
        written += b"".join(client.send(piece) for piece in pieces)
        ended = client.channel._closing
        client.lose()
    return heard.heard, written, ended


def split(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[begin:end] for begin, end in pairwise(places)]


class FuzzTests(SynchronousTestCase):
    @settings(max_examples=150, deadline=None)
    @given(streams, st.lists(st.integers(0, 10_000), max_size=5))
    def test_same_as_llhttp(self, parts: list[bytes], cuts: list[int]) -> None:
        """Requests, their meaning, the answers and the end are the same with and without the memo."""
        pieces = split(b"".join(parts), cuts)
        self.assertEqual(hear(pieces, remember=True), hear(pieces, remember=False))

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.integers(0, 10_000), max_size=8), st.integers(1, 5))
    def test_good_requests_split_anywhere(self, cuts: list[int], count: int) -> None:
        """Good requests are all heard, wherever the pieces end."""
        one = b"PUT /v1/kv/a?x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab\r\n\r"
        heard, written, ended = hear(split(one * count, cuts), remember=True)
        self.assertEqual([body for *_, body in heard], [b"ab\r\n\r"] * (2 * count))
        self.assertEqual((written, ended), (b"." * (2 * count), False))

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=200), st.lists(st.integers(0, 10_000), max_size=3))
    def test_noise(self, noise: bytes, cuts: list[int]) -> None:
        """Bytes of any kind raise nothing."""
        pieces = split(noise, cuts)
        self.assertEqual(hear(pieces, remember=True), hear(pieces, remember=False))
