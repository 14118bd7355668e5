"""Makes a bundle's graphs smaller and faster, and measures what that costs. Nothing is here yet.

This folder will own the schemes (weight-only INT4 for one-token passes, INT8 weights and activations for passes with
many tokens), calibration on real streams, error over hundreds of units with the state fed back, and the command
``edge-streamer quantize``. It may import onnx, onnx-ir, onnxruntime, numpy and ``edge_streamer.runtime``; never torch,
``devices`` or ``export``. Until it is written, bundles are float32 as exported.
"""
