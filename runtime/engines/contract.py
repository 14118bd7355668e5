"""The engine contract: memory with a side, graphs bound to it once, tapes of runs played many times.

Receives a :class:`GraphFile`; hands on buffers, bound runs, tables and tapes. Which file a graph is opened from is not
the engine's to decide: whoever opens a session may name others (``open_session(..., graphs=...)``).

Who owns what: the *engine* allocates every tensor that a graph reads or writes, because only it knows which memory its
device reads without a copy and how that must be aligned; the *session* keeps every buffer for its whole life and
decides what is written when; a *bound run* only remembers addresses. What the host may see of a buffer is its *side*.

When the host works: before a tape is played, and after. All that it decides for a unit it writes into ``in`` buffers
first; all that it wants to know it reads from ``out`` buffers last. What lies between two runs (a copy, rows that go to
a ring, a token that becomes its embedding row) is an operation of the tape, done by the engine. So an engine with
memory of its own pushes once, waits once and pulls once per unit, and may capture a tape: nothing in it changes but
what the buffers hold.

    host    write "in" ┐                                          ┌ read "out"
    engine             └ push │ run, copy, store, look up, run … │ pull ┘
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.external import external_locations
from edge_streamer.runtime.bundle.manifest import EmbeddingSpec, GraphSpec
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.files import digest
from edge_streamer.runtime.streams import as_text
from edge_streamer.runtime.timing import Tell


@dataclass(frozen=True)
class GraphFile:
    """What an engine opens: a graph's file, and its record. Tensors of ``spec`` are those of the file."""

    path: Path
    spec: GraphSpec
    known: Mapping[Path, str] = field(default_factory=dict, repr=False, compare=False)
    """File -> its SHA-256, where somebody knows it already."""

    @classmethod
    def of(cls, bundle: Bundle, name: str) -> GraphFile:
        """The graph ``name`` as the bundle has it. BundleError where there is none."""
        spec = bundle.manifest.graph(name)
        known = {bundle.path / file.path: file.sha256 for file in bundle.manifest.files}
        return cls(bundle.file(spec.file), spec, known)

    def name_for(self, library: str) -> str:
        """The path as ``library`` takes it. BundleError where it is no text."""
        name = str(self.path)
        if as_text(name) != name:
            raise BundleError(
                f"{library} opens only files whose path is UTF-8 text; rename the folder of {self.path.name}"
            )
        return name

    @cached_property
    def sha256(self) -> str:
        """Of the graph and of the files that its weights lie in, one for all: the same where, and only where, an engine
        would build the same from them. BundleError, OSError where they cannot be read."""
        beside = [self.path.parent / location for location in sorted(external_locations(self.path))]
        sums = [self.known.get(file) or digest(file) for file in (self.path, *beside)]
        return hashlib.sha256("".join(sums).encode()).hexdigest()


Side = Literal["in", "out", "inner"]
"""``in``: the host writes, graphs read. ``out``: graphs write, the host reads. ``inner``: what graphs leave for graphs
(rings, carries, hidden states), which the host need not see."""

Shape = tuple[int, ...]


class Buffer(Protocol):
    """Memory of one engine at one address, aligned as that engine wants it, C-contiguous, zero at first."""

    @property
    def engine(self) -> object:
        """Who made it: only its graphs take it."""

    @property
    def shape(self) -> Shape: ...

    @property
    def dtype(self) -> str: ...

    @property
    def side(self) -> Side: ...

    @property
    def address(self) -> int:
        """As the engine's library takes it; a multiple of the engine's alignment."""

    @property
    def nbytes(self) -> int: ...

    @property
    def host(self) -> Array:
        """What the host writes (``in``) or reads (``out``). EngineError for ``inner`` memory that it does not see."""

    def part(self, start: int, stop: int) -> Buffer:
        """The same memory, rows ``start`` to ``stop`` of axis 0.

        EngineError where there are no such rows, or where they begin at an address that is not aligned.
        """

    def view(self, shape: Shape, dtype: str | None = None) -> Buffer:
        """The same memory under another shape, or another dtype. EngineError where it is not as many bytes."""


class Stack(Protocol):
    """Equal buffers side by side, each aligned: a ring's states, or what a pass appends to them.

    Rows of two stacks that lie alike are moved in one operation.
    """

    @property
    def engine(self) -> object:
        """As :attr:`Buffer.engine`."""

    @property
    def axis(self) -> int:
        """Of each buffer: along which the rows lie that are moved (a ring's places)."""

    @property
    def nbytes(self) -> int:
        """Of all buffers, without what lies between them."""

    @property
    def host(self) -> Array:
        """All of them, [count, *shape], as :attr:`Buffer.host` of one; not contiguous where they are padded."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Buffer: ...


class BoundRun(Protocol):
    """A graph with every input and output tied to a buffer. Only a tape of the same engine runs it."""

    @property
    def graph(self) -> str:
        """The graph's name."""

    @property
    def inputs(self) -> Mapping[str, Buffer]: ...

    @property
    def outputs(self) -> Mapping[str, Buffer]: ...


