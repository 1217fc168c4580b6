"""What was registered over HTTP, in the data folder, as Consul keeps it there.

``services/HASH`` and ``checks/HASH`` hold one registration each, ``checks/state/HASH`` what was last
reported of a TTL check; HASH is the MD5 of the id. Names and JSON are Consul's (specs of the surface,
"On-disk layout"), so that either agent finds what the other one wrote.

A registration is in its file before it is acknowledged, so it outlives the process. The disk is told
to keep it right after, off the reactor: nobody waits for that. Many registrations in a row are made
durable a few times a second. States of TTL checks, of which there may be very many, are gathered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pyconsul.interfaces import Disk, WallTime
from pyconsul.log import make_logger
from pyconsul.structs.agent import CheckDefinition
from pyconsul.structs.catalog import HealthCheck, NodeService
from pyconsul.structs.durations import parse_ns

SERVICES, CHECKS, STATES = "services", "checks", "checks/state"
REMOTE, LOCAL = "remote", "local"
TEMPORARY = ".tmp"
FILE_BYTES_MAX = 4 << 20
STATES_S = 1.0
"""For how long reported states are gathered."""
SYNC_PAUSE_S = 0.1
"""How long the disk is left alone before it is told of more: meanwhile folders that are being synced
cannot be written to."""

DURATIONS = ("Interval", "Timeout", "TTL", "DeregisterCriticalServiceAfter")
ELSEWHERE = ("ID", "ServiceID", "Token", "Args")
"""Fields of a definition that Consul keeps in other places of the file, or under another name."""
CONSULS = frozenset((
    "CheckID", "Name", "Status", "Notes", "ScriptArgs", "HTTP", "Header", "Method", "Body", "TCP", "Interval",
    "AliasNode", "AliasService", "DockerContainerID", "Shell", "GRPC", "GRPCUseTLS", "TLSSkipVerify",
    "Timeout", "TTL", "SuccessBeforePassing", "FailuresBeforeCritical", "DeregisterCriticalServiceAfter",
    "OutputMaxSize",
))  # fmt: skip
"""Fields that Consul 1.8.7 knows. It cannot read a file with any other: those are written where used."""

Kept = TypeVar("Kept", bound=Struct)


class PersistedService(Struct, rename="pascal", kw_only=True):
    """The content of a file in ``services``."""

    token: str = ""
    service: NodeService
    source: str = REMOTE
    locally_registered_as_sidecar: bool | UnsetType = UNSET


class PersistedCheck(Struct, rename="pascal", kw_only=True):
    """The content of a file in ``checks``; maintenance has no ``chk_type``."""

    check: HealthCheck
    chk_type: CheckDefinition | None = None
    token: str = ""
    source: str = REMOTE


class PersistedState(Struct, rename="pascal", kw_only=True):
    """The content of a file in ``checks/state``; ``expires`` in seconds since 1970."""

    check_id: str = msgspec.field(name="CheckID")
    output: str = ""
    status: str = ""
    expires: int = 0


def file_name(name: str) -> str:
    """The name that the file of a service or check has."""
    from hashlib import md5  # brings OpenSSL's library, and most agents keep nothing

    return md5(name.encode(), usedforsecurity=False).hexdigest()


class Persistence:
    """The registrations in one data folder. What cannot be written is logged, and the agent goes on."""

    def __init__(self, disk: Disk, clock: IReactorTime, wall_time: WallTime) -> None:
        self._log = make_logger("agent")
        self._disk, self._clock, self._wall_time = disk, clock, wall_time
        self._folders: set[str] = set()
        self._unsynced: dict[str, set[str]] = {}
        self._syncing = False
        self._sync_call: IDelayedCall | None = None
        self._closed = False
        self._states: dict[str, PersistedState] = {}
        self._timer: IDelayedCall | None = None

    # ------------------------------------------------------------ writing

    def save_service(self, service: NodeService, token: str, sidecar: bool) -> None:
        """Keep a service.

        :param sidecar: the agent has made it for another one.
        """
        kept = PersistedService(
            token=token, service=service, locally_registered_as_sidecar=True if sidecar else UNSET
        )
        self._save(SERVICES, service.id, msgspec.json.encode(kept))

    def save_check(self, check: HealthCheck, definition: CheckDefinition | None, token: str) -> None:
        """Keep a check; without a definition it is one of maintenance."""
        kept = {
            "Check": check,
            "ChkType": None if definition is None else _check_type(definition),
            "Token": token,
            "Source": LOCAL if definition is None else REMOTE,
        }
        self._save(CHECKS, check.check_id, msgspec.json.encode(kept))

    def save_state(self, check_id: str, status: str, output: str, ttl_s: float) -> None:
        """Keep, some time soon, what was reported of a TTL check."""
        expires = int(self._wall_time() + ttl_s)
        self._states[check_id] = PersistedState(
            check_id=check_id, output=output, status=status, expires=expires
        )
        if self._timer is None:
            self._timer = self._clock.callLater(STATES_S, self._write_states)

    def remove_service(self, service_id: str) -> None:
        """Keep it no longer."""
        self._remove(SERVICES, service_id)

    def forget_check(self, check_id: str) -> None:
        """Keep the check no longer, but what was reported of it."""
        self._remove(CHECKS, check_id)

    def remove_check(self, check_id: str) -> None:
        """Keep neither the check nor its state."""
        self._remove(CHECKS, check_id)
        self._states.pop(check_id, None)
        self._remove(STATES, check_id)

    def close(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._write_states()
        self._closed = True
        if self._sync_call is not None:
            self._sync_call.cancel()
        self._sync_all()

    # ------------------------------------------------------------ reading

    def services(self) -> Iterator[PersistedService]:
        """All services kept; files that cannot be read are logged and left out."""
        return self._all(SERVICES, "service", PersistedService)

    def checks(self) -> Iterator[PersistedCheck]:
        """All checks kept; as for services."""
        return self._all(CHECKS, "check", PersistedCheck)

    def state(self, check_id: str) -> PersistedState | None:
        """What was last reported of a TTL check, unless it is too old by now."""
        found = self._states.get(check_id)
        if found is None:
            found = self._load(f"{STATES}/{file_name(check_id)}", "check state", PersistedState)
        if found is None or found.expires < self._wall_time():
            return None
        return found

    def remaining_s(self, state: PersistedState) -> float:
        """For how long ``state`` is good."""
        return state.expires - self._wall_time()

    # ------------------------------------------------------------ files

    def _all(self, folder: str, what: str, kind: type[Kept]) -> Iterator[Kept]:
        for name in self._disk.list(folder):
            path = f"{folder}/{name}"
            if path == STATES:
                continue
            if name.endswith(TEMPORARY):
                self._log.warn("Ignoring temporary {what} file", what=what, file=path)
                continue
            found = self._load(path, what, kind)
            if found is not None:
                yield found

    def _load(self, path: str, what: str, kind: type[Kept]) -> Kept | None:
        try:
            file = self._disk.open(path)
            try:
                data = file.read(FILE_BYTES_MAX, 0)
            finally:
                file.close()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._log.error("Failed reading {what} file", what=what, file=path, error=error)
            return None
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._log.error("Failed decoding {what} file", what=what, file=path, error=error)
            return None

    def _save(self, folder: str, name: str, data: bytes) -> None:
        """Write beside the file, then put it in its place, so that there always is a whole one."""
        path = f"{folder}/{file_name(name)}"
        try:
            self._make_folder(folder)
            self._replace(path, data)
        except OSError as error:
            self._log.error("cannot keep {path}: {error}", path=path, error=error)
            return
        self._sync(folder, path)

    def _replace(self, path: str, data: bytes) -> None:
        file = self._disk.open(path + TEMPORARY, create=True)
        try:
            file.truncate(0)
            file.write([data], 0)
        finally:
            file.close()
        self._disk.rename(path + TEMPORARY, path)

    def _make_folder(self, folder: str) -> None:
        if folder not in self._folders:
            if "/" in folder:
                self._make_folder(folder.rpartition("/")[0])
            self._disk.make_folder(folder)
            self._folders.add(folder)

    def _remove(self, folder: str, name: str) -> None:
        path = f"{folder}/{file_name(name)}"
        try:
            self._disk.remove(path)
        except FileNotFoundError:
            return
        except OSError as error:
            self._log.error("cannot remove {path}: {error}", path=path, error=error)
            return
        self._sync(folder, "")

    def _write_states(self) -> None:
        """Off the reactor, and not synced: a state that is lost counts as never reported."""
        self._timer = None
        states, self._states = self._states, {}
        try:
            self._make_folder(STATES)
        except OSError as error:
            self._log.error("cannot keep the states of checks: {error}", error=error)
            return

        def job() -> None:
            for state in states.values():
                self._replace(f"{STATES}/{file_name(state.check_id)}", msgspec.json.encode(state))

        self._disk.submit(job, self._complaint("cannot keep the states of checks"))

    def _sync(self, folder: str, path: str) -> None:
        """Have the disk keep a file, if there is one, and the folder's names."""
        paths = self._unsynced.setdefault(folder, set())
        if path:
            paths.add(path)
        if self._sync_call is None and not self._syncing:
            self._sync_all()

    def _sync_all(self) -> None:
        self._sync_call = None
        if not self._unsynced:
            return
        waiting, self._unsynced = self._unsynced, {}
        self._syncing = True

        def job() -> None:
            for folder, paths in waiting.items():
                for path in paths:
                    self._sync_file(path)
                self._disk.sync_folder(folder)

        def done(error: BaseException | None) -> None:
            self._syncing = False
            complain(error)
            if not self._closed:
                self._sync_call = self._clock.callLater(SYNC_PAUSE_S, self._sync_all)

        complain = self._complaint("cannot make registrations durable")
        self._disk.submit(job, done)

    def _sync_file(self, path: str) -> None:
        try:
            file = self._disk.open(path)
        except FileNotFoundError:  # it was removed meanwhile
            return
        try:
            file.sync()
        finally:
            file.close()

    def _complaint(self, what: str) -> Callable[[BaseException | None], None]:
        def complain(error: BaseException | None) -> None:
            if error is not None:
                self._log.error("{what}: {error}", what=what, error=error)

        return complain


def _check_type(definition: CheckDefinition) -> dict[str, Any]:
    """A definition as Consul keeps it: arguments under one name, durations in nanoseconds."""
    fields: dict[str, Any] = msgspec.to_builtins(definition)
    fields["ScriptArgs"] = definition.args or definition.script_args
    fields = {
        name: value for name, value in fields.items() if name in CONSULS or (value and name not in ELSEWHERE)
    }
    for name in DURATIONS:
        value = fields[name]
        if isinstance(value, str):
            fields[name] = parse_ns(value) if value else 0
    return fields
