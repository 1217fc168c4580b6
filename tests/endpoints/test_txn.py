"""Txn.*: what is refused before the log, what gets into it, and reads outside of it."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.endpoints.base import Answered, Registry
from pyconsul.endpoints.txn import Txn
from pyconsul.errors import BadRequest, TooLarge
from pyconsul.structs.catalog import CheckDefinition, HealthCheck, Node, NodeService
from pyconsul.structs.kv import DirEntry
from pyconsul.structs.txn import (
    TxnCheckOp,
    TxnError,
    TxnKVOp,
    TxnNodeOp,
    TxnOp,
    TxnReadRequest,
    TxnRequest,
    TxnResponse,
    TxnServiceOp,
)
from tests.state.replica import Replica


def kv(verb: str, key: str, value: bytes | None = None, **more: Any) -> TxnOp:
    """An operation on a key."""
    return TxnOp(kv=TxnKVOp(verb=verb, dir_ent=DirEntry(key=key, value=value, **more)))


def service(verb: str, **fields: Any) -> TxnOp:
    """An operation on a service of n1."""
    return TxnOp(service=TxnServiceOp(verb=verb, node="n1", service=NodeService(**fields)))


def node(verb: str, name: str, **more: Any) -> TxnOp:
    """An operation on a node."""
    return TxnOp(node=TxnNodeOp(verb=verb, node=Node(node=name, address="192.0.2.1", **more)))


class TxnTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.replica = Replica()
        self.delayed: set[str] = set()
        self.txn = Txn(self.replica.store, "dc1", self.delayed.__contains__)

    def apply(self, *ops: TxnOp) -> TxnResponse:
        """Make a transaction, through the log if the endpoint wants it so."""
        command = self.txn.apply(TxnRequest(ops=[*ops]))
        response = command.reply if isinstance(command, Answered) else self.replica.apply(command)
        assert isinstance(response, TxnResponse)
        return response

    def faults(self, *ops: TxnOp) -> list[tuple[int, str]]:
        """The errors of a transaction that does not get into the log."""
        command = self.txn.apply(TxnRequest(ops=[*ops]))
        assert isinstance(command, Answered)
        self.assertIsNone(command.reply.results)
        return [(error.op_index, error.what) for error in command.reply.errors]

    def test_declarations(self) -> None:
        """The names on the wire and their kinds."""
        registry = Registry([self.txn])
        kinds = {method.name: method.kind for method in registry.methods()}
        self.assertEqual(kinds, {"Txn.Apply": "write", "Txn.Read": "read"})

    def test_apply(self) -> None:
        """Everything in one command; nodes get the datacenter unless they name one."""
        response = self.apply(
            kv("set", "k", b"1"), node("set", "n1"), node("set", "n2", datacenter="far"), kv("get", "k")
        )
        assert response.results is not None
        self.assertEqual(self.replica.index, 1)
        self.assertEqual(
            [result.node.datacenter for result in response.results if result.node], ["dc1", "far"]
        )
        assert response.results[3].kv is not None
        self.assertEqual(response.results[3].kv.value, b"1")

    def test_faults(self) -> None:
        """What is wrong whatever the store holds needs no log, and all of it is said at once."""
        proxy = {"service": "p", "kind": "connect-proxy", "port": 1}
        self.assertEqual(
            self.faults(
                kv("set", ""), kv("delete-tree", ""), kv("set", "k"), kv("get-tree", ""),
                node("set", ""), node("set", "n", id="x"), service("delete", id="s"), service("set", **proxy),
                service("set"), TxnOp(), node("get", "", id="1" * 36),
                service("set", service="s", address="::"),
                service("set", service="s", id="i", meta={"": "x"}),
            ),
            [
                (0, "Must provide key"),
                (3, "Must provide key"),
                (4, "Must provide node"),
                (5, "Bad node ID: uuid string is wrong length"),
                (6, "Must provide service name with ID"),
                (
                    7,
                    "1 error occurred:\n\t* Proxy.DestinationServiceName must be non-empty for Connect proxy "
                    "services\n\n",
                ),
                (10, "Must provide node"),
                (11, "Invalid service address"),
                (
                    12,
                    "Invalid Service Meta for node n1 and serviceID i: "
                    "Couldn't load metadata pair ('', 'x'): Key cannot be blank",
                ),
            ],
        )  # fmt: skip
        self.assertEqual(self.replica.index, 0)

    def test_what_is_not_stored(self) -> None:
        """Reading and removing need no rules of what is stored; a name will do for an id."""
        odd: dict[str, Any] = {"service": "s", "meta": {"": "x"}, "kind": "connect-proxy"}
        self.apply(node("set", "n1"), service("set", service="s"))
        self.assertEqual(
            self.apply(service("get", id="none", **odd)).errors,
            [TxnError(0, 'service "none" on node "n1" doesn\'t exist')],
        )
        check = HealthCheck(node="n1", name="c")
        self.apply(TxnOp(check=TxnCheckOp(verb="set", check=check)))
        removal = TxnOp(check=TxnCheckOp(verb="delete", check=check))
        self.assertIsNone(self.apply(service("delete", **odd), removal).errors)
        catalog = self.replica.store.catalog
        self.assertEqual((catalog.node_services("n1")[2], catalog.node_checks("n1")[1]), ([], []))

    def test_lock_delay(self) -> None:
        """A key that may not be locked yet is one of the faults."""
        self.delayed.add("l")
        self.assertEqual(
            self.faults(kv("lock", "k", session="s"), kv("lock", "l", session="s")),
            [(1, 'failed to lock key "l" due to lock delay')],
        )
        self.assertIsNone(self.apply(kv("set", "l")).errors)

    def test_limits(self) -> None:
        """No more than 64 operations, and durations that can be read."""
        ops = [kv("set", str(number)) for number in range(65)]
        self.assertIsNone(self.apply(*ops[:64]).errors)
        for method, request in (
            (self.txn.apply, TxnRequest(ops=ops)),
            (self.txn.read, TxnReadRequest(ops=ops)),
        ):
            error = self.assertRaises(TooLarge, method, request)
            self.assertEqual(str(error), "Transaction contains too many operations (65 > 64)")
        bad = HealthCheck(name="c", definition=CheckDefinition(interval="5"))
        self.assertRaises(BadRequest, self.apply, TxnOp(check=TxnCheckOp(verb="set", check=bad)))

    def test_read(self) -> None:
        """Read at one moment; never waits, whatever index a peer gives."""
        self.apply(kv("set", "k", b"1"), node("set", "n1"))
        request = TxnReadRequest(ops=[kv("get", "k"), node("get", "N1")], min_query_index=9)
        read = self.txn.read(request)
        self.assertEqual((read.index, read.watch, request.min_query_index), (1, (), 0))
        self.assertIsNone(read.reply.errors)
        first, second = read.reply.results
        self.assertEqual((first.kv.value, second.node.node), (b"1", "n1"))

    def test_read_errors(self) -> None:
        """Missing keys are said before anything else, then what is not there or writes."""
        read = self.txn.read(TxnReadRequest(ops=[kv("get", ""), kv("get", "none")]))
        self.assertEqual([(e.op_index, e.what) for e in read.reply.errors], [(0, "Must provide key")])
        read = self.txn.read(TxnReadRequest(ops=[service("get", id="s"), kv("set", "k")]))
        self.assertEqual(
            [(e.op_index, e.what) for e in read.reply.errors],
            [(0, 'service "s" on node "n1" doesn\'t exist'), (1, 'unknown KV verb "set"')],
        )
        self.assertIsNone(read.reply.results)
