"""A bundle on disk: opened strictly, written so that it can be opened.

Receives a folder (or one archive of it, see ``archive.py``); hands on a :class:`Bundle` whose manifest is known to
agree with itself and with every byte on disk, its embedding rows and its tokenizer. ``write_bundle`` fills in the list
of files and opens the result with the same reader, so export cannot write what the device cannot read.

Choices: a file that the manifest does not list is refused as firmly as one that is missing: a bundle is a closed
thing. Links are allowed only to files inside the bundle, or to the blobs of the Hugging Face cache that it lies in. No
pickle is read anywhere.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from edge_streamer.runtime.bundle.archive import Admit, unpacked
from edge_streamer.runtime.bundle.checksums import Checksums
from edge_streamer.runtime.bundle.consistency import check_consistency
from edge_streamer.runtime.bundle.embedding import EmbeddingRows, check_embeddings
from edge_streamer.runtime.bundle.external import external_locations
from edge_streamer.runtime.bundle.listed import MANIFEST, check_files, check_paths, check_sums, found, read_manifest
from edge_streamer.runtime.bundle.manifest import TEXT, FileSpec, Manifest, parse, render
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.files import inside, size_text, write_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, repr=False)
class Bundle:
    """A bundle that has been checked."""

    path: Path
    """The folder; for an archive, the folder it was unpacked to."""
    manifest: Manifest
    hash: str
    """SHA-256 of the manifest's text, which holds those of all files: stamps snapshots."""

    def __repr__(self) -> str:
        precisions = ", ".join(sorted({graph.precision.words for graph in self.manifest.graphs}))
        count = len(self.manifest.files) + 1
        return f"Bundle({self.manifest.name!r}, {count} files, {size_text(self.size)}, {precisions}, {self.path})"

    @classmethod
    def open(cls, path: str | os.PathLike[str], verify: bool = True, admit: Admit | None = None) -> Bundle:
        """Open the bundle at ``path``, a folder or an archive made by ``edge-streamer pack``.

        ``verify=False`` leaves out only the checksums. ``admit`` is given the SHA-256 of the manifest before it is
        parsed, and of an archive before anything is unpacked; what it raises comes out. To run a bundle, open it with
        ``trust.opening.open_bundle``, which does this on a device that has keys. Raises BundleError that names the file
        or key at fault.
        """
        if not os.path.isfile(path):  # unlike Path's, it takes every name
            return cls._open_folder(Path(path), verify, admit)
        folder = unpacked(Path(path), cls._open_folder, admit)
        try:
            return cls._open_folder(folder, verify, admit)
        except BundleError as error:
            raise BundleError(f"{error} ({path} was unpacked there: remove {folder} to unpack it anew)") from None

    @classmethod
    def _open_folder(cls, folder: Path, verify: bool = True, admit: Admit | None = None) -> Bundle:
        if not os.path.isdir(folder):
            raise BundleError(f"there is no bundle at {folder}; wanted a folder with a {MANIFEST} or a .tar of one")
        text = read_manifest(folder)
        digest = hashlib.sha256(text).hexdigest()
        if admit is not None:
            admit(digest)
        try:
            manifest = parse(text)
            check_paths(folder, manifest.files)
            check_consistency(manifest)
        except BundleError as error:
            raise BundleError(f"{folder}: {error}") from None
        check_files(folder, manifest.files)
        if verify:
            check_sums(folder, manifest.files)
        check_embeddings(manifest)
        _check_external(folder, manifest)
        return cls(folder, manifest, digest)

    def file(self, relative: str) -> Path:
        """The path of a listed file. Raises BundleError where ``relative`` is not listed."""
        if all(listed.path != relative for listed in self.manifest.files):
            raise BundleError(f"the bundle {self.path} lists no file {relative!r}")
        return inside(self.path, relative)

    def embedding_rows(self, name: str) -> EmbeddingRows:
        """The token embedding table called ``name``. Raises BundleError where the bundle has none."""
        spec = self.manifest.embedding(name)
        if spec is None:
            names = ", ".join(table.name for table in self.manifest.embeddings) or "none"
            raise BundleError(f"the bundle {self.path} has no embedding table {name!r}; it has {names}")
        return EmbeddingRows(self.file(spec.file), spec)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises BundleError where there is none, where it is damaged or made to harm, or where it has
        words without a row of the table."""
        # Imported here because most commands take no text.
        from edge_streamer.runtime.bundle.tokenizer import load_tokenizer

        name, table = self.manifest.tokenizer, self.manifest.embedding(TEXT)
        if name is None:
            raise BundleError(f"the bundle {self.path} has no tokenizer; it takes no text")
        return load_tokenizer(self.file(name), table.rows if table else None)

    @cached_property
    def size(self) -> int:
        """Bytes of all files but the manifest."""
        return sum(file.size for file in self.manifest.files)


def write_bundle(folder: Path, manifest: Manifest, then: Callable[[Bundle], str] | None = None) -> Bundle:
    """Make a folder that already holds its files into a bundle; ``manifest.files`` must be empty.

    Lists and hashes every file, writes ``manifest.json`` and opens the result strictly. ``then`` is given the bundle as
    it stands, to prove it: it writes golden units into the folder and hands back their path within it, and the bundle
    is written again with them. Raises BundleError where the device could not read it. Meant to run inside
    :func:`~edge_streamer.runtime.files.new_folder`.
    """
    made = _write(folder, manifest)
    return made if then is None else _write(folder, msgspec.structs.replace(manifest, golden=then(made)))


def _write(folder: Path, manifest: Manifest) -> Bundle:
    if manifest.files:
        raise ValueError(f"manifest.files has {len(manifest.files)} entries; wanted none, they are filled in here")
    checksums = Checksums()
    files = tuple(
        FileSpec(path=path, sha256=checksums.sha256(folder / path), size=(folder / path).stat().st_size)
        for path in sorted(found(folder))
    )
    checksums.save()
    write_file(folder / MANIFEST, render(msgspec.structs.replace(manifest, files=files)))
    return Bundle.open(folder, verify=False)  # the sums were taken from these very files


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
