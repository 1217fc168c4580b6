"""``pyconsul tls ca create`` and ``tls cert create``: a CA of one's own, and certificates by it."""

from __future__ import annotations

import os

from pyconsul.cli.command import Command, Failed, Group, Invocation
from pyconsul.cli.flags import BadValue, Flag, boolean, repeated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyconsul.cli.certificates import Pair

SERVER_WARNING = """\
==> WARNING: Server Certificates grants authority to become a
    server and access all state in the cluster including root keys
    and all ACL tokens. Do not distribute them to production hosts
    that are not server nodes. Store them as securely as CA keys."""
KINDS = ("server", "client", "cli")
DAYS_MAX = 365 * 1000


def _days(text: str) -> int:
    value = int(text)
    if value > DAYS_MAX:
        raise BadValue("value out of range")
    return value


def _read(path: str, what: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Failed(f"Error reading {what}: open {path}: {(error.strerror or '').lower()}") from None


def _save(invocation: Invocation, name: str, pair: Pair) -> None:
    """Write both files; neither may be there. The key is for nobody else to read."""
    for path, text, mode in ((f"{name}.pem", pair.certificate, 0o644), (f"{name}-key.pem", pair.key, 0o600)):
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(text)
        except OSError as error:
            raise Failed(f"open {path}: {(error.strerror or '').lower()}") from None
        invocation.terminal.out(f"==> Saved {path}")


def _taken(name: str) -> str:
    """Which of the two files of this name is there; empty for none."""
    return next((path for path in (f"{name}.pem", f"{name}-key.pem") if os.path.exists(path)), "")


# ---------------------------------------------------------------- the CA


def create_authority(invocation: Invocation) -> int:
    """Make a CA."""
    from datetime import UTC, datetime

    from pyconsul.cli.certificates import make_authority

    values = invocation.values
    name = f"{values['domain']}-agent-ca"
    if path := _taken(name):
        raise Failed(f"{path} already exists.")
    permitted = (
        [*values["additional-name-constraint"], values["domain"], "localhost"]
        if values["name-constraint"]
        else []
    )
    if values["days"] <= 0:
        raise Failed("-days must be positive")
    try:
        pair = make_authority(datetime.now(UTC), values["days"], permitted)
    except ValueError as error:
        raise Failed(str(error)) from None
    _save(invocation, name, pair)
    return 0


CA_CREATE = Command(
    "tls ca create",
    "[options]",
    "Make a CA: a key that signs certificates, and the certificate by which they are known.\n\n"
    "    $ pyconsul tls ca create\n"
    "    ==> Saved consul-agent-ca.pem\n"
    "    ==> Saved consul-agent-ca-key.pem",
    create_authority,
    flags=(
        Flag("days", "For how many days it is good.", default=1825, read=_days, shown="int"),
        Flag("domain", "Domain of the agents; the files are called after it.", default="consul"),
        boolean("name-constraint", "It may vouch for names below the domain and for localhost only."),
        repeated("additional-name-constraint", "And for this name and those below it. May be repeated."),
    ),
    connects=False,
)


# ---------------------------------------------------------------- certificates


def create_certificate(invocation: Invocation) -> int:
    """Make a certificate."""
    from datetime import UTC, datetime

    from pyconsul.cli.certificates import make_certificate, read_authority

    values = invocation.values
    kinds = [kind for kind in KINDS if values[kind]]
    if len(kinds) != 1:
        raise Failed("Please provide either -server, -client, or -cli")
    (kind,) = kinds
    if values["node"] and kind != "server":
        raise Failed("-node requires -server")
    domain, datacenter = values["domain"], values["dc"]
    paths = {flag: values[flag].replace("#DOMAIN#", domain) for flag in ("ca", "key")}
    for flag, path in paths.items():
        if not path:
            raise Failed(f"Please provide the {flag}")
    own = f"{kind}.{datacenter}.{domain}"
    names = [name for name in values["additional-dnsname"] if name]
    names += [f"{values['node']}.{own}"] if values["node"] else []
    names += [own, "localhost"]
    addresses = [*values["additional-ipaddress"], *([] if kind == "cli" else ["127.0.0.1"])]
    texts = _read(paths["ca"], "CA"), _read(paths["key"], "CA key")
    if kind == "server":
        invocation.terminal.out(SERVER_WARNING)
    invocation.terminal.out(f"==> Using {paths['ca']} and {paths['key']}")
    try:
        authority = read_authority(*texts)
        pair = make_certificate(authority, kind, names, addresses, datetime.now(UTC), values["days"])
    except ValueError as error:  # a name that cannot stand in a certificate
        raise Failed(str(error)) from None
    number = 0
    while _taken(f"{datacenter}-{kind}-{domain}-{number}"):
        number += 1
    _save(invocation, f"{datacenter}-{kind}-{domain}-{number}", pair)
    return 0


CERT_CREATE = Command(
    "tls cert create",
    "[options]",
    "Make a certificate, signed by a CA of ``tls ca create``.\n\n"
    "    $ pyconsul tls cert create -client\n"
    "    ==> Using consul-agent-ca.pem and consul-agent-ca-key.pem\n"
    "    ==> Saved dc1-client-consul-0.pem\n"
    "    ==> Saved dc1-client-consul-0-key.pem",
    create_certificate,
    flags=(
        boolean("server", "For a server."),
        boolean("client", "For any other agent."),
        boolean("cli", "For people and programs that ask agents."),
        Flag("dc", "Datacenter of the agent.", default="dc1"),
        Flag("domain", "Domain of the agents.", default="consul"),
        Flag("node", "For a server: its node's name, for one more name NODE.server.DC.DOMAIN."),
        Flag("days", "For how many days it is good.", default=365, read=_days, shown="int"),
        Flag("ca", "The CA's certificate.", default="#DOMAIN#-agent-ca.pem", shown="path"),
        Flag("key", "The CA's key.", default="#DOMAIN#-agent-ca-key.pem", shown="path"),
        repeated("additional-dnsname", "One more name; localhost is always one. May be repeated."),
        repeated("additional-ipaddress", "One more address; 127.0.0.1 is one unless -cli. May be repeated."),
    ),
    connects=False,
)

COMMAND = Group(
    "tls",
    "Make a CA and certificates for agents and their clients.",
    [
        Group("tls ca", "Make a CA.", [CA_CREATE]),
        Group("tls cert", "Make certificates.", [CERT_CREATE]),
    ],
)
