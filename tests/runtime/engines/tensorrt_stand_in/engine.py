"""The TensorRT engine over both stand-ins: the driver's and the library's. Hands on ``StandInTensorRT``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from weakref import finalize

from edge_streamer.runtime.engines.tensorrt.cache import Cache
from edge_streamer.runtime.engines.tensorrt.engine import TensorRTEngine
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
