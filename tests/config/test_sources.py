"""Files, folders, fragments and flags, and how they add up."""

import json
import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.config.host import Host
from pyconsul.config.interfaces import interface
from pyconsul.config.sources import Sources, load, taken_over
from pyconsul.errors import ConfigurationError

HOST = Host("host", lambda: [interface("eth0", "10.0.0.5/8")])


class SourceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def write(self, name: str, content: object) -> str:
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return str(path)

    def load(self, *paths: str, **options: Any) -> Any:
        flags = {"data_dir": str(self.folder), **options.pop("flags", {})}
        return load(Sources(paths=paths, flags=flags, **options), HOST)

    def refused(self, *paths: str, **options: Any) -> str:
        error = self.assertRaises(ConfigurationError, self.load, *paths, **options)
        return str(error)


class FileTests(SourceTests):
    def test_json_and_hcl(self) -> None:
        """The suffix decides; a later file wins."""
        first = self.write("a.json", {"node_name": "one", "ports": {"http": 1}})
        second = self.write("b.hcl", 'node_name = "two"\nports { dns = 2 }')
        config = self.load(first, second)
        self.assertEqual((config.node_name, config.ports.http, config.ports.dns), ("two", 1, 2))

    def test_format(self) -> None:
        """One format for all files, whatever their names."""
        path = self.write("a.conf", 'node_name = "one"')
        self.assertEqual(self.load(path, format="hcl").node_name, "one")
        self.assertIn("failed to parse", self.refused(path, format="json"))
        self.assertEqual(
            self.refused(path, format="toml"), "config: -config-format must be either 'hcl' or 'json'"
        )

    def test_other_suffixes(self) -> None:
        """Other files are skipped with a word."""
        path = self.write("a.conf", "junk")
        config = self.load(path)
        self.assertEqual(
            config.warnings,
            (f"skipping file {path}, extension must be .hcl or .json, or config format must be set",),
        )

    def test_folder(self) -> None:
        """All files of a folder by name, nothing below it."""
        self.write("b.json", {"node_name": "b"})
        self.write("a.json", {"node_name": "a", "datacenter": "a"})
        (self.folder / "c.json").mkdir()
        config = self.load(f"{self.folder}/")
        self.assertEqual((config.node_name, config.datacenter), ("b", "a"))

    def test_missing(self) -> None:
        """A path that is not there is an error that names it."""
        self.assertEqual(
            self.refused("nofile"), "config: Open failed on nofile. open nofile: no such file or directory"
        )

    def test_unreadable_folder(self) -> None:
        """A folder that cannot be listed is one too."""

        def forbidden(path: str) -> Any:
            raise PermissionError(13, "Permission denied")

        self.patch(os, "listdir", forbidden)
        self.assertIn("permission denied", self.refused(str(self.folder)))

    def test_empty(self) -> None:
        """An empty file says nothing."""
        self.assertEqual(self.load(self.write("a.json", " \n")).node_name, "host")

    def test_not_parsed(self) -> None:
        """Syntax errors name the file and the place."""
        path = self.write("a.json", '{"a": }')
        self.assertEqual(
            self.refused(path), f"failed to parse {path}: Expecting value: line 1 column 7 (char 6)"
        )
        path = self.write("a.hcl", "a = b")
        self.assertEqual(self.refused(path), f"failed to parse {path}: At 1:5: Unknown token: 1:5 IDENT b")
        path = self.write("b.json", "[]")
        self.assertIn("does not hold one object", self.refused(path))
        path = self.write("c.json", "[" * 100_000)
        self.assertIn("failed to parse", self.refused(path))
        (self.folder / "d.json").write_bytes(b"\xff")
        self.assertIn("not UTF-8", self.refused(str(self.folder / "d.json")))

    def test_unknown_keys(self) -> None:
        """Keys that there are not, also within services."""
        path = self.write("a.json", {"foo": 1, "service": {"nam": "x"}})
        self.assertEqual(
            self.refused(path),
            f"failed to parse {path}: 2 errors occurred:\n"
            "\t* invalid config key foo (line 1)\n"
            "\t* invalid config key service.nam (line 1; did you mean name?)\n\n",
        )

    def test_new_keys(self) -> None:
        """Keys that came after 1.8 are unknown."""
        for key in ("tls", "peering", "request_limits", "ui_config", "license_path", "rpc"):
            self.assertIn(f"invalid config key {key}", self.refused(self.write("a.json", {key: {}})))

    def test_conversion_errors(self) -> None:
        """Values that make no sense, all at once."""
        path = self.write("a.json", {"retry_interval": "abc", "ports": {"http": 70000}})
        self.assertEqual(
            self.refused(path),
            "2 errors occurred:\n"
            f'\t* retry_interval: invalid duration: "abc": time: invalid duration "abc" ({path}:1)\n'
            f"\t* ports.http: invalid port: 70000 ({path}:1)\n\n",
        )


