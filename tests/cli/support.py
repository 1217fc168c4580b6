"""Running commands in this process, with an agent that gives prepared answers."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

from pyconsul.cli.command import Terminal
from pyconsul.cli.main import main
from tests.client.canned import CannedServer, response

Answer = tuple[int, object] | tuple[int, object, str]
"""A status, a body (bytes as they are, anything else as JSON), and lines of headers."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended, what it wrote, and what it asked the agent."""

    status: int
    out: str
    err: str
    lines: list[str]
    bodies: list[bytes]


def run(
    *arguments: str,
    answers: Sequence[Answer | None] = (),
    stdin: bytes = b"",
    environ: dict[str, str] | None = None,
) -> Result:
    """Run a command to its end."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="utf-8", errors="surrogateescape", write_through=True)
    err = io.StringIO()
    prepared = [_bytes(answer) for answer in answers]
    with CannedServer(prepared) as server:
        variables = {"CONSUL_HTTP_ADDR": server.address, **(environ or {})}
        status = main(arguments, Terminal(io.BytesIO(stdin), out, err, variables))
        out.flush()
        return Result(status, raw.getvalue().decode(), err.getvalue(), server.lines, server.bodies)


def _bytes(answer: Answer | None) -> bytes | None:
    if answer is None:
        return None
    status, body, *headers = answer
    return response(status, body if isinstance(body, bytes) else json.dumps(body).encode(), "".join(headers))
