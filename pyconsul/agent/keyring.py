"""Gossip's keys: the file that they are kept in, and changing them on all members of all pools.

Source: specs of serf, section 8, and of several datacenters, section 6.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from pyconsul.errors import BadRequest, ConfigurationError, PyconsulError
from pyconsul.interfaces import Disk
from pyconsul.log import make_logger
from pyconsul.net.gossip import GossipPool
from pyconsul.serf import keys
from pyconsul.serf.keys import KeyTally
from pyconsul.structs import keyring as operations
from pyconsul.structs.keyring import RELAY_FACTOR_MAX, KeyringRequest, KeyringResponse, KeyringResponses
from pyconsul.swim.keyring import Keyring, KeyringError

LAN_FILE, WAN_FILE = "serf/local.keyring", "serf/remote.keyring"
_FILE_BYTES_MAX = 1 << 20

_QUERIES = {
    operations.LIST: keys.LIST,
    operations.INSTALL: keys.INSTALL,
    operations.USE: keys.USE,
    operations.REMOVE: keys.REMOVE,
}


class KeyringFile:
    """A keyring on the disk: a JSON list of base64 keys, the primary first.

    :param path: within the data folder; others than the agent's user may not read it.
    """

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk, self._path = disk, path

    def load(self) -> list[str]:
        """The keys, none if there is no file. Blocks for the disk.

        :raises ConfigurationError: if the file holds something else.
        """
        folder, _, name = self._path.rpartition("/")
        if name not in self._disk.list(folder):
            return []
        file = self._disk.open(self._path)
        try:
            data = file.read(_FILE_BYTES_MAX, 0)
        finally:
            file.close()
        try:
            found = json.loads(data)
        except ValueError as error:
            raise ConfigurationError(f"error unmarshaling keyring file {self._path}: {error}") from None
        if not isinstance(found, list) or not all(isinstance(key, str) for key in found) or not found:
            raise ConfigurationError(f"keyring file {self._path} contains no keys")
        return found

    def create(self, key: str) -> None:
        """Write a first file. Blocks for the disk."""
        folder = self._path.rpartition("/")[0]
        self._disk.make_folder(folder)
        self._write(json.dumps([key]).encode())

    def save(self, found: Sequence[str]) -> Deferred[None]:
        """Replace the file; fires once that is durable."""
        data = json.dumps(list(found), indent=2).encode()
        saved: Deferred[None] = Deferred()

        def done(error: BaseException | None) -> None:
            if error is None:
                saved.callback(None)
            else:
                saved.errback(error)

        self._disk.submit(lambda: self._write(data), done)
        return saved

    def _write(self, data: bytes) -> None:
        """Write beside the file, then put it in its place, so that there always is a whole one."""
        disk, beside = self._disk, self._path + ".new"
        file = disk.open(beside, create=True)
        try:
            file.truncate(0)
            file.write([data], 0)
            file.sync()
        finally:
            file.close()
        disk.rename(beside, self._path)
        disk.sync_folder(self._path.rpartition("/")[0])


def open_keyring(disk: Disk | None, path: str, encrypt: str, in_file: bool = True) -> Keyring | None:
    """The keyring of a pool that starts; ``None`` if it is not encrypted.

    :param encrypt: the key of the configuration: it begins the file, but does not count any more
        once there is one.
    :param in_file: whether keys are kept on the disk.
    :raises ConfigurationError: if the file is no use.
    """
    file = KeyringFile(disk, path) if disk is not None and in_file else None
    found = file.load() if file is not None else []
    if found and encrypt and encrypt not in found:
        make_logger("agent").warn("the encrypt key is not in {path}, whose keys are used", path=path)
    wanted = found or ([encrypt] if encrypt else [])
    if not wanted:
        return None
    try:
        keyring = Keyring.from_base64(wanted)
    except KeyringError as error:
        where = path if found else "encrypt"
        raise ConfigurationError(f"{where}: {error}") from None
    if file is not None and not found:
        file.create(encrypt)
    return keyring


class KeyringOperations:
    """Does what ``Internal.KeyringOperation`` asks of a server.

    :param pools: the pools of this server, each with whether it is the one of all datacenters.
    :param elsewhere: has a server of each other datacenter do the same in its LAN pool.
    """

    def __init__(
        self,
        datacenter: str,
        pools: Callable[[], Sequence[tuple[bool, GossipPool]]],
        elsewhere: Callable[[KeyringRequest], Sequence[Deferred[KeyringResponses]]],
    ) -> None:
        self._datacenter = datacenter
        self._pools = pools
        self._elsewhere = elsewhere

    def run(self, request: KeyringRequest) -> Deferred[KeyringResponses]:
        """Do it; what goes wrong in a pool is in its response.

        :raises BadRequest: if there is no such operation.
        """
        query = _QUERIES.get(request.operation)
        if query is None or not 0 <= request.relay_factor <= RELAY_FACTOR_MAX:
            raise BadRequest(f'Invalid keyring operation "{request.operation}"')
        lan_only = request.forwarded or request.local_only
        pools = [(wan, pool) for wan, pool in self._pools() if not (wan and lan_only)]
        waiting: list[Deferred[Any]] = [self._in_pool(wan, pool, query, request) for wan, pool in pools]
        if not lan_only:
            waiting += self._elsewhere(request)
        return DeferredList(waiting, fireOnOneErrback=True, consumeErrors=True).addCallbacks(
            _gathered, lambda failure: failure.value.subFailure
        )

    def _in_pool(
        self, wan: bool, pool: GossipPool, query: str, request: KeyringRequest
    ) -> Deferred[KeyringResponse]:
        response = KeyringResponse(wan=wan, datacenter=self._datacenter)
        done: Deferred[KeyringResponse] = Deferred()
        try:
            key = b"" if request.operation == operations.LIST else _decoded(request.key)
            changed = pool.change_keys(query, key, request.relay_factor)
        except PyconsulError as error:
            response.error = str(error)
            done.callback(response)
            return done
        return changed.addCallback(_filled, response)


def _filled(tally: KeyTally, response: KeyringResponse) -> KeyringResponse:
    response.messages = dict(sorted(tally.messages.items())) or None
    response.keys = dict(sorted(tally.keys.items()))
    response.primary_keys = dict(sorted(tally.primaries.items()))
    response.num_nodes, response.error = tally.nodes, tally.error
    return response


def _gathered(results: Sequence[tuple[bool, Any]]) -> KeyringResponses:
    responses: list[KeyringResponse] = []
    for _, result in results:
        responses += result.responses or () if isinstance(result, KeyringResponses) else (result,)
    return KeyringResponses(responses=responses)


def _decoded(key: str) -> bytes:
    """A key as bytes; its length is for those to judge who are asked to take it.

    :raises PyconsulError: if it is not base64, with the words of Go's library.
    """
    try:
        return b64decode(key, validate=True)
    except ValueError:
        pass
    legal = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    place = next((at for at, character in enumerate(key) if character not in legal), len(key) // 4 * 4)
    raise PyconsulError(f"illegal base64 data at input byte {place}")
