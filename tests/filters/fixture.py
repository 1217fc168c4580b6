"""Answers of Consul 1.8.7, recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parent / "vectors"


def vectors(name: str) -> Any:
    """One file of them."""
    return json.loads((VECTORS / name).read_text("utf-8"))
