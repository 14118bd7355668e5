"""A bundle opens only when it agrees with itself and with every byte on disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from edge_streamer.runtime.bundle.embedding import EmbeddingRows
from edge_streamer.runtime.bundle.manifest import FORMAT, EmbeddingSpec, Precision, parse, render
from edge_streamer.runtime.bundle.reader import Bundle, write_bundle
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.files import new_folder
from tests.bundles import refuses, rewrite

Change = Callable[[dict[str, Any]], object]


def test_a_written_bundle_opens(counter: Path, ring: Path) -> None:
    bundle = Bundle.open(counter)
    assert bundle.manifest.program == "chain"
    assert [f.path for f in bundle.manifest.files] == ["graphs/first.onnx", "graphs/second.onnx"]
    assert bundle.file("graphs/first.onnx") == counter / "graphs/first.onnx"
    assert len(bundle.hash) == 64
    assert bundle.size == sum((counter / f.path).stat().st_size for f in bundle.manifest.files)
    assert Bundle.open(str(ring)).hash != bundle.hash


def test_the_manifest_survives_reading_and_writing(counter: Path, ring: Path) -> None:
    for folder in (counter, ring):
        text = (folder / "manifest.json").read_bytes()
        assert render(parse(text)) == text


def test_a_flipped_byte_is_named(counter: Path) -> None:
    path = counter / "graphs/second.onnx"
    content = bytearray(path.read_bytes())
    content[content.index(b"second")] ^= 1  # the name inside: still an ONNX file
    path.write_bytes(content)
    text = refuses(counter, "graphs/second.onnx is damaged: its SHA-256 is ")
    assert text.endswith("copy or export the bundle again")
    assert Bundle.open(counter, verify=False).manifest.name == "counter"


def test_a_flipped_byte_in_any_place_of_the_manifest_changes_the_hash_or_is_refused(counter: Path) -> None:
    path = counter / "manifest.json"
    original, known = path.read_bytes(), Bundle.open(counter).hash
    for at in range(0, len(original), 7):
        path.write_bytes(original[:at] + bytes([original[at] ^ 4]) + original[at + 1 :])
        assert hash_or_error(counter) != known


def hash_or_error(bundle: Path) -> str:
    """The bundle's hash, or the one line of the error that opening it raises."""
    try:
        return Bundle.open(bundle).hash
    except BundleError as error:
        return str(error)


def test_a_missing_graph_is_named(counter: Path) -> None:
    (counter / "graphs/first.onnx").unlink()
    refuses(counter, "graphs/first.onnx is missing (No such file or directory)")


def test_a_truncated_graph_is_named(counter: Path) -> None:
    (counter / "graphs/first.onnx").write_bytes(b"short")
    refuses(counter, "graphs/first.onnx has 5 bytes; manifest.json says ")


@pytest.mark.parametrize("name", ["notes.txt", "graphs/third.onnx", ".hidden"])
def test_a_file_that_is_not_listed_is_refused(counter: Path, name: str) -> None:
    (counter / name).touch()
    refuses(counter, f"{name} is not listed in manifest.json; remove it from the bundle")


def test_a_folder_that_is_a_link_is_refused(counter: Path, tmp_path: Path) -> None:
    (counter / "elsewhere").symlink_to(tmp_path)
    refuses(counter, "elsewhere is not listed")


def test_a_file_that_is_a_link_out_is_refused(counter: Path, tmp_path: Path) -> None:
    shutil.move(counter / "graphs/first.onnx", tmp_path / "first.onnx")
    (counter / "graphs/first.onnx").symlink_to(tmp_path / "first.onnx")
    refuses(counter, "'graphs/first.onnx' follows a link out of")


def test_a_pipe_in_the_place_of_a_file_is_refused(counter: Path) -> None:
    (counter / "graphs/first.onnx").unlink()
    os.mkfifo(counter / "graphs/first.onnx")
    refuses(counter, "graphs/first.onnx is not a regular file")


