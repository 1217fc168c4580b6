"""Key/value entries and the requests about them (KVS.*)."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct, field

from pyconsul.structs.query import QueryMeta, QueryOptions, WriteRequest


class DirEntry(Struct, rename="pascal", frozen=True, gc=False, kw_only=True):
    """One entry of the store.

    :ivar value: ``None`` when empty, which JSON shows as ``null``.
    :ivar session: the holder of the lock; absent while nobody holds it.
    :ivar lock_index: how often the lock was acquired.
    """

    lock_index: int = 0
    key: str
    flags: int = 0
    value: bytes | None = None
    session: str | msgspec.UnsetType = msgspec.UNSET
    create_index: int = 0
    modify_index: int = 0


class KVSRequest(WriteRequest, rename="pascal", kw_only=True):
    """One write; the reply is a bool: whether it was done (a cas or a lock may not be).

    :ivar op: ``set``, ``delete``, ``delete-cas``, ``delete-tree``, ``cas``, ``lock`` or ``unlock``.
    """

    datacenter: str = ""
    op: str
    dir_ent: DirEntry = field(name="DirEnt")


class KeyRequest(QueryOptions, rename="pascal", kw_only=True):
    """KVS.Get and KVS.List: one key, or every key that starts with it.

    :ivar limit: how many at most, the first behind ``after``; 0 for all. Consul has neither.
    """

    datacenter: str = ""
    limit: int = 0
    after: str = ""
    key: str = ""


class KeyListRequest(QueryOptions, rename="pascal", kw_only=True):
    """KVS.ListKeys; Consul spells ``Seperator`` so on the wire.

    :ivar limit: how many at most, the first behind ``after``; 0 for all. Consul has neither.
    """

    datacenter: str = ""
    limit: int = 0
    after: str = ""
    prefix: str = ""
    separator: str = field(default="", name="Seperator")


class IndexedDirEntries(QueryMeta, rename="pascal", kw_only=True):
    """Entries in the order of their keys; many are ``structs.lists.Lists``."""

    entries: Sequence[DirEntry] = []


class IndexedKeyList(QueryMeta, rename="pascal", kw_only=True):
    """Key names in order; likewise."""

    keys: Sequence[str] = []
