"""What the graphs of a ``wan_streamer`` bundle must take and give, by its constants.

Receives the layout of the constants and the manifest; hands on nothing, or a BundleError that names the graph and the
tensor, the state, or the token at fault. Everything that the program later uses is compared here, before a buffer is
made: what opens, runs.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_streamer.runtime.bundle.manifest import (
    TEXT,
    CarrySpec,
    Manifest,
    MediaSpec,
    PicturesSpec,
    RingSpec,
    SoundSpec,
    TensorSpec,
)
from edge_streamer.runtime.engines.buffers import ALIGNMENT
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.programs.wan_streamer.layout import Layout

Shape = tuple[int | str, ...]
Side = dict[str, tuple[str, Shape]]
"""Name -> (dtype, shape)."""

_CARRYING = ("encode", "decode", "encode_agent")
"""Graphs with memory of their own: the ends of the two codecs."""
_MEDIA = {
    "sound_in": ("encode", "samples"), "sound_out": ("decode", "samples"), "pictures_in": ("encode", "frames"),
    "pictures_out": ("decode", "frames"), "text_in": ("core", "embeddings"), "text_out": ("slot", "token"),
}  # fmt: skip
"""Part of the media -> (graph, tensor)."""
_MAY_GIVE_MORE = ("decode", "slot")
"""Graphs whose further outputs the program keeps for whoever looks."""


def check_contract(layout: Layout, manifest: Manifest) -> None:
    """Raise BundleError at the first thing in ``manifest`` that is not as its constants say."""
    if manifest.media is None:
        raise BundleError("manifest.json has no media; a wan_streamer bundle needs it")
    if layout.constants.head_size % 2:
        raise BundleError(f"head_size is {layout.constants.head_size}; wanted an even number, half of it is turned")
    if manifest.graph("core").lengths != layout.lengths:
        raise BundleError(f"core has lengths {manifest.graph('core').lengths}; the constants say {layout.lengths}")
    _check_media(manifest.media)
    for name, (inputs, outputs) in _graphs(layout, manifest.media).items():
        if name == "encode_agent" and not layout.constants.prefix_tokens:
            continue  # no step and no prefix runs it
        _check_graph(manifest, name, inputs, outputs)
    _check_rings(layout, manifest)
    _check_tokens(layout, manifest)
    if 4 * layout.constants.width % ALIGNMENT:
        raise BundleError(
            f"width is {layout.constants.width}; wanted a multiple of {ALIGNMENT // 4}: passes begin inside the block, "
            f"at rows whose address is a multiple of {ALIGNMENT} bytes"
        )


def _graphs(layout: Layout, media: MediaSpec) -> dict[str, tuple[Side, Side]]:
    """Graph -> (inputs, outputs), without state."""
    c, half = layout.constants, layout.constants.head_size // 2
    floats: dict[str, Shape] = {
        "width": (layout.agent, c.width), "video": c.video_latent, "audio": c.audio_latent, "one": (1,),
        "rows": ("T", half), "hidden": (1, "T", c.width),
    }  # fmt: skip
    f: Side = {name: ("float32", shape) for name, shape in floats.items()}
    latents: Side = {"latents.video": f["video"], "latents.audio": f["audio"]}
    time: Side = {"t": f["one"], "dt": f["one"]}
    user, agent = _media(media.hears, media.sees), _media(media.says, media.shows)
    core: Side = {"embeddings": f["hidden"], "cos": f["rows"], "sin": f["rows"], "group": ("float32", ("T",))}
    if c.prefix_tokens:
        core |= {"prefix_cos": f["rows"], "prefix_sin": f["rows"]}
    perceived: Side = {
        name: ("float32", (layout.segment(name).count, c.width)) for name in ("user.video", "user.audio")
    }
    slot: Side = {
        "hidden": ("float32", (1, c.width)), "noise": ("float32", (c.candidates,)), "temperature": f["one"],
        "top_k": ("int32", (1,)), "top_p": f["one"],
    }  # fmt: skip
    return {
        "core": (core, {"hidden": f["hidden"]}),
        "encode": (user, perceived),
        "slot": (slot, {"token": ("int32", (1,))}),
        "solve_in": (latents | time, {"embeddings": f["width"]}),
        "solve_out": (
            latents | time | {"hidden": f["width"]},
            {"next.latents.video": f["video"], "next.latents.audio": f["audio"]},
        ),
        "decode": (latents, agent),
        "encode_agent": (agent, latents),
    }


def _media(sound: SoundSpec, pictures: PicturesSpec) -> Side:
    return {
        "samples": ("float32", (sound.unit_samples,)),
        "frames": ("uint8", (pictures.unit_frames, *pictures.size, 3)),
    }


def _check_media(media: MediaSpec) -> None:
    """Every part is there, where it belongs; both ways have one rate."""
    for name, place in _MEDIA.items():
        part = getattr(media, name)
        if part is None:
            raise BundleError(f"manifest.json has no media.{name}; a wan_streamer bundle has {', '.join(_MEDIA)}")
        if (part.graph, part.tensor) != place:
            raise BundleError(
                f"media.{name} is {part.tensor!r} of graph {part.graph!r}; wanted {place[1]!r} of {place[0]!r}"
            )
    for one, other in ((media.hears, media.says), (media.sees, media.shows)):
        rates = [part.sample_rate if isinstance(part, SoundSpec) else part.frame_rate for part in (one, other)]
        if rates[0] != rates[1]:
            raise BundleError(
                f"media has {rates[0]} a second in as {one.tensor} and {rates[1]} out; a conversation has one rate"
            )


def _check_graph(manifest: Manifest, name: str, inputs: Side, outputs: Side) -> None:
    graph = manifest.graph(name)
    _check_side(name, "input", graph.inputs, inputs, ("state.", "valid."))
    more = name in _MAY_GIVE_MORE
    _check_side(name, "output", graph.outputs, outputs, ("state_next.", "append."), more)
    if more and any(isinstance(n, str) for tensor in graph.outputs for n in tensor.shape):
        raise BundleError(f"graph {name!r} has an output of any length; wanted fixed sizes")
    carries = [s.path for s in manifest.states if isinstance(s, CarrySpec) and s.graph == name]
    if bool(carries) != (name in _CARRYING):
        raise BundleError(
            f"graph {name!r} has {len(carries)} carries; wanted {'some' if name in _CARRYING else 'none'}"
        )
    if name != "core":
        for tensor in (*graph.inputs, *graph.outputs):
            path = tensor.name.partition(".")[2]
            if tensor.name.startswith(("state.", "valid.", "append.")) and path not in carries:
                raise BundleError(f"graph {name!r} has {tensor.name!r}; rings belong to core")


def _check_side(
    graph: str, kind: str, tensors: tuple[TensorSpec, ...], wanted: Side, states: tuple[str, ...], more: bool = False
) -> None:
    found: Mapping[str, tuple[str, Shape]] = {
        t.name: (t.dtype, t.shape) for t in tensors if not t.name.startswith(states)
    }
    for name in sorted(wanted.keys() if more else found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            came, said = (
                f"{side[name][0]} {list(side[name][1])}" if name in side else "none" for side in (found, wanted)
            )
            raise BundleError(f"graph {graph!r}, {kind} {name!r} is {came}; constants and media say {said}")


def _check_rings(layout: Layout, manifest: Manifest) -> None:
    c = layout.constants
    places = {name: (layout.places(name), layout.window(name)) for name in ("main", "video")}
    if c.prefix_tokens:
        places["prefix"] = c.prefix_tokens, 0
    rings = [s for s in manifest.states if isinstance(s, RingSpec)]
    if len(rings) != 2 * c.layers * len(places):
        raise BundleError(f"{len(rings)} ring states for {c.layers} layers; wanted {2 * c.layers * len(places)}")
    core = manifest.graph("core")
    appends = [tensor for tensor in core.outputs if tensor.name.startswith("append.")]
    for tensor in appends:
        if tensor.shape != (c.kv_heads, "T", c.head_size):
            raise BundleError(
                f"graph 'core', output {tensor.name!r} has shape {list(tensor.shape)}; the constants say "
                f"{[c.kv_heads, 'T', c.head_size]}"
            )
    for name, (per_unit, window) in places.items():
        own = [ring for ring in rings if ring.ring == name]
        if [ring.append for ring in own] != [tensor.name for tensor in appends]:
            raise BundleError(f"core lists its appends in another order than ring {name!r} its states")
        shape = (c.kv_heads, (window + 1) * per_unit, c.head_size)
        for ring in own:
            if (ring.shape, ring.axis, ring.places_per_unit, ring.window_units) != (shape, 1, per_unit, window):
                raise BundleError(
                    f"state {ring.path!r} has shape {list(ring.shape)}, axis {ring.axis}, {ring.places_per_unit} "
                    f"places per unit and a window of {ring.window_units}; the constants say {list(shape)}, 1, "
                    f"{per_unit} and {window}"
                )
            if ring.reset != "session":
                raise BundleError(f"state {ring.path!r} is emptied every {ring.reset}; wanted every session")
    wanted: Side = {f"state.{ring.path}": (ring.dtype, ring.shape) for ring in rings}
    wanted |= {f"valid.{name}": ("float32", (1, (window + 1) * n)) for name, (n, window) in places.items()}
    states = tuple(tensor for tensor in core.inputs if tensor.name.startswith(("state.", "valid.")))
    _check_side("core", "input", states, wanted, ())


def _check_tokens(layout: Layout, manifest: Manifest) -> None:
    c, table = layout.constants, manifest.embedding(TEXT)
    if table is None or manifest.tokenizer is None:
        raise BundleError(
            f"manifest.json has no embedding table {TEXT!r} or no tokenizer; a wan_streamer bundle needs both"
        )
    if len(manifest.embeddings) > 1:
        names = ", ".join(table.name for table in manifest.embeddings)
        raise BundleError(f"manifest.json has the embedding tables {names}; a wan_streamer bundle has {TEXT} alone")
    if table.width != c.width:
        raise BundleError(f"the embedding table is {table.width} wide; the constants say {c.width}")
    for name in ("token_pad", "token_start", "token_listen", "token_speak"):
        if getattr(c, name) >= table.rows:
            raise BundleError(
                f"{name} is {getattr(c, name)}; wanted a row of the embedding table, which has {table.rows}"
            )
    if c.token_listen == c.token_speak:
        raise BundleError(f"token_listen and token_speak are both {c.token_speak}; wanted two different ones")
    tokens = {"text_in": layout.segment("user.text").count, "text_out": layout.constants.slot_kinds.count("text")}
    for name, count in tokens.items():
        part = getattr(manifest.media, name)
        if part.unit_tokens != count:
            raise BundleError(f"media.{name}.unit_tokens is {part.unit_tokens}; the constants say {count}")
