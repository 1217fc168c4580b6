"""``Script`` in checks that are registered over HTTP: a line for the shell, as up to Consul 1.0.

Later versions do not know it, and neither does this agent unless script checks are enabled.
"""

from __future__ import annotations

from typing import Any

from pyconsul.structs.agent import script_args


def check(value: Any) -> Any:
    """The JSON of a check with ``Args`` instead, which come before a ``Script`` that stands beside them."""
    if not isinstance(value, dict):
        return value
    names = {_folded(key): key for key in value}
    line = value.get(names.get("script"))
    if not isinstance(line, str):  # none, or one that is refused as what nobody knows
        return value
    kept = {key: item for key, item in value.items() if _folded(key) != "script"}
    if line and not any(value.get(names.get(name)) for name in ("args", "scriptargs")):
        shell = value.get(names.get("shell"))
        kept["Args"] = script_args(line, shell if isinstance(shell, str) else "")
    return kept


def service(value: Any) -> Any:
    """The JSON of a service, with all its checks so."""
    if not isinstance(value, dict):
        return value
    made = {}
    for key, item in value.items():
        if _folded(key) == "check":
            item = check(item)
        elif _folded(key) == "checks" and isinstance(item, list):
            item = [check(one) for one in item]
        made[key] = item
    return made


def _folded(key: str) -> str:
    return key.lower().replace("_", "")
