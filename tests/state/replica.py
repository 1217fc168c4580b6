"""What tests of the state use: a store with its log."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from pyconsul.errors import PyconsulError
from pyconsul.state import commands, image
from pyconsul.state.fsm import FSM
from pyconsul.state.operations import Op
from pyconsul.state.session import CREATE
from pyconsul.state.store import Snapshot, Store
from pyconsul.structs.catalog import DeregisterRequest, HealthCheck, NodeService, RegisterRequest
from pyconsul.structs.kv import DirEntry, KVSRequest
from pyconsul.structs.session import Session
from pyconsul.structs.txn import TxnResponse


def stream(snapshot: Snapshot) -> bytes:
    """What a snapshot is in a file."""
    return b"".join(image.encode(snapshot))


def travelled(snapshot: Snapshot) -> Snapshot:
    """A snapshot that was in a file."""
    decoder = image.Decoder(Snapshot)
    decoder.feed(stream(snapshot))
    return decoder.finish()


class Waiter:
    """A watcher that counts how often it was woken."""

    def __init__(self) -> None:
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1


class Replica:
    """A store and the commands that it was given, at the indexes 1, 2, 3, ..."""

    def __init__(self) -> None:
        self.store = Store()
        self.fsm = FSM(self.store)
        self.log: list[tuple[int, bytes]] = []
        self.index = 0

    def apply(self, command: bytes) -> Any:
        """Apply at the next index."""
        self.index += 1
        self.log.append((self.index, command))
        return self.fsm.apply(self.index, command)

    def kv(self, op: str, key: str, value: bytes | None = None, **more: Any) -> Any:
        """A write of the key/value table."""
        entry = DirEntry(
            key=key,
            value=value,
            flags=more.get("flags", 0),
            session=more.get("session", ""),
            modify_index=more.get("cas", 0),
        )
        return self.apply(commands.encode_kv(KVSRequest(op=op, dir_ent=entry)))

    def register(self, node: str, address: str = "192.0.2.1", **more: Any) -> Any:
        """A registration; ``service`` and ``checks`` may be given as dicts of fields."""
        service = more.pop("service", None)
        if isinstance(service, dict):
            service = NodeService(**service)
        checks = [HealthCheck(**check) for check in more.pop("checks", ())]
        request = RegisterRequest(
            datacenter="dc1", node=node, address=address, service=service, checks=checks, **more
        )
        return self.apply(commands.encode_register(request))

    def deregister(self, node: str, **more: Any) -> Any:
        """A deregistration."""
        return self.apply(commands.encode_deregister(DeregisterRequest(node=node, **more)))

    def create(self, session_id: str, node: str = "n1", **more: Any) -> Any:
        """A session; by default without checks and lock delay."""
        return self.apply(commands.encode_session(CREATE, Session(id=session_id, node=node, **more)))

    def destroy(self, session_id: str) -> Any:
        """The end of a session."""
        return self.apply(commands.encode_destroy(session_id))

    def txn(self, *ops: Op | None) -> TxnResponse:
        """A transaction."""
        response = self.apply(commands.encode_txn([*ops]))
        assert isinstance(response, TxnResponse), response
        return response

    def wait(self, *keys: Hashable) -> Waiter:
        """A watcher of ``keys``."""
        waiter = Waiter()
        self.store.watches.register(keys, waiter)
        return waiter


def refusal(result: Any) -> str:
    """The text of a refusal; fails if it is none."""
    assert isinstance(result, PyconsulError), result
    return str(result)


def ids(rows: Sequence[Any], name: str = "id") -> list[Any]:
    """One field of each row."""
    return [getattr(row, name) for row in rows]
