"""The model cut into graphs: for each, a torch module of named tensors in and named tensors out.

Receives a :class:`~edge_streamer.export.wan_streamer.model.WanStreamer`; hands on a list of :class:`GraphPlan` (what to
export, with an example of every input) and the states of the bundle. Names are the contract of the bundle:
``state.<path>`` in and ``state_next.<path>`` out for carries, ``state.<ring>.<layer>.<k|v>`` in and
``append.<layer>.<k|v>`` out for rings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from edge_streamer.export.wan_streamer.config import UNIT_FRAMES, layout
from edge_streamer.export.wan_streamer.model import Part, WanStreamer
from edge_streamer.export.wan_streamer.transformer import RINGS
from edge_streamer.runtime.bundle.manifest import CarrySpec, DType, RingSpec, StateSpec, TensorSpec
from edge_streamer.runtime.errors import InputError

DTYPES: dict[torch.dtype, DType] = {torch.float32: "float32", torch.uint8: "uint8", torch.int32: "int32"}
EXAMPLE_LENGTH = 6
"""Length of the example that ``core`` is traced with; any number above 1 gives the same graph."""
ROLES = {
    "encode": "what the user said and showed in a unit, as tokens",
    "decode": "the agent's latents of a unit, as sound and pictures",
    "encode_agent": "the agent's own sound and pictures, as latents: fills a prefix",
    "solve_in": "latents at a flow time, as tokens for the Transformer",
    "solve_out": "what the Transformer made of them: the latents one solver step on",
    "slot": "one of the agent's tokens, chosen by a hidden row",
    "core": "the Transformer: T new tokens see the rings and each other; their keys and values are appended",
}
"""Graph -> what it does, in a sentence."""
MOST_CANDIDATES = 3840
"""The largest K of every TensorRT's TopK."""
FULL_SCALE, PIXELS = "full scale -1..1", "0..255, RGB"


@dataclass
class Input:
    """One input: its name, an example, a word per axis; ``long`` marks the axis of symbolic length."""

    name: str
    example: Tensor
    axes: tuple[str, ...]
    long: int | None = None
    unit: str = ""

    def spec(self) -> TensorSpec:
        return spec_of(self.name, self.example, self.axes, self.long, self.unit)


@dataclass
class Output:
    """One output; its shape and type come from running the example."""

    name: str
    axes: tuple[str, ...]
    long: int | None = None
    unit: str = ""


@dataclass
class GraphPlan:
    """One graph to export."""

    name: str
    run: Callable[..., tuple[Tensor, ...]]
    """Takes the inputs in order, gives the outputs in order."""
    inputs: list[Input]
    outputs: list[Output]
    lengths: tuple[int, ...] = ()
    keep: nn.Module | None = None
    """Holds the parameters that ``run`` uses."""
    module: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.module = _Runner(self)

    @property
    def role(self) -> str:
        """What it does, in a sentence."""
        return ROLES.get(self.name, "")

    def output_specs(self) -> list[TensorSpec]:
        """Shapes and types of the outputs, by running the example."""
        with torch.no_grad():
            answers = self.run(*(i.example for i in self.inputs))
        pairs = zip(self.outputs, answers, strict=True)
        return [spec_of(o.name, answer, o.axes, o.long, o.unit) for o, answer in pairs]


class _Runner(nn.Module):
    """A plan as a module, for torch.export."""

    def __init__(self, plan: GraphPlan) -> None:
        super().__init__()
        self.model = plan.keep
        self._run = plan.run

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return self._run(*tensors)


def spec_of(name: str, tensor: Tensor, axes: tuple[str, ...], long: int | None, unit: str) -> TensorSpec:
    """The manifest's record of a tensor. ValueError where the words do not fit the axes."""
    if len(axes) != tensor.ndim:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)} and axes {axes}")
    shape = tuple("T" if i == long else n for i, n in enumerate(tensor.shape))
    return TensorSpec(name=name, dtype=DTYPES[tensor.dtype], shape=shape, axes=axes, unit=unit)


def plan_graphs(model: WanStreamer) -> list[GraphPlan]:
    """All graphs of a wan_streamer bundle, the heaviest last. InputError for more candidates than a board can choose
    among."""
    return [*_media_graphs(model), *_solver_graphs(model), _slot_graph(model), _core_graph(model)]


