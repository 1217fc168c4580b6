"""Which way dependencies point: every import of every module, against the rules of the layers."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
PACKAGE = "pyconsul"

BASE = {"errors", "structs", "interfaces", "hcl", "late_patterns", "late_tls"}
PURE = {"raft", "swim", "serf", "state", "dns", "acl", "filters", "regexp"}
CORES = BASE | PURE
DRIVERS = {"storage", "net", "checks", "endpoints"}

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "interfaces": {"errors", "structs", "raft"},
    "structs": {"errors", "interfaces", "late_patterns"},
    "hcl": {"errors", "late_patterns"},
    "bundle": set(),
    "late": set(),
    "late_patterns": set(),
    "late_tls": set(),
    "stand_ins": set(),
    "log": {"errors"},
    **dict.fromkeys(PURE, CORES),
    **{name: CORES | DRIVERS | {"log"} for name in DRIVERS},
    "config": BASE | {"regexp"},
    "client": BASE,
    "http": CORES | DRIVERS | {"log"},
    "agent": CORES | DRIVERS | {"log", "config", "http", "client"},
    "testing": CORES | DRIVERS | {"log", "config", "http", "agent", "client"},
    "cli": CORES
    | DRIVERS
    | {"bundle", "late", "log", "config", "http", "agent", "client", "stand_ins", "testing"},
    "__main__": {"cli"},
    "": set(),
}
"""What the modules of each package (or the module of that name) may import, besides their own."""

IMPURE = {
    "asyncio", "multiprocessing", "os", "random", "select", "signal", "socket", "ssl", "subprocess",
    "threading", "time", "twisted", "txaio",
}  # fmt: skip
"""What pure packages never import when they run."""

NO_STATE = PURE | {"structs"}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the package, by dotted name."""
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield dotted.removesuffix(".__init__"), path


def area(dotted: str) -> str:
    """The part of a dotted name that the rules are about."""
    return dotted.split(".")[1] if "." in dotted else ""


def at_run_time(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """All statements that may run, those of functions too, but not what is only for type checkers."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from at_run_time(node.orelse)
            continue
        yield node
        for _, value in ast.iter_fields(node):
            if isinstance(value, list):
                yield from at_run_time(item for item in value if isinstance(item, ast.stmt))
                for item in value:
                    if isinstance(item, ast.ExceptHandler | ast.match_case):
                        yield from at_run_time(item.body)


def imported(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Dotted names imported at run time, with their lines; ``level`` dots mark a relative one."""
    for node in at_run_time(tree.body):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            if base == PACKAGE:
                for name in node.names:
                    is_module = (ROOT / PACKAGE / name.name).is_dir() or (
                        ROOT / PACKAGE / f"{name.name}.py"
                    ).exists()
                    yield f"{base}.{name.name}" if is_module else base, node.lineno
            else:
                yield base, node.lineno


def strays(dotted: str, tree: ast.Module) -> Iterator[str]:
    """What a module imports against the rules."""
    own = area(dotted)
    for name, line in imported(tree):
        where = f"{dotted}:{line}"
        if name.startswith("."):
            yield f"{where} has a relative import"
        elif name.split(".")[0] == PACKAGE:
            target = area(name)
            if target not in ("", own) and target not in ALLOWED.get(own, set()):
                yield f"{where} imports {name}: {own} may not know {target}"
        elif own in PURE | {"structs"} and name.split(".")[0] in IMPURE:
            yield f"{where} imports {name}: {own} is pure"
        elif name.split(".")[0] == "txaio" and own != "log":
            yield f"{where} imports txaio: only pyconsul.log does"


MAKERS = ("dict", "list", "set", "defaultdict", "deque", "OrderedDict")
CHANGERS = (
    "add", "append", "clear", "extend", "insert", "pop", "popitem", "remove", "setdefault", "update",
)  # fmt: skip


def is_container(value: ast.expr | None) -> bool:
    """Whether an expression makes a list, a dict or a set."""
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id in MAKERS
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


def containers(tree: ast.Module) -> Iterator[str]:
    """Names of a module that hold a list, a dict or a set."""
    for node in tree.body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign) and is_container(node.value):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign) and is_container(node.value):
            targets = [node.target]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def mutable_state(dotted: str, tree: ast.Module) -> Iterator[str]:
    """Where functions change what belongs to the module."""
    names = set(containers(tree))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    for node in (node for function in functions for node in ast.walk(function)):
        if isinstance(node, ast.Global):
            yield f"{dotted}:{node.lineno} changes a global variable"
        stores = isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del)
        calls = isinstance(node, ast.Attribute) and node.attr in CHANGERS
        if stores or calls:
            changed = getattr(node, "value", None)
            if isinstance(changed, ast.Name) and changed.id in names:
                yield f"{dotted}:{changed.lineno} changes {changed.id}, which the whole process shares"


