"""The key/value table.

What an index stands for (beyond Consul 1.8.7, whose reads of missing keys follow the whole table):

- a key that exists: its ``modify_index``;
- a key that does not: when it was last deleted;
- a prefix: the newest of its entries and of its deletions.

Deletions are remembered as *graves*, one per key or one for a whole deleted prefix, so that a
prefix's index keeps growing when entries go. Graves are collected by a log command, or when there
are too many; ``_floor`` is the newest collected and stands for all that is forgotten. So an index
never falls, and a read that nothing touched keeps its index whatever its neighbours do, apart from
one step when graves are collected.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import NamedTuple

from msgspec import UNSET, Struct
from msgspec.structs import replace
from sortedcontainers import SortedList

from pyconsul.errors import PyconsulError, Refused
from pyconsul.state.entries import Entries, Stretch
from pyconsul.state.uuids import session_id_fault
from pyconsul.state.watches import Watches
from pyconsul.structs.kv import DirEntry

GRAVES_MAX = 32_768
GRAVES_COLLECTED = 1_024
RECENT_MAX = 8_192

_modified = attrgetter("modify_index")
_LAST = 0x10FFFF


class KVSnapshot(Struct):
    """All of the table: rows and what is known of deletions."""

    entries: Entries
    graves: dict[str, int]
    trees: dict[str, int]
    floor: int


def after_prefix(prefix: str) -> str | None:
    """The smallest text greater than all that start with ``prefix``; ``None``: there is none."""
    while prefix:
        last = ord(prefix[-1])
        if last < _LAST:
            return prefix[:-1] + chr(last + 1)
        prefix = prefix[:-1]
    return None


class KVChanges(NamedTuple):
    """What became of the entries under a prefix.

    :ivar entries: those that came or changed. :ivar gone: keys of those that went one by one.
    :ivar gone_prefixes: all entries under these went before any of ``entries`` came.
    """

    entries: list[DirEntry]
    gone: list[str]
    gone_prefixes: list[str]


class KVTable:
    """Entries by key, and in order.

    Rows are replaced, never changed, so that a snapshot may hold old ones. Each method that
    writes takes the log index of the command, and the watches are told of each key concerned.

    :ivar session_exists: whether a session of that id lives; the session table provides it.
    :ivar discard: called with entries that are gone, many perhaps, for whoever wants to free them slowly.
    """

    def __init__(self, watches: Watches) -> None:
        self._watches = watches
        self._entries = Entries()
        self._graves: dict[str, int] = {}
        """In the order of their indexes."""
        self._grave_keys = SortedList()
        self._trees: dict[str, int] = {}
        self._tree_keys = SortedList()
        self._floor = 0
        self._held: dict[str, dict[str, None]] = {}
        """Keys locked by each session."""
        self._recent: deque[tuple[int, str]] | None = None
        """The last writes, index and key, noted from when somebody first asked for changes."""
        self._recent_since = 0
        self.session_exists: Callable[[str], bool] = lambda session: False
        self.discard: Callable[[Entries], None] = lambda entries: None

    def __len__(self) -> int:
        return len(self._entries)

    # ------------------------------------------------------------ reading

    def get(self, key: str) -> tuple[int, DirEntry | None]:
        """The index to wait on, and the entry if there is one."""
        row = self._entries.get(key)
        return (self._absent_index(key), None) if row is None else (row.modify_index, row)

    def row(self, key: str) -> DirEntry | None:
        """The entry, if there is one."""
        return self._entries.get(key)

    def under(self, prefix: str) -> tuple[int, list[DirEntry]]:
        """All entries whose keys start with ``prefix``, in the order of their keys."""
        found = [*self._entries.between(prefix, after_prefix(prefix))]
        return max(self._gone_index(prefix), max(map(_modified, found), default=0)), found

    def listing(self, prefix: str) -> tuple[int, Sequence[DirEntry]]:
        """The same, but many come as a ``Stretch``."""
        found = self._entries.stretch(prefix, after_prefix(prefix))
        if isinstance(found, Stretch):
            newest = self._entries.newest_between(prefix, after_prefix(prefix))
        else:
            newest = max(map(_modified, found), default=0)
        return max(self._gone_index(prefix), newest), found

    def names(self, prefix: str, separator: str) -> tuple[int, Sequence[str]]:
        """Key names, each cut after the first ``separator`` behind the prefix, without repeats."""
        if not separator:
            index, found = self.listing(prefix)
            return index, found.keys() if isinstance(found, Stretch) else [row.key for row in found]
        newest = self._entries.newest_between(prefix, after_prefix(prefix))
        names: list[str] = []
        start: str | None = prefix
        while start is not None:
            start = self._cut_names(prefix, separator, start, names)
        return max(self._gone_index(prefix), newest), names

    def _cut_names(self, prefix: str, separator: str, start: str, names: list[str]) -> str | None:
        """Gather ``names`` from the key ``start`` on, as far as there are none to pass over.

        Returns where to go on: what lies behind a cut name that many keys begin with.
        """
        size = len(prefix)
        for found in self._entries.lists_between(start, after_prefix(prefix)):
            last, name = found[-1].key, ""
            for row in found:
                key = row.key
                if name and key.startswith(name):
                    continue
                at = key.find(separator, size)
                if at < 0:
                    names.append(key)
                    continue
                name = key[: at + len(separator)]
                names.append(name)
                if last.startswith(name):
                    return after_prefix(name)
        return None

    def page(self, prefix: str, after: str, limit: int | None) -> tuple[int, list[DirEntry]]:
        """The first ``limit`` entries, or all, under ``prefix`` behind the key ``after``, and their index.

        It moves when one of these changes, when one comes between them, and when any under ``prefix``
        goes.
        """
        found = [*islice(_behind(self._entries, prefix, after), limit)]
        return max(self._gone_index(prefix), max(map(_modified, found), default=0)), found

    def names_page(self, prefix: str, separator: str, after: str, limit: int | None) -> tuple[int, list[str]]:
        """As ``page``, of names as ``names`` gives them; what a cut name stands for is skipped at once."""
        entries = self._entries
        index, start = 0, len(prefix)
        names: list[str] = []
        cut = after.find(separator, start) if separator else -1
        if cut >= 0 and cut + len(separator) == len(after):
            left = _beyond(entries, prefix, after)
        else:
            left = _behind(entries, prefix, after)
        while len(names) != limit and (row := next(left, None)) is not None:
            index = max(index, row.modify_index)
            name = row.key
            at = name.find(separator, start) if separator else -1
            if at >= 0:
                name = name[: at + len(separator)]
                left = _beyond(entries, prefix, name)
            names.append(name)
        return max(self._gone_index(prefix), index), names

    def changes(self, prefix: str, since: int) -> KVChanges | None:
        """What became of the entries under ``prefix`` after ``since``; ``None``: not known any more."""
        if since < self._floor:
            return None
        gone: list[str] = []
        for key in reversed(self._graves):
            if self._graves[key] <= since:
                break
            if key.startswith(prefix):
                gone.append(key)
        trees: list[str] = []
        for tree in reversed(self._trees):
            if self._trees[tree] <= since:
                break
            if tree.startswith(prefix):
                trees.append(tree)
            elif prefix.startswith(tree):
                trees.append(prefix)
        return KVChanges(self._written(prefix, since), sorted(gone), sorted(set(trees)))

    def _written(self, prefix: str, since: int) -> list[DirEntry]:
        """The entries under ``prefix`` that were written after ``since`` and are there."""
        entries = self._entries
        if self._recent is None:
            self._recent = deque(maxlen=RECENT_MAX)
            self._recent_since = entries.newest_between("", None)
        if since < self._recent_since:
            return [row for row in self.under(prefix)[1] if row.modify_index > since]
        found: dict[str, DirEntry] = {}
        for index, key in reversed(self._recent):
            if index <= since:
                break
            if key.startswith(prefix) and (row := entries.get(key)) is not None:
                found[key] = row
        return [row for _, row in sorted(found.items())]

    def held_by(self, session: str) -> list[str]:
        """The keys that ``session`` has locked, in order."""
        return sorted(self._held.get(session, ()))

    def oldest_grave(self) -> int | None:
        """The index of the oldest deletion that is remembered."""
        oldest = (next(iter(graves.values())) for graves in (self._graves, self._trees) if graves)
        return min(oldest, default=None)

    def _absent_index(self, key: str) -> int:
        return max(self._floor, self._graves.get(key, 0), self._covering_index(key))

    def _gone_index(self, prefix: str) -> int:
        """The newest deletion under ``prefix``."""
        index = max(self._floor, self._covering_index(prefix))
        if self._graves:
            graves = self._graves
            index = max(index, max((graves[key] for key in _under(self._grave_keys, prefix)), default=0))
        if self._trees:
            trees = self._trees
            index = max(index, max((trees[key] for key in _under(self._tree_keys, prefix)), default=0))
        return index

    def _covering_index(self, text: str) -> int:
        """The newest deletion of a whole prefix that ``text`` lies under."""
        if not self._trees:
            return 0
        trees = self._trees
        lengths = {len(tree) for tree in trees} if len(trees) < len(text) else range(len(text) + 1)
        return max((trees.get(text[:length], 0) for length in lengths), default=0)

    # ------------------------------------------------------------ writing

    def set(self, index: int, key: str, value: bytes | None, flags: int) -> bool:
        """Write an entry; a lock on it stays, but its count starts again, as with Consul. Always done."""
        self.write(index, key, value, flags)
        return True

    def write(self, index: int, key: str, value: bytes | None, flags: int) -> DirEntry:
        """``set``; what there is then."""
        old = self._entries.get(key)
        if old is None:
            return self._insert(index, key, value, flags, 0, "")
        if old.value == (value or None) and old.flags == flags and not old.lock_index:
            return old
        row = DirEntry(
            key=old.key,
            flags=flags,
            value=value or None,
            session=old.session,
            create_index=old.create_index,
            modify_index=index,
        )
        self._put(row)
        return row

    def cas(self, index: int, key: str, value: bytes | None, flags: int, expected: int) -> bool:
        """``set`` if the entry was last modified at ``expected``; 0: if there is none."""
        old = self._entries.get(key)
        if (0 if old is None else old.modify_index) != expected:
            return False
        return self.set(index, key, value, flags)

    def delete(self, index: int, key: str) -> bool:
        """Remove an entry, if there is one. Always done."""
        row = self._entries.pop(key)
        if row is not None:
            self._let_go(row)
            self._graves[key] = index
            self._grave_keys.add(key)
            self._watches.touch_entry(key)
            if len(self._graves) > GRAVES_MAX:
                self._collect([*islice(self._graves, GRAVES_COLLECTED)])
        return True

    def delete_cas(self, index: int, key: str, expected: int) -> bool:
        """Remove an entry that was last modified at ``expected``; done if there is none."""
        row = self._entries.get(key)
        return row is None or (row.modify_index == expected and self.delete(index, key))

    def delete_tree(self, index: int, prefix: str) -> bool:
        """Remove every entry whose key starts with ``prefix``. Always done."""
        gone = self._entries.cut(prefix, after_prefix(prefix))
        if not gone:
            return True
        self._let_all_go(gone, prefix)
        self._watches.touch_tree(prefix, gone)
        self.discard(gone)
        if prefix not in self._trees:
            self._tree_keys.add(prefix)
        self._trees.pop(prefix, None)
        self._trees[prefix] = index
        if len(self._trees) > GRAVES_MAX:
            self._collect_trees([*islice(self._trees, GRAVES_COLLECTED)])
        return True

    def lock(
        self, index: int, key: str, value: bytes | None, flags: int, session: str
    ) -> bool | PyconsulError:
        """Write an entry and hold it, unless another session does."""
        refusal = self.lock_refusal(session)
        if refusal is not None:
            return refusal
        old = self._entries.get(key)
        if old is None:
            self._insert(index, key, value, flags, 1, session)
            return True
        if old.session and old.session != session:
            return False
        held = old.session == session
        self._change(old, index, value, flags, old.lock_index + (not held), session)
        return True

    def lock_refusal(self, session: str) -> PyconsulError | None:
        """Why ``session`` cannot lock anything."""
        if not session:
            return Refused("missing session")
        if not self.session_exists(session):
            return Refused(session_id_fault(session) or f'invalid session "{session}"')
        return None

    def unlock(
        self, index: int, key: str, value: bytes | None, flags: int, session: str
    ) -> bool | PyconsulError:
        """Write an entry and let it go, if ``session`` holds it."""
        if not session:
            return Refused("missing session")
        old = self._entries.get(key)
        if old is None or old.session != session:
            return False
        self._change(old, index, value, flags, old.lock_index, "")
        return True

    def release(self, index: int, session: str, delete: bool) -> list[str]:
        """A session has ended: let its keys go, or delete them. Returns them."""
        keys = self.held_by(session)
        for key in keys:
            if delete:
                self.delete(index, key)
            else:
                old = self._entries.get(key)
                assert old is not None  # it is held
                self._change(old, index, old.value, old.flags, old.lock_index, "")
        return keys

    def collect_graves(self, index: int) -> None:
        """Forget deletions up to ``index``."""
        self._collect([key for key, at in self._graves.items() if at <= index])
        self._collect_trees([prefix for prefix, at in self._trees.items() if at <= index])

    # ------------------------------------------------------------ the parts

    def _insert(
        self, index: int, key: str, value: bytes | None, flags: int, lock_index: int, session: str
    ) -> DirEntry:
        if self._graves and self._graves.pop(key, None) is not None:
            self._grave_keys.remove(key)
        if session:
            self._held.setdefault(session, {})[key] = None
        row = DirEntry(
            lock_index=lock_index,
            key=key,
            flags=flags,
            value=value or None,
            session=session or UNSET,
            create_index=index,
            modify_index=index,
        )
        self._put(row)
        return row

    def _change(
        self, old: DirEntry, index: int, value: bytes | None, flags: int, lock_index: int, session: str
    ) -> None:
        """Put a new row over ``old``, unless they would say the same."""
        row = replace(old, lock_index=lock_index, flags=flags, value=value or None, session=session or UNSET)
        if row == old:
            return
        if row.session != old.session:
            self._let_go(old)
            if session:
                self._held.setdefault(session, {})[old.key] = None
        self._put(replace(row, modify_index=index))

    def _put(self, row: DirEntry) -> None:
        self._entries.put(row)
        if self._recent is not None:
            if len(self._recent) == RECENT_MAX:
                self._recent_since = self._recent[0][0]
            self._recent.append((row.modify_index, row.key))
        self._watches.touch_entry(row.key)

    def _let_go(self, row: DirEntry) -> None:
        """``row`` is no longer held by its session, if it was."""
        if row.session:
            held = self._held[row.session]
            del held[row.key]
            if not held:
                del self._held[row.session]

    def _let_all_go(self, gone: Entries, prefix: str) -> None:
        """Those that were held of ``gone``, which were all under ``prefix``, are no longer."""
        if len(gone) <= len(self._held):
            for row in gone:
                self._let_go(row)
            return
        for session, keys in [*self._held.items()]:
            left = {key: None for key in keys if not key.startswith(prefix)}
            if left:
                self._held[session] = left
            else:
                del self._held[session]

    def _collect(self, keys: list[str]) -> None:
        for key in keys:
            self._floor = max(self._floor, self._graves.pop(key))
            self._grave_keys.remove(key)

    def _collect_trees(self, prefixes: list[str]) -> None:
        for prefix in prefixes:
            self._floor = max(self._floor, self._trees.pop(prefix))
            self._tree_keys.remove(prefix)

    # ------------------------------------------------------------ snapshots

    def excerpt(self, keys: Iterable[str]) -> KVSnapshot:
        """The entries of ``keys`` alone, in that order, with nothing about deletions."""
        found = map(self._entries.get, keys)
        return KVSnapshot(Entries(row for row in found if row is not None), {}, {}, 0)

    def snapshot(self) -> KVSnapshot:
        """What is here now; later writes do not show in it."""
        return KVSnapshot(self._entries.share(), dict(self._graves), dict(self._trees), self._floor)

    def restore(self, snapshot: KVSnapshot) -> None:
        """Become what the snapshot holds; watchers are the caller's affair."""
        before, self._entries = self._entries, snapshot.entries.share()
        self.discard(before)
        self._held = {}
        for key, session in self._entries.locked():
            self._held.setdefault(session, {})[key] = None
        self._graves, self._trees, self._floor = dict(snapshot.graves), dict(snapshot.trees), snapshot.floor
        self._grave_keys, self._tree_keys = SortedList(self._graves), SortedList(self._trees)
        self._recent = None


def _behind(entries: Entries, prefix: str, after: str) -> Iterator[DirEntry]:
    """Those whose keys start with ``prefix`` and come behind ``after``."""
    return entries.between(prefix if after < prefix else after + "\0", after_prefix(prefix))


def _beyond(entries: Entries, prefix: str, name: str) -> Iterator[DirEntry]:
    """Those under ``prefix`` whose keys come behind all that start with ``name``."""
    beyond = after_prefix(name)
    return iter(()) if beyond is None else entries.between(max(prefix, beyond), after_prefix(prefix))


def _under(keys: SortedList, prefix: str) -> Iterator[str]:
    """Those of the sorted ``keys`` that start with ``prefix``."""
    found: Iterator[str] = keys.irange(prefix, after_prefix(prefix), (True, False))
    return found
