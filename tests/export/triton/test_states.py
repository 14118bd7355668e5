"""Triton's implicit state on a bundle's graphs gives what a session gives, bit for bit: carries, rings, wraps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edge_streamer.export.triton.repository import write_repository
from edge_streamer.runtime.bundle.manifest import MASKED, Manifest, RingSpec
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.compare.golden import made_unit
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.unit import Unit
from tests.bundles import ROOM, room_bundle
from tests.export.triton.server import Arrays, Model

SEQUENCE = 4


def test_a_chain_whose_ring_two_graphs_read(tmp_path: Path) -> None:
    """The graph that appends keeps the ring and gives it out whole; the other is given it, places from the caller."""
    bundle = Bundle.open(room_bundle(tmp_path / "room"))
    write_repository(bundle.path, tmp_path / "out", "graphs")
    reverb, meter = (Model(tmp_path / f"out/room_{name}") for name in ("reverb", "meter"))
    assert not meter.states
    session = open_session(bundle, engine=OrtEngine(threads=1))
    bias, capacity = np.ones((1, 1), np.float32), 4
    valid = np.full((1, capacity), MASKED, np.float32)
    for k in range(2 * capacity + 1):
        samples = np.random.default_rng(k).normal(0, 0.1, ROOM).astype(np.float32)
        take, place = np.arange(capacity, dtype=np.int32), k % capacity
        take[place] = capacity
        heard = reverb.infer(SEQUENCE, k == 0, x=samples, **{"valid.main": valid, "take.main": take})
        valid[0, place] = 0
        told = meter.infer(SEQUENCE, bias=bias, **{
            "valid.main": valid, "state.heard": heard["state_next.heard"], "host.unit": np.array([k], np.int32),
        })  # fmt: skip
        valid[0, (k + 1) % capacity] = MASKED
        response = session.step(Unit(samples=samples, arrays={"bias": bias}))
        assert response.samples is not None
        assert heard["y"].tobytes() == response.samples.tobytes()
        assert told["level"].tobytes() == response.arrays["level"].tobytes()
        assert told["index"].tobytes() == response.arrays["index"].tobytes()


def takes(manifest: Manifest, outputs: Arrays, before: Arrays, after: Arrays) -> Arrays:
    """What a caller says of every ring: where its places come from, seen from what the session made of them. Tokens may
    be equal in one state of a ring, but not in all: the row is the one that fits every state."""
    rings: dict[str, list[RingSpec]] = {}
    for state in manifest.states:
        if isinstance(state, RingSpec):
            rings.setdefault(state.ring, []).append(state)
    said: Arrays = {}
    for ring, states in rings.items():
        old, new = ([np.moveaxis(side[f"state.{s.path}"], s.axis, 0) for s in states] for side in (before, after))
        rows = [np.moveaxis(outputs[s.append], s.axis, 0) for s in states]
        take = np.arange(len(old[0]), dtype=np.int32)
        moved = np.logical_or.reduce([(o != n).reshape(len(o), -1).any(axis=1) for o, n in zip(old, new, strict=True)])
        for place in np.flatnonzero(moved):
            fits = [
                all((r[at] == n[place]).all() for r, n in zip(rows, new, strict=True)) for at in range(len(rows[0]))
            ]
            take[place] = len(take) + fits.index(True)
        said[f"take.{ring}"] = take
    return said


def test_every_pass_of_a_conversation(tmp_path: Path) -> None:
    """Each run of a session on the shipped bundle, asked of the repository's models: equal bits of every output, and
    Triton holds what the session holds."""
    bundle = Bundle.open(bundle_path())
    graphs = bundle.manifest.graphs
    write_repository(bundle.path, tmp_path / "out", "graphs")
    engine = OrtEngine(threads=1)
    models = {
        graph.name: Model(tmp_path / f"out/{bundle.manifest.name}_{graph.name}", engine.options_for(graph))
        for graph in graphs
    }
    session = open_session(bundle, engine=engine)
    runs: list[tuple[str, Arrays, Arrays]] = []

    def watch(_: str, inputs: Any, outputs: Any) -> None:
        (name,) = [graph.name for graph in graphs if {spec.name for spec in graph.inputs} == inputs.keys()]
        runs.append((name, *({n: np.array(a) for n, a in side.items()} for side in (inputs, outputs))))

    with session.recording(watch):
        session.prefill("be kind")
        for k in range(3):
            session.step(made_unit(session.media, 0, k))
    begun: set[str] = set()
    for at, (name, inputs, outputs) in enumerate(runs):
        model = models[name]
        held = {state.input_name for state in model.states}
        given = {tensor: array for tensor, array in inputs.items() if tensor not in held}
        if name == "core":
            after = next((later for other, later, _ in runs[at + 1 :] if other == name), inputs)
            given |= takes(bundle.manifest, outputs, inputs, after)
        answer = model.infer(SEQUENCE, name not in begun, **given)
        begun.add(name)
        assert answer.keys() == outputs.keys() - {s.output_name for s in model.states} - {
            tensor for tensor in outputs if tensor.startswith("append.")
        }
        assert [tensor for tensor in answer if answer[tensor].tobytes() != outputs[tensor].tobytes()] == [], name
        if name == "core":
            now = model.sequences[SEQUENCE]
            assert all(now[tensor].tobytes() == after[tensor].tobytes() for tensor in held)
    assert begun == {"encode", "core", "slot", "solve_in", "solve_out", "decode"}
    assert sum(name == "core" for name, _, _ in runs) > 20