def plan_states(model: WanStreamer) -> list[StateSpec]:
    """All states: the carries of each graph, then the rings layer by layer."""
    carries: list[StateSpec] = []
    parts: tuple[Part, ...] = ("encode", "decode", "encode_agent")
    for part in parts:
        carries += [
            CarrySpec(path=path, graph=part, dtype="float32", shape=tuple(t.shape), axes=_tail_axes(t))
            for path, t in model.start_state(part).items()
        ]
    return carries + _ring_states(model)


def _ring_states(model: WanStreamer) -> list[StateSpec]:
    lay, c = layout(model.config), model.config.transformer
    sizes = {"main": (lay.places("main"), lay.window("main")), "video": (lay.places("video"), lay.window("video"))}
    if model.config.prefix_tokens:
        sizes["prefix"] = (model.config.prefix_tokens, 0)
    return [
        RingSpec(
            path=f"{ring}.{layer}.{kind}",
            ring=ring,
            append=f"append.{layer}.{kind}",
            dtype="float32",
            shape=(c.kv_heads, places * (window + 1), c.head_size),
            axes=("head", "place", "value"),
            axis=1,
            places_per_unit=places,
            window_units=window,
        )
        for ring, (places, window) in sizes.items()
        for layer in range(c.layers)
        for kind in ("k", "v")
    ]


def _tail_axes(tail: Tensor) -> tuple[str, ...]:
    """Words for a tail's axes, by how many there are."""
    words = {2: ("batch", "sample"), 3: ("batch", "channel", "time"), 4: ("batch", "channel", "row", "column")}
    return words.get(tail.ndim, ("batch", *(f"axis {i}" for i in range(1, tail.ndim))))


def _samples(model: WanStreamer) -> Input:
    return Input("samples", torch.zeros(model.config.unit_samples), ("sample",), unit=FULL_SCALE)


def _frames(size: tuple[int, int]) -> Input:
    example = torch.full((UNIT_FRAMES, *size, 3), 128, dtype=torch.uint8)
    return Input("frames", example, ("frame", "row", "column", "colour"), unit=PIXELS)


def _latents(model: WanStreamer) -> list[Input]:
    shapes = {"video": model.config.video_latent, "audio": model.config.audio_latent}
    return [Input(f"latents.{name}", torch.zeros(shape), ("token", "value")) for name, shape in shapes.items()]


def _times() -> list[Input]:
    return [Input(name, torch.zeros(1), ("one",), unit="flow time 0..1") for name in ("t", "dt")]


def _with_state(
    model: WanStreamer,
    part: Part,
    method: Callable[..., tuple[object, ...]],
    inputs: list[Input],
    outputs: list[Output],
) -> GraphPlan:
    """A graph whose method takes and gives a dictionary of tails as its last argument and result."""
    start = model.start_state(part)
    paths = list(start)

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        state = dict(zip(paths, tensors[len(inputs) :], strict=True))
        *answers, after = method(*tensors[: len(inputs)], state)
        assert isinstance(after, dict)
        return (*answers, *(after[path] for path in paths))

    carried = [Input(f"state.{path}", tail, _tail_axes(tail)) for path, tail in start.items()]
    carried_on = [Output(f"state_next.{path}", _tail_axes(tail)) for path, tail in start.items()]
    return GraphPlan(part, run, inputs + carried, outputs + carried_on, keep=model)


def _media_graphs(model: WanStreamer) -> list[GraphPlan]:
    token, value = ("token", "value"), ("token", "feature")
    pictures = Output("frames", ("frame", "row", "column", "colour"), unit=PIXELS)
    latents = [Output(f"latents.{name}", token) for name in ("video", "audio")]
    heard = [Output("user.video", value), Output("user.audio", value)]
    said = [Output("samples", ("sample",), unit=FULL_SCALE), pictures, Output("level", ("frame",), unit="0..255")]
    user = [_samples(model), _frames(model.config.user_size)]
    agent = [_samples(model), _frames(model.config.agent_size)]
    return [
        _with_state(model, "encode", model.encode, user, heard),
        _with_state(model, "decode", model.decode, _latents(model), said),
        _with_state(model, "encode_agent", model.encode_agent, agent, latents),
    ]


