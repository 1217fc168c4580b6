"""Records of the key/value table: entries and what is remembered of deletions."""

from __future__ import annotations

from collections.abc import Container, Iterator
from operator import itemgetter

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from pyconsul.errors import Refused
from pyconsul.state.entries import ROWS_MAX, Entries
from pyconsul.state.kv import GRAVES_MAX, KVSnapshot
from pyconsul.state.records_kinds import INDEX, KVS, TOMBSTONE, Skipped
from pyconsul.state.records_wire import NIL, Index, IndexRecord, packer, raw_bytes
from pyconsul.structs.kv import DirEntry

NOT_UTF8 = "key that is not UTF-8"
ORPHANED_LOCK = "lock whose session is not restored"

_INDEX = bytes((INDEX,))


# ---------------------------------------------------------------- writing


def records(kv: KVSnapshot, last_index: int) -> Iterator[bytes]:
    """Everything about the table: entries, deletions, indexes."""
    yield from _entries(kv)
    yield from _graves(kv)
    pack = packer().pack
    gone = max((kv.floor, *kv.graves.values(), *kv.trees.values()))
    yield _INDEX + pack({"Key": "kvs", "Value": last_index})
    yield _INDEX + pack({"Key": "tombstones", "Value": gone, "Views": [kv.floor, 0]})


def _entries(kv: KVSnapshot) -> Iterator[bytes]:
    """One record per entry, in the order of their keys."""
    pack = packer().pack
    kind = bytes((KVS,))
    for row in kv.entries:
        yield kind + pack(
            {
                "CreateIndex": row.create_index,
                "Flags": row.flags,
                "Key": row.key,
                "LockIndex": row.lock_index,
                "ModifyIndex": row.modify_index,
                "Session": row.session or "",
                "Value": row.value,
            }
        )


def _graves(kv: KVSnapshot) -> Iterator[bytes]:
    """One record per deleted key and per deleted prefix.

    To Consul both are the same; ``Tree`` is for us. It cannot take one without a key, so the deletion
    of everything stands in an index.
    """
    pack = packer().pack
    kind = bytes((TOMBSTONE,))
    for tree, rows in ((False, kv.graves), (True, kv.trees)):
        for key, index in rows.items():
            if not key:
                yield _INDEX + pack({"Key": "tombstones", "Value": index, "Views": [0, index]})
            else:
                yield kind + pack(
                    {
                        "CreateIndex": 0,
                        "Flags": 0,
                        "Key": key,
                        "LockIndex": 0,
                        "ModifyIndex": index,
                        "Session": "",
                        "Tree": tree,
                        "Value": None,
                    }
                )


# ---------------------------------------------------------------- reading


class _Entry(Struct, rename="pascal", gc=False):
    key: str = ""
    value: Raw = NIL
    flags: int = 0
    session: str = ""
    lock_index: int = 0
    create_index: Index = 0
    modify_index: Index = 0
    tree: bool | UnsetType = UNSET


_decode = msgspec.msgpack.Decoder(_Entry).decode


class KVReader:
    """Gathers the table's records.

    :ivar last_index: for rows that tell no index, as those of old versions of Consul.
    """

    def __init__(self, skipped: Skipped) -> None:
        self.last_index = 0
        self._skipped = skipped
        self._rows = Entries()
        self._last_key = ""
        self._in_order = True
        self._graves: list[tuple[str, int]] = []
        self._trees: list[tuple[str, int]] = []
        self._floor = 0

    def entry(self, record: bytes) -> None:
        """An entry."""
        try:
            row = _decode(record)
        except UnicodeDecodeError:  # HTTP could not name such a key
            self._skipped.add(NOT_UTF8)
            return
        key = row.key
        if not key:
            raise Refused("has no key")
        if key < self._last_key:
            self._in_order = False  # as no program writes them; then packing would be in vain
        self._last_key = key
        self._rows.put(
            DirEntry(
                lock_index=row.lock_index,
                key=key,
                flags=row.flags,
                value=raw_bytes(row.value) or None,
                session=row.session or UNSET,
                create_index=row.create_index or self.last_index,
                modify_index=row.modify_index or self.last_index,
            )
        )
        if self._in_order and not len(self._rows) % ROWS_MAX:
            self._rows.pack()

    def grave(self, record: bytes) -> None:
        """A deletion, of a key or of all below a prefix.

        Consul's do not tell which, so those only raise the floor.
        """
        row = _decode(record)
        if row.tree is UNSET:
            self._floor = max(self._floor, row.modify_index)
            return
        (self._trees if row.tree else self._graves).append((row.key, row.modify_index))

    def index(self, row: IndexRecord) -> None:
        """An index of Consul's."""
        if row.key == "tombstones":
            floor, everything = row.views if len(row.views) == 2 else (row.value, 0)
            self._floor = max(self._floor, floor)
            if everything:
                self._trees.append(("", everything))

    def finish(self, sessions: Container[str]) -> KVSnapshot:
        """The table, without locks that no session would ever let go.

        :param sessions: the ids of all there are.
        """
        rows = self._rows
        for key in [key for key, session in rows.locked() if session not in sessions]:
            row = rows.get(key)
            assert row is not None
            rows.put(replace(row, session=UNSET))
            self._skipped.add(ORPHANED_LOCK)
        return KVSnapshot(rows, self._newest(self._graves), self._newest(self._trees), self._floor)

    def _newest(self, graves: list[tuple[str, int]]) -> dict[str, int]:
        """By key, in the order of their indexes, no more than the table keeps."""
        graves.sort(key=itemgetter(1))
        if len(graves) > GRAVES_MAX:
            self._floor = max(self._floor, graves[-GRAVES_MAX - 1][1])
        return dict(graves[-GRAVES_MAX:])
