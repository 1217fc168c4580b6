"""``pyconsul snapshot``: save, restore, inspect."""

from __future__ import annotations

from pyconsul.cli.command import Command, Failed, Group, Invocation
from pyconsul.client import snapshot
from pyconsul.errors import PyconsulError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from pyconsul.storage.archive import Meta


def _only_file(invocation: Invocation) -> str:
    if not invocation.arguments:
        raise Failed("Missing FILE argument")
    invocation.no_more_than(1)
    return invocation.arguments[0]


def _opened(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise Failed(f"Error opening snapshot file: open {path}: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _verified(file: BinaryIO, problem: str) -> Meta:
    from pyconsul.storage.archive import verify

    try:
        return verify(file)
    except PyconsulError as error:
        raise Failed(f"{problem}: {error}") from None


# ---------------------------------------------------------------- save


def save(invocation: Invocation) -> int:
    """Write an archive beside where it belongs, look whether it is whole, and move it there."""
    import os

    path = _only_file(invocation)
    number, unverified = _created(path)
    try:
        with open(number, "w+b") as file:
            _fetch(invocation, file)
            meta = _verified(file, "Error verifying snapshot file")
            os.fsync(file.fileno())
        try:
            os.rename(unverified, path)
        except OSError as error:
            where = f'Error renaming "{unverified}" to "{path}": rename {unverified} {path}'
            raise Failed(f"{where}: {_reason(error)}") from None
    except BaseException:
        os.unlink(unverified)
        raise
    invocation.terminal.out(f"Saved and verified snapshot to index {meta.index}")
    return 0


def _created(path: str) -> tuple[int, str]:
    """A new file beside ``path`` that only its owner may read: an archive holds what secrets there are."""
    import os
    from tempfile import mkstemp

    folder, name = os.path.split(path)
    try:
        return mkstemp(prefix=name + ".unverified.tmp", dir=folder or ".")
    except OSError as error:
        raise Failed(
            "Error writing unverified snapshot file: "
            f"open {os.path.join(folder, os.path.basename(error.filename))}: {_reason(error)}"
        ) from None


def _fetch(invocation: Invocation, file: BinaryIO) -> None:
    client = invocation.client()
    try:
        for piece in client.stream(snapshot.save(**invocation.read_options)):
            file.write(piece)
        file.flush()
    except PyconsulError as error:
        raise Failed(f"Error saving snapshot: {error}") from None
    except OSError as error:
        raise Failed(f"Error writing unverified snapshot file: {_reason(error)}") from None


# ---------------------------------------------------------------- restore


def restore(invocation: Invocation) -> int:
    """Send an archive; the servers look whether it is whole."""
    path = _only_file(invocation)
    try:
        with _opened(path) as file:
            data = file.read()
    except OSError as error:
        raise Failed(f"Error reading snapshot file: read {path}: {_reason(error)}") from None
    call = snapshot.restore(data, **invocation.read_options)
    missing = invocation.do(call, "Error restoring snapshot")
    invocation.terminal.out("Restored snapshot")
    if missing:
        invocation.terminal.err(f"Warning: not everything could be restored, left out: {missing}")
    return 0


# ---------------------------------------------------------------- inspect


def inspect(invocation: Invocation) -> int:
    """Show what an archive says of itself, and warn of what would be left out here."""
    from pyconsul.state.records import left_out
    from pyconsul.state.records_kinds import describe
    from pyconsul.storage import archive

    with _opened(_only_file(invocation)) as file:
        meta = _verified(file, "Error verifying snapshot")
        facts = {
            "ID": meta.id,
            "Size": meta.size,
            "Index": meta.index,
            "Term": meta.term,
            "Version": meta.version,
        }
        for name, value in facts.items():
            invocation.terminal.out(f"{name:<13}{value}")
        invocation.terminal.out()
        try:
            missing = describe(left_out(archive.state(file)).counts)
        except PyconsulError as error:
            invocation.terminal.err(f"Warning: this snapshot cannot be restored here: {error}")
            return 0
    if missing:
        invocation.terminal.err(f"Warning: pyconsul would not restore everything, but leave out: {missing}")
    return 0


COMMAND = Group(
    "snapshot",
    "Save, restore and inspect the state of the servers: keys, catalog, sessions.",
    [
        Command(
            "snapshot save",
            "[options] FILE",
            "Save the state to a file. The leader is asked unless -stale lets any server answer, which "
            "works without a leader, too. The file is checked before it gets its name.",
            save,
            asks_servers=True,
        ),
        Command(
            "snapshot restore",
            "[options] FILE",
            "Make the state in a file that of the servers. Everything that is there now is replaced. "
            "Consul's own snapshots can be restored; what is not known here is left out and named.",
            restore,
            asks_servers=True,
        ),
        Command(
            "snapshot inspect",
            "[options] FILE",
            "Show what a file holds. No agent is needed.",
            inspect,
            connects=False,
        ),
    ],
)
