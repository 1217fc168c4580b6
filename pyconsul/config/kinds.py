"""The kinds of values that settings have: how files and flags give them and how layers combine.

A value passes three stations. ``shape`` looks at what a file holds and refuses wrong types, with
Consul's texts. ``merge`` puts it over what an earlier file said. ``convert`` makes what the
program uses of it: durations become seconds, lists tuples.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from pyconsul.errors import ConfigurationError
from pyconsul.structs.durations import parse_ns

FLOAT_MAX = 1.7976931348623157e308
"""The largest number that is not infinity."""


def wrong_type(value: object, where: str, wanted: str) -> ConfigurationError:
    """``value`` at ``where`` is not of the type that Consul's decoder calls ``wanted``."""
    return ConfigurationError(
        f"'{where}' expected type '{wanted}', got unconvertible type '{type_name(value)}'"
    )


def type_name(value: object) -> str:
    """What Consul's decoder calls the type of a value from a file."""
    if isinstance(value, bool):
        return "bool"
    names = {
        int: "int",
        float: "float64",
        str: "string",
        dict: "map[string]interface {}",
        list: "[]interface {}",
    }
    return names.get(type(value), "nil")


# ---------------------------------------------------------------- shapes


def _text(value: object, where: str) -> object:
    if not isinstance(value, str):
        raise wrong_type(value, where, "string")
    return value


def _path(value: object, where: str) -> object:
    if isinstance(value, str) and "\0" in value:
        raise ConfigurationError(f"'{where}' has a NUL character, which no path has")
    return _text(value, where)


def _boolean(value: object, where: str) -> object:
    if not isinstance(value, bool):
        raise wrong_type(value, where, "bool")
    return value


def _integer(value: object, where: str) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(value, where, "int")
    if not -(2**63) <= value < 2**63:  # nor is infinity
        raise ConfigurationError(f"'{where}' cannot parse number: value out of range")
    return int(value)


def _unsigned(value: object, where: str) -> object:
    number = _integer(value, where)
    if isinstance(number, int) and number < 0:
        raise ConfigurationError(f"cannot parse '{where}', {number} overflows uint")
    return number


def _number(value: object, where: str) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(value, where, "float64")
    if not -FLOAT_MAX <= value <= FLOAT_MAX:
        raise ConfigurationError(f"'{where}' cannot parse number: value out of range")
    return float(value)


def _texts(value: object, where: str) -> object:
    if not isinstance(value, list):
        raise ConfigurationError(f"'{where}': source data must be an array or slice, got {type_name(value)}")
    return [_text(item, f"{where}[{number}]") for number, item in enumerate(value)]


def as_map(value: object, where: str) -> dict[str, Any]:
    """The one object of a key; HCL gives a list when the block is repeated."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        got = "slice" if isinstance(value, list) else type_name(value)
        raise ConfigurationError(f"'{where}' expected a map, got '{got}'")
    return value


def _text_map(value: object, where: str) -> object:
    return {key: _text(item, f"{where}[{key}]") for key, item in as_map(value, where).items()}


def _any_map(value: object, where: str) -> object:
    return as_map(value, where)


def _maps(value: object, where: str) -> object:
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise ConfigurationError(f"'{where}': source data must be an array or slice, got {type_name(value)}")
    return [as_map(item, f"{where}[{number}]") for number, item in enumerate(value)]


# ---------------------------------------------------------------- conversions


def _as_is(value: Any, where: str) -> Any:
    return value


def _tuple(value: Any, where: str) -> Any:
    return tuple(value)


def _duration(value: Any, where: str) -> Any:
    try:
        return parse_ns(value) / 1e9
    except ValueError as error:
        raise ConfigurationError(f'{where}: invalid duration: "{value}": {error}') from None


def _duration_map(value: Any, where: str) -> Any:
    return {key: _duration(item, f"{where}.{key}") for key, item in value.items()}


def _port(value: Any, where: str) -> Any:
    if value > 65535:
        raise ConfigurationError(f"{where}: invalid port: {value}")
    return value if value > 0 else -1


def is_ip(text: str) -> bool:
    """Whether ``text`` is an IPv4 or IPv6 address."""
    host, mark, zone = text.partition("%")
    if mark and (":" not in host or not zone or "%" in zone):
        return False
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except (OSError, ValueError):
        return False
    return True


def _ip(value: Any, where: str) -> Any:
    if value == "[::]":  # the only one that may have brackets
        return "::"
    if value and not is_ip(value):
        raise ConfigurationError(f"{where}: invalid ip address: {value}")
    return value


def _ips(value: Any, where: str) -> Any:
    found = value.split()
    return tuple(text if text.startswith("unix://") else _ip(text, where) for text in found)


def _networks(value: Any, where: str) -> Any:
    for text in value:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ConfigurationError(f"{where}: invalid cidr: invalid CIDR address: {text}") from None
        if "/" not in text:
            raise ConfigurationError(f"{where}: invalid cidr: invalid CIDR address: {text}")
    return tuple(value)


# ---------------------------------------------------------------- combining layers


def _last(old: Any, new: Any) -> Any:
    return new


def _append(old: Any, new: Any) -> Any:
    return [*old, *new]


def _update(old: Any, new: Any) -> Any:
    return {**old, **new}


# ---------------------------------------------------------------- flags


def _flag_boolean(text: str) -> object:
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise ValueError(text)


def _flag_pair(text: str) -> object:
    key, _, value = text.partition(":")
    return {key: value}


class Kind(Struct, frozen=True):
    """How a sort of value is read, combined and converted.

    :ivar name: what help and reference call it.
    :ivar shape: what a file holds -> the same, checked; raises ``ConfigurationError``.
    :ivar convert: that -> what the program uses; raises ``ConfigurationError``.
    :ivar merge: (what earlier layers gave, what this one gives) -> both together.
    :ivar flag: the text of a flag -> what a file would hold; raises ``ValueError``.
    :ivar many: a list: the flag may be repeated, and flags come before files.
    :ivar template: addresses, which may be templates over the interfaces of the machine.
    """

    name: str
    shape: Callable[[object, str], object] = _text
    convert: Callable[[Any, str], Any] = _as_is
    merge: Callable[[Any, Any], Any] = _last
    flag: Callable[[str], object] = str
    many: bool = False
    template: bool = False


def _one(text: str) -> object:
    return [text]


STRING = Kind("string")
PATH = Kind("path", _path)
BOOL = Kind("boolean", _boolean, flag=_flag_boolean)
INT = Kind("integer", _integer, flag=int)
UINT = Kind("integer", _unsigned, flag=int)
NUMBER = Kind("number", _number, flag=float)
PORT = Kind("port", _integer, _port, flag=int)
DURATION = Kind("duration", _text, _duration)
IP = Kind("address", _text, _ip, template=True)
IPS = Kind("addresses", _text, _ips, template=True)
STRINGS = Kind("list of strings", _texts, _tuple, _append, _one, many=True)
ADDRESSES = Kind("list of addresses", _texts, _tuple, _append, _one, many=True, template=True)
NETWORKS = Kind("list of networks", _texts, _networks, _append, _one, many=True)
STRING_MAP = Kind("map of strings", _text_map, merge=_update, flag=_flag_pair)
DURATION_MAP = Kind("map of durations", _text_map, _duration_map, _update)
ANY_MAP = Kind("map", _any_map, merge=_update)
MAPS = Kind("list of maps", _maps, _tuple, _append)
