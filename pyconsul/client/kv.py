"""Requests about the key/value store (``/v1/kv``)."""

from __future__ import annotations

import binascii

from pyconsul.client.call import (
    Call,
    Response,
    ResponseError,
    UnexpectedResponse,
    a_list,
    blocking_timeout,
    nothing,
    quote_path,
    read_options,
    truth,
)
from pyconsul.errors import BadRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Pair:
    """One entry. ``session`` is empty unless a session holds it as a lock."""

    __slots__ = ("create_index", "flags", "key", "lock_index", "modify_index", "session", "value")

    def __init__(self, row: dict[str, Any]) -> None:
        try:
            self.key: str = row["Key"]
            self.value: bytes = binascii.a2b_base64(row["Value"] or "")
        except (KeyError, TypeError, ValueError) as error:
            raise ResponseError(f"not a key/value entry: {error}") from None
        self.flags: int = row.get("Flags", 0)
        self.lock_index: int = row.get("LockIndex", 0)
        self.session: str = row.get("Session", "")
        self.create_index: int = row.get("CreateIndex", 0)
        self.modify_index: int = row.get("ModifyIndex", 0)


def _list(response: Response) -> list[Any]:
    """The rows of a read; none of them is a 404 here."""
    if response.status == 404:
        return []
    if response.status != 200:
        raise UnexpectedResponse(response, with_body=False)
    return a_list(response)


def _pairs(response: Response) -> list[Pair]:
    return [Pair(row) for row in _list(response)]


def _pair(response: Response) -> Pair | None:
    pairs = _pairs(response)
    return pairs[0] if pairs else None


def _path(key: str) -> str:
    return f"/v1/kv/{quote_path(key)}"


def get(key: str, *, index: int = 0, wait_s: float = 0.0, **options: Any) -> Call[Pair | None]:
    """One entry, or ``None``. ``options`` are those of ``read_options``."""
    query = read_options(index=index, wait_s=wait_s, **options)
    return Call("GET", _path(key), _pair, query, timeout_s=blocking_timeout(index, wait_s))


def _value(response: Response) -> bytes | None:
    if response.status == 404:
        return None
    if response.status != 200:
        raise UnexpectedResponse(response, with_body=False)
    return response.body


def value(key: str, *, index: int = 0, wait_s: float = 0.0, **options: Any) -> Call[bytes | None]:
    """The value of an entry alone, as it was written, or ``None`` without an entry."""
    query = [("raw", True), *read_options(index=index, wait_s=wait_s, **options)]
    return Call("GET", _path(key), _value, query, timeout_s=blocking_timeout(index, wait_s))


def recurse(prefix: str, *, index: int = 0, wait_s: float = 0.0, **options: Any) -> Call[list[Pair]]:
    """Every entry whose key starts with ``prefix``, in order."""
    query = [("recurse", True), *read_options(index=index, wait_s=wait_s, **options)]
    return Call("GET", _path(prefix), _pairs, query, timeout_s=blocking_timeout(index, wait_s))


def keys(
    prefix: str, separator: str = "", *, index: int = 0, wait_s: float = 0.0, **options: Any
) -> Call[list[str]]:
    """The keys that start with ``prefix``, each cut behind the first ``separator`` after it."""
    query = [("keys", True), ("separator", separator)]
    query += read_options(index=index, wait_s=wait_s, **options)
    return Call("GET", _path(prefix), _list, query, timeout_s=blocking_timeout(index, wait_s))


def put(
    key: str,
    value: bytes,
    *,
    flags: int = 0,
    cas: int | None = None,
    acquire: str = "",
    release: str = "",
    datacenter: str = "",
) -> Call[bool]:
    """Write an entry; whether it was done.

    :param cas: only if the entry's ``modify_index`` is this; 0: only if there is none.
    :param acquire: take the entry as a lock for this session.
    :param release: give up the lock that this session has.

    Raises ``BadRequest`` for a key that starts with a slash.
    """
    if key.startswith("/"):
        raise BadRequest(f"Invalid key. Key must not begin with a '/': {key}")
    query = [("cas", cas), ("acquire", acquire), ("release", release), ("flags", flags or None)]
    return Call("PUT", _path(key), truth, [*query, ("dc", datacenter)], value)


def delete(key: str, *, cas: int | None = None, datacenter: str = "") -> Call[bool]:
    """Remove an entry; whether it was done, which without ``cas`` it always is."""
    return Call("DELETE", _path(key), truth, [("cas", cas), ("dc", datacenter)])


def delete_tree(prefix: str, *, datacenter: str = "") -> Call[None]:
    """Remove every entry whose key starts with ``prefix``."""
    return Call("DELETE", _path(prefix), nothing, [("recurse", True), ("dc", datacenter)])
