"""Address templates: ``{{ GetPrivateInterfaces | include "network" "10.0.0.0/8" | attr "address" }}``.

A pipe begins with a function that gives interfaces or addresses; what follows filters, orders and cuts
interfaces, and ``attr`` or ``join`` makes text of them. Source: the documentation of the template language,
and what the reference validator was seen to make of some two hundred templates.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from functools import cmp_to_key
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from pyconsul.config.interfaces import Interface
from pyconsul.config.networks import FORWARDABLE, PRIVATE, RFC, SPECIAL, within
from pyconsul.regexp.expressions import BadExpression, Expression

Interfaces: TypeAlias = "list[Interface]"
Value: TypeAlias = "Interfaces | str | int"

DEPTH_MAX = 16
_TEMPLATE = re.compile(r"(\s*\{\{-\s|\{\{)(.*?)(\s-\}\}\s*|\}\})", re.DOTALL)
_TOKEN = re.compile(r'\s*(?:([|()])|("(?:[^"\\]|\\.)*"|`[^`]*`)|(-?[0-9]+)(?![\w.])|([A-Za-z_]\w*)|(\S))')


class BadTemplate(ValueError):
    """A template that cannot be filled in; the text says why."""


class Known(Struct, frozen=True):
    """What templates may ask for.

    :ivar all: all interfaces, in the order of the system.
    :ivar default: the name of the interface that leads elsewhere; empty if none does.
    """

    all: Sequence[Interface]
    default: str = ""


def expand(text: str, known: Known) -> str:
    """``text`` with its templates filled in; raises ``BadTemplate``."""
    filled = _TEMPLATE.sub(lambda found: _Template(found[2], known).value(), text)
    if "{{" in _TEMPLATE.sub("", text):
        raise BadTemplate(f"the template in {text} does not end")
    return filled


class _Template:
    """What stands between the braces."""

    def __init__(self, body: str, known: Known) -> None:
        self._body = body.strip()
        self._known = known
        tokens = [] if self._is_comment() else _TOKEN.finditer(self._body)
        self._tokens = [self._token(found) for found in tokens]
        self._at = 0

    def _is_comment(self) -> bool:
        return self._body.startswith("/*") and self._body.endswith("*/")

    def _wrong(self, why: str) -> BadTemplate:
        return BadTemplate(f"address template {{{{ {self._body} }}}}: {why}")

    def _token(self, found: re.Match[str]) -> tuple[str, Any]:
        mark, quoted, number, word, other = found.groups()
        if other:
            raise self._wrong(f"unexpected {other}")
        if quoted:
            inner = quoted[1:-1]
            return "value", inner if quoted[0] == "`" else re.sub(r"\\(.)", r"\1", inner)
        if number:
            return "value", int(number[:18])
        return ("word", word) if word else (mark, mark)

    def value(self) -> str:
        """The text to put in its place."""
        if self._is_comment():
            return ""
        value = self._pipeline(0)
        if self._at < len(self._tokens):
            raise self._wrong("unexpected )")
        if isinstance(value, str | int):
            return str(value)
        raise self._wrong('it gives interfaces; end it with | attr "address"')

    # ------------------------------------------------------------ grammar

    def _next(self) -> tuple[str, Any]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", None)

    def _pipeline(self, depth: int) -> Value:
        if depth > DEPTH_MAX:
            raise self._wrong("nested too deeply")
        value = self._command(depth, ())
        while self._next()[0] == "|":
            self._at += 1
            value = self._command(depth, (value,))
        return value

    def _command(self, depth: int, piped: tuple[Value, ...]) -> Value:
        kind, first = self._next()
        if kind == "word":
            self._at += 1
            return self._call(first, [*self._operands(depth), *piped])
        operands = self._operands(depth)
        if len(operands) == 1 and not piped:
            return operands[0]
        raise self._wrong(
            "only functions take arguments" if operands and not piped else "a function is missing"
        )

    def _operands(self, depth: int) -> list[Value]:
        found: list[Value] = []
        while True:
            kind, value = self._next()
            if kind not in ("value", "word", "("):
                return found
            self._at += 1
            if kind == "(":
                value = self._pipeline(depth + 1)
                if self._next()[0] != ")":
                    raise self._wrong("a ) is missing")
                self._at += 1
            found.append(self._call(value, []) if kind == "word" else value)

    def _call(self, name: str, arguments: list[Value]) -> Value:
        if name not in _FUNCTIONS:
            raise self._wrong(f'function "{name}" not defined; there are {", ".join(_FUNCTIONS)}')
        usage, function = _FUNCTIONS[name]
        wanted = [_PARAMETERS[word] for word in usage.split()]
        if len(wanted) != len(arguments) or not all(map(isinstance, arguments, wanted)):
            raise self._wrong(f"{name} takes {usage or 'no arguments'}")
        try:
            return function(self._known, *arguments)
        except (ValueError, BadExpression) as error:
            raise self._wrong(f"{name}: {error}") from None


# ---------------------------------------------------------------- sources


def _all(known: Known) -> Interfaces:
    return list(known.all)


def _default(known: Known) -> Interfaces:
    return [one for one in known.all if one.name == known.default]


def _reachable(known: Known, *, private: bool) -> Interfaces:
    found = _sort(known, "default,type,size", list(known.all))
    found = _include(known, "flags", "forwardable|up", found)
    return [one for one in found if within(one.address.ip, SPECIAL) == private]


def _private(known: Known) -> Interfaces:
    return _reachable(known, private=True)


def _public(known: Known) -> Interfaces:
    return _reachable(known, private=False)


def _named(known: Known, name: str) -> Interfaces:
    return [one for one in known.all if one.name == name]


def _interface_ip(known: Known, name: str) -> str:
    found = _sort(known, "type,size", _named(known, name))
    return _attr(known, "address", _include(known, "flag", "forwardable", found))


def _texts(found: Interfaces) -> str:
    return " ".join(one.text for one in found)


# ---------------------------------------------------------------- filters


def _has_flag(flag: str) -> Callable[[Interface], bool]:
    addresses: dict[str, Callable[[Any], bool]] = {
        "forwardable": lambda ip: within(ip, FORWARDABLE) or not within(ip, SPECIAL),
        "global unicast": lambda ip: (
            not (ip.is_multicast or ip.is_unspecified or ip.is_loopback or ip.is_link_local)
        ),
        "interface-local multicast": lambda ip: ip.is_multicast and str(ip).startswith("ff01:"),
        "link-local multicast": lambda ip: ip.is_multicast and str(ip).startswith(("ff02:", "224.0.0.")),
        "link-local unicast": lambda ip: ip.is_link_local,
        "unspecified": lambda ip: ip.is_unspecified,
    }
    if flag in addresses:
        return lambda one: addresses[flag](one.address.ip)
    if flag == "down":
        return lambda one: "up" not in one.flags
    if flag in ("up", "broadcast", "loopback", "multicast", "point-to-point"):
        return lambda one: flag in one.flags
    raise ValueError(f'unknown interface flag "{flag}"')


def _test(selector: str, wanted: str) -> Callable[[Interface], bool]:
    """What says whether an interface is meant; raises ``ValueError``."""
    selector, parts = selector.lower(), wanted.split("|")
    if selector in ("flag", "flags"):
        flags = [_has_flag(part.lower()) for part in parts]
        return lambda one: all(flag(one) for flag in flags)
    if selector == "network":
        networks = [ipaddress.ip_network(part, strict=False) for part in parts]
        return lambda one: within(one.address.ip, networks)
    if selector == "rfc":
        for part in parts:
            if part not in RFC:
                raise ValueError(f"nothing is known of RFC {part}; there are {', '.join(RFC)}")
        return lambda one: any(within(one.address.ip, RFC[part]) for part in parts)
    if selector == "type":
        kinds = [part.lower() for part in parts]
        if not set(kinds) <= {"ip", "ipv4", "ipv6", "unix"}:
            raise ValueError("the types are ip, ipv4, ipv6 and unix")
        return lambda one: "ip" in kinds or f"ipv{one.address.version}" in kinds
    if selector == "size":
        bits = wanted.removeprefix("/")
        if not (bits.isdecimal() and len(bits) <= 3 and int(bits) <= 128):
            raise ValueError(f'"{wanted}" is not the number of bits of a mask')
        return lambda one: one.address.network.prefixlen == int(bits)
    if selector in ("name", "address", "port"):
        pattern = Expression(wanted)
        return lambda one: pattern.search(_of(one, selector))
    raise ValueError(f'"{selector}" is none of address, flags, name, network, port, rfc, size and type')


def _include(known: Known, selector: str, wanted: str, found: Interfaces) -> Interfaces:
    return list(filter(_test(selector, wanted), found))


def _exclude(known: Known, selector: str, wanted: str, found: Interfaces) -> Interfaces:
    test = _test(selector, wanted)
    return [one for one in found if not test(one)]


def _limit(known: Known, count: int, found: Interfaces) -> Interfaces:
    if count < 0:
        raise ValueError("the number must not be negative")
    return found[:count]


def _offset(known: Known, count: int, found: Interfaces) -> Interfaces:
    if abs(count) > len(found):
        raise ValueError(f"there are only {len(found)} interfaces")
    return found[count:]


def _unique(known: Known, name: str, found: Interfaces) -> Interfaces:
    if name not in ("address", "name"):
        raise ValueError("one can ask for unique address or name")
    return list({_of(one, name): one for one in reversed(found)}.values())[::-1]


def _sort(known: Known, order: str, found: Interfaces) -> Interfaces:
    """By ``type``, ``name`` and so on, several with commas; a minus before one turns its order."""
    rules = [_comparison(known, word.strip()) for word in order.split(",")]

    def compare(left: Interface, right: Interface) -> int:
        return next((result for rule in rules if (result := rule(left, right))), 0)

    return sorted(found, key=cmp_to_key(compare))


def _comparison(known: Known, word: str) -> Callable[[Interface, Interface], int]:
    name, sign = word.lstrip("+-"), -1 if word.startswith("-") else 1
    keys: dict[str, Callable[[Interface], Any]] = {
        "address": lambda one: int(one.address.ip),
        "default": lambda one: one.name != known.default,
        "name": lambda one: one.name,
        "port": lambda one: 0,
        "private": lambda one: not within(one.address.ip, PRIVATE),
        "size": lambda one: one.address.network.prefixlen,
        "type": lambda one: one.address.version,
    }
    if name not in keys:
        raise ValueError(f'"{name}" is none of {", ".join(keys)}')
    key = keys[name]

    def compare(left: Interface, right: Interface) -> int:
        if name in ("address", "size") and left.address.version != right.address.version:
            return 0
        return sign * (int(key(left) > key(right)) - int(key(left) < key(right)))

    return compare


def _math(known: Known, what: str, operation: str, found: Interfaces) -> Interfaces:
    """``address`` or ``network``, ``+5`` or ``-5``; within a network one comes round."""
    if not re.fullmatch(r"[+-][0-9]{1,40}", operation):
        raise ValueError(f'"{operation}" is not + or - and a number')
    if what not in ("address", "network"):
        raise ValueError(f'"{what}" is none of address and network')
    return [_moved(one, what == "network", int(operation)) for one in found]


def _moved(one: Interface, inside: bool, by: int) -> Interface:
    network = one.address.network
    if inside:
        number = int(network.network_address) + by % network.num_addresses
    else:
        number = (int(one.address.ip) + by) % (1 << one.address.max_prefixlen)
    packed = number.to_bytes(one.address.max_prefixlen // 8, "big")
    return replace(one, address=ipaddress.ip_interface((packed, network.prefixlen)))


# ---------------------------------------------------------------- texts


def _usable(one: Interface, last: bool) -> str:
    network = one.address.network
    edge = 1 if network.version == 4 and network.num_addresses > 2 else 0
    return str(network[-1 - edge] if last else network[edge])


_ATTRIBUTES: dict[str, Callable[[Interface], str]] = {
    "address": lambda one: one.text,
    "binary": lambda one: f"{int(one.address.ip):0{one.address.max_prefixlen}b}",
    "first_usable": lambda one: _usable(one, False),
    "flags": lambda one: "|".join(
        flag for flag in ("up", "broadcast", "loopback", "point-to-point", "multicast") if flag in one.flags
    ),
    "hex": lambda one: one.address.packed.hex(),
    "host": lambda one: one.text,
    "last_usable": lambda one: _usable(one, True),
    "mask_bits": lambda one: str(one.address.network.prefixlen),
    "name": lambda one: one.name,
    "netmask": lambda one: str(one.address.netmask),
    "network": lambda one: str(one.address.network.network_address),
    "octets": lambda one: " ".join(map(str, one.address.packed)),
    "port": lambda one: "0",
    "size": lambda one: str(one.address.network.num_addresses),
    "string": lambda one: one.text if one.address.network.num_addresses == 1 else one.address.with_prefixlen,
    "type": lambda one: f"IPv{one.address.version}",
}
_OF_IPV4: dict[str, Callable[[Interface], str]] = {
    "broadcast": lambda one: str(one.address.network.broadcast_address),
    "uint32": lambda one: str(int(one.address.ip)),
}
_OF_IPV6: dict[str, Callable[[Interface], str]] = {"uint128": lambda one: str(int(one.address.ip))}


def _of(one: Interface, name: str) -> str:
    known = _ATTRIBUTES | (_OF_IPV4 if one.address.version == 4 else _OF_IPV6)
    if name.lower() not in known:
        raise ValueError(f'unsupported attribute name "{name}"; there are {", ".join(known)}')
    return known[name.lower()](one)


def _attr(known: Known, name: str, found: Interfaces) -> str:
    return _of(found[0], name) if found else ""


def _join(known: Known, name: str, separator: str, found: Interfaces) -> str:
    return separator.join(_of(one, name) for one in found)


_PARAMETERS: dict[str, type] = {
    "ATTRIBUTE": str, "SELECTOR": str, "VALUE": str, "ORDER": str, "SEPARATOR": str, "NAME": str,
    "NUMBER": int, "INTERFACES": list,
}  # fmt: skip
_FUNCTIONS: dict[str, tuple[str, Callable[..., Value]]] = {
    "GetAllInterfaces": ("", _all),
    "GetDefaultInterfaces": ("", _default),
    "GetPrivateInterfaces": ("", _private),
    "GetPublicInterfaces": ("", _public),
    "GetPrivateIP": ("", lambda known: _texts(_private(known)[:1])),
    "GetPrivateIPs": ("", lambda known: _texts(_private(known))),
    "GetPublicIP": ("", lambda known: _texts(_public(known)[:1])),
    "GetPublicIPs": ("", lambda known: _texts(_public(known))),
    "GetInterfaceIP": ("NAME", _interface_ip),
    "GetInterfaceIPs": ("NAME", lambda known, name: _texts(_named(known, name))),
    "attr": ("ATTRIBUTE INTERFACES", _attr),
    "exclude": ("SELECTOR VALUE INTERFACES", _exclude),
    "include": ("SELECTOR VALUE INTERFACES", _include),
    "join": ("ATTRIBUTE SEPARATOR INTERFACES", _join),
    "limit": ("NUMBER INTERFACES", _limit),
    "math": ("ATTRIBUTE VALUE INTERFACES", _math),
    "offset": ("NUMBER INTERFACES", _offset),
    "sort": ("ORDER INTERFACES", _sort),
    "unique": ("ATTRIBUTE INTERFACES", _unique),
}
