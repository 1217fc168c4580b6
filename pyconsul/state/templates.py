"""Templates of prepared queries: one query that answers to all names that begin with its own.

Its texts may hold ``${name.full}``, ``${name.prefix}``, ``${name.suffix}``, ``${agent.segment}`` and
``${match(N)}``, group N of its regular expression run over the name.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from pyconsul.errors import Refused
from pyconsul.regexp.expressions import BadExpression, Expression
from pyconsul.state.interpolation import BadEvaluation, BadFormat, Interpolated
from pyconsul.structs.prepared import NAME_PREFIX_MATCH, PreparedQuery, ServiceQuery

_FAILED = "failed compiling template: "


class Template:
    """A template, ready to be filled in.

    :raises Refused: if the type, the regular expression or a text is malformed, in Consul's words.
    """

    def __init__(self, query: PreparedQuery) -> None:
        options = query.template
        if options.type != NAME_PREFIX_MATCH:
            raise Refused(f"{_FAILED}Bad Template.Type '{options.type}'")
        self._query = query
        self._texts: dict[str, Interpolated] = {}
        self._expression: Expression | None = None
        if options.regexp:
            try:
                self._expression = Expression(options.regexp)
            except BadExpression as error:
                raise Refused(f"{_FAILED}Bad Regexp: {error}") from None
        try:
            self.fill(query.name, "")
        except Refused as error:
            raise Refused(f"{_FAILED}{error}") from None

    def fill(self, name: str, segment: str) -> PreparedQuery:
        """The query that is executed for ``name``.

        :param segment: the network segment of the agent that was asked.
        :raises Refused: if a text cannot be filled in.
        """
        prefix = self._query.name
        groups = [] if self._expression is None else self._expression.find(name) or []
        names = {
            "name.full": name,
            "name.prefix": prefix,
            "name.suffix": name.removeprefix(prefix),
            "agent.segment": segment,
        }
        functions = {"match": lambda number: groups[number] if 0 <= number < len(groups) else ""}

        def fill(text: str, path: str) -> str:
            try:
                parsed = self._texts.get(text)
                if parsed is None:
                    parsed = self._texts[text] = Interpolated(text)
                return parsed.fill(names, functions)
            except BadFormat as error:
                raise Refused(f"Bad format '{text}' in {path}: {error}") from None
            except BadEvaluation as error:
                raise Refused(f"Bad evaluation for '{text}' in {path}: {error}") from None

        service = _filled(self._query.service, fill)
        if self._query.template.remove_empty_tags and service.tags is not None:
            service = replace(service, tags=[tag for tag in service.tags if tag])
        return replace(self._query, service=service)


def _filled(service: ServiceQuery, fill: Callable[[str, str], str]) -> ServiceQuery:
    """``service`` with each text filled in; ``fill`` takes a text and where it stands."""

    def each(texts: list[str] | None, path: str) -> list[str] | None:
        return texts and [fill(text, f"{path}[{place}]") for place, text in enumerate(texts)]

    def values(pairs: dict[str, str] | None, path: str) -> dict[str, str] | None:
        return pairs and {key: fill(text, f"{path}[{key}]") for key, text in pairs.items()}

    failover = service.failover
    return replace(
        service,
        service=fill(service.service, "Service.Service"),
        failover=replace(failover, datacenters=each(failover.datacenters, "Service.Failover.Datacenters")),
        ignore_check_ids=each(service.ignore_check_ids, "Service.IgnoreCheckIDs"),
        near=fill(service.near, "Service.Near"),
        tags=each(service.tags, "Service.Tags"),
        node_meta=values(service.node_meta, "Service.NodeMeta"),
        service_meta=values(service.service_meta, "Service.ServiceMeta"),
    )
