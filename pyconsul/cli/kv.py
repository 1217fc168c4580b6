"""``pyconsul kv``: put, get, delete, export, import."""

from __future__ import annotations

import binascii

from pyconsul.cli.command import Command, Failed, Group, Invocation
from pyconsul.cli.flags import UINT_MAX, Flag, boolean, unsigned
from pyconsul.client import kv
from pyconsul.errors import PyconsulError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NO_KEY = "Error! Missing KEY argument"
NO_INDEX = "Must specify -modify-index with -cas!"
QUERY_FAILED = "Error querying Consul agent"


# ---------------------------------------------------------------- put


def put(invocation: Invocation) -> int:
    """Write one entry."""
    given, arguments = invocation.values, invocation.arguments
    if not arguments:
        raise Failed(NO_KEY)
    if len(arguments) > 2:
        raise Failed(f"Error! Too many arguments (expected 1 or 2, got {len(arguments)})")
    key = arguments[0]
    value = invocation.data(arguments[1]) if len(arguments) == 2 else b""
    if given["base64"]:
        value = _decoded(value, invocation)
    if given["cas"] and not given["modify-index"]:
        raise Failed(NO_INDEX)
    if (given["acquire"] or given["release"]) and not given["session"]:
        raise Failed("Error! Missing -session (required with -acquire and -release)")
    kind = next((name for name in ("cas", "acquire", "release") if given[name]), "")
    problem = f"Error! Did not write to {key}" if kind == "cas" else "Error! Failed writing data"
    conditions = {
        "cas": {"cas": given["modify-index"]},
        "acquire": {"acquire": given["session"]},
        "release": {"release": given["session"]},
    }
    done = _write(invocation, problem, key, value, flags=given["flags"], **conditions.get(kind, {}))
    if not done and kind:
        refusals = {
            "cas": f"Error! Did not write to {key}: CAS failed",
            "acquire": "Error! Did not acquire lock",
            "release": "Error! Did not release lock",
        }
        raise Failed(refusals[kind])
    successes = {"acquire": "Lock acquired on", "release": "Lock released on"}
    invocation.terminal.out(f"Success! {successes.get(kind, 'Data written to')}: {key}")
    return 0


def _write(invocation: Invocation, problem: str, key: str, value: bytes, **options: Any) -> bool:
    """Perform a put; a key that cannot be one fails like an answer of the agent."""
    try:
        call = kv.put(key, value, datacenter=invocation.values["datacenter"], **options)
    except PyconsulError as error:
        raise Failed(f"{problem}: {error}") from None
    return invocation.do(call, problem)


def _decoded(value: bytes, invocation: Invocation) -> bytes:
    """What base64 stands for. Like Consul, go on with an empty value if it is none."""
    try:
        return binascii.a2b_base64(value, strict_mode=True)
    except binascii.Error as error:
        invocation.terminal.err(f"Error! Cannot base 64 decode data: illegal base64 data: {error}")
        return b""


# ---------------------------------------------------------------- get


def get(invocation: Invocation) -> int:
    """Read one entry, all below a prefix, or their keys."""
    given = invocation.values
    invocation.no_more_than(1)
    key = invocation.arguments[0].removeprefix("/") if invocation.arguments else ""
    if not key and not given["keys"] and not given["recurse"]:
        raise Failed(NO_KEY)
    if given["keys"]:
        return _get_keys(invocation, key)
    if given["recurse"]:
        return _get_all(invocation, key)
    if given["detailed"] or given["base64"]:
        pair = invocation.do(kv.get(key, **invocation.read_options), QUERY_FAILED)
        if pair is None:
            raise Failed(f"Error! No key exists at: {key}")
        if given["detailed"]:
            _show(invocation, pair)
        else:
            invocation.terminal.write(_encoded(pair.value) + b"\n")
        return 0
    value = invocation.do(kv.value(key, **invocation.read_options), QUERY_FAILED)
    if value is None:
        raise Failed(f"Error! No key exists at: {key}")
    invocation.terminal.write(value + b"\n")
    return 0


