"""What a root file system is after its preparation, and that it is so twice."""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from edge_streamer.devices.jetson.deploy.payload import Payload, text_file
from edge_streamer.devices.jetson.flash import prepare, units
from edge_streamer.devices.jetson.flash.accounts import LOCKED, Lists, check_name, with_user
from edge_streamer.devices.jetson.flash.app import App
from edge_streamer.devices.jetson.flash.rootfs import Rootfs
from edge_streamer.devices.jetson.flash.settings import Settings, Trusted, Wifi, check, hashed, keys_of, size_of
from edge_streamer.devices.jetson.releases import first
from edge_streamer.devices.jetson.releases.service import keeper_files
from edge_streamer.devices.jetson.releases.unit import GROUPS, Service
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.trust.keyring import SYSTEM
from tests.devices.jetson.flash import l4t
from tests.devices.jetson.flash.l4t import Recorded, snapshot

KEY = "ssh-ed25519 " + "A" * 68 + " ada@desk"
HASH = "$6$saltsalt$" + "x" * 86


FILES = {
    "bundle/manifest.json": b"{}", "bundle/graphs/core.onnx": b"onnx", "settings.toml": b'bundle = "bundle"\n',
    "wheels/edge_streamer-1.0-py3-none-any.whl": b"zip",
}  # fmt: skip


def app(files: Mapping[str, bytes] = FILES, signature: bytes = b"", system: bool = False) -> App:
    return App(Payload(tuple(text_file(name, data) for name, data in files.items())), signature, system)


@pytest.fixture
def wanted() -> Settings:
    """Everything at once."""
    return Settings(
        user="ada", hashed=HASH, keys=(KEY,), hostname="kitchen", timezone="Europe/Berlin", locale="en_US.UTF-8",
        wifi=(Wifi("Küche; 5G", "correct horse"), Wifi("open", "")), power_mode="MAXN_SUPER",
        modules=("p3767-0005", "p3767-0003"), swap=8 << 30, app=app(),
    )  # fmt: skip


def prepared(root: Path, settings: Settings, owners: Recorded | None = None) -> bool:
    with Rootfs(root, owners or Recorded()) as rootfs:
        return prepare.prepare(rootfs, settings)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return l4t.root(tmp_path / "rootfs")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_everything_is_written(root: Path, wanted: Settings) -> None:
    owners = Recorded()
    assert prepared(root, wanted, owners)
    etc = root / "etc"
    assert "ada:x:1000:1000:ada,,,:/home/ada:/bin/bash\n" in (etc / "passwd").read_text()
    assert f"ada:{HASH}:" in (etc / "shadow").read_text()
    assert "video:x:44:ada\n" in (etc / "group").read_text()
    assert "sudo:x:27:ada\n" in (etc / "group").read_text()
    assert "gpio:!::ada\n" in (etc / "gshadow").read_text()
    assert mode(etc / "shadow") == 0o640
    assert (root / "home/ada/.ssh/authorized_keys").read_text() == f"{KEY}\n"
    assert mode(root / "home/ada/.ssh/authorized_keys") == 0o600
    assert mode(root / "home/ada/.ssh") == 0o700
    assert (root / "home/ada/.bashrc").read_text() == "# bash\n"
    assert (etc / "hostname").read_text() == "kitchen\n"
    assert (etc / "hosts").read_text() == "127.0.0.1 localhost\n127.0.1.1 kitchen\n"
    assert (etc / "localtime").readlink() == Path("/usr/share/zoneinfo/Europe/Berlin")
    assert (etc / "default/locale").read_text() == "LANG=en_US.UTF-8\n"
    assert (etc / "systemd/system/default.target").readlink() == Path("/lib/systemd/system/multi-user.target")
    assert "PM_CONFIG DEFAULT=2 >" in (etc / "nvpmodel/nvpmodel_p3767_0003_super.conf").read_text()
    assert "PM_CONFIG DEFAULT=1 >" in (etc / "nvpmodel/nvpmodel_p3701_0005.conf").read_text()
    assert (root / "opt/edge-streamer/flashed/bundle/graphs/core.onnx").read_bytes() == b"onnx"
    assert (root / "var/lib/systemd/linger/ada").read_bytes() == b""
    assert owners.given["home/ada/.ssh/authorized_keys"] == (1000, 1000)
    assert owners.given["home/ada/.config/systemd/user/edge-streamer.service"] == (1000, 1000)
    assert owners.given["opt/edge-streamer/flashed/bundle/manifest.json"] == (0, 0)
    assert not (etc / "edge-streamer/preparing.json").exists()
    assert mode(etc / "edge-streamer/prepared.json") == 0o600


