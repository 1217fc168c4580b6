"""The tables of ``pyconsul.raft.tables`` as text for the documentation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TypeVar

from pyconsul.raft.events import Role
from pyconsul.raft.tables import NOTES, PACE_NOTES, PACES, ROLES, Pace, To

Event = TypeVar("Event", bound=Enum)
State = TypeVar("State", bound=Enum)


def render() -> str:
    """Both tables, in reStructuredText."""
    sections = (
        ("Roles of a server", _table(Role, ROLES), NOTES),
        ("A follower, as its leader sees it", _table(Pace, PACES), PACE_NOTES),
    )
    lines: list[str] = []
    for title, table, notes in sections:
        lines += [title, "-" * len(title), "", *table, "", *(f".. {note}" for note in notes), ""]
    return "\n".join(lines)


def _table(states: type[State], table: Mapping[Event, Mapping[State, To[State]]]) -> Iterator[str]:
    yield from (".. list-table::", "   :header-rows: 1", "", "   * - what happens")
    yield from (f"     - {state.value.upper()}" for state in states)
    for event, row in table.items():
        yield f"   * - {event.value}"
        for state in states:
            to = row.get(state)
            yield f"     - {_cell(state, to) if to is not None else '(cannot be)'}"


def _cell(state: State, to: To[State]) -> str:
    where = "stays" if to.state is state else f"**{to.state.value.upper()}**"
    return f"{where}: {to.note}" if to.note else where
