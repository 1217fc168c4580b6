"""The stored configuration of Autopilot: a table of at most one row.

It has no indexes but those in its row, since it is never deleted.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from pyconsul.state.watches import Watches
from pyconsul.structs.operator import AutopilotConfig

WATCH = ("autopilot",)


class AutopilotCommand(Struct, array_like=True, frozen=True):
    """The log command of Operator.AutopilotSetConfiguration.

    :ivar only_first: for what a leader writes when there is none: do nothing if there is one by now.
    """

    config: AutopilotConfig
    cas: bool = False
    only_first: bool = False


class AutopilotTable:
    """The configuration that all servers agree on.

    :ivar row: ``None`` until a leader has written what its own settings say.
    """

    def __init__(self, watches: Watches) -> None:
        self._watches = watches
        self.row: AutopilotConfig | None = None

    def apply(self, index: int, command: AutopilotCommand) -> bool:
        """Replace the row; whether that was done. The indexes in the command's row do not count."""
        row = self.row
        if command.only_first and row is not None:
            return False
        if command.cas and (row is None or row.modify_index != command.config.modify_index):
            return False
        created = index if row is None else row.create_index
        self.row = replace(command.config, create_index=created, modify_index=index)
        self._watches.touch(WATCH)
        return True
