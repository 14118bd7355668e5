"""A bundle on disk: opened strictly, written so that it can be opened.

Receives a folder (or one archive of it, see ``pack.py``); hands on a :class:`Bundle` whose manifest is known to agree
with itself and with every byte on disk, its embedding rows and its tokenizer. ``write_bundle`` fills in the list of
files and opens the result with the same reader, so export cannot write what the device cannot read.

Choices: a file that the manifest does not list is refused as firmly as one that is missing: a bundle is a closed
thing. Links are allowed only to files inside the bundle. No pickle is read anywhere.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.consistency import check_consistency
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.external import external_locations
from edge_streamer.runtime.files import Checksums, inside, size_text, write_file
from edge_streamer.runtime.manifest import EmbeddingSpec, FileSpec, Manifest, parse, render

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MANIFEST = "manifest.json"
MANIFEST_BYTES = 16_000_000
"""A manifest larger than this is not one: the largest we make has some hundred kilobytes."""


class EmbeddingRows:
    """The token embedding table, read from the file's pages as they are needed."""

    def __init__(self, path: Path, spec: EmbeddingSpec) -> None:
        shape = (spec.rows, spec.width) if spec.layout == "row" else (spec.width, spec.rows)
        mapped = np.memmap(path, np.dtype(spec.dtype).newbyteorder("<"), "r", spec.offset, shape)
        table: NDArray[Any] = np.asarray(mapped)  # the same pages, without the subclass's cost per row
        self._table = table if spec.layout == "row" else table.T
        self._scales: NDArray[np.float32] | None = None
        if spec.scales_offset is not None:
            self._scales = np.asarray(np.memmap(path, np.dtype("<f4"), "r", spec.scales_offset, (spec.rows,)))
        self.count, self.width = spec.rows, spec.width

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


