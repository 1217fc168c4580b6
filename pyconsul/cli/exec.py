"""``pyconsul exec``: run a command on many nodes, and show what it prints there."""

from __future__ import annotations

from pyconsul.cli.command import Command, Failed, Invocation
from pyconsul.cli.event import FILTERS, check_filters
from pyconsul.cli.flags import BadValue, Flag, boolean
from pyconsul.client import agent, event, health, kv, session
from pyconsul.client.call import encoded
from pyconsul.errors import PyconsulError
from pyconsul.structs import execution

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, NoReturn

TTL_S = 15
RENEW_S = 5.0
"""No single wait lasts longer than that; the session is renewed after each."""


def run(invocation: Invocation) -> int:
    """Put the job into the store, call the nodes, and listen until they are silent."""
    job = _job(invocation)
    check_filters(invocation.values)
    running = _Execution(invocation)
    import signal

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, _interrupt) for number in numbers]
    try:
        running.begin(job)
        running.listen()
        return running.status()
    except _Interrupted:
        invocation.close()  # it may be in the middle of an answer
        return 1
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        running.clean_up()


class _Interrupted(Exception):
    """A signal came."""


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise _Interrupted


def _job(invocation: Invocation) -> dict[str, Any]:
    """What agents find in the store; raises ``Failed`` if there is nothing to run."""
    values, arguments = invocation.values, invocation.arguments
    command = " ".join(arguments)
    wait_ns = values["wait"]
    if not command:
        raise Failed("Must specify a command to execute", usage=True)
    if command == "-":
        if not values["shell"]:
            raise Failed("Cannot configure -shell=false when reading from stdin")
        import base64

        script = invocation.terminal.stdin.read()
        if not script:
            raise Failed("Must specify a command to execute: there is nothing on standard input")
        return {"Script": base64.b64encode(script).decode(), "Wait": wait_ns}
    if values["shell"]:
        return {"Command": command, "Wait": wait_ns}
    return {"Args": arguments, "Wait": wait_ns}


