"""Which engine is taken: the best that is here, the one that is named, or one line that says what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.engines import probe
from edge_streamer.runtime.engines.choose import AUTO, ENGINES, NAMES, Entry, choose, for_cpus
from edge_streamer.runtime.errors import BundleError, InputError
from tests.fakes import FakeSession, use


def entry(name: str, lacking: str = "") -> Entry:
    made: Any = name
    return Entry(name, lambda: made, lambda: lacking)


FAST, SLOW = entry("fast"), entry("slow")
AWAY = entry("fast", "needs a GPU; pip install 'edge-streamer[fast]'")


def test_auto_takes_the_first_that_is_here_and_says_why() -> None:
    assert choose(AUTO, (FAST, SLOW)) == ("fast", "fast: the best that is here")
    why = "slow: the best that is here; fast needs a GPU; pip install 'edge-streamer[fast]'"
    assert choose(AUTO, (AWAY, SLOW)) == ("slow", why)


def test_the_one_that_is_named_is_taken_and_no_other_is_looked_for() -> None:
    assert choose("slow", (AWAY, SLOW)) == ("slow", "slow: as asked")


def test_one_that_is_not_here_says_what_is_and_what_would_install_it() -> None:
    with pytest.raises(InputError) as caught:
        choose("fast", (AWAY, SLOW))
    assert str(caught.value) == "engine fast needs a GPU; pip install 'edge-streamer[fast]'; here is slow"
    with pytest.raises(InputError, match="no engine 'gpu'; there are auto, fast, slow"):
        choose("gpu", (AWAY, SLOW))


def test_the_table_has_the_cpu_last_which_is_always_here() -> None:
    engine, why = choose("cpu")
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
        engine, why = choose()
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
    engine, why = choose(AUTO, entries, for_cpus_alone)
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
    with pytest.raises(BundleError, match=r"takes about 50\.5 MB on cuda .* and 1\.0 MB is free"):
        choose("cuda", (small, SLOW), Bundle.open(bundle_path(floats=True)).manifest)
    assert len(closed) == 1


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
