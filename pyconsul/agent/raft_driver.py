"""The driver of the Raft core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyconsul.errors import PyconsulError
from pyconsul.net.driver import Driver


class RaftDriver(Driver):
    """Tells when an event could not be handled to its end.

    The core, the disk and the tables may differ then. To go on would be to break a promise sooner
    or later, without anybody noticing.
    """

    def __init__(self, failed: Callable[[Exception], None], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._failed = failed

    def feed(self, event: object) -> None:
        """As ``Driver.feed``; a bug is still raised, a log that cannot be read is not."""
        try:
            super().feed(event)
        except Exception as error:
            self._failed(error)
            if not isinstance(error, PyconsulError | OSError):
                raise
