"""``?filter=`` applied to what a read found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, get_args, get_type_hints

from msgspec import Struct
from msgspec.structs import replace


def filtered(call: Callable[[Any], Any], reply: type[Struct], path: Sequence[str]) -> Callable[[Any], Any]:
    """``call``, an endpoint's read, with the filter of its request applied.

    Index and watch stay those of all rows, so a filtered read may be woken without another answer.

    :param path: the fields that lead from the reply to its rows, a list or a mapping.
    """

    def call_filtered(request: Any) -> Any:
        if not request.filter:
            return call(request)
        from pyconsul.filters.compiled import make_test  # few ever filter

        test = make_test(request.filter, row_type(reply, path))
        found = call(request)
        return replace(found, reply=_narrowed(found.reply, path, test))

    return call_filtered


def row_type(reply: type[Struct], path: Sequence[str]) -> type[Any]:
    """The type of the rows at ``path``, as the reply's declaration says."""
    hint: Any = reply
    for name in path:
        hint = get_type_hints(hint)[name]
        options = get_args(hint)
        if NoneType in options:
            hint = next(option for option in options if option is not NoneType)
    row: type[Any] = get_args(hint)[-1]
    return row


def _narrowed(reply: Any, path: Sequence[str], test: Callable[[Any], bool]) -> Any:
    """A copy of ``reply`` with only those rows that pass; what is ``None`` stays so."""
    rows = getattr(reply, path[0])
    if rows is None:
        return reply
    if len(path) > 1:
        narrowed = _narrowed(rows, path[1:], test)
    elif isinstance(rows, dict):
        narrowed = {key: row for key, row in rows.items() if test(row)}
    else:
        narrowed = [row for row in rows if test(row)]
    return replace(reply, **{path[0]: narrowed})
