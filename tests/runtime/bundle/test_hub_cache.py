"""A bundle as Hugging Face's cache lays it: every file a link into the model's blobs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_streamer.runtime.bundle.archive import pack
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.compare.check import check
from edge_streamer.runtime.files import digest
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.unit import Unit
from tests.bundles import refuses

REVISION = "0123456789abcdef0123456789abcdef01234567"


def cached(bundle: Path, hub: Path, below: str = "") -> Path:
    """``bundle`` as a snapshot in the cache ``hub``, in the folder ``below`` of its repository."""
    model = hub / "models--someone--something"
    snapshot = model / "snapshots" / REVISION
    (model / "blobs").mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs/main").write_text(REVISION)
    for file in (path for path in bundle.rglob("*") if path.is_file()):
        blob = model / "blobs" / digest(file)
        shutil.copy(file, blob)
        link = snapshot / below / file.relative_to(bundle)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot / below


@pytest.mark.parametrize("below", ["", "bundles/int8"])
def test_a_snapshot_opens_and_steps(made_counter: Path, tmp_path: Path, below: str) -> None:
    snapshot = cached(made_counter, tmp_path, below)
    session = open_session(snapshot)
    np.testing.assert_array_equal(
        session.step(Unit(arrays={"x": np.ones((1, 4), np.float32)})).arrays["z"], 2 * np.ones((1, 4))
    )
    assert session.bundle.hash == Bundle.open(made_counter).hash
    pack(session.bundle, tmp_path / "a.tar")
    assert Bundle.open(tmp_path / "a.tar").hash == session.bundle.hash


def test_a_snapshot_is_found_through_a_link_to_it(made_counter: Path, tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(cached(made_counter, tmp_path / "hub"))
    assert Bundle.open(tmp_path / "here").manifest.name == "counter"


def test_the_demo_with_its_weights_beside_it_computes_in_a_snapshot(tmp_path: Path) -> None:
    assert check(Bundle.open(cached(bundle_path(), tmp_path))).passed


def test_a_blob_that_is_damaged_is_named(made_counter: Path, tmp_path: Path) -> None:
    snapshot = cached(made_counter, tmp_path)
    blob = (snapshot / "graphs/second.onnx").resolve()
    content = bytearray(blob.read_bytes())
    content[content.index(b"second")] ^= 1
    blob.write_bytes(content)
    refuses(snapshot, "graphs/second.onnx is damaged")


def test_a_link_that_leaves_the_models_blobs_stays_refused(made_counter: Path, tmp_path: Path) -> None:
    snapshot = cached(made_counter, tmp_path / "hub")
    link = snapshot / "graphs/first.onnx"
    good = link.resolve()
    other = cached(made_counter, tmp_path / "hub2") / "graphs/first.onnx"
    for target in (tmp_path / "first.onnx", other.resolve(), snapshot.parent.parent / "refs/first.onnx"):
        shutil.copy(good, target) if target != other.resolve() else None
        link.unlink()
        link.symlink_to(target)
        refuses(snapshot, "'graphs/first.onnx' follows a link out of")
    blob = snapshot.parent.parent / "blobs/onwards"
    blob.symlink_to(tmp_path / "first.onnx")
    link.unlink()
    link.symlink_to(blob)
    refuses(snapshot, "'graphs/first.onnx' follows a link out of")


def test_links_into_blobs_elsewhere_stay_refused(made_counter: Path, tmp_path: Path) -> None:
    snapshot = cached(made_counter, tmp_path / "hub")
    for name in ("models--x/other/rev", "snapshots/rev", "models/snapshots/rev"):
        folder = tmp_path / name
        shutil.copytree(made_counter, folder)
        (folder.parent.parent / "blobs").mkdir(exist_ok=True)
        (folder / "graphs/first.onnx").unlink()
        (folder / "graphs/first.onnx").symlink_to((snapshot / "graphs/first.onnx").resolve())
        refuses(folder, "'graphs/first.onnx' follows a link out of")
