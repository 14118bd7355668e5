"""What imports what: every arrow between the modules of the package, those inside functions and in strings too.

Receives nothing; hands on the arrows, for the tests that hold the house to its floors (`tests/runtime/test_floors.py`,
`tests/runtime/test_boundary.py`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

TOPS = {
    top: Path(import_module(f"edge_streamer.{top}").__path__[0])
    for top in ("devices", "export", "quantization", "runtime")
}
"""Where the four folders are; not below one another where there are no links."""
RUNTIME = TOPS["runtime"]
PLUGINS = [TOPS["devices"] / "jetson/fleet" / name for name in ("collections", "callback_plugins")]
"""Ansible loads these files by their place; they are no modules of the package."""
NAME = re.compile(r"edge_streamer(\.\w+)+")


def python_files(folder: str = "") -> Iterator[Path]:
    """Every .py file below a folder of the package."""
    tops = [folder] if folder else TOPS
    return (path for top in tops for path in sorted(TOPS[top].rglob("*.py")))


def module_name(path: Path) -> str:
    """``edge_streamer.runtime.commands.cli`` of its file; a folder's ``__init__.py`` has the folder's name."""
    top = next(place for place in TOPS.values() if place in path.parents)
    return ".".join(("edge_streamer", *path.relative_to(top.parent).with_suffix("").parts)).removesuffix(".__init__")


def imported_names(path: Path) -> Iterator[str]:
    """Every module or member that a file imports, at any depth, relative imports made absolute; and every text that is
    such a name, which is how one is imported without a statement."""
    package = module_name(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
            yield node.value


@cache
def arrows() -> dict[str, frozenset[str]]:
    """Module -> the modules of the package that it imports."""
    modules = {module_name(path): path for path in python_files()}
    found: dict[str, frozenset[str]] = {}
    for name, path in modules.items():
        to = {_module(target, modules) for target in imported_names(path)}
        found[name] = frozenset(one for one in to if one and one != name)
    return found


def _module(name: str, modules: dict[str, Path]) -> str | None:
    """The module that ``name`` is, or is a member of; None for one of others."""
    while name.startswith("edge_streamer."):
        if name in modules:
            return name
        name = name.rpartition(".")[0]
    return None


def circles(graph: dict[str, frozenset[str]]) -> list[list[str]]:
    """A circle of the graph, if there is one."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [sorted(set(error.args[1]))]
    return []
