"""From the flags of an agent to its configuration; twistd's options; starting."""

import sys
from types import ModuleType
from typing import Any

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from pyconsul import late_tls, log
from pyconsul.cli import agent as module
from pyconsul.cli.agent import agent_flags, configured, sources_from
from pyconsul.cli.flags import parse
from pyconsul.config.schema import AgentConfig
from pyconsul.config.setting import declared
from pyconsul.errors import ConfigurationError
from tests.cli.support import run
from tests.modules import exchange, stand_in


def given(*arguments: str) -> dict[str, Any]:
    values, rest = parse(agent_flags(), arguments)
    assert not rest
    return values


class FlagTests(SynchronousTestCase):
    def config(self, *arguments: str) -> AgentConfig:
        return configured(given("-data-dir=/tmp", "-bind=127.0.0.1", *arguments))

    def test_every_setting_with_a_flag(self) -> None:
        """Each has its flag, named once."""
        names = [flag.name for flag in agent_flags()]
        self.assertEqual(len(names), len(set(names)))
        for item in declared(AgentConfig()):
            if item.setting.flag:
                self.assertIn(item.setting.flag, names)

    def test_values(self) -> None:
        """Flags of all kinds."""
        config = self.config(
            "-server", "-node=n", "--http-port", "9", "-retry-interval=5s", "-bootstrap-expect=3",
            "-retry-join=a", "-retry-join=b", "-node-meta=a:1", "-node-meta", "b:2",
            "-client=127.0.0.1 127.0.0.2", "-disable-host-node-id=false",
        )  # fmt: skip
        self.assertEqual((config.server, config.node_name, config.ports.http), (True, "n", 9))
        self.assertEqual((config.retry_interval, config.bootstrap_expect), (5.0, 3))
        self.assertEqual((config.retry_join, config.node_meta), (("a", "b"), {"a": "1", "b": "2"}))
        self.assertEqual(config.client_addr, ("127.0.0.1", "127.0.0.2"))
        self.assertFalse(config.disable_host_node_id)

    def test_files_keep_their_order(self) -> None:
        """Files and folders are read in the order given."""
        sources, _ = sources_from(
            given("-config-file=a", "-config-dir=b", "-config-file=c", "-config-format=hcl")
        )
        self.assertEqual((sources.paths, sources.format), (("a", "b", "c"), "hcl"))

    def test_fragments_and_dev(self) -> None:
        """The flags that are no settings."""
        sources, warnings = sources_from(given("-dev", "-hcl", "a = 1", "-hcl=b = 2"))
        self.assertEqual((sources.dev, sources.fragments, warnings), (True, ("a = 1", "b = 2"), []))

    def test_atlas(self) -> None:
        """Old flags are accepted with a word on what to use."""
        config = self.config("-atlas=x/y", "-atlas-token", "t", "-atlas-join")
        self.assertEqual(len(config.warnings), 3)
        self.assertTrue(all("-retry-join" in text for text in config.warnings))

    def test_clouds(self) -> None:
        """So are those that looked for agents in clouds; -dc is the old name of -datacenter."""
        config = self.config("-retry-join-ec2-tag-key=x", "-retry-join-gce-project-name", "y", "-dc", "east")
        self.assertEqual(config.datacenter, "east")
        self.assertEqual(len(config.warnings), 2)
        self.assertTrue(config.warnings[0].startswith("-retry-join-ec2-tag-key is ignored: use -retry-join"))

    def test_errors(self) -> None:
        """Values that make no sense are found when the configuration is made."""
        self.assertRaises(ConfigurationError, self.config, "-retry-interval=zz")


