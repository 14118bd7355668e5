"""A format for every layer: the smallest bundle whose error stays within a bound.

Receives a bundle, what was seen of its layers, and streams; hands on a :class:`Mixture` and, for each group of layers,
what was weighed (:class:`Choice`):

1. Each group of layers alone is put into each of its formats, and the error of what is heard and seen measured against
   the float bundle, on its history. A layer of a small Transformer is a group; of a large one, neighbours of one kind.
2. Errors of different layers hardly know of each other, so their energies add: the choice that takes the fewest bytes
   with the sum within the bound is found by bisection over what a byte may cost in error.
3. All of it together is measured over the whole stream. Where the bound is missed, or room is left, the layers get as
   much less or more, and 2 comes again; between a room that held and one that did not, halfway.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import msgspec

from edge_streamer.quantization import graph
from edge_streamer.quantization.calibrate import Key, Seen
from edge_streamer.quantization.emulate import stand_in
from edge_streamer.quantization.make import copy_files, rewrite, write_tables
from edge_streamer.quantization.schemes import BOARDS, CODECS, Mixture, Plan, Scheme
from edge_streamer.quantization.streams import Stream
from edge_streamer.quantization.vocabulary import ESTIMATOR, SCHEMES, TARGETS, Estimator, Target
from edge_streamer.runtime.bundle.reader import Bundle, write_bundle
from edge_streamer.runtime.claims import scratch
from edge_streamer.runtime.compare.error_over_time import HEARD_AND_SEEN, Drift, drift
from edge_streamer.runtime.engines.contract import GraphFile
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.timing import Tell, untold
from edge_streamer.runtime.unit import Unit

PROBED = 40
"""Units over which a group is measured alone."""
SPANS = 6
"""Groups along the depth of a Transformer."""
ATTEMPTS = 8
"""Mixtures measured as a whole, before the best so far is taken, or the bound given up."""
CAREFUL = 0.97
"""Of the room that a measured error leaves."""
WORTH = 0.005
"""Of the bytes: less is not worth another measurement."""
STEPS = 24
"""Rooms tried; many pick a mixture that was measured before."""
MORE = 1.5
"""Times the room before, at most, where a mixture leaves some."""
MOST = 1000.0
"""Times less room than before, at most, where a mixture is beyond the bound."""
LEAST = 1e-30
"""The room for an output that is beyond the bound with every layer in float."""


Energies = Mapping[str, float]
"""Output -> a share or a multiple of its energy."""


class TooFar(InputError):
    """The error is beyond --max-error."""

    exit_status = 1


@dataclass(frozen=True)
class Option:
    """A group of layers in one format."""

    plans: Mapping[Key, Plan | None]
    words: str
    bytes: int
    error: Mapping[str, float] = field(default_factory=dict)
    """Output -> energy of its error over its own, with this group alone so."""

    def share(self, room: Mapping[str, float]) -> float:
        """Of the room for error, what this takes of the output it hurts most."""
        return max((self.error.get(name, 0.0) / most for name, most in room.items()), default=0.0)


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a group, and why."""

    group: str
    layers: int
    chosen: str
    bytes: int
    weighed: dict[str, float]
    """Format -> the share of the bound that it would take alone."""
    why: str


@dataclass
class Trials:
    """Measures the bundle with some of its layers in other formats, without writing one."""

    source: Bundle
    seen: Mapping[Key, Seen]
    target: Target
    folder: Path
    """Empty, for its own use."""
    estimator: Estimator = ESTIMATOR
    """Of the inputs' ranges, where they are constants."""

    def __post_init__(self) -> None:
        self.reference: Session = open_session(self.source, engine="cpu", verify=False)
        self.floats = self._with_small_table()

    def _with_small_table(self) -> Bundle:
        """The bundle with the token table that every mixture has."""
        copy_files(self.source, self.folder, graphs=True)
        embeddings = write_tables(self.source, "int8", self.folder)
        manifest = msgspec.structs.replace(self.source.manifest, files=(), embeddings=embeddings)
        return write_bundle(self.folder, manifest)

    def mixture(self, plans: Mapping[Key, Plan | None]) -> Mixture:
        """What is measured with these plans, and what is made of them in the end."""
        return Mixture(plans, self.target, self.estimator)

    def run(self, plans: Mapping[Key, Plan | None], units: Iterable[Unit],
            tell: Callable[[int], None] = lambda _: None) -> Drift:  # fmt: skip
        """The error with ``plans``, on the float bundle's history."""
        mixture = self.mixture(plans)
        with scratch() as folder:
            graphs = {}
            for spec in self.source.manifest.graphs:
                if any(name == spec.name and plan is not None for (name, _), plan in plans.items()):
                    model = graph.load(self.source.file(spec.file))
                    rewrite(model, spec.name, mixture, self.seen)
                    graph.save(model, folder, spec.name)
                    described = msgspec.structs.replace(spec, precision=mixture.precision(spec.name))
                    graphs[spec.name] = stand_in(GraphFile(folder / f"{spec.name}.onnx", described), folder)
            tested = open_session(self.floats, graphs=graphs, engine="cpu", verify=False)
            self.reference.reset()
            return drift(tested, self.reference, units, "forced", tell)