def _get_keys(invocation: Invocation, prefix: str) -> int:
    call = kv.keys(prefix, invocation.values["separator"], **invocation.read_options)
    for key in invocation.do(call, QUERY_FAILED):
        invocation.terminal.out(key)
    return 0


def _get_all(invocation: Invocation, prefix: str) -> int:
    given = invocation.values
    found = invocation.do(kv.recurse(prefix, **invocation.read_options), QUERY_FAILED)
    for number, pair in enumerate(found):
        if given["detailed"]:
            if number:
                invocation.terminal.out()
            _show(invocation, pair)
        else:
            value = _encoded(pair.value) if given["base64"] else pair.value
            invocation.terminal.write(_raw(pair.key) + b":" + value + b"\n")
    return 0


def _show(invocation: Invocation, pair: kv.Pair) -> None:
    """An entry with all that is known of it, one fact a line."""
    value = _encoded(pair.value) if invocation.values["base64"] else pair.value
    facts = {
        "CreateIndex": pair.create_index,
        "Flags": pair.flags,
        "Key": pair.key,
        "LockIndex": pair.lock_index,
        "ModifyIndex": pair.modify_index,
        "Session": pair.session or "-",
    }
    for name, fact in facts.items():
        invocation.terminal.out(f"{name:<17}{fact}")
    invocation.terminal.write((b"Value            " + value).rstrip(b" ") + b"\n")


def _encoded(value: bytes) -> bytes:
    return binascii.b2a_base64(value, newline=False)


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# ---------------------------------------------------------------- delete


def delete(invocation: Invocation) -> int:
    """Remove one entry, or all below a prefix."""
    given = invocation.values
    key = invocation.arguments[0].removeprefix("/") if invocation.arguments else ""
    if not key and not given["recurse"]:
        raise Failed(NO_KEY)
    invocation.no_more_than(1)
    if given["cas"] and not given["modify-index"]:
        raise Failed(NO_INDEX)
    if given["recurse"] and given["cas"]:
        raise Failed("Cannot specify both -cas and -recurse!")
    if given["modify-index"] and not given["cas"]:
        raise Failed("Cannot specify -modify-index without -cas!")
    if given["recurse"]:
        call = kv.delete_tree(key, datacenter=given["datacenter"])
        invocation.do(call, f"Error! Did not delete prefix {key}")
        invocation.terminal.out(f"Success! Deleted keys with prefix: {key}")
        return 0
    cas = given["modify-index"] if given["cas"] else None
    problem = f"Error! Did not delete key {key}" if given["cas"] else f"Error deleting key {key}"
    if not invocation.do(kv.delete(key, cas=cas, datacenter=given["datacenter"]), problem) and given["cas"]:
        raise Failed(f"Error! Did not delete key {key}: CAS failed")
    invocation.terminal.out(f"Success! Deleted key: {key}")
    return 0


# ---------------------------------------------------------------- export and import


def export(invocation: Invocation) -> int:
    """Write all entries below a prefix as JSON that ``kv import`` takes."""
    import json

    invocation.no_more_than(1)
    prefix = invocation.arguments[0].removeprefix("/") if invocation.arguments else ""
    found = invocation.do(kv.recurse(prefix, **invocation.read_options), QUERY_FAILED)
    rows = [{"key": pair.key, "flags": pair.flags, "value": _encoded(pair.value).decode()} for pair in found]
    invocation.terminal.write(json.dumps(rows, indent="\t", ensure_ascii=False).encode() + b"\n")
    return 0