class RunTests(SynchronousTestCase):
    """The command, with a stand-in for what runs the agent."""

    def setUp(self) -> None:
        self.started: list[AgentConfig] = []
        maker: Any = ModuleType("pyconsul.agent.maker")

        def start(config: AgentConfig, sinks: list[Any]) -> int:
            self.started.append(config)
            return 5

        maker.run = start
        stand_in(self, "pyconsul.agent", "maker", maker)
        self.patch(log, "start", lambda config: [])
        self.patch(late_tls, "postpone", lambda: None)

    def test_run(self) -> None:
        """The configuration goes to the maker, its status comes back."""
        self.assertEqual(run("agent", "-dev", "-node=n").status, 5)
        self.assertEqual([config.node_name for config in self.started], ["n"])

    def test_refused(self) -> None:
        """Nothing is started with a wrong configuration."""
        for arguments, text in (
            (("-bind=127.0.0.1",), "==> data_dir cannot be empty\n"),
            (("-dev", "a", "b"), "==> Unexpected extra arguments: [a b]\n"),
            (("-dev", "-config-file=none.json"),
             "==> config: Open failed on none.json. open none.json: no such file or directory\n"),
        ):  # fmt: skip
            result = run("agent", *arguments)
            self.assertEqual((result.status, result.out, result.err), (1, "", text))
        self.assertTrue(run("agent", "-zz").err.startswith("flag provided but not defined: -zz\n"))
        self.assertEqual(self.started, [])

    def test_log_that_cannot_be_written(self) -> None:
        """A log file in no folder ends it."""

        def fail(config: AgentConfig) -> None:
            raise ConfigurationError("Failed to setup logging: x")

        self.patch(log, "start", fail)
        result = run("agent", "-dev")
        self.assertEqual((result.status, result.err), (1, "==> Failed to setup logging: x\n"))

    def test_reactor(self) -> None:
        """Ours is installed unless there is one."""
        installed: list[bool] = []
        reactor: Any = ModuleType("reactor")
        reactor.install = lambda: installed.append(True)
        stand_in(self, "pyconsul.net", "reactor", reactor)
        module._choose_reactor()
        self.assertEqual(installed, [])
        exchange(self, "twisted.internet.reactor", None)
        self.patch(sys, "platform", "linux")
        module._choose_reactor()
        self.assertEqual(installed, [True])


class OptionsTests(SynchronousTestCase):
    def parse(self, *arguments: str) -> Any:
        from pyconsul.cli.options import Options

        options = Options()
        options.parseOptions(arguments)
        return options

    def test_flags(self) -> None:
        """Two dashes, with a space or an equals sign."""
        for expect in (("--bootstrap-expect", "3"), ("--bootstrap-expect=3",)):
            options = self.parse("--server", *expect, "--data-dir", "/tmp", "--bind", "127.0.0.1")
            self.assertEqual((options.config.server, options.config.bootstrap_expect), (True, 3))
            self.assertEqual(options["bootstrap-expect"], 3)

    def test_errors(self) -> None:
        """What is wrong is a usage error, as twistd expects it."""
        for arguments, text in (
            (("--zz",), "flag provided but not defined: -zz"),
            (("--dev", "x"), "Unexpected extra arguments: [x]"),
            (("--bind", "127.0.0.1"), "data_dir cannot be empty"),
        ):
            error = self.assertRaises(usage.UsageError, self.parse, *arguments)
            self.assertEqual(str(error), text)

    def test_arguments_of_the_process(self) -> None:
        """Without arguments, those of the process count."""
        from pyconsul.cli.options import Options

        self.patch(sys, "argv", ["x", "--dev", "--node=n"])
        options = Options()
        options.parseOptions()
        self.assertEqual(options.config.node_name, "n")

    def test_help(self) -> None:
        """The help is that of the command, under its other name."""
        from pyconsul.cli.options import Options

        self.assertTrue(str(Options()).startswith("Usage: twistd [options] pyconsul [options]\n\n  Start"))
        printed: list[str] = []
        self.patch(sys, "stdout", type("Out", (), {"write": staticmethod(printed.append), "flush": int}))
        error = self.assertRaises(SystemExit, self.parse, "--help")
        self.assertEqual(error.code, 0)
        self.assertIn("-bootstrap-expect", "".join(printed))

    def test_service(self) -> None:
        """The service is what the maker makes of the configuration."""
        from twisted.internet import reactor

        from pyconsul.cli import options as options_module

        maker: Any = ModuleType("pyconsul.agent.maker")
        maker.make_agent = lambda config, used: (config.node_name, used)
        exchange(self, "pyconsul.agent.maker", maker)
        made: Any = options_module.makeService(self.parse("--dev", "--node", "n"))
        self.assertEqual(made, ("n", reactor))
