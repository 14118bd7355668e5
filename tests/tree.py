"""python -m tests.tree: docs/tree.md, the map of the source, from the files' own first lines

Receives nothing; writes docs/tree.md anew. A test compares it with what stands there.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "tree.md"
FOLDERS = ("export", "quantization", "runtime", "devices", "tests")
HEAD = """# The tree

Every source file by its own first line; made by `python -m tests.tree`. Who may import whom stands in
tests/runtime/test_floors.py: `export` uses `quantization` and `runtime`, `devices` uses the runtime's ports, of the
runtime only `commands` knows `devices`; and nothing on the device side imports torch or onnx
(tests/runtime/test_boundary.py). The format of bundles is described in [bundle-format.md](bundle-format.md).
"""


def first_line(path: Path) -> str:
    """The first line of a file's docstring, without its full stop; "" where it has none."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return text.partition("\n")[0].replace("``", "").removesuffix(".")


def page() -> str:
    """The whole text of docs/tree.md."""
    parts = [HEAD]
    for top in FOLDERS:
        folders = {path.parent for path in (ROOT / top).rglob("*.py")}
        parts += [_folder(folder) for folder in sorted(folders)]
    return "\n".join(parts)


def _folder(folder: Path) -> str:
    package = folder / "__init__.py"
    about = first_line(package) if package.exists() else ""
    files = sorted(path for path in folder.glob("*.py") if path != package)
    width = max((len(path.name) for path in files), default=0)
    lines = [f"{path.name:<{width}}  {first_line(path)}".rstrip() for path in files]
    heading = f"## {folder.relative_to(ROOT)}/\n"
    return "\n".join([heading, *([f"{about}.\n"] if about else []), *(["```", *lines, "```"] if lines else []), ""])


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
