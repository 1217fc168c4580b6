"""The rows of the key/value table, in the order of their keys.

They lie in *blocks*: dicts of neighbouring keys, each behind a *fence*, the least text that belongs
into it. Compared with one dict of everything and a sorted list of its keys:

- nothing ever takes long: a dict of a million entries takes 100 ms to grow, a full block is split in 0.1 ms;
- ``share`` copies the list of blocks alone, and a block is copied when it is next written. So a snapshot
  costs no time in which the server does not serve;
- a block that comes out of a snapshot stays packed until somebody looks into it, which makes a start fast,
  and goes into the next snapshot as it is;
- whatever goes by prefix goes by blocks;
- nothing of this is looked at by the garbage collector: a dict of texts and ``gc=False`` rows is none of
  its business, while a list of a million references takes it 100 ms each time.

How rows are spread over the blocks follows from what was written and nothing else, and snapshots tell
it. So servers that applied the same log write the same bytes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeAlias

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import replace

from pyconsul.structs.kv import DirEntry
from pyconsul.structs.lists import Lists

ROWS_MAX = 682
"""In a block: a dict of so many has 1,024 places, and would take twice the memory with one more."""
PACK_BYTES = 256 * 1024
"""What the values in a pack, or in a list of a ``Stretch``, may have in sum; one alone may be larger."""
STRETCH_ROWS_MIN = 1_024
"""Fewer rows that are not large, either, are as well looked up at once."""

_Rows: TypeAlias = "dict[str, DirEntry]"


class Pack(Struct, frozen=True, gc=False, omit_defaults=True):
    """Rows of one block as snapshots hold them, in the order of their keys.

    :ivar fence: of the block. :ivar count: of the rows. :ivar newest: the highest index among them.
    :ivar columns: MessagePack of ``_Columns``.
    :ivar locked: the session that holds it, by key.
    :ivar goes_on: these rows are of the block that the pack before is of.
    """

    fence: str
    count: int
    newest: int
    columns: bytes
    locked: dict[str, str] = {}
    goes_on: bool = False


Part: TypeAlias = Pack | list[DirEntry]
"""What ``Entries.add`` takes. Snapshots of the first format have lists."""


class _Columns(Struct, array_like=True, gc=False):
    """Rows, column by column: half as large as row by row, and sooner read and written.

    :ivar flags, locks: those that are not 0, by the places of their rows. :ivar sessions: likewise.
    """

    keys: list[str]
    values: list[bytes | None]
    created: list[int]
    modified: list[int]
    flags: dict[int, int]
    locks: dict[int, int]
    sessions: dict[int, str]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Columns).decode


class _Block(Struct, gc=False):
    """Rows of neighbouring keys.

    :ivar owner: of whose ``Entries`` it is; anybody else's may only read it. ``None``: nobody's any more.
    :ivar newest: no row that it has had has a higher index.
    :ivar packs: what has the rows as long as nobody looked for them, else empty.
    :ivar in_order: whether ``rows`` are in the order of their keys.
    """

    owner: object
    rows: _Rows
    newest: int = 0
    packs: tuple[Pack, ...] = ()
    in_order: bool = True

    def __len__(self) -> int:
        return len(self.rows) or sum([pack.count for pack in self.packs])

    def unpack(self) -> _Rows:
        """The rows; they stay at hand."""
        if self.packs:
            self.rows, self.packs = _unpacked(self.packs), ()
        return self.rows

    def ordered(self) -> _Rows:
        """The same, in the order of their keys."""
        rows = self.unpack()
        if not self.in_order:
            rows = self.rows = dict(sorted(rows.items()))
            self.in_order = True
        return rows


class Entries:
    """Rows by key, and in order. Rows are replaced, never changed."""

    part_type = Part

    def __init__(self, rows: Iterable[DirEntry] = ()) -> None:
        self._owner = object()
        self._fences = [""]
        self._blocks = [_Block(self._owner, {})]
        self._size = 0
        for row in rows:
            self.put(row)

    def __len__(self) -> int:
        return self._size

    def __contains__(self, key: object) -> bool:
        return self.get(key) is not None  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entries) and len(self) == len(other) and [*self] == [*other]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self._size} entries in {len(self._blocks)} blocks>"

    # ------------------------------------------------------------ reading

    def get(self, key: str) -> DirEntry | None:
        """The row of ``key``, if there is one."""
        block = self._blocks[bisect_right(self._fences, key) - 1]
        rows = block.unpack() if block.packs else block.rows
        return rows.get(key)

    def __iter__(self) -> Iterator[DirEntry]:
        """All rows in order. Blocks that are packed stay so."""
        for block in self._blocks:
            rows = _unpacked(block.packs) if block.packs else block.ordered()
            yield from rows.values()

    def between(self, start: str, end: str | None) -> Iterator[DirEntry]:
        """The rows from key ``start`` on, up to before ``end`` if that is given, in order."""
        return chain.from_iterable(self.lists_between(start, end))

    def lists_between(self, start: str, end: str | None) -> Iterator[list[DirEntry]]:
        """The same, in lists, of which none is empty."""
        for block, is_whole in self._blocks_between(start, end):
            rows = block.ordered()
            found = [*rows.values()] if is_whole else _within(rows, start, end)
            if found:
                yield found

    def stretch(self, start: str, end: str | None) -> Sequence[DirEntry]:
        """The same, whatever becomes of these entries: a list of few rows, else a ``Stretch``."""
        parts: list[_Block | list[DirEntry]] = []
        for block, is_whole in self._blocks_between(start, end):
            part = block if is_whole else _within(block.ordered(), start, end)
            if len(part):
                parts.append(part)
        if sum(map(len, parts)) <= STRETCH_ROWS_MIN:
            rows = [*chain.from_iterable(map(_rows, parts))]
            if sum([len(row.value or b"") for row in rows]) <= PACK_BYTES:
                return rows
        return Stretch(parts)

    def _blocks_between(self, start: str, end: str | None) -> Iterator[tuple[_Block, bool]]:
        """Blocks that may have such rows, and whether they can have no others."""
        fences, blocks = self._fences, self._blocks
        at = bisect_right(fences, start) - 1
        while at < len(blocks) and (end is None or fences[at] < end):
            ends_within = end is None or (at + 1 < len(blocks) and fences[at + 1] <= end)
            yield blocks[at], ends_within and start <= fences[at]
            at += 1

    def newest_between(self, start: str, end: str | None) -> int:
        """The highest index of such rows, or that of one which was such; 0 if there was none."""
        newest = 0
        for block, is_whole in self._blocks_between(start, end):
            if block.newest > newest:
                rows = () if is_whole else _within(block.ordered(), start, end)
                newest = block.newest if is_whole else max(newest, _newest(rows))
        return newest

    def has_under(self, prefix: str) -> bool:
        """Whether any key starts with ``prefix``."""
        row = next(self.between(prefix, None), None)
        return row is not None and row.key.startswith(prefix)

    def locked(self) -> Iterator[tuple[str, str]]:
        """Key and session of each row that a session holds, in the order of the keys."""
        for block in self._blocks:
            if block.packs:
                for pack in block.packs:
                    yield from pack.locked.items()
            else:
                yield from [(row.key, row.session) for row in block.ordered().values() if row.session]

    # ------------------------------------------------------------ writing

    def put(self, row: DirEntry) -> None:
        """Add a row, or put it over the one of its key."""
        key = row.key
        at = bisect_right(self._fences, key) - 1
        block = self._blocks[at]
        if block.owner is not self._owner or block.packs:
            block = self._own(at)
        rows = block.rows
        if key not in rows:
            if len(rows) >= ROWS_MAX:
                self._split(at, key)
                self.put(row)
                return
            if block.in_order and rows and key < next(reversed(rows)):
                block.in_order = False
            self._size += 1
        rows[key] = row
        if row.modify_index > block.newest:
            block.newest = row.modify_index

    def pop(self, key: str) -> DirEntry | None:
        """Remove a row and return it, if there is one."""
        if self.get(key) is None:
            return None
        at = bisect_right(self._fences, key) - 1
        block = self._blocks[at]
        if block.owner is not self._owner:
            block = self._own(at)
        self._size -= 1
        row = block.rows.pop(key)
        if not block.rows:
            self._drop(at, at + 1)
        return row

    def cut(self, start: str, end: str | None) -> Entries:
        """Remove the rows from key ``start`` on, up to before ``end`` if that is given, and return them."""
        gone = Entries()
        fences, blocks = self._fences, self._blocks
        low = bisect_right(fences, start) - 1
        high = len(blocks) if end is None else bisect_left(fences, end)
        first, last = low, high
        for at in range(low, high):
            if at not in (low, high - 1) or not self._cut_block(at, start, end, gone):
                gone._append(fences[at], blocks[at])
            elif at == low:
                first += 1
            else:
                last -= 1
        self._drop(first, last)
        self._size -= len(gone)
        return gone

    def _cut_block(self, at: int, start: str, end: str | None, gone: Entries) -> bool:
        """Move rows of one block to ``gone``; whether others stay."""
        rows = self._blocks[at].ordered()
        keys = [*rows]
        low = bisect_left(keys, start)
        high = len(keys) if end is None else bisect_left(keys, end)
        if high - low == len(keys):
            return False
        if low < high:
            rows = self._own(at).rows
            block = _Block(gone._owner, {key: rows.pop(key) for key in keys[low:high]})
            block.newest = _newest(block.rows.values())
            gone._append(keys[low], block)
        return True

    def _own(self, at: int) -> _Block:
        """The block, unpacked, and ours alone."""
        block = self._blocks[at]
        rows = block.unpack()
        if block.owner is not self._owner:
            block = self._blocks[at] = _Block(self._owner, rows.copy(), block.newest, (), block.in_order)
        return block

    def _split(self, at: int, key: str) -> None:
        """Make room for ``key`` in a full block.

        Who writes keys in their order gets blocks that are full rather than half full.
        """
        block = self._blocks[at]
        rows = block.ordered()
        if at + 1 == len(self._blocks) and next(reversed(rows)) < key:
            fence, right = key, {}
        else:
            items = [*rows.items()]
            half = len(items) // 2
            fence, right = items[half][0], dict(items[half:])
            block.rows = dict(items[:half])
            block.newest = _newest(block.rows.values())
        self._fences.insert(at + 1, fence)
        self._blocks.insert(at + 1, _Block(self._owner, right, _newest(right.values())))

    def _drop(self, start: int, end: int) -> None:
        """Remove blocks; the one before the first of them, or behind the last, takes their place."""
        del self._blocks[start:end], self._fences[start:end]
        if not self._blocks:
            self._blocks.append(_Block(self._owner, {}))
            self._fences.append("")
        self._fences[0] = ""

    # ------------------------------------------------------------ as a whole

    def share(self) -> Entries:
        """The same rows, whatever becomes of these."""
        other = Entries()
        other._fences, other._blocks = self._fences.copy(), self._blocks.copy()
        other._size = self._size
        self._owner = object()
        return other

    def crumble(self) -> Iterator[int]:
        """Give everything up, a block at a time: to free a million rows takes 200 ms. How many went."""
        while self._blocks:
            yield len(self._blocks.pop())

    def pack(self) -> None:
        """Pack full blocks, from the end on up to one that is packed: for who adds many rows in order.

        It takes half the memory, and whoever is done with these rows has them freed in no time.
        """
        for at in range(len(self._blocks) - 2, -1, -1):
            block = self._blocks[at]
            if block.packs:
                return
            packs = tuple(_packed(self._fences[at], [*block.ordered().values()]))
            self._blocks[at] = _Block(self._owner, {}, block.newest, packs)

    def parts(self) -> Iterator[tuple[int, Pack]]:
        """What ``add`` makes the same of, each with how many rows are in it."""
        for fence, block in zip(self._fences, self._blocks, strict=True):
            for pack in block.packs or _packed(fence, [*block.ordered().values()]):
                yield pack.count, pack

    def add(self, part: Part) -> None:
        """Take over what ``parts`` gave, in the same order."""
        if isinstance(part, Pack):
            self._append(part.fence, _Block(self._owner, {}, part.newest, (part,)), part.goes_on)
        else:
            for row in part:
                self.put(row)

    def _append(self, fence: str, block: _Block, goes_on: bool = False) -> None:
        """Add a block behind all others."""
        if goes_on:
            last = self._blocks[-1]
            last.packs += block.packs
            last.newest = max(last.newest, block.newest)
        elif self._size:
            self._fences.append(fence)
            self._blocks.append(block)
        else:
            self._blocks[0] = block
        self._size += len(block)


class Stretch(Lists[DirEntry]):
    """Neighbouring rows as they were when this was made.

    It holds blocks, so that it takes no longer to make one of a million rows than of a thousand. Nobody
    may write to them from then on.
    """

    __slots__ = ("_parts",)

    def __init__(self, parts: list[_Block | list[DirEntry]]) -> None:
        self._parts = parts
        for part in parts:
            if isinstance(part, _Block):
                part.owner = None

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def lists(self) -> Iterator[list[DirEntry]]:
        """See ``Lists``."""
        for part in self._parts:
            rows = _rows(part)
            for start, end in _cuts(rows):
                yield rows[start:end]

    def keys(self) -> Lists[str]:
        """The keys alone."""
        return _Keys(self)


class _Keys(Lists[str]):
    """The keys of a stretch."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Stretch) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def lists(self) -> Iterator[list[str]]:
        """See ``Lists``."""
        for rows in self._rows.lists():
            yield [row.key for row in rows]


