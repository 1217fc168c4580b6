"""Where settings come from, and how they add up to one ``AgentConfig``.

Order: defaults, ``-dev``, files and folders as given, flags, ``-hcl`` fragments. The last one wins;
lists are joined (those of flags come first) and maps are merged. Source: the reference binary.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from pyconsul import hcl
from pyconsul.config import legacy
from pyconsul.config.definitions import CHECK, SERVICE, check_definition, service_definition
from pyconsul.config.host import Host
from pyconsul.config.kinds import Kind
from pyconsul.config.later import without_effect
from pyconsul.config.places import Mistake, Places, json_noted
from pyconsul.config.schema import DEV, AgentConfig
from pyconsul.config.setting import Declared, declared, replaced
from pyconsul.config.tree import Problems, Spec, errors_text, read_object
from pyconsul.config.validate import completed, validate
from pyconsul.errors import ConfigurationError

Layer = dict[str, Any]
"""What one source gives: values by whole key, shaped but not converted."""

FORMATS = ("hcl", "json")
FILE_BYTES_MAX = 64 * 1024 * 1024


class Sources(Struct, frozen=True):
    """Everything the user gave.

    :ivar paths: files and folders in the order given.
    :ivar flags: values by whole key.
    :ivar fragments: texts of ``-hcl``.
    :ivar format: ``hcl`` or ``json`` for all files; empty: by suffix.
    """

    paths: tuple[str, ...] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)
    fragments: tuple[str, ...] = ()
    format: str = ""
    dev: bool = False


class Reader:
    """Reads decoded files into layers; knows all keys.

    :param places: where it is found what errors are to tell; ``None`` tells nothing of that.
    """

    def __init__(self, places: Places | None = None) -> None:
        self._places = places
        self.declared: dict[str, Declared] = {item.path: item for item in declared(AgentConfig())}
        self._spec: dict[str, Any] = {"service": SERVICE, "check": CHECK}
        for item in self.declared.values():
            self._declare(item.path, item.setting.holds or item.setting.kind)
        for path, new in legacy.RENAMED.items():
            self._declare(path, self.declared[new].setting.kind)
        for path in legacy.IGNORED:
            self._declare(path, Kind("anything", shape=lambda value, where: value))

    def _declare(self, path: str, wanted: object) -> None:
        *groups, name = path.split(".")
        spec = self._spec
        for group in groups:
            spec = spec.setdefault(group, {})
        spec[name] = wanted

    def layer(self, tree: object, name: str, warnings: list[str]) -> Layer:
        """What the decoded file ``name`` gives; raises ``ConfigurationError`` with all its faults."""
        problems = Problems(self._places, self.declared)
        found = read_object(tree, self._spec, "", problems)
        problems.check(name)
        for one, many in (("service", "services"), ("check", "checks")):
            if one in found:
                found[many] = [found.pop(one), *found.get(many, [])]
        layer: Layer = {}
        self._flatten(found, self._spec, "", layer)
        return legacy.translate(layer, warnings)

    def _flatten(self, found: dict[str, Any], spec: Spec, prefix: str, layer: Layer) -> None:
        for key, value in found.items():
            inner = spec[key]
            if isinstance(inner, Mapping):
                self._flatten(value, inner, f"{prefix}{key}.", layer)
            else:
                layer[prefix + key] = value
                if self._places:
                    self._places.of_setting(legacy.RENAMED.get(prefix + key, prefix + key), found, key)

    def merged(self, layers: list[Layer]) -> Layer:
        """All layers as one, the later over the earlier."""
        result: Layer = {}
        for layer in layers:
            for path, value in layer.items():
                if path in result:
                    value = self.declared[path].setting.kind.merge(result[path], value)
                result[path] = value
        return result

    def converted(self, layer: Layer, host: Host) -> Layer:
        """The values as the program uses them; raises ``ConfigurationError`` with all faults."""
        problems: list[str] = []
        values: Layer = {}
        for path, value in layer.items():
            try:
                values[path] = self._convert(path, value, host)
            except ConfigurationError as error:
                mistake = error if isinstance(error, Mistake) else Mistake(str(error), path)
                problems.append(self._places.shown(mistake) if self._places else str(error))
        if problems:
            raise ConfigurationError(errors_text(problems))
        return values

    def _convert(self, path: str, value: Any, host: Host) -> Any:
        if path == "services":
            return tuple(service_definition(item, "service[]") for item in value)
        if path == "checks":
            return tuple(check_definition(item, "check[]") for item in value)
        kind = self.declared[path].setting.kind
        if kind.template:
            value = host.expanded(value, path)
        return kind.convert(value, path)


def load(sources: Sources, host: Host | None = None) -> AgentConfig:
    """Read everything and check it; raises ``ConfigurationError`` with Consul's texts.

    :param host: the machine; a simulated one in tests.
    """
    try:
        return _loaded(sources, host or Host(), None)
    except ConfigurationError:
        return _loaded(sources, host or Host(), Places())  # now to say where


def _loaded(sources: Sources, host: Host, places: Places | None) -> AgentConfig:
    if sources.format and sources.format not in FORMATS:
        raise ConfigurationError("config: -config-format must be either 'hcl' or 'json'")
    reader = Reader(places)
    warnings: list[str] = []
    lists = {path: value for path, value in sources.flags.items() if reader.declared[path].setting.kind.many}
    scalars = {path: value for path, value in sources.flags.items() if path not in lists}
    layers = [lists]
    for name, tree in _trees(sources, warnings, places):
        layers.append(reader.layer(tree, name, warnings))
    layers.append(scalars)
    for number, text in enumerate(sources.fragments):
        name = f"flags-{number}.hcl"
        layers.append(reader.layer(_decoded(text, "hcl", name), name, warnings))
    given = {path for layer in layers for path in layer}
    if sources.dev:
        layers.insert(1, reader.layer(DEV, "dev", warnings))
    values = reader.converted(reader.merged(layers), host)
    config = replaced(AgentConfig(dev=sources.dev, sources=sources), values)
    try:
        config = completed(config, host, warnings)
        validate(config, warnings, host.files_max())
        warnings += without_effect(config, given)
    except Mistake as mistake:
        raise ConfigurationError(places.shown(mistake) if places else str(mistake)) from None
    return replace(config, warnings=tuple(warnings))


def services_in(paths: Sequence[str]) -> list[dict[str, Any]]:
    """The services that files and folders define; raises ``ConfigurationError``."""
    reader, host = Reader(), Host()
    warnings: list[str] = []
    found: list[dict[str, Any]] = []
    for name, tree in _trees(Sources(paths=tuple(paths)), warnings):
        services = reader.layer(tree, name, warnings).get("services", [])
        found += reader.converted({"services": services}, host)["services"]
    return found


def taken_over(config: AgentConfig, new: AgentConfig) -> AgentConfig:
    """``config`` with what ``new`` says about the settings that may change while an agent runs."""
    changes = {item.path: item.default for item in declared(new) if item.setting.reload}
    return replace(replaced(config, changes), warnings=new.warnings)


# ---------------------------------------------------------------- files


def _trees(
    sources: Sources, warnings: list[str], places: Places | None = None
) -> Iterator[tuple[str, object]]:
    """Name and decoded content of every file, in order."""
    for path in sources.paths:
        for name in _files(path):
            suffix = sources.format or os.path.splitext(name)[1].removeprefix(".")
            if suffix in FORMATS:
                yield name, _decoded(_text(name), suffix, name, places)
            else:
                warnings.append(
                    f"skipping file {name}, extension must be .hcl or .json, or config format must be set"
                )


def _files(path: str) -> list[str]:
    """The file itself, or the files of a folder by name, without its subfolders."""
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            return [path]
        return sorted(f"{path.rstrip('/')}/{name}" for name in os.listdir(path) if _counts(path, name))
    except (OSError, ValueError) as error:
        raise _open_failed(path, error) from None


def _counts(folder: str, name: str) -> bool:
    """Whether what is in a folder is to be read: a file, or a link to nothing, which is an error then."""
    path = os.path.join(folder, name)
    return os.path.isfile(path) or not os.path.exists(path)


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise _open_failed(path, error) from None
    if len(content) > FILE_BYTES_MAX:
        raise ConfigurationError(f"failed to parse {path}: larger than {FILE_BYTES_MAX} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"failed to parse {path}: not UTF-8 (line {line})") from None


def _open_failed(path: str, error: OSError | ValueError) -> ConfigurationError:
    reason = (error.strerror or "").lower() if isinstance(error, OSError) else str(error)
    return ConfigurationError(f"config: Open failed on {path}. open {path}: {reason}")


def _decoded(text: str, form: str, name: str, places: Places | None = None) -> object:
    if not text.strip():
        return {}
    try:
        if form == "hcl" and not hcl.is_json(text):
            return hcl.loads(text, places.reader(name, text)) if places else hcl.loads(text)
        tree = hcl.loads(text) if form == "hcl" else json.loads(text, parse_constant=_no_constant)
        if places:
            tree = json_noted(text, places.reader(name, text))
    except RecursionError:
        raise ConfigurationError(f"failed to parse {name}: nested too deeply") from None
    except (hcl.HclError, ValueError) as error:
        raise ConfigurationError(f"failed to parse {name}: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigurationError(f"failed to parse {name}: the file does not hold one object")
    return tree


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
