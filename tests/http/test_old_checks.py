"""``Script`` of checks, as up to Consul 1.0."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.http import old_checks
from pyconsul.structs.agent import CheckDefinition, ServiceDefinition
from tests.http.test_agent import Base

SHELL = ["/bin/sh", "-c", "exit 1"]


class RewriteTests(SynchronousTestCase):
    def test_check(self) -> None:
        for given, expected in (
            ({"Script": "exit 1"}, {"Args": SHELL}),
            (
                {"script": "exit 1", "shell": "/bin/zsh"},
                {"shell": "/bin/zsh", "Args": ["/bin/zsh", "-c", "exit 1"]},
            ),
            ({"SCRIPT": "exit 1", "Shell": 5}, {"Shell": 5, "Args": SHELL}),
            ({"Script": "exit 1", "args": ["true"]}, {"args": ["true"]}),
            ({"Script": "exit 1", "script_args": ["true"]}, {"script_args": ["true"]}),
            ({"Script": "exit 1", "Args": []}, {"Args": SHELL}),
            ({"Script": "", "TTL": "5s"}, {"TTL": "5s"}),
            ({"TTL": "5s"}, {"TTL": "5s"}),
            ({"Script": 5}, {"Script": 5}),
            ({"Script": None}, {"Script": None}),
            ([], []),
            (None, None),
        ):
            self.assertEqual(old_checks.check(given), expected)

    def test_service(self) -> None:
        given = {
            "Name": "w",
            "check": {"Script": "exit 1"},
            "Checks": [{"script": "exit 1"}, {"TTL": "5s"}, 3],
        }
        self.assertEqual(
            old_checks.service(given),
            {"Name": "w", "check": {"Args": SHELL}, "Checks": [{"Args": SHELL}, {"TTL": "5s"}, 3]},
        )
        odd: Any
        for odd in ({"Checks": {}}, {"Check": []}, [], None):
            self.assertEqual(old_checks.service(odd), odd)


class RouteTests(Base):
    def test_where_scripts_are_enabled(self) -> None:
        self.agent.allows_scripts = True
        check = {"Name": "c", "Script": "exit 1", "Interval": "10s"}
        expected = CheckDefinition(name="c", args=SHELL, interval="10s")
        self.assertEqual(self.put("check/register", check), (200, b""))
        self.assertEqual(self.put("service/register", {"Name": "w", "Check": check}), (200, b""))
        service = ServiceDefinition(name="w", check=expected)
        self.assertEqual(
            self.agent.calls, [("register_check", expected), ("register_service", service, False)]
        )

    def test_elsewhere(self) -> None:
        check = {"Name": "c", "Script": "exit 1", "Interval": "10s"}
        refused = (400, b'Request decode failed: json: unknown field "Script"')
        self.assertEqual(self.put("check/register", check), refused)
        self.assertEqual(self.put("service/register", {"Name": "w", "Check": check}), refused)
        self.assertEqual(self.agent.calls, [])