def test_a_root_of_debians_without_a_list_of_passwords_gets_one(root: Path) -> None:
    owners = Recorded()
    (root / "etc/shadow").unlink()
    (root / "etc/group").write_text("root:*:0:\nshadow:*:42:\n")
    (root / "etc/gshadow").unlink()
    prepared(root, Settings(user="ada", hashed=HASH), owners)
    assert (root / "etc/shadow").read_text() == f"ada:{HASH}:19700:0:99999:7:::\n"
    assert owners.given["etc/shadow"] == (0, 42)
    assert not (root / "etc/gshadow").exists()


def test_networks_are_networkmanagers_and_secret(root: Path, wanted: Settings) -> None:
    prepared(root, wanted)
    files = sorted((root / "etc/NetworkManager/system-connections").glob("*.nmconnection"))
    assert [mode(path) for path in files] == [0o600, 0o600]
    secured = next(path.read_text() for path in files if "psk=" in path.read_text())
    assert "psk=correct horse\n" in secured
    assert f"ssid={''.join(f'{byte};' for byte in 'Küche; 5G'.encode())}\n" in secured
    assert "ssid=111;112;101;110;\n" in next(path.read_text() for path in files if "psk=" not in path.read_text())


def test_a_secret_that_looks_like_syntax_stays_one(root: Path) -> None:
    prepared(root, Settings(wifi=(Wifi("a\n[evil]", "  back\\slash;x"),)))
    text = next((root / "etc/NetworkManager/system-connections").glob("edge-*")).read_text()
    assert "psk=\\s\\sback\\\\slash;x\n" in text
    assert "[evil]" not in text


def test_twice_is_as_good_as_once(root: Path, wanted: Settings) -> None:
    owners = Recorded()
    assert prepared(root, wanted, owners)
    before = snapshot(root, times=True)
    assert not prepared(root, wanted, owners)
    assert {name: state[:3] for name, state in snapshot(root).items()} == {n: s[:3] for n, s in before.items()}
    (root / "etc/edge-streamer/prepared.json").rename(root / "etc/edge-streamer/preparing.json")
    assert prepared(root, wanted, owners), "one that did not end is done again"
    assert {name: state[:3] for name, state in snapshot(root).items()} == {n: s[:3] for n, s in before.items()}


def test_other_wishes_are_another_preparation(root: Path, wanted: Settings) -> None:
    owners = Recorded()
    prepared(root, wanted, owners)
    assert prepared(root, replace(wanted, hostname="hall"), owners)
    assert (root / "etc/hostname").read_text() == "hall\n"
    assert (root / "etc/passwd").read_text().count("\nada:") == 1
    assert (root / "home/ada/.ssh/authorized_keys").read_text() == f"{KEY}\n"


