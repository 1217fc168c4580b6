"""Locks and semaphores, by the conventions that all clients of the key/value store share.

Whoever takes part has a session. Each step is one look at the store, which waits there for a change
for a short time only, so that the caller can renew the session and heed signals in between.
Source: specs of the runtime surface, section 5.
"""

from __future__ import annotations

from pyconsul.client import kv
from pyconsul.errors import PyconsulError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyconsul.client.blocking import Client
    from pyconsul.client.kv import Pair

LOCK_FLAGS = 0x2DDCCBC058A50C18
SEMAPHORE_FLAGS = 0xE0F69A2BAA414DE0
"""What tells keys of the two from others."""

WAIT_S = 2.0
"""How long a look waits; also how long after the end of a lock delay that is noticed."""


class LockConflict(PyconsulError):
    """The key is there, but for something else."""


class Lock:
    """What one session at a time holds: the key ``PREFIX/.lock``.

    :param session: of whoever wants it.
    """

    def __init__(self, prefix: str, session: str, datacenter: str = "") -> None:
        self.path = f"{prefix}/.lock"
        self._session, self._datacenter = session, datacenter

    def take(self, client: Client, index: int) -> int | None:
        """Look once and try: ``None`` once it is ours, else the index to wait on the next time."""
        pair, seen = self._look(client, index)
        if pair is not None and pair.flags != LOCK_FLAGS:
            raise LockConflict("Existing key does not match lock use")
        if pair is not None and pair.session:
            return None if pair.session == self._session else seen
        taking = kv.put(self.path, b"", flags=LOCK_FLAGS, acquire=self._session, datacenter=self._datacenter)
        return None if client.do(taking) else seen

    def holds(self, client: Client, index: int) -> int | None:
        """Look once: the index to wait on while it is ours, else ``None``."""
        pair, seen = self._look(client, index)
        return seen if pair is not None and pair.session == self._session else None

    def release(self, client: Client) -> bool:
        """Give it back, and remove the key unless somebody else has it by then; whether that was done."""
        client.do(
            kv.put(self.path, b"", flags=LOCK_FLAGS, release=self._session, datacenter=self._datacenter)
        )
        pair, _ = self._look(client, 0)
        if pair is None or pair.flags != LOCK_FLAGS:
            return True
        if pair.session:
            return False
        return client.do(kv.delete(self.path, cas=pair.modify_index, datacenter=self._datacenter))

    def _look(self, client: Client, index: int) -> tuple[Pair | None, int]:
        wait_s = WAIT_S if index else 0.0
        answer = client.ask(kv.get(self.path, index=index, wait_s=wait_s, datacenter=self._datacenter))
        return answer.value, answer.index


class Semaphore:
    """What some sessions at a time hold, ``PREFIX/.lock`` telling which.

    Each has a key ``PREFIX/SESSION`` besides, so that who is gone is noticed.

    :param limit: how many; all must say the same.
    """

    def __init__(self, prefix: str, session: str, limit: int, datacenter: str = "") -> None:
        self.path = f"{prefix}/.lock"
        self._prefix, self._contender = f"{prefix}/", f"{prefix}/{session}"
        self._session, self._limit, self._datacenter = session, limit, datacenter
        self._announced = False

    def take(self, client: Client, index: int) -> int | None:
        """See ``Lock.take``."""
        if not self._announced:
            announcing = kv.put(
                self._contender,
                b"",
                flags=SEMAPHORE_FLAGS,
                acquire=self._session,
                datacenter=self._datacenter,
            )
            if not client.do(announcing):
                raise LockConflict("failed to make contender entry")
            self._announced = True
        try:
            stored, holders, seen = self._look(client, index)
        except LockConflict:
            client.do(kv.delete(self._contender, datacenter=self._datacenter))
            raise
        if self._session in holders:
            return None
        if len(holders) >= self._limit:
            return seen
        # If somebody else was faster, look again at once.
        return None if self._store(client, stored, [*holders, self._session]) else 0

    def holds(self, client: Client, index: int) -> int | None:
        """See ``Lock.holds``."""
        _, holders, seen = self._look(client, index)
        return seen if self._session in holders else None

    def release(self, client: Client) -> bool:
        """See ``Lock.release``."""
        while True:
            stored, holders, _ = self._look(client, 0)
            rest = [holder for holder in holders if holder != self._session]
            if len(rest) == len(holders) or self._store(client, stored, rest):
                break
        client.do(kv.delete(self._contender, datacenter=self._datacenter))
        if rest or stored is None:
            return not rest
        stored, holders, _ = self._look(client, 0)
        if stored is None or holders:
            return not holders
        return client.do(kv.delete(self.path, cas=stored.modify_index, datacenter=self._datacenter))

    def _look(self, client: Client, index: int) -> tuple[Pair | None, list[str], int]:
        """The shared entry, who holds the semaphore of those that are still there, and the index."""
        wait_s = WAIT_S if index else 0.0
        answer = client.ask(kv.recurse(self._prefix, index=index, wait_s=wait_s, datacenter=self._datacenter))
        stored = next((pair for pair in answer.value if pair.key == self.path), None)
        there = {pair.session for pair in answer.value if pair.session and pair.key != self.path}
        holders = [] if stored is None else self._holders(stored)
        return stored, [holder for holder in holders if holder in there], answer.index

    def _holders(self, stored: Pair) -> list[str]:
        import json

        if stored.flags != SEMAPHORE_FLAGS:
            raise LockConflict("Existing key does not match semaphore use")
        try:
            value = json.loads(stored.value)
            limit, holders = value["Limit"], list(value["Holders"] or ())
        except (ValueError, KeyError, TypeError) as error:
            raise LockConflict(f"the semaphore's entry cannot be understood: {error}") from None
        if limit != self._limit:
            raise LockConflict(f"semaphore limit conflict (lock: {limit}, local: {self._limit})")
        return holders

    def _store(self, client: Client, stored: Pair | None, holders: list[str]) -> bool:
        import json

        value = json.dumps({"Limit": self._limit, "Holders": dict.fromkeys(holders, True)})
        index = 0 if stored is None else stored.modify_index
        return client.do(
            kv.put(self.path, value.encode(), flags=SEMAPHORE_FLAGS, cas=index, datacenter=self._datacenter)
        )
