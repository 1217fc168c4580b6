"""Regular expressions that are compiled when first used: compiling takes as long as loading a module."""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


class _Pattern:
    def __init__(self, text: Any, flags: int) -> None:
        self._wanted = text, flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(*self._wanted), name)
        setattr(self, name, found)
        return found


def compile_late(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """As ``re.compile``, to be used through its methods only."""
    return cast(re.Pattern[AnyStr], _Pattern(text, flags))
