"""Token embedding tables: rows of a file, read as they are needed.

Receives the file and its :class:`~edge_streamer.runtime.bundle.manifest.EmbeddingSpec`; hands on
:class:`EmbeddingRows`, or a BundleError where the file cannot hold such a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.bundle.manifest import EmbeddingSpec, Manifest
from edge_streamer.runtime.errors import BundleError


class EmbeddingRows:
    """A token embedding table, read from the file's pages as they are needed."""

    def __init__(self, path: Path, spec: EmbeddingSpec) -> None:
        shape = (spec.rows, spec.width) if spec.layout == "row" else (spec.width, spec.rows)
        mapped = np.memmap(path, np.dtype(spec.dtype).newbyteorder("<"), "r", spec.offset, shape)
        table: NDArray[Any] = np.asarray(mapped)  # the same pages, without the subclass's cost per row
        self._table = table if spec.layout == "row" else table.T
        self._scales: NDArray[np.float32] | None = None
        if spec.scales_offset is not None:
            self._scales = np.asarray(np.memmap(path, np.dtype("<f4"), "r", spec.scales_offset, (spec.rows,)))
        self.count, self.width = spec.rows, spec.width

    def __repr__(self) -> str:
        return f"EmbeddingRows({self.count} tokens x {self.width}, {self._table.dtype})"

    def stored(self) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """The numbers as they lie in the file, seen as [rows, width], and an int8 table's scales [rows]."""
        return self._table, self._scales

    def rows(self, ids: Sequence[int] | NDArray[Any], out: NDArray[np.float32]) -> None:
        """Copy the rows of ``ids`` [n] into ``out`` [n, width]. Raises ValueError for an id outside the table."""
        if out.shape != (len(ids), self.width):
            raise ValueError(f"out has shape {list(out.shape)}; wanted [{len(ids)}, {self.width}]")
        for row, number in zip(out, ids, strict=True):
            if not 0 <= number < self.count:
                raise ValueError(f"token {number} is outside the embedding table of {self.count} rows")
            row[:] = self._table[number]
            if self._scales is not None:
                row *= self._scales[number]


def check_embeddings(manifest: Manifest) -> None:
    """The tables that the manifest speaks of fit their files. Raises BundleError otherwise."""
    sizes = {file.path: file.size for file in manifest.files}
    for spec in manifest.embeddings:
        _check(spec, sizes[spec.file])


def _check(spec: EmbeddingSpec, size: int) -> None:
    if (spec.dtype == "int8") != (spec.scales_offset is not None):
        raise BundleError(
            f"manifest.json: embedding {spec.name} is {spec.dtype} with scales_offset {spec.scales_offset}; wanted "
            "scales for int8 and for nothing else"
        )
    parts: list[tuple[str, int, int]] = [
        (spec.dtype, spec.offset, spec.rows * spec.width * np.dtype(spec.dtype).itemsize)
    ]
    if spec.scales_offset is not None:
        parts.append(("scales, float32", spec.scales_offset, 4 * spec.rows))
    for what, offset, count in parts:
        if min(offset, spec.rows - 1, spec.width - 1) < 0 or offset + count > size:
            raise BundleError(
                f"manifest.json: embedding {spec.name} wants {spec.rows} x {spec.width} {what} from byte {offset} of "
                f"{spec.file}, up to byte {offset + count}; the file has {size} bytes"
            )
