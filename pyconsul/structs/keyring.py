"""Operations on gossip's keys (Internal.KeyringOperation)."""

from __future__ import annotations

from msgspec import Struct, field

from pyconsul.structs.query import QueryMeta, QueryOptions

LIST, INSTALL, USE, REMOVE = "list", "install", "use", "remove"
RELAY_FACTOR_MAX = 5


class KeyringRequest(QueryOptions, rename="pascal", kw_only=True):
    """What to do, with which key (base64).

    :ivar forwarded: another datacenter asks: only the LAN pool here is meant.
    :ivar relay_factor: through how many other members each answer comes as well.
    :ivar local_only: only the LAN pool of the asked server, for ``LIST``.
    """

    operation: str = ""
    key: str = ""
    datacenter: str = ""
    forwarded: bool = False
    relay_factor: int = 0
    local_only: bool = False


class KeyringResponse(Struct, rename="pascal", kw_only=True):
    """What the members of one pool answered.

    :ivar messages: by node. :ivar keys: how many members have each. :ivar primary_keys: seal with it.
    :ivar error: empty if all is well.
    """

    wan: bool = field(default=False, name="WAN")
    datacenter: str = ""
    segment: str = ""
    messages: dict[str, str] | None = None
    keys: dict[str, int] | None = None
    primary_keys: dict[str, int] | None = None
    num_nodes: int = 0
    error: str = ""


class KeyringResponses(QueryMeta, rename="pascal", kw_only=True):
    """One response for each pool."""

    responses: list[KeyringResponse] | None = []
