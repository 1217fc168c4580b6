"""What a request is, before anything is sent: method, path, parameters, and how to read the answer.

The command line loads these modules at every start, so they import little: ``typing``, ``re`` and
``urllib`` each cost more than the request itself.
"""

from __future__ import annotations

from pyconsul.errors import PyconsulError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Generic, TypeVar

    T = TypeVar("T")
    Query = Iterable[tuple[str, object]]
else:

    class Generic:
        """Stands in for the one of ``typing``."""

        def __class_getitem__(cls, item):
            return cls

    T = None

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")
_PATH = _UNRESERVED | frozenset(b"/&=:@,$+;")


def quote(text: str, safe: frozenset[int] = _UNRESERVED) -> str:
    """``text`` as it may stand in a query."""
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in safe else f"%{byte:02X}" for byte in data)


def quote_path(text: str) -> str:
    """``text`` as it may stand in a path; slashes stay."""
    return quote(text, _PATH)


class Response:
    """An answer, read to its end. ``headers`` has lower-case names."""

    __slots__ = ("body", "headers", "reason", "status")

    def __init__(self, status: int, reason: str, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.reason, self.headers, self.body = status, reason, headers, body

    def json(self) -> Any:
        """The body's value; raises ``ResponseError`` if it is not JSON."""
        import json

        try:
            return json.loads(self.body)
        except ValueError as error:
            raise ResponseError(str(error)) from None


class ResponseError(PyconsulError):
    """The answer cannot be understood."""


class TransportError(PyconsulError):
    """No answer: the agent cannot be reached, or the connection broke."""


class UnexpectedResponse(PyconsulError):
    """The agent refused; the text is Consul's own."""

    def __init__(self, response: Response, with_body: bool = True) -> None:
        text = f"Unexpected response code: {response.status}"
        if with_body:
            text += f" ({response.body.decode('utf-8', 'replace')})"
        super().__init__(text)
        self.status = response.status


class Call(Generic[T]):
    """One request and what its answer means.

    :ivar path: quoted, with its leading slash.
    :ivar query: pairs; a value of ``None``, ``False`` or ``""`` leaves the parameter out, ``True`` is
        a parameter without a value.
    :ivar decode: response -> value; raises ``UnexpectedResponse``.
    :ivar timeout_s: how long to wait for the answer.
    """

    __slots__ = ("body", "decode", "method", "path", "query", "timeout_s")

    def __init__(
        self,
        method: str,
        path: str,
        decode: Callable[[Response], T],
        query: Query = (),
        body: bytes = b"",
        timeout_s: float = 60.0,
    ) -> None:
        self.method, self.path, self.decode, self.body = method, path, decode, body
        self.query, self.timeout_s = tuple(query), timeout_s

    def with_query(self, query: Query) -> Call[T]:
        """The same call with more parameters."""
        return Call(self.method, self.path, self.decode, (*self.query, *query), self.body, self.timeout_s)

    def target(self) -> str:
        """Path and parameters as the request line has them."""
        parts = []
        for name, value in self.query:
            if value is True:
                parts.append(name)
            elif value is not None and value is not False and value != "":
                parts.append(f"{name}={quote(str(value))}")
        return f"{self.path}?{'&'.join(parts)}" if parts else self.path


class Answer(Generic[T]):
    """A value together with what the agent says about its age.

    :ivar index: to wait on: a call with ``index=`` this one returns when there is something newer.
    :ivar last_contact_ms: how long ago the answering server heard of the leader.
    """

    __slots__ = ("index", "known_leader", "last_contact_ms", "value")

    def __init__(self, value: T, headers: Mapping[str, str]) -> None:
        self.value = value
        self.index = _number(headers.get("x-consul-index"))
        self.last_contact_ms = _number(headers.get("x-consul-lastcontact"))
        self.known_leader = headers.get("x-consul-knownleader") == "true"


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0


# ---------------------------------------------------------------- what several subjects share

WAIT_MAX_S = 600.0


def read_options(
    *,
    datacenter: str = "",
    stale: bool = False,
    consistent: bool = False,
    index: int = 0,
    wait_s: float = 0.0,
    near: str = "",
    filter: str = "",
    node_meta: Mapping[str, str] | None = None,
) -> list[tuple[str, object]]:
    """The parameters that all reads have in common."""
    query: list[tuple[str, object]] = [
        ("dc", datacenter),
        ("stale", stale),
        ("consistent", consistent),
        ("index", index or None),
        ("wait", f"{wait_s:g}s" if wait_s else None),
        ("near", near),
        ("filter", filter),
    ]
    query += [("node-meta", f"{key}:{value}") for key, value in (node_meta or {}).items()]
    return query


def blocking_timeout(index: int, wait_s: float) -> float:
    """How long to wait for the answer of a read; the agent adds up to a sixteenth to ``wait``."""
    return 60.0 if not index else (wait_s or WAIT_MAX_S) * 17 / 16 + 60.0


def expect(response: Response, *statuses: int) -> Response:
    """The response, if its status is one of these (200 if none is given)."""
    if response.status not in (statuses or (200,)):
        raise UnexpectedResponse(response)
    return response


def nothing(response: Response) -> None:
    """For answers that say no more than that it was done."""
    expect(response)


def truth(response: Response) -> bool:
    """For answers that are ``true`` or ``false``."""
    return expect(response).body.strip() == b"true"


def a_list(response: Response) -> list[Any]:
    """For answers that are a JSON list, or null."""
    value = expect(response).json()
    if not (value is None or isinstance(value, list)):
        raise ResponseError("the answer is not a list")
    return value or []


def a_dict(response: Response) -> dict[str, Any]:
    """For answers that are a JSON object, or null."""
    value = expect(response).json()
    if not (value is None or isinstance(value, dict)):
        raise ResponseError("the answer is not an object")
    return value or {}


def encoded(value: object) -> bytes:
    """A request body."""
    import json

    return json.dumps(value, separators=(",", ":")).encode()
