"""Manifests made to harm: refused in one line, soon, without waiting and without taking memory."""

from __future__ import annotations

import json
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_streamer.runtime.bundle import memory
from edge_streamer.runtime.bundle.listed import MANIFEST_BYTES
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.files import DEEPEST
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.state.store import StateStore
from tests.bundles import refuses, rewrite

Change = Callable[[dict[str, Any]], object]


def replaced(counter: Path, old: str, new: bytes) -> None:
    path = counter / "manifest.json"
    text = json.dumps(json.loads(path.read_text())).encode()
    assert old.encode() in text
    path.write_bytes(text.replace(old.encode(), new, 1))


TEXTS: dict[str, tuple[str, bytes, str]] = {
    "5,000 levels": ('"counter"', b"[" * 5000 + b"]" * 5000, "is not a JSON object (maximum recursion depth"),
    "5,000 levels in constants": ('"z"', b"[" * 5000 + b"]" * 5000, "maximum recursion depth"),
    "no UTF-8 in a value": ('"counter"', b'"\xff"', "can't decode byte 0xff"),
    "no UTF-8 in a key": ('"name"', b'"n\xffame"', "can't decode byte 0xff"),
    "half a character": ('"counter"', b'"\\ud800"', "is not a JSON object"),
    "format of 400 digits": ('"format": 1', b'"format": ' + b"1" * 400, "upgrade edge-streamer on this device"),
    "format of 5,000 digits": ('"format": 1', b'"format": ' + b"1" * 5000, "Integer value out of range"),
    "format of a long list": ('"format": 1', b'"format": [' + b"1," * 5000 + b"1]", "wanted the integer 1"),
    "size of 400 digits": ('"shape": [1, 4]', b'"shape": [1, ' + b"4" * 400 + b"]", "Expected `int` <= 2147483647"),
    "cost of 400 digits": ('"static": 4', b'"static": ' + b"4" * 400, "Expected `int` <= 9007199254740992"),
    "cost below nought": ('"static": 4', b'"static": -4', "Expected `int` >= 0"),
    "start beyond floats": ('"start": 0.0', b'"start": 1e999', "Number out of range"),
    "start beyond its dtype": ('"start": 0.0', b'"start": 1e39', "starts at 1e+39; wanted a number of float32"),
    "start that is no number": ('"start": 0.0', b'"start": NaN', "is not a JSON object"),
    "infinite start": ('"start": 0.0', b'"start": -Infinity', "is not a JSON object"),
    "control characters": ('"counter"', b'"\\u001b[2J"', "has a control character"),
    "line break": ('"counter"', b'"one\\ntwo"', "has a control character"),
    "raw C1 control": ('"counter"', b'"\xc2\x9b2J"', "has a control character"),
    "text from right to left": ('"counter"', b'"\\u202ecod"', "has a control character"),
    "an unknown key of 10,000 letters": ('"name"', b'"' + b"k" * 10_000 + b'": 1, "name"', "unknown field"),
    "a name of 10,000 letters": ('"counter"', b'"' + b"k" * 10_000 + b'"', "length <= 300"),
    "unknown precision": ('"weights": "float32"', b'"weights": "float31"', "Invalid enum value 'float31'"),
    "precision in words": (
        '{"weights": "float32", "activations": "float32", "dynamic": false, "by": "export"}',
        b'"int8 dynamic"',
        "Expected `object`, got `str` - at `$.graphs[0].precision`",
    ),
    "ranges of floats": ('"dynamic": false', b'"dynamic": true', "has dynamic ranges of float32 activations; wanted"),
    "a shape of 70 sizes": ('"shape": [1, 4]', b'"shape": [' + b"1," * 69 + b"1]", "length <= 8"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_text_that_no_writer_of_ours_makes_is_one_short_line(counter: Path, case: str) -> None:
    old, new, says = TEXTS[case]
    replaced(counter, old, new)
    text = refuses(counter, says)
    assert len(text) < 1000
    assert text.isprintable()


@pytest.mark.parametrize("text", ["back\\slash n\\n", "…†", "ß", "\N{LEFT-POINTING ANGLE BRACKET}"])
def test_letters_of_the_world_are_no_control_characters(counter: Path, text: str) -> None:
    for ascii_only in (True, False):
        path = counter / "manifest.json"
        content = json.loads(path.read_text())
        content["provenance"]["weights"] = text
        path.write_text(json.dumps(content, ensure_ascii=ascii_only), "utf-8")
        assert Bundle.open(counter).manifest.provenance.weights == text


def many_files(m: dict[str, Any]) -> None:
    m["files"] = [m["files"][0]] * 200_000


def many_graphs(m: dict[str, Any]) -> None:
    m["graphs"] = [m["graphs"][0] | {"name": f"g{i}"} for i in range(15_000)]


def many_carries(m: dict[str, Any]) -> None:
    first, carry = m["graphs"][0], m["states"][0]
    paths = [f"s{i}" for i in range(12_000)]
    m["states"] = [carry | {"path": path} for path in paths]
    first["inputs"] = [first["inputs"][1] | {"name": f"state.{path}"} for path in paths]
    first["outputs"] = [first["outputs"][1] | {"name": f"state_next.{path}"} for path in paths]


def most_carries(m: dict[str, Any]) -> None:
    """As many as may be, in as many graphs: every rule is asked of all of them."""
    graph, carry = m["graphs"][0], m["states"][0]
    m["graphs"], m["states"] = [], []
    for g in range(256):
        own = [f"s{g}.{i}" for i in range(16)]
        m["states"] += [carry | {"path": path, "graph": f"g{g}"} for path in own]
        m["graphs"].append(graph | {
            "name": f"g{g}", "inputs": [graph["inputs"][1] | {"name": f"state.{path}"} for path in own],
            "outputs": [graph["outputs"][1] | {"name": f"state_next.{path}"} for path in own],
        })  # fmt: skip
    m["states"][-1]["shape"] = [1, 5]


def many_keys(m: dict[str, Any]) -> None:
    m["constants"] = {str(i): i for i in range(500_000)}


def most_files(m: dict[str, Any]) -> None:
    m["files"] = [m["files"][0] | {"path": "/".join([*"abcdefghijklmno", str(i)])} for i in range(4096)]


@pytest.mark.parametrize("change", [many_files, many_graphs, many_carries, most_carries, most_files, many_keys])
def test_a_large_manifest_is_refused_soon(counter: Path, change: Change) -> None:
    rewrite(counter, change)
    assert (counter / "manifest.json").stat().st_size < 5 * MANIFEST_BYTES
    before = time.process_time()
    with pytest.raises(BundleError) as caught:
        open_session(counter)
    assert time.process_time() - before < 5.0  # a tenth of that on an idle machine
    assert len(str(caught.value)) < 2000


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("make", "says"),
    [(pipe, "it is not a regular file"), (Path.mkdir, "it is not a regular file"), (endless, "follows a link out of")],
)
def test_a_manifest_that_is_no_file_is_not_waited_for(counter: Path, make: Callable[[Path], None], says: str) -> None:
    (counter / "manifest.json").unlink()
    make(counter / "manifest.json")
    refuses(counter, says)


def test_folders_beyond_counting_are_refused(counter: Path) -> None:
    deep = counter.joinpath(*["d"] * (DEEPEST + 2))
    deep.mkdir(parents=True)
    refuses(counter, f"lies more than {DEEPEST} folders deep")
    (counter / "graphs" / ("n" * 200)).touch()
    shutil.rmtree(counter / "d")
    refuses(counter, "is not listed in manifest.json")


@pytest.mark.parametrize("name", ["n" * 300, "a\0b", "\udcff"])
def test_a_name_that_no_file_can_have_is_no_bundle(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match="there is no bundle at"):
        Bundle.open(tmp_path / name)


def large_state(m: dict[str, Any]) -> None:
    """Both sides of the manifest agree; the graph's file knows nothing of it."""
    first = m["graphs"][0]
    for spec in (first["inputs"][1], first["outputs"][1], m["states"][0]):
        spec["shape"] = [1_000_000, 1_000]


def test_a_state_that_the_graphs_file_does_not_have_takes_no_memory(counter: Path) -> None:
    rewrite(counter, large_state)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleError, match=r"input 'state\.sum': the file has float32 \[1, 4\], the manifest says"):
        open_session(counter)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB; the state alone has 8 GB


