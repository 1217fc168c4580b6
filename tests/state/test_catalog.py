"""The catalog, rule by rule, as seen on Consul 1.8.7."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.state.replica import Replica, ids, refusal

U1, U2, U3 = (f"40e4a748-2192-161a-0510-9bf59fe950b{digit}" for digit in "123")


class CatalogTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.replica = Replica()
        self.catalog = self.replica.store.catalog

    def register(self, node: str, *args: Any, **more: Any) -> Any:
        return self.replica.register(node, *args, **more)

    def services(self, node: str) -> list[Any]:
        return self.catalog.node_services(node)[2]

    def checks(self, node: str) -> list[Any]:
        return self.catalog.node_checks(node)[1]


class NodeTests(CatalogTestCase):
    def test_register(self) -> None:
        """A node's row carries what was given, its datacenter and both indexes."""
        self.register("a", "192.0.2.1", id=U1, node_meta={"k": "v"}, tagged_addresses={"lan": "192.0.2.1"})
        row = self.catalog.node("A")
        assert row is not None
        self.assertEqual(
            (row.node, row.address, row.id, row.datacenter, row.meta, row.tagged_addresses),
            ("a", "192.0.2.1", U1, "dc1", {"k": "v"}, {"lan": "192.0.2.1"}),
        )
        self.assertEqual((row.create_index, row.modify_index), (1, 1))

    def test_unchanged(self) -> None:
        """The same again moves nothing."""
        self.register("a")
        waiter = self.replica.wait(("nodes",), ("node", "a"))
        self.register("a")
        self.assertEqual((self.catalog.nodes_index, waiter.woken), (1, 0))

    def test_replaced_as_a_whole(self) -> None:
        """What a registration leaves out is gone, the id included."""
        self.register("a", id=U1, node_meta={"k": "v"}, tagged_addresses={"lan": "x"})
        self.register("a", "192.0.2.2")
        row = self.catalog.node("a")
        assert row is not None
        self.assertEqual((row.id, row.meta, row.tagged_addresses), ("", None, None))
        self.assertEqual((row.create_index, row.modify_index), (1, 2))
        self.register("b", id=U1)
        self.assertEqual(ids(self.catalog.nodes(), "node"), ["a", "b"])

    def test_case_of_the_name(self) -> None:
        """One node whatever the case; the last spelling is shown, and its services stay."""
        self.register("Foo", id=U1, service={"service": "web"})
        self.register("fOO", id=U1)
        self.assertEqual(ids(self.catalog.nodes(), "node"), ["fOO"])
        self.assertEqual(ids(self.services("foo")), ["web"])

    def test_skip_node_update(self) -> None:
        """An existing node is left alone; a missing one is made of whatever is there."""
        self.register("a", "192.0.2.1", id=U1)
        self.register("a", "", skip_node_update=True, id=U2, node_meta={"k": "v"}, service={"service": "web"})
        row = self.catalog.node("a")
        assert row is not None
        self.assertEqual((row.address, row.id, row.meta, row.modify_index), ("192.0.2.1", U1, None, 1))
        self.assertEqual(ids(self.services("a")), ["web"])
        self.register("new", "", skip_node_update=True)
        new = self.catalog.node("new")
        assert new is not None
        self.assertEqual(new.address, "")

    def test_rename(self) -> None:
        """An id under another name moves the node, without its services and checks."""
        self.register("first", id=U1, service={"service": "s"}, checks=[{"name": "c", "status": "passing"}])
        self.register("second", id=U1.upper())
        self.assertIsNone(self.catalog.node("first"))
        row = self.catalog.node("second")
        assert row is not None
        self.assertEqual((row.create_index, row.modify_index, row.id), (1, 2, U1.upper()))
        self.assertEqual((self.services("second"), self.checks("second")), ([], []))
        self.assertIsNone(self.catalog.group("s"))

    def test_rename_onto_another(self) -> None:
        """The name of a node that does not live can be taken; what is on that node stays."""
        self.register("a", id=U1)
        self.register(
            "b", id=U2, service={"service": "s"}, checks=[{"name": "serfHealth", "status": "critical"}]
        )
        self.register("b", id=U1)
        self.assertEqual(
            [(row.node, row.id, row.create_index) for row in self.catalog.nodes()], [("b", U1, 1)]
        )
        self.assertEqual(ids(self.services("b")), ["s"])
        self.register("c", id=U2)
        self.assertEqual(ids(self.catalog.nodes(), "node"), ["b", "c"])

    def test_reserved_name(self) -> None:
        """The name of a node that lives cannot be taken by another id; nothing is written."""
        for status in ("passing", "warning", "other"):
            name = f"n-{status}"
            self.register(name, "192.0.2.1", checks=[{"name": "serfHealth", "status": status}])
            self.register(name, "192.0.2.1", id=U1)
            found = self.register(name, "192.0.2.9", id=U2, service={"service": "s"})
            self.assertEqual(
                refusal(found),
                f'failed inserting node: Error while renaming Node ID: "{U2}": Node name {name} '
                f"is reserved by node {U1} with name {name} (192.0.2.1)",
            )
            self.assertEqual(self.services(name), [])
            self.replica.deregister(name)

    def test_reserved_name_when_renaming(self) -> None:
        """The same for a known id; here a node without an id is protected, too."""
        self.register("q", "192.0.2.1", checks=[{"name": "serfHealth", "status": "passing"}])
        self.register("p", "192.0.2.2", id=U1)
        self.assertEqual(
            refusal(self.register("q", "192.0.2.2", id=U1)),
            f'failed inserting node: Error while renaming Node ID: "{U1}" (192.0.2.2): Node name q '
            "is reserved by node  with name q (192.0.2.1)",
        )
        self.assertEqual(ids(self.catalog.nodes(), "node"), ["p", "q"])

    def test_new_id_for_a_name(self) -> None:
        """A node without id, or that does not live, takes a new id."""
        self.register("a", checks=[{"name": "serfHealth", "status": "passing"}])
        self.register("a", id=U1)
        self.register("b", id=U2, checks=[{"name": "serfHealth", "status": "critical"}])
        self.register("b", id=U3)
        self.assertEqual(ids(self.catalog.nodes()), [U1, U3])
        self.register("c", id=U2)
        self.assertEqual(ids(self.catalog.nodes(), "node"), ["a", "b", "c"])

    def test_deregister(self) -> None:
        """A node goes with all that is on it; a missing one is no error."""
        self.register(
            "a", id=U1, service={"service": "s"}, checks=[{"name": "c"}, {"name": "d", "service_id": "s"}]
        )
        self.replica.deregister("A")
        self.assertEqual(self.catalog.nodes(), [])
        self.assertEqual(self.catalog.services(), {})
        self.assertEqual(self.catalog.checks_in_state("any"), (2, []))
        self.assertEqual(self.catalog.node_services("a"), (2, None, []))
        self.assertEqual(self.catalog.node_checks("a"), (2, []))
        self.replica.deregister("a")
        self.assertEqual(self.catalog.nodes_index, 2)
        self.register("b", id=U1)
        self.assertEqual(ids(self.catalog.nodes(), "node"), ["b"])


