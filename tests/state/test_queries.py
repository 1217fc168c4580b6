"""The table of prepared queries."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import NotFound, Refused
from pyconsul.state import commands
from pyconsul.state.queries import CREATE, DELETE, UPDATE, QueryCommand
from pyconsul.state.store import Store
from pyconsul.structs.prepared import PreparedQuery, QueryTemplateOptions, ServiceQuery
from tests.state.replica import Replica, ids, refusal

A, B, C, D = (f"{digit * 8}-0000-0000-0000-000000000000" for digit in "abcd")
SESSION = "5cabaadb-d24f-ca3f-169c-03118c1f3553"
TEMPLATE = QueryTemplateOptions(type="name_prefix_match")


class Base(SynchronousTestCase):
    def setUp(self) -> None:
        self.replica = Replica()
        self.table = self.replica.store.queries

    def put(
        self, query_id: str, name: str = "", op: int = CREATE, service: str = "web", **fields: Any
    ) -> Any:
        query = PreparedQuery(id=query_id, name=name, service=ServiceQuery(service=service), **fields)
        return self.replica.apply(commands.encode_query(op, query))

    def delete(self, query_id: str) -> Any:
        return self.replica.apply(commands.encode_query(DELETE, PreparedQuery(id=query_id)))

    def resolved(self, name: str) -> str:
        return self.table.resolve(name).id


class ResolveTests(Base):
    def test_by_id_and_name(self) -> None:
        """Without regard to case."""
        self.assertEqual(self.put(A, "Web"), A)
        for name in (A, A.upper(), "web", "WEB"):
            self.assertEqual(self.resolved(name), A)
        for name in ("we", "webs", "", B):
            error = self.assertRaises(NotFound, self.table.resolve, name)
            self.assertEqual(str(error), "Query not found")

    def test_longest_prefix(self) -> None:
        """A name goes before a prefix, a longer prefix before a shorter one, the empty one comes last."""
        self.put(A, "geo-", template=TEMPLATE, service="${name.suffix}")
        self.put(B, "GEO-db", template=TEMPLATE)
        self.put(C, "geo-dbx")
        self.assertEqual(self.resolved("geo-web"), A)
        self.assertEqual(self.table.resolve("geo-web").service.service, "web")
        self.assertEqual(self.resolved("Geo-DB"), B)
        self.assertEqual(self.resolved("geo-dby"), B)
        self.assertEqual(self.resolved("geo-dbx"), C)
        self.assertRaises(NotFound, self.table.resolve, "ge")
        self.put(D, "", template=TEMPLATE)
        self.assertEqual(self.resolved("ge"), D)
        self.assertEqual(self.resolved(""), D)
        self.delete(B)
        self.assertEqual(self.resolved("geo-dby"), A)

    def test_templates_have_no_use_by_id(self) -> None:
        self.put(A, "geo-", template=TEMPLATE)
        error = self.assertRaises(Refused, self.table.resolve, A)
        self.assertEqual(str(error), "prepared query templates can only be resolved up by name, not by ID")


class WriteTests(Base):
    def test_update(self) -> None:
        """The old name is free then; an index of creation stays."""
        self.put(A, "one", template=TEMPLATE)
        self.put(A, "two", UPDATE)
        row = self.table.get(A)[1]
        assert row is not None
        self.assertEqual((row.create_index, row.modify_index, row.name), (1, 2, "two"))
        self.assertRaises(NotFound, self.table.resolve, "one")
        self.assertEqual(self.put(B, "one"), B)
        self.assertEqual(ids(self.table.all()), [A, B])

    def test_refusals(self) -> None:
        """In Consul's words; nothing has changed then."""
        self.put(A, "one")
        self.put(B, "", template=TEMPLATE)
        digest = self.replica.store.queries.snapshot()
        for query_id, fields, text in (
            (C, {"name": "ONE"}, "name 'ONE' aliases an existing query name"),
            (C, {"name": "ONE", "template": TEMPLATE}, "name 'ONE' aliases an existing query name"),
            (C, {"name": A.upper()}, f"name '{A.upper()}' aliases an existing query ID"),
            (C, {"template": TEMPLATE}, "a query template with an empty name already exists"),
            (C, {"session": SESSION}, f'invalid session "{SESSION}"'),
            (C, {"session": "x"}, "invalid session: index error: UUID must be 36 characters"),
            (C, {"name": "x", "op": UPDATE}, f"Cannot modify non-existent prepared query: '{C}'"),
            (A, {"name": "x"}, f"query ID '{A}' is in use"),
            (C, {"name": "x", "op": 9}, "unknown operation 9 on the table of prepared queries"),
            (
                C,
                {"name": "x", "template": QueryTemplateOptions(type="zz")},
                "failed compiling template: Bad Template.Type 'zz'",
            ),
        ):
            self.assertEqual(refusal(self.put(query_id, **fields)), text)
        self.assertEqual(self.replica.store.queries.snapshot(), digest)
        self.assertEqual(self.put(B, "", UPDATE, template=TEMPLATE), B)

    def test_indexes_and_watches(self) -> None:
        """Each query by itself, and all of them; what is not there moves with any that goes."""
        self.put(A, "one")
        self.put(B, "two")
        everything = self.replica.wait(("queries",))
        one = self.replica.wait(("query", A))
        self.put(B, "three", UPDATE)
        self.assertEqual((everything.woken, one.woken), (1, 0))
        self.assertEqual((self.table.index, self.table.get(A)[0], self.table.get(C)), (3, 1, (0, None)))
        self.delete(A)
        self.assertEqual(one.woken, 1)
        self.assertEqual((self.table.index, self.table.get(A), len(self.table)), (4, (4, None), 1))
        self.delete(A)
        self.assertEqual(self.table.index, 4)

    def test_session(self) -> None:
        """A query ends with its session, unless it was let go before."""
        self.replica.register("n1")
        self.replica.create(SESSION)
        self.put(A, session=SESSION.upper())
        self.put(B, "b", session=SESSION)
        self.put(C, "c", session=SESSION)
        self.put(B, "b", UPDATE)
        waiter = self.replica.wait(("query", A))
        self.replica.destroy(SESSION)
        self.assertEqual(waiter.woken, 1)
        self.assertEqual(ids(self.table.all()), [B])
        self.assertEqual(self.table.index, self.replica.index)
        self.assertRaises(NotFound, self.table.resolve, "c")


class SnapshotTests(Base):
    def test_restored(self) -> None:
        """Queries, indexes, names, templates and sessions are there again."""
        self.replica.register("n1")
        self.replica.create(SESSION)
        self.put(A, session=SESSION)
        self.put(B, "geo-", template=TEMPLATE, service="${name.suffix}")
        self.put(C, "gone")
        self.delete(C)
        snapshot = self.replica.store.snapshot()
        other = Replica()
        other.store.restore(snapshot)
        self.assertEqual(other.store.digest(), self.replica.store.digest())
        self.assertEqual(other.store.queries.resolve("geo-x").service.service, "x")
        other.index = self.replica.index
        other.destroy(SESSION)
        self.assertEqual(ids(other.store.queries.all()), [B])
        self.assertEqual(other.store.queries.get(C)[0], other.index)
        other.store.restore(Store().snapshot())
        self.assertEqual((other.store.queries.all(), other.store.queries.index), ([], 0))

    def test_command_bytes(self) -> None:
        """The kind has Consul's number."""
        self.assertEqual(commands.encode_query(DELETE, PreparedQuery(id=A))[0], 7)
        self.assertEqual(QueryCommand(DELETE, PreparedQuery(id=A)).op, 2)
