"""The reference page of all settings, made from their declarations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyconsul.config.kinds import DURATION
from pyconsul.config.schema import AgentConfig
from pyconsul.config.setting import Declared, declared
from pyconsul.structs.durations import format_ns


def _default(item: Declared) -> str:
    value: Any = item.default
    if item.setting.kind is DURATION:
        value = format_ns(round(value * 1e9))
    elif isinstance(value, tuple):
        value = " ".join(map(str, value))
    elif isinstance(value, bool):
        value = str(value).lower()
    return f"``{value}``" if value not in ("", None, {}) else "none"


def _entry(item: Declared) -> Iterator[str]:
    facts = [item.setting.kind.name, f"default {_default(item)}"]
    if item.setting.flag:
        facts.append(f"flag ``-{item.setting.flag}``")
    if item.setting.reload:
        facts.append("reloadable")
    if item.setting.idle:
        facts.append("without effect yet")
    yield f"``{item.path}``"
    yield f"    {item.setting.doc}"
    yield ""
    yield f"    *{', '.join(facts[:1])}*, {', '.join(facts[1:])}"
    yield ""


def render() -> str:
    """reStructuredText with a definition list: single settings first, then group by group."""
    single: list[Declared] = []
    groups: dict[str, list[Declared]] = {}
    for item in declared(AgentConfig()):
        head, _, rest = item.path.partition(".")
        (groups.setdefault(head, []) if rest else single).append(item)
    lines: list[str] = []
    for title, items in (("Single settings", single), *sorted(groups.items())):
        lines += [title, "-" * len(title), ""]
        for item in sorted(items, key=lambda item: item.path):
            lines += _entry(item)
    return "\n".join(lines)
