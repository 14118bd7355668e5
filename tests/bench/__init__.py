"""Benchmarks, run by hand; ONNX Runtime's telemetry is off in every one of them."""

import edge_streamer as edge_streamer  # first: it turns telemetry off, which ONNX Runtime asks for when it is imported
