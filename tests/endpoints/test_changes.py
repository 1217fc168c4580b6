"""Changes.*: who follows what changed ends with what there is."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.endpoints.base import Read, Registry
from pyconsul.endpoints.changes import Changes
from pyconsul.errors import Refused
from pyconsul.state import graves, kv
from pyconsul.state.shelves import Instance
from pyconsul.structs.changes import ChangesRequest, InstanceKey
from tests.state.replica import Replica

KEYS = ("a", "a/1", "a/2", "a/b/1", "a/b/2", "b", "b/1", "ab")
NODES = ("n1", "n2", "N3")


class Follower:
    """Holds a view, as a client does that asks only for what changed.

    :ivar resets: how often it had to begin anew.
    """

    def __init__(self, method: str, **request: Any) -> None:
        self.method = method
        self.request = request
        self.since = 0
        self.resets = 0
        self.rows: dict[Any, Any] = {}

    def ask(self, changes: Changes) -> None:
        """Take over what changed."""
        read: Read = getattr(changes, self.method)(ChangesRequest(since=self.since, **self.request))
        reply = read.reply
        if reply.reset:
            self.rows.clear()
            self.resets += 1
        for prefix in getattr(reply, "deleted_prefixes", ()):
            for key in [key for key in self.rows if key.startswith(prefix)]:
                del self.rows[key]
        for gone in reply.deleted:
            self.rows.pop(gone if isinstance(gone, str) else instance_key(gone.node, gone.service_id), None)
        changed = reply.changed
        if isinstance(changed, dict):
            self.rows.update(changed)
        else:
            self.rows.update({row_key(row): row for row in changed})
        self.since = reply.as_of


def instance_key(node: str, service_id: str) -> tuple[str, str]:
    return node.lower(), service_id.lower()


def row_key(row: Any) -> Any:
    if hasattr(row, "key"):
        return row.key
    if hasattr(row, "service_name"):
        return instance_key(row.node, row.service_id)
    return row.node if isinstance(row.node, str) else instance_key(row.node.node, row.service.id)


def random_step(made: Replica, rng: Random) -> None:
    """One write of any kind."""
    node, key = rng.choice(NODES), rng.choice(KEYS)
    service = {
        "id": rng.choice("xyz"), "service": rng.choice(("web", "Web", "db")), "tags": rng.choice((["t"], [])),
        "connect": {"Native": True} if rng.random() < 0.3 else {},
    }  # fmt: skip
    check = {"check_id": rng.choice("cd"), "status": rng.choice(("passing", "critical"))}
    steps: list[Callable[[], Any]] = [
        lambda: made.kv("set", key, rng.choice((b"1", b"2", b"3"))),
        lambda: made.kv("set", key, b"4"),
        lambda: made.kv("delete", key),
        lambda: made.kv("delete-tree", rng.choice(("", "a", "a/", "a/b/", "b"))),
        lambda: made.register(
            node, rng.choice(("192.0.2.1", "192.0.2.2")), node_meta={"k": rng.choice("uv")}
        ),
        lambda: made.register(node, service=service),
        lambda: made.register(node, service=service, checks=[{**check, "service_id": service["id"]}]),
        lambda: made.register(node, checks=[check]),
        lambda: made.deregister(node, service_id=rng.choice("xyz")),
        lambda: made.deregister(node, check_id=rng.choice("cd")),
        lambda: made.deregister(node),
    ]
    rng.choices(steps, weights=[4, 2, 3, 1, 3, 4, 4, 3, 2, 2, 1])[0]()


def followers() -> list[Follower]:
    return [
        Follower("kv", prefix=""), Follower("kv", prefix="a/"), Follower("kv", prefix="a/b/"),
        Follower("nodes"), Follower("nodes", node_meta_filters={"k": "u"}), Follower("services"),
        Follower("service_nodes", name="web"), Follower("service_nodes", name="web", tags=["T"]),
        Follower("service_nodes", name="web", connect=True), Follower("health", name="WEB"),
        Follower("health", name="web", passing=True), Follower("health", name="db", connect=True),
        Follower("health", name="web", filter='Node.Meta.k == "u"'),
    ]  # fmt: skip


def expected(made: Replica, follower: Follower) -> dict[Any, Any]:
    """What the view shows."""
    fresh = Follower(follower.method, **follower.request)
    fresh.ask(Changes(made.store))
    return fresh.rows


class ModelTests(SynchronousTestCase):
    def follow(self, seed: int, every: int) -> list[Follower]:
        rng = Random(seed)
        made = Replica()
        following = followers()
        for number in range(240):
            random_step(made, rng)
            if number == 120:  # go on at a server that has just been restored from a snapshot
                other = Replica()
                other.store.restore(made.store.snapshot())
                other.index = made.index
                made = other
            if number % every == 0:
                changes = Changes(made.store)
                for follower in following:
                    follower.ask(changes)
                    self.assertEqual(
                        follower.rows, expected(made, follower), (seed, number, follower.request)
                    )
        return following

    def test_following(self) -> None:
        """Whatever happens, and however rarely they ask; they begin anew only where they have to."""
        for seed in range(12):
            for every in (1, 3, 20):
                for follower in self.follow(seed, every):
                    self.assertLessEqual(follower.resets, 2, follower.request)

    def test_forgetting(self) -> None:
        """With little room for what went, they have to begin anew more often, and still hold the truth."""
        self.patch(kv, "GRAVES_MAX", 3)
        self.patch(kv, "GRAVES_COLLECTED", 2)
        self.patch(kv, "RECENT_MAX", 4)
        self.patch(graves.Graves.__init__, "__defaults__", (2,))
        resets = sum(follower.resets for seed in range(6) for follower in self.follow(seed, 7))
        self.assertGreater(resets, 6 * 13 * 2)

    def test_instances_agree_with_their_rows(self) -> None:
        """The comparison above means something: a fresh follower holds what plain reads show."""
        made = Replica()
        for _ in range(60):
            random_step(made, Random(made.index))
        group = made.store.catalog.group("web")
        rows = {} if group is None else {row_key(row): row for row in group.health()}
        self.assertEqual(expected(made, Follower("health", name="web")), rows)
        self.assertEqual(
            expected(made, Follower("kv", prefix="")), {row.key: row for row in made.store.kv.under("")[1]}
        )
        self.assertEqual(expected(made, Follower("services")), made.store.catalog.services())


class ReadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.made = Replica()
        self.changes = Changes(self.made.store)
        self.made.register("n1", service={"id": "w", "service": "web", "tags": ["a"]})
        self.made.kv("set", "a/1", b"1")

    def test_declarations(self) -> None:
        registry = Registry([self.changes])
        self.assertEqual(
            {method.name: (method.kind, method.permission) for method in registry.methods()},
            {
                "Changes.KV": ("read", "key:list"), "Changes.Nodes": ("read", "node:read"),
                "Changes.Services": ("read", "service:read"), "Changes.Health": ("read", "service:read"),
                "Changes.ServiceNodes": ("read", "service:read"),
            },
        )  # fmt: skip

    def test_nothing_new(self) -> None:
        """The index is the one that is waited with, so that the read waits for its watch to be touched."""
        self.made.kv("set", "b", b"1")
        for method, request, watch in (
            ("kv", {"prefix": "a/"}, ("kvp", "a/")),
            ("nodes", {}, ("nodes",)),
            ("services", {}, ("services",)),
            ("service_nodes", {"name": "Web"}, ("service", "web")),
            ("service_nodes", {"name": "Web", "connect": True}, ("connect", "web")),
            ("health", {"name": "Web"}, ("health", "web")),
            ("health", {"name": "Web", "connect": True}, ("connect-health", "web")),
        ):
            read = getattr(self.changes, method)(ChangesRequest(since=2, **request))
            self.assertEqual((read.index, read.watch, read.at_once), (2, (watch,), False), method)
            self.assertEqual((read.reply.as_of, read.reply.reset), (3, False))
            self.assertEqual((len(read.reply.changed), len(read.reply.deleted)), (0, 0))

    def test_beginning(self) -> None:
        """Without an index, with one of before a snapshot, or with one that there has not been."""
        for since in (0, 99):
            read = self.changes.kv(ChangesRequest(since=since, prefix="a"))
            self.assertEqual((read.index, read.reply.as_of, read.at_once), (2, 2, True))
            self.assertEqual((read.reply.reset, len(read.reply.changed)), (True, 1))
        read = self.changes.kv(ChangesRequest(since=99, prefix="a", allow_stale=True))
        self.assertEqual((read.index, read.reply.as_of, read.at_once), (99, 99, False))
        self.made.store.restore(self.made.store.snapshot())
        for since, reset in ((1, True), (2, False)):
            read = self.changes.service_nodes(ChangesRequest(since=since, name="web"))
            self.assertEqual(read.reply.reset, reset)

    def test_deletions(self) -> None:
        """Keys one by one, whole prefixes, and prefixes around the one that is looked at."""
        self.made.kv("set", "a/2", b"1")
        self.made.kv("delete", "a/2")
        self.made.kv("delete-tree", "a")
        self.made.kv("set", "a/3", b"1")
        for prefix, prefixes in (("", ["a"]), ("a", ["a"]), ("a/", ["a/"]), ("b", [])):
            reply = self.changes.kv(ChangesRequest(since=2, prefix=prefix)).reply
            self.assertEqual(reply.deleted_prefixes, prefixes, prefix)
            self.assertEqual(reply.deleted, [] if prefix == "b" else ["a/2"])
            self.assertEqual([row.key for row in reply.changed], [] if prefix == "b" else ["a/3"])

    def test_not_wanted_any_more(self) -> None:
        """A row that changed so that it is not wanted counts as deleted."""
        request = ChangesRequest(since=1, name="web", tags=["A"])
        self.made.register("n1", service={"id": "w", "service": "web", "tags": ["b"]})
        reply = self.changes.health(request).reply
        self.assertEqual((reply.changed, reply.deleted), ([], [InstanceKey("n1", "w")]))
        nodes = ChangesRequest(since=1, filter='Node == "x"')
        self.made.register("n1", "192.0.2.9")
        self.assertEqual(self.changes.nodes(nodes).reply.deleted, ["n1"])

    def test_refusals(self) -> None:
        for method in (self.changes.health, self.changes.service_nodes):
            error = self.assertRaises(Refused, method, ChangesRequest())
            self.assertEqual(str(error), "Must provide service name")
            error = self.assertRaises(Refused, method, ChangesRequest(name="web", filter="Foo == 1"))
            self.assertIn('Selector "Foo" is not valid', str(error))

    def test_instances_know_their_indexes(self) -> None:
        """Also where a check went, of which no row tells."""
        self.made.register("n1", checks=[{"check_id": "c", "service_id": "w", "status": "critical"}])
        self.made.deregister("n1", check_id="c")
        group = self.made.store.catalog.group("web")
        assert group is not None
        instance: Instance = group.ordered()[0]
        self.assertEqual((instance.index, instance.health_index), (1, 4))
        reply = self.changes.health(ChangesRequest(since=3, name="web")).reply
        self.assertEqual([row.checks for row in reply.changed], [[]])
