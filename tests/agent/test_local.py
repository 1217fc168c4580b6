"""The services and checks of this node."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.local import LocalState
from pyconsul.errors import Refused
from pyconsul.structs.catalog import CRITICAL, PASSING, HealthCheck, NodeService

WEB = NodeService(id="web1", service="web", tags=["v1"], port=80)


def check(check_id: str = "c", service_id: str = "", **more: str) -> HealthCheck:
    facts: dict[str, Any] = {"status": CRITICAL, "type": "ttl"} | more
    return HealthCheck(check_id=check_id, name=check_id, service_id=service_id, **facts)


class Runner:
    """Notes what was asked of it."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def start(self) -> None:
        self.log.append("start")

    def stop(self) -> None:
        self.log.append("stop")


class LocalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.changes = 0
        self.local = LocalState("n1", self.changed)

    def changed(self) -> None:
        self.changes += 1

    def synced(self) -> None:
        """The servers know everything as it is."""
        for service in self.local.services.values():
            service.in_sync = True
        for local in self.local.checks.values():
            local.in_sync = True

    def states(self) -> dict[str, bool]:
        """Which services and checks the servers know as they are."""
        found = {key: local.in_sync for key, local in self.local.services.items()}
        return found | {key: local.in_sync for key, local in self.local.checks.items()}

    def test_service(self) -> None:
        """A new service is not in sync; the same again stays as it is."""
        self.local.add_service(WEB)
        self.assertEqual((self.states(), self.changes), ({"web1": False}, 1))
        self.synced()
        self.local.add_service(WEB)
        self.assertEqual(self.states(), {"web1": True})
        self.local.add_service(replace(WEB, port=81))
        self.assertEqual(self.states(), {"web1": False})
        self.local.add_service(replace(WEB, port=81))
        self.assertEqual(self.states(), {"web1": False})

    def test_checks_of_a_service(self) -> None:
        """A check that is registered again for another service is that one's from then on."""
        for service_id in ("web1", "db1"):
            self.local.add_service(replace(WEB, id=service_id))

        def of(service_id: str) -> list[str]:
            return [local.check.check_id for local in self.local.checks_of(service_id)]

        for check_id, service_id in (("a", "web1"), ("b", "web1"), ("c", "db1"), ("node", "")):
            self.local.add_check(check(check_id, service_id), None)
        self.assertEqual((of("web1"), of("db1"), of("")), (["a", "b"], ["c"], []))
        self.local.add_check(check("a", "db1"), None)
        self.assertEqual((of("web1"), of("db1")), (["b"], ["c", "a"]))
        self.local.add_check(check("b"), None)
        self.local.remove_check("c")
        self.assertEqual((of("web1"), of("db1")), ([], ["a"]))
        self.local.remove_service("db1")
        self.assertEqual((of("db1"), list(self.local.checks)), ([], ["b", "node"]))

    def test_checks_follow_their_service(self) -> None:
        """A check shows name and tags of its service; the same service again changes no check."""
        self.local.add_service(WEB)
        self.local.add_check(check(service_id="web1"), None)
        self.local.add_check(check("node"), None)
        found = self.local.checks["c"].check
        self.assertEqual((found.node, found.service_name, found.service_tags), ("n1", "web", ["v1"]))
        self.assertEqual(self.local.checks["node"].check.service_tags, [])
        self.synced()
        self.local.add_service(WEB)
        self.assertEqual(self.states(), {"web1": True, "c": True, "node": True})
        self.local.add_service(replace(WEB, tags=None))
        self.assertEqual(self.states(), {"web1": False, "c": False, "node": True})
        self.assertEqual(self.local.checks["c"].check.service_tags, [])

    def test_adopted_tags(self) -> None:
        """Tags that others set with the servers become ours, and the checks' as well."""
        self.local.add_service(WEB)
        self.local.add_check(check(service_id="web1"), None)
        self.synced()
        self.changes = 0
        self.local.adopt_tags("web1", ["v2"])
        self.assertEqual(self.local.services["web1"].service.tags, ["v2"])
        self.assertEqual(self.local.checks["c"].check.service_tags, ["v2"])
        self.assertEqual((self.states(), self.changes), ({"web1": True, "c": False}, 0))
        self.local.adopt_tags("web1", None)
        self.assertEqual(self.local.services["web1"].service.tags, [])

    def test_remove_service(self) -> None:
        """Its checks go with it, and the servers have to forget them all."""
        runner = Runner()
        self.local.add_service(WEB)
        self.local.add_check(check(service_id="web1"), runner)
        self.local.add_check(check("node"), None)
        self.changes = 0
        self.assertTrue(self.local.remove_service("web1"))
        self.assertEqual((list(self.local.gone_services), list(self.local.gone_checks)), (["web1"], ["c"]))
        self.assertEqual((self.states(), runner.log, self.changes), ({"node": False}, ["start", "stop"], 1))
        self.assertFalse(self.local.remove_service("web1"))
        self.assertEqual(self.changes, 1)
        self.local.add_service(WEB)
        self.assertEqual(list(self.local.gone_services), [])

    def test_check(self) -> None:
        """A check is started; one with its id is stopped and replaced, but keeps its state."""
        first, second = Runner(), Runner()
        self.local.add_check(check(), first)
        self.local.update_check("c", PASSING, "fine")
        self.local.add_check(check(notes="new", type="http"), second)
        found = self.local.checks["c"].check
        self.assertEqual(
            (found.status, found.output, found.notes, found.type), (PASSING, "fine", "new", "http")
        )
        self.assertEqual((first.log, second.log), (["start", "stop"], ["start"]))

    def test_the_same_check_again(self) -> None:
        """Clients register again and again; that alone is nothing to tell the servers."""
        self.local.add_check(check(), None)
        self.local.update_check("c", PASSING, "fine")
        self.synced()
        self.local.add_check(check(), None)
        self.assertEqual(self.states(), {"c": True})
        self.local.add_check(check(notes="new"), None)
        self.assertEqual(self.states(), {"c": False})

    def test_check_of_an_unknown_service(self) -> None:
        """It is refused, and nothing was started or changed."""
        runner = Runner()
        error = self.assertRaises(Refused, self.local.add_check, check(service_id="none"), runner)
        self.assertEqual(str(error), 'ServiceID "none" does not exist')
        self.assertEqual((self.states(), runner.log, self.changes), ({}, [], 0))

    def test_remove_check(self) -> None:
        """The servers have to forget it, unless it comes back first."""
        runner = Runner()
        self.local.add_check(check(), runner)
        self.assertTrue(self.local.remove_check("c"))
        self.assertFalse(self.local.remove_check("c"))
        self.assertEqual((runner.log, list(self.local.gone_checks)), (["start", "stop"], ["c"]))
        self.local.add_check(check(), None)
        self.assertEqual(list(self.local.gone_checks), [])

    def test_update(self) -> None:
        """Only what differs is a change."""
        self.local.add_check(check(), None)
        self.synced()
        self.changes = 0
        self.local.update_check("c", CRITICAL, "")
        self.local.update_check("unknown", PASSING, "")
        self.assertEqual((self.changes, self.states()), (0, {"c": True}))
        self.local.update_check("c", PASSING, "")
        self.assertEqual((self.changes, self.states()), (1, {"c": False}))
        self.synced()
        self.local.update_check("c", PASSING, "more")
        self.assertEqual((self.changes, self.states()), (2, {"c": False}))

    def test_output_alone(self) -> None:
        """A new output in the same state may be told later, if somebody takes care of that."""
        later: list[str] = []
        self.local.output_changed = later.append
        self.local.add_check(check(), None)
        self.synced()
        self.changes = 0
        self.local.update_check("c", CRITICAL, "more")
        self.assertEqual((later, self.changes, self.states()), (["c"], 0, {"c": True}))
        self.assertEqual(self.local.checks["c"].check.output, "more")
        self.local.update_check("c", PASSING, "more")
        self.assertEqual((later, self.changes, self.states()), (["c"], 1, {"c": False}))

    def test_stop(self) -> None:
        """An agent that ends runs no check any more."""
        runner = Runner()
        self.local.add_check(check(), runner)
        self.local.add_check(check("d"), None)
        self.local.stop()
        self.assertEqual(runner.log, ["start", "stop"])
