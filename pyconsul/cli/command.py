"""What a command is: its name, its flags, and a function that does it and gives the exit status."""

from __future__ import annotations

from pyconsul.cli.flags import BadValue, Flag, boolean, defaults, help_text
from pyconsul.client.endpoint import Endpoint
from pyconsul.errors import PyconsulError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, BinaryIO, TextIO, TypeVar

    from pyconsul.client.blocking import Client
    from pyconsul.client.call import Call

    T = TypeVar("T")


class Failed(Exception):
    """The command ends with status 1 and this text on standard error.

    :ivar usage: show the command's help after it.
    """

    def __init__(self, text: str, *, usage: bool = False) -> None:
        super().__init__(text)
        self.usage = usage


class Terminal:
    """What a command sees of the process around it."""

    def __init__(self, stdin: BinaryIO, stdout: TextIO, stderr: TextIO, environ: Mapping[str, str]) -> None:
        self.stdin, self.stdout, self.stderr, self.environ = stdin, stdout, stderr, environ

    def out(self, text: str = "") -> None:
        """A line on standard output."""
        self.stdout.write(text + "\n")

    def err(self, text: str = "") -> None:
        """A line on standard error."""
        self.stderr.write(text + "\n")

    def write(self, data: bytes) -> None:
        """Bytes on standard output, as they are."""
        raw = getattr(self.stdout, "buffer", None)
        if raw is None:
            self.stdout.write(data.decode("utf-8", "replace"))
        else:
            self.stdout.flush()
            raw.write(data)


class Invocation:
    """One run of a command: the flags and arguments given, and the way to the agent.

    :ivar given: values by flag name, only of flags that were given.
    :ivar values: the same with the defaults of the others.
    """

    def __init__(
        self, flags: Sequence[Flag], given: dict[str, Any], arguments: list[str], terminal: Terminal
    ) -> None:
        self.given, self.values = given, defaults(flags) | given
        self.arguments, self.terminal = arguments, terminal
        self._client: Client | None = None

    def do(self, call: Call[T], problem: str) -> T:
        """Perform a call; what goes wrong fails the command with ``problem`` before the reason."""
        client = self.client()
        try:
            return client.do(call)
        except PyconsulError as error:
            raise Failed(f"{problem}: {error}") from None

    def client(self) -> Client:
        """The client that flags and environment ask for."""
        if self._client is None:
            from pyconsul.client.blocking import Client

            given = {argument: self.values[flag] for flag, argument in _ENDPOINT.items()}
            try:
                end = Endpoint.from_environment(self.terminal.environ, **given)
                if end.scheme == "https":
                    end.tls_context()
                self._client = Client(end)
            except PyconsulError as error:
                raise Failed(f"Error connecting to Consul agent: {error}") from None
        return self._client

    def close(self) -> None:
        """Close the connection to the agent, if there is one."""
        if self._client is not None:
            self._client.close()

    @property
    def read_options(self) -> dict[str, Any]:
        """``-datacenter`` and ``-stale`` for calls that read."""
        return {"datacenter": self.values["datacenter"], "stale": self.values["stale"]}

    def no_more_than(self, count: int, expected: str = "") -> None:
        """Fail if there are more arguments."""
        if len(self.arguments) > count:
            got = len(self.arguments)
            raise Failed(f"Too many arguments (expected {expected or count}, got {got})")

    def data(self, argument: str) -> bytes:
        """The data that an argument stands for: ``@FILE``, ``-`` for standard input, or itself."""
        if argument == "-":
            return self.terminal.stdin.read()
        if argument.startswith("@"):
            path = argument[1:]
            try:
                with open(path, "rb") as file:
                    return file.read()
            except OSError as error:
                reason = (error.strerror or "").lower()
                raise Failed(f"Error! Failed to read file: open {path}: {reason}") from None
        return argument.encode("utf-8", "surrogateescape")


_ENDPOINT = {
    "http-addr": "address",
    "token": "token",
    "token-file": "token_file",
    "ca-file": "ca_file",
    "ca-path": "ca_path",
    "client-cert": "client_cert",
    "client-key": "client_key",
    "tls-server-name": "server_name",
}

