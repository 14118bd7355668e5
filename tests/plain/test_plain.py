"""What docs/unit.md says of noise is so, and the tools that compare other drivers tell the same from other."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.programs.noise import SLOTS, SOLVER, Noise
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.unit import Knobs
from tests.plain import compare, reference

PAGE = Path(__file__).parents[2] / "docs" / "unit.md"
M0, M1, W0, W1 = 0xD2E7470EE14C6C93, 0xCA5A826395121157, 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
WORD = 2**64


def words(seed: int, stream: int, k: int, count: int) -> list[int]:
    """As the page says it, in Python's own integers."""
    out: list[int] = []
    for block in range(1, count // 4 + 2):
        c, key = [block, 0, k, stream], [seed, 0]
        for _ in range(10):
            a, b = M0 * c[0], M1 * c[2]
            c = [(b // WORD) ^ c[1] ^ key[0], b % WORD, (a // WORD) ^ c[3] ^ key[1], a % WORD]
            key = [(key[0] + W0) % WORD, (key[1] + W1) % WORD]
        out += c
    return out[:count]


def row(what: str) -> str:
    """The line of the page's table of numbers that begins with ``what``."""
    return next(line for line in PAGE.read_text("utf-8").splitlines() if line.startswith(f"| {what}"))


@pytest.mark.parametrize(("what", "key"), [("words, stream 0", (0, SOLVER, 0)), ("words, stream 1", (7, SLOTS, 1000))])
def test_the_bits_of_the_page_are_those_of_its_generator(what: str, key: tuple[int, int, int]) -> None:
    told = [int(word, 16) for word in re.findall(r"0x[0-9a-f]{16}", row(what))]
    assert told == words(*key, 5)


@pytest.mark.parametrize("key", [(0, SOLVER, 0), (2**64 - 1, SLOTS, 2**40)])
def test_the_generator_is_the_one_of_the_page(key: tuple[int, int, int]) -> None:
    seed, stream, k = key
    uniform = [((word >> 11) + 1) * 2.0**-53 for word in words(seed, stream, k, 6)]
    radius, angle = np.sqrt(-2 * np.log(uniform[:3])), 2 * np.pi * np.array(uniform[3:])
    wanted = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:5]
    out = np.empty(5, np.float32)
    Noise(seed).normal(stream, k, out)
    np.testing.assert_allclose(out, wanted, rtol=1e-6)


def test_the_noise_of_the_page_is_what_a_session_draws() -> None:
    solver, slots = np.empty(248, np.float32), np.empty((4, 64), np.float32)
    Noise(0).normal(SOLVER, 0, solver)
    Noise(0).gumbel(SLOTS, 0, slots)
    for what, drawn in (("solver noise", solver[[0, 1, 124, 247]]), ("slot noise", slots[[0, 0, 1, 3], [0, 1, 0, 63]])):
        told = [float(number) for number in re.findall(r"-?\d+\.\d{5,}", row(what))]
        np.testing.assert_allclose(told, drawn, rtol=1e-6, err_msg=what)


def test_a_session_agrees_with_itself_and_not_with_another_seed() -> None:
    """Settled or not is the same up to rounding; other noise is another answer."""
    session = open_session(bundle_path(floats=True))
    one, two, three = (
        reference.record(session.twin(knobs), knobs, 2, settle)
        for knobs, settle in ((Knobs(), False), (Knobs(), True), (Knobs(seed=1), False))
    )
    rows = compare.compare(one, two)
    assert [r.name for r in rows] == list(compare.ANSWERS)
    assert max(r.error for r in rows) < compare.TOLERANCE
    other = {r.name: r.error for r in compare.compare(one, three)}
    assert other["latents.video"] > 0.1


def test_the_file_holds_what_its_description_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.npz"
    monkeypatch.setattr(sys, "argv", ["reference", str(bundle_path(floats=True)), str(out), "--units", "1"])
    reference.main()
    listed = re.findall(r"^    ([a-z_.]+) +(uint64|u?int\d+|float32|bool) ", reference.__doc__ or "", re.MULTILINE)
    with np.load(out, allow_pickle=False) as arrays:
        assert [(name, arrays[name].dtype.name) for name in arrays] == listed
    monkeypatch.setattr(sys, "argv", ["compare", str(out), str(out)])
    assert compare.main() == 0


def test_a_wrong_shape_a_wrong_token_and_nothing_at_all_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, mine = tmp_path / "out.npz", tmp_path / "mine.npz"
    np.savez(out, tokens=np.zeros((2, 4), np.int32), samples=np.ones((2, 8), np.float32))
    monkeypatch.setattr(sys, "argv", ["compare", str(out), str(mine)])
    for arrays, said in (
        ({"tokens": np.array([[0] * 4, [0, 0, 9, 0]], np.int32)}, "1 of 8 differ"),
        ({"samples": np.ones((1, 8), np.float32)}, "shape [1, 8]; wanted [2, 8]"),
        ({"samples": np.full((2, 8), np.nan, np.float32)}, "inf"),
        ({}, "not in"),
    ):
        np.savez(mine, **arrays)
        assert compare.main() == 1
        assert said in capsys.readouterr().out
