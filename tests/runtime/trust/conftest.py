"""A device of its own: empty folders of keys, no versions seen, a clock and a board that tests set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge_streamer.runtime.errors import EdgeStreamerError
from edge_streamer.runtime.trust import ed25519, gate, keyring, seen
from edge_streamer.runtime.trust.here import Here
from edge_streamer.runtime.trust.opening import open_bundle
from edge_streamer.runtime.trust.signing import make_key, read_private, state, write_signature
from edge_streamer.runtime.trust.thing import look

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HERE = Here("aarch64", "nvidia,p3768-0000+p3767-0005-super nvidia,p3767-0005 nvidia,tegra234", "36.4.3")


class Device:
    """``keys``: private ones by name, made where they are first named; ``system``: root's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.system = folder / "etc/edge-streamer/keys.d"
        self.user = folder / "config/edge-streamer/keys.d"
        self.versions = folder / "var/versions.json"

    def key(self, name: str = "key") -> Ed25519PrivateKey:
        path = self.folder / "private" / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            make_key(path, None)
        return ed25519.load(read_private(path), None, str(path))

    def public(self, name: str = "key") -> Path:
        self.key(name)
        return self.folder / "private" / f"{name}.pub"

    def trust(self, name: str = "key", folder: Path | None = None) -> None:
        """As root, or as the owner of ``folder``, by hand."""
        folder = folder or self.system
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.pub").write_bytes(self.public(name).read_bytes())

    def sign(self, thing: Path, *keys: str, **stated: Any) -> Path:
        return write_signature(thing, state(look(thing), **stated), [self.key(key) for key in keys or ("key",)])


def tried(path: Path) -> str | None:
    """The hash of the bundle, where it opens; else nothing, and what was raised is one of our errors in one line."""
    try:
        return open_bundle(path).hash
    except EdgeStreamerError as error:
        refusal = error
    assert refusal.exit_status == 2
    assert "\n" not in str(refusal)
    return None


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device(tmp_path / "device")
    made.folder.mkdir()
    monkeypatch.setattr(keyring, "SYSTEM", made.system)
    monkeypatch.setattr(seen, "SYSTEM", made.versions)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(made.folder / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(made.folder / "state"))
    monkeypatch.setattr(gate, "read_here", lambda: HERE)
    return made


@pytest.fixture
def trusting(device: Device) -> Device:
    """A device that trusts ``key``."""
    device.trust()
    return device
