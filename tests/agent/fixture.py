"""What the tests of agents share: members, requests, transports that note, a slow disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from pyconsul.interfaces import Address
from pyconsul.raft.messages import Entry, Message
from pyconsul.serf.members import Member, Status
from pyconsul.storage.memory import MemoryStorage
from pyconsul.structs.kv import DirEntry, KeyRequest, KVSRequest


def member(number: int, status: Status = Status.ALIVE, server: bool = False, **tags: str) -> Member:
    """The member ``n<number>`` at 127.0.0.<number>, with the tags of its role and ``tags``."""
    facts = {"id": f"id{number}", "dc": "dc1", "role": "node"}
    if server:
        facts |= {"role": "consul", "port": "8300", "raft_vsn": "3", "build": "9.9.9:"}
    facts |= tags
    facts = {name: value for name, value in facts.items() if value}
    return Member(f"n{number}", f"127.0.0.{number}", 8301, facts, status, 1, 5, 2, 2, 5, 4)


def put(key: str, value: bytes = b"v", **more: Any) -> KVSRequest:
    """A write."""
    return KVSRequest(op="set", dir_ent=DirEntry(key=key, value=value), **more)


def get(key: str, index: int = 0, wait_s: float = 0.0, **more: Any) -> KeyRequest:
    """A read; with ``index`` one that waits for something newer."""
    return KeyRequest(key=key, min_query_index=index, max_query_time=int(wait_s * 1e9), **more)


class NotingRaft:
    """A ``RaftTransport`` that notes what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Message]] = []
        self.received: Callable[[str, Message], None] = lambda sender, message: None
        self.unreachable: Callable[[str], None] = lambda peer: None

    def send(self, to: str, address: str, message: Message) -> None:
        self.sent.append((to, message))


class NotingRpc:
    """An ``RpcTransport`` that notes calls; the tests fire the Deferreds."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Deferred[bytes]]] = []
        self.abandoned: list[str] = []
        self.handler: Callable[[str, bytes], Any] = lambda method, body: b""

    def abandon(self, address: str) -> None:
        self.abandoned.append(address)

    def call(self, address: str, method: str, body: bytes, timeout_s: float) -> Deferred[bytes]:
        answer: Deferred[bytes] = Deferred()
        self.calls.append((address, method, answer))
        return answer


class NoGossip:
    """A ``GossipTransport`` that reaches nobody."""

    def __init__(self, address: Address = ("127.0.0.1", 8301)) -> None:
        self.address = address
        self.packet_received: Callable[[bytes, Address], None] = lambda packet, source: None
        self.stream_received: Callable[[bytes, Address], bytes | None] = lambda request, source: None
        self.speaks_tls: Callable[[Address], bool | None] = lambda to: False

    def send(self, packet: bytes, to: Address) -> None:
        pass

    def exchange(self, request: bytes, to: Address, timeout_s: float, answer: bool) -> Deferred[bytes]:
        return Deferred()


class SlowDisk(MemoryStorage):
    """Storage that makes nothing durable until ``sync``, once ``slow`` is set, and can break."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = False
        self.broken: OSError | None = None
        self.closed = False
        self._waiting: list[int] = []

    def append(self, seq: int, entries: Sequence[Entry]) -> None:
        if self.broken is not None:
            self.failed(seq, self.broken)
        elif self.slow:
            self._entries.extend(entries)
            self._waiting.append(seq)
        else:
            super().append(seq, entries)

    def sync(self) -> None:
        """Everything appended so far is durable."""
        waiting, self._waiting = self._waiting, []
        for seq in waiting:
            self.persisted(seq)

    def close(self) -> None:
        self.closed = True


def noted(answer: Any) -> list[Any]:
    """The results of a Deferred as they come: none, or one, which may be an exception."""
    results: list[Any] = []
    if isinstance(answer, Deferred):
        answer.addCallbacks(results.append, lambda failure: results.append(failure.value))
    else:
        results.append(answer)
    return results
