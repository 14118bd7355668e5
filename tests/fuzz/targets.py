"""What is fuzzed: the seven things that come from outside, each made whole once and damaged again and again

Receives a work folder; hands on targets: ``prepare`` makes what is whole (once a process), ``damage`` writes a damaged
one for a generator, ``attempt`` does with it what a user's command does, and returns a word for how it went. What
``attempt`` raises is judged by the driver: this project's own errors are right answers, everything else is a finding.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
import shutil
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.compare.check import check
from edge_streamer.runtime.compare.golden import made_unit
from edge_streamer.runtime.errors import EdgeStreamerError
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.session.snapshot import load_snapshot
from edge_streamer.runtime.unit import Knobs, Unit
from tests.fuzz import damage as damages
from tests.fuzz import messages, tars

SECRET = b"A SECRET THAT LIES OUTSIDE OF EVERY BUNDLE".ljust(64, b"!")


class Wrong(AssertionError):
    """The product gave an answer that it must not give."""


class Target(Protocol):
    """One thing that comes from outside."""

    def prepare(self) -> None: ...

    def damage(self, rng: random.Random) -> None: ...

    def attempt(self) -> str: ...


class Place:
    """The folders of one worker: ``case`` holds what is damaged, ``home`` is everything that the product may write to,
    ``outside`` must never change."""

    def __init__(self, root: Path, bundle: Path) -> None:
        self.root, self.bundle = root, bundle
        self.case, self.home, self.outside = root / "case", root / "home", root / "outside"
        for folder in (self.case, self.home, self.outside):
            folder.mkdir(parents=True, exist_ok=True)
        (self.outside / "secret.bin").write_bytes(SECRET)


def step(session: Session) -> None:
    """One unit through a session of any program."""
    if session.bundle.manifest.program == "wan_streamer":
        session.step(made_unit(session.media, 3, 1))
        return
    constants = session.bundle.manifest.constants
    specs = {tensor.name: tensor for graph in session.bundle.manifest.graphs for tensor in graph.inputs}
    arrays = {name: np.ones([int(n) for n in specs[name].shape], specs[name].dtype) for name in constants["inputs"]}  # type: ignore[attr-defined]
    session.step(arrays)


class _BundleTarget:
    """A bundle's folder with files replaced."""

    def __init__(self, place: Place) -> None:
        self.place, self.folder = place, place.case / "bundle"
        self._changed: list[str] = []

    def prepare(self) -> None:
        shutil.copytree(self.place.bundle, self.folder, dirs_exist_ok=True)
        self.whole = {path: self._read(path) for path in self._files()}
        self.manifest: dict[str, Any] = json.loads(self.whole["manifest.json"])

    def replace(self, files: dict[str, bytes]) -> None:
        """The whole bundle but for ``files``; the manifest's sums are made right for them."""
        for name in self._changed:
            self._write(name, self.whole[name])
        self._changed = [*files, "manifest.json"]
        manifest = json.loads(self.whole["manifest.json"])
        for name, data in files.items():
            self._write(name, data)
            for listed in manifest["files"]:
                if listed["path"] == name:
                    listed["size"], listed["sha256"] = len(data), hashlib.sha256(data).hexdigest()
        if "manifest.json" not in files:
            self._write("manifest.json", json.dumps(manifest).encode())

    def attempt(self) -> str:
        session = open_session(Bundle.open(self.folder))
        step(session)
        return "runs"

    def _files(self) -> list[str]:
        return [str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()]

    def _read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def _write(self, name: str, data: bytes) -> None:
        (self.folder / name).write_bytes(data)


class ManifestTarget(_BundleTarget):
    """manifest.json; now and then the tokenizer, which is JSON too."""

    def damage(self, rng: random.Random) -> None:
        name = "tokenizer.json" if "tokenizer.json" in self.whole and rng.random() < 0.15 else "manifest.json"
        self.replace({name: damages.damage_json(self.whole[name], rng)})


class GraphTarget(_BundleTarget):
    """An ONNX file, with ways to the secret planted in it."""

    def prepare(self) -> None:
        super().prepare()
        self._graphs = [graph["file"] for graph in self.manifest["graphs"]]
        outside = str(self.place.outside / "secret.bin")
        ways = ("../../outside/secret.bin", "../../../outside/secret.bin", "*/_ORT_MEM_ADDR_/*", outside)
        self._plants = [plant for way in ways for plant in messages.planted(way)]

    def damage(self, rng: random.Random) -> None:
        name = rng.choice(self._graphs)
        self.replace({name: messages.damage_graph(self.whole[name], rng, tuple(self._plants))})

    def attempt(self) -> str:
        bundle = Bundle.open(self.folder)
        if any(b"secret.bin" in self._read(name) or b"_ORT_MEM_ADDR_" in self._read(name) for name in self._graphs):
            self._judge_plant()
        step(open_session(bundle))
        return "runs"

    def _judge_plant(self) -> None:
        """A plant may stand where nothing reads it (a doc string); a tensor's external data is another thing."""
        for name in self._graphs:
            if _external_outside(self._read(name), "model"):
                raise Wrong(f"{name} names external data outside of the bundle, and the bundle opens")


def _external_outside(data: bytes, kind: str) -> bool:
    """Whether a tensor, where ONNX puts tensors, names the secret or an address."""
    try:
        fields = messages.parse_message(data)
    except (ValueError, IndexError):
        return False
    if kind == "tensor":
        external = any(number == 14 and value == 1 for number, wire, value in fields if wire == 0)
        said = [value for number, wire, value in fields if number == 13 and wire == 2]
        return external and any(b"secret.bin" in value or b"_ORT_MEM_ADDR_" in value for value in said)
    inner = messages.INSIDE[kind] | ({11: "attribute"} if kind == "function" else {})
    return any(
        _external_outside(v, inner[n])
        for n, wire, v in fields
        if wire == 2 and n in inner and inner[n] in messages.INSIDE
    )


