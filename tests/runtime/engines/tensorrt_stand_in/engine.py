"""The TensorRT engine over both stand-ins, the driver's and the library's.

Hands on ``StandInTensorRT``; ``arm`` breaks a run, as ``tests/runtime/faults.py`` does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import finalize

from edge_streamer.runtime.engines.tensorrt.cache import Cache
from edge_streamer.runtime.engines.tensorrt.engine import TensorRTEngine
from edge_streamer.runtime.errors import EngineError
from tests.runtime.engines.cuda_stand_in.driver import StandIn
from tests.runtime.engines.tensorrt_stand_in.library import library_of

DEFAULT = "tensorrt-10.3.0"
"""The oldest that boards carry."""


class StandInTensorRT(TensorRTEngine):
    """See above. ``folder``: of its cache; one of its own where none is given."""

    def __init__(
        self, version: str = DEFAULT, driver: StandIn | None = None, folder: Path | None = None, **options: Any
    ):  # fmt: skip
        self.driver = driver or StandIn()
        library, self.trt = library_of(version, self.driver)
        if folder is None:
            own = tempfile.TemporaryDirectory()
            folder = Path(own.name)
            finalize(self, own.cleanup)
        super().__init__(library, Cache(folder), api=self.driver, **options)
        self.trt.after_run = self._break
        self.graph, self.output, self.value, self.runs_left = "", "", 0.0, -1

    def arm(self, graph: str, output: str, value: float, after_runs: int = 0) -> None:
        """The run after ``after_runs`` runs of ``graph`` gets ``value`` in ``output``; output "" raises instead."""
        self.graph, self.output, self.value, self.runs_left = graph, output, value, after_runs

    def _break(self, graph: str, array: Callable[[str], Any]) -> None:
        if graph != self.graph or self.runs_left < 0:
            return
        self.runs_left -= 1
        if self.runs_left < 0:
            if not self.output:
                raise EngineError("the engine broke")
            array(self.output).reshape(-1)[-1] = self.value
