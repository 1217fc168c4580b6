"""Templates of prepared queries. The texts are those of Consul 1.8.7."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import Refused
from pyconsul.state.interpolation import BadFormat, Interpolated
from pyconsul.state.templates import Template
from pyconsul.structs.prepared import (
    PreparedQuery,
    QueryDatacenterOptions,
    QueryTemplateOptions,
    ServiceQuery,
)


def template(
    name: str = "geo-", service: str = "x", regexp: str = "", empty: bool = False, **fields: Any
) -> Template:
    options = QueryTemplateOptions(type="name_prefix_match", regexp=regexp, remove_empty_tags=empty)
    return Template(
        PreparedQuery(name=name, template=options, service=ServiceQuery(service=service, **fields))
    )


class FillTests(SynchronousTestCase):
    def filled(self, text: str, name: str = "geo-db", **more: Any) -> str:
        return template(service=text, **more).fill(name, "seg").service.service

    def test_names(self) -> None:
        """The suffix is what is behind the prefix as it is spelt; ``$$`` is a dollar sign."""
        for text, expected in (
            ("${name.full}|${name.prefix}|${name.suffix}|${agent.segment}", "geo-db|geo-|db|seg"),
            ("${ name.full }x", "geo-dbx"),
            ('${"lit"}${-5}${ 7}', "lit-57"),
            ("$${name.full}", "${name.full}"),
            ("$$${name.full} a$b $$", "$geo-db a$b $"),
            ("}", "}"),
            ("", ""),
        ):
            self.assertEqual(self.filled(text), expected, text)
        self.assertEqual(self.filled("${name.suffix}", "GEO-db"), "GEO-db")

    def test_groups(self) -> None:
        """Group 0 is the whole; what there is not is empty."""
        text = '${match(0)}|${match(1)}|${match( 2 )}|${match(3)}|${match(-1)}|${match("1")}'
        regexp = "^geo-(.*?)-([^-]+)$"
        self.assertEqual(self.filled(text, "geo-a-b", regexp=regexp), "geo-a-b|a|b|||a")
        self.assertEqual(self.filled(text, "geo-a-b-c", regexp=regexp), "geo-a-b-c|a-b|c|||a-b")
        self.assertEqual(self.filled(text, "geo-", regexp=regexp), "|||||")
        self.assertEqual(self.filled(text, "geo-"), "|||||")

    def test_everywhere(self) -> None:
        """All texts that say what is wanted are filled in, keys are not."""
        made = template(
            near="${name.full}",
            tags=["${name.suffix}", "!${match(9)}"],
            ignore_check_ids=["${name.full}"],
            node_meta={"${k}": "${name.suffix}"},
            service_meta={"k": "${agent.segment}."},
            failover=QueryDatacenterOptions(nearest_n=2, datacenters=["${name.suffix}", "b"]),
        )
        service = made.fill("geo-db", "").service
        self.assertEqual((service.near, service.tags), ("geo-db", ["db", "!"]))
        self.assertEqual(service.ignore_check_ids, ["geo-db"])
        self.assertEqual((service.node_meta, service.service_meta), ({"${k}": "db"}, {"k": "."}))
        self.assertEqual((service.failover.nearest_n, service.failover.datacenters), (2, ["db", "b"]))

    def test_empty_tags(self) -> None:
        """They are kept, and so nothing is found, unless they are to go."""
        tags = ["${match(1)}", "", "!${match(1)}", "x", " "]
        self.assertEqual(template(tags=tags).fill("geo-", "").service.tags, ["", "", "!", "x", " "])
        self.assertEqual(template(tags=tags, empty=True).fill("geo-", "").service.tags, ["!", "x", " "])
        self.assertIsNone(template(empty=True).fill("geo-", "").service.tags)


class RefusalTests(SynchronousTestCase):
    def refused(self, **fields: Any) -> str:
        text = str(self.assertRaises(Refused, template, **fields))
        self.assertTrue(text.startswith("failed compiling template: "), text)
        return text.removeprefix("failed compiling template: ")

    def test_evaluation(self) -> None:
        """What is unknown, and where."""
        for text, why in (
            ("${foo}", "1:3: unknown variable accessed: foo"),
            ("${name.Full}.", "1:3: unknown variable accessed: name.Full"),
            ("ab\n ${foo}", "2:5: unknown variable accessed: foo"),
            ("${match(x)}", "1:9: unknown variable accessed: x"),
            ("${match()}", "1:3: match: expected 1 arguments, got 0"),
            ("${match(1,2)}", "1:3: match: expected 1 arguments, got 2"),
            ("${upper(name.full)}", "1:3: unknown function called: upper"),
            (
                '${match("x")}',
                '__builtin_StringToInt: strconv.ParseInt: parsing "x": invalid syntax',
            ),
        ):
            self.assertEqual(
                self.refused(service=text), f"Bad evaluation for '{text}' in Service.Service: {why}"
            )

    def test_format(self) -> None:
        for text in (
            "${match(1)", "${name.full} ${", "${}", "${match(99999999999999999999)}", "${name .full}", "${,}",
            "${match(1 2)}", "${match(1,)}",
        ):  # fmt: skip
            self.assertEqual(
                self.refused(service=text),
                f"Bad format '{text}' in Service.Service: parse error: syntax error",
            )
        self.assertRaises(BadFormat, Interpolated, "${match(match(1))}")

    def test_places(self) -> None:
        for field, value, path in (
            ("tags", ["ok", "${foo}"], "Service.Tags[1]"),
            ("node_meta", {"k": "${foo}"}, "Service.NodeMeta[k]"),
            ("service_meta", {"a b": "${foo}"}, "Service.ServiceMeta[a b]"),
            ("ignore_check_ids", ["${foo}"], "Service.IgnoreCheckIDs[0]"),
            ("near", "${foo}", "Service.Near"),
            (
                "failover",
                QueryDatacenterOptions(datacenters=["a", "${foo}"]),
                "Service.Failover.Datacenters[1]",
            ),
        ):
            text = self.refused(**{field: value})
            self.assertIn(f"in {path}: 1:3: unknown", text)

    def test_options(self) -> None:
        """Of an unknown type, or with an expression that is none."""
        self.assertEqual(self.refused(regexp="("), "Bad Regexp: error parsing regexp: missing closing ): `(`")
        query = PreparedQuery(template=QueryTemplateOptions(type="magic"))
        error = self.assertRaises(Refused, Template, query)
        self.assertEqual(str(error), "failed compiling template: Bad Template.Type 'magic'")