def _rows(part: _Block | list[DirEntry]) -> list[DirEntry]:
    return [*part.ordered().values()] if isinstance(part, _Block) else part


def _within(rows: _Rows, start: str, end: str | None) -> list[DirEntry]:
    """Those of ``rows``, which are in order, from ``start`` on and before ``end``."""
    keys = [*rows]
    high = len(keys) if end is None else bisect_left(keys, end)
    return [rows[key] for key in keys[bisect_left(keys, start) : high]]


def _newest(rows: Iterable[DirEntry]) -> int:
    return max((row.modify_index for row in rows), default=0)


# ---------------------------------------------------------------- packs


def _packed(fence: str, rows: list[DirEntry]) -> Iterator[Pack]:
    """The rows of one block, in order, in as few packs as ``PACK_BYTES`` allows."""
    for start, end in _cuts(rows):
        yield _pack(fence, rows[start:end], start > 0)


def _cuts(rows: list[DirEntry]) -> Iterator[tuple[int, int]]:
    """Where to cut ``rows`` so that the values of each part have no more than ``PACK_BYTES``."""
    sizes = [len(row.value or b"") for row in rows]
    start = size = 0
    if sum(sizes) > PACK_BYTES:
        for at, more in enumerate(sizes):
            if size and size + more > PACK_BYTES:
                yield start, at
                start, size = at, 0
            size += more
    if start < len(rows):
        yield start, len(rows)


