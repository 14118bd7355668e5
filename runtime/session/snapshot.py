"""All state of a session as one value, in memory and as a file.

Receives a store and a program; hands on a :class:`Snapshot`: arrays by path, cursors, the program's own history,
stamped with the bundle's hash and precision. Files are ``.npz`` without pickle, written to a temporary name and
renamed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edge_streamer.runtime.bundle.arrays import Array, ArrayFile, Form, forms, save_arrays
from edge_streamer.runtime.engines.contract import Buffer
from edge_streamer.runtime.errors import MediaError
from edge_streamer.runtime.files import size_text
from edge_streamer.runtime.programs.base import Program
from edge_streamer.runtime.state.store import Ring, StateStore
from edge_streamer.runtime.trust.gate import admission
from edge_streamer.runtime.unit import LAST_UNIT


class Stamp(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a snapshot belongs to."""

    format: int = 1
    bundle: str
    """SHA-256 of the manifest: names graphs, weights and precision at once."""
    name: str
    """The bundle's name, for people."""
    host: dict[str, object]
    """The program's history outside tensors."""
    rings: dict[str, int]
    """Units committed (places, for a pinned ring) of each ring."""


@dataclass(frozen=True)
class Snapshot:
    """A whole state. ``arrays`` hold copies: carries whole, rings up to the last place written, hidden ones 0."""

    stamp: Stamp
    arrays: Mapping[str, Array]

    def __repr__(self) -> str:
        stamp, size = self.stamp, size_text(sum(form.bytes for form in forms(self.arrays).values()))
        return (
            f"Snapshot(of {stamp.name!r} {stamp.bundle[:12]}, next is unit {stamp.host.get('unit')}, {size} of state)"
        )

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        save_arrays(path, self.stamp, self.arrays)


def load_snapshot(path: Path, allow_downgrade: bool = False) -> Snapshot:
    """A snapshot from a file. MediaError where it is missing, damaged or something else; on a device with keys
    TrustError where it is not signed by one of them, before anything of it is read.

    Its arrays stay in the file until a session has compared what they are with what it wants.
    """
    if not os.path.isfile(path):  # Path.is_file raises for names that no file can have
        raise MediaError(f"{path}: no such snapshot file; write one with 'edge-streamer prefix'")
    gate = admission("snapshot", path, allow_downgrade)
    file = ArrayFile(path, Stamp, "a snapshot", gate)
    if file.record.format != 1:
        raise MediaError(f"{path}: snapshot format {file.record.format}; this edge-streamer reads format 1")
    if gate:
        gate.finish(path)
    return Snapshot(file.record, file)


def take(store: StateStore, program: Program, bundle: str, name: str) -> Snapshot:
    """The committed state, copied."""
    read = store.engine.read
    arrays = {f"held/{path}": read(buffer) for path, buffer in program.held().items()}
    for carries in store.carries.values():
        arrays |= {f"carry/{path}": read(buffer) for path, buffer in carries.committed.items()}
    for ring in store.rings.values():
        used = _used(ring, ring.units)
        valid = arrays[f"valid/{ring.name}"] = ring.valid()
        hidden = np.flatnonzero(valid[0, :used] != 0)
        for path in ring.buffers:
            arrays[f"ring/{path}"] = ring.read(path)[:used].copy()
            arrays[f"ring/{path}"][hidden] = 0  # what no unit can see is not part of the state
    rings = {name: ring.units for name, ring in store.rings.items()}
    return Snapshot(Stamp(bundle=bundle, name=name, host=program.host(), rings=rings), arrays)


