"""Makes a bundle's graphs smaller and faster, and measures what that costs.

Weights in 8 or 4 bits, calibrated on real streams through the project's own session; error over hundreds of units with
the state fed back; the command ``edge-streamer quantize``. Imports onnx, onnx-ir, onnxruntime, numpy and
``edge_streamer.runtime``, of ``devices`` the readers of files; never torch or ``export``.
"""
