"""The schemes, targets and estimators that there are, by name, and what holds where nothing is said."""

from __future__ import annotations

from typing import Literal, get_args

SchemeName = Literal["int8", "int4", "fp16", "bf16", "fp8", "nvfp4"]
SCHEMES: tuple[SchemeName, ...] = get_args(SchemeName)
AUTO = "auto"
Target = Literal["cpu", "orin", "thor"]
TARGETS: tuple[Target, ...] = get_args(Target)
Estimator = Literal["largest", "percentile", "error"]
ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)
ESTIMATOR: Estimator = "largest"
USUAL = 500
"""Units measured over where nothing is said."""
CALIBRATION_UNITS = 300
BOUND = -25.0
"""dB, where --max-error says nothing."""
