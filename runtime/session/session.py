"""A session: one conversation with one bundle.

Receives a bundle and an engine; hands on ``step``: a unit in, a response out. The session owns all state and every
buffer; a step commits its state only when the whole unit has succeeded, otherwise the session stands as before.

    session = edge_streamer.open("my-bundle")
    response = session.step(Unit(samples=microphone, frames=camera, text="hello"))
    speaker.play(response.samples); screen.show(response.frames); print(response.text)
    session.close()                                # or: with edge_streamer.open("my-bundle") as session: ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.graph_file import check_graph_files
from edge_streamer.runtime.bundle.manifest import GraphSpec, MediaSpec
from edge_streamer.runtime.bundle.memory import check_memory
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.engines.choose import AUTO, LAST, Choice, choose
from edge_streamer.runtime.engines.contract import Buffer, Engine, GraphFile, OpenGraph
from edge_streamer.runtime.errors import BundleError, DeviceLost, EngineError, InputError, StepError
from edge_streamer.runtime.files import size_text
from edge_streamer.runtime.programs.base import Program, Workplace
from edge_streamer.runtime.programs.passes import Meter, Recorder
from edge_streamer.runtime.programs.registry import PROGRAMS
from edge_streamer.runtime.session.snapshot import Snapshot, put_back, take
from edge_streamer.runtime.state.store import StateStore
from edge_streamer.runtime.timing import Sections, Tell, untold
from edge_streamer.runtime.trust.opening import open_bundle
from edge_streamer.runtime.unit import LAST_UNIT, Knobs, Response, Unit


class Graphs:
    """A bundle's graphs, each opened at its first use; twins share them. ``instead``: those that come from another
    file."""

    def __init__(self, bundle: Bundle, engine: Engine, instead: Mapping[str, GraphFile], tell: Tell):
        self._bundle, self._engine, self._instead, self._tell = bundle, engine, instead, tell
        self._opened: dict[str, OpenGraph] = {}
        for name, graph in instead.items():
            _check_fits(bundle.manifest.graph(name), graph)

    def __call__(self, name: str) -> OpenGraph:
        if name not in self._opened:
            graph = self._instead.get(name) or GraphFile.of(self._bundle, name)
            self._opened[name] = self._engine.open(graph, self._tell)
        return self._opened[name]


def _check_fits(wanted: GraphSpec, graph: GraphFile) -> None:
    """``graph`` can stand where the bundle has ``wanted``: it may have more outputs, and nothing else may differ."""
    came = graph.spec
    lacking = [tensor.name for tensor in wanted.outputs if tensor not in came.outputs]
    if (came.name, came.inputs, came.lengths) != (wanted.name, wanted.inputs, wanted.lengths) or lacking:
        raise BundleError(
            f"{graph.path} cannot stand for graph {wanted.name!r}: its name, its inputs or its lengths are others, or "
            f"it lacks outputs ({', '.join(lacking) or 'none'}); make it from this bundle's graph"
        )


class PrefixRoom(NamedTuple):
    """Of a pinned prefix; a place per token."""

    places: int
    left: int
    """Places that are still free."""
    per_unit: int
    """Places that a unit of picture and sound takes."""


class Session:
    """One conversation. Not for several threads at once; sessions of one bundle do not disturb each other."""

    engine_why = ""
    """Why it is this engine, where it was chosen by name."""

    def __init__(self, bundle: Bundle, engine: Engine, knobs: Knobs, graphs: Graphs):
        if bundle.manifest.program not in PROGRAMS:
            raise BundleError(
                f"the bundle wants program {bundle.manifest.program!r}; this edge-streamer has {', '.join(PROGRAMS)}; "
                "upgrade edge-streamer on this device"
            )
        self.bundle = bundle
        self.engine = engine
        self._graphs = graphs
        self._closed = False
        check_memory(bundle.manifest)
        self._meter = Meter(engine)
        try:
            self._store = StateStore(bundle.manifest.states, engine)
            self.place = Workplace(bundle, engine, graphs, self._store, self._meter, knobs)
            self.program: Program = PROGRAMS[bundle.manifest.program](self.place)
        except MemoryError:
            raise BundleError(
                f"bundle {bundle.manifest.name!r} takes more memory than this machine has free; end other programs, or "
                "export the bundle with a shorter window"
            ) from None

    def close(self) -> None:
        """Let go of the graphs and of every buffer: they are freed with the last twin. The engine is closed too where
        ``open_session`` chose it, and its twins open nothing more. Closing twice is closing once."""
        if not self._closed:
            self._closed = True
            del self.program, self.place, self._store, self._graphs
            if self.engine_why:
                self.engine.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the session is closed; open the bundle again")

    def __repr__(self) -> str:
        if self._closed:
            return f"Session({self.bundle.manifest.name!r} on {self.engine.name}, closed)"
        unit, state = self.program.host()["unit"], size_text(self.state_bytes)
        return f"Session({self.bundle.manifest.name!r} on {self.engine.name}, next is unit {unit}, {state} of state)"

    @property
    def media(self) -> MediaSpec:
        """Rates and sizes of what goes in and comes out. BundleError where the bundle has no media."""
        if self.bundle.manifest.media is None:
            raise BundleError("this bundle has no media contract")
        return self.bundle.manifest.media

    def step(self, unit: Unit, forced: Sequence[int] | None = None) -> Response:
        """One unit through the bundle's program: what it takes of ``unit`` in, what it gives out.

        ``forced`` are the tokens of all slots, instead of those that the model chooses (teacher forcing, replays). What
        comes back lives in the session's own buffers until the next step. Raises StepError where the unit failed and
        was rolled back, ValueError for wrong arrays, DeviceLost where the session is over.
        """
        with self._transaction("step"):
            return self.program.step(unit, forced)

    def settle(self) -> None:
        """Use idle time: commit the last response to the history now instead of with the next unit.

        The same numbers up to float rounding: sums are taken in another order.
        """
        with self._transaction("settle"):
            self.program.settle()

    def prefill(self, *parts: str | Unit) -> int:
        """Fill the pinned prefix before the conversation: text, or units of the agent's own picture and sound.

        Returns the places that are left. InputError where a part does not fit; then that part left no trace.
        """
        self._check_open()
        prefix = self.program.prefix()
        for part in parts:
            with self._transaction("prefill"):
                if isinstance(part, Unit):
                    prefix.unit(part)
                else:
                    prefix.text(part)
        return prefix.left

    def prefix_room(self) -> PrefixRoom:
        """What the pinned prefix holds. InputError where the bundle has none, or where the conversation has begun."""
        self._check_open()
        prefix = self.program.prefix()
        return PrefixRoom(prefix.places, prefix.left, prefix.places_per_unit)

    @contextmanager
    def _transaction(self, name: str) -> Iterator[None]:
        self._check_open()
        self._meter.engine_seconds = 0.0
        with self.sections(name), self._committed():
            yield

    @contextmanager
    def _committed(self) -> Iterator[None]:
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                yield
        except DeviceLost:
            raise  # with all that could be rolled back
        except EngineError as error:
            self._store.rollback()
            raise StepError(f"{error}; the unit was rolled back") from error
        except BaseException:  # also an interrupt from the keyboard: whatever ends the step undoes it
            self._store.rollback()
            raise
        try:
            with self.sections("commit"):
                self._store.commit()
        except DeviceLost:
            raise
        except EngineError as error:
            raise StepError(f"{error}; the session's state is lost: restore a snapshot, or reset it") from error

    # -- all state as one value

    def snapshot(self) -> Snapshot:
        """Everything that later units depend on, copied."""
        self._check_open()
        return take(self._store, self.program, self.bundle.hash, self.bundle.manifest.name)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to ``snapshot``. MediaError where it belongs to another bundle or is damaged; then nothing has
        changed."""
        self._check_open()
        put_back(snapshot, self._store, self.program, self.bundle.hash, self.bundle.manifest.name)

    def states(self) -> dict[str, Buffer]:
        """Every committed state by path, ``carry/``, ``ring/`` or ``held/`` before it: for comparisons and tests, which
        read and write them by the engine."""
        self._check_open()
        return self._store.buffers() | {f"held/{path}": buffer for path, buffer in self.program.held().items()}

    def stand_at(self, units: int) -> None:
        """Let the rings have seen so many units, with what is in them (see ``StateStore.stand_at``)."""
        self._check_open()
        self._store.stand_at(units)

    def reset(self, unit: int = 0) -> None:
        """Forget everything, prefix included, and start at this unit index. ValueError where no unit has it."""
        self._check_open()
        if not 0 <= unit <= LAST_UNIT:
            raise ValueError(f"unit {unit} is outside 0 to {LAST_UNIT}")
        self._store.reset()
        self.program.reset(unit)

    def turn(self, knobs: Knobs) -> None:
        """Take up new knobs from the next unit on. ValueError where the bundle cannot do what they ask."""
        self._check_open()
        self.program.turn(knobs)

    def probe(self) -> dict[str, Array]:
        """Copies of what the last unit computed beside its response, by name (see ``programs/base.py``)."""
        self._check_open()
        return self.program.probe()

    def twin(self, knobs: Knobs | None = None) -> Session:
        """A second, independent conversation that shares the loaded weights."""
        self._check_open()
        return Session(self.bundle, self.engine, knobs or Knobs(), self._graphs)

    @property
    def sections(self) -> Sections:
        """What the time of steps is spent on, for whoever listens; loops tell theirs here too."""
        return self._meter.sections

    @property
    def state_bytes(self) -> int:
        """Memory that the state's buffers take."""
        self._check_open()
        return self._store.nbytes()

    @contextmanager
    def recording(self, recorder: Recorder) -> Iterator[None]:
        """Show every pass's inputs and outputs to ``recorder`` while the block runs."""
        self._meter.recorder = recorder
        try:
            yield
        finally:
            self._meter.recorder = None


