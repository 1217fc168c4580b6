"""What a check is, once its definition has been found to make sense.

Texts are those of Consul 1.8.7 (specs of the HTTP surface, section 7).
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from pyconsul.errors import BadRequest
from pyconsul.structs.agent import CheckDefinition
from pyconsul.structs.catalog import CRITICAL, PASSING, WARNING
from pyconsul.structs.durations import format_ns, parse_ns

TTL, HTTP, TCP, GRPC, SCRIPT, DOCKER, ALIAS = "ttl", "http", "tcp", "grpc", "script", "docker", "alias"
STATES = (PASSING, WARNING, CRITICAL)

INTERVAL_MIN_S = 1.0
TIMEOUTS_S = {SCRIPT: 30.0}
TIMEOUT_S = 10.0
DEREGISTER_MIN_S = 60.0
OUTPUT_BYTES_MAX = 4096
_NS = 1_000_000_000


class CheckType(Struct, frozen=True, kw_only=True):
    """A check to run; durations in seconds.

    :ivar kind: one of the names above, which is also the ``Type`` that the API shows.
    :ivar args: the program and its arguments.
    :ivar success_before_passing: so many good results in a row before the state becomes better.
    :ivar failures_before_critical: so many bad ones before it becomes critical.
    :ivar deregister_after_s: the service goes when the check was critical for so long; 0: never.
    :ivar output_bytes_max: how much output is kept.
    """

    check_id: str
    kind: str
    interval_s: float = 0.0
    timeout_s: float = 0.0
    ttl_s: float = 0.0
    http: str = ""
    method: str = "GET"
    header: Mapping[str, list[str]] = {}
    body: str = ""
    tcp: str = ""
    args: tuple[str, ...] = ()
    alias_node: str = ""
    alias_service: str = ""
    tls_skip_verify: bool = False
    success_before_passing: int = 0
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
    kind = kind_of(definition)
    _validate(definition, kind, interval_s, ttl_s)
    warnings = []
    if kind == ALIAS:
        interval_s = max(interval_s, INTERVAL_MIN_S)
    elif kind != TTL and interval_s < INTERVAL_MIN_S:
        warnings.append(
            f"check has interval below minimum: check={check_id} "
            f"minimum_interval={format_ns(int(INTERVAL_MIN_S * _NS))}"
        )
        interval_s = INTERVAL_MIN_S
    if 0 < deregister_s < DEREGISTER_MIN_S:
        warnings.append(
            f"check has deregister interval below minimum: check={check_id} "
            f"minimum_interval={format_ns(int(DEREGISTER_MIN_S * _NS))}"
        )
        deregister_s = DEREGISTER_MIN_S
    made = CheckType(
        check_id=check_id,
        kind=kind,
        interval_s=interval_s,
        timeout_s=timeout_s if timeout_s > 0 else TIMEOUTS_S.get(kind, TIMEOUT_S),
        ttl_s=ttl_s,
        http=definition.http,
        method=(definition.method or "GET").upper(),
        header=definition.header or {},
        body=definition.body,
        tcp=definition.tcp,
        args=tuple(definition.args or definition.script_args or ()),
        alias_node=definition.alias_node,
        alias_service=definition.alias_service,
        tls_skip_verify=definition.tls_skip_verify,
        success_before_passing=definition.success_before_passing,
        failures_before_critical=definition.failures_before_critical,
        deregister_after_s=max(0.0, deregister_s),
        output_bytes_max=definition.output_max_size or output_bytes_max,
    )
    return made, warnings


def kind_of(definition: CheckDefinition) -> str:
    """The type; where a definition fits several, the one that Consul runs."""
    if definition.alias_node or definition.alias_service:
        return ALIAS
    if definition.http:
        return HTTP
    if definition.grpc:
        return GRPC
    if definition.tcp:
        return TCP
    if definition.args or definition.script_args:
        return DOCKER if definition.docker_container_id else SCRIPT
    return TTL


def runs_program(definition: CheckDefinition) -> bool:
    """Whether it needs ``enable_script_checks``, whatever else it is."""
    return bool(definition.args or definition.script_args)


def _validate(definition: CheckDefinition, kind: str, interval_s: float, ttl_s: float) -> None:
    problem = ""
    if kind == ALIAS:
        if ttl_s > 0:
            problem = "TTL must be not be set for Alias checks"
    elif kind != TTL and interval_s <= 0:
        problem = "Interval must be > 0 for Script, HTTP, or TCP checks"
    elif kind == TTL and ttl_s <= 0:
        problem = "TTL must be > 0 for TTL checks"
    elif interval_s > 0 and ttl_s > 0:
        problem = "Interval and TTL cannot both be specified"
    if not problem and definition.output_max_size < 0:
        problem = "MaxOutputMaxSize must be positive"
    if problem:
        raise BadRequest(f"Invalid check: {problem}")


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
