"""Which definition is run by what."""

from __future__ import annotations

import sys
from random import Random
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.checks.definition import CheckType
from pyconsul.checks.making import CheckMaker
from pyconsul.checks.ttl import TtlCheck

NEED_H2 = ("grpc", "h2ping", "http2")


class MakeTests(SynchronousTestCase):
    def made(self, kind: str) -> Any:
        definition = CheckType(check_id="c", kind=kind, target="http://x", args=("x",))
        return CheckMaker(Clock(), Random(1), lambda *_: None, lambda *_: []).make(definition)

    def test_every_kind(self) -> None:
        self.assertIsInstance(self.made("ttl"), TtlCheck)
        for kind, probe in (
            ("http", "HttpProbe"), ("tcp", "TcpProbe"), ("udp", "UdpProbe"), ("script", "ScriptProbe"),
            ("docker", "DockerProbe"), ("alias", "AliasProbe"), ("os_service", "OsServiceProbe"),
            ("python", "PythonProbe"),
        ):  # fmt: skip
            self.assertEqual(type(self.made(kind)._probe).__name__, probe)

    def test_without_h2(self) -> None:
        """The check says what has to be installed."""
        before = dict(sys.modules)
        self.addCleanup(sys.modules.update, before)
        for name in before:
            if name.partition(".")[0] == "h2" or name.removeprefix("pyconsul.checks.") in NEED_H2:
                del sys.modules[name]
        sys.modules["h2"] = None  # type: ignore[assignment]
        self.addCleanup(sys.modules.pop, "h2")
        for kind in ("grpc", "h2ping"):
            probe = self.made(kind)._probe
            status, output = self.successResultOf(probe.run())
            self.assertEqual(status, "critical")
            self.assertIn("install pyconsul[grpc]", output)
            self.assertEqual(probe.timed_out().status, "critical")