class ArchiveTarget:
    """A bundle's tar, plain or gzipped."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.file = place.case / "bundle.tar"

    def prepare(self) -> None:
        names = [
            "manifest.json",
            *(f["path"] for f in json.loads((self.place.bundle / "manifest.json").read_bytes())["files"]),
        ]
        self._members = [tars.member(name, (self.place.bundle / name).read_bytes()) for name in names]

    def damage(self, rng: random.Random) -> None:
        import gzip

        data = tars.damage_tar(self._members, rng)
        if rng.random() < 0.3:
            data = gzip.compress(data, 1)
            if rng.random() < 0.3:
                data = damages.damage_bytes(data, rng)
        self.file.write_bytes(data)

    def attempt(self) -> str:
        bundle = Bundle.open(self.file)
        step(open_session(bundle))
        return "runs"


class SnapshotTarget:
    """A snapshot, restored into a session that has a history of its own."""

    def __init__(self, place: Place) -> None:
        self.place, self.file = place, place.case / "snapshot.npz"

    def prepare(self) -> None:
        self._session = open_session(self.place.bundle)
        step(self._session)
        self._session.snapshot().save(self.file)
        self._whole = self.file.read_bytes()
        step(self._session)

    def damage(self, rng: random.Random) -> None:
        self.file.write_bytes(damages.damage_arrays(self._whole, rng))

    def attempt(self) -> str:
        before = self._session.snapshot()
        try:
            self._session.restore(load_snapshot(self.file))
        except EdgeStreamerError:
            after = self._session.snapshot()
            same = before.stamp == after.stamp and all(
                np.array_equal(before.arrays[name], after.arrays[name], equal_nan=True) for name in before.arrays
            )
            if not same:
                raise Wrong("a refused snapshot changed the session") from None
            raise
        step(self._session)
        self._session.restore(before)
        return "restored"


class GoldenTarget(_BundleTarget):
    """The golden units of a bundle, checked."""

    def damage(self, rng: random.Random) -> None:
        name = self.manifest["golden"]
        self.replace({name: damages.damage_arrays(self.whole[name], rng)})

    def attempt(self) -> str:
        verdict = check(Bundle.open(self.folder))
        return "passes" if verdict.passed else "fails"


class RecordingTarget:
    """A recorded conversation of three units, replayed."""

    def __init__(self, place: Place) -> None:
        self.place, self.folder = place, place.case / "recording"

    def prepare(self) -> None:
        from edge_streamer.devices.files.lossless import LosslessWriter
        from edge_streamer.runtime.loop.journal import Journal

        shutil.rmtree(self.folder, ignore_errors=True)
        session = open_session(self.place.bundle)
        journal = Journal(self.folder, session, Knobs(steps=1), LosslessWriter)
        session.turn(Knobs(steps=1))
        for index in range(3):
            made = made_unit(session.media, 5, index)
            unit = Unit(made.samples, made.frames, "hello" if index == 1 else "")
            journal.unit(unit, 1, session.step(unit))
            session.settle()
            journal.settled()
        journal.close()
        self._whole = {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def damage(self, rng: random.Random) -> None:
        for name, data in self._whole.items():
            (self.folder / name).write_bytes(data)
        name = rng.choice(list(self._whole))
        data = self._whole[name]
        if name.endswith(".npz"):
            data = damages.damage_arrays(data, rng)
        elif name.endswith(".json"):
            data = damages.damage_json(data, rng)
        elif name.endswith(".jsonl") and rng.random() < 0.8:
            lines = data.splitlines(keepends=True)
            place = rng.randrange(len(lines))
            lines[place] = damages.damage_json(lines[place], rng).replace(b"\n", b" ") + b"\n"
            data = b"".join(lines)
        else:
            data = damages.damage_bytes(data, rng)
        (self.folder / name).write_bytes(data)

    def attempt(self) -> str:
        from edge_streamer.runtime.commands import replay

        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            status = replay.main(Namespace(recording=self.folder, bundle=None, out=None, json=True, engine="auto"))
        return "the same" if status == 0 else "differs"


class MediaTarget:
    """Sound, film, picture, caption and text files, read as the loop reads them."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def prepare(self) -> None:
        from tests.fuzz.media import write_all

        self._whole = write_all(self.place.home)
        for path in self.place.home.iterdir():
            path.unlink()
        self._file = self.place.case / "none"

    def damage(self, rng: random.Random) -> None:
        self._file.unlink(missing_ok=True)
        name = rng.choice(list(self._whole))
        self._file = self.place.case / name
        self._file.write_bytes(damages.damage_bytes(self._whole[name], rng))

    def attempt(self) -> str:
        from tests.fuzz.media import read

        return read(self._file)


TARGETS: dict[str, Any] = {
    "manifest": ManifestTarget,
    "archive": ArchiveTarget,
    "graph": GraphTarget,
    "snapshot": SnapshotTarget,
    "golden": GoldenTarget,
    "recording": RecordingTarget,
    "media": MediaTarget,
}


def strangers(place: Place) -> Iterator[str]:
    """What stands in the worker's folders and should not."""
    if sorted(path.name for path in place.outside.iterdir()) != ["secret.bin"]:
        yield f"outside: {sorted(path.name for path in place.outside.iterdir())}"
    elif (place.outside / "secret.bin").read_bytes() != SECRET:
        yield "outside/secret.bin was changed"
    yield from (str(path) for path in place.root.iterdir() if path.name not in ("case", "home", "outside"))
    yield from (str(path) for path in place.home.iterdir() if path.name != "edge-streamer")
