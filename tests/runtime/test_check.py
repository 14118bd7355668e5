"""``check`` passes a bundle that is as it was made, and says where and by how much another one differs."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_streamer.runtime import cli
from edge_streamer.runtime.bundle import Bundle, write_bundle
from edge_streamer.runtime.check import TOLERANCE, check
from edge_streamer.runtime.golden import load_golden, made_unit, seed_state
from edge_streamer.runtime.listed import MANIFEST
from edge_streamer.runtime.session import open_session


def rebuilt(bundle: Path) -> Bundle:
    """The bundle with new checksums, as an honest but wrong writer would leave it."""
    manifest = Bundle.open(bundle, verify=False).manifest
    (bundle / MANIFEST).unlink()
    return write_bundle(bundle, msgspec.structs.replace(manifest, files=()))


@pytest.fixture
def spoiled(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "tiny"))


def scale_first_weight(path: Path, factor: float) -> None:
    """Scale the first values of a weight file: what a wrong conversion might do."""
    values = np.fromfile(path, "<f4")
    values[:2000] *= np.float32(factor)
    values.tofile(path)


def test_a_good_bundle_passes(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(tiny_bundle)]) == 0
    assert "passed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("graph", "quantity"),
    [("core", "scores"), ("decode", "samples"), ("solve_out", "latents.video"), ("encode", "scores")],
)
def test_a_wrong_graph_is_told_by_what_it_spoils(
    spoiled: Path, graph: str, quantity: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scale_first_weight(spoiled / "graphs" / f"{graph}.weights", 1.05)
    rebuilt(spoiled)
    assert cli.main(["check", str(spoiled), "--json"]) == 1
    verdict = json.loads(capsys.readouterr().out)
    rows = {row["quantity"]: row for row in verdict["rows"]}
    assert not verdict["passed"]
    assert rows[quantity]["error"] > TOLERANCE["float32"]
    assert rows[quantity]["first_beyond"] == "0"


def test_a_ring_that_forgets_too_early_is_found(spoiled: Path) -> None:
    """One unit of window less: the golden units start with full rings, so the first one sees it."""
    manifest = Bundle.open(spoiled, verify=False).manifest
    session = open_session(spoiled)
    golden = load_golden(spoiled / str(manifest.golden))
    seed_state(session, golden.meta.seed)
    ring = session.place.store.rings["video"]
    oldest = (ring.units + 1) % (ring.window + 1) * ring.places
    ring.valid[0, oldest : oldest + ring.places] = -30000.0
    session.step(made_unit(session.media, golden.meta.seed, 0), [int(t) for t in golden.answers["0.tokens"]])
    came, wanted = session.streamer.wiring.past["latents.video"], golden.answers["0.latents.video"]
    assert np.linalg.norm(came - wanted) / np.linalg.norm(wanted) > TOLERANCE["float32"]


def test_a_bundle_without_golden_units_says_so(counter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(counter)]) == 2
    assert "no golden units" in capsys.readouterr().err


def test_all_rings_wrap_within_the_golden_units(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    session = open_session(bundle)
    golden = load_golden(bundle.file(str(bundle.manifest.golden)))
    seed_state(session, golden.meta.seed)
    bases = []
    for index in range(golden.meta.units):
        bases.append({name: ring.base for name, ring in session.place.store.rings.items() if not ring.pinned})
        session.step(made_unit(session.media, golden.meta.seed, index))
    for ring in ("main", "video"):
        assert any(after[ring] < before[ring] for before, after in pairwise(bases))


def test_the_answers_are_small(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    assert check(bundle).slots_agree == 1.0
    assert bundle.file(str(bundle.manifest.golden)).stat().st_size < 200_000
