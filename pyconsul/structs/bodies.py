"""Request bodies in JSON, read as Consul reads them.

Keys match without regard to case, and where asked also in snake_case (``service_id``); ``null`` is
the same as leaving a field out; unknown fields and wrong types are refused. The wording follows
Go's, as far as people see it in Consul's answers.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from pyconsul.errors import BadRequest
from pyconsul.late_patterns import compile_late

T = TypeVar("T")

PREFIX = "Request decode failed: "
DEPTH_MAX = 32
INT_MIN, INT_MAX = -(1 << 63), (1 << 64) - 1
"""No number outside of these can be stored, or sent to others; some fields are unsigned, most are not."""

_WORDS = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number"}
_MALFORMED = compile_late(r"JSON is malformed: (.*) \(byte (\d+)\)")
_NOTHING: Any = object()


class _Mismatch(Exception):
    """What is wrong, in Go's words."""


def decode(
    body: bytes,
    kind: type[T],
    *,
    snake_case: bool = False,
    open_structs: tuple[type, ...] = (),
    prefix: str = PREFIX,
    rewrite: Callable[[Any], Any] | None = None,
) -> T:
    """``body`` as the struct ``kind``; an empty struct for ``null``.

    :param snake_case: also take ``tagged_addresses`` for ``TaggedAddresses``.
    :param open_structs: structs within ``kind`` whose unknown fields are ignored.
    :param prefix: what the error text begins with.
    :param rewrite: makes today's spelling of an old one.
    :raises BadRequest: with ``prefix`` and the reason.
    """
    value = parse(body, prefix)
    if rewrite is not None:
        value = rewrite(value)
    return convert(value, kind, snake_case=snake_case, open_structs=open_structs, prefix=prefix)


def parse(body: bytes, prefix: str = PREFIX) -> Any:
    """The JSON value in ``body``; raises ``BadRequest`` as ``decode`` does."""
    if not body.strip():
        raise BadRequest(f"{prefix}EOF")
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(prefix + _syntax(str(error))) from None


def convert(
    value: Any,
    kind: type[T],
    *,
    snake_case: bool = False,
    open_structs: tuple[type, ...] = (),
    prefix: str = PREFIX,
) -> T:
    """A decoded JSON value as the struct ``kind``; parameters and errors as in ``decode``."""
    reader = _Reader(snake_case, open_structs)
    info = _type_of(kind)  # type: ignore[arg-type]
    try:
        read = reader.read({} if value is None else value, info, "", 0)
    except _Mismatch as mismatch:
        raise BadRequest(f"{prefix}json: {mismatch}") from None
    return read  # type: ignore[no-any-return]


def _syntax(error: str) -> str:
    if "truncated" in error:
        return "unexpected EOF"
    if "recursion" in error:
        return "invalid character in the body: exceeded max depth"
    if "codec" in error:
        return "invalid character in the body: no UTF-8"
    malformed = _MALFORMED.fullmatch(error)
    if malformed is None:
        return f"invalid character in the body: {error}"
    why = "" if malformed[1] == "invalid character" else f": {malformed[1]}"
    return f"invalid character at byte {malformed[2]}{why}"