class ServiceTests(CatalogTestCase):
    def test_defaults(self) -> None:
        """The id is the name, tags are a list, weights 1 and 1."""
        self.register("a", service={"service": "web"})
        row = self.catalog.service_of("a", "WEB")
        assert row is not None
        self.assertEqual((row.id, row.tags, row.meta), ("web", [], None))
        assert row.weights is not None
        self.assertEqual((row.weights.passing, row.weights.warning), (1, 1))
        self.assertIsNone(self.catalog.service_of("a", "db"))
        self.assertIsNone(self.catalog.service_of("b", "web"))

    def test_indexes(self) -> None:
        """Only a change moves the row's index; creation stays."""
        self.register("a", service={"service": "web", "port": 1})
        self.register("a", service={"service": "web", "port": 1})
        self.register("a", service={"service": "web", "port": 2})
        row = self.services("a")[0]
        self.assertEqual((row.create_index, row.modify_index, row.port), (1, 3, 2))

    def test_order_and_case(self) -> None:
        """Instances are shown by node and id; a name is found whatever its case."""
        self.register("b", service={"service": "Web", "id": "2"})
        self.register("a", service={"service": "web", "id": "Z"})
        self.register("a", service={"service": "WEB", "id": "b"})
        group = self.catalog.group("wEb")
        assert group is not None
        self.assertEqual(
            [(r.node, r.service_id) for r in group.nodes()], [("a", "b"), ("a", "Z"), ("b", "2")]
        )
        self.register("a", service={"service": "web", "id": "z"})
        self.assertEqual(ids(self.services("a")), ["b", "z"])

    def test_tags_of_services(self) -> None:
        """Each spelling of a name with the tags of its instances."""
        self.register("a", service={"service": "web", "tags": ["v1", "blue"]})
        self.register("b", service={"service": "web", "tags": ["v1", "green"]}, node_meta={"k": "v"})
        self.register("b", service={"service": "Web"}, node_meta={"k": "v"})
        self.register("b", service={"service": "db", "id": "1", "tags": ["x"]}, node_meta={"k": "v"})
        self.assertEqual(self.catalog.services(), {"Web": [], "db": ["x"], "web": ["blue", "v1"]})
        self.assertEqual(self.catalog.services({"k": "v"}), {"Web": [], "db": ["x"]})
        self.assertEqual(self.catalog.services({"k": "w"}), {})

    def test_index_of_tags(self) -> None:
        """Names and tags move the index of the services, a port does not."""
        self.register("a", service={"service": "web", "port": 1})
        waiter = self.replica.wait(("services",))
        self.register("a", service={"service": "web", "port": 2})
        self.assertEqual((self.catalog.services_index, waiter.woken), (1, 0))
        self.register("a", service={"service": "web", "port": 2, "tags": ["x"]})
        self.assertEqual((self.catalog.services_index, waiter.woken), (3, 1))

    def test_other_name(self) -> None:
        """An instance may change its name; both groups notice."""
        self.register("a", service={"service": "web", "id": "s"})
        old, new = self.replica.wait(("service", "web")), self.replica.wait(("service", "db"))
        self.register("a", service={"service": "db", "id": "s"})
        self.assertIsNone(self.catalog.group("web"))
        self.assertEqual((self.catalog.group_gone(), old.woken, new.woken), (2, 1, 1))
        group = self.catalog.group("db")
        assert group is not None
        self.assertEqual(ids(group.nodes(), "service_id"), ["s"])

    def test_deregister(self) -> None:
        """A service goes with its checks; the node and its own checks stay."""
        self.register(
            "a", service={"service": "web"}, checks=[{"name": "n"}, {"name": "s", "service_id": "web"}]
        )
        self.replica.deregister("a", service_id="none")
        self.replica.deregister("none", service_id="web")
        self.assertEqual(len(self.services("a")), 1)
        self.replica.deregister("a", service_id="WEB")
        self.assertEqual((self.services("a"), ids(self.checks("a"), "check_id")), ([], ["n"]))
        self.assertIsNone(self.catalog.group("web"))
        self.assertEqual(self.catalog.service_checks("web"), (4, []))

    def test_one_of_two(self) -> None:
        """A group lives as long as it has an instance."""
        self.register("a", service={"service": "web"})
        self.register("b", service={"service": "web"})
        self.replica.deregister("a", service_id="web")
        group = self.catalog.group("web")
        assert group is not None
        self.assertEqual((ids(group.nodes(), "node"), group.index, self.catalog.group_gone()), (["b"], 3, 0))

    def test_mesh(self) -> None:
        """Proxies and native instances are found under the service that they reach."""
        proxy = {"service": "web-proxy", "kind": "connect-proxy", "port": 1}
        self.register("a", service={"service": "web"})
        self.assertIsNone(self.catalog.group("web", connect=True))
        self.register("a", service={**proxy, "proxy": self.proxy("web")})
        self.register("b", service={"service": "web", "connect": {"Native": True}})
        self.assertEqual(self.reached("WEB"), [("a", "web-proxy"), ("b", "web")])
        self.register("a", service={**proxy, "proxy": self.proxy("db")})
        self.assertEqual((self.reached("web"), self.reached("db")), ([("b", "web")], [("a", "web-proxy")]))
        self.register("b", service={"service": "web", "connect": {"Native": False}})
        self.assertEqual((self.reached("web"), self.catalog.group_gone(connect=True)), ([], 5))
        self.register("a", service={**proxy, "service": "p", "kind": "", "proxy": self.proxy("db")})
        self.assertEqual(self.reached("db"), [("a", "web-proxy")])  # only of proxies it counts
        self.replica.deregister("a", service_id="p")
        self.replica.deregister("a", service_id="web-proxy")
        self.assertEqual((self.reached("db"), self.catalog.group_gone(connect=True)), ([], 8))

    def proxy(self, destination: str) -> Any:
        from pyconsul.structs.catalog import Proxy

        return Proxy(destination_service_name=destination)

    def reached(self, name: str) -> list[tuple[str, str]]:
        group = self.catalog.group(name, connect=True)
        return [] if group is None else [(row.node, row.service_id) for row in group.nodes()]


