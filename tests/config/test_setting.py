"""Declaring settings."""

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.config.kinds import INT, STRING, STRING_MAP
from pyconsul.config.schema import AgentConfig
from pyconsul.config.setting import SettingGroup, declared, group, replaced, setting


class Inner(SettingGroup, frozen=True, kw_only=True):
    port: int = setting(1, INT, "A port.", flag="port", reload=True)
    hidden: str = setting("", STRING, "A secret.", secret=True)


class Outer(SettingGroup, frozen=True, kw_only=True):
    other: int = 0
    tags: dict[str, str] = setting({}, STRING_MAP, "Tags.")
    inner: Inner = group(Inner, port=7)


class SettingTests(SynchronousTestCase):
    def test_declared(self) -> None:
        """Settings in order with whole keys; other fields are none."""
        found = {item.path: item for item in declared(Outer())}
        self.assertEqual(list(found), ["tags", "inner.port", "inner.hidden"])
        port = found["inner.port"]
        self.assertEqual((port.default, port.setting.flag, port.setting.reload), (7, "port", True))

    def test_replaced(self) -> None:
        """New values by whole key; the rest stays."""
        old = Outer(other=5)
        new = replaced(old, {"tags": {"a": "b"}, "inner.port": 9})
        self.assertEqual((new.other, new.tags, new.inner), (5, {"a": "b"}, Inner(port=9)))
        self.assertEqual(old, Outer(other=5))

    def test_maps_are_not_shared(self) -> None:
        """Each instance has a map of its own."""
        self.assertIsNot(Outer().tags, Outer().tags)

    def test_secrets(self) -> None:
        """A secret is not shown."""
        self.assertNotIn("xyzzy", repr(Inner(hidden="xyzzy")))
        self.assertNotIn("xyzzy", repr(AgentConfig(encrypt="xyzzy")))

    def test_every_setting_is_documented(self) -> None:
        """Each has a meaning that ends as a sentence does, and flags are unique."""
        items = list(declared(AgentConfig()))
        for item in items:
            self.assertTrue(item.setting.doc.endswith("."), item.path)
        flags = [item.setting.flag for item in items if item.setting.flag]
        self.assertEqual(len(flags), len(set(flags)))