def test_a_graph_that_differs_is_named_before_an_engine_sees_it(counter: Path) -> None:
    rewrite(counter, lambda m: m["graphs"][1]["outputs"][0].update(dtype="float16"))
    with pytest.raises(BundleError, match="graph 'second', output 'z': the file has float32"):
        open_session(counter)


def test_states_larger_than_what_is_free_are_refused(counter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = memory.wanted_bytes(Bundle.open(counter).manifest)
    assert wanted == 2 * 16 + 4 * 4 * 16  # the carry twice; x, y as output and as input, z
    monkeypatch.setattr(memory, "free_bytes", lambda: wanted - 1)
    with pytest.raises(BundleError, match="take 288 bytes, this machine has 287 bytes of memory free"):
        open_session(counter)


def test_memory_that_is_not_there_after_all_is_one_line(counter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(StateStore, "__init__", none_left)
    with pytest.raises(BundleError, match="takes more memory than this machine has free"):
        open_session(counter)


def test_free_memory_is_the_least_of_machine_group_and_limit(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    assert memory.free_bytes(proc, groups) is None
    (proc / "meminfo").write_text("MemTotal: 16 kB\nMemAvailable:      900 kB\n")
    assert memory.free_bytes(proc, groups) == 900 * 1024
    (proc / "self/cgroup").write_text("0::/one/two\n")
    (groups / "one/two").mkdir(parents=True)
    for group, limit, used in (("", "max", "5"), ("one", "700000", "500000"), ("one/two", "max", "1")):
        (groups / group / "memory.max").write_text(f"{limit}\n")
        (groups / group / "memory.current").write_text(f"{used}\n")
    (groups / "one/memory.stat").write_text("anon 3\ninactive_file 1000\nactive_file 200\n")
    assert memory.free_bytes(proc, groups) == 700_000 - 500_000 + 1200
    (proc / "self/cgroup").write_text("4:memory:/of/the/host\n2:cpu:/\n")  # within a container: only the root is there
    (groups / "memory").mkdir()
    (groups / "memory/memory.limit_in_bytes").write_text("3000\n")
    (groups / "memory/memory.usage_in_bytes").write_text("4000\n")
    assert memory.free_bytes(proc, groups) == 0


def test_a_bundle_shows_itself_in_a_line(counter: Path) -> None:
    bundle = Bundle.open(counter)
    assert repr(bundle) == f"Bundle('counter', 3 files, {bundle.size} bytes, float32, {counter})"