class CheckTests(CatalogTestCase):
    def test_defaults(self) -> None:
        """The id is the name; without a state a check is critical."""
        self.register("a", checks=[{"name": "c"}])
        check = self.catalog.node_check("A", "C")
        assert check is not None
        self.assertEqual(
            (check.node, check.check_id, check.status, check.service_tags), ("a", "c", "critical", [])
        )
        self.assertIsNone(self.catalog.node_check("a", "d"))
        self.assertIsNone(self.catalog.node_check("b", "c"))

    def test_of_a_service(self) -> None:
        """Name and tags of the service are the catalog's, not the request's; they are not followed."""
        self.register("a", service={"service": "Web", "id": "W1", "tags": ["t"]})
        self.register(
            "a", checks=[{"name": "c", "service_id": "w1", "service_name": "x", "service_tags": ["y"]}]
        )
        check = self.checks("a")[0]
        self.assertEqual((check.service_id, check.service_name, check.service_tags), ("W1", "Web", ["t"]))
        self.register("a", service={"service": "Web", "id": "W1", "tags": ["u"]})
        self.assertEqual(self.checks("a")[0].service_tags, ["t"])
        self.assertEqual(ids(self.catalog.service_checks("wEB")[1], "check_id"), ["c"])
        self.assertEqual(self.catalog.service_checks("x"), (0, []))

    def test_name_without_service(self) -> None:
        """A check may name a service without belonging to an instance."""
        self.register("a", checks=[{"name": "c", "service_name": "q"}])
        self.assertEqual(ids(self.catalog.service_checks("q")[1], "check_id"), ["c"])
        self.replica.deregister("a", check_id="c")
        self.assertEqual(self.catalog.service_checks("q"), (2, []))

    def test_refused(self) -> None:
        """A check without id or of an unknown service: the whole registration is refused."""
        found = self.register("a", service={"service": "s"}, checks=[{"name": "ok"}, {"status": "passing"}])
        self.assertEqual(
            refusal(found),
            'failed inserting check: failed inserting check: object missing primary index on node "a"',
        )
        found = self.register("a", service={"service": "s"}, checks=[{"name": "c", "service_id": "t"}])
        self.assertEqual(refusal(found), 'failed inserting check: Missing service registration on node "a"')
        self.assertEqual(self.catalog.nodes(), [])
        self.register("a", service={"service": "s"}, checks=[{"name": "c", "service_id": "S"}])
        self.register("a", checks=[{"name": "d", "service_id": "s"}])
        self.assertEqual(ids(self.checks("a"), "check_id"), ["c", "d"])

    def test_unchanged(self) -> None:
        """The same again moves nothing; other output does."""
        self.register("a", checks=[{"name": "c", "status": "passing"}])
        waiter = self.replica.wait(("node-checks", "a"), ("state", "any"))
        self.register("a", checks=[{"name": "c", "status": "passing"}])
        self.assertEqual((self.catalog.node_checks("a")[0], waiter.woken), (1, 0))
        self.register("a", checks=[{"name": "c", "status": "passing", "output": "o"}])
        check = self.checks("a")[0]
        self.assertEqual((check.create_index, check.modify_index, waiter.woken), (1, 3, 1))

    def test_last_of_equal_ids(self) -> None:
        """Checks of one id in one registration: the last one counts."""
        self.register("a", checks=[{"name": "c", "status": "warning"}, {"name": "C", "status": "passing"}])
        self.assertEqual([(c.check_id, c.status) for c in self.checks("a")], [("C", "passing")])

    def test_states(self) -> None:
        """States are whatever was written; a check moves from one to the other."""
        self.register("a", checks=[{"name": "x", "status": "passing"}, {"name": "y", "status": "Odd"}])
        self.register("b", checks=[{"name": "x", "status": "passing"}])
        read = self.catalog.checks_in_state
        self.assertEqual([(c.node, c.check_id) for c in read("passing")[1]], [("a", "x"), ("b", "x")])
        self.assertEqual((read("passing")[0], read("Odd")[0], read("odd")), (2, 1, (0, [])))
        passing, critical = self.replica.wait(("state", "passing")), self.replica.wait(("state", "critical"))
        odd = self.replica.wait(("state", "Odd"))
        self.register("b", checks=[{"name": "x", "status": "critical"}])
        self.assertEqual((passing.woken, critical.woken, odd.woken), (1, 1, 0))
        self.assertEqual((read("passing")[0], read("critical")[0], read("any")[0]), (3, 3, 3))
        self.assertEqual(len(read("any")[1]), 3)

    def test_deregister(self) -> None:
        """One check goes, whatever the case; a missing one is no error."""
        self.register("a", service={"service": "s"}, checks=[{"name": "c"}, {"name": "d", "service_id": "s"}])
        self.replica.deregister("a", check_id="none")
        self.replica.deregister("a", check_id="C")
        self.replica.deregister("a", check_id="d")
        self.assertEqual(self.checks("a"), [])
        self.assertEqual(self.catalog.node_checks("a")[0], 4)

    def test_moves_between_node_and_service(self) -> None:
        """A check that is bound to something else counts there and no longer here."""
        self.register("a", service={"service": "s"}, checks=[{"name": "c", "status": "critical"}])
        self.register("a", service={"service": "t"})
        self.assertEqual((self.health("s"), self.health("t")), (["c"], ["c"]))
        self.register("a", checks=[{"name": "c", "service_id": "s"}])
        self.assertEqual((self.health("s"), self.health("t")), (["c"], []))
        self.register("a", checks=[{"name": "c", "service_id": "t"}])
        self.assertEqual((self.health("s"), self.health("t")), ([], ["c"]))
        self.register("a", checks=[{"name": "c"}])
        self.assertEqual((self.health("s"), self.health("t")), (["c"], ["c"]))

    def health(self, name: str) -> list[str]:
        group = self.catalog.group(name)
        assert group is not None
        return ids(group.health()[0].checks, "check_id")

    def test_order_in_health(self) -> None:
        """Checks of the node come first, each kind by id."""
        self.register("a", service={"service": "s"}, checks=[{"name": "zz"}, {"name": "b"}])
        self.register("a", checks=[{"name": "c", "service_id": "s"}, {"name": "Aa", "service_id": "s"}])
        self.assertEqual(self.health("s"), ["b", "zz", "Aa", "c"])


