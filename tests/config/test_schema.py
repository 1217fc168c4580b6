"""The settings as a whole, against the reference binary where it is present."""

import json
import subprocess
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from pyconsul.config import legacy, reference
from pyconsul.config.definitions import CHECK, OTHER_CHECK, SERVICE
from pyconsul.config.kinds import ANY_MAP, BOOL, DURATION, INT, MAPS, NUMBER, PORT, STRING_MAP, UINT, Kind
from pyconsul.config.schema import DEV, AgentConfig
from pyconsul.config.setting import declared
from pyconsul.config.sources import Reader
from pyconsul.config.tree import ListOf, MapOf
from tests.test_hcl import real_consul

OURS = {"http_api_response_headers", "statsd_addr", "statsite_addr", "statsite_prefix", "addresses.rpc",
        "ports.rpc", "reap", *legacy.ATLAS}  # fmt: skip
"""Keys of Consul 0.7 that 1.8.7 refuses and we still read."""


def example(kind: object) -> Any:
    """A value of a kind, as a file would hold it."""
    if isinstance(kind, ListOf):
        return [example(kind.spec)]
    if isinstance(kind, MapOf):
        return {"name": example(kind.spec)}
    if not isinstance(kind, Kind):
        assert isinstance(kind, dict)
        return {key: example(inner) for key, inner in kind.items()}
    if kind.many:
        return []
    if kind.name == "map of lists":
        return {"a": ["b"]}
    examples: dict[Kind, Any] = {
        BOOL: True, INT: 3, UINT: 3, NUMBER: 1.5, PORT: 9, DURATION: "9h",
        STRING_MAP: {"a": "b"}, ANY_MAP: {}, MAPS: [],
    }  # fmt: skip
    return examples.get(kind, {"a": "5s"} if kind.name == "map of durations" else "x")


class SchemaTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """Some defaults that clients rely on."""
        config = AgentConfig()
        ports = config.ports
        self.assertEqual((ports.server, ports.serf_lan, ports.serf_wan, ports.http), (8300, 8301, 8302, 8500))
        self.assertEqual((ports.https, ports.grpc, ports.dns), (-1, -1, 8600))
        self.assertEqual((config.limits.kv_max_value_size, config.retry_interval), (524288, 30.0))
        self.assertEqual((config.gossip_wan.probe_interval, config.gossip_wan.suspicion_mult), (5.0, 6))

    def test_dev_overrides_are_valid(self) -> None:
        """Development mode only uses keys that there are."""
        self.assertIn("ports.grpc", Reader().layer(DEV, "dev", []))

    def test_the_reference_knows_every_key(self) -> None:
        """A file with all our keys has none that Consul 1.8.7 does not know."""
        binary = real_consul()
        if binary is None:
            raise SkipTest("the reference binary is not here")
        check = {key: value for key, value in CHECK.items() if key not in OTHER_CHECK}
        service = {key: value for key, value in SERVICE.items() if key not in ("check", "checks", "connect")}
        tree: dict[str, Any] = {"service": example(service), "check": example(check)}
        paths = {item.path: item.setting.kind for item in declared(AgentConfig())}
        paths |= {old: paths[new] for old, new in legacy.RENAMED.items()}
        for path, kind in paths.items():
            if path not in OURS:
                inner = tree
                *heads, name = path.split(".")
                for head in heads:
                    inner = inner.setdefault(head, {})
                inner[name] = example(kind)
        file = Path(self.mktemp() + ".json")
        file.write_text(json.dumps(tree))
        done = subprocess.run(
            [binary, "validate", str(file)], capture_output=True, text=True, timeout=30, check=False
        )
        self.assertNotIn("invalid config key", done.stderr)
        self.assertNotIn("decoding", done.stderr)

    def test_reference_page(self) -> None:
        """The page has every key, with default and flag."""
        page = reference.render()
        for item in declared(AgentConfig()):
            self.assertIn(f"\n``{item.path}``\n", page)
        self.assertIn("*port*, default ``8500``, flag ``-http-port``", page)
        self.assertIn("*duration*, default ``5m0s``, flag ``-default-query-time``", page)
        self.assertIn("*boolean*, default ``true``, reloadable", page)
        self.assertIn("default ``127.0.0.1``", page)
        self.assertIn("default none", page)
