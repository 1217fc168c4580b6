"""Services, checks and watches as configuration files define them.

They stay plain dicts with Consul's snake_case keys; what registers them turns them into structs.
Source: specs of the runtime surface, section 1; the reference validator.
"""

from __future__ import annotations

from typing import Any

from msgspec import to_builtins

from pyconsul.config.kinds import ANY_MAP, BOOL, INT, STRING, STRING_MAP, STRINGS, Kind, as_map
from pyconsul.config.places import Mistake
from pyconsul.config.tree import ListOf, MapOf, Spec
from pyconsul.structs.agent import ServiceDefinition, script_args
from pyconsul.structs.bodies import convert
from pyconsul.structs.canonical import weights_fault
from pyconsul.structs.durations import parse_ns
from pyconsul.structs.metadata import metadata_fault


def _lists(value: object, where: str) -> object:
    return {key: STRINGS.shape(item, f"{where}[{key}]") for key, item in as_map(value, where).items()}


OTHER_CHECK: Spec = {
    "disable_redirects": BOOL,
    "failures_before_warning": INT,
    "h2ping": STRING,
    "h2ping_use_tls": BOOL,
    "os_service": STRING,
    "python": STRING,
    "python_options": STRING_MAP,
    "script": STRING,
    "tcp_use_tls": BOOL,
    "tls_server_name": STRING,
    "udp": STRING,
}
"""What Consul 1.8 does not know: fields of other versions, and our own."""

CHECK: Spec = {
    **OTHER_CHECK,
    "id": STRING,
    "name": STRING,
    "notes": STRING,
    "service_id": STRING,
    "token": STRING,
    "status": STRING,
    "args": STRINGS,
    "http": STRING,
    "header": Kind("map of lists", _lists),
    "method": STRING,
    "body": STRING,
    "output_max_size": INT,
    "tcp": STRING,
    "interval": STRING,
    "docker_container_id": STRING,
    "shell": STRING,
    "grpc": STRING,
    "grpc_use_tls": BOOL,
    "tls_skip_verify": BOOL,
    "alias_node": STRING,
    "alias_service": STRING,
    "timeout": STRING,
    "ttl": STRING,
    "success_before_passing": INT,
    "failures_before_critical": INT,
    "deregister_critical_service_after": STRING,
    # spellings of old files, see ALIASES
    "serviceid": STRING,
    "scriptargs": STRINGS,
    "dockercontainerid": STRING,
    "tlsskipverify": BOOL,
    "deregistercriticalserviceafter": STRING,
}

ALIASES = {
    "serviceid": "service_id",
    "scriptargs": "args",
    "dockercontainerid": "docker_container_id",
    "tlsskipverify": "tls_skip_verify",
    "deregistercriticalserviceafter": "deregister_critical_service_after",
}

_DURATIONS = ("interval", "timeout", "ttl", "deregister_critical_service_after")

_MESH_GATEWAY: Spec = {"mode": STRING}
_EXPOSE: Spec = {
    "checks": BOOL,
    "paths": ListOf({"path": STRING, "local_path_port": INT, "listener_port": INT, "protocol": STRING}),
}
_UPSTREAM: Spec = {
    "destination_type": STRING,
    "destination_namespace": STRING,
    "destination_name": STRING,
    "datacenter": STRING,
    "local_bind_address": STRING,
    "local_bind_port": INT,
    "config": ANY_MAP,
    "mesh_gateway": _MESH_GATEWAY,
}
_PROXY: Spec = {
    "destination_service_name": STRING,
    "destination_service_id": STRING,
    "local_service_address": STRING,
    "local_service_port": INT,
    "config": ANY_MAP,
    "upstreams": ListOf(_UPSTREAM),
    "mesh_gateway": _MESH_GATEWAY,
    "expose": _EXPOSE,
}
_PLAIN_SERVICE: Spec = {
    "id": STRING,
    "name": STRING,
    "tags": STRINGS,
    "address": STRING,
    "tagged_addresses": MapOf({"address": STRING, "port": INT}),
    "meta": STRING_MAP,
    "port": INT,
    "check": CHECK,
    "checks": ListOf(CHECK),
    "token": STRING,
    "weights": {"passing": INT, "warning": INT},
    "enable_tag_override": BOOL,
    "kind": STRING,
    "proxy": _PROXY,
}
SERVICE: Spec = {
    **_PLAIN_SERVICE,
    "connect": {"native": BOOL, "sidecar_service": _PLAIN_SERVICE},
}


def check_definition(raw: dict[str, Any], where: str) -> dict[str, Any]:
    """A check with today's spellings; raises ``Mistake`` for a duration that is none.

    A ``script`` is a line for the shell, as up to Consul 1.0; ``args`` come before it.
    """
    found = {ALIASES.get(key, key): value for key, value in raw.items()}
    script = found.pop("script", "")
    if script and not found.get("args"):
        found["args"] = script_args(script, found.get("shell", ""))
    for key in _DURATIONS:
        if key in found:
            try:
                parse_ns(found[key])
            except ValueError as error:
                problem = f'{where}.{key}: invalid duration: "{found[key]}": {error}'
                raise Mistake(problem, key, within=raw) from None
    return found


def service_definition(raw: dict[str, Any], where: str) -> dict[str, Any]:
    """A service whose ``check`` and ``checks`` are gathered under ``checks``.

    :raises Mistake: for metadata and weights that cannot be.
    """
    name = raw.get("name", "")
    fault = metadata_fault(raw.get("meta") or {})
    if fault:
        raise Mistake(f"invalid meta for service {name}: {fault}", "meta", within=raw)
    weights = raw.get("weights") or {}
    fault = weights_fault(weights.get("passing", 1), weights.get("warning", 1))
    if fault:
        raise Mistake(f"Invalid weight definition for service {name}: {fault}", "weights", within=raw)
    found = {key: value for key, value in raw.items() if key not in ("check", "checks")}
    checks = [*([raw["check"]] if "check" in raw else []), *raw.get("checks", [])]
    if checks:
        found["checks"] = [check_definition(check, f"{where}.check[]") for check in checks]
    return found


def service_body(raw: dict[str, Any]) -> dict[str, Any]:
    """A service of a file as the HTTP API takes it, without what is left out."""
    body: dict[str, Any] = _given(to_builtins(convert(raw, ServiceDefinition, snake_case=True)))
    return body


def _given(value: Any) -> Any:
    """Without empty values, but for a sidecar that has nothing to say of itself."""
    if isinstance(value, list):
        return [_given(item) for item in value]
    if not isinstance(value, dict):
        return value
    given = {key: _given(item) for key, item in value.items() if item is not None}
    return {key: item for key, item in given.items() if item or key == "SidecarService"}
