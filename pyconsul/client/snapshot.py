"""Requests about archives of the whole state (``/v1/snapshot``)."""

from __future__ import annotations

from pyconsul.client.call import Call, Response, expect

TIMEOUT_S = 600.0
NOT_RESTORED = "x-pyconsul-not-restored"


def _body(response: Response) -> bytes:
    return expect(response).body


def _left_out(response: Response) -> str:
    return expect(response).headers.get(NOT_RESTORED, "")


def save(*, datacenter: str = "", stale: bool = False) -> Call[bytes]:
    """The state as an archive; with ``Client.stream`` piece by piece."""
    return Call("GET", "/v1/snapshot", _body, [("dc", datacenter), ("stale", stale)], timeout_s=TIMEOUT_S)


def restore(archive: bytes, *, datacenter: str = "", stale: bool = False) -> Call[str]:
    """Make an archive the state; ``stale`` is refused by the servers.

    The value tells what could not be taken over; it is empty if all was.
    """
    query = [("dc", datacenter), ("stale", stale)]
    return Call("PUT", "/v1/snapshot", _left_out, query, archive, timeout_s=TIMEOUT_S)
