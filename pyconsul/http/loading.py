"""Klein is loaded when it is first needed, in a thread: that takes 0.1 s, in which others are served."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyconsul.http.surface import Surface


class Loading:
    """Whether the slow road is there, and who waits for it.

    :param surface: whose it is.
    :param clock: the reactor. Another clock, which takes nothing from threads, has it loaded at once.
    """

    def __init__(self, surface: Surface, clock: Any) -> None:
        self._surface = surface
        self._from_thread: Callable[[Callable[[], None]], object] | None
        self._from_thread = getattr(clock, "callFromThread", None)
        self._is_done = False
        self._waiting: list[Callable[[], None]] = []

    def then(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on``, which never raises, once it is."""
        if self._is_done:
            go_on()
            return
        self._waiting.append(go_on)
        if self._from_thread is None:
            self._load()
            self._done()
        elif len(self._waiting) == 1:
            work = partial(self._work, self._from_thread)
            Thread(target=work, name="pyconsul-klein", daemon=True).start()

    def _work(self, from_thread: Callable[[Callable[[], None]], object]) -> None:
        try:
            self._load()
        finally:  # whoever needs what could not be loaded will say so
            from_thread(self._done)

    def _done(self) -> None:
        self._is_done = True
        waiting, self._waiting = self._waiting, []
        for go_on in waiting:
            go_on()

    def _load(self) -> None:
        from pyconsul.http import request  # noqa: F401

        _ = self._surface.road
