"""Words of ``edge-streamer plan`` that its arguments need before any library is loaded."""

from __future__ import annotations

AS_IT_IS = "bundle"
"""The scheme that changes nothing."""
SCHEMES = ("float32", "fp16", "bf16", "int8", "int4", "fp8", "nvfp4")
"""What a plan compares, the most bits first."""
