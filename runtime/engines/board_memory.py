"""Memory that the Linux of each board sees, and what is gone of it before a bundle is there, in bytes.

Nothing here needs a library: names of boards are words of the command line.
"""

_MEBI = 1 << 20
BOARDS = {
    "orin-nano-4gb": 3_400 * _MEBI, "orin-nano-8gb": 7_486 * _MEBI, "orin-nano-8gb-super": 7_486 * _MEBI,
    "orin-nx-8gb": 7_486 * _MEBI, "orin-nx-16gb": 15_656 * _MEBI, "agx-orin-32gb": 30_697 * _MEBI,
    "agx-orin-64gb": 62_817 * _MEBI, "thor-t4000": 62_000 * _MEBI, "thor-t5000": 125_772 * _MEBI,
}  # fmt: skip
"""As tegrastats prints it; of the 4 GB module and the T4000 reckoned."""
LIBRARY = {"cpu": 100_000_000, "cuda": 700_000_000, "tensorrt": 700_000_000}
"""Bytes of an engine's own code, its kernels and the CUDA context, whatever it runs."""
SYSTEM = 1_000_000_000
"""What a board's system takes of its memory without a desktop."""