def test_what_left_a_bundle_goes_away(root: Path, wanted: Settings) -> None:
    owners = Recorded()
    prepared(root, wanted, owners)
    flashed = root / "opt/edge-streamer/flashed"
    assert prepared(
        root, replace(wanted, app=app({**FILES, "bundle/graphs/other.onnx": b"o", "bundle/core": b""})), owners
    )
    assert prepared(root, replace(wanted, app=app({"bundle/graphs/other.onnx": b"other"}, b"signed")), owners)
    assert [str(path.relative_to(flashed)) for path in flashed.rglob("*") if path.is_file()] == [
        "bundle/graphs/other.onnx"
    ]
    assert (root / "opt/edge-streamer/flashed.sig").read_bytes() == b"signed"
    assert prepared(root, replace(wanted, app=app({"bundle": b"an archive"})), owners)
    assert [path.name for path in flashed.rglob("*")] == ["bundle"]
    assert not (root / "opt/edge-streamer/flashed.sig").exists()
    assert prepared(root, wanted, owners)
    assert (flashed / "bundle/graphs/core.onnx").read_bytes() == b"onnx"


OURS = {
    "opt/edge-streamer/first-start.py": (0, 0), "opt/edge-streamer/flashed/bundle/manifest.json": (0, 0),
    "opt/edge-streamer/flashed/bundle/graphs/core.onnx": (0, 0), "opt/edge-streamer/flashed/settings.toml": (0, 0),
    "opt/edge-streamer/flashed/wheels/edge_streamer-1.0-py3-none-any.whl": (0, 0),
}  # fmt: skip
USERS = {
    "home/ada/.local/share/edge-streamer/keeper/keeper.py": (1000, 1000),
    "home/ada/.local/share/edge-streamer/keeper/places.py": (1000, 1000),
    "home/ada/.config/systemd/user/edge-streamer.service": (1000, 1000),
    "home/ada/.config/systemd/user/edge-streamer.service.d/first-start.conf": (1000, 1000),
    "home/ada/.config/systemd/user/default.target.wants/edge-streamer.service": None,
    "var/lib/systemd/linger/ada": (0, 0),
}  # fmt: skip
SYSTEMS = {
    "opt/edge-streamer/keeper/keeper.py": (0, 0), "opt/edge-streamer/keeper/places.py": (0, 0),
    "etc/systemd/system/edge-streamer.service": (0, 0),
    "etc/systemd/system/edge-streamer.service.d/first-start.conf": (0, 0),
    "etc/systemd/system/multi-user.target.wants/edge-streamer.service": None,
}  # fmt: skip


@pytest.mark.parametrize("system", [False, True])
def test_the_service_is_the_releases_own_and_nothing_else_is_written(
    root: Path, wanted: Settings, system: bool
) -> None:
    owners = Recorded()
    prepared(root, replace(wanted, app=None), owners)
    before = snapshot(root)
    prepared(root, replace(wanted, app=app(system=system)), owners)
    files = {name for name, state in snapshot(root).items() if name not in before and not state[0].startswith("0o4")}
    expected = OURS | (SYSTEMS if system else USERS)
    assert files == set(expected)
    assert {name: owners.given.get(name) for name in expected} == expected
    where = "opt/edge-streamer" if system else "home/ada/.local/share/edge-streamer"
    units_in = root / ("etc/systemd/system" if system else "home/ada/.config/systemd/user")
    assert {name: (root / where / name).read_bytes() for name in keeper_files()} == keeper_files()
    unit = (units_in / "edge-streamer.service").read_text()
    groups = ("audio", "video", "render") if system else GROUPS
    assert unit == Service(Path(f"/{where}"), system, groups=groups).text()
    assert f"ExecStart=/usr/bin/python3 -I -B /{where}/keeper/keeper.py start /{where}\n" in unit
    added = (units_in / "edge-streamer.service.d/first-start.conf").read_text()
    at = f"/{units_in.relative_to(root)}/edge-streamer.service.d/first-start.conf"
    assert (f"ExecStartPre=+/usr/bin/python3 -I -B /opt/edge-streamer/first-start.py /{where} "
            f"/opt/edge-streamer/flashed {at}\n") in added  # fmt: skip
    assert (root / "opt/edge-streamer/first-start.py").read_bytes() == Path(first.__file__).read_bytes()
    prepared(root, replace(wanted, app=app(system=not system)), owners)
    assert not (units_in / "edge-streamer.service").exists(), "two would both take the devices"
    assert not (units_in / "edge-streamer.service.d").exists()