def import_(invocation: Invocation) -> int:
    """Write the entries of a ``kv export``."""
    if not invocation.arguments:
        raise Failed("Error! Missing DATA argument")
    if len(invocation.arguments) > 1:
        raise Failed(f"Error! Too many arguments (expected 1, got {len(invocation.arguments)})")
    for row in _rows(invocation.data(invocation.arguments[0])):
        key, flags, text = row.get("key", ""), row.get("flags", 0), row.get("value", "")
        try:
            value = binascii.a2b_base64(text, strict_mode=True) if text else b""
        except (binascii.Error, ValueError) as error:
            raise Failed(
                f"Error base 64 decoding value for key {key}: illegal base64 data: {error}"
            ) from None
        _write(invocation, f"Error! Failed writing data for key {key}", key, value, flags=flags)
        invocation.terminal.out(f"Imported: {key}")
    return 0


def _rows(data: bytes) -> list[dict[str, Any]]:
    """The entries of an export, field names in lower case; fails the command if it is none."""
    import json

    try:
        rows = json.loads(data)
    except ValueError as error:
        raise Failed(f"Cannot unmarshal data: invalid character: {error}") from None
    kinds = {"key": str, "flags": int, "value": str}
    read = []
    for row in rows if isinstance(rows, list) else [None]:
        if not isinstance(row, dict):
            raise Failed("Cannot unmarshal data: json: not a list of entries")
        row = {name.lower(): value for name, value in row.items()}
        for name, kind in kinds.items():
            if not isinstance(row.get(name, kind()), kind):
                raise Failed(f"Cannot unmarshal data: json: {name} is not a {kind.__name__}")
        if not 0 <= row.get("flags", 0) <= UINT_MAX:
            raise Failed(f"Cannot unmarshal data: json: {row['flags']} is no number of 64 bits")
        read.append(row)
    return read


MODIFY_INDEX = unsigned("modify-index", "The ModifyIndex that the entry must have, with -cas.")

COMMAND = Group(
    "kv",
    "Read and write the key/value store.",
    [
        Command(
            "kv put",
            "[options] KEY [DATA]",
            "Write an entry. DATA may be @FILE for the content of a file, - for standard input, or left "
            "out for an empty value.\n\n"
            "    $ pyconsul kv put config/colour blue\n"
            "    $ pyconsul kv put -cas -modify-index=844 config/colour red",
            put,
            flags=[
                boolean("acquire", "Take the entry as a lock for -session."),
                boolean("base64", "DATA is base64."),
                boolean("cas", "Only write if the entry still has -modify-index."),
                Flag(
                    "flags",
                    "A number to keep with the entry.",
                    default=0,
                    read=MODIFY_INDEX.read,
                    shown="uint",
                ),
                MODIFY_INDEX,
                boolean("release", "Give up the lock that -session has on the entry."),
                Flag("session", "Id of the session, with -acquire and -release.", shown="string"),
            ],
            asks_servers=True,
        ),
        Command(
            "kv get",
            "[options] [KEY_OR_PREFIX]",
            "Read an entry, or several.\n\n"
            "    $ pyconsul kv get config/colour\n"
            "    $ pyconsul kv get -recurse config/",
            get,
            flags=[
                boolean("base64", "Show values as base64."),
                boolean("detailed", "Show all that is known of an entry."),
                boolean("keys", "Only show keys."),
                boolean("recurse", "Show all entries whose key starts like this."),
                Flag("separator", "With -keys, cut keys behind this.", default="/", shown="string"),
            ],
            asks_servers=True,
        ),
        Command(
            "kv delete",
            "[options] KEY_OR_PREFIX",
            "Remove an entry, or several.",
            delete,
            flags=[
                boolean("cas", "Only remove it if the entry still has -modify-index."),
                MODIFY_INDEX,
                boolean("recurse", "Remove all entries whose key starts like this."),
            ],
            asks_servers=True,
        ),
        Command(
            "kv export",
            "[options] [PREFIX]",
            "Print entries as JSON, for kv import.",
            export,
            asks_servers=True,
        ),
        Command(
            "kv import",
            "[options] DATA",
            "Write the entries that kv export printed. DATA may be @FILE, - for standard input, or the "
            "JSON itself.",
            import_,
            asks_servers=True,
        ),
    ],
)