def _solver_graphs(model: WanStreamer) -> list[GraphPlan]:
    lay = layout(model.config)
    hidden = Input("hidden", torch.zeros(lay.agent, lay.constants.width), ("token", "feature"))
    inputs = [*_latents(model), *_times()]
    outputs = [Output(f"next.latents.{name}", ("token", "value")) for name in ("video", "audio")]
    embeddings = Output("embeddings", ("token", "feature"))

    def solve_in(*tensors: Tensor) -> tuple[Tensor, ...]:
        return (model.solve_in(*tensors),)

    return [
        GraphPlan("solve_in", solve_in, inputs, [embeddings], keep=model),
        GraphPlan("solve_out", model.solve_out, [hidden, *inputs], outputs, keep=model),
    ]


def _slot_graph(model: WanStreamer) -> GraphPlan:
    count = model.config.candidates
    if count > MOST_CANDIDATES:
        raise InputError(
            f"a slot has {count} candidates; wanted at most {MOST_CANDIDATES}: TensorRT's TopK gives no more"
        )
    inputs = [
        Input("hidden", torch.zeros(1, model.config.transformer.width), ("token", "feature")),
        Input("noise", torch.zeros(count), ("candidate",)),
        Input("temperature", torch.ones(1), ("one",)),
        Input("top_k", torch.full((1,), count, dtype=torch.int32), ("one",)),
        Input("top_p", torch.ones(1), ("one",)),
    ]
    outputs = [Output("token", ("one",)), Output("scores", ("candidate",)), Output("candidates", ("candidate",))]
    return GraphPlan("slot", model.slot, inputs, outputs, keep=model)


def ring_names(model: WanStreamer) -> tuple[str, ...]:
    """The rings of this model, in the order in which the graph lists them."""
    return tuple(name for name in RINGS if name != "prefix" or model.config.prefix_tokens)


def _core_graph(model: WanStreamer) -> GraphPlan:
    c, lay = model.config.transformer, layout(model.config)
    rings, length = ring_names(model), EXAMPLE_LENGTH
    angles = [
        Input(name, torch.zeros(length, c.head_size // 2), ("token", "pair"), long=0)
        for name in ("cos", "sin", *(("prefix_cos", "prefix_sin") if "prefix" in rings else ()))
    ]
    states = {s.path: s for s in _ring_states(model)}
    capacity = {ring: states[f"{ring}.0.k"].shape[1] for ring in rings}
    embeddings = Input("embeddings", torch.zeros(1, length, c.width), ("batch", "token", "feature"), long=1)
    group = Input("group", torch.zeros(length), ("token",), long=0)
    valid = [Input(f"valid.{ring}", torch.zeros(1, capacity[ring]), ("batch", "place")) for ring in rings]
    paths = [f"{ring}.{layer}.{kind}" for layer in range(c.layers) for ring in rings for kind in ("k", "v")]
    history = [Input(f"state.{path}", torch.zeros(states[path].shape), ("head", "place", "value")) for path in paths]

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        return core_outputs(model, rings, tensors)

    appended = [
        Output(f"append.{layer}.{kind}", ("head", "token", "value"), long=1)
        for layer in range(c.layers)
        for kind in ("k", "v")
    ]
    hidden = Output("hidden", ("batch", "token", "feature"), long=1)
    inputs = [embeddings, *angles, group, *valid, *history]
    return GraphPlan("core", run, inputs, [hidden, *appended], lengths=lay.lengths, keep=model.transformer)


def core_outputs(model: WanStreamer, rings: Sequence[str], tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """``core`` over its inputs in graph order -> hidden, then keys and values layer by layer."""
    rest = iter(tensors)
    embeddings, cos, sin = next(rest), next(rest), next(rest)
    prefix_cos, prefix_sin = (next(rest), next(rest)) if "prefix" in rings else (cos, sin)
    group = next(rest)
    valid = {ring: next(rest) for ring in rings}
    history = [{ring: (next(rest), next(rest)) for ring in rings} for _ in range(model.config.transformer.layers)]
    hidden, new = model.transformer(embeddings, cos, sin, prefix_cos, prefix_sin, group, valid, history)
    return (hidden, *(tensor for pair in new for tensor in pair))
