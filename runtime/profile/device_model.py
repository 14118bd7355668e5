"""How long a bundle's run takes on this machine's GPU, predicted from its measured ceilings.

Receives works, the operators of each graph and :class:`DeviceLimits`; hands on :class:`DeviceModel`. It is the model
that boards are planned with (``predict.py``), with what was measured in the place of a data sheet's figures, and all of
it reached::

    seconds = max(bytes / bandwidth, operations / rate + attention / rate) + kernels * kernel

So it says what a run could take at best, and a graph that takes longer waits for something that is not in it. How many
kernels a graph becomes is reckoned, not measured: TensorRT makes one of a product and what goes beside it, and one more
for what is between; ONNX Runtime one of each operator. Attention is in 16 bits where the graph's other numbers are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from edge_streamer.runtime.engines.cuda.engine import CudaEngine
from edge_streamer.runtime.engines.tensorrt.engine import TensorRTEngine
from edge_streamer.runtime.profile.boards import Board, Numbers
from edge_streamer.runtime.profile.device_limits import DeviceLimits
from edge_streamer.runtime.profile.graphs import PRODUCTS
from edge_streamer.runtime.profile.host import FREE
from edge_streamer.runtime.profile.predict import Binds, Shares, Time, computed_in, run_time
from edge_streamer.runtime.profile.roofline import Measured, Roof
from edge_streamer.runtime.profile.work import Work

KERNELS_PER_PRODUCT = 2
WIDE: tuple[Numbers, ...] = ("float32", "int8", "int4")
"""Numbers of products beside which everything else, attention too, stays float32: as ``quantize`` leaves it."""
HELPING: tuple[Numbers, ...] = ("fp16", "int8", "fp8")
"""Schemes that are predicted, where their rate was measured."""


@dataclass(frozen=True)
class DeviceModel:
    """Of an engine on a GPU."""

    limits: DeviceLimits
    engine: str
    """Its name."""
    fuses: bool
    """Whether operators beside a product become one kernel with it."""
    is_device = True

    @property
    def roof(self) -> Roof:
        """The flat parts of the roofline."""
        rates = {str(name): rate / 1e9 for name, rate in self.limits.rates.items()}
        return Roof(threads=0, rates=rates, bandwidth=self.limits.bandwidth / 1e9, node_us=1e6 * self.limits.kernel,
                    through=self.engine, left_out=self.limits.left_out)  # fmt: skip

    @property
    def schemes(self) -> tuple[str, ...]:
        return tuple(name for name in HELPING if name in self.limits.rates)

    def numbers(self, work: Work) -> str:
        return computed_in(work.numbers)

    def seconds(self, work: Work, measured: Measured) -> float | None:
        found = self._time(work, measured)
        return found.seconds if found else None

    def binds(self, work: Work, measured: Measured) -> Binds | None:
        found = self._time(work, measured)
        return found.binds if found else None

    def _time(self, work: Work, measured: Measured) -> Time | None:
        """None where a rate that it takes was not measured."""
        rates, numbers = self.limits.rates, computed_in(work.numbers)
        beside: Numbers = "float32" if work.numbers in WIDE else "fp16"
        if numbers not in rates or (work.attention and beside not in rates):
            return None
        attention = work.attention * rates[numbers] / rates[beside] if work.attention else 0.0
        kernels = self._kernels(measured.operators[work.name.partition(" at ")[0]])
        run = replace(work, operations=work.operations + attention, attention=0.0, layers=kernels)
        known: dict[Numbers, float] = {"fp16": 1.0, **rates}  # the model looks at it, for no attention too
        # A layer of the model is a kernel here, and a cycle of its clock of 1 GHz a nanosecond.
        board = Board("here", self.engine, "host", "", 0, 1.0, self.limits.bandwidth, known, 0, "measured")
        return run_time(run, board, Shares(1.0, {work.numbers: 1.0}, 1.0, self.limits.kernel * 1e9, 0.0))

    def _kernels(self, operators: Counter[str]) -> int:
        if self.fuses:
            return KERNELS_PER_PRODUCT * sum(operators[one] for one in PRODUCTS) or 1
        return sum(count for name, count in operators.items() if name not in FREE) or 1


def device_model(limits: DeviceLimits, engine: CudaEngine) -> DeviceModel:
    """Of ``engine``."""
    return DeviceModel(limits, f"{engine.name}{', float32 rounded to TF32' if engine.tf32 else ''}",
                       isinstance(engine, TensorRTEngine))  # fmt: skip
