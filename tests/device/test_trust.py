"""Keys without the library that reads them: a device with none asks for nothing, one with some refuses everything."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.trust import keyring
from edge_streamer.runtime.trust.opening import open_bundle
from edge_streamer.runtime.trust.statement import render

NEEDS = "needs cryptography, which is not installed; run: pip install 'edge-streamer[trust]'"


@pytest.fixture(autouse=True)
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A device without the library; its folder of keys, which is not there yet."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.delitem(sys.modules, "edge_streamer.runtime.trust.ed25519", raising=False)
    monkeypatch.delattr("edge_streamer.runtime.trust.ed25519", raising=False)
    monkeypatch.setattr(keyring, "SYSTEM", tmp_path / "keys.d")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "keys.d"


def copied(folder: Path) -> Path:
    """A bundle that is not the one that ships, by a letter of its manifest."""
    made = Path(shutil.copytree(bundle_path(), folder / "other"))
    text = (made / "manifest.json").read_text("utf-8")
    (made / "manifest.json").write_text(text.replace('"wan-streamer-demo"', '"another"', 1), "utf-8")
    return made


def test_without_keys_the_library_is_not_asked_for(tmp_path: Path) -> None:
    assert open_bundle(copied(tmp_path)).manifest.name == "another"


def test_with_a_key_and_without_the_library_nothing_goes_but_what_ships(
    device: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device.mkdir()
    (device / "key.pub").write_text(
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILSGPUC62sMSj0g9unjrR5i4wrOjgvinsMqdoNDCzTaY x\n"
    )
    other = copied(tmp_path)
    with pytest.raises(InputError, match="is not signed"):
        open_bundle(other)
    other.with_name("other.sig").write_bytes(render(b"{}", {"SHA256:" + "A" * 43: b"1"}))
    assert open_bundle(bundle_path()).manifest.name != "another"
    with pytest.raises(InputError, match="looking at signatures needs cryptography") as caught:
        open_bundle(other)
    assert NEEDS in str(caught.value)
    assert cli.main(["check", str(other)]) == 2
    assert NEEDS in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["keys", "make", "key"],
        ["keys", "trust", "key.pub"],
        ["sign", "thing", "--key", "key"],
        ["verify", "thing", "--key", "key.pub"],
    ],
)
def test_commands_that_need_the_library_name_it(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("key.pub").write_text("x")
    assert cli.main(words) == 2
    assert NEEDS in capsys.readouterr().err
