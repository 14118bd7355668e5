"""What memory a bundle's buffers take, and what this machine has left.

Receives a manifest; hands on nothing, or a BundleError where its states and the tensors between its graphs cannot fit.
Asked before anything is allocated: Linux promises memory that it does not have, and ends a process that uses it.
"""

from __future__ import annotations

import resource
from collections.abc import Iterable
from math import prod
from pathlib import Path

import numpy as np

from edge_streamer.runtime.bundle.manifest import CarrySpec, Manifest
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.files import size_text

PASSES = 4
"""Times that a tensor between graphs is counted: a graph is bound at several lengths, each with buffers of its own."""


def check_memory(manifest: Manifest) -> None:
    """Raise BundleError where the buffers that ``manifest`` asks for do not fit what is free."""
    wanted, free = wanted_bytes(manifest), free_bytes()
    if free is not None and wanted > free:
        raise BundleError(
            f"the states and tensors of bundle {manifest.name!r} take {size_text(wanted)}, this machine has "
            f"{size_text(free)} of memory free; end other programs, or export the bundle with a shorter window"
        )


def wanted_bytes(manifest: Manifest) -> int:
    """Bytes of all states, and of the tensors that go in and out of graphs. BundleError for a dtype that this machine's
    NumPy has no numbers of."""
    states = 0
    for state in manifest.states:
        states += (2 if isinstance(state, CarrySpec) else 1) * array_bytes(state.dtype, state.shape)
    return states + tensor_bytes(manifest)


def tensor_bytes(manifest: Manifest) -> int:
    """Bytes of the tensors that go in and out of graphs, states left out."""
    total = 0
    for graph in manifest.graphs:
        longest = max(graph.lengths, default=1)
        for tensor in (*graph.inputs, *graph.outputs):
            if not tensor.name.startswith(("state.", "state_next.")):
                total += PASSES * array_bytes(
                    tensor.dtype, (longest if isinstance(n, str) else n for n in tensor.shape)
                )
    return total


def array_bytes(dtype: str, shape: Iterable[int]) -> int:
    """Of an array. BundleError as :func:`item_bytes`."""
    return item_bytes(dtype) * prod(shape)


def item_bytes(dtype: str) -> int:
    """Of one number. BundleError for a dtype that this machine's NumPy has no numbers of."""
    try:
        return np.dtype(dtype).itemsize
    except TypeError:
        raise BundleError(f"the bundle has tensors of {dtype}, which NumPy has no numbers of") from None


def free_bytes(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Memory that this process may still take: the machine's, its control group's, its own limit. None where nobody
    tells."""
    known = [*_machine(proc), *_groups(proc, groups), *_limit(proc)]
    return max(0, min(known)) if known else None


def _machine(proc: Path) -> list[int]:
    return [1024 * n for n in _numbers(proc / "meminfo", ("MemAvailable:",)).values()]


def _groups(proc: Path, groups: Path) -> list[int]:
    """What the control groups that this process lies in have left, each limit with its own use."""
    found = []
    for line in _read(proc / "self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            root, most, used, files = groups, "memory.max", "memory.current", ("inactive_file", "active_file")
        elif "memory" in controllers.split(","):
            root, most, used = groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            files = ("total_inactive_file", "total_active_file")
        else:
            continue
        here = root / path.strip("/")  # within a container the path may be the host's, and only the root be there
        for group in (here, *(above for above in here.parents if above.is_relative_to(root))):
            limit, now = _read(group / most).strip(), _read(group / used).strip()
            if limit.isdigit() and now.isdigit():
                kept = sum(_numbers(group / "memory.stat", files).values())  # files' pages give way
                found.append(int(limit) - int(now) + kept)
    return found


def _limit(proc: Path) -> list[int]:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    pages = _read(proc / "self/statm").split()
    if limit == resource.RLIM_INFINITY or not pages:
        return []
    return [limit - int(pages[0]) * resource.getpagesize()]


def _numbers(path: Path, keys: tuple[str, ...]) -> dict[str, int]:
    """Key -> number, of lines like ``KEY NUMBER``."""
    lines = (line.split() for line in _read(path).splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[0] in keys and words[1].isdigit()}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