def open_session(
    bundle: str | Path | Bundle, *, knobs: Knobs | None = None, engine: Engine | str | None = AUTO,
    graphs: Mapping[str, GraphFile] | None = None, tell: Tell = untold, verify: bool = True,
) -> Session:  # fmt: skip
    """Open a bundle (a folder, an archive of one, or one already open) and make it ready to step.

    ``engine``: one that is there, which the caller closes, or the name of one: ``tensorrt``, ``cuda``, ``cpu``, or
    ``auto`` (also None), the best that is here and takes the bundle; ``engine_why`` says which, and why. ``graphs``:
    those that are opened from another file, by name, which must stay while the session is open; their further outputs
    are shown to recorders. ``tell`` hears how far the opening is, graph by graph. ``verify`` checks every file's
    SHA-256. On a device with keys a path is opened only where one of them signed it (TrustError); a bundle that is open
    already is not asked again. Raises BundleError for a bundle that cannot be used, InputError for knobs that it cannot
    follow and for an engine that is not here.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(Path(bundle), verify=verify)
    check_graph_files(opened)
    engine = AUTO if engine is None else engine
    if not isinstance(engine, str):
        return _opened(opened, Choice(engine, ""), knobs, graphs, tell)
    failed = dict[str, str]()
    while True:
        choice = choose(engine, manifest=opened.manifest, failed=failed)
        try:
            return _opened(opened, choice, knobs, graphs, tell)
        except (EngineError, BundleError) as error:
            choice.engine.close()
            if engine != AUTO or choice.name == LAST:
                raise
            failed[choice.name] = f"cannot open it: {error}"
        except BaseException:
            choice.engine.close()
            raise


def _opened(
    bundle: Bundle, choice: Choice, knobs: Knobs | None, graphs: Mapping[str, GraphFile] | None, tell: Tell
) -> Session:
    engine, why, _ = choice
    try:
        session = Session(bundle, engine, knobs or Knobs(), Graphs(bundle, engine, graphs or {}, tell))
    except ValueError as error:
        raise InputError(str(error)) from error
    session.engine_why = why
    return session