@dataclass(frozen=True)
class Bundle:
    """A bundle that has been checked."""

    path: Path
    """The folder; for an archive, the folder it was unpacked to."""
    manifest: Manifest
    hash: str
    """SHA-256 of the manifest's text, which holds those of all files: stamps snapshots."""

    @classmethod
    def open(cls, path: str | os.PathLike[str], verify: bool = True) -> Bundle:
        """Open the bundle at ``path``, a folder or an archive made by ``edge-streamer pack``.

        ``verify=False`` leaves out only the checksums. Raises BundleError that names the file or key at fault.
        """
        if not os.path.isfile(path):
            return cls._open_folder(Path(path), verify)
        # Imported here because packing opens bundles.
        from edge_streamer.runtime.pack import unpacked

        folder = unpacked(Path(path))
        try:
            return cls._open_folder(folder, verify)
        except BundleError as error:
            raise BundleError(f"{error} ({path} was unpacked there: remove {folder} to unpack it anew)") from None

    @classmethod
    def _open_folder(cls, folder: Path, verify: bool) -> Bundle:
        if not os.path.isdir(folder):
            raise BundleError(f"there is no bundle at {folder}; wanted a folder with a {MANIFEST} or a .tar of one")
        text = _read_manifest(folder)
        try:
            manifest = parse(text)
            _check_paths(folder, manifest.files)
            check_consistency(manifest)
        except BundleError as error:
            raise BundleError(f"{folder}: {error}") from None
        _check_files(folder, manifest.files)
        if verify:
            _check_sums(folder, manifest.files)
        _check_embedding(manifest)
        _check_external(folder, manifest)
        return cls(folder, manifest, hashlib.sha256(text).hexdigest())

    def file(self, relative: str) -> Path:
        """The path of a listed file. Raises BundleError where ``relative`` is not listed."""
        if all(listed.path != relative for listed in self.manifest.files):
            raise BundleError(f"the bundle {self.path} lists no file {relative!r}")
        return inside(self.path, relative)

    def embedding_rows(self) -> EmbeddingRows:
        """The token embedding table. Raises BundleError where the bundle has none."""
        spec = self.manifest.embedding
        if spec is None:
            raise BundleError(f"the bundle {self.path} has no embedding table; its manifest has embedding null")
        return EmbeddingRows(self.file(spec.file), spec)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises BundleError where there is none, or where it has more words than the table rows."""
        from tokenizers import Tokenizer

        name = self.manifest.tokenizer
        if name is None:
            raise BundleError(f"the bundle {self.path} has no tokenizer; it takes no text")
        try:
            tokenizer = Tokenizer.from_str(self.file(name).read_text("utf-8"))
        except Exception as error:  # the library raises bare Exception
            raise BundleError(f"{self.path / name} is not a tokenizer.json: {error}; export the bundle again") from None
        table = self.manifest.embedding
        if table and tokenizer.get_vocab_size() > table.rows:
            raise BundleError(
                f"{self.path / name} has {tokenizer.get_vocab_size()} words, the embedding table {table.rows} rows; "
                "wanted a row for every word; export the bundle again"
            )
        return tokenizer

    @cached_property
    def size(self) -> int:
        """Bytes of all files but the manifest."""
        return sum(file.size for file in self.manifest.files)


def write_bundle(folder: Path, manifest: Manifest) -> Bundle:
    """Make a folder that already holds its files into a bundle; ``manifest.files`` must be empty.

    Lists and hashes every file, writes ``manifest.json`` and opens the result strictly. Raises BundleError where the
    device could not read it. Meant to run inside :func:`~edge_streamer.runtime.files.new_folder`.
    """
    if manifest.files:
        raise ValueError(f"manifest.files has {len(manifest.files)} entries; wanted none, they are filled in here")
    checksums = Checksums()
    files = tuple(
        FileSpec(path=path, sha256=checksums.sha256(folder / path), size=(folder / path).stat().st_size)
        for path in sorted(_found(folder))
    )
    checksums.save()
    write_file(folder / MANIFEST, render(msgspec.structs.replace(manifest, files=files)))
    return Bundle.open(folder, verify=False)  # the sums were taken from these very files


def _read_manifest(folder: Path) -> bytes:
    try:
        path = inside(folder, MANIFEST)
        if path.stat().st_size > MANIFEST_BYTES:
            raise BundleError(f"{path} is larger than {size_text(MANIFEST_BYTES)}; it is no manifest")
        return path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{folder} is not a bundle: {MANIFEST} cannot be read ({error.strerror}); name a folder that has it, and "
            "that you may read"
        ) from None


def _found(folder: Path) -> Iterator[str]:
    """Relative paths of everything below ``folder`` but folders and the manifest."""
    for at, folders, names in os.walk(folder, onerror=_refuse_unreadable):
        below = Path(at)
        links = [name for name in folders if (below / name).is_symlink()]  # os.walk does not follow them
        for name in (*names, *links):
            relative = (below / name).relative_to(folder).as_posix()
            if relative != MANIFEST:
                yield relative


def _refuse_unreadable(error: OSError) -> None:
    raise BundleError(f"{error.filename} cannot be read ({error.strerror}); change its permissions") from error


def _check_paths(folder: Path, files: Sequence[FileSpec]) -> None:
    for file in files:
        inside(folder, file.path)
        if file.path == MANIFEST:
            raise BundleError(f"manifest.json: files lists {MANIFEST} itself; wanted every file but it")


def _check_files(folder: Path, files: Sequence[FileSpec]) -> None:
    """Every listed file is there, regular and of its size; nothing else is."""
    for file in files:
        path = inside(folder, file.path)
        try:
            status = path.stat()
        except OSError as error:
            raise BundleError(
                f"{path} is missing ({error.strerror}); manifest.json lists it; copy or export the bundle again"
            ) from None
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{path} is not a regular file; manifest.json lists it as one")
        if status.st_size != file.size:
            raise BundleError(
                f"{path} has {status.st_size} bytes; manifest.json says {file.size}; copy or export the bundle again"
            )
    strangers = sorted(set(_found(folder)) - {file.path for file in files})
    if strangers:
        more = len(strangers) - 1
        those = f" and {more} more are not listed in manifest.json; remove them" if more else (
            " is not listed in manifest.json; remove it")  # fmt: skip
        raise BundleError(f"{folder / strangers[0]}{those} from the bundle")


def _check_sums(folder: Path, files: Sequence[FileSpec]) -> None:
    checksums = Checksums()
    for file in files:
        path = inside(folder, file.path)
        try:
            found = checksums.sha256(path)
        except OSError as error:
            raise BundleError(f"{path} cannot be read ({error.strerror}); change its permissions") from None
        if found != file.sha256:
            raise BundleError(
                f"{path} is damaged: its SHA-256 is {found[:16]}..., manifest.json says {file.sha256[:16]}...; "
                "copy or export the bundle again"
            )
    checksums.save()


def _check_external(folder: Path, manifest: Manifest) -> None:
    """A graph reads no file but listed ones, in or below its own folder (newer ONNX Runtimes demand the latter)."""
    listed = {file.path for file in manifest.files}
    for graph in manifest.graphs:
        below = PurePosixPath(graph.file).parent
        for location in sorted(external_locations(inside(folder, graph.file))):
            inside(folder, location)
            if str(below / location) not in listed:
                raise BundleError(
                    f"{folder / graph.file} keeps weights in {location!r}, which manifest.json does not list as "
                    f"{str(below / location)!r}; export the bundle again"
                )


def _check_embedding(manifest: Manifest) -> None:
    spec = manifest.embedding
    if spec is None:
        return
    size = next(file.size for file in manifest.files if file.path == spec.file)
    if (spec.dtype == "int8") != (spec.scales_offset is not None):
        raise BundleError(
            f"manifest.json: embedding is {spec.dtype} with scales_offset {spec.scales_offset}; wanted scales for int8 "
            "and for nothing else"
        )
    parts: list[tuple[str, int, int]] = [
        (spec.dtype, spec.offset, spec.rows * spec.width * np.dtype(spec.dtype).itemsize)
    ]
    if spec.scales_offset is not None:
        parts.append(("scales, float32", spec.scales_offset, 4 * spec.rows))
    for what, offset, count in parts:
        if min(offset, spec.rows - 1, spec.width - 1) < 0 or offset + count > size:
            raise BundleError(
                f"manifest.json: embedding wants {spec.rows} x {spec.width} {what} from byte {offset} of {spec.file}, "
                f"up to byte {offset + count}; the file has {size} bytes"
            )
