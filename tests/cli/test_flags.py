"""Flags in the forms that Go programs take."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.cli.flags import (
    Flag,
    HelpWanted,
    UsageError,
    boolean,
    defaults,
    help_text,
    parse,
    repeated,
    unsigned,
)

FLAGS = [
    Flag("name", "A name.", default="x"),
    boolean("on", "A switch."),
    unsigned("count", "A number."),
    repeated("tag", "Tags."),
    Flag("file", "A file.", many=True, into="paths"),
    Flag("dir", "A folder.", many=True, into="paths"),
]


class ParseTests(SynchronousTestCase):
    def given(self, *arguments: str) -> tuple[dict[str, Any], list[str]]:
        return parse(FLAGS, arguments)

    def refused(self, *arguments: str) -> str:
        return str(self.assertRaises(UsageError, parse, FLAGS, arguments))

    def test_forms(self) -> None:
        """One dash or two, with or without an equals sign."""
        for form in (("-name", "v"), ("--name", "v"), ("-name=v",), ("--name=v",)):
            self.assertEqual(self.given(*form, "rest"), ({"name": "v"}, ["rest"]))
        self.assertEqual(self.given("-name=a=b"), ({"name": "a=b"}, []))
        self.assertEqual(self.given("-name="), ({"name": ""}, []))
        self.assertEqual(self.given("-name", "-on"), ({"name": "-on"}, []))

    def test_booleans(self) -> None:
        """A switch takes no argument unless there is an equals sign."""
        self.assertEqual(self.given("-on", "false"), ({"on": True}, ["false"]))
        self.assertEqual(self.given("-on=false"), ({"on": False}, []))
        self.assertEqual(self.given("--on=T"), ({"on": True}, []))
        self.assertEqual(self.refused("-on=maybe"), 'invalid boolean value "maybe" for -on: parse error')

    def test_numbers(self) -> None:
        """Numbers from 0 to 2**64 - 1, in any base."""
        self.assertEqual(self.given("-count=18446744073709551615")[0], {"count": 2**64 - 1})
        self.assertEqual(self.given("-count=0x10")[0], {"count": 16})
        for text in ("x", "-1", "1_0", ""):
            self.assertEqual(
                self.refused(f"-count={text}"), f'invalid value "{text}" for flag -count: parse error'
            )
        self.assertEqual(
            self.refused("-count=18446744073709551616"),
            'invalid value "18446744073709551616" for flag -count: value out of range',
        )

    def test_lists(self) -> None:
        """A flag may be repeated; two flags may share a list."""
        self.assertEqual(self.given("-tag=a", "-tag", "b")[0], {"tag": ["a", "b"]})
        self.assertEqual(self.given("-file=a", "-dir=b", "-file=c")[0], {"paths": ["a", "b", "c"]})

    def test_where_flags_end(self) -> None:
        """At the first argument, at a lone dash, and behind two."""
        self.assertEqual(self.given("-on", "key", "-name=v"), ({"on": True}, ["key", "-name=v"]))
        self.assertEqual(self.given("-", "-on"), ({}, ["-", "-on"]))
        self.assertEqual(self.given("--", "-on"), ({}, ["-on"]))
        self.assertEqual(self.given("", "-on"), ({}, ["", "-on"]))

    def test_errors(self) -> None:
        """In Go's words."""
        self.assertEqual(self.refused("-zz"), "flag provided but not defined: -zz")
        self.assertEqual(self.refused("--zz=1"), "flag provided but not defined: -zz")
        self.assertEqual(self.refused("-name"), "flag needs an argument: -name")
        self.assertEqual(self.refused("---name"), "bad flag syntax: ---name")
        self.assertEqual(self.refused("-=x"), "bad flag syntax: -=x")

    def test_help(self) -> None:
        """Three ways to ask for it, at any place among the flags."""
        for text in ("-h", "-help", "--help"):
            self.assertRaises(HelpWanted, parse, FLAGS, ["-on", text])
        self.assertEqual(self.given("key", "-h"), ({}, ["key", "-h"]))

    def test_defaults(self) -> None:
        """What holds without flags."""
        self.assertEqual(defaults(FLAGS), {"name": "x", "on": False, "count": 0, "tag": (), "paths": ""})


class HelpTests(SynchronousTestCase):
    def test_help(self) -> None:
        """By name, with what they take."""
        text = help_text("Options", [boolean("on", "A switch."), unsigned("count", "A number.")])
        self.assertEqual(text, "Options\n\n  -count=<uint>\n     A number.\n\n  -on\n     A switch.\n")
        self.assertEqual(help_text("Options", []), "")
