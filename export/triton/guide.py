"""README.md of a model repository: which models it holds, what each is given, and what Triton cannot hold.

Receives a manifest; hands on the text.
"""

from __future__ import annotations

from edge_streamer.export.triton.config import IDLE_SECONDS, Served, model_name
from edge_streamer.export.triton.states import Held, held_states, sides
from edge_streamer.runtime.bundle.consistency import STATIC
from edge_streamer.runtime.bundle.manifest import GraphSpec, Manifest, TensorSpec
from edge_streamer.runtime.programs.registry import runs

SERVE = f"""
Made by `edge-streamer export --triton`; serve it with `tritonserver --model-repository` and this folder's name.

A sequence is one conversation: its first request has the flag START, its last END, and all have one correlation id, a
number that is not 0 or a word. A sequence that is silent for {IDLE_SECONDS} s is dropped
(`max_sequence_idle_microseconds`).
"""
BOTH = """
There are two ways to use it, and they share nothing: load the models of one (`--model-control-mode explicit`,
`--load-model`), or make only those, with `export --triton BUNDLE --models unit` or `--models graphs`.
"""
UNIT = """
## `{name}`: one request is one unit

A request is {unit} of one conversation, and its answer the model's. The loop between the graphs, their state, noise
and words are inside: this is what to use. It needs edge-streamer, without torch, in the Python of the server's Python
backend (in its container `pip install edge-streamer`; the backend does not read PYTHONPATH), and for a GPU what
`edge-streamer engines` says there.

- Where every output comes back empty, that backend is older than NumPy 2: `pip install 'numpy<2'` there.
- Inputs that are optional may be left out: that is silence, a grey picture, nothing typed.
- The request parameters `steps`, `temperature`, `top_k`, `top_p` and `seed` turn the knobs from that unit on, those of
  START for all of the conversation. Defaults stand in `parameters` of config.pbtxt by the same names; `engine` there is
  `auto`, `cpu`, `cuda` or `tensorrt`.
- A unit that fails is answered with an error, and its conversation stands as before it.
- {sessions} conversations at once (`max_candidate_sequences`); more wait until one ends. An instance answers one unit
  after the other; `count` of `instance_group` adds instances, each a process with weights of its own.
"""
GRAPHS = """
## One model for each graph: the loop is yours

For who runs the loop between the graphs in a client or a model of their own and wants Triton to hold their state.
{order}
Triton keeps state per sequence and model: START goes to each model with its first request of the conversation. What it
cannot do:

- **Share a state between models.** A ring that several graphs read is kept by the one that appends to it, which gives
  it out whole; to the others it is an input. A state that no graph both reads and gives back is an input too.
- **Roll back.** A state moves on with every request that succeeds. Where a unit fails half-way, end its sequences and
  begin new ones.
- **Know places.** `valid.<ring>` comes from you in every request (0 shows a place, -30000 hides it). And because Triton
  takes a state back only whole, so does `take.<ring>`: for each place p of the ring the row that it is taken from, p to
  keep it, capacity + r for row r of what this run makes. Where nothing is committed: 0, 1, 2 ... capacity - 1.

Graphs with a `take` differ from the bundle's by two nodes per state, which move rows and compute nothing; the price is
a copy of the ring in every run. No state has `use_same_buffer_for_input_output`: a ring is read while it is written.
"""


def guide(manifest: Manifest, models: str, served: Served) -> str:
    """Of a repository that holds ``models``: ``unit``, ``graphs`` or ``all``."""
    text = f"# {manifest.name} for Triton\n{SERVE}"
    if models == "all":
        text += BOTH
    if models != "graphs":
        media = manifest.media
        unit = f"a unit ({media.unit_seconds * 1000:g} ms)" if media else "a unit"
        text += UNIT.format(name=model_name(manifest.name), unit=unit, sessions=served.sessions)
    if models != "unit":
        text += _graphs(manifest)
    return text


def _graphs(manifest: Manifest) -> str:
    held, counted = held_states(manifest), runs(manifest)
    order = "In what order, with which positions and noise, and what is committed where: docs/unit.md of Edge Streamer."
    if manifest.program == "chain":
        order = f"In a unit each is run once, in this order: {', '.join(map(str, manifest.constants['order']))}."  # type: ignore[call-overload]
    parts = [_graph(manifest.name, graph, held.get(graph.name, []), counted) for graph in manifest.graphs]
    return GRAPHS.format(order=order) + "".join(parts)


def _graph(bundle: str, graph: GraphSpec, held: list[Held], counted: dict[tuple[str, str], int]) -> str:
    both = sides(graph, held)
    lengths = {length: count for (name, length), count in counted.items() if name == graph.name and count}
    often = [f"{n}" if at == STATIC else f"{n} with T = {at}" for at, n in lengths.items()]
    carries = sum(state.ring is None for state in held)
    kept = f"{carries} carries and {len(held) - carries} states of rings" if held else "nothing"
    lines = [
        f"\n### `{model_name(bundle, graph.name)}`\n",
        f"Runs in a unit: {', '.join(often) or 'none; see docs/unit.md'}. Triton keeps {kept} of it.\n",
    ]
    if graph.lengths:
        lines.append(f"T is one of {', '.join(map(str, graph.lengths))}.\n")
    lines.append("| | tensor | type | shape |\n|---|---|---|---|")
    lines += [_row("in", spec) for spec in both.inputs]
    lines += [_row("out", spec) for spec in both.outputs]
    return "\n".join(lines) + "\n"


def _row(side: str, spec: TensorSpec) -> str:
    return f"| {side} | `{spec.name}` | {spec.dtype} | [{', '.join(map(str, spec.shape))}] |"
