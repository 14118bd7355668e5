"""The floor plan: who may import whom, no circles, and rooms that one reading holds."""

from __future__ import annotations

import ast

import pytest

from tests.imports import RUNTIME, arrows, circles, module_name, python_files

ROOT_ROOM = "words"
"""The files of runtime/ itself: the words that everybody uses."""
WORDS = {ROOT_ROOM}
BUNDLE = WORDS | {"bundle"}
STATE = BUNDLE | {"engines", "state"}
SESSION = STATE | {"programs", "session", "trust"}
OTHERS = {"devices", "quantization"}

MAY_IMPORT = {
    ROOT_ROOM: set[str](),
    "pages": WORDS,
    "health": WORDS,
    "bundle": WORDS,
    "release": BUNDLE,
    "trust": BUNDLE | {"release"},
    "engines": BUNDLE,
    "state": BUNDLE | {"engines"},
    "programs": STATE,
    "session": STATE | {"programs", "trust"},
    "compare": SESSION,
    "loop": BUNDLE | {"session", "health"},
    "evaluation": SESSION | {"compare", "pages"},
    "profile": SESSION | {"compare", "loop", "pages"},
    "commands": SESSION | {"compare", "loop", "evaluation", "profile", "pages", "health", "release"} | OTHERS,
}
"""Room of runtime/ -> the rooms that its files may import, besides its own. Only commands know devices."""

DEVICES_MAY_IMPORT = {
    *("child", "claims", "errors", "extras", "files", "timing", "unit"),
    *("bundle.manifest", "loop.media", "loop.ports", "loop.request", "loop.report", "loop.sample_clock"),
    *("loop.priorities", "loop.stand_ins", "release.contents"),
}
"""Of the runtime: the words, the media contract, the ports, and the tools of time that belong to no loop."""

PUBLIC = {f"edge_streamer.runtime.{name}" for name in ("bundle.reader", "session.session", "session.fake")}
"""What the package hands on as its own, each on first use."""

BY_NAME = {"edge_streamer.export.command"}
"""What the command line reaches by name alone, because the device has none of its libraries."""

MOST_LINES, MOST_FUNCTION, MOST_ROOT = 400, 40, 12


def room(module: str) -> str:
    """``bundle`` of ``edge_streamer.runtime.bundle.reader``; ``devices`` of whatever lies there."""
    _, top, *rest = module.split(".")
    if top != "runtime":
        return top
    return rest[0] if rest and (RUNTIME / rest[0]).is_dir() else ROOT_ROOM


def test_every_room_imports_only_what_is_below_it() -> None:
    crossings = [
        f"{module} imports {target}"
        for module, targets in arrows().items()
        for target in targets
        if room(module) in MAY_IMPORT
        and room(target) not in {room(module), *MAY_IMPORT[room(module)]}
        and not (module == "edge_streamer.runtime" and target in PUBLIC)
        and not (room(module) == "commands" and target in BY_NAME)
    ]
    assert crossings == []


def test_every_room_of_the_runtime_has_its_rule() -> None:
    rooms = {path.parent.name for path in RUNTIME.glob("*/__init__.py")}
    assert rooms | {ROOT_ROOM} == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [("devices", set[str]()), ("quantization", {"runtime", "devices"}), ("export", {"runtime", "quantization"})],
)
def test_every_folder_imports_only_what_is_below_it(folder: str, allowed: set[str]) -> None:
    tops = {(m, t, t.split(".")[1]) for m, targets in arrows().items() if m.split(".")[1] == folder for t in targets}
    assert [f"{m} imports {t}" for m, t, top in tops if top not in {folder, "runtime", *allowed}] == []


def test_devices_know_little_of_the_runtime() -> None:
    known = {f"edge_streamer.runtime.{name}" for name in DEVICES_MAY_IMPORT}
    used = {t for m, targets in arrows().items() if room(m) == "devices" for t in targets if room(t) != "devices"}
    assert used == known, "a name that is used no more goes from the list too"


def test_quantization_knows_of_devices_only_files() -> None:
    used = {t for m, targets in arrows().items() if room(m) == "quantization" for t in targets if room(t) == "devices"}
    assert used == {"edge_streamer.devices.files.audio_file", "edge_streamer.devices.files.video_file"}


def test_there_are_no_circles() -> None:
    assert circles(arrows()) == []


def test_a_planted_circle_and_an_import_by_text_are_seen() -> None:
    two = {"a": frozenset({"b"}), "b": frozenset({"c"}), "c": frozenset({"b"}), "d": frozenset({"a"})}
    assert circles(two) == [["b", "c"]]
    assert "edge_streamer.export.command" in arrows()["edge_streamer.runtime.commands.cli"]


def test_the_runtime_has_a_small_root() -> None:
    assert len(list(RUNTIME.glob("*.py"))) <= MOST_ROOT


def test_every_file_and_function_is_one_reading() -> None:
    long = []
    for path in python_files():
        text = path.read_text("utf-8")
        if text.count("\n") > MOST_LINES:
            long.append(f"{module_name(path)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and _lines(node) > MOST_FUNCTION:
                long.append(f"{module_name(path)}.{node.name}: {_lines(node)} lines")
    assert long == []


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Without its docstring, which may be as long as it has to be."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return 0 if not body else (body[-1].end_lineno or 0) - body[0].lineno + 2
