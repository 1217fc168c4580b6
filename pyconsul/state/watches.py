"""Who waits for a change of what.

A watch key names what a read has looked at:

========================  ==========================================================
key                       changes with
========================  ==========================================================
``("kv", key)``           one entry, also its creation and deletion
``("kvp", prefix)``       any entry whose key starts so
``("nodes",)``            the rows of the node table
``("services",)``         names and tags of services
``("node", name)``        a node's row and its services
``("node-checks", n)``    the checks of a node
``("service", name)``     a service's instances and the rows of their nodes
``("health", name)``      the same and all checks that tell their health
``("connect", name)``, ``("connect-health", name)``: the same for a service's proxies
``("checks", name)``      the checks that name a service
``("state", status)``     the checks in a state; ``any``: all checks
``("sessions",)``         which sessions there are
``("session", id)``       one session, also its creation and end
``("node-sessions", n)``  the sessions of a node
``("coordinates",)``      where nodes are
``("coordinate", name)``  where a node is
``("queries",)``          which prepared queries there are, and what they say
``("query", id)``         one prepared query
``("autopilot",)``        the configuration of Autopilot
========================  ==========================================================

Node and service names are in lower case.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from pyconsul.interfaces import Watcher
    from pyconsul.state.entries import Entries

_Bucket: TypeAlias = "dict[Watcher, Sequence[Hashable]]"
"""Watchers of one key, each with all the keys that it watches."""

KEY, PREFIX = "kv", "kvp"


class Watches:
    """The registry. Waking is one-shot: whoever is woken is forgotten on all its keys.

    While a command is applied, ``touch*`` note what changes; ``fire`` then wakes each watcher
    concerned once. Both cost next to nothing when nobody watches.

    :ivar waking: how many are woken by the ``fire`` that goes on.
    :ivar on_failure: is told of the failure of a watcher, which is forgotten; without it the first failure
        is raised once all are woken. An agent sets it, for what a watcher does wrong must not come out of
        whatever changed the store: that would end this server's part in consensus.
    """

    __slots__ = (
        "_batch", "_firing", "_keys", "_lengths", "_others", "_prefixes", "on_failure", "pending", "waking",
    )  # fmt: skip

    def __init__(self) -> None:
        self._keys: dict[str, _Bucket] = {}
        self._prefixes: dict[str, _Bucket] = {}
        self._lengths: dict[int, int] = {}
        """How many watched prefixes there are of each length."""
        self._others: dict[Hashable, _Bucket] = {}
        self.pending: _Bucket = {}
        """Whom ``fire`` has to wake."""
        self._batch: _Bucket = {}
        self._firing = False
        self.waking = 0
        self.on_failure: Callable[[Exception], None] | None = None

    def __len__(self) -> int:
        """How many watchers wait on how many keys, in sum; for tests and metrics."""
        return sum(
            len(bucket) for table in (self._keys, self._prefixes, self._others) for bucket in table.values()
        )

    # ------------------------------------------------------------ waiting

    def register(self, keys: Sequence[Hashable], watcher: Watcher) -> None:
        """Wake ``watcher`` once any of ``keys`` changes. The same keys are needed to cancel."""
        for key in keys:
            table, name = self._place(key)
            bucket = table.get(name)
            if bucket is None:
                bucket = table[name] = {}
                if table is self._prefixes:
                    self._lengths[len(name)] = self._lengths.get(len(name), 0) + 1
            bucket[watcher] = keys

    def cancel(self, keys: Sequence[Hashable], watcher: Watcher) -> None:
        """Forget ``watcher``; it is not woken any more, even if a change was already noted."""
        self.pending.pop(watcher, None)
        self._batch.pop(watcher, None)
        self._forget(keys, watcher)

    def _forget(self, keys: Sequence[Hashable], watcher: Watcher) -> None:
        for key in keys:
            table, name = self._place(key)
            bucket = table.get(name)
            if bucket is not None and bucket.pop(watcher, None) is not None and not bucket:
                self._drop(table, name)

    def _place(self, key: Any) -> tuple[dict[Any, _Bucket], Any]:
        if type(key) is tuple and len(key) == 2:
            if key[0] == KEY:
                return self._keys, key[1]
            if key[0] == PREFIX:
                return self._prefixes, key[1]
        return self._others, key

    def _drop(self, table: dict[Any, _Bucket], name: Any) -> None:
        del table[name]
        if table is self._prefixes:
            self._shorten(len(name))

    def _shorten(self, length: int) -> None:
        left = self._lengths[length] - 1
        if left:
            self._lengths[length] = left
        else:
            del self._lengths[length]

    # ------------------------------------------------------------ changing

    def touch_entry(self, key: str) -> None:
        """The entry ``key`` of the key/value table changes."""
        if self._keys:
            bucket = self._keys.pop(key, None)
            if bucket is not None:
                self.pending.update(bucket)
        if self._prefixes:
            size = len(key)
            for length in [n for n in self._lengths if n <= size]:
                bucket = self._prefixes.pop(key[:length], None)
                if bucket is not None:
                    self._shorten(length)
                    self.pending.update(bucket)

    def touch_tree(self, prefix: str, gone: Entries) -> None:
        """The entries ``gone``, which were all that started with ``prefix``, go at once."""
        watched = len(self._keys) + len(self._prefixes)
        if len(gone) <= watched:
            for row in gone:
                self.touch_entry(row.key)
        elif watched:
            for key in [key for key in self._keys if key.startswith(prefix) and key in gone]:
                self.pending.update(self._keys.pop(key))
            for name in [name for name in self._prefixes if _are_concerned(name, prefix, gone)]:
                self.pending.update(self._prefixes[name])
                self._drop(self._prefixes, name)

    def touch(self, key: Hashable) -> None:
        """What ``key`` names changes; not for keys of the key/value table."""
        if self._others:
            bucket = self._others.pop(key, None)
            if bucket is not None:
                self.pending.update(bucket)

    def fire(self) -> None:
        """Wake everybody whose keys were touched, in the order in which they were touched.

        A watcher may register again at once, cancel others, or change the store. If one fails,
        the others are woken all the same; see ``on_failure``.
        """
        if not self.pending or self._firing:
            return
        failure: Exception | None = None
        self._firing = True
        try:
            while self.pending:
                batch, self.pending = self.pending, {}
                self._batch = batch
                self.waking = len(batch)
                for watcher, keys in batch.items():
                    if len(keys) > 1:
                        self._forget(keys, watcher)
                for watcher in tuple(batch):
                    if batch.pop(watcher, None) is None:
                        continue
                    try:
                        watcher.wake()
                    except Exception as error:
                        if self.on_failure is not None:
                            self.on_failure(error)
                        else:
                            failure = failure or error
        finally:
            self._firing = False
            self._batch = {}
        if failure is not None:
            raise failure

    def wake_all(self) -> None:
        """Wake everybody: the store was replaced, or this server no longer leads."""
        for table in (self._keys, self._prefixes, self._others):
            for bucket in table.values():
                self.pending.update(bucket)
            table.clear()
        self._lengths.clear()
        self.fire()


def _are_concerned(name: str, prefix: str, gone: Entries) -> bool:
    """Whether of ``gone``, all of which start with ``prefix``, any starts with ``name``."""
    return prefix.startswith(name) or (name.startswith(prefix) and gone.has_under(name))