def put_back(snapshot: Snapshot, store: StateStore, program: Program, bundle: str, name: str) -> None:
    """Make ``snapshot`` the state. MediaError where it is another bundle's or does not fit; then nothing changed.

    Forms are compared before a number is read, all numbers before one is written.
    """
    stamp = snapshot.stamp
    with _naming_file(snapshot.arrays):
        if stamp.bundle != bundle:
            raise MediaError(
                f"the snapshot was taken with bundle {stamp.name!r} ({stamp.bundle[:12]}), this is "
                f"{name!r} ({bundle[:12]}); take it again with this bundle"
            )
        _check_cursors(stamp.rings, store.rings)
        wanted = _wanted(stamp.rings, store, program)
        _check_forms(snapshot.arrays, wanted)
        arrays = {path: _finite(path, snapshot.arrays[path]) for path in wanted}
        ahead = {ring.name: _ahead(ring, stamp.rings[ring.name], arrays) for ring in store.rings.values()}
        try:
            program.set_host(stamp.host)
        except ValueError as error:
            raise MediaError(f"the snapshot's history: {error}; it is damaged") from None
    # From here on nothing fails.
    store.reset()
    for path, buffer in _whole(store, program).items():
        store.engine.write(buffer, arrays[path])
    for ring in store.rings.values():
        for path in ring.buffers:
            ring.fill(path, arrays[f"ring/{path}"])
        ring.units, ring.ahead = stamp.rings[ring.name], ahead[ring.name]
    store.commit()


@contextmanager
def _naming_file(arrays: Mapping[str, Array]) -> Iterator[None]:
    """Put the file's name before what is wrong with the snapshot in it."""
    try:
        yield
    except MediaError as error:
        if not isinstance(arrays, ArrayFile) or str(error).startswith(str(arrays.path)):
            raise
        raise MediaError(f"{arrays.path}: {error}") from None


def _whole(store: StateStore, program: Program) -> dict[str, Buffer]:
    """The buffer of every array that is not a ring's."""
    buffers = {f"held/{path}": buffer for path, buffer in program.held().items()}
    for carries in store.carries.values():
        buffers |= {f"carry/{path}": buffer for path, buffer in carries.committed.items()}
    return buffers


def _wanted(units: dict[str, int], store: StateStore, program: Program) -> dict[str, Form]:
    """What each array is, of rings at these cursors: their places that may differ from zero, places first."""
    wanted = {path: Form(np.dtype(b.dtype), b.shape) for path, b in _whole(store, program).items()}
    for ring in store.rings.values():
        used, axis = _used(ring, units[ring.name]), ring.stack.axis
        for path, buffer in ring.buffers.items():
            shape = (used, *buffer.shape[:axis], *buffer.shape[axis + 1 :])
            wanted[f"ring/{path}"] = Form(np.dtype(buffer.dtype), shape)
        wanted[f"valid/{ring.name}"] = Form(np.dtype(np.float32), (1, ring.capacity))
    return wanted


def _check_cursors(units: dict[str, int], rings: dict[str, Ring]) -> None:
    if units.keys() != rings.keys():
        raise MediaError(f"the snapshot has the rings {sorted(units)}; this bundle has {sorted(rings)}")
    for name, ring in rings.items():
        last = ring.capacity if ring.pinned else LAST_UNIT
        if not 0 <= units[name] <= last:
            raise MediaError(f"the snapshot's ring {name!r} stands at {units[name]}; wanted 0 to {last}")


def _check_forms(arrays: Mapping[str, Array], wanted: dict[str, Form]) -> None:
    left, missing = sorted(arrays.keys() - wanted.keys()), sorted(wanted.keys() - arrays.keys())
    if left or missing:
        raise MediaError(f"the snapshot does not fit: it lacks {missing[:3]}, and nothing here takes {left[:3]}")
    came = forms(arrays)
    for path, form in wanted.items():
        if came[path] != form:
            raise MediaError(f"the snapshot's {path} is {came[path]}; wanted {form}")


def _finite(path: str, array: Array) -> Array:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise MediaError(f"the snapshot's {path} holds a NaN or an infinity; it is damaged")
    return array


def _ahead(ring: Ring, units: int, arrays: Mapping[str, Array]) -> bool:
    """Whether the snapshot's ring was filled ahead: the places that it shows are those it shows in one of the cases."""
    came = arrays[f"valid/{ring.name}"]
    for ahead in (False, True):
        if np.array_equal(came, ring.valid(units, ahead)):
            return ahead
    raise MediaError(
        f"the snapshot's valid/{ring.name} shows places that ring {ring.name!r} has not filled, or hides others"
    )


def _used(ring: Ring, units: int) -> int:
    """Places that may differ from zero after ``units``: the blocks begun so far (the next one may hold an early
    commit)."""
    return units if ring.pinned else min(ring.capacity, (units + 1) * ring.places)
