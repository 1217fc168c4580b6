"""/v1/txn."""

from __future__ import annotations

import base64
import json
from typing import Any

from msgspec import UNSET

from pyconsul.errors import Refused
from pyconsul.structs.catalog import CheckDefinition
from pyconsul.structs.txn import TxnError, TxnReadResponse, TxnResponse, TxnResult
from tests.http.fakes import NODE, SERVICE, Client, check, entry, meta, site
from tests.http.test_kv import Base


def body(*ops: Any) -> bytes:
    """A body with these operations."""
    return json.dumps(ops).encode()


class TxnTests(Base):
    def txn(self, content: bytes, parameters: str = "") -> tuple[int, bytes]:
        return self.ask("/v1/txn" + parameters, "PUT", content)

    def ops(self, *ops: Any) -> list[Any]:
        """What the agent is asked to do."""
        self.assertEqual(self.txn(body(*ops))[0], 200)
        asked: list[Any] = self.asked()[1].ops
        return asked

    def test_write(self) -> None:
        """With one verb that may write, all goes through the log."""
        status, content = self.txn(
            body(
                {"KV": {"Verb": "set", "Key": "a", "Value": "aGk=", "Flags": 3}},
                {"KV": {"Verb": "cas", "Key": "b", "Index": 7, "Session": "s"}},
                {"KV": {"Verb": "get", "Key": "c"}},
            ),
            "?token=t&dc=dc1",
        )
        self.assertEqual(status, 200)
        self.assertEqual(
            content,
            b'{"Results":[{"KV":{"LockIndex":0,"Key":"a","Flags":0,"Value":null,"CreateIndex":6,'
            b'"ModifyIndex":7}}],"Errors":null}',
        )
        self.assertNotIn(b"Knownleader", self.head)
        method, request = self.asked()
        self.assertEqual((method, request.token, request.datacenter), ("Txn.Apply", "t", "dc1"))
        first, second, third = (op.kv for op in request.ops)
        self.assertEqual((first.verb, first.dir_ent.key, first.dir_ent.value), ("set", "a", b"hi"))
        self.assertEqual((first.dir_ent.flags, first.dir_ent.session), (3, UNSET))
        self.assertEqual((second.dir_ent.modify_index, second.dir_ent.session), (7, "s"))
        self.assertEqual((second.dir_ent.value, third.verb), (None, "get"))

    def test_read(self) -> None:
        """Without one it is a read, with a read's modes, and says so in body and headers."""
        status, content = self.txn(
            body({"KV": {"Verb": "get", "Key": "a"}}, {"KV": {"Verb": "fly", "Key": "a"}}, {}), "?stale"
        )
        self.assertEqual(status, 200)
        self.assertTrue(
            content.endswith(
                b'"Errors":null,"Index":0,"LastContact":0,"KnownLeader":true,"ConsistencyLevel":""}'
            ),
            content,
        )
        self.assertIn(b"X-Consul-Knownleader: true\r\nX-Consul-Lastcontact: 0\r\n", self.head)
        self.assertNotIn(b"X-Consul-Index", self.head)
        method, request = self.asked()
        self.assertEqual((method, request.allow_stale, len(request.ops)), ("Txn.Read", True, 3))

    def test_verbs(self) -> None:
        """Verbs of keys that nobody knows only read; of nodes and the like, all but ``get`` write."""
        for op, method in (
            ({"KV": {"Verb": "fly", "Key": "a"}}, "Txn.Read"),
            ({"Node": {"Verb": "get", "Node": {"Node": "n"}}}, "Txn.Read"),
            ({"Node": {"Verb": "fly", "Node": {"Node": "n"}}}, "Txn.Apply"),
            ({"Service": {"Verb": "", "Node": "n", "Service": {"ID": "s"}}}, "Txn.Apply"),
            ({"Check": {"Verb": "Get", "Check": {"Node": "n"}}}, "Txn.Apply"),
        ):
            self.txn(body(op))
            self.assertEqual(self.asked()[0], method, op)

    def test_nothing(self) -> None:
        """An empty list, and what Go takes for one, is a read."""
        for content in (b"[]", b"null", b" null\n", b"[null]", b"[{}]", b'[{"KV": null}]'):
            self.assertEqual((self.txn(content)[0], self.asked()[0]), (200, "Txn.Read"), content)

    def test_failed(self) -> None:
        """409 with the errors; of a follower that reads, how old it is."""
        errors = [TxnError(1, "no")]
        self.agent.replies["Txn.Apply"] = TxnResponse(errors=errors)
        self.assertEqual(
            self.txn(body({"KV": {"Verb": "set", "Key": "a"}})),
            (409, b'{"Results":null,"Errors":[{"OpIndex":1,"What":"no"}]}'),
        )
        reply = TxnReadResponse(errors=errors, **meta(known_leader=False, last_contact=5_000_000))
        self.agent.replies["Txn.Read"] = reply
        status, content = self.txn(body({"KV": {"Verb": "get", "Key": "a"}}))
        self.assertEqual(status, 409)
        self.assertIn(b'"Index":0,"LastContact":5000000,"KnownLeader":false', content)
        self.assertIn(b"X-Consul-Knownleader: false\r\nX-Consul-Lastcontact: 5\r\n", self.head)
        self.agent.replies["Txn.Apply"] = Refused("out of order")
        self.assertEqual(self.txn(body({"KV": {"Verb": "set", "Key": "a"}})), (500, b"out of order"))

    def test_catalog(self) -> None:
        """Nodes, services and checks, with what JSON leaves out."""
        node, service, told = self.ops(
            {"Node": {"Verb": "set", "Node": {"Node": "n", "Address": "x", "Meta": {"k": "v"}}}},
            {"Service": {"Verb": "get", "Node": "n", "Service": {"ID": "s", "Tags": ["t"]}}},
            {
                "Check": {
                    "Verb": "delete",
                    "Check": {"Node": "n", "CheckID": "c", "Definition": {"Interval": "5s", "Bogus": 1}},
                }
            },
        )
        self.assertEqual((node.node.verb, node.node.node.meta, node.kv), ("set", {"k": "v"}, None))
        self.assertEqual(
            (service.service.node, service.service.service.id, service.service.service.tags),
            ("n", "s", ["t"]),
        )
        self.assertEqual(told.check.check.definition, CheckDefinition(interval="5s"))
        self.assertEqual(self.asked()[0], "Txn.Apply")

    def test_results(self) -> None:
        """Each result names its kind."""
        results = [TxnResult(node=NODE), TxnResult(service=SERVICE), TxnResult(check=check())]
        self.agent.replies["Txn.Apply"] = TxnResponse(results=[*results, TxnResult(kv=entry())])
        content = json.loads(self.txn(body({"KV": {"Verb": "set", "Key": "a"}}))[1])
        self.assertEqual(
            [list(result) for result in content["Results"]], [["Node"], ["Service"], ["Check"], ["KV"]]
        )

    def test_spellings(self) -> None:
        """Fields in any case; the key counts when there is also something else; namespaces do not matter."""
        first, second = self.ops(
            {"kv": {"verb": "set", "key": "low", "namespace": "x"}},
            {"KV": {"Verb": "set", "Key": "k"}, "Node": {"Verb": "get", "Node": {"Node": "n"}}},
        )
        self.assertEqual((first.kv.dir_ent.key, second.kv.dir_ent.key, second.node), ("low", "k", None))

    def test_malformed(self) -> None:
        """400, with Go's wording as far as people see it."""
        number = "json: cannot unmarshal number {} into Go struct field KVTxnOp.KV.{} of type uint64"
        for content, text in (
            (b"", "EOF"),
            (b"[", "unexpected EOF"),
            (b'[{"Session": {"Verb": "delete"}}]', 'json: unknown field "Session"'),
            (b'[{"KV": {"Verb": "set", "Nope": 1}}]', 'json: unknown field "Nope"'),
            (b'[{"Node": {"Verb": "set", "Node": {"Nope": 1}}}]', 'json: unknown field "Nope"'),
            (b'[{"KV": {"Value": "%%%"}}]', "illegal base64 data at input byte 0"),
            (b'[{"KV": {"Flags": -1}}]', number.format(-1, "Flags")),
            (b'[{"KV": {"Index": 18446744073709551616}}]', number.format(1 << 64, "Index")),
        ):
            status, told = self.txn(content)
            self.assertEqual(status, 400, content)
            self.assertTrue(told.startswith(b"Failed to parse body: "), told)
            self.assertIn(text.encode(), told)
        self.assertEqual(self.agent.asked, [])

    def test_largest_numbers(self) -> None:
        """Flags and indexes have 64 bits."""
        (op,) = self.ops({"KV": {"Verb": "set", "Key": "a", "Flags": (1 << 64) - 1}})
        self.assertEqual(op.kv.dir_ent.flags, (1 << 64) - 1)

    def test_limits(self) -> None:
        """64 operations, the size of the body, and of each value."""
        ops = [{"KV": {"Verb": "set", "Key": str(number)}} for number in range(65)]
        self.assertEqual(self.txn(body(*ops)), (413, b"Transaction contains too many operations (65 > 64)"))
        self.client = Client(site(self.agent))
        self.assertEqual(len(self.ops(*ops[:64])), 64)
        self.client = Client(site(self.agent, txn_bytes_max=100, kv_value_bytes_max=4))
        value = base64.b64encode(b"12345").decode()
        self.assertEqual(
            self.txn(body({"KV": {"Verb": "set", "Key": "k", "Value": value}})),
            (413, b'Value for key "k" is too large (5 > 4 bytes)'),
        )
        self.client = Client(site(self.agent, txn_bytes_max=100))
        status, told = self.txn(b" " * 101)
        self.assertEqual(status, 413)
        self.assertIn(b"Request body(101 bytes) too large, max size: 100 bytes. See https://", told)
        self.assertIn(b"#txn_max_req_len.", told)

    def test_methods(self) -> None:
        """Nothing but PUT."""
        self.assertEqual(self.ask("/v1/txn"), (405, b"method GET not allowed"))
        self.assertIn(b"Allow: OPTIONS,PUT", self.head)