def _pack(fence: str, rows: Sequence[DirEntry], goes_on: bool) -> Pack:
    modified = [row.modify_index for row in rows]
    sessions = {at: row.session for at, row in enumerate(rows) if row.session}
    columns = _Columns(
        [row.key for row in rows],
        [row.value for row in rows],
        [row.create_index for row in rows],
        modified,
        {at: row.flags for at, row in enumerate(rows) if row.flags},
        {at: row.lock_index for at, row in enumerate(rows) if row.lock_index},
        sessions,
    )
    locked = {rows[at].key: session for at, session in sessions.items()}
    return Pack(fence, len(rows), max(modified), _encode(columns), locked, goes_on)


def _unpacked(packs: tuple[Pack, ...]) -> _Rows:
    found: _Rows = {}
    for pack in packs:
        columns = _decode(pack.columns)
        keys = columns.keys
        for key, value, created, modified in zip(
            keys, columns.values, columns.created, columns.modified, strict=True
        ):
            # Two equal indexes need not be two objects.
            index = created if created == modified else modified
            found[key] = DirEntry(key=key, value=value, create_index=created, modify_index=index)
        flags, locks, sessions = columns.flags, columns.locks, columns.sessions
        for at in {*flags, *locks, *sessions}:
            key = keys[at]
            found[key] = replace(
                found[key],
                flags=flags.get(at, 0),
                lock_index=locks.get(at, 0),
                session=sessions.get(at, UNSET),
            )
    return found
