"""TensorRT: builds an engine of each graph on the device, keeps it, checks what was built, runs it."""