CLIENT_FLAGS = (
    Flag(
        "http-addr",
        "Where the agent's HTTP API is: HOST:PORT, a URL, or unix://PATH. Also CONSUL_HTTP_ADDR.",
        shown="address",
    ),
    Flag("token", "ACL token to send. Also CONSUL_HTTP_TOKEN."),
    Flag("token-file", "File to read the ACL token from. Also CONSUL_HTTP_TOKEN_FILE."),
    Flag("ca-file", "CA certificates to check the agent's with. Also CONSUL_CACERT."),
    Flag("ca-path", "Folder of such certificates. Also CONSUL_CAPATH."),
    Flag("client-cert", "Certificate to show to the agent. Also CONSUL_CLIENT_CERT."),
    Flag("client-key", "Key of that certificate. Also CONSUL_CLIENT_KEY."),
    Flag("tls-server-name", "Name to expect in the agent's certificate. Also CONSUL_TLS_SERVER_NAME."),
)
"""Flags of every command that speaks to an agent."""

SERVER_FLAGS = (
    Flag("datacenter", "Datacenter to ask; that of the agent if this is not given."),
    boolean("stale", "Let any server answer, not only the leader."),
)
"""Flags of commands whose request a server answers."""

def _pair(text: str) -> str:
    if "=" not in text:
        raise BadValue(f'Missing "=" value in argument: {text}')
    return text


NODE_META = Flag(
    "node-meta",
    "Only nodes with this metadata, KEY=VALUE. May be repeated.",
    default=(),
    read=_pair,
    many=True,
    shown="key=value",
)


class Command:
    """One command.

    :ivar name: as typed, ``kv get``.
    :ivar usage: what follows the name in the usage line.
    :ivar about: what it does, for its help.
    :ivar run: does it; returns the exit status.
    :ivar connects: takes the flags of ``CLIENT_FLAGS``; ``asks_servers``: of ``SERVER_FLAGS`` too.
    """

    def __init__(
        self,
        name: str,
        usage: str,
        about: str,
        run: Callable[[Invocation], int],
        *,
        flags: Sequence[Flag] = (),
        connects: bool = True,
        asks_servers: bool = False,
    ) -> None:
        self.name, self.usage, self.about, self.run = name, usage, about, run
        self.own = tuple(flags)
        self.common = (CLIENT_FLAGS if connects else ()) + (SERVER_FLAGS if asks_servers else ())

    @property
    def flags(self) -> tuple[Flag, ...]:
        """All flags that the command takes."""
        return self.own + self.common

    def help(self) -> str:
        """The text of ``-h``, without a newline at its end."""
        paragraphs = "\n\n".join(_indented(part) for part in self.about.split("\n\n"))
        parts = [
            f"Usage: pyconsul {self.name} {self.usage}".rstrip(),
            paragraphs,
            help_text("HTTP API Options", self.common),
            help_text("Command Options", self.own),
        ]
        return "\n\n".join(part.strip("\n") for part in parts if part)


def _indented(paragraph: str) -> str:
    if paragraph.startswith("    "):  # an example
        return "\n".join("  " + line for line in paragraph.split("\n"))
    import textwrap

    return textwrap.fill(paragraph, 76, initial_indent="  ", subsequent_indent="  ")


class Group:
    """A command that only has commands below it: ``kv``, ``catalog``; or groups, as ``operator``.

    :ivar also: other words for some of them, which help does not show.
    """

    def __init__(
        self,
        name: str,
        about: str,
        commands: Sequence[Command | Group],
        also: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.about, self.also = name, about, also or {}
        self.commands = {command.name.rpartition(" ")[2]: command for command in commands}

    def find(self, word: str) -> Command | Group | None:
        """What ``word`` stands for below this."""
        return self.commands.get(self.also.get(word, word))

    def help(self) -> str:
        """The text of ``-h``: what is below."""
        width = max(map(len, self.commands))
        lines = [
            f"    {name:<{width}}    {command.about.partition('. ')[0].partition(chr(10))[0].rstrip('.')}"
            for name, command in sorted(self.commands.items())
        ]
        start = f"Usage: pyconsul {self.name} <subcommand> [options] [args]"
        return "\n".join([start, "", _indented(self.about), "", "Subcommands:", *lines])


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns two spaces apart."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell if at == len(row) - 1 else cell.ljust(widths[at]) for at, cell in enumerate(row))
        for row in rows
    )


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """``key=value`` flags as a dict."""
    return {key: value for key, _, value in (text.partition("=") for text in texts)}