class IndexTests(CatalogTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.register("a", service={"service": "web"})
        self.register("b", service={"service": "db"})
        self.start = self.replica.index

    def indexes(self, name: str) -> tuple[int, int]:
        group = self.catalog.group(name)
        assert group is not None
        return group.index, group.health_index

    def test_node_check(self) -> None:
        """A check of a node moves the health of what runs there, not its catalog view."""
        web = [self.replica.wait((kind, "web")) for kind in ("service", "health")]
        db = self.replica.wait(("health", "db"), ("service", "db"), ("node", "a"), ("nodes",))
        self.register("a", checks=[{"name": "c"}])
        self.assertEqual((self.indexes("web"), self.indexes("db")), ((1, 3), (2, 2)))
        self.assertEqual(([w.woken for w in web], db.woken), ([0, 1], 0))

    def test_node_row(self) -> None:
        """A new address moves both views of what runs there."""
        web = [self.replica.wait((kind, "web")) for kind in ("service", "health")]
        self.register("a", "192.0.2.9")
        self.assertEqual(self.indexes("web"), (3, 3))
        self.assertEqual([w.woken for w in web], [1, 1])
        group = self.catalog.group("web")
        assert group is not None
        self.assertEqual((group.nodes()[0].address, group.health()[0].node.address), ("192.0.2.9",) * 2)

    def test_service_check(self) -> None:
        """A check of one instance moves that service only, also on the same node."""
        self.register("a", service={"service": "other"})
        other = self.replica.wait(("health", "other"))
        self.register("a", checks=[{"name": "c", "service_id": "web"}])
        self.assertEqual((self.indexes("web"), self.indexes("other"), other.woken), ((1, 4), (3, 3), 0))

    def test_node_views(self) -> None:
        """A node's services and its checks have indexes of their own; neighbours do not move them."""
        self.register("a", checks=[{"name": "c"}])
        self.assertEqual((self.catalog.node_services("a")[0], self.catalog.node_checks("a")[0]), (1, 3))
        self.register("b", service={"service": "db", "port": 9})
        self.assertEqual(self.catalog.node_services("a")[0], 1)
        self.assertEqual(self.catalog.node_services("b")[0], 4)
        self.assertEqual(self.catalog.nodes_index, 2)

    def test_lists_are_kept(self) -> None:
        """What has not changed is not made again."""
        group = self.catalog.group("web")
        assert group is not None
        nodes, health, rows, tags = (
            group.nodes(),
            group.health(),
            self.catalog.nodes(),
            self.catalog.services(),
        )
        self.register("b", service={"service": "db", "port": 9})
        self.assertIs(group.nodes(), nodes)
        self.assertIs(group.health(), health)
        self.assertIs(self.catalog.nodes(), rows)
        self.assertIs(self.catalog.services(), tags)
        old = health[0]
        self.register("c", service={"service": "web"})
        self.assertEqual((len(nodes), len(group.nodes())), (1, 2))
        self.assertIs(group.health()[0], old)


class ListenerTests(CatalogTestCase):
    def test_told(self) -> None:
        """A dependent table hears of states that change, of checks and nodes that go, in order."""
        heard: list[tuple[Any, ...]] = []

        class Listener:
            def check_changed(self, *what: Any) -> None:
                heard.append(what)

            def node_gone(self, *what: Any) -> None:
                heard.append(what)

        self.catalog.listeners.append(Listener())
        self.register("A", checks=[{"name": "c", "status": "passing"}])
        self.register("a", "192.0.2.9", checks=[{"name": "c", "status": "passing", "output": "o"}])
        self.register("a", "192.0.2.9", checks=[{"name": "c", "status": "critical"}])
        self.replica.deregister("a")
        self.assertEqual(
            heard, [(1, "A", "c", "passing"), (3, "a", "c", "critical"), (4, "a", "c", None), (4, "a")]
        )
        snapshot = self.replica.store.snapshot()
        self.register("b", checks=[{"name": "c"}])
        snapshot = self.replica.store.snapshot()
        heard.clear()
        self.replica.store.restore(snapshot)
        self.assertEqual((heard, len(self.catalog.listeners)), ([], 3))  # sessions, coordinates
