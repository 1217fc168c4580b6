"""What every command on the catalog must keep true, over random histories."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.endpoints.base import Read
from pyconsul.endpoints.catalog import Catalog
from pyconsul.endpoints.health import Health
from pyconsul.errors import PyconsulError
from pyconsul.state.store import Store
from pyconsul.structs.catalog import ChecksInStateRequest, NodeSpecificRequest, ServiceSpecificRequest
from pyconsul.structs.query import DCSpecificRequest
from tests.state.replica import Replica, Waiter

NODES = ["n1", "N1", "n2", "n3"]
SERVICES = ["web", "WEB", "db"]
IDS = ["", "40e4a748-2192-161a-0510-9bf59fe950b1", "40e4a748-2192-161a-0510-9bf59fe950b2"]

SERVICE = st.fixed_dictionaries(
    {"service": st.sampled_from(SERVICES)},
    optional={
        "id": st.sampled_from(["s1", "S1", "s2"]),
        "port": st.sampled_from([1, 2]),
        "tags": st.sampled_from([["a"], ["a", "B"]]),
        "connect": st.just({"Native": True}),
    },
)
CHECK = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["c1", "c2", "serfHealth"]),
        "status": st.sampled_from(["passing", "critical"]),
    },
    optional={"service_id": st.sampled_from(["s1", "s2", "web"]), "service_name": st.just("db")},
)
REGISTER = st.fixed_dictionaries(
    {"node": st.sampled_from(NODES)},
    optional={
        "address": st.sampled_from(["192.0.2.1", "192.0.2.2"]),
        "id": st.sampled_from(IDS),
        "node_meta": st.sampled_from([{"k": "v"}, {"k": "w"}]),
        "skip_node_update": st.booleans(),
        "service": SERVICE,
        "checks": st.lists(CHECK, max_size=2),
    },
)
DEREGISTER = st.fixed_dictionaries(
    {"node": st.sampled_from(NODES)},
    optional={"service_id": st.sampled_from(["s1", "s2", "web"]), "check_id": st.sampled_from(["c1", "c2"])},
)
STEPS = st.lists(
    st.one_of(st.tuples(st.just("register"), REGISTER), st.tuples(st.just("deregister"), DEREGISTER)),
    max_size=15,
)


def reads(store: Store) -> list[Callable[[], Read]]:
    """Every kind of read, of everything that the histories may touch, as those ask who wait.

    Others are told that the index of a node that is not there is 1.
    """
    catalog, health = Catalog(store, "dc1"), Health(store, "dc1")
    meta = {"k": "v"}
    asked: list[tuple[Callable[[Any], Read], Any]] = [
        (catalog.list_nodes, DCSpecificRequest()),
        (catalog.list_nodes, DCSpecificRequest(node_meta_filters=meta)),
        (catalog.list_services, DCSpecificRequest()),
        (catalog.list_services, DCSpecificRequest(node_meta_filters=meta)),
    ]
    for node in ("n1", "n2", "n3"):
        for call in (catalog.node_services, catalog.node_service_list, health.node_checks):
            asked.append((call, NodeSpecificRequest(node=node, min_query_index=2)))
    for name in ("web", "db"):
        for connect in (False, True):
            for more in ({}, {"node_meta_filters": meta}, {"tag_filter": True, "service_tags": ["b"]}):
                request = ServiceSpecificRequest(service_name=name, connect=connect, **more)
                asked += [(catalog.service_nodes, request), (health.service_nodes, request)]
        asked.append((health.service_checks, ServiceSpecificRequest(service_name=name)))
        asked.append(
            (health.service_checks, ServiceSpecificRequest(service_name=name, node_meta_filters=meta))
        )
    for state in ("any", "passing", "critical", "warning"):
        asked.append((health.checks_in_state, ChecksInStateRequest(state=state)))
        asked.append((health.checks_in_state, ChecksInStateRequest(state=state, node_meta_filters=meta)))
    return [partial(call, request) for call, request in asked]


def take(read: Read) -> tuple[int, bytes, tuple[Hashable, ...]]:
    """Index, JSON and watch keys of a read."""
    return read.index, msgspec.json.encode(read.reply), tuple(read.watch)


class InvariantTests(SynchronousTestCase):
    @settings(max_examples=100, deadline=None)
    @given(STEPS)
    def test_indexes_and_watches(self, steps: list[tuple[str, dict[str, Any]]]) -> None:
        """An answer that changed has the command's index and its watcher was woken; none falls.

        A refused command changes nothing. Rows kept for replies never lag behind the tables.
        """
        replica = Replica()
        questions = reads(replica.store)
        for kind, fields in steps:
            before = [take(question()) for question in questions]
            waiters = [Waiter() for _ in before]
            for (_, _, watch), waiter in zip(before, waiters):
                replica.store.watches.register(watch, waiter)
            result = getattr(replica, kind)(**fields)
            for question, (index, body, watch), waiter in zip(questions, before, waiters):
                index_after, body_after, _ = take(question())
                self.assertGreaterEqual(index_after, index)
                if body_after != body:
                    self.assertEqual((index_after, waiter.woken), (replica.index, 1), watch)
                    self.assertNotIsInstance(result, PyconsulError)
                elif waiter.woken:
                    self.assertEqual((index_after, waiter.woken), (replica.index, 1), watch)
                replica.store.watches.cancel(watch, waiter)
            self.assertEqual(len(replica.store.watches), 0)
        self.assert_same_after_restore(replica)

    def assert_same_after_restore(self, replica: Replica) -> None:
        """A store made from the snapshot answers alike and goes on alike."""
        other = Replica()
        other.store.restore(replica.store.snapshot())
        other.index = replica.index
        self.assertEqual(other.store.digest(), replica.store.digest())
        self.assertEqual(
            [take(question()) for question in reads(other.store)],
            [take(question()) for question in reads(replica.store)],
        )
        for one in (replica, other):
            one.register("n1", service={"service": "web", "id": "s1", "port": 9}, checks=[{"name": "c1"}])
            one.deregister("n2")
        self.assertEqual(other.store.digest(), replica.store.digest())

    @settings(max_examples=50, deadline=None)
    @given(STEPS)
    def test_determinism(self, steps: list[tuple[str, dict[str, Any]]]) -> None:
        """The same log gives the same store and the same results, whoever watches."""
        replica = Replica()
        results = [repr(getattr(replica, kind)(**fields)) for kind, fields in steps]
        other = Replica()
        other.wait(("nodes",), ("health", "web"))
        again = [repr(other.fsm.apply(index, command)) for index, command in replica.log]
        self.assertEqual(again, results)
        self.assertEqual(other.store.digest(), replica.store.digest())
