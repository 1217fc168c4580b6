"""Services and checks as files define them."""

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.config.definitions import check_definition, service_definition
from pyconsul.errors import ConfigurationError


class DefinitionTests(SynchronousTestCase):
    def test_old_spellings(self) -> None:
        """Keys of old files come out under today's names."""
        found = check_definition(
            {"serviceid": "s", "scriptargs": ["a"], "tlsskipverify": True, "interval": "5s"}, "check[]"
        )
        self.assertEqual(found, {"service_id": "s", "args": ["a"], "tls_skip_verify": True, "interval": "5s"})

    def test_shell_lines(self) -> None:
        """A script is one for the shell; arguments come first."""
        for raw, args in (
            ({"script": "a b"}, ["/bin/sh", "-c", "a b"]),
            ({"script": "a", "shell": "/bin/x"}, ["/bin/x", "-c", "a"]),
            ({"script": "a", "args": ["b"]}, ["b"]),
        ):
            self.assertEqual(check_definition(raw, "check[]")["args"], args)
        self.assertNotIn("args", check_definition({"shell": "/bin/x"}, "check[]"))

    def test_durations(self) -> None:
        """A duration that is none is refused with its place."""
        error = self.assertRaises(ConfigurationError, check_definition, {"ttl": "abc"}, "check[]")
        self.assertEqual(str(error), 'check[].ttl: invalid duration: "abc": time: invalid duration "abc"')

    def test_checks_of_a_service(self) -> None:
        """``check`` and ``checks`` are one list; without either there is none."""
        found = service_definition(
            {"name": "w", "check": {"ttl": "1s"}, "checks": [{"ttl": "2s"}]}, "service[]"
        )
        self.assertEqual(found, {"name": "w", "checks": [{"ttl": "1s"}, {"ttl": "2s"}]})
        self.assertEqual(service_definition({"name": "w"}, "service[]"), {"name": "w"})
        error = self.assertRaises(
            ConfigurationError, service_definition, {"check": {"interval": "x"}}, "service[]"
        )
        self.assertIn("service[].check[].interval", str(error))

    def test_refused_services(self) -> None:
        """What a service must not be is found before the agent starts."""
        for more, text in (
            ({"meta": {"a b": "c"}}, "invalid meta for service w: Couldn't load metadata pair ('a b', 'c'): "
             "Key contains invalid characters"),
            ({"weights": {"passing": 0}}, "Invalid weight definition for service w: Passing must be greater "
             "than 0"),
            ({"weights": {"warning": -1}}, "Invalid weight definition for service w: Warning must be greater "
             "or equal than 0"),
            ({"weights": {"passing": 65536}}, "Invalid weight definition for service w: DNS Weight must be "
             "between 0 and 65535"),
        ):  # fmt: skip
            raw = {"name": "w", **more}
            error = self.assertRaises(ConfigurationError, service_definition, raw, "service[]")
            self.assertEqual(str(error), text)
        good = {"name": "w", "meta": {"a": "b"}, "weights": {"passing": 65535, "warning": 0}}
        self.assertEqual(service_definition(good, "service[]"), good)
