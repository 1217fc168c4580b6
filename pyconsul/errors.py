"""Every expected failure. Anything else that is raised is a bug.

An error is translated once, at the edge: HTTP takes ``http_status`` and the message, RPC sends
``code`` and the message, the command line prints the message. Texts follow Consul's, since
clients look for them.
"""


class PyconsulError(Exception):
    """An expected failure; its text is what the user reads."""

    http_status = 500
    code = "ERROR"


class BadRequest(PyconsulError):
    """The request cannot be understood or may not be made."""

    http_status = 400
    code = "BAD_REQUEST"


class PermissionDenied(PyconsulError):
    """The token does not allow it."""

    http_status = 403
    code = "DENIED"


class NotFound(PyconsulError):
    """What was asked for does not exist."""

    http_status = 404
    code = "NOT_FOUND"


class TooLarge(PyconsulError):
    """The body is above its limit."""

    http_status = 413
    code = "TOO_LARGE"


class RateLimited(PyconsulError):
    """Too many requests."""

    http_status = 429
    code = "RATE"


class Refused(PyconsulError):
    """A well-formed request that the servers turn down; Consul answers these with 500."""

    code = "REFUSED"


class NoLeader(PyconsulError):
    """No leader was found within ``rpc_hold_timeout``."""

    code = "NO_LEADER"

    def __init__(self, text: str = "No cluster leader") -> None:
        super().__init__(text)


class NoServers(PyconsulError):
    """A client agent knows no server."""

    code = "NO_SERVERS"

    def __init__(self, text: str = "No known Consul servers") -> None:
        super().__init__(text)


class NoPath(PyconsulError):
    """The datacenter is unknown."""

    code = "NO_PATH"

    def __init__(self, text: str = "No path to datacenter") -> None:
        super().__init__(text)


class LeadershipLost(PyconsulError):
    """The outcome of a write is unknown: leadership moved before it was known to be committed."""

    code = "LOST"

    def __init__(self, text: str = "leadership lost while committing log") -> None:
        super().__init__(text)


class Unreachable(PyconsulError):
    """A server could not be reached, or the connection broke before it answered."""

    code = "UNREACHABLE"


class NotSent(Unreachable):
    """A server could not be reached, so the call has certainly not been made."""

    code = "NOT_SENT"


class StorageDamaged(PyconsulError):
    """What is on the disk is not what was written; the text names file and offset."""

    code = "DAMAGED"


class ConfigurationError(PyconsulError):
    """A setting is wrong; the text names where and which."""

    code = "CONFIG"


ERRORS_BY_CODE: dict[str, type[PyconsulError]] = {
    kind.code: kind
    for kind in (
        PyconsulError, BadRequest, PermissionDenied, NotFound, TooLarge, RateLimited, Refused,
        NoLeader, NoServers, NoPath, LeadershipLost, Unreachable, NotSent, StorageDamaged, ConfigurationError,
    )
}  # fmt: skip


def from_code(code: str, text: str) -> PyconsulError:
    """The error that a peer sent as ``code`` and ``text``."""
    return ERRORS_BY_CODE.get(code, PyconsulError)(text)
