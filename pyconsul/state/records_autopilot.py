"""The record of Autopilot's configuration, of which there is one at most."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from pyconsul.state.records_kinds import AUTOPILOT
from pyconsul.state.records_wire import IndexRecord, packer
from pyconsul.structs.operator import AutopilotConfig

_decode = msgspec.msgpack.Decoder(AutopilotConfig).decode


def records(row: AutopilotConfig | None) -> Iterator[bytes]:
    """The record, if there is a row; their fields are the same."""
    if row is not None:
        yield bytes((AUTOPILOT,)) + packer().pack(msgspec.to_builtins(row))


class AutopilotReader:
    """Takes the record.

    :ivar last_index: for a row that tells no index.
    """

    def __init__(self) -> None:
        self.last_index = 0
        self._row: AutopilotConfig | None = None

    def configuration(self, record: bytes) -> None:
        """The row."""
        row = _decode(record)
        self._row = replace(
            row,
            create_index=row.create_index or self.last_index,
            modify_index=row.modify_index or self.last_index,
        )

    def index(self, row: IndexRecord) -> None:
        """An index of Consul's; none of them is about this."""

    def finish(self) -> AutopilotConfig | None:
        """The row."""
        return self._row
