"""Finding TensorRT, building with it, what stops it and what it needs: over the stand-in of every version."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_streamer.runtime.bundle.memory import free_bytes
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.engines.board_memory import LIBRARY
from edge_streamer.runtime.engines.contract import GraphFile
from edge_streamer.runtime.engines.tensorrt.build import STEPS, Options, build
from edge_streamer.runtime.engines.tensorrt.estimate import check_room, needed, weights
from edge_streamer.runtime.engines.tensorrt.library import find, known, log_of
from edge_streamer.runtime.errors import BundleError, EngineError, InputError
from edge_streamer.runtime.timing import untold
from tests.runtime.engines.cuda_stand_in.driver import StandIn
from tests.runtime.engines.tensorrt_stand_in.library import TensorRT, library_of
from tests.runtime.engines.tensorrt_stand_in.strict import VERSIONS


def graph_of(folder: Path, name: str) -> GraphFile:
    return GraphFile.of(Bundle.open(folder), name)


@pytest.fixture
def second(made_counter: Path) -> GraphFile:
    return graph_of(made_counter, "second")


@pytest.fixture(params=VERSIONS)
def pair(request: pytest.FixtureRequest) -> tuple[Any, TensorRT]:
    return library_of(request.param, StandIn())


# ---- the library ----


def loads(**found: Any) -> Callable[[str], Any]:
    """Modules by name: one that is there, or the error that its import ends with."""

    def load(name: str) -> Any:
        if name not in found:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if isinstance(found[name], Exception):
            raise found[name]
        return found[name]

    return load


def module(version: str) -> Any:
    return SimpleNamespace(__version__=version)


def test_the_boards_own_tensorrt_goes_before_that_for_pcs() -> None:
    both = loads(tensorrt=module("10.3.0.30"), tensorrt_rtx=module("1.7.1.116"))
    assert find(both).name == "TensorRT 10.3.0.30"
    assert find(loads(tensorrt_rtx=module("1.7.1.116"))).name == "TensorRT-RTX 1.7.1.116"
    assert find(loads(tensorrt_rtx_bindings=module("1.4.0.76"))).is_rtx


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({}, "TensorRT is not here; see"),
    "its library is missing": (
        {"tensorrt": OSError("libnvinfer.so.10: cannot open shared object file")},
        r"cannot be loaded \(tensorrt: libnvinfer.so.10: cannot open",
    ),
    "a part is missing": (
        {"tensorrt": ModuleNotFoundError("No module named 'tensorrt_bindings'", name="tensorrt_bindings")},
        r"cannot be loaded \(tensorrt: No module named 'tensorrt_bindings'\)",
    ),
    "too old": ({"tensorrt": module("8.6.2")}, r"TensorRT is of version 8.6.2; wanted 10.3 to 11.x; "),
    "too new": ({"tensorrt": module("12.0.0")}, r"of version 12.0.0; wanted 10.3 to 11.x"),
    "too new for PCs": ({"tensorrt_rtx": module("2.0")}, r"TensorRT-RTX is of version 2.0; wanted 1.4 to 1.x"),
    "no version": ({"tensorrt": SimpleNamespace()}, "of version unknown"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_missing_is_told_with_where_to_look(what: str) -> None:
    found, says = BROKEN[what]
    with pytest.raises(InputError, match=says) as caught:
        find(loads(**found))
    assert str(caught.value).endswith("see 'edge-streamer engines' for what installs it here")
    assert "\n" not in str(caught.value)


def test_the_log_keeps_errors_and_forgets_what_was_told() -> None:
    library, _ = library_of("tensorrt-10.3.0", StandIn())
    log, severity = log_of(library), library.trt.ILogger.Severity
    for level in severity:
        log.logger.log(level, f"a {level.name}\nline")
    assert log.why() == "a INTERNAL_ERROR line; a ERROR line"
    assert log.why() == "the library does not say why"


# ---- a build ----


def test_every_version_builds_and_tells_how_far_it_is(pair: tuple[Any, TensorRT], tiny_bundle: Path) -> None:
    library, _ = pair
    told: list[tuple[str, int, int]] = []
    for name in ("core", "encode"):
        built = build(library, graph_of(tiny_bundle, name), Options(), lambda *what: told.append(what))
        assert built.blob
        assert built.seconds > 0
        assert (built.timing == b"measured;") is not library.is_rtx
    for name in ("core", "encode"):
        steps = [done for graph, done, _ in told if graph == name]
        assert (steps[0], steps[-1], sorted(steps)) == (0, STEPS, steps)


def test_a_timing_cache_is_taken_up_and_one_of_another_card_is_not(second: GraphFile) -> None:
    library, trt = library_of("tensorrt-10.3.0", StandIn())
    first = build(library, second, Options(), untold)
    again = build(library, second, Options(), untold, first.timing)
    assert (first.timing, again.timing) == (b"measured;", b"measured;measured;")
    other = build(library, second, Options(), untold, b"foreign")
    assert other.timing == b"measured;"
    assert trt.timings == [b"", b"measured;", b""]


def test_what_the_parser_refuses_is_told_by_node(pair: tuple[Any, TensorRT], second: GraphFile) -> None:
    library, trt = pair
    trt.refuses["Mul"] = "In node 0 (importMul):\nUNSUPPORTED_NODE: at least 2 dimensions are required"
    with pytest.raises(BundleError) as caught:
        build(library, second, Options(), untold)
    for words in (f"{library.name} does not take graph 'second' of", "edge-streamer lint",
                  "node 0 (Mul): In node 0 (importMul): UNSUPPORTED_NODE"):  # fmt: skip
        assert words in str(caught.value)
    assert trt.builds == 0


def test_a_build_that_fails_says_what_the_library_said(pair: tuple[Any, TensorRT], second: GraphFile) -> None:
    library, trt = pair
    trt.fails = True
    with pytest.raises(EngineError, match="could not build graph 'second': Could not find any implementation for node"):
        build(library, second, Options(), untold)


def test_an_exception_of_the_library_is_the_engines_error(second: GraphFile) -> None:
    library, trt = library_of("tensorrt-10.3.0", StandIn())

    def breaks() -> None:
        raise RuntimeError("out of luck")

    trt.while_building = breaks
    with pytest.raises(EngineError, match="failed in the build of graph 'second': out of luck"):
        build(library, second, Options(), untold)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_build_at_its_next_step(number: int, second: GraphFile) -> None:
    from edge_streamer.runtime.ending import Guard

    library, trt = library_of("tensorrt-10.3.0", StandIn())
    trt.steps, seen = 10_000, []

    def step() -> None:
        seen.append(threading.current_thread())
        if len(seen) == 3:
            os.kill(os.getpid(), number)
        threading.Event().wait(0.002)

    trt.while_building = step
    with pytest.raises(KeyboardInterrupt), Guard():
        build(library, second, Options(), untold)
    assert 3 <= len(seen) < 5000
    assert threading.main_thread() not in seen, "the main thread is free to hear signals"
    assert trt.builds == 0
    steps = len(seen)
    threading.Event().wait(0.05)
    assert len(seen) == steps, "nothing goes on building"


def test_an_error_while_telling_stops_the_build_too(second: GraphFile) -> None:
    library, trt = library_of("tensorrt-10.3.0", StandIn())
    trt.steps = 10_000
    trt.while_building = lambda: threading.Event().wait(0.002)

    def tell(graph: str, done: int, total: int) -> None:
        if done:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        build(library, second, Options(), tell)
    assert trt.builds == 0


@pytest.mark.parametrize(
    ("side", "change", "says"),
    [
        ("inputs", {"dtype": "int32"}, r"input 'y': .*FLOAT.* the manifest says .*INT32"),
        ("inputs", {"shape": (1, 5)}, r"input 'y': .*\(1, 4\)\), the manifest says .*\(1, 5\)\)"),
        ("outputs", {"dtype": "int64"}, r"output 'z': .*FLOAT.* the manifest says .*INT64"),
        ("outputs", {"name": "w"}, r"output 'w': .* has None, the manifest says"),
    ],
)
def test_a_file_that_is_not_the_manifests_is_refused(
    second: GraphFile, side: str, change: dict[str, Any], says: str
) -> None:
    import msgspec

    (tensor,) = getattr(second.spec, side)
    spec = msgspec.structs.replace(second.spec, **{side: (msgspec.structs.replace(tensor, **change),)})
    library, _ = library_of("tensorrt-10.3.0", StandIn())
    with pytest.raises(BundleError, match=says):
        build(library, GraphFile(second.path, spec), Options(), untold)


def test_a_card_that_rtx_does_not_know_is_refused(second: GraphFile) -> None:
    library, _ = library_of("tensorrt_rtx-1.7.1.116", StandIn())
    assert build(library, second, Options(compute_capability="SM120"), untold).blob
    with pytest.raises(EngineError, match=r"builds for .*SM120.*; SM90 was asked for"):
        build(library, second, Options(compute_capability="SM90"), untold)


def test_a_later_version_of_known_bindings_is_taken() -> None:
    assert known(module("11.4.1.2"), is_rtx=False).version == (11, 4, 1, 2)


# ---- memory ----


def test_what_a_build_needs_is_its_weights_four_times_and_more(tiny_bundle: Path) -> None:
    core = graph_of(tiny_bundle, "core")
    size = sum((tiny_bundle / f"graphs/core.{ending}").stat().st_size for ending in ("onnx", "weights"))
    assert weights(core) == size
    assert needed(core, Options(workspace=1000)) == 4 * size + 1000 + LIBRARY["tensorrt"]
    wanted = 4 * size + LIBRARY["tensorrt"]
    assert check_room(core, Options(workspace=0), {"the board's memory": wanted}) == wanted


def test_a_build_that_will_not_fit_is_refused_with_what_frees_memory(tiny_bundle: Path) -> None:
    core = graph_of(tiny_bundle, "core")
    with pytest.raises(InputError) as caught:
        check_room(core, Options(), {"the card's memory": 1 << 40, "the computer's memory": 1_000_000_000})
    for words in ("building graph 'core' wants 1.2 GB", "1.0 GB of the computer's memory is free", "--workspace",
                  "quantize", "--anyway", "multi-user.target"):  # fmt: skip
        assert words in str(caught.value)


def test_what_programs_can_still_take_is_the_systems_word(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  7990000 kB\nMemFree: 1 kB\nMemAvailable:    2048 kB\n")
    assert free_bytes(tmp_path, tmp_path) == 2 << 20
    assert free_bytes(tmp_path / "none", tmp_path) is None
    (tmp_path / "meminfo").write_text("MemAvailable: lots\n")
    assert free_bytes(tmp_path, tmp_path) is None