def choose(
    source: Bundle, seen: Mapping[Key, Seen], target: Target, probe: Stream, stream: Stream, units: int, bound: float,
    estimator: Estimator = ESTIMATOR, tell: Tell = untold,
) -> tuple[Mixture, list[Choice]]:  # fmt: skip
    """The smallest mixture within ``bound`` dB over ``units`` of ``stream``; layers are weighed on ``probe``.

    TooFar where ATTEMPTS mixtures were all beyond it."""
    with scratch() as folder:
        trials = Trials(source, seen, target, folder, estimator)
        return _choose(trials, probe, stream, units, bound, tell)


def _choose(
    trials: Trials, probe: Stream, stream: Stream, units: int, bound: float, tell: Tell
) -> tuple[Mixture, list[Choice]]:
    least, weighed = _weigh(trials, probe, tell)
    most, groups = 10 ** (bound / 10), list(weighed.values())

    def measured(attempt: int, picked: Sequence[Option]) -> Energies:
        """Output -> how many times its error the bound is."""
        named = f"mixture {attempt}"
        found = trials.run(_plans(picked), islice(stream.units(), units), lambda n: tell(named, n, units))
        return {name: most / max(energy, 1e-30) for name, energy in _energies(found).items()}

    best = least_held(groups, {name: max(most - least[name], LEAST) for name in HEARD_AND_SEEN}, measured)
    if not best:
        raise TooFar(f"no mixture of {ATTEMPTS} holds {bound:g} dB over {units} units; allow more error (--max-error)")
    whole = dict.fromkeys(HEARD_AND_SEEN, most)
    choices = [_told(group, options, p, whole) for (group, options), p in zip(weighed.items(), best, strict=True)]
    return trials.mixture(_plans(best)), choices


def least_held(
    groups: Sequence[Sequence[Option]], room: Mapping[str, float], measured: Callable[[int, Sequence[Option]], Energies]
) -> list[Option]:
    """The mixture of fewest bytes that held when it was ``measured`` (attempt, mixture -> how many times its error the
    bound is, by output), beginning with the one for ``room``; empty where none of ATTEMPTS did."""
    best, known = list[Option](), dict[tuple[int, ...], Energies]()
    held, missed, too_small = dict[str, float](), dict[str, float](), 0
    for _ in range(STEPS):
        picked = smallest(groups, room)
        key = tuple(map(id, picked))
        if key not in known:
            if len(known) == ATTEMPTS:
                break
            known[key] = measured(len(known) + 1, picked)
        left = known[key]
        if min(left.values()) >= 1.0:
            held = dict(room)
            best = picked if not best or _size(picked) < _size(best) else best
            if min(left.values()) * CAREFUL <= 1.0:
                break  # hardly more can hold
        else:
            missed, too_small = dict(room), _size(picked)
        if held and missed:
            if _size(best) - too_small <= WORTH * _size(best):
                break
            room = {name: math.sqrt(held[name] * missed[name]) for name in room}
        else:
            room = {name: room[name] * CAREFUL * min(max(left[name], 1 / MOST), MORE) for name in room}
    return best


def _plans(picked: Sequence[Option]) -> dict[Key, Plan | None]:
    return {key: plan for option in picked for key, plan in option.plans.items()}


def _size(picked: Sequence[Option]) -> int:
    return sum(option.bytes for option in picked)


