"""Which engine is taken: the best that is here, the one that is named, or one line that says what is missing."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from edge_streamer.runtime.bundle.manifest import Manifest, Precision
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.engines import probe
from edge_streamer.runtime.engines.choose import AUTO, ENGINES, NAMES, Entry, choose
from edge_streamer.runtime.engines.fit import for_cpus, not_for_cpu, not_for_cuda
from edge_streamer.runtime.errors import BundleError, EngineError, InputError
from edge_streamer.runtime.session.session import open_session
from tests.fakes import FakeSession, use


def entry(name: str, lacking: str = "") -> Entry:
    made: Any = name
    return Entry(name, lambda: made, lambda: lacking)


FAST, SLOW = entry("fast"), entry("slow")
AWAY = entry("fast", "needs a GPU; pip install 'edge-streamer[fast]'")


def test_auto_takes_the_first_that_is_here_and_says_why() -> None:
    assert choose(AUTO, (FAST, SLOW)) == ("fast", "fast: the best that is here", "fast")
    why = "slow: the best that is here; fast needs a GPU; pip install 'edge-streamer[fast]'"
    assert choose(AUTO, (AWAY, SLOW)) == ("slow", why, "slow")


def test_the_one_that_is_named_is_taken_and_no_other_is_looked_for() -> None:
    assert choose("slow", (AWAY, SLOW)) == ("slow", "slow: as asked", "slow")


def test_one_that_is_not_here_says_what_is_and_what_would_install_it() -> None:
    with pytest.raises(InputError) as caught:
        choose("fast", (AWAY, SLOW))
    assert str(caught.value) == "engine fast needs a GPU; pip install 'edge-streamer[fast]'; here is slow"
    with pytest.raises(InputError, match="no engine 'gpu'; there are auto, fast, slow"):
        choose("gpu", (AWAY, SLOW))


def test_the_table_has_the_cpu_last_which_is_always_here() -> None:
    engine, why, _ = choose("cpu")
    assert engine.name.startswith("onnxruntime ")
    assert why == "cpu: as asked"
    assert NAMES == ("auto", "tensorrt", "cuda", "cpu")
    assert ENGINES[-1].name == NAMES[-1] == "cpu"
    assert ENGINES[-1].lacking() == ""


def test_engines_that_lack_the_same_are_told_at_once() -> None:
    why = "needs an NVIDIA GPU and its driver"
    three = entry("fast", why), entry("faster", why), SLOW
    assert choose(AUTO, three).why == f"slow: the best that is here; fast and faster each {why}"


def test_a_machine_without_a_gpu_runs_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "DEVICES", ())
    probe.gpu.cache_clear()
    try:
        engine, why, _ = choose()
        assert engine.name.startswith("onnxruntime ")
        assert why == "cpu: the best that is here; tensorrt and cuda each needs an NVIDIA GPU and its driver"
        for name in ("tensorrt", "cuda"):
            with pytest.raises(InputError, match=f"^engine {name} needs an NVIDIA GPU and its driver; here is cpu$"):
                choose(name)
    finally:
        probe.gpu.cache_clear()


def test_a_bundle_for_cpus_goes_to_the_cpu_whatever_is_here() -> None:
    for_cpus_alone = Bundle.open(bundle_path()).manifest
    entries = FAST._replace(unfit=for_cpus), SLOW
    engine, why, _ = choose(AUTO, entries, for_cpus_alone)
    assert engine == "slow"
    assert "fast takes no bundle for CPUs, which this one is (core, slot, solve_in, solve_out in int8 dynamic)" in why
    with pytest.raises(InputError, match=r"^engine fast takes no bundle for CPUs"):
        choose("fast", entries, for_cpus_alone)
    assert choose(AUTO, entries, Bundle.open(bundle_path(floats=True)).manifest).engine == "fast"


def test_an_engine_without_room_for_the_bundle_is_closed_again() -> None:
    closed = []

    class Small:
        def close(self) -> None:
            closed.append(self)

    made: Any = Small
    small = Entry("cuda", made, lambda: "", free=lambda engine: 1_000_000)
    with pytest.raises(BundleError, match=r"takes about [0-9.]+ MB on cuda .* and 1\.0 MB is free"):
        choose("cuda", (small, SLOW), Bundle.open(bundle_path(floats=True)).manifest)
    assert len(closed) == 1


class Made:
    """An engine that remembers that it was closed."""

    closed = 0
    name, alignment, captures = "made", 256, False

    def close(self) -> None:
        self.closed += 1

    def __getattr__(self, name: str) -> Any:
        raise EngineError("the device says no")


def test_auto_goes_on_where_an_engine_breaks_and_says_why() -> None:
    def breaks() -> Any:
        raise EngineError("the driver says no")

    engine, why, name = choose(AUTO, (Entry("fast", breaks, lambda: ""), SLOW))
    assert (engine, name) == ("slow", "slow")
    assert why == "slow: the best that is here; fast cannot take it: the driver says no"
    with pytest.raises(EngineError, match="the driver says no"):
        choose("fast", (Entry("fast", breaks, lambda: ""), SLOW))


def test_a_session_that_cannot_open_on_the_best_engine_opens_on_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made()
    first: Any = Entry("fast", lambda: made, lambda: "")  # type: ignore[arg-type, return-value]
    monkeypatch.setattr(choose, "__defaults__", (AUTO, (first, ENGINES[-1]), None, None))
    for engine in (AUTO, None):
        with open_session(bundle_path(floats=True), engine=engine, verify=False) as session:
            assert session.engine.name.startswith("onnxruntime")
            why = "cpu: the best that is here; fast cannot open it: the device says no"
            assert session.engine_why == why
    assert made.closed == 2
    with pytest.raises(EngineError, match="the device says no"):
        open_session(bundle_path(floats=True), engine="fast", verify=False)
    assert made.closed == 3


def with_precision(weights: Any, activations: Any = "float32", dynamic: bool = False) -> Manifest:
    manifest = Bundle.open(bundle_path(floats=True)).manifest
    precision = Precision(weights=weights, activations=activations, dynamic=dynamic)
    first, *rest = manifest.graphs
    return replace(manifest, graphs=(replace(first, precision=precision), *rest))


@pytest.mark.parametrize(
    ("numbers", "tensorrt", "cuda", "cpu"),
    [
        (("float32",), True, True, True), (("fp16", "fp16"), True, True, True), (("int8",), True, True, True),
        (("int8", "int8"), True, False, True), (("int8", "int8", True), False, False, True),
        (("int4",), True, False, True), (("bf16", "bf16"), True, False, False), (("fp8", "fp8"), True, False, True),
        (("nvfp4",), True, False, False),
    ],
)  # fmt: skip
def test_what_numbers_an_engine_takes(numbers: tuple[Any, ...], tensorrt: bool, cuda: bool, cpu: bool) -> None:
    manifest = with_precision(*numbers)
    for fit, wanted in ((for_cpus, tensorrt), (not_for_cuda, cuda), (not_for_cpu, cpu)):
        assert (fit(manifest) == "") == wanted
        assert wanted or fit(manifest).startswith("takes no ")


@pytest.mark.parametrize("command", ["run", "demo", "check", "eval", "quantize", "replay", "prefix"])
def test_every_command_that_opens_a_bundle_takes_an_engine(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--help"]) == 0
    assert "--engine {auto,tensorrt,cuda,cpu}" in capsys.readouterr().out
    assert cli.main([command, "--engine", "gpu"]) == 2
    said = capsys.readouterr().err
    assert "--engine" in said
    assert "'gpu'" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(("words", "asked"), [([], "auto"), (["--engine", "cpu"], "cpu")])
def test_a_run_opens_its_bundle_on_the_engine_and_closes_it(
    words: list[str], asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = use(FakeSession(), monkeypatch)
    assert cli.main(["run", "bundle", "--mic", "none", "--camera", "none", "--speaker", "none", "--display", "none",
                     "--text", "none", "--seconds", "0.5", "--pace", "fast", *words]) == 0  # fmt: skip
    assert (session.engine_asked, session.closed) == (asked, True)
