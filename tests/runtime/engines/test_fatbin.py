"""Which GPUs a CUDA library holds code for: read from headers, whatever else the file holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_streamer.runtime.engines.fatbin import Code, held, names
from tests.runtime.engines.fat_binaries import binary, entry, fat


def test_every_architecture_is_read_once(tmp_path: Path) -> None:
    library = tmp_path / "library.so"
    library.write_bytes(fat((87, False), (90, True), (110, False)) + binary(entry(80, kind=1)))
    assert names(held(library)) == ["compute_80", "sm_87", "sm_90a", "sm_110"]


@pytest.mark.parametrize(
    "data",
    [b"", b"\x50\xed\x55\xba", b"\x50\xed\x55\xba" * 1000, binary(), binary(entry(87))[:40], binary(b"\0" * 200),
     binary(entry(87)[:8] + (2**40).to_bytes(8, "little") + entry(87)[16:])],
)  # fmt: skip
def test_what_is_cut_or_nonsense_ends(data: bytes, tmp_path: Path) -> None:
    library = tmp_path / "library.so"
    library.write_bytes(data)
    assert held(library) <= {Code((8, 7), False, False)}
    assert held(tmp_path / "none.so") == held(tmp_path) == frozenset()


@pytest.mark.parametrize(
    ("code", "runs_on", "not_on"),
    [
        (Code((8, 7), False, False), [(8, 7), (8, 9)], [(8, 6), (9, 0), (11, 0)]),
        (Code((8, 0), False, False), [(8, 0), (8, 7)], [(7, 5), (12, 0)]),
        (Code((9, 0), False, True), [(9, 0)], [(8, 9), (10, 0)]),
        (Code((12, 0), False, True), [(12, 0)], [(12, 1), (11, 0)]),
        (Code((8, 0), True, False), [(8, 0), (8, 7), (11, 0)], [(7, 5)]),
    ],
)
def test_code_runs_where_cuda_says(code: Code, runs_on: list[tuple[int, int]], not_on: list[tuple[int, int]]) -> None:
    assert all(code.runs_on(gpu) for gpu in runs_on)
    assert not any(code.runs_on(gpu) for gpu in not_on)
