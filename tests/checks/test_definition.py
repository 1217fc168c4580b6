"""Definitions of checks, with the texts of Consul 1.8.7."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.checks.definition import (
    CheckType,
    check_status,
    check_type,
    duration_s,
    kind_of,
    runs_program,
)
from pyconsul.errors import BadRequest
from pyconsul.structs.agent import CheckDefinition


def made(**fields: Any) -> CheckType:
    return check_type(CheckDefinition(name="n", **fields))[0]


class KindTests(SynchronousTestCase):
    def test_which_field_decides(self) -> None:
        """Where several are set, the one that Consul runs."""
        for fields, kind in (
            ({"ttl": "1s"}, "ttl"),
            ({"http": "http://x", "tcp": "x:1", "args": ["x"]}, "http"),
            ({"grpc": "x:1", "http": "http://x"}, "grpc"),
            ({"tcp": "x:1", "args": ["x"]}, "tcp"),
            ({"args": ["x"]}, "script"),
            ({"script_args": ["x"]}, "script"),
            ({"args": ["x"], "docker_container_id": "c"}, "docker"),
            ({"alias_service": "s", "args": ["x"]}, "alias"),
            ({"alias_node": "n"}, "alias"),
            ({"docker_container_id": "c"}, "ttl"),
        ):
            self.assertEqual(kind_of(CheckDefinition(**fields))[0], kind)

    def test_targets(self) -> None:
        """What is looked at, for each type that looks at one thing."""
        for field, kind in (
            ("grpc", "grpc"), ("http", "http"), ("h2ping", "h2ping"), ("tcp", "tcp"), ("udp", "udp"),
            ("os_service", "os_service"), ("python", "python"),
        ):  # fmt: skip
            fields: dict[str, Any] = {field: "x"}
            self.assertEqual(kind_of(CheckDefinition(**fields)), (kind, "x"))
        docker = CheckDefinition(docker_container_id="c", args=["a"])
        self.assertEqual(kind_of(docker), ("docker", "c"))

    def test_programs(self) -> None:
        self.assertTrue(runs_program(CheckDefinition(args=["x"], http="http://x")))
        self.assertTrue(runs_program(CheckDefinition(script_args=["x"])))
        self.assertTrue(runs_program(CheckDefinition(python="x")))
        self.assertFalse(runs_program(CheckDefinition(http="http://x")))


class CheckTypeTests(SynchronousTestCase):
    def test_fields(self) -> None:
        found = made(
            id="i", http="http://x", interval="10s", timeout=2_500_000_000, method="put", body="b",
            header={"A": ["b"]}, tls_skip_verify=True, success_before_passing=2, failures_before_critical=3,
            deregister_critical_service_after="90m", output_max_size=20,
        )  # fmt: skip
        self.assertEqual(
            found,
            CheckType(
                check_id="i", kind="http", interval_s=10.0, timeout_s=2.5, target="http://x", method="put",
                header={"A": ["b"]}, body="b", tls_skip_verify=True, success_before_passing=2,
                failures_before_critical=3, deregister_after_s=5400.0, output_bytes_max=20,
            ),
        )  # fmt: skip

    def test_defaults(self) -> None:
        self.assertEqual(made(http="http://x", interval="1s").timeout_s, 10.0)
        self.assertEqual(made(tcp="x:1", interval="1s").timeout_s, 10.0)
        script = made(args=["a", "b"], interval="1s")
        self.assertEqual((script.timeout_s, script.args), (30.0, ("a", "b")))
        self.assertEqual((script.check_id, script.method, script.output_bytes_max), ("n", "GET", 4096))
        found, _ = check_type(CheckDefinition(name="n", ttl="1s"), "service:web", 99)
        self.assertEqual((found.check_id, found.output_bytes_max), ("service:web", 99))
        self.assertEqual(check_type(CheckDefinition(name="n", check_id="c", ttl=1))[0].check_id, "c")

    def test_tls(self) -> None:
        """Only H2 pings use it unless told not to."""
        for fields, uses in (
            ({"grpc": "x:1"}, False),
            ({"grpc": "x:1", "grpc_use_tls": True}, True),
            ({"tcp": "x:1", "grpc_use_tls": True}, False),
            ({"tcp": "x:1", "tcp_use_tls": True}, True),
            ({"h2ping": "x:1"}, True),
            ({"h2ping": "x:1", "h2ping_use_tls": False}, False),
        ):
            self.assertEqual(made(interval="1s", **fields).tls, uses, fields)

    def test_python(self) -> None:
        found = made(python="disk", python_options={"path": "/"}, interval="1s")
        self.assertEqual((found.target, found.options, found.timeout_s), ("disk", {"path": "/"}, 30.0))

    def test_short_intervals_are_raised(self) -> None:
        """With a warning."""
        found, warnings = check_type(CheckDefinition(name="n", tcp="x:1", interval="1ms"))
        self.assertEqual(found.interval_s, 1.0)
        self.assertEqual(warnings, ["check has interval below minimum: check=n minimum_interval=1s"])
        found, warnings = check_type(
            CheckDefinition(name="n", ttl="1s", deregister_critical_service_after="1s")
        )
        self.assertEqual(found.deregister_after_s, 60.0)
        self.assertEqual(len(warnings), 1)
        self.assertEqual(check_type(CheckDefinition(name="n", ttl="800ms")), (made(ttl="800ms"), []))

    def test_what_makes_no_sense(self) -> None:
        ttl = "TTL must be > 0 for TTL checks"
        interval = "Interval must be > 0 for Script, HTTP, or TCP checks"
        both = "Interval and TTL cannot both be specified"
        size = "MaxOutputMaxSize must be positive"
        for fields, problem in (
            ({}, ttl),
            ({"interval": "1s"}, ttl),
            ({"ttl": "-1s"}, ttl),
            ({"ttl": -1}, ttl),
            ({"docker_container_id": "x", "interval": "1s"}, ttl),
            ({"shell": "x", "interval": "1s"}, ttl),
            ({"ttl": "10s", "http": "http://x"}, interval),
            ({"tcp": "x:1"}, interval),
            ({"http": "x", "interval": "0"}, interval),
            ({"http": "x", "interval": "-1s"}, interval),
            ({"grpc": "x"}, interval),
            ({"docker_container_id": "x", "args": ["x"]}, interval),
            ({"ttl": "10s", "interval": "1s"}, both),
            ({"ttl": "10s", "interval": "1s", "tcp": "x:1"}, both),
            ({"alias_service": "x", "ttl": "1s"}, "TTL must be not be set for Alias checks"),
            ({"alias_service": "x", "ttl": "1s", "interval": "1s"}, both),
            ({"alias_node": "x", "tcp": "x:1", "interval": "1s"}, "Interval cannot be set for Alias checks"),
            ({"alias_node": "x", "args": ["x"], "ttl": "1s"}, interval),
            ({"udp": "x:1"}, interval),
            ({"python": "x"}, interval),
            ({"ttl": "10s", "output_max_size": -1}, size),
            ({"http": "x", "interval": "1s", "output_max_size": -1}, size),
        ):
            error = self.assertRaises(BadRequest, made, **fields)
            self.assertEqual(str(error), f"Invalid check: {problem}", fields)

    def test_alias(self) -> None:
        """Looks every second, unless told to do so less often."""
        found = made(alias_service="s")
        self.assertEqual((found.kind, found.alias_service, found.interval_s), ("alias", "s", 1.0))
        self.assertEqual(made(alias_node="n", interval="1m").interval_s, 60.0)

    def test_durations(self) -> None:
        self.assertEqual((duration_s(""), duration_s(5), duration_s("1m30s")), (0.0, 5e-9, 90.0))
        error = self.assertRaises(BadRequest, made, ttl="5")
        self.assertEqual(str(error), 'Request decode failed: time: missing unit in duration "5"')

    def test_states(self) -> None:
        for status in ("", "passing", "warning", "critical"):
            check_status(status)
        error = self.assertRaises(BadRequest, check_status, "odd")
        self.assertEqual(str(error), "Bad check status")
        error = self.assertRaises(BadRequest, check_status, "odd", of_service=True)
        self.assertEqual(str(error), "Status for checks must 'passing', 'warning', 'critical'")
