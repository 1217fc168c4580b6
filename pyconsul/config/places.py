"""Where in the files something is said, for the texts of errors.

Nobody asks while all is well. So files are read without it, and once more with it when something in
them has turned out to be wrong.
"""

from __future__ import annotations

import json.decoder
import json.scanner
from bisect import bisect
from typing import Any

from pyconsul.errors import ConfigurationError
from pyconsul.hcl import Note


class Mistake(ConfigurationError):
    """A mistake that can be found in the files.

    :ivar about: the keys concerned.
    :ivar within: the definition that has them; without one they are whole keys of settings.
    """

    def __init__(self, text: str, *about: str, within: dict[str, Any] | None = None) -> None:
        super().__init__(text)
        self.about = about
        self.within = within


class Places:
    """File and line of every key that was read.

    An object stays known while this lives, so that no other can get its identity.
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[int, str], tuple[str, int]] = {}
        self._objects: list[dict[str, Any]] = []
        self._settings: dict[str, tuple[str, int]] = {}

    def reader(self, file: str, text: str) -> Note:
        """What the decoder of a file is to call."""
        ends = [at for at, char in enumerate(text) if char == "\n"]
        return lambda body, key, at: self._note(file, body, key, bisect(ends, at) + 1)

    def _note(self, file: str, body: dict[str, Any], key: str, line: int) -> None:
        self._lines[id(body), key] = (file, line)
        self._objects.append(body)

    def copied(self, old: dict[str, Any], key: str, new: dict[str, Any], as_key: str) -> None:
        """What ``old`` has under ``key`` is in ``new`` from now on."""
        if place := self._lines.get((id(old), key)):
            self._note(place[0], new, as_key, place[1])

    def of_setting(self, path: str, body: dict[str, Any], key: str) -> None:
        """``body`` gives the setting ``path`` its value; of several, the last counts."""
        if place := self._lines.get((id(body), key)):
            self._settings[path] = place

    def line(self, body: dict[str, Any], key: str) -> int:
        """The line of a key; 0 if it is not known."""
        return self._lines.get((id(body), key), ("", 0))[1]

    def shown(self, error: ConfigurationError) -> str:
        """The text of ``error`` with the places that it is about."""
        text = str(error)
        if not isinstance(error, Mistake):
            return text
        if error.within is not None:
            found = [self._lines.get((id(error.within), key)) for key in error.about]
        else:
            found = [self._settings.get(key) for key in error.about]
        places = dict.fromkeys(f"{place[0]}:{place[1]}" for place in found if place)
        whole = text.rstrip("\n")
        return f"{whole} ({', '.join(places)}){text[len(whole) :]}" if places else text


def json_noted(text: str, note: Note) -> Any:
    """The value of a JSON text that is known to be good."""

    class Decoder(json.JSONDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.parse_object = self._object
            self.scan_once = json.scanner.py_make_scanner(self)  # type: ignore[attr-defined]

        def _object(
            self, start: tuple[str, int], strict: bool, scan_once: Any, *rest: Any
        ) -> tuple[dict[str, Any], int]:
            starts: list[int] = []

            def scan(source: str, at: int) -> Any:
                starts.append(at)
                return scan_once(source, at)

            pairs, end = json.decoder.JSONObject(start, strict, scan, None, list)  # type: ignore[attr-defined]
            body: dict[str, Any] = {}
            for (key, value), at in zip(pairs, starts, strict=True):
                body[key] = value
                note(body, key, at)
            return body, end

    return json.loads(text, cls=Decoder)
