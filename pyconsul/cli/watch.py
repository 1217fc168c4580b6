"""``pyconsul watch``."""

from __future__ import annotations

from pyconsul.cli.command import Command, Failed, Invocation
from pyconsul.cli.flags import TRUTH, Flag, boolean, repeated
from pyconsul.client.call import WAIT_MAX_S, Call, blocking_timeout
from pyconsul.errors import PyconsulError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from pyconsul.client.call import Response
    from pyconsul.structs.watch import Follower

ELSEWHERE = ("connect_roots", "connect_leaf", "agent_service")
"""Types of watches that Consul has in programs only."""
PARAMETERS = ("type", "key", "prefix", "service", "tag", "state", "name", "passingonly", "datacenter")


def run(invocation: Invocation) -> int:
    """Print what is there now, or run a program with it and again whenever it changes."""
    from pyconsul.structs.watch import Follower, Parameters, parse

    values = invocation.values
    if not values["type"]:
        raise Failed("Watch type must be specified", usage=True)
    given: dict[str, Any] = {name: values[name] for name in PARAMETERS if values[name]}
    given["stale"] = values["stale"]
    passing = given.get("passingonly", "true")
    if passing not in TRUTH:
        why = f'strconv.ParseBool: parsing "{passing}": invalid syntax'
        raise Failed(f"Failed to parse passingonly flag: {why}")
    if values["type"] in ELSEWHERE:
        raise Failed(f"Type {values['type']} is not supported in the CLI tool")
    if "tag" in given and len(given["tag"]) == 1:
        given["tag"] = given["tag"][0]
    parameters = Parameters(given)
    try:
        watch = parse(parameters)
        parameters.finish()
    except PyconsulError as error:
        raise Failed(str(error)) from None
    follower = Follower(watch)
    if not invocation.arguments:
        return _print(invocation, follower)
    return _follow(invocation, follower)


def _ask(invocation: Invocation, follower: Follower) -> bytes | None:
    """One answer of the agent: what there is to deliver."""
    target = follower.target()
    call: Call[Response] = Call(
        "GET", target, lambda response: response, timeout_s=blocking_timeout(follower.index, WAIT_MAX_S)
    )
    response = invocation.client().do(call)
    index = response.headers.get("x-consul-index", "")
    return follower.answered(response.status, int(index) if index.isdecimal() else 0, response.body)


def _print(invocation: Invocation, follower: Follower) -> int:
    import json

    try:
        data = _ask(invocation, follower)
    except PyconsulError as error:
        raise Failed(f"Error querying Consul agent: {error}") from None
    invocation.terminal.out(json.dumps(json.loads(data or b"null"), indent=4, ensure_ascii=False))
    return 0


def _follow(invocation: Invocation, follower: Follower) -> int:
    """Until the program fails, or the user has enough."""
    import signal

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        return _deliver_all(invocation, follower)
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)


def _deliver_all(invocation: Invocation, follower: Follower) -> NoReturn:
    import time

    from pyconsul.structs.watch import retry_wait_s

    failures = 0
    while True:
        try:
            data = _ask(invocation, follower)
        except PyconsulError as error:
            failures += 1
            wait_s = retry_wait_s(failures)
            kind = follower.watch.kind
            invocation.terminal.err(f"Watch errored: type={kind} error={error} retry={wait_s:g}s")
            time.sleep(wait_s)
            continue
        failures = 0
        if data is not None:
            _deliver(invocation, data, follower.index)


def _deliver(invocation: Invocation, data: bytes, index: int) -> None:
    import subprocess

    arguments = invocation.arguments
    environ = invocation.terminal.environ
    if invocation.values["shell"]:
        arguments = [environ.get("SHELL") or "/bin/sh", "-c", " ".join(arguments)]
    try:
        done = subprocess.run(
            arguments, input=data + b"\n", env={**environ, "CONSUL_INDEX": str(index)}, check=False
        )
    except OSError as error:
        program = arguments[0]
        why = f"fork/exec {program}: {str(error.strerror).lower()}"
        if "/" not in program:
            why = f'exec: "{program}": executable file not found in $PATH'
        raise Failed(f"Error starting handler: {why}") from None
    if done.returncode:
        raise Failed(f"Error executing handler: exit status {done.returncode}")


COMMAND = Command(
    "watch",
    "[options] [child...]",
    "Watch a part of the data. Without a child process the data is printed once, as JSON; a child gets it "
    "on standard input, at once and again whenever it changes, with its index in CONSUL_INDEX.",
    run,
    flags=[
        Flag("type", "What to watch: key, keyprefix, services, nodes, service, checks or event."),
        Flag("key", "Key to watch, for the type key."),
        Flag("prefix", "Prefix to watch, for the type keyprefix."),
        Flag("service", "Service to watch, for the types service and checks."),
        repeated("tag", "Tag that instances must have, for the type service. May be repeated."),
        Flag("passingonly", "Only instances that pass all their checks (true or false)."),
        Flag("state", "State that checks must have, for the type checks."),
        Flag("name", "Name of the event, for the type event."),
        boolean("shell", "Run the child by a shell (SHELL, else /bin/sh).", True),
    ],
    asks_servers=True,
)
