"""Finding commands, help, exit statuses, and what errors become."""

import io
import os
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul import __version__
from pyconsul.cli import main as module
from pyconsul.cli import reference
from pyconsul.cli.command import Command, Failed, Group, Invocation, Terminal, pairs, table
from pyconsul.cli.main import COMMANDS, load, overview, perform
from pyconsul.errors import NotFound
from tests.cli.support import run


class DispatchTests(SynchronousTestCase):
    def test_no_command(self) -> None:
        """The list of commands, and 127."""
        for arguments in ((), ("nonsense",), ("-x",), ("force_leave",), ("",)):
            result = run(*arguments)
            self.assertEqual((result.status, result.out, result.err), (127, "", overview() + "\n"))

    def test_flags_before_the_command(self) -> None:
        """They belong behind it."""
        for command in (("kv", "get", "a"), ("force-leave", "x"), ("members",)):
            result = run("-stale", "-http-addr=x", *command)
            self.assertEqual((result.status, result.out), (1, ""))
            self.assertTrue(result.err.startswith("Invalid flags before the subcommand. "), result.err)
            self.assertIn(f"Usage: pyconsul {command[0]}", result.err)
        self.assertEqual(run("-stale", "nonsense").status, 127)

    def test_help(self) -> None:
        """The list again, but as it was asked for, on standard output."""
        for flag in ("-h", "-help", "--help"):
            result = run(flag)
            self.assertEqual((result.status, result.out, result.err), (0, overview() + "\n", ""))

    def test_overview(self) -> None:
        """Every command is listed as it is typed."""
        for name in COMMANDS:
            self.assertIn(f"\n    {name.replace('_', '-')} ", overview())

    def test_version_flags(self) -> None:
        """Before any command, the version may be asked for."""
        for flag in ("-v", "-version", "--version"):
            self.assertEqual(run(flag).out, run("version").out)

    def test_groups(self) -> None:
        """A group alone shows what is below it and fails, unless help was wanted."""
        for arguments in (("kv",), ("kv", "bogus"), ("kv", "-x")):
            result = run(*arguments)
            self.assertEqual((result.status, result.out), (1, ""))
            self.assertIn("Usage: pyconsul kv <subcommand>", result.err)
        result = run("kv", "-h")
        self.assertEqual((result.status, result.err), (0, ""))
        self.assertIn("\n    delete    Remove an entry, or several\n", result.out)

    def test_help_of_every_command(self) -> None:
        """Each has a usage line, a text and its flags, on standard output."""
        for command in reference.commands():
            result = run(*command.name.split(), "-h")
            self.assertEqual((result.status, result.err), (0, ""))
            self.assertTrue(result.out.startswith(f"Usage: pyconsul {command.name}"))
            for flag in command.flags:
                self.assertIn(f"  -{flag.name}", result.out)

    def test_modules(self) -> None:
        """Each command is called as its module is."""
        for name in COMMANDS:
            self.assertEqual(load(name).name.replace("-", "_"), name)

    def test_usage_errors(self) -> None:
        """The error, the help, and 1."""
        result = run("kv", "get", "-zz", "x")
        self.assertEqual((result.status, result.out), (1, ""))
        self.assertTrue(result.err.startswith("flag provided but not defined: -zz\nUsage: pyconsul kv get"))

    def test_reference_page(self) -> None:
        """The page has the help of every command."""
        page = reference.render()
        self.assertIn("\nkv get\n------\n", page)
        self.assertIn("    Usage: pyconsul kv get [options] [KEY_OR_PREFIX]\n", page)


class PerformTests(SynchronousTestCase):
    def perform(self, error: Exception | None) -> tuple[int, str]:
        def body(invocation: Invocation) -> int:
            if error is not None:
                raise error
            return 7

        err = io.StringIO()
        terminal = Terminal(io.BytesIO(), io.StringIO(), err, {})
        return perform(Command("x", "ARG", "Does it.", body), [], terminal), err.getvalue()

    def test_outcomes(self) -> None:
        """A status, a failure with or without help, an expected error."""
        self.assertEqual(self.perform(None), (7, ""))
        self.assertEqual(self.perform(Failed("why")), (1, "why\n"))
        self.assertEqual(self.perform(NotFound("what")), (1, "what\n"))
        status, err = self.perform(Failed("why", usage=True))
        self.assertEqual(status, 1)
        self.assertTrue(err.startswith("why\n\nUsage: pyconsul x ARG\n"))

    def test_bugs(self) -> None:
        """What is not expected is not hidden."""
        self.assertRaises(ZeroDivisionError, self.perform, ZeroDivisionError())

    def test_connection_errors(self) -> None:
        """An agent that cannot be reached, or an address that is none."""
        result = run("leave", environ={"CONSUL_HTTP_ADDR": "127.0.24.20:1"})
        self.assertEqual(result.status, 1)
        self.assertIn("Error leaving: Put", result.err)
        result = run("leave", environ={"CONSUL_HTTP_ADDR": "ftp://x"})
        self.assertEqual(
            (result.status, result.err),
            (1, "Error connecting to Consul agent: Unknown protocol scheme: ftp\n"),
        )

    def test_address_flag(self) -> None:
        """The flag counts for more than the environment."""
        result = run("leave", "-http-addr=127.0.24.20:1", answers=[(200, b"")])
        self.assertEqual((result.status, result.lines), (1, []))


class RunTests(SynchronousTestCase):
    def run_script(self, *arguments: str) -> Any:
        self.patch(sys, "argv", ["pyconsul", *arguments])
        return self.assertRaises(SystemExit, module.run).code

    def test_status(self) -> None:
        """The script ends with the command's status."""
        self.patch(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        self.assertEqual(self.run_script("version"), 0)
        self.assertIn(__version__, out.getvalue())

    def test_interrupted(self) -> None:
        """Ctrl-C ends a command as shells expect it."""

        def interrupted(*_: object) -> int:
            raise KeyboardInterrupt

        self.patch(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        self.patch(module, "main", interrupted)
        self.assertEqual(self.run_script("version"), 130)

    def test_broken_pipe(self) -> None:
        """A reader that has gone is no traceback."""

        def broken(*_: object) -> int:
            raise BrokenPipeError

        moved: list[tuple[int, int]] = []
        self.patch(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        self.patch(module, "main", broken)
        self.patch(os, "dup2", lambda old, new: moved.append((old, new)))
        self.assertEqual(self.run_script("version"), 1)
        self.assertEqual([new for _, new in moved], [1])
        os.close(moved[0][0])


class HelperTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Columns two spaces apart, the last one as long as it is."""
        self.assertEqual(table([["a", "bb", "c"], ["aaa", "b", ""]]), "a    bb  c\naaa  b   ")

    def test_pairs(self) -> None:
        """Keys and values of repeated flags."""
        self.assertEqual(pairs(["a=b", "c=d=e", "f"]), {"a": "b", "c": "d=e", "f": ""})

    def test_group(self) -> None:
        """The first sentence of each command is what the list says."""
        group = Group("g", "About.", [Command("g one", "", "First. Second.", lambda _: 0)])
        self.assertIn("    one    First", group.help())

    def test_text_terminal(self) -> None:
        """Bytes go to a terminal that only takes text, too."""
        out = io.StringIO()
        Terminal(io.BytesIO(), out, out, {}).write(b"a\xff")
        self.assertEqual(out.getvalue(), "a\ufffd")
