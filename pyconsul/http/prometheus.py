"""Metrics in the text form that Prometheus reads."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pyconsul.structs.metrics import Gauge, Metrics, Sampled

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_ODD = re.compile(r"[^a-zA-Z0-9_:]")


def exposition(metrics: Metrics) -> bytes:
    """All of ``metrics``; a name is that of Consul with underscores for what may not be in one."""
    lines: list[str] = []
    kinds: dict[str, Sequence[Gauge | Sampled]] = {
        "gauge": metrics.gauges,
        "counter": metrics.counters,
        "summary": metrics.samples,
    }
    for kind, rows in kinds.items():
        for row in rows:
            name = _ODD.sub("_", row.name)
            lines += (f"# HELP {name} {name}", f"# TYPE {name} {kind}")
            lines += _values(name, kind, row)
    return "".join(line + "\n" for line in lines).encode()


def _values(name: str, kind: str, row: Gauge | Sampled) -> list[str]:
    labels = ",".join(f'{_ODD.sub("_", key)}="{_escaped(value)}"' for key, value in row.labels.items())
    shown = f"{{{labels}}}" if labels else ""
    if isinstance(row, Gauge):
        return [f"{name}{shown} {row.value!r}"]
    if kind == "counter":
        return [f"{name}{shown} {row.sum!r}"]
    return [f"{name}_sum{shown} {row.sum!r}", f"{name}_count{shown} {row.count}"]


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
