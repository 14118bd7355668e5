"""``edge-streamer flash`` with what talks: looked at before anything is written, and signed for the device's key."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.trust.gate import Admission
from edge_streamer.runtime.trust.keyring import Keyring, read_public
from edge_streamer.runtime.trust.release import open_folder
from edge_streamer.runtime.trust.signing import make_key, read_private, state, write_signature
from edge_streamer.runtime.trust.thing import look
from tests.devices.jetson.deploy.made import wheel, wheels
from tests.devices.jetson.flash import l4t
from tests.devices.jetson.flash.l4t import snapshot
from tests.devices.jetson.flash.test_flash import NANO_ONLY, Bench
from tests.devices.jetson.flash.test_prepare import KEY


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr("edge_streamer.devices.jetson.flash.host._free", lambda _: 10**12)
    return Bench(tmp_path)


LIBRARY = "rootfs/usr/lib/aarch64-linux-gnu/libportaudio.so.2.0.0"
WORDS = "--user ada --no-password --ssh-key {key} --bundle {bundle} --wheels {wheels} --no-check"


def parts(folder: Path, counter: Path) -> dict[str, Path]:
    """What can talk, and a key."""
    wheels(folder / "wheels")
    wheel(folder / "wheels", "PyAudio", {"pyaudio.py": b""}, "cp310-cp310-linux_aarch64")
    wheel(folder / "wheels", "cryptography", {"x": b""})
    (folder / "ssh.pub").write_text(f"{KEY}\n")
    return {"bundle": counter, "wheels": folder / "wheels", "key": folder / "ssh.pub"}


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def test_a_device_that_could_not_hear_is_not_flashed(bench: Bench, tmp_path: Path, made_counter: Path) -> None:
    tegra = bench.make()
    words = WORDS.format(**parts(tmp_path, made_counter))
    (wheel_of_sound,) = (tmp_path / "wheels").glob("PyAudio-*")

    def refused() -> str:
        with pytest.raises(InputError) as told:
            bench.flash(f"{words} --dry-run")
        return str(told.value)

    assert "could neither hear nor speak: the root file system has no libportaudio2" in refused()
    put(tegra / LIBRARY)
    assert bench.flash(f"{words} --dry-run") == 0
    wheel_of_sound.unlink()
    assert "could neither hear nor speak: neither the wheels nor the root file system have PyAudio" in refused()
    put(tegra / "rootfs/usr/lib/python3/dist-packages/pyaudio/__init__.py")
    assert bench.flash(f"{words} --dry-run") == 0
    shutil.rmtree(tegra / "rootfs/usr/lib/python3/dist-packages/pyaudio")
    (tmp_path / "talk.toml").write_text('bundle = "bundle"\nmic = "none"\nspeaker = "none"\n')
    assert bench.flash(f"{words} --dry-run --settings {tmp_path / 'talk.toml'}") == 0


def test_a_device_is_flashed_with_its_key_and_what_it_signed(bench: Bench, tmp_path: Path, made_counter: Path) -> None:
    pytest.importorskip("cryptography")
    from edge_streamer.runtime.trust import ed25519

    tegra = bench.make()
    put(tegra / LIBRARY)
    bundle, key, other = Path(shutil.copytree(made_counter, tmp_path / "talker")), tmp_path / "ours", tmp_path / "other"
    make_key(key, None)
    make_key(other, None)
    there = parts(tmp_path, bundle)
    words = f"{WORDS.format(**there)} --trust-key {key}.pub"
    before = snapshot(tegra, times=True)
    for more, said in {
        "": "makes no release that is not signed", f"--key {key}": f"{bundle} is not signed",
        f"--key {other}": f"{bundle} is not signed",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=said):
            bench.flash(f"{words} {more}")
    write_signature(bundle, state(look(bundle)), [ed25519.load(read_private(key), None, "key")])
    with pytest.raises(InputError, match="is the private key of none that the device will trust"):
        bench.flash(f"{words} --key {other}")
    assert snapshot(tegra, times=True) == before, "nothing is written before all of it is right"
    l4t.behave(tegra, initrd=[*l4t.IMAGES_MADE, *l4t.WRITTEN])
    assert bench.flash(f"{words} --key {key}") == 0
    rootfs = tegra / "rootfs"
    flashed = rootfs / "opt/edge-streamer/flashed"
    assert (rootfs / "etc/edge-streamer/keys.d/ours.pub").read_text().startswith("ssh-ed25519 ")
    assert {path.name for path in flashed.iterdir()} == {"bundle", "bundle.sig", "wheels", "release.json"}
    ring = Keyring(tmp_path, {one.fingerprint: one for one in [read_public(Path(f"{key}.pub"))]})
    open_folder(flashed, Admission("release", flashed, lambda: ring, elsewhere=True))
    signature = (rootfs / "opt/edge-streamer/flashed.sig").read_bytes()
    assert bench.flash(f"{words} --key {key}") == 0
    assert (rootfs / "opt/edge-streamer/flashed.sig").read_bytes() == signature, "the same wish is the same twice"
    assert l4t.words(tegra)[1:] == [NANO_ONLY]


TALKS = {
    "--settings nowhere.toml": "nowhere.toml cannot be read", "--settings {key}": "is no TOML",
    "--key x": "makes|cannot be read", "--trust-key nowhere.pub": "nowhere.pub cannot be read",
    "--no-check": "",
}  # fmt: skip


@pytest.mark.parametrize("more", TALKS)
def test_what_talks_is_looked_at_before_anything_is_written(
    bench: Bench, tmp_path: Path, made_counter: Path, more: str
) -> None:
    tegra, there = bench.make(), parts(tmp_path, made_counter)
    put(tegra / LIBRARY)
    before = snapshot(tegra, times=True)
    words = WORDS.format(**there)
    with pytest.raises(InputError, match=TALKS[more] or "carries no golden units"):
        bench.flash(words.replace("--no-check", "") if more == "--no-check" else f"{words} {more.format(**there)}")
    with pytest.raises(InputError, match=r"of what talks, and nothing does|device with a key|cannot be read"):
        bench.flash(more.format(**there))
    assert snapshot(tegra, times=True) == before