@lru_cache(maxsize=256)
def _type_of(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


@lru_cache(maxsize=256)
def _fields(kind: type, snake_case: bool) -> dict[str, inspect.Field]:
    info = _type_of(kind)
    assert isinstance(info, inspect.StructType)
    return {_fold(field.encode_name, snake_case): field for field in info.fields}


def _fold(name: str, snake_case: bool) -> str:
    name = name.lower()
    return name.replace("_", "") if snake_case else name


class _Reader:
    """Walks a value beside the type that it should have."""

    def __init__(self, snake_case: bool, open_structs: tuple[type, ...]) -> None:
        self._snake_case = snake_case
        self._open = open_structs

    def read(self, value: Any, info: inspect.Type, path: str, depth: int) -> Any:
        """``value`` in the form of ``info``; ``_NOTHING`` for ``null``."""
        if depth > DEPTH_MAX:
            raise _Mismatch("exceeded max depth")
        if value is None:
            return _NOTHING
        if isinstance(info, inspect.UnionType):
            return self._union(value, info, path, depth)
        if isinstance(info, inspect.StructType):
            return self._struct(value, info, path, depth)
        if isinstance(info, inspect.ListType):
            return self._list(value, info, path, depth)
        if isinstance(info, inspect.VarTupleType):
            return tuple(self._list(value, info, path, depth))
        if isinstance(info, inspect.DictType):
            return self._dict(value, info, path, depth)
        return _scalar(value, info, path)

    def _union(self, value: Any, info: inspect.UnionType, path: str, depth: int) -> Any:
        kinds = [
            kind for kind in info.types if not isinstance(kind, inspect.NoneType) and not _is_unset(kind)
        ]
        for kind in kinds[:-1]:
            try:
                return self.read(value, kind, path, depth)
            except _Mismatch:
                continue
        return self.read(value, kinds[-1], path, depth)

    def _struct(self, value: Any, info: inspect.StructType, path: str, depth: int) -> Any:
        if not isinstance(value, dict):
            raise _mismatch(value, path, f"structs.{info.cls.__name__}")
        fields = _fields(info.cls, self._snake_case)
        given: dict[str, Any] = {}
        for key, item in value.items():
            field = fields.get(_fold(key, self._snake_case))
            if field is None:
                if info.cls in self._open:
                    continue
                why = " - Namespaces are a Consul Enterprise feature" if key.lower() == "namespace" else ""
                raise _Mismatch(f'unknown field "{key}"{why}')
            where = f"{path}.{field.encode_name}" if path else f"{info.cls.__name__}.{field.encode_name}"
            read = self.read(item, field.type, where, depth + 1)
            if read is not _NOTHING:
                given[field.name] = read
        for field in fields.values():
            if field.required and field.name not in given:
                given[field.name] = _zero(field.type)
        return info.cls(**given)

    def _list(
        self, value: Any, info: inspect.ListType | inspect.VarTupleType, path: str, depth: int
    ) -> list[Any]:
        if not isinstance(value, list):
            raise _mismatch(value, path, _go(info))
        items = (self.read(item, info.item_type, path, depth + 1) for item in value)
        return [_zero(info.item_type) if item is _NOTHING else item for item in items]

    def _dict(self, value: Any, info: inspect.DictType, path: str, depth: int) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _mismatch(value, path, _go(info))
        read = {key: self.read(item, info.value_type, path, depth + 1) for key, item in value.items()}
        return {key: _zero(info.value_type) if item is _NOTHING else item for key, item in read.items()}


def _scalar(value: Any, info: inspect.Type, path: str) -> Any:
    if isinstance(info, inspect.StrType) and isinstance(value, str):
        return value
    if isinstance(info, inspect.BoolType) and isinstance(value, bool):
        return value
    if isinstance(info, inspect.IntType) and isinstance(value, int) and not isinstance(value, bool):
        if INT_MIN <= value <= INT_MAX:
            return value
        raise _Mismatch(f"cannot unmarshal number {value} into Go struct field {path} of type int")
    if isinstance(info, inspect.FloatType) and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(info, inspect.BytesType) and isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except ValueError:  # binascii.Error, or characters beyond ASCII
            raise _Mismatch("illegal base64 data at input byte 0") from None
    if isinstance(info, inspect.AnyType | inspect.RawType):
        return value
    if isinstance(value, float) and isinstance(info, inspect.IntType):
        raise _Mismatch(f"cannot unmarshal number {value} into Go struct field {path} of type int")
    raise _mismatch(value, path, _go(info))


def _mismatch(value: Any, path: str, wanted: str) -> _Mismatch:
    into = f"struct field {path}" if path else "value"
    return _Mismatch(f"cannot unmarshal {_WORDS.get(type(value), 'value')} into Go {into} of type {wanted}")


def _go(info: inspect.Type) -> str:
    """The name that Go has for a type."""
    if isinstance(info, inspect.StructType):
        return f"structs.{info.cls.__name__}"
    if isinstance(info, inspect.ListType | inspect.VarTupleType):
        return f"[]{_go(info.item_type)}"
    if isinstance(info, inspect.DictType):
        return f"map[string]{_go(info.value_type)}"
    names = {
        inspect.StrType: "string", inspect.BoolType: "bool", inspect.IntType: "int",
        inspect.FloatType: "float64", inspect.BytesType: "[]uint8",
    }  # fmt: skip
    return names.get(type(info), "interface {}")


def _zero(info: inspect.Type) -> Any:
    """What Go has for a field that is not given."""
    if isinstance(info, inspect.UnionType):
        return None
    if isinstance(info, inspect.StructType):
        required = [field for field in info.fields if field.required]
        return info.cls(**{field.name: _zero(field.type) for field in required})
    zeros: dict[type, Any] = {
        inspect.StrType: "", inspect.BoolType: False, inspect.IntType: 0, inspect.FloatType: 0.0,
        inspect.BytesType: b"",
    }  # fmt: skip
    if isinstance(info, inspect.ListType):
        return []
    if isinstance(info, inspect.DictType):
        return {}
    return zeros.get(type(info))


def _is_unset(info: inspect.Type) -> bool:
    return isinstance(info, inspect.CustomType) and info.cls is msgspec.UnsetType