def test_things_that_are_no_bundle(tmp_path: Path) -> None:
    refuses(tmp_path / "nowhere", "there is no bundle at")
    refuses(tmp_path, "is not a bundle: manifest.json cannot be read (No such file or directory)")
    (tmp_path / "manifest.json").write_text("{")
    refuses(tmp_path, "manifest.json is not a JSON object")
    (tmp_path / "manifest.json").write_text("[]")
    refuses(tmp_path, "manifest.json is not a JSON object")
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe{}")
    refuses(tmp_path, "manifest.json is not a JSON object")
    (tmp_path / "manifest.json").write_text("{}")
    refuses(tmp_path, "manifest.json has format None; wanted the integer 1")


def test_an_unreadable_size_of_manifest_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "manifest.json").open("wb") as file:
        file.truncate(17_000_000)
    refuses(tmp_path, "is larger than 16.0 MB; it is no manifest")


TABLE: dict[str, Any] = dict(
    name="text", file="graphs/first.onnx", offset=0, dtype="float32", rows=1, width=1, layout="row"
)

SOUND: dict[str, Any] = dict(graph="first", tensor="x", sample_rate=16000, unit_samples=4)
PICTURES: dict[str, Any] = dict(graph="first", tensor="x", frame_rate=4, unit_frames=4, size=[8, 8])


def media(unit_seconds: float = 0.00025, **parts: Any) -> Change:
    return lambda m: m.update(media={"unit_seconds": unit_seconds, **parts})