def test_a_device_is_given_the_keys_that_it_trusts(root: Path, wanted: Settings) -> None:
    owners = Recorded()
    prepared(root, replace(wanted, trust=(Trusted("release-key", b"ssh-ed25519 x release-key\n"),)), owners)
    assert Path("/", prepare.KEYS) == SYSTEM
    assert (root / prepare.KEYS / "release-key.pub").read_bytes() == b"ssh-ed25519 x release-key\n"
    assert mode(root / prepare.KEYS) == 0o755
    assert mode(root / prepare.KEYS / "release-key.pub") == 0o644
    assert owners.given[f"{prepare.KEYS}/release-key.pub"] == (0, 0)


@pytest.mark.parametrize("python", [None, "3.12"])
def test_a_root_whose_python_could_not_make_the_release_is_refused(
    root: Path, wanted: Settings, python: str | None
) -> None:
    (root / "usr/bin/python3.10").unlink()
    if python:
        (root / f"usr/bin/python{python}").touch()
        (root / "usr/bin/python3").unlink()
        (root / "usr/bin/python3").symlink_to(f"python{python}")
    name = "wheels/numpy-2.2.6-cp310-cp310-manylinux2014_aarch64.whl"
    with pytest.raises(InputError, match="cannot be installed.*--python 3.12" if python else "no /usr/bin/python3"):
        prepared(root, replace(wanted, app=app({**FILES, name: b"zip"})))


def test_a_desktop_stays_where_it_is_wanted(root: Path, wanted: Settings) -> None:
    prepared(root, replace(wanted, headless=False))
    assert not (root / "etc/systemd/system/default.target").is_symlink(), "NVIDIA's first set-up is off"
    assert (root / "etc/nv/nvautoconfig").exists()