class LayerTests(SourceTests):
    def test_order(self) -> None:
        """Files, then flags, then fragments; flags' lists come first; maps are merged."""
        path = self.write(
            "a.json",
            {
                "datacenter": "file",
                "log_level": "WARN",
                "retry_join": ["file"],
                "node_meta": {"a": "1", "b": "1"},
            },
        )
        flags = {"datacenter": "flag", "log_level": "ERR", "retry_join": ["flag"], "node_meta": {"b": "2"}}
        config = self.load(path, flags=flags, fragments=('datacenter = "hcl" retry_join = ["hcl"]',))
        self.assertEqual((config.datacenter, config.log_level), ("hcl", "ERR"))
        self.assertEqual(config.retry_join, ("flag", "file", "hcl"))
        self.assertEqual(config.node_meta, {"a": "1", "b": "2"})

    def test_fragment_errors(self) -> None:
        """A fragment is named by its number."""
        text = self.refused(fragments=("node_name = 1", ""))
        self.assertIn("failed to parse flags-0.hcl: 1 error(s) decoding", text)
        self.assertIn("flags-1.hcl", self.refused(fragments=("", "foo = 1")))

    def test_dev(self) -> None:
        """Development mode goes under files and flags."""
        config = load(Sources(dev=True), HOST)
        self.assertTrue(config.dev and config.server and config.connect.enabled)
        facts = (config.bind_addr, config.log_level, config.ports.grpc, config.gossip_lan.probe_interval)
        self.assertEqual(facts, ("127.0.0.1", "DEBUG", 8502, 0.1))
        self.assertEqual(config.raft_timers, (0.035, 0.052, 0.02))
        path = self.write("a.json", {"log_level": "WARN"})
        self.assertEqual(self.load(path, dev=True, flags={"bind_addr": "127.0.0.9"}).log_level, "WARN")

    def test_raft_timers(self) -> None:
        """Otherwise the multiplier decides."""
        config = self.load(fragments=("performance { raft_multiplier = 2 }",))
        self.assertEqual(config.raft_timers, (2.0, 2.0, 1.0))

    def test_services_and_checks(self) -> None:
        """One or many, from several files; they come out as one list."""
        first = self.write("a.json", {"service": {"name": "a"}, "services": [{"name": "b"}]})
        second = self.write(
            "b.hcl", 'service { name = "c" check { ttl = "1s" } }\ncheck { id = "d" ttl = "1s" }'
        )
        config = self.load(first, second)
        self.assertEqual([service["name"] for service in config.services], ["a", "b", "c"])
        self.assertEqual(config.services[2]["checks"], [{"ttl": "1s"}])
        self.assertEqual(config.checks, ({"id": "d", "ttl": "1s"},))
        text = self.refused(self.write("c.json", {"check": {"ttl": "x"}}))
        self.assertIn('check[].ttl: invalid duration: "x"', text)

    def test_old_keys(self) -> None:
        """Keys of older versions have their new meaning, with a word."""
        path = self.write(
            "a.json", {"acl_datacenter": "dc9", "acl_token": "t", "ports": {"rpc": 8400}, "reap": 3}
        )
        config = self.load(path)
        self.assertEqual((config.primary_datacenter, config.acl.tokens.default), ("dc9", "t"))
        self.assertEqual(
            config.warnings[0],
            "The 'acl_datacenter' field is deprecated. Use the 'primary_datacenter' field instead.",
        )
        self.assertEqual(
            config.warnings[1:],
            (
                "The 'acl_token' field is deprecated. Use the 'acl.tokens.default' field instead.",
                "reap is accepted, but has no effect.",
                "Accepted, but without effect yet: acl.tokens.default",
            ),
        )
        path = self.write("c.json", {"telemetry": {"circonus_api_token": "t"}, "acl": {"disabled_ttl": "x"}})
        self.assertEqual(
            self.load(path).warnings,
            (
                "telemetry.circonus_api_token is ignored: metrics cannot be sent to Circonus.",
                "acl.disabled_ttl is accepted, but has no effect.",
            ),
        )

    def test_old_key_beside_its_new_name(self) -> None:
        """The new name counts."""
        new_last = self.write("a.json", {"acl_datacenter": "old", "primary_datacenter": "new"})
        self.assertEqual(self.load(new_last).primary_datacenter, "new")
        new_first = self.write("b.json", {"primary_datacenter": "new", "acl_datacenter": "old"})
        self.assertEqual(self.load(new_first).primary_datacenter, "new")

    def test_atlas(self) -> None:
        """What is gone is named together with what to use."""
        config = self.load(self.write("a.json", {"atlas_token": "x"}))
        self.assertIn("-retry-join", config.warnings[0])


class ReloadTests(SourceTests):
    def test_reload(self) -> None:
        """What may change does, the rest stays as it was."""
        path = self.write(
            "a.json", {"log_level": "INFO", "node_name": "one", "dns_config": {"node_ttl": "1s"}}
        )
        config = self.load(path)
        self.write(
            "a.json",
            {
                "log_level": "WARN",
                "node_name": "two",
                "dns_config": {"node_ttl": "9s"},
                "service": {"name": "w"},
            },
        )
        assert config.sources is not None
        new = taken_over(config, load(config.sources, HOST))
        self.assertEqual((new.log_level, new.node_name, new.dns_config.node_ttl), ("WARN", "one", 9.0))
        self.assertEqual(new.services, ({"name": "w"},))
        self.assertIs(new.sources, config.sources)
