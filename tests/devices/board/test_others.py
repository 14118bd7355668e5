"""Programs that are read while they run, and nvidia-smi's lines: whatever they say, whenever they end."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from edge_streamer.devices.board.others import NvidiaSmi, Tegrastats, completed, of_nvidia_smi, of_tegrastats
from edge_streamer.devices.board.program import MOST_BYTES, Program, start
from tests.devices.board.test_tegrastats import JETPACK_5, THOR_71

SMI = "0, 31.50, 115.00, 1500, 8000, 61, 40, 12, 1000, 33, 0x0000000000000004"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that is looked in first."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def made(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def lines(program: Program, least: int, seconds: float = 5.0) -> list[str]:
    found: list[str] = []
    end = time.monotonic() + seconds
    while len(found) < least and time.monotonic() < end:
        found += program.lines()
        time.sleep(0.01)
    return found


def test_lines_come_when_they_are_whole(script: Path) -> None:
    made(script, "says", "printf 'one\\n\\ntwo\\nthr'; sleep 0.2; printf 'ee\\n'; exec sleep 60")
    program = start(["says"])
    assert program is not None
    assert lines(program, 3) == ["one", "two", "three"]
    assert program.lines() == []
    assert not program.ended
    program.close()
    assert program.ended


def test_a_program_that_will_not_end_is_ended(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_streamer.devices.board.program.END_SECONDS", 0.2)
    made(script, "stays", "trap '' TERM; echo here; while true; do sleep 0.1; done")
    program = start(["stays"])
    assert program is not None
    assert lines(program, 1) == ["here"]
    program.close()
    assert program.ended


def test_a_line_without_end_is_not_kept_whole(script: Path) -> None:
    made(script, "flood", "head -c 400000 /dev/zero | tr '\\0' x; echo; echo after")
    program = start(["flood"])
    assert program is not None
    found = lines(program, 2)
    assert len(found[0]) <= 3 * MOST_BYTES
    assert found[1:] == ["after"]
    program.close()


def test_what_is_not_there_or_cannot_be_started_is_none(script: Path) -> None:
    (script / "broken").write_text("#!/no/such/interpreter\n")
    (script / "broken").chmod(0o755)
    assert start(["edge-streamer-has-no-such-program"]) is None
    assert start(["broken"]) is None


def test_nvidia_smi_as_a_program(script: Path) -> None:
    made(script, "nvidia-smi", "case \"$1\" in *event_reasons*) echo 'Field x is not a valid field'; exit 2;; esac\n"
         f"while true; do echo '{SMI}'; echo '1, [N/A], Unknown Error'; sleep 0.05; done")  # fmt: skip
    smi, found, end = NvidiaSmi(start), {}, time.monotonic() + 10
    while not found and time.monotonic() < end:
        found = smi.look()
        time.sleep(0.02)
    smi.close()
    assert found == of_nvidia_smi(SMI)


def test_nvidia_smi_that_is_not_there_is_silent(script: Path) -> None:
    smi = NvidiaSmi(lambda words: None)
    assert [smi.look() for _ in range(4)] == [{}] * 4
    assert smi.silent


def test_tegrastats_that_ends_says_no_more(script: Path) -> None:
    made(script, "tegrastats", f"[ \"$1\" = --interval ] && echo '{THOR_71}'; sleep 0.3")
    tegrastats, end, found = Tegrastats(start), time.monotonic() + 10, {}
    while not found and time.monotonic() < end:
        found = tegrastats.look()
    assert found["rail", "VIN"] == 19.78
    while not tegrastats.silent and time.monotonic() < end:
        tegrastats.look()
    assert tegrastats.look() == {}


def test_a_line_of_tegrastats_in_the_words_of_readings() -> None:
    found, unknown = of_tegrastats(JETPACK_5)
    assert unknown == ""
    assert found["rail", "VDD_CPU_CV"] == 14.312
    assert (found["clock", "gpu"], found["load", "gpu"], found["clock", "memory"]) == (407, 0.14, 2133)
    assert found["memory", "used"] == pytest.approx(13983 * 1.048576)
    assert found["memory", "largest block"] == pytest.approx(4 * 1.048576)
    assert found["temperature", "Tboard"] == 62
    assert ("load", "gpu") not in of_tegrastats(THOR_71)[0]
    assert of_tegrastats("what is this?") == ({}, "what is this?")


def test_a_line_of_nvidia_smi() -> None:
    assert of_nvidia_smi(SMI) == {
        ("card", "gpu 0"): 31.5, ("watts allowed", "gpu 0"): 115, ("clock", "gpu 0"): 1500,
        ("clock", "gpu 0 memory"): 8000, ("temperature", "gpu 0"): 61, ("load", "gpu 0"): 0.4,
        ("load", "gpu 0 memory"): 0.12, ("memory", "gpu 0"): 1048.576, ("fan power", "gpu 0"): 0.33,
        ("throttle", "gpu 0: power"): 1, ("throttle", "gpu 0: hardware"): 0, ("throttle", "gpu 0: heat"): 0,
        ("throttle", "gpu 0: heat, by hardware"): 0, ("throttle", "gpu 0: supply"): 0,
    }  # fmt: skip


@pytest.mark.parametrize("line", ["", ",", "0", "No devices were found", "0, [N/A], [Not Supported]", "\u0660, 3, 4"])
def test_a_line_that_tells_nothing(line: str) -> None:
    assert of_nvidia_smi(line) == {}


def test_lines_of_anything_are_read() -> None:
    draw = random.Random(7)
    for _ in range(5000):
        at = draw.randrange(len(SMI))
        text = SMI[:at] + "".join(draw.choices("0123456789,x. -[]\u0663", k=draw.randrange(9))) + SMI[at + 2 :]
        assert all(value == value for value in of_nvidia_smi(text).values())


def test_what_files_tell_stands() -> None:
    more = of_tegrastats(THOR_71)[0]
    files = completed({("temperature", "cpu-thermal"): 40.0, ("clock", "gpu-gpc-0"): 315.0, ("load", "memory"): 0.5},
                      more, ("rail", "temperature"))  # fmt: skip
    assert ("clock", "gpu") not in files
    assert [name for kind, name in files if kind == "temperature"] == ["cpu-thermal"]
    assert (files["load", "memory"], files["rail", "VIN"], files["clock", "memory"]) == (0.5, 19.78, 2750)
