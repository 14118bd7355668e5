"""Tab completes commands, options and choices as bash asks for them, and imports no library for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from edge_streamer.runtime.commands import cli, completion

HEAVY = ["numpy", "onnxruntime", "av", "torch", "onnx", "tokenizers", "msgspec", "soxr", "rich", "PIL"]
LIGHT = f"""
import sys
from importlib import import_module
for entry in sys.argv[1:]:
    import_module(entry)
    heavy = set({HEAVY}) & set(sys.modules)
    assert not heavy, f"{{entry}} imports {{heavy}}: put its add_arguments into a file of its own, and name that in "\
        "the table's `options`"
"""
BLOCKED = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name in {HEAVY}:
            raise AssertionError(f"{{name}} is imported")
sys.meta_path.insert(0, Blocker())
from edge_streamer.runtime.commands import cli
sys.exit(cli.main())
"""


def complete(line: str) -> list[str]:
    """What bash would be given for ``line``: it listens on file descriptor 8, and hides what the program prints."""
    environment = {
        **os.environ, "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line,
        "COMP_POINT": str(len(line)), "COMP_TYPE": "9",
    }  # fmt: skip
    told = subprocess.run(
        ["sh", "-c", '"$@" 8>&1 9>/dev/null 1>&2', "sh", sys.executable, "-c", BLOCKED],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert told.stderr == ""
    return [word.strip() for word in told.stdout.split("\n") if word]


@pytest.fixture
def argcomplete() -> None:
    pytest.importorskip("argcomplete")


@pytest.mark.usefixtures("argcomplete")
@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("edge-streamer qu", ["quantize"]),
        ("edge-streamer re", ["replay", "releases"]),
        ("edge-streamer --ver", ["--version"]),
        ("edge-streamer quantize b --sch", ["--scheme"]),
        ("edge-streamer quantize b --scheme int", ["int8", "int4"]),
        ("edge-streamer run --mic demo --pac", ["--pace"]),
        ("edge-streamer run --pace ", ["real", "fast"]),
        ("edge-streamer run --aec sy", ["system"]),
        ("edge-streamer eval --comp", ["--compare-steps"]),
        ("edge-streamer replay --bu", ["--bundle"]),
        ("edge-streamer prefix --cl", ["--clip"]),
        ("edge-streamer export --preset d", ["demo"]),
        ("/opt/env/bin/edge-streamer inspect --js", ["--json"]),
    ],
)
def test_the_shell_is_told_what_fits(line: str, wanted: list[str]) -> None:
    assert complete(line) == wanted


@pytest.mark.usefixtures("argcomplete")
def test_all_commands_are_offered() -> None:
    assert set(complete("edge-streamer ")) >= set(cli.COMMANDS)


def test_no_command_needs_a_library_for_its_arguments() -> None:
    modules = [entry.options or entry.module for entry in cli.COMMANDS.values()]
    ran = subprocess.run([sys.executable, "-c", LIGHT, *modules], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_without_argcomplete_nothing_is_said_and_nothing_run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    monkeypatch.setenv(completion.ASKED, "1")
    monkeypatch.setenv(completion.LINE, "edge-streamer pa")
    assert cli.main([]) == 1
    assert capfd.readouterr() == ("", "")
