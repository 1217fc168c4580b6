"""What a check is, once its definition has been found to make sense.

Texts are those of Consul 1.8.7 (specs of the HTTP surface, section 7; observed for every pair of types).
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from pyconsul.errors import BadRequest
from pyconsul.structs.agent import CheckDefinition
from pyconsul.structs.catalog import CRITICAL, PASSING, WARNING
from pyconsul.structs.durations import format_ns, parse_ns

TTL, HTTP, TCP, GRPC, SCRIPT, DOCKER, ALIAS = "ttl", "http", "tcp", "grpc", "script", "docker", "alias"
UDP, H2PING, OS_SERVICE, PYTHON = "udp", "h2ping", "os_service", "python"
STATES = (PASSING, WARNING, CRITICAL)

INTERVAL_MIN_S = 1.0
SCRIPT_TIMEOUT_S = 30.0
TIMEOUT_S = 10.0
DEREGISTER_MIN_S = 60.0
OUTPUT_BYTES_MAX = 4096
_NS = 1_000_000_000


class CheckType(Struct, frozen=True, kw_only=True):
    """A check to run; durations in seconds.

    :ivar kind: one of the names above, which is also the ``Type`` that the API shows.
    :ivar target: what is looked at: a URL, an address, the id of a container, the name of an operating
        system's service or of a Python check.
    :ivar args: the program and its arguments.
    :ivar tls: whether the connection is made with TLS (a URL says so itself).
    :ivar options: keyword arguments of a Python check.
    :ivar success_before_passing: so many good results in a row before the state becomes better.
    :ivar failures_before_warning: so many bad ones before it becomes a warning.
    :ivar failures_before_critical: so many bad ones before it becomes critical.
    :ivar deregister_after_s: the service goes when the check was critical for so long; 0: never.
    :ivar output_bytes_max: how much output is kept.
    """

    check_id: str
    kind: str
    interval_s: float = 0.0
    timeout_s: float = 0.0
    ttl_s: float = 0.0
    target: str = ""
    method: str = "GET"
    header: Mapping[str, list[str]] = {}
    body: str = ""
    redirects: bool = True
    args: tuple[str, ...] = ()
    options: Mapping[str, str] = {}
    alias_node: str = ""
    alias_service: str = ""
    tls: bool = False
    tls_server_name: str = ""
    tls_skip_verify: bool = False
    success_before_passing: int = 0
    failures_before_warning: int = 0
    failures_before_critical: int = 0
    deregister_after_s: float = 0.0
    output_bytes_max: int = OUTPUT_BYTES_MAX


def check_type(
    definition: CheckDefinition, check_id: str = "", output_bytes_max: int = OUTPUT_BYTES_MAX
) -> tuple[CheckType, list[str]]:
    """What ``definition`` asks for, and warnings for the log.

    :param check_id: the id under which the check is registered, if not what the definition says.
    :param output_bytes_max: the agent's ``check_output_max_size``.
    :raises BadRequest: if it makes no sense.
    """
    interval_s = duration_s(definition.interval)
    timeout_s = duration_s(definition.timeout)
    ttl_s = duration_s(definition.ttl)
    deregister_s = duration_s(definition.deregister_critical_service_after)
    check_id = check_id or definition.check_id or definition.id or definition.name
    kind, target = kind_of(definition)
    _validate(definition, kind, interval_s, ttl_s)
    warnings: list[str] = []
    if kind == ALIAS:
        interval_s = max(interval_s, INTERVAL_MIN_S)
    elif kind != TTL:
        interval_s = _at_least(INTERVAL_MIN_S, interval_s, "interval", check_id, warnings)
    if deregister_s > 0:
        name = "deregister interval"
        deregister_s = _at_least(DEREGISTER_MIN_S, deregister_s, name, check_id, warnings)
    if timeout_s <= 0:
        timeout_s = SCRIPT_TIMEOUT_S if kind in (SCRIPT, DOCKER, PYTHON) else TIMEOUT_S
    made = CheckType(
        check_id=check_id,
        kind=kind,
        interval_s=interval_s,
        timeout_s=timeout_s,
        ttl_s=ttl_s,
        target=target,
        method=definition.method or "GET",
        header=definition.header or {},
        body=definition.body,
        redirects=not definition.disable_redirects,
        args=arguments(definition),
        options=definition.python_options or {},
        alias_node=definition.alias_node,
        alias_service=definition.alias_service,
        tls=_uses_tls(definition, kind),
        tls_server_name=definition.tls_server_name,
        tls_skip_verify=definition.tls_skip_verify,
        success_before_passing=definition.success_before_passing,
        failures_before_warning=definition.failures_before_warning,
        failures_before_critical=definition.failures_before_critical,
        deregister_after_s=max(0.0, deregister_s),
        output_bytes_max=definition.output_max_size or output_bytes_max,
    )
    return made, warnings


def kind_of(definition: CheckDefinition) -> tuple[str, str]:
    """Type and target; where a definition fits several types, the one that Consul runs."""
    if definition.alias_node or definition.alias_service:
        return ALIAS, ""
    for kind, target in (
        (GRPC, definition.grpc),
        (HTTP, definition.http),
        (H2PING, definition.h2ping),
        (TCP, definition.tcp),
        (UDP, definition.udp),
        (OS_SERVICE, definition.os_service),
        (PYTHON, definition.python),
    ):
        if target:
            return kind, target
    if arguments(definition):
        container = definition.docker_container_id
        return (DOCKER, container) if container else (SCRIPT, "")
    return TTL, ""


def arguments(definition: CheckDefinition) -> tuple[str, ...]:
    """The program to run, if any."""
    return tuple(definition.args or definition.script_args or ())


def runs_program(definition: CheckDefinition) -> bool:
    """Whether it needs ``enable_script_checks``, whatever else it is."""
    return bool(arguments(definition) or definition.python)


def _uses_tls(definition: CheckDefinition, kind: str) -> bool:
    if kind == H2PING:  # the one type that uses it unless told not to
        return definition.h2ping_use_tls is not False
    return {GRPC: definition.grpc_use_tls, TCP: definition.tcp_use_tls}.get(kind, False)


def _at_least(least_s: float, given_s: float, name: str, check_id: str, warnings: list[str]) -> float:
    if given_s >= least_s:
        return given_s
    least = format_ns(int(least_s * _NS))
    warnings.append(f"check has {name} below minimum: check={check_id} minimum_interval={least}")
    return least_s


def _validate(definition: CheckDefinition, kind: str, interval_s: float, ttl_s: float) -> None:
    alias = kind == ALIAS
    probed = _probed(definition) if alias else kind != TTL
    problem = ""
    if probed and interval_s <= 0:
        problem = "Interval must be > 0 for Script, HTTP, or TCP checks"
    elif interval_s > 0 and ttl_s > 0:
        problem = "Interval and TTL cannot both be specified"
    elif probed and alias:
        problem = "Interval cannot be set for Alias checks"
    elif alias and ttl_s > 0:
        problem = "TTL must be not be set for Alias checks"
    elif kind == TTL and ttl_s <= 0:
        problem = "TTL must be > 0 for TTL checks"
    elif definition.output_max_size < 0:
        problem = "MaxOutputMaxSize must be positive"
    if problem:
        raise BadRequest(f"Invalid check: {problem}")


def _probed(alias: CheckDefinition) -> bool:
    """Whether an alias check is something else, too."""
    d = alias
    return bool(d.grpc or d.http or d.h2ping or d.tcp or d.udp or d.os_service or d.python or arguments(d))


def check_status(status: str, *, of_service: bool = False) -> None:
    """Refuse an initial state that is none; an empty one stands for critical.

    :param of_service: the check came with its service.
    :raises BadRequest: with one of two texts.
    """
    if status and status not in STATES:
        raise BadRequest(
            "Status for checks must 'passing', 'warning', 'critical'" if of_service else "Bad check status"
        )


def duration_s(value: str | int) -> float:
    """Seconds of a duration as requests and files have it.

    :raises BadRequest: with Go's wording.
    """
    if isinstance(value, str):
        if not value:
            return 0.0
        try:
            return parse_ns(value) / _NS
        except ValueError as error:
            raise BadRequest(f"Request decode failed: {error}") from None
    return value / _NS