class OpenGraph(Protocol):
    """A graph that the engine has loaded."""

    spec: GraphSpec

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundRun:
        """Tie every input and output to a buffer of this engine.

        Names, owner, alignment, dtypes and shapes are checked here against the graph itself, once; a length ``T`` must
        be one of ``spec.lengths``. Raises EngineError that says which tensor, what came and what was wanted.
        """


class Table(Protocol):
    """A token embedding table as the engine keeps it."""

    @property
    def engine(self) -> object:
        """Who made it: only its tapes take it."""

    @property
    def rows(self) -> int:
        """Tokens are 0 to one less."""

    @property
    def width(self) -> int: ...


Recorder = Callable[[str, Mapping[str, Array], Mapping[str, Array]], None]
"""Called after a run with its name, its inputs and its outputs (they may be live: copy what you keep)."""


@dataclass(frozen=True)
class Played:
    """What came of one play."""

    seconds: float
    """That the engine took; what it did between the runs is counted where it cannot be told apart."""
    not_finite: str | None = None
    """The first run whose ``finite`` buffers held a NaN or an infinity; what follows it need not have run."""
    runs: Mapping[str, float] = field(default_factory=dict)
    """Seconds by run, of a play that was watched or timed."""
    begins: Mapping[str, float] = field(default_factory=dict)
    """Of such a play, when each run began: seconds from the play's begin, on a device from its first run's."""


class Tape(Protocol):
    """What an engine does between two decisions of the host, in this order. Written once, then only played; buffers are
    checked as they are written down (EngineError)."""

    def run(self, name: str, bound: BoundRun, finite: Sequence[Buffer] = ()) -> None:
        """A graph, under a name that tells its runs apart. ``finite``: outputs that must hold no NaN and no
        infinity; of those, only floats are looked at."""

    def copy(self, target: Buffer, source: Buffer) -> None:
        """``source`` into ``target``, of the same shape and dtype, elsewhere."""

    def store(self, ring: Stack, appended: Stack, rows: slice, first: Buffer, place: int = 0) -> None:
        """Of every buffer of ``appended`` the ``rows`` into the one of ``ring`` with the same number, at its places
        from ``first[0] + place`` on; ``first``: int32 [1]. Both stacks lie along their axis."""

    def look_up(self, table: Table, tokens: Buffer, rows: Buffer) -> None:
        """The embedding rows of ``tokens`` (int32 [n]) into ``rows`` (float32 [n, width]). A token that the table does
        not have gives zeros: whoever chose it looks at it after the play."""

    def play(self, watch: Recorder | None = None, timed: bool = False) -> Played:
        """Do it all, once, and come back when what the host sees of it is done. ``watch`` sees every run when it is
        over: the same numbers, step by step. ``timed`` asks how long each run took, which may cost time. Raises
        EngineError; what was done until then stays done."""


class Engine(Protocol):
    """Something that runs graphs."""

    name: str
    """For reports, with the library's version: ``onnxruntime 1.32.0 cpu``."""
    notes: list[str]
    """What is to be known of how it runs, found out while it ran: a tape that cannot be captured, say."""
    alignment: int
    """Bytes: every address that is bound is a multiple of it."""
    captures: bool
    """Whether the first plays of a tape take longer than later ones: play it before time counts."""

    def buffer(self, shape: Shape, dtype: str, side: Side = "inner") -> Buffer:
        """Zeroed memory that this engine's graphs read and write in place."""

    def stack(self, count: int, shape: Shape, dtype: str, axis: int, side: Side = "inner") -> Stack:
        """``count`` such buffers side by side."""

    def read(self, buffer: Buffer) -> Array:
        """A copy of what is in ``buffer``, of any side, once all that was begun is done. For snapshots and tests."""

    def write(self, buffer: Buffer, values: Array) -> None:
        """Fill ``buffer``, of any side. EngineError where ``values`` have another shape or dtype."""

    def open(self, graph: GraphFile, tell: Tell) -> OpenGraph:
        """Load a graph; an engine that builds may take minutes, and says how far it is by ``tell``, under the graph's
        name. Raises BundleError where the file contradicts its ``spec``."""

    def table(self, path: Path, spec: EmbeddingSpec) -> Table:
        """The embedding table in a file. Raises OSError where it cannot be read."""

    def tape(self, name: str) -> Tape:
        """An empty tape; ``name`` is for whoever waits for it."""

    def memory(self) -> dict[str, int]:
        """Bytes that the engine holds now, by kind: ``weights``, ``scratch``, ``state`` (buffers), ``tables``. What
        it cannot tell is left out."""

    def close(self) -> None:
        """Give back what the engine holds beside graphs and buffers, which end with the sessions that use them. Nothing
        can be opened any more. Closing twice is closing once."""
