"""The README stays true: its tree names every source file, its two commands stand on its first screen."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("export", "quantization", "runtime", "devices", "tests")
FIRST_SCREEN = 30
"""Lines."""


def readme() -> str:
    return (ROOT / "README.md").read_text("utf-8")


def tree() -> dict[str, str]:
    """path -> what the README says it is."""
    block = readme().split("## The tree", 1)[1].split("```")[1]
    found, folder = {}, ""
    for line in block.splitlines():
        if match := re.match(r"^(\S+/)(\s|$)", line):
            folder = match[1]
        elif match := re.match(r"^  (\S+\.py)\s+(\S.*)$", line):
            found[folder + match[1]] = match[2]
    return found


def test_the_tree_names_every_source_file_and_nothing_else() -> None:
    files = {str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    real = {path for path in files if not path.endswith("__init__.py")}
    assert tree().keys() == real


def test_the_two_commands_stand_on_the_first_screen() -> None:
    screen = "\n".join(readme().splitlines()[:FIRST_SCREEN])
    assert "<!-- ci:demo -->" in screen
    assert "<!-- ci:test -->" in screen


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", readme()):
        assert (ROOT / target).exists(), target


def test_the_python_example_runs_as_it_is_written() -> None:
    """On the base install alone too: see tests/device."""
    code = readme().split("```python\n", 1)[1].split("```", 1)[0]
    names: dict[str, object] = {}
    exec(code, names)
    assert {"response", "state"} <= names.keys()
