"""All byte code that an agent loads at its start, in one file.

Python looks for each module in several folders, and opens, checks and reads a file for each: a sixth of
the time that an agent takes to start. ``python -m pyconsul.cli.bundle`` puts what is loaded into one file
beside the package's byte code, as ``make`` does; ``pyconsul agent`` uses it if it is there.

What is found does not depend on it: folders are still searched in the order of ``sys.path``, and a file
whose size or time is not what it was is loaded as always.
"""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from types import CodeType, ModuleType
from typing import Any

Entry = tuple[str, str, int, int, int, int]
"""Path, path of its byte code (empty: no Python), time in ns and size, begin and length in the bundle."""
Folders = dict[str, dict[str, Entry]]
"""What each folder holds, by the last part of a module's name."""
Piece = tuple[str, str, int, int, bytes]
"""An entry before it has its place, and the code."""

PATH = os.path.join(os.path.dirname(__file__), "__pycache__", f"agent.{sys.implementation.cache_tag}.bundle")
SIZE_BYTES = 8
PYTHON = (sys.version, sys.flags.optimize)
"""Byte code is for one version of Python only."""
FROM_FILES = (SourceFileLoader, ExtensionFileLoader)


class Loader(SourceFileLoader):
    """Loads a module whose byte code is in the bundle."""

    def __init__(self, name: str, path: str, code: bytes) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType | None:
        """The module's code, once."""
        code, self._code = self._code, b""
        return marshal.loads(code) if code else super().get_code(fullname)


class Folder:
    """Finds modules of one folder: those in the bundle there, others as always."""

    def __init__(self, path: str, entries: dict[str, Entry], bundle: int, begin: int) -> None:
        self._path = path
        self._entries = entries
        self._bundle = bundle
        self._begin = begin
        self._usual: FileFinder | None = None

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        """See ``importlib.abc.PathEntryFinder``."""
        entry = self._entries.get(fullname.rpartition(".")[2])
        if entry is not None:
            path, cached, time_ns, size, at, length = entry
            with suppress(OSError):
                there = os.stat(path)
                if there.st_mtime_ns == time_ns and there.st_size == size:
                    if not cached:
                        return _spec(fullname, ExtensionFileLoader(fullname, path), path)
                    code = os.pread(self._bundle, length, self._begin + at)
                    if len(code) == length:
                        spec = _spec(fullname, Loader(fullname, path, code), path)
                        spec.cached = cached
                        return spec
        if self._usual is None:
            extensions = ExtensionFileLoader, EXTENSION_SUFFIXES
            self._usual = FileFinder(self._path, extensions, (SourceFileLoader, SOURCE_SUFFIXES))
        return self._usual.find_spec(fullname, target)


def _spec(name: str, loader: Any, path: str) -> ModuleSpec:
    folder, _, file = path.rpartition(os.sep)
    is_package = file == "__init__.py"
    spec = ModuleSpec(name, loader, origin=path, is_package=is_package)
    spec.has_location = True
    if is_package:
        spec.submodule_search_locations = [folder]
    return spec


def install(path: str = PATH) -> None:
    """Have modules come from the bundle from now on, if there is one that fits."""
    try:
        bundle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    begin, folders = _table_of(bundle)

    def hook(folder: str) -> Folder:
        try:
            return Folder(folder, folders[folder], bundle, begin)
        except KeyError:
            raise ImportError from None

    sys.path_hooks.insert(0, hook)
    for folder in folders:
        sys.path_importer_cache.pop(folder, None)


def _table_of(bundle: int) -> tuple[int, Folders]:
    """Where the code begins in a bundle, and what is in it; nothing if another Python made it."""
    try:
        size = int.from_bytes(os.pread(bundle, SIZE_BYTES, 0), "big")
        python, folders = marshal.loads(os.pread(bundle, min(size, os.fstat(bundle).st_size), SIZE_BYTES))
    except (ValueError, EOFError, TypeError):
        return 0, {}
    return SIZE_BYTES + size, folders if python == PYTHON else {}


# ------------------------------------------------------------ making one


def write(modules: Iterable[ModuleType], path: str = PATH) -> None:
    """Bundle those of ``modules`` that came from files: the size and a table of them, then their code."""
    found = [_piece(spec) for spec in map(_spec_of, modules) if spec is not None]
    table = _table(found)
    draft = f"{path}.{os.getpid()}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(draft, "wb") as file:
        file.write(len(table).to_bytes(SIZE_BYTES, "big") + table)
        file.writelines(code for *_, code in found)
    os.replace(draft, path)


def _spec_of(module: ModuleType) -> ModuleSpec | None:
    spec = getattr(module, "__spec__", None)
    return spec if spec and spec.origin and isinstance(spec.loader, FROM_FILES) else None


def _piece(spec: ModuleSpec) -> Piece:
    assert spec.origin is not None
    code = b""
    if isinstance(spec.loader, SourceFileLoader):
        code = marshal.dumps(spec.loader.get_code(spec.name))
    there = os.stat(spec.origin)
    return spec.origin, (spec.cached or "") if code else "", there.st_mtime_ns, there.st_size, code


def _table(pieces: Iterable[Piece]) -> bytes:
    folders: Folders = {}
    at = 0
    for path, cached, time_ns, size, code in pieces:
        folder, _, file = path.rpartition(os.sep)
        if file == "__init__.py":
            folder, _, file = folder.rpartition(os.sep)
        entry = (path, cached, time_ns, size, at, len(code))
        folders.setdefault(folder, {})[file.partition(".")[0]] = entry
        at += len(code)
    return marshal.dumps((PYTHON, folders))
