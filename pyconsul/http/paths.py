"""Request targets: percent-decoding, cleaning and what is refused before any route is looked at.

Source: specs of the HTTP surface, section 1, and raw answers of Consul 1.8.7 (its decoded path is
what routes see, so ``a%2Fb`` and ``a/b`` are one key).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from posixpath import normpath
from urllib.parse import quote, unquote_to_bytes

from pyconsul.http.answer import HTML, Answer, protocol_error, text

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
PLAIN_PATH = re.compile(rb"(?:/[A-Za-z0-9_:@!$&'()*+,;=~-][A-Za-z0-9_:@!$&'()*+,;=~.-]*)*/?")
"""Paths that decode to themselves, are clean and printable: nearly all there are."""

NOTHING_HERE = Answer(status=404, content_type=b"", bare=True)
UNPRINTABLE = Answer(status=400, content_type=b"", bare=True)
BAD_TARGET = protocol_error(400, "400 Bad Request")
NOT_UTF8 = text(400, "Bad request: path is not valid UTF-8")


def split(target: bytes) -> tuple[bytes, bytes]:
    """The path and the query string of ``target``, which may be a whole URL."""
    if not target.startswith(b"/"):
        _, found, rest = target.partition(b"://")
        if not found:
            return target, b""
        slash = rest.find(b"/")
        target = rest[slash:] if slash >= 0 else b"/"
    path, _, query = target.partition(b"?")
    return path, query


def decode(path: bytes) -> str | None:
    """The path as text, percent-decoded; ``None`` if an escape is broken.

    :raises UnicodeDecodeError: if it is not UTF-8.
    """
    if b"%" in path:
        if _BAD_ESCAPE.search(path):
            return None
        path = unquote_to_bytes(path)
    return path.decode("utf-8")


def screen(
    target: bytes,
    method: bytes,
    allow_unprintable: bool = False,
    only_below: Callable[[str], bool] = lambda path: False,
) -> Answer | None:
    """The answer to a path that no route may see, or ``None``.

    :param only_below: whether there is nothing at a path but something below it, where a redirect leads then.
    """
    path, query = split(target)
    if PLAIN_PATH.fullmatch(path) and path:
        return None
    if not path.startswith(b"/"):
        return _star(path, method)
    try:
        decoded = decode(path)
    except UnicodeDecodeError:
        return NOT_UTF8
    if decoded is None:
        return BAD_TARGET
    if not allow_unprintable and not decoded.isprintable():
        return UNPRINTABLE
    cleaned = clean(decoded)
    if cleaned != decoded:
        if only_below(cleaned):
            cleaned += "/"
        return redirect(quote(cleaned, safe="/:@!$&'()*+,;=~-_."), query, method)
    return None


def _star(path: bytes, method: bytes) -> Answer:
    if path == b"*" and method == b"OPTIONS":
        return Answer(content_type=b"", bare=True)
    return Answer(status=400, content_type=b"", bare=True, close=True)


def clean(path: str) -> str:
    """``path`` without empty, ``.`` and ``..`` segments; a final slash stays, and no other comes."""
    cleaned = normpath(path)
    if cleaned.startswith("//"):
        cleaned = cleaned[1:]
    if path.endswith("/") and cleaned != "/":
        cleaned += "/"
    return cleaned


def redirect(path: str, query: bytes, method: bytes) -> Answer:
    """A 301 to ``path``, with the small page that browsers get."""
    location = path.encode("utf-8")
    if query:
        location += b"?" + query
    headers = ((b"Location", location),)
    if method not in (b"GET", b"HEAD"):
        return Answer(status=301, content_type=b"", headers=headers, bare=True)
    page = f'<a href="{escape(location.decode("latin-1"))}">Moved Permanently</a>.\n\n'
    return Answer(page.encode("latin-1"), 301, HTML, headers=headers, bare=True)