def _weigh(trials: Trials, probe: Stream, tell: Tell) -> tuple[dict[str, float], dict[str, list[Option]]]:
    """The error that every mixture has, by output, and every group with its options, float first."""
    groups: dict[str, dict[Key, graph.Layer]] = {}
    for spec in trials.source.manifest.graphs:
        model = graph.load(trials.source.file(spec.file))
        found = graph.layers(model)
        depth = 1 + max((graph.number(layer.name) for layer in found), default=-1)
        for layer in found:
            groups.setdefault(group_of(spec.name, layer.name, depth), {})[spec.name, layer.name] = layer
    options = {name: _options(layers, trials.target) for name, layers in groups.items()}
    count, done = sum(len(some) - 1 for some in options.values()), 0
    least = _energies(trials.run({}, islice(probe.units(), PROBED)))
    weighed: dict[str, list[Option]] = {}
    for name, (as_it_is, *others) in options.items():
        weighed[name] = [as_it_is]
        for option in others:
            alone = _energies(trials.run(option.plans, islice(probe.units(), PROBED)))
            error = {output: max(alone[output] - least[output], 0.0) for output in HEARD_AND_SEEN}
            weighed[name].append(Option(option.plans, option.words, option.bytes, error))
            done += 1
            tell("layers weighed", done, count)
    return least, weighed


def _energies(found: Drift) -> dict[str, float]:
    """Of the errors, over the signals'."""
    return {name: 10 ** (found.error_db[name] / 10) for name in HEARD_AND_SEEN}


def _options(layers: Mapping[Key, graph.Layer], target: Target) -> list[Option]:
    """A group as it is, and in what each scheme of the target makes of it. A CPU gains nothing by half precision: it
    computes in float, with casts before and after."""
    floats = Option(dict.fromkeys(layers), "float32", sum(4 * math.prod(layer.shape) for layer in layers.values()))
    found = [floats]
    names = (name for name in SCHEMES if target in BOARDS.get(name, TARGETS) and (name, target) != ("fp16", "cpu"))
    for scheme in (Scheme(name, target, spared=False) for name in names):
        plans = {key: scheme.plan(key[0], layer) for key, layer in layers.items()}
        if any(plans.values()) and all(plans != option.plans for option in found):
            size = sum(_bytes(layer, plans[key]) for key, layer in layers.items())
            words = next(plan.words for plan in plans.values() if plan is not None)
            found.append(Option(plans, words, size))
    return found


def _bytes(layer: graph.Layer, plan: Plan | None) -> int:
    count, outputs = math.prod(layer.shape), layer.shape[graph.OUTPUT_AXIS[layer.operator]]
    return 4 * count if plan is None else plan.format.bytes(count // outputs, outputs)


def group_of(name: str, layer: str, depth: int) -> str:
    """A codec is one group; so is each kind of layer in each of SPANS spans of the Transformer's depth."""
    if name in CODECS:
        return name
    number = graph.number(layer)
    if number < 0 or depth <= SPANS:
        return f"{name}: {layer}"
    span = number * SPANS // depth
    first, last = -(-span * depth // SPANS), -(-(span + 1) * depth // SPANS) - 1
    return f"{name}: {re.sub(rf'layers[.]{number}[.]', f'layers.{first}-{last}.', layer)}"


def smallest(groups: Sequence[Sequence[Option]], room: Mapping[str, float]) -> list[Option]:
    """One option of each group, in as few bytes as were found with the errors of each output summing to no more than
    its ``room``."""

    def fits(picked: Sequence[Option]) -> bool:
        return all(sum(o.error.get(name, 0.0) for o in picked) <= most for name, most in room.items())

    def at(price: float) -> list[Option]:
        """``price``: bytes that all the room is worth."""
        return [min(group, key=lambda option: option.bytes + price * option.share(room)) for group in groups]

    low, high = 0.0, 60.0  # log2 of the price
    if fits(at(2**low)):
        return at(2**low)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(at(2**middle)) else (middle, high)
    picked = at(2**high)
    # What the price leaves over: the largest saving that still fits, until none does.
    while True:
        better = [
            (now.bytes - option.bytes, n, option)
            for n, (now, group) in enumerate(zip(picked, groups, strict=True))
            for option in group
            if option.bytes < now.bytes and fits([*picked[:n], option, *picked[n + 1 :]])
        ]
        if not better:
            return picked
        _, n, option = max(better, key=lambda found: found[0])
        picked[n] = option


def _told(group: str, options: Sequence[Option], picked: Option, whole: Mapping[str, float]) -> Choice:
    weighed = {option.words: option.share(whole) for option in options}
    smaller = [option for option in options if option.bytes < picked.bytes]
    if not smaller:
        why = f"the smallest there is, and takes {_percent(picked.share(whole))} of the bound"
    else:
        least = min(smaller, key=lambda option: option.share(whole))
        saved = picked.bytes - least.bytes
        why = f"{least.words} would take {_percent(least.share(whole))} of the bound to save {saved} bytes"
    size = len(picked.plans)
    return Choice(group=group, layers=size, chosen=picked.words, bytes=picked.bytes, weighed=weighed, why=why)


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.095 else f"{share:.1%}"
