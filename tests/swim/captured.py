"""Traffic captured from real agents (``vectors/``)."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

from pyconsul.swim.keyring import Keyring
from pyconsul.swim.layers import Layers

_FOLDER = Path(__file__).parent / "vectors"


def captured(name: str) -> list[Any]:
    """The records of one file."""
    records: list[Any] = json.loads((_FOLDER / f"{name}.json").read_text())
    return records


def layers_of(record: dict[str, Any]) -> Layers:
    """Layers with the key of a record, if it has one."""
    key = record.get("key_base64")
    return Layers(lambda size: bytes(size), Keyring([b64decode(key)]) if key else None)


def shown(value: Any) -> Any:
    """A value in the form in which the records show it."""
    if isinstance(value, bytes):
        try:
            found = value.decode()
        except UnicodeDecodeError:
            return {"hex": value.hex()}
        return found if found.isprintable() else {"hex": value.hex()}
    return value
