"""Broken configuration files, made of good ones by chance, and what must be said of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from pyconsul.config import kinds, legacy
from pyconsul.config.definitions import CHECK, SERVICE
from pyconsul.config.kinds import Kind
from pyconsul.config.schema import AgentConfig
from pyconsul.config.setting import declared

Tree = dict[str, Any]

GOOD: Tree = {
    "node_name": "n1", "datacenter": "east", "data_dir": "/tmp/none", "server": True, "retry_max": 3,
    "bind_addr": "127.0.0.1", "log_level": "WARN", "retry_join": ["192.0.2.1", "192.0.2.2"],
    "retry_interval": "15s", "node_meta": {"rack": "a", "row": "7"},
    "ports": {"http": 8500, "dns": 8600, "grpc": -1},
    "dns_config": {"node_ttl": "5s", "service_ttl": {"*": "1s"}, "only_passing": True,
                   "soa": {"refresh": 10}},
    "performance": {"raft_multiplier": 2, "leave_drain_time": "1s"},
    "telemetry": {"metrics_prefix": "x", "prefix_filter": ["+a.b"]},
    "serf_lan_allowed_cidrs": ["192.0.2.0/24"],
    "acl": {"enabled": False, "tokens": {"default": "t"}},
    "service": {"name": "web", "port": 80, "tags": ["v1"], "meta": {"a": "b"},
                "check": {"ttl": "10s", "notes": "n"}},
}  # fmt: skip
"""A good configuration with every kind of value."""

WRONG: dict[str, list[Any]] = {
    "string": [7, True, {"a": 1}, ["x"], 1.5],
    "boolean": ["true", 1, [], {"a": True}],
    "integer": ["7", True, {"a": 1}, [1]],
    "number": ["1", False, [2.0]],
    "list": ["x", 5, True, [1], [["x"]]],
    "map": ["x", 5, True, [1, 2]],
}
"""What is none of a type."""

BAD_DURATIONS = ["abc", "5", "1x", "10 s", "1h-", "s", "1.2.3s", "99999999999999h", "٣s", "", "1 h 2 m"]
BAD_ADDRESSES = ["foo", "256.1.1.1", "1.2.3", "::g", "1.2.3.4:80", "http://x", "{{ GetNothing }}", "{{"]
BAD_NETWORKS = ["foo", "10.0.0.0/33", "10.0.0.0", "::/129", "1.2.3/8"]
COMBINATIONS: list[tuple[Tree, str]] = [
    ({"bootstrap": True, "server": False}, "bootstrap"),
    ({"bootstrap": True, "bootstrap_expect": 3}, "mutually exclusive"),
    ({"bootstrap_expect": 3, "server": False}, "bootstrap_expect"),
    ({"bootstrap_expect": -2}, "bootstrap_expect"),
    ({"encrypt": "short"}, "encrypt"),
    ({"encrypt": "MDEyMw=="}, "encrypt"),
    ({"ui": True, "ui_dir": "/tmp"}, "ui-dir"),
    ({"advertise_addr": "0.0.0.0"}, "Advertise address"),
    ({"advertise_addr_wan": "::"}, "Advertise WAN address"),
    ({"advertise_addr_ipv4": "::1"}, "advertise_addr_ipv4"),
    ({"bind_addr": "127.0.0.1 127.0.0.2"}, "bind_addr"),
    ({"addresses": {"dns": "unix:///x"}}, "DNS address"),
    ({"performance": {"raft_multiplier": 11}}, "performance.raft_multiplier"),
    ({"dns_config": {"a_record_limit": -1}}, "dns_config.a_record_limit"),
    ({"check_output_max_size": 0}, "check_output_max_size"),
    ({"protocol": 9}, "Protocol version"),
    ({"ports": {"http": 8600}}, "already configured for DNS"),
    ({"autopilot": {"max_trailing_logs": -1}}, "autopilot.max_trailing_logs"),
    ({"log_level": "LOUD"}, "log level"),
    ({"segment": "x"}, "segments"),
    ({"primary_gateways": ["x"]}, "primary_gateways"),
    ({"node_meta": {"a b": "c"}}, "node_meta"),
    ({"node_meta": {"consul-x": "c"}}, "node_meta"),
    ({"datacenter": "a.b"}, "datacenter"),
]
"""What is good by itself and does not go together, or is out of range; and a word of the error."""


@dataclass
class Broken:
    """One folder of files.

    :ivar files: content by name; read in the order of names.
    :ivar wrong: the name of the file to blame.
    :ivar says: what the error must have in it, besides that name.
    :ivar line: the line to blame; 0: none in particular.
    """

    what: str
    files: dict[str, bytes]
    wrong: str
    says: list[str] = field(default_factory=list)
    line: int = 0


class Text:
    """A tree as the text of a file, with the line of every key."""

    def __init__(self, tree: Tree, form: str) -> None:
        self.form = form
        self.lines: list[str] = []
        self.line_of: dict[str, int] = {}
        if form == "json":
            self.lines.append("{")
        self._body(tree, "")
        if form == "json":
            self.lines.append("}")
        self.text = "\n".join(self.lines) + "\n"

    def _body(self, tree: Tree, prefix: str) -> None:
        for number, (key, value) in enumerate(tree.items()):
            path = prefix + key
            comma = "," if self.form == "json" and number + 1 < len(tree) else ""
            name = key if self.form == "hcl" and key.isidentifier() else json.dumps(key)
            self.line_of[path] = len(self.lines) + 1
            if isinstance(value, dict):
                self.lines.append(f"{name} {{" if self.form == "hcl" else f"{name}: {{")
                self._body(value, path + ".")
                self.lines.append("}" + comma)
            else:
                sign = " = " if self.form == "hcl" else ": "
                self.lines.append(name + sign + json.dumps(value, ensure_ascii=False) + comma)


def with_value(path: str, value: Any) -> Tree:
    """The good tree with one more value, or another one."""
    tree: Tree = json.loads(json.dumps(GOOD))
    *groups, key = path.split(".")
    at = tree
    for group in groups:
        at = at.setdefault(group, {})
    at.pop(key, None)
    at[key] = value
    return tree


def merged(tree: Tree, over: Tree) -> Tree:
    """``over`` put over a tree."""
    result = dict(tree)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


SETTINGS: dict[str, Kind] = {
    **{item.path: item.setting.kind for item in declared(AgentConfig()) if item.setting.holds is None},
    **{f"service.{key}": kind for key, kind in SERVICE.items() if isinstance(kind, Kind)},
    **{f"service.check.{key}": kind for key, kind in CHECK.items() if isinstance(kind, Kind)},
}
"""Every key that holds a plain value."""


class Maker:
    """Makes broken configurations; the same seed makes the same."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)
        self._makers = [
            self._truncated, self._wrong_type, self._unknown, self._duration, self._address,
            self._combination, self._not_utf8, self._nested, self._twice, self._number, self._no_object,
            self._garbled,
        ]  # fmt: skip

    def make(self, count: int) -> Iterator[Broken]:
        """So many, of all sorts in turn."""
        for number in range(count):
            yield self._makers[number % len(self._makers)]()

    # ------------------------------------------------------------ sorts

    def _truncated(self) -> Broken:
        form = self._form()
        text = Text(GOOD, form).text
        first = 1 if form == "json" else text.index("service {") + len("service {")
        last = text.rindex("}")
        cut = self._rng.randrange(first, last)
        return self._broken("cut off", form, text[:cut], ["line " if form == "json" else "At "])

    def _wrong_type(self) -> Broken:
        path = self._rng.choice(sorted(SETTINGS))
        kind = SETTINGS[path]
        value = self._rng.choice(WRONG[_type(kind)])
        return self._with(f"wrong type of {kind.name}", path, value, [f"'{path}"])

    def _unknown(self) -> Broken:
        while True:
            path = self._rng.choice(sorted(SETTINGS))
            prefix, dot, key = path.rpartition(".")
            if len(key) < 5:
                continue
            at = self._rng.randrange(1, len(key) - 1)
            wrong = self._rng.choice(
                (key[:at] + key[at + 1 :], key[:at] + key[at + 1] + key[at] + key[at + 2 :], key + "s")
            )
            misspelt = prefix + dot + wrong
            known = any(
                misspelt in keys for keys in (SETTINGS, legacy.RENAMED, legacy.IGNORED, legacy.ADVICE)
            )
            if known or wrong in ("services", "checks"):
                continue
            return self._with(
                "unknown key", misspelt, self._value(path), [f"invalid config key {misspelt}", "did you mean"]
            )

    def _duration(self) -> Broken:
        within = [f"service.check.{key}" for key in ("interval", "timeout", "ttl")]
        known = [path for path, kind in SETTINGS.items() if kind is kinds.DURATION]
        path = self._rng.choice(within if self._rng.random() < 0.2 else sorted(known))
        value = self._rng.choice(BAD_DURATIONS)
        key = path.rpartition(".")[2]
        return self._with("bad duration", path, value, ["invalid duration", key])

    def _address(self) -> Broken:
        addresses = [path for path, kind in SETTINGS.items() if kind in (kinds.IP, kinds.IPS)]
        networks = [path for path, kind in SETTINGS.items() if kind is kinds.NETWORKS]
        ports = [path for path, kind in SETTINGS.items() if kind is kinds.PORT]
        path = self._rng.choice([*addresses, *networks, *ports, "bind_addr"])
        if path in networks:
            value: Any = [self._rng.choice(BAD_NETWORKS)]
        elif path in ports:
            value = self._rng.choice((65536, 70000, 2**40))
        else:
            value = self._rng.choice(BAD_ADDRESSES)
        return self._with("bad address", path, value, [path])

    def _combination(self) -> Broken:
        over, says = self._rng.choice(COMBINATIONS)
        form = self._form()
        text = Text(merged(GOOD, over), form)
        return self._broken("combination", form, text.text, [says])

    def _not_utf8(self) -> Broken:
        form = self._form()
        content = bytearray(Text(GOOD, form).text.encode())
        at = self._rng.randrange(len(content))
        content[at:at] = self._rng.choice((b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\x80", b"\xf8\x88"))
        line = content.count(b"\n", 0, at) + 1
        broken = self._broken("not UTF-8", form, "", ["not UTF-8"], line)
        broken.files[broken.wrong] = bytes(content)
        return broken

    def _nested(self) -> Broken:
        form = self._form()
        depth = self._rng.choice((2_000, 20_000, 100_000) if form == "json" else (65, 1_000, 50_000))
        if form == "json":
            text = self._rng.choice(('{"a":' * depth, '{"a": ' + "[" * depth, '{"a":' + '[{"a":' * depth))
        else:
            text = self._rng.choice(("a { " * depth, "a = " + "[" * depth, 'a "b" { ' * depth))
        return self._broken("nested", form, text, ["nested too deeply"])

    def _twice(self) -> Broken:
        group = self._rng.choice(("ports", "dns_config", "performance", "telemetry", "acl", "node_meta"))
        text = Text(GOOD, "hcl").text + f"{group} {{\n}}\n"
        return self._broken("block twice", "hcl", text, [f"'{group}'", "slice"])

    def _number(self) -> Broken:
        integers = [path for path, kind in SETTINGS.items() if kind in (kinds.INT, kinds.PORT)]
        path = self._rng.choice(sorted(integers))
        form = self._form()
        text = Text(with_value(path, 123454321), form)
        digits = self._rng.choice(("1e999", "9" * 30, "9" * 5000, *(["NaN", "-Infinity"] * (form == "json"))))
        return self._broken("number", form, text.text.replace("123454321", digits), [])

    def _no_object(self) -> Broken:
        text = self._rng.choice(("[]", "5", '"x"', "true", "null", "{} x", "{}{}", "[{}]", "{},", "nul"))
        return self._broken("no object", "json", text, [])

    def _garbled(self) -> Broken:
        """One line of the good text with something in it that belongs nowhere."""
        form = self._form()
        lines = list(Text(GOOD, form).lines)
        at = self._rng.randrange(1, len(lines))
        lines[at] = (
            self._rng.choice(("%%", "= = =", "}}}}}}}}", '"', "]", "& 5", "/x", "<<", "a = = 5")) + lines[at]
        )
        return self._broken("garbled", form, "\n".join(lines), ["line " if form == "json" else "At "])

    # ------------------------------------------------------------ helpers

    def _form(self) -> str:
        return self._rng.choice(("hcl", "json"))

    def _value(self, path: str) -> Any:
        return {"list": [], "map": {}}.get(_type(SETTINGS[path]), "x")

    def _with(self, what: str, path: str, value: Any, says: list[str]) -> Broken:
        form = self._form()
        text = Text(with_value(path, value), form)
        return self._broken(what, form, text.text, says, text.line_of[path])

    def _broken(self, what: str, form: str, text: str, says: list[str], line: int = 0) -> Broken:
        """The file with the text, perhaps with good ones around it."""
        wrong = f"m.{form}"
        files = {wrong: text.encode("utf-8", "surrogatepass")}
        if self._rng.random() < 0.3:
            files["a.json"] = b'{"node_meta": {"first": "1"}}'
        if self._rng.random() < 0.3:
            files["z.hcl"] = b'recursors = ["192.0.2.9"]\n'
        return Broken(f"{what}: {form}", files, wrong, says, line)


def _type(kind: Kind) -> str:
    """Under which name ``WRONG`` has what is none of a kind."""
    if "list" in kind.name and "map of" not in kind.name:
        return "list"
    if "map" in kind.name:
        return "map"
    return {"boolean": "boolean", "integer": "integer", "port": "integer", "number": "number"}.get(
        kind.name, "string"
    )
