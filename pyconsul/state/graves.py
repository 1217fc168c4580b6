"""What went from the catalog's views a short while ago, for those who ask only for what changed.

This is no part of the state: it is in no snapshot, and a server that was restored from one knows
nothing of what went before (``Store.known_since``). Whoever asks for more is told everything anew.
"""

from __future__ import annotations

from collections.abc import Hashable

GRAVES_MAX = 8192


class Graves:
    """Keys that went, by view.

    :ivar floor: what went at this index or before may be forgotten.
    """

    def __init__(self, graves_max: int = GRAVES_MAX) -> None:
        self.floor = 0
        self._graves_max = graves_max
        self._when: dict[tuple[str, Hashable], int] = {}
        """By view and key, in the order of their indexes."""
        self._views: dict[str, dict[Hashable, int]] = {}

    def bury(self, index: int, view: str, key: Hashable) -> None:
        """``key`` went from ``view``."""
        self._when.pop((view, key), None)
        self._when[view, key] = index
        self._views.setdefault(view, {})[key] = index
        if len(self._when) > self._graves_max:
            oldest = next(iter(self._when))
            self.floor = self._when.pop(oldest)
            view, key = oldest
            graves = self._views[view]
            del graves[key]
            if not graves:
                del self._views[view]

    def since(self, index: int, view: str) -> list[Hashable] | None:
        """What went from ``view`` after ``index``; ``None`` if that is not known any more."""
        if index < self.floor:
            return None
        return [key for key, at in self._views.get(view, {}).items() if at > index]