REFUSED = {
    "a power mode": (dict(power_mode="50W"), "no power mode '50W' for this board; it has 15W, 25W, MAXN_SUPER"),
    "a zone": (dict(timezone="Europe/Nowhere"), "has no time zone Europe/Nowhere"),
    "a system's user": (dict(user="daemon"), "'daemon' is a user of the system itself"),
    "a user's name": (dict(user="Ada Lovelace"), "is no user's name"),
    "a host's name": (dict(hostname="my_host"), "is no host's name"),
    "a locale": (dict(locale="english"), "is no locale"),
    "a passphrase": (dict(wifi=(Wifi("x", "short"),)), "passphrase of 'x' is not one"),
    "a network": (dict(wifi=(Wifi("x" * 33, ""),)), "has 33 bytes; wanted 1 to 32"),
    "a key": (dict(keys=("-----BEGIN OPENSSH PRIVATE KEY-----",)), "is no public SSH key"),
    "nobody": (dict(user=""), "belong to a user"),
    "no way in": (dict(hashed=LOCKED, keys=()), "nobody could log in as ada"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_is_refused_before_a_byte_is_written(root: Path, wanted: Settings, kind: str) -> None:
    change, said = REFUSED[kind]
    before = snapshot(root, times=True)
    with pytest.raises(InputError, match=said):
        prepared(root, replace(wanted, **change))  # type: ignore[arg-type]
    assert {name: state[:3] for name, state in snapshot(root).items()} == {n: s[:3] for n, s in before.items()}


def test_a_root_without_networkmanager_gets_no_wifi(root: Path, wanted: Settings) -> None:
    (root / "usr/sbin/NetworkManager").unlink()
    with pytest.raises(InputError, match="no NetworkManager"):
        prepared(root, wanted)


def test_an_empty_folder_is_no_root(tmp_path: Path, wanted: Settings) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no root file system is unpacked there"):
        prepared(tmp_path / "empty", replace(wanted, timezone="", wifi=(), power_mode=""))


def test_one_who_is_there_keeps_his_number(root: Path) -> None:
    text = (root / "etc/passwd").read_text()
    (root / "etc/passwd").write_text(f"{text}nvidia:x:1005:1007::/srv/nvidia:/bin/zsh")  # no line end
    (root / "srv").mkdir()
    prepared(root, Settings(user="nvidia", hashed=HASH))
    prepared(root, Settings(user="ada", hashed=HASH))
    lines = (root / "etc/passwd").read_text().splitlines()
    assert lines[-2:] == ["nvidia:x:1005:1007::/srv/nvidia:/bin/zsh", "ada:x:1000:1000:ada,,,:/home/ada:/bin/bash"]


def test_a_group_without_its_user_gets_the_user_of_its_number(root: Path, tmp_path: Path) -> None:
    """As one leaves it who is killed between the two lists."""
    other = l4t.root(tmp_path / "other")
    prepared(other, Settings(user="ada", hashed=HASH))
    (root / "etc/group").write_text((other / "etc/group").read_text())
    prepared(root, Settings(user="ada", hashed=HASH))
    for name in Lists._fields:
        assert (root / "etc" / name).read_text() == (other / "etc" / name).read_text()


HARM = ("home", "opt", "var/lib", "etc/NetworkManager", "etc/hosts", "etc/systemd", "etc/nvpmodel", "etc/skel/.bashrc",
        "etc/edge-streamer", "etc/shadow", "etc/default", "home/ada", "etc/nv")  # fmt: skip


@pytest.mark.parametrize("name", HARM)
@pytest.mark.parametrize("absolute", [True, False])
def test_no_preparation_leaves_its_root(
    root: Path, wanted: Settings, tmp_path: Path, name: str, absolute: bool
) -> None:
    outside = l4t.root(tmp_path / "outside")
    before = snapshot(outside, times=True)
    place = root / name
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    up = "../" * (name.count("/") + 1)
    place.symlink_to(outside / name if absolute else f"{up}outside/{name}")
    with suppress(InputError):
        prepared(root, wanted)
    assert snapshot(outside, times=True) == before


def test_lists_that_are_odd_are_kept(root: Path) -> None:
    odd = "root:x:0:0::/:/bin/sh\n# a comment\nbroken\n+@nis\nj\udce9:x:1000:1000::/:/bin/sh\n"
    lists, account = with_user(Lists(odd, "", "video:x:44:x,y\n1000:x:1001:\n", ""), "ada", "h", sudo=False)
    assert lists.passwd.startswith(odd)
    assert account.uid == 1002
    assert lists.group.startswith("video:x:44:x,y,ada\n")
    assert check_name("_x-1") == "_x-1"


def test_a_password_is_hashed_and_stays_the_same_for_the_same_one() -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    first = hashed("correct horse")
    assert first.startswith("$6$")
    assert hashed("correct horse", first) == first
    assert hashed("battery", first) != first
    with pytest.raises(InputError):
        hashed("")


def test_words_become_values() -> None:
    assert size_of("8G") == 8 << 30
    assert size_of("512M") == 512 << 20
    for word in ("8", "0G", "8T", "65G", "-1G"):
        with pytest.raises(InputError, match="no size of a swap file"):
            size_of(word)
    assert keys_of([f"# mine\n{KEY}\n\n{KEY}\n"]) == (KEY,)
    check(Settings(hostname="kitchen"))


def test_units_are_what_systemd_takes(root: Path, wanted: Settings, tmp_path: Path) -> None:
    prepared(root, wanted)
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    (tmp_path / units.SWAP_UNIT).write_text(units.swap())
    (tmp_path / units.SWAP_MAKER).write_text(units.swap_maker(1 << 30))
    ran = subprocess.run(["systemd-analyze", "verify", "--man=no", str(tmp_path / units.SWAP_MAKER)],
                         capture_output=True, text=True, check=False)  # fmt: skip
    assert "Unknown" not in ran.stderr
