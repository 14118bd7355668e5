"""What graphs on an NVIDIA GPU need beside a library that runs them: memory, one stream, kernels, captured tapes."""
