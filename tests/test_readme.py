"""The README and the map of the source stay true; the README's two commands stand on its first screen."""

from __future__ import annotations

import re

from tests.tree import PAGE, ROOT, page

FIRST_SCREEN = 30
"""Lines."""


def readme() -> str:
    return (ROOT / "README.md").read_text("utf-8")


def test_the_map_of_the_source_is_made_from_it_as_it_is() -> None:
    assert PAGE.read_text("utf-8") == page(), "write it anew: python -m tests.tree"


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
