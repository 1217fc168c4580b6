"""Requests about gossip's keys (``/v1/operator/keyring``); only servers take them."""

from __future__ import annotations

from pyconsul.client.call import Call, a_list, encoded, nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATH = "/v1/operator/keyring"


def keys(*, relay_factor: int = 0, local_only: bool = False) -> Call[list[dict[str, Any]]]:
    """The keys of each pool, with how many of its members have them.

    With a relay factor answers also come through that many other members. ``local_only``: only the
    pool of the asked server's datacenter.
    """
    query = [("relay-factor", relay_factor or None), ("local-only", "true" if local_only else None)]
    return Call("GET", PATH, a_list, query)


def install(key: str, *, relay_factor: int = 0) -> Call[None]:
    """Give all members a key (base64) to understand messages with."""
    return _change("POST", key, relay_factor)


def use(key: str, *, relay_factor: int = 0) -> Call[None]:
    """Have all members encrypt with a key that is installed."""
    return _change("PUT", key, relay_factor)


def remove(key: str, *, relay_factor: int = 0) -> Call[None]:
    """Have all members forget a key that they do not encrypt with."""
    return _change("DELETE", key, relay_factor)


def _change(method: str, key: str, relay_factor: int) -> Call[None]:
    return Call(method, PATH, nothing, [("relay-factor", relay_factor or None)], encoded({"Key": key}))
