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