BAD: dict[str, tuple[Change, str]] = {
    "newer format": (lambda m: m.update(format=2), "has format 2, this edge-streamer reads format 1; upgrade"),
    "older format": (lambda m: m.update(format=0), "has format 0, this edge-streamer reads format 1; export"),
    "format in words": (lambda m: m.update(format="1"), "has format '1'; wanted the integer 1"),
    "format yes": (lambda m: m.update(format=True), "has format True; wanted the integer 1"),
    "newer format, all else unknown": (
        lambda m: (m.clear(), m.update(format=FORMAT + 1, weird=[])),
        "upgrade edge-streamer",
    ),
    "unknown key": (lambda m: m.update(colour="red"), "manifest.json: Object contains unknown field `colour`"),
    "unknown key deep down": (
        lambda m: m["graphs"][0]["inputs"][0].update(shpae=[1]),
        "unknown field `shpae` - at `$.graphs[0].inputs[0]`",
    ),
    "missing key": (lambda m: m.pop("program"), "missing required field `program`"),
    "wrong type": (lambda m: m["graphs"][0].update(parameters="many"), "Expected `int`, got `str`"),
    "unknown dtype": (lambda m: m["states"][0].update(dtype="float8"), "Invalid enum value 'float8'"),
    "unknown kind of state": (lambda m: m["states"][0].update(kind="queue"), "Invalid value 'queue'"),
    "path with ..": (
        lambda m: m["files"][0].update(path="../counter/graphs/first.onnx"),
        "path '../counter/graphs/first.onnx' is not allowed in a bundle",
    ),
    "absolute path": (lambda m: m["files"][0].update(path="/etc/passwd"), "path '/etc/passwd' is not allowed"),
    "manifest lists itself": (lambda m: m["files"][0].update(path="manifest.json"), "lists manifest.json itself"),
    "graph file not listed": (
        lambda m: m["graphs"][1].update(file="graphs/third.onnx"),
        "graph second is the file 'graphs/third.onnx', which files does not list",
    ),
    "tokenizer not listed": (lambda m: m.update(tokenizer="t.json"), "tokenizer is the file 't.json', which files"),
    "golden not listed": (lambda m: m.update(golden="g.npz"), "golden is the file 'g.npz', which files"),
    "a key of the draft": (
        lambda m: m.update(prefixes={}, embedding=None),
        "manifest.json has 'embedding' and 'prefixes': it is of a draft of format 1, from before its first release; "
        "export the bundle again",
    ),
    "two tables of one name": (
        lambda m: m.update(embeddings=[TABLE, TABLE | {"offset": 32}]),
        "embeddings has 'text' 2 times; wanted each name once",
    ),
    "table not listed": (
        lambda m: m.update(embeddings=[TABLE | {"file": "t.f32"}]),
        "embedding text is the file 't.f32', which files does not list",
    ),
    "two graphs of one name": (
        lambda m: m["graphs"].append(m["graphs"][0]),
        "graphs has 'first' 2 times; wanted each name once",
    ),
    "a file twice": (lambda m: m["files"].append(m["files"][0]), "files has 'graphs/first.onnx' 2 times"),
    "state shape disagrees with its graph": (
        lambda m: m["states"][0].update(shape=[1, 5]),
        "state sum is float32 [1, 5], but state.sum of graph first is float32 [1, 4]; wanted the same",
    ),
    "state dtype disagrees with its graph": (
        lambda m: m["graphs"][0]["outputs"][1].update(dtype="float16"),
        "state sum is float32 [1, 4], but state_next.sum of graph first is float16 [1, 4]",
    ),
    "state of no graph": (lambda m: m["states"][0].update(graph="third"), "the bundle has no graph 'third'"),
    "state without an input": (
        lambda m: m["graphs"][0]["inputs"].pop(),
        "state sum wants state.sum of graph first, which has none",
    ),
    "state without an output": (
        lambda m: m["graphs"][0]["outputs"].pop(),
        "state sum wants state_next.sum of graph first, which has none",
    ),
    "carry read by two graphs": (
        lambda m: m["graphs"][1]["inputs"].append(m["graphs"][0]["inputs"][1]),
        "graph second has state.sum too; a carry belongs to one graph (first)",
    ),
    "input of no state": (
        lambda m: m["states"].clear(),
        "graph first has state.sum, which no state accounts for; wanted a state that does",
    ),
    "axes do not match": (
        lambda m: m["graphs"][1]["outputs"][0].update(axes=["batch"]),
        "graph second, z has shape [1, 4] and axes batch; wanted one word per axis",
    ),
    "size of nought": (lambda m: m["graphs"][0]["inputs"][0].update(shape=[0, 4]), "x has shape [0, 4]; wanted pos"),
    "size in words": (
        lambda m: m["graphs"][0]["inputs"][0].update(shape=["N", 4]),
        "x has shape [N, 4]; wanted positive sizes or the word 'T'",
    ),
    "T without lengths": (
        lambda m: m["graphs"][0]["inputs"][0].update(shape=["T", 4]),
        "graph first lists lengths [] and has a size 'T'; wanted both or neither",
    ),
    "lengths without T": (
        lambda m: m["graphs"][0].update(lengths=[1, 2]),
        "graph first lists lengths [1, 2] and does not have a size 'T'",
    ),
    "costs of other lengths": (
        lambda m: m["graphs"][0].update(operations={"7": 1}),
        "graph first gives operations for 7; wanted them for static",
    ),
    "sound that does not add up": (
        media(sound_in=SOUND | {"unit_samples": 5}),
        "media.sound_in.unit_samples is 5; wanted 16000 per second x 0.00025 s = 4, a whole number",
    ),
    "sound of another size than its tensor": (
        media(0.0005, sound_in=SOUND | {"unit_samples": 8}),
        "media.sound_in is float32 [8] per unit, but 'x' is float32 [1, 4]; wanted the same",
    ),
    "sound at no rate": (
        media(4.0, sound_in=SOUND | {"sample_rate": 1}),
        "media.sound_in.unit_samples: the rate is 1 per second; wanted 1000 to 384000",
    ),
    "sound in that is an output": (
        media(sound_in=SOUND | {"tensor": "y"}),
        "media.sound_in is input 'y' of graph 'first', which has none of that name",
    ),
    "sound of no graph": (media(sound_out=SOUND | {"graph": "third"}), "the bundle has no graph 'third'"),
    "sound that is pictures": (
        media(1.0, pictures_in=PICTURES),
        "media.pictures_in is uint8 [4, 8, 8, 3] per unit, but 'x' is float32 [1, 4]; wanted the same",
    ),
    "pictures that do not add up": (
        media(1.0, pictures_out=PICTURES | {"tensor": "y", "unit_frames": 3}),
        "media.pictures_out.unit_frames is 3; wanted 4 per second x 1.0 s = 4, a whole number",
    ),
    "blue before red": (media(1.0, pictures_in=PICTURES | {"colour": "BGR"}), "Invalid enum value 'BGR'"),
    "no text": (
        media(text_in=dict(graph="first", tensor="x", unit_tokens=0)),
        "media.text_in.unit_tokens is 0; wanted 1 or more",
    ),
    "a unit without end": (media(1e9), "media.unit_seconds is 1e+09; wanted above 0 to 3600"),
    "a unit of no time": (media(0.0), "media.unit_seconds is 0; wanted above 0 to 3600"),
    "embedding beyond its file": (
        lambda m: m.update(embeddings=[TABLE | {"name": "other"}, TABLE | {"rows": 1000, "width": 8}]),
        "embedding text wants 1000 x 8 float32 from byte 0 of graphs/first.onnx, up to byte 32000; the file has",
    ),
    "embedding before its file": (
        lambda m: m.update(embeddings=[TABLE | {"offset": -4}]),
        "embedding text wants 1 x 1 float32 from byte -4",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_manifest_that_cannot_be_right_is_refused(counter: Path, case: str) -> None:
    change, says = BAD[case]
    rewrite(counter, change)
    refuses(counter, says)


def test_a_model_may_have_some_parts_of_media_alone(counter: Path) -> None:
    rewrite(counter, media(sound_in=SOUND, sound_out=SOUND | {"graph": "second", "tensor": "z"}))
    found = Bundle.open(counter).manifest.media
    assert found is not None
    assert (found.hears.sample_rate, found.says.tensor, found.unit) == (16000, "z", Fraction(1, 4000))
    with pytest.raises(BundleError, match=r"the bundle has no pictures_in: media\.pictures_in of its manifest is null"):
        _ = found.sees


BAD_RINGS: dict[str, tuple[Change, str]] = {
    "capacity": (
        lambda m: m["states"][0].update(window_units=3),
        "state past has 6 places; wanted (3 window units + 1) x 2 places = 8",
    ),
    "no places": (lambda m: m["states"][0].update(places_per_unit=0), "places_per_unit 0 and window_units 2"),
    "axis": (lambda m: m["states"][0].update(axis=2), "state past has axis 2; wanted 0 to 1"),
    "reader": (
        lambda m: m["graphs"][0]["inputs"].pop(1),
        "state past is read by no graph; wanted an input state.past",
    ),
    "reader's shape": (
        lambda m: m["graphs"][0]["inputs"][1].update(shape=[7, 4]),
        "state past is float32 [6, 4], but state.past of graph only is float32 [7, 4]",
    ),
    "writer": (
        lambda m: m["states"][0].update(append="append.future"),
        "state past is written by no graph; wanted an output append.future",
    ),
    "slice's width": (
        lambda m: m["graphs"][0]["outputs"][1].update(shape=[2, 5]),
        "but append.past of graph only is float32 [2, 5]; wanted the same on all axes but 0",
    ),
    "slice's axes": (
        lambda m: m["graphs"][0]["outputs"][1].update(shape=[2, 4, 1], axes=["a", "b", "c"]),
        "wanted the same on all axes but 0",
    ),
    "slice's dtype": (lambda m: m["graphs"][0]["outputs"][1].update(dtype="float16"), "is float16 [2, 4]; wanted"),
    "validity of no ring": (
        lambda m: m["states"][0].update(ring="other"),
        "graph only has valid.main, which no state accounts for; wanted one of valid.other",
    ),
}


@pytest.mark.parametrize("case", BAD_RINGS)
def test_a_ring_that_cannot_be_right_is_refused(ring: Path, case: str) -> None:
    change, says = BAD_RINGS[case]
    rewrite(ring, change)
    refuses(ring, says)


def test_rings_that_share_a_cursor_share_its_arithmetic(ring: Path) -> None:
    def second_ring(manifest: dict[str, Any]) -> None:
        graph, first = manifest["graphs"][0], manifest["states"][0]
        graph["inputs"].append(graph["inputs"][1] | {"name": "state.other", "shape": [4, 4]})
        manifest["states"].append(first | {"path": "other", "window_units": 1, "shape": [4, 4]})

    rewrite(ring, second_ring)
    refuses(ring, "states past and other share the cursor of ring 'main' but differ")


def test_a_graph_may_append_any_number_of_places(ring: Path) -> None:
    def any_length(manifest: dict[str, Any]) -> None:
        graph = manifest["graphs"][0]
        graph.update(lengths=[1, 2], operations={"1": 1, "2": 2}, moved_bytes={"1": 1, "2": 2})
        graph["outputs"][1]["shape"] = ["T", 4]

    rewrite(ring, any_length)
    assert Bundle.open(ring).manifest.graphs[0].lengths == (1, 2)


def test_write_bundle_refuses_what_the_device_could_not_read(counter: Path, tmp_path: Path) -> None:
    manifest = msgspec.structs.replace(Bundle.open(counter).manifest, files=())
    out = tmp_path / "out"
    with pytest.raises(BundleError, match=r"'graphs/second\.onnx', which files does not list"), new_folder(out) as part:
        (part / "graphs").mkdir()
        shutil.copy(counter / "graphs/first.onnx", part / "graphs")
        write_bundle(part, manifest)
    assert not out.exists()
    with pytest.raises(ValueError, match=r"manifest\.files has 2 entries; wanted none"):
        write_bundle(counter, Bundle.open(counter).manifest)


def test_a_bundle_is_written_again_with_what_proves_it(counter: Path) -> None:
    seen: list[Bundle] = []

    def proven(bundle: Bundle) -> str:
        seen.append(bundle)
        (counter / "units.npz").write_bytes(b"answers")
        return "units.npz"

    made = write_bundle(counter, msgspec.structs.replace(Bundle.open(counter).manifest, files=()), then=proven)
    assert ([b.manifest.golden for b in seen], made.manifest.golden) == ([None], "units.npz")
    assert Bundle.open(counter).file("units.npz").read_bytes() == b"answers"


@pytest.mark.parametrize(
    ("weights", "activations", "dynamic", "words"),
    [("float32", "float32", False, "float32"), ("int8", "int8", True, "int8 dynamic"), ("fp16", "fp16", False, "fp16"),
     ("int8", "float32", False, "int8 weights"), ("mixed", "mixed", True, "mixed dynamic"),
     ("int4", "int8", True, "int4 weights, int8 dynamic")],
)  # fmt: skip
def test_a_precision_in_words(weights: Any, activations: Any, dynamic: bool, words: str) -> None:
    assert Precision(weights=weights, activations=activations, dynamic=dynamic).words == words


def test_a_file_that_is_not_listed_is_not_handed_out(counter: Path) -> None:
    bundle = Bundle.open(counter)
    with pytest.raises(BundleError, match=r"lists no file 'manifest\.json'"):
        bundle.file("manifest.json")
    with pytest.raises(BundleError, match="has no embedding table 'text'; it has none"):
        bundle.embedding_rows("text")
    with pytest.raises(BundleError, match="has no tokenizer"):
        bundle.tokenizer()


@pytest.mark.parametrize("layout", ["row", "column"])
@pytest.mark.parametrize("offset", [0, 64])
def test_embedding_rows_are_the_tables_rows_in_both_layouts(tmp_path: Path, layout: Any, offset: int) -> None:
    table = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)
    stored = table if layout == "row" else table.T
    (tmp_path / "table").write_bytes(bytes(offset) + stored.tobytes() + bytes(8))
    spec = EmbeddingSpec(name="text", file="table", offset=offset, dtype="float32", rows=7, width=3, layout=layout)
    rows = EmbeddingRows(tmp_path / "table", spec)
    ids, out = np.array([6, 0, 6, 3], np.int64), np.empty((4, 3), np.float32)
    rows.rows(ids, out)
    np.testing.assert_array_equal(out, table[ids])
    rows.rows((1,), out[:1])
    np.testing.assert_array_equal(out[0], table[1])
    for wrong in (-1, 7):
        with pytest.raises(ValueError, match=f"token {wrong} is outside the embedding table of 7 rows"):
            rows.rows([wrong], out[:1])
    with pytest.raises(ValueError, match=r"out has shape \[4, 3\]; wanted \[1, 3\]"):
        rows.rows([1], out)


@pytest.mark.parametrize("layout", ["row", "column"])
def test_embedding_rows_in_fewer_bits(tmp_path: Path, layout: Any) -> None:
    codes = np.random.default_rng(0).integers(-127, 128, (7, 3), dtype=np.int8)
    scales = np.linspace(0.1, 0.7, 7, dtype=np.float32)
    stored = codes if layout == "row" else codes.T
    (tmp_path / "table").write_bytes(stored.tobytes() + bytes(3) + scales.tobytes())
    spec = EmbeddingSpec(
        name="text", file="table", offset=0, dtype="int8", scales_offset=24, rows=7, width=3, layout=layout
    )
    out = np.empty((2, 3), np.float32)
    EmbeddingRows(tmp_path / "table", spec).rows([6, 0], out)
    np.testing.assert_allclose(out, codes[[6, 0]] * scales[[6, 0], None], rtol=1e-6)
    half = codes.astype("<f2") / 4
    (tmp_path / "table").write_bytes((half if layout == "row" else half.T).tobytes())
    spec = EmbeddingSpec(name="text", file="table", offset=0, dtype="float16", rows=7, width=3, layout=layout)
    EmbeddingRows(tmp_path / "table", spec).rows([6, 0], out)
    np.testing.assert_array_equal(out, codes[[6, 0]] / 4)


@pytest.mark.parametrize(
    ("dtype", "scales", "says"),
    [("int8", None, "is int8 with scales_offset None"), ("float32", 0, "is float32 with scales_offset 0"),
     ("int8", 25, r"2 x 4 scales, float32 from byte 25 of table\.bin, up to byte 33; the file has 32"),
     ("float16", None, "")],
)  # fmt: skip
def test_a_table_whose_scales_are_not_there_is_refused(
    counter: Path, dtype: Any, scales: int | None, says: str
) -> None:
    with_tokenizer(counter, b"{}")
    manifest = Bundle.open(counter).manifest
    table = msgspec.structs.replace(manifest.embeddings[0], dtype=dtype, scales_offset=scales)
    (counter / "manifest.json").unlink()
    changed = msgspec.structs.replace(manifest, files=(), embeddings=(table,))
    if says:
        with pytest.raises(BundleError, match=says):
            write_bundle(counter, changed)
    else:
        assert write_bundle(counter, changed).embedding_rows("text").count == 2


def with_tokenizer(counter: Path, text: bytes) -> Path:
    """The counter bundle with a tokenizer and an embedding table of two rows."""
    manifest = Bundle.open(counter).manifest
    (counter / "tokenizer.json").write_bytes(text)
    (counter / "table.bin").write_bytes(bytes(2 * 4 * 4))
    table = EmbeddingSpec(name="text", file="table.bin", offset=0, dtype="float32", rows=2, width=4, layout="row")
    write_bundle(counter, msgspec.structs.replace(manifest, files=(), tokenizer="tokenizer.json", embeddings=(table,)))
    return counter


def test_the_tokenizer_is_loaded(counter: Path) -> None:
    text = Tokenizer(WordLevel({"yes": 0, "no": 1}, "no")).to_str().encode()
    bundle = Bundle.open(with_tokenizer(counter, text))
    assert bundle.tokenizer().encode("yes").ids == [0]
    assert bundle.embedding_rows("text").count == 2


def test_a_tokenizer_that_cannot_be_used_is_refused(counter: Path) -> None:
    with pytest.raises(BundleError, match=r"tokenizer\.json is not a tokenizer\.json: "):
        Bundle.open(with_tokenizer(counter, b"{}")).tokenizer()


def test_a_tokenizer_with_more_words_than_the_table_has_rows_is_refused(counter: Path) -> None:
    text = Tokenizer(WordLevel({"yes": 0, "no": 1, "perhaps": 2}, "no")).to_str().encode()
    with pytest.raises(BundleError, match="has 3 words, the embedding table 2 rows"):
        Bundle.open(with_tokenizer(counter, text)).tokenizer()
