"""KVS.*: the key/value table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyconsul.endpoints.base import Answered, Read, read, write
from pyconsul.errors import Refused
from pyconsul.state import commands
from pyconsul.state.store import Store
from pyconsul.structs.kv import (
    DirEntry,
    IndexedDirEntries,
    IndexedKeyList,
    KeyListRequest,
    KeyRequest,
    KVSRequest,
)


class KVS:
    """Reads and writes of keys.

    :param delayed: whether a key may not be locked yet, for the session that held it ended just now.
    """

    def __init__(self, store: Store, delayed: Callable[[str], bool] = lambda key: False) -> None:
        self._kv = store.kv
        self._delayed = delayed

    @write("KVS.Apply", KVSRequest, bool, "key:write")
    def apply(self, request: KVSRequest) -> bytes | Answered:
        """One write; the reply tells whether it was done.

        :raises PyconsulError: if the operation is unknown or lacks a key.
        """
        key = request.dir_ent.key
        if not key and request.op != "delete-tree":
            raise Refused("Must provide key")
        if request.op == "lock" and self._delayed(key):
            return Answered(False)
        return commands.encode_kv(request)

    @read("KVS.Get", KeyRequest, IndexedDirEntries, "key:read")
    def get(self, request: KeyRequest) -> Read:
        """The entry of one key, or none."""
        index, row = self._kv.get(request.key)
        return Read(index, IndexedDirEntries(entries=[] if row is None else [row]), (("kv", request.key),))

    @read("KVS.List", KeyRequest, IndexedDirEntries, "key:list")
    def list(self, request: KeyRequest) -> Read:
        """All entries under a prefix."""
        rows: Sequence[DirEntry]
        if request.limit or request.after:
            index, rows = self._kv.page(request.key, request.after, request.limit or None)
        else:
            index, rows = self._kv.listing(request.key)
        return Read(index, IndexedDirEntries(entries=rows), (("kvp", request.key),))

    @read("KVS.ListKeys", KeyListRequest, IndexedKeyList, "key:list")
    def list_keys(self, request: KeyListRequest) -> Read:
        """The names of all keys under a prefix."""
        keys: Sequence[str]
        if request.limit or request.after:
            wanted = request.prefix, request.separator, request.after, request.limit or None
            index, keys = self._kv.names_page(*wanted)
        else:
            index, keys = self._kv.names(request.prefix, request.separator)
        return Read(index, IndexedKeyList(keys=keys), (("kvp", request.prefix),))