class _Execution:
    """One command on its way through the nodes."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        values = invocation.values
        self._wait_s: float = values["wait"] / 1e9
        self._out = invocation.terminal.out
        self._session = self._root = self._datacenter = ""
        self._acknowledged = self._completed = 0
        self._failed = False

    def _say(self, text: str) -> None:
        if self._invocation.values["verbose"]:
            self._out(text)

    # ------------------------------------------------------------ calling the nodes

    def begin(self, job: dict[str, Any]) -> None:
        """Open a session, write the job, fire the event."""
        import time

        values, do = self._invocation.values, self._invocation.do
        self._session = do(self._make_session(), "Failed to create session")
        self._say(f"Created remote execution session: {self._session}")
        self._root = execution.root(values["prefix"], self._session)
        problem = "Failed to create job file"
        put = kv.put(
            self._root + execution.JOB, encoded(job), acquire=self._session, datacenter=self._datacenter
        )
        if not do(put, problem):
            raise Failed(f"{problem}: the session was lost")
        self._say("Uploaded remote execution spec")
        time.sleep(max(0.0, values["wait-repl"] / 1e9))
        payload = encoded({"Prefix": values["prefix"].strip("/"), "Session": self._session})
        filters = {name: values[name] for name in FILTERS}
        fire = event.fire(execution.EVENT, payload, **filters, datacenter=self._datacenter)
        fired = do(fire, "Failed to fire remote execution event")
        self._say(f"Fired remote execution event: {fired.get('ID', '')}")

    def _make_session(self) -> Any:
        """The call that opens a session; in another datacenter it is one of a server's there."""
        do, datacenter = self._invocation.do, self._invocation.values["datacenter"]
        definition: dict[str, Any] = {"Behavior": "delete", "Name": "Remote Exec", "TTL": f"{TTL_S}s"}
        config = do(agent.self(), "Unable to look up agent info").get("Config") or {}
        if datacenter and datacenter != config.get("Datacenter"):
            self._datacenter = datacenter
            self._say("Remote exec in foreign datacenter, using Session TTL")
            problem = "Failed to create session: Failed to find Consul server in remote datacenter"
            servers = do(health.service("consul", passing=True, datacenter=datacenter), problem)
            if not servers:
                raise Failed(f"{problem}: no server there passes its checks")
            node = servers[0]["Node"]["Node"]
            self._say(f"Binding session to remote node {node}@{datacenter}")
            name = f"Remote Exec via {config.get('NodeName', '')}@{config.get('Datacenter', '')}"
            definition |= {"Name": name, "Node": node, "NodeChecks": []}
        return session.create(definition, datacenter=self._datacenter)

    # ------------------------------------------------------------ listening

    def listen(self) -> None:
        """Show what comes, until nothing has come for long enough.

        While nodes run the command, that is twice as long as if all were done.
        """
        import time

        seen = {execution.JOB}
        index = 0
        begun = last = renewed = time.monotonic()
        while True:
            limit_s = self._wait_s * (2 if self._acknowledged > self._completed else 1)
            left_s = last + limit_s - time.monotonic()
            if left_s <= 0:
                break
            names, index = self._names(index, min(left_s, RENEW_S))
            news = sorted(set(names) - seen, key=_order)
            for name in news:
                self._take(name)
            if news:
                last = time.monotonic()
                seen.update(news)
                self._invocation.terminal.stdout.flush()
            if time.monotonic() >= renewed + RENEW_S:
                self._renew()
                renewed = time.monotonic()
        self._out(f"{self._completed} / {self._acknowledged} node(s) completed / acknowledged")
        self._say(f"Completed in {last - begun:0.2f} seconds")

    def _names(self, index: int, wait_s: float) -> tuple[list[str], int]:
        """The keys of the job, without their common beginning; waits for news."""
        values = self._invocation.values
        call = kv.keys(
            self._root, index=index, wait_s=wait_s, datacenter=self._datacenter, stale=values["stale"]
        )
        try:
            answer = self._invocation.client().ask(call)
        except PyconsulError as error:
            raise Failed(f"Failed to list the answers: {error}") from None
        size = len(self._root)
        return [name[size:] for name in answer.value], max(answer.index, 1)

    def _renew(self) -> None:
        problem = "Failed to renew session"
        if not self._invocation.do(session.renew(self._session, datacenter=self._datacenter), problem):
            raise Failed(f"{problem}: it has ended")

    def _take(self, name: str) -> None:
        """There is a new key."""
        node, _, kind = name.partition("/")
        if kind == execution.ACK:
            self._acknowledged += 1
            self._say(f"==> {node}: acknowledged")
        elif kind == execution.EXIT:
            self._exited(node, self._value(name))
        elif kind.startswith(execution.OUT):
            text = self._value(name).decode("utf-8", "replace")
            if not text:
                self._say(f"==> {node}: heartbeat received")
                return
            for line in text.split("\n"):
                self._out(f"    {node}: {line}" if line else f"    {node}:")
        else:
            self._invocation.terminal.err(f"Unknown key '{name}', ignoring.")

    def _exited(self, node: str, value: bytes) -> None:
        try:
            status = int(value)
        except ValueError:
            self._failed = True
            self._invocation.terminal.err(f"Failed to parse exit code of {node}: {value[:40]!r}")
            return
        self._completed += 1
        self._failed = self._failed or status != 0
        self._out(f"==> {node}: finished with exit code {status}")

    def _value(self, name: str) -> bytes:
        values = self._invocation.values
        call = kv.get(self._root + name, datacenter=self._datacenter, stale=values["stale"])
        pair = self._invocation.do(call, f"Failed to read '{name}'")
        return pair.value if pair is not None else b""

    # ------------------------------------------------------------ the end

    def status(self) -> int:
        """The exit status: 2 if the command has failed anywhere, or has not ended yet."""
        return 2 if self._failed or self._completed < self._acknowledged else 0

    def clean_up(self) -> None:
        """End the session; what it holds goes with it."""
        if not self._session:
            return
        client = self._invocation.client()
        try:
            client.do(session.destroy(self._session, datacenter=self._datacenter))
            if self._root:
                client.do(kv.delete_tree(self._root, datacenter=self._datacenter))
        except PyconsulError:
            pass  # the session ends by itself


def _order(name: str) -> tuple[str, bool, str]:
    """Of one node what it prints comes before its end."""
    node, _, kind = name.partition("/")
    return node, kind == execution.EXIT, kind


def _duration(text: str) -> int:
    from pyconsul.structs.durations import parse_ns

    try:
        return parse_ns(text)
    except ValueError as error:
        raise BadValue(str(error)) from None


COMMAND = Command(
    "exec",
    "[options] [-|command...]",
    "Run a command on many nodes, on all of the datacenter or on those that pass filters by node, service "
    "and tag, and show what it prints there. With - what standard input holds is run as a script.\n\n"
    "Agents do that only if their configuration has disable_remote_exec = false. The exit status is 0 if the "
    "command ended with 0 wherever it began, else 2.",
    run,
    flags=[
        Flag("node", "Regular expression for names of nodes.", shown="string"),
        Flag("service", "Regular expression for services on the nodes.", shown="string"),
        Flag("tag", "Regular expression for tags of those services; needs -service.", shown="string"),
        Flag(
            "prefix",
            "Where in the key/value store the job is kept meanwhile.",
            default=execution.PREFIX,
            shown="string",
        ),
        boolean("shell", "Run the command by a shell (SHELL of the agent, else /bin/sh).", True),
        boolean("verbose", "Tell what is going on."),
        Flag(
            "wait",
            "End after this time without a word of any node; twice that while some still run it. Default 2s.",
            default=2_000_000_000,
            read=_duration,
            shown="duration",
        ),
        Flag(
            "wait-repl",
            "Time for the job to get to all servers before the nodes are called. Default 200ms.",
            default=200_000_000,
            read=_duration,
            shown="duration",
        ),
    ],
    asks_servers=True,
)