class LayerTests(SynchronousTestCase):
    def test_every_area_has_rules(self) -> None:
        """A new package needs a place among the layers."""
        self.assertEqual({area(dotted) for dotted, _ in modules()} - set(ALLOWED), set())

    def test_imports(self) -> None:
        """No module imports what is above it."""
        found = [
            text for dotted, path in modules() for text in strays(dotted, ast.parse(path.read_text("utf-8")))
        ]
        self.assertEqual(found, [], "\n" + "\n".join(found))

    def test_state(self) -> None:
        """No module keeps state of its own."""
        found = [
            text
            for dotted, path in modules()
            for text in mutable_state(dotted, ast.parse(path.read_text("utf-8")))
        ]
        self.assertEqual(found, [], "\n" + "\n".join(found))

    def test_packages_say_what_they_are(self) -> None:
        """A package's own module has a docstring and nothing else.

        Three have more: the version is in the topmost, and ``agent`` and ``testing`` offer what users want.
        """
        for dotted, path in modules():
            if path.name == "__init__.py":
                first, *rest = ast.parse(path.read_text("utf-8")).body
                self.assertIsInstance(getattr(first, "value", None), ast.Constant, dotted)
                if dotted not in (PACKAGE, f"{PACKAGE}.agent", f"{PACKAGE}.testing"):
                    self.assertEqual(rest, [], dotted)

    def test_the_rules_point_one_way(self) -> None:
        """The table itself has no circle but the one of the base."""
        for name, below in ALLOWED.items():
            for other in below - BASE - PURE - DRIVERS:
                self.assertNotIn(name, ALLOWED[other], (name, other))


class CheckerTests(SynchronousTestCase):
    """That the checks find what they are for."""

    def strays(self, dotted: str, text: str) -> list[str]:
        return list(strays(dotted, ast.parse(text)))

    def test_wrong_direction(self) -> None:
        """The module and its line are named."""
        self.assertEqual(
            self.strays("pyconsul.raft.core", "x = 1\nfrom pyconsul.net.amp import y"),
            ["pyconsul.raft.core:2 imports pyconsul.net.amp: raft may not know net"],
        )
        self.assertEqual(len(self.strays("pyconsul.raft.core", "from pyconsul import net")), 1)
        self.assertEqual(self.strays("pyconsul.raft.core", "from pyconsul import __version__"), [])

    def test_impure(self) -> None:
        """Also within functions, but not for type checkers."""
        self.assertEqual(len(self.strays("pyconsul.swim.core", "def f():\n    import time")), 1)
        self.assertEqual(
            len(self.strays("pyconsul.swim.core", "try:\n    import os.path\nexcept X:\n    import ssl")), 2
        )
        self.assertEqual(
            self.strays("pyconsul.swim.core", "if TYPE_CHECKING:\n    from random import Random"), []
        )
        self.assertEqual(self.strays("pyconsul.net.core", "import time"), [])

    def test_others(self) -> None:
        """Relative imports, and txaio past the log."""
        self.assertEqual(len(self.strays("pyconsul.net.x", "from . import y")), 1)
        self.assertEqual(len(self.strays("pyconsul.net.x", "import txaio")), 1)
        self.assertEqual(self.strays("pyconsul.log", "import txaio"), [])

    def test_state(self) -> None:
        """Constants are fine, what a function changes is not."""
        constant = "X = {1: 2}\ndef f(): return X[1]"
        self.assertEqual(list(mutable_state("m", ast.parse(constant))), [])
        for change in ("X[1] = 2", "X.update(y)", "del X[1]"):
            text = f"X = {{}}\ndef f():\n    {change}"
            self.assertEqual(len(list(mutable_state("m", ast.parse(text)))), 1, change)
        self.assertEqual(len(list(mutable_state("m", ast.parse("X: int = 1\ndef f():\n    global X")))), 1)
        self.assertEqual(
            len(list(mutable_state("m", ast.parse("X: list[int] = list()\ndef f(): X.append(1)")))), 1
        )
