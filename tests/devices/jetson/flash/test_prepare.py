"""What a root file system is after its preparation, and that it is so twice."""

from __future__ import annotations

import shutil
import stat
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from edge_streamer.devices.jetson.flash import prepare, units
from edge_streamer.devices.jetson.flash.accounts import LOCKED, Lists, check_name, with_user
from edge_streamer.devices.jetson.flash.rootfs import Rootfs
from edge_streamer.devices.jetson.flash.settings import Settings, Wifi, check, hashed, keys_of, size_of
from edge_streamer.runtime.errors import InputError
from tests.devices.jetson.flash import l4t
from tests.devices.jetson.flash.l4t import Recorded, snapshot

KEY = "ssh-ed25519 " + "A" * 68 + " ada@desk"
HASH = "$6$saltsalt$" + "x" * 86


@pytest.fixture
def wanted(tmp_path: Path) -> Settings:
    """Everything at once."""
    bundle, wheels = tmp_path / "bundle", tmp_path / "wheels"
    (bundle / "graphs").mkdir(parents=True)
    (bundle / "manifest.json").write_text("{}")
    (bundle / "graphs/core.onnx").write_bytes(b"onnx")
    wheels.mkdir()
    (wheels / "edge_streamer-1.0-py3-none-any.whl").write_bytes(b"zip")
    return Settings(
        user="ada", hashed=HASH, keys=(KEY,), hostname="kitchen", timezone="Europe/Berlin", locale="en_US.UTF-8",
        wifi=(Wifi("Küche; 5G", "correct horse"), Wifi("open", "")), power_mode="MAXN_SUPER",
        modules=("p3767-0005", "p3767-0003"), swap=8 << 30, bundle=bundle, wheels=wheels,
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
    assert (root / "opt/edge-streamer/bundle/graphs/core.onnx").read_bytes() == b"onnx"
    assert (root / "var/lib/systemd/linger/ada").read_bytes() == b""
    assert mode(root / "opt/edge-streamer/first-start") == 0o755
    service = root / "home/ada/.config/systemd/user/edge-streamer.service"
    assert "ExecStart=%h/.local/share/edge-streamer/env/bin/edge-streamer run" in service.read_text()
    link = service.parent / "default.target.wants/edge-streamer.service"
    assert link.resolve() == service
    assert owners.given["home/ada/.ssh/authorized_keys"] == (1000, 1000)
    assert owners.given["home/ada/.config/systemd/user/edge-streamer.service"] == (1000, 1000)
    assert owners.given["opt/edge-streamer/bundle/manifest.json"] == (0, 0)
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
    assert wanted.bundle is not None
    (wanted.bundle / "graphs/core.onnx").unlink()
    (wanted.bundle / "graphs/other.onnx").write_bytes(b"other")
    assert prepared(root, wanted, owners)
    found = sorted(str(path.relative_to(root)) for path in (root / "opt/edge-streamer/bundle").rglob("*.onnx"))
    assert found == ["opt/edge-streamer/bundle/graphs/other.onnx"]


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
    if shutil.which("sh"):
        subprocess.run(["sh", "-n", root / "opt/edge-streamer/first-start"], check=True)
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    for name, text in (("a.service", units.service()), (units.SWAP_UNIT, units.swap())):
        (tmp_path / name).write_text(text)
    (tmp_path / units.SWAP_MAKER).write_text(units.swap_maker(1 << 30))
    ran = subprocess.run(["systemd-analyze", "verify", "--man=no", str(tmp_path / units.SWAP_MAKER)],
                         capture_output=True, text=True, check=False)  # fmt: skip
    assert "Unknown" not in ran.stderr
