"""What ``edge-streamer flash`` says to words that are wrong: plainly, and nothing of what may be a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_streamer.devices.jetson.flash import prepare
from edge_streamer.devices.jetson.flash.rootfs import Rootfs
from edge_streamer.devices.jetson.flash.settings import Settings
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.trust.keyring import refuse_private
from tests.devices.jetson.flash import l4t
from tests.devices.jetson.flash.test_flash import Bench
from tests.devices.jetson.flash.test_prepare import KEY

PRIVATE = """-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ
-----END OPENSSH PRIVATE KEY-----
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr("edge_streamer.devices.jetson.flash.host._free", lambda _: 10**12)
    made = Bench(tmp_path)
    made.make()
    return made


def refused(bench: Bench, words: str) -> str:
    with pytest.raises(InputError) as told:
        bench.flash(f"--dry-run {words}")
    return str(told.value)


def test_nothing_of_a_private_key_is_shown(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    key = bench.folder / "id"
    key.write_text(PRIVATE)
    said = refused(bench, f"--user ada --no-password --ssh-key {key}")
    assert said == f"{key} is a private key; name its public half: {key}.pub"
    shown = said + capsys.readouterr().out
    assert "b3Blb" not in shown
    assert "BEGIN" not in shown
    assert f"{key} is a private key; name its public half: {key}.pub" in refused(bench, f"--trust-key {key}")


def test_a_line_that_is_no_key_is_named_by_its_number(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    file = bench.folder / "keys.pub"
    file.write_text(f"# ours\n{KEY}\nsecret word\n")
    said = refused(bench, f"--user ada --no-password --ssh-key {file}")
    assert said.startswith(f"{file}, line 3 is no public SSH key; wanted a line like")
    assert "secret" not in said + capsys.readouterr().out


@pytest.mark.parametrize("kind", ["PRIVATE", "ENCRYPTED PRIVATE", "RSA PRIVATE", "OPENSSH PRIVATE"])
def test_every_private_key_is_known_as_one(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InputError, match="is a private key; name its public half"):
        refuse_private(f"\n-----BEGIN {kind} KEY-----\n".encode(), tmp_path)
    with pytest.raises(InputError, match=r"id.pub is a private key; wanted its public half$"):
        refuse_private(f"-----BEGIN {kind} KEY-----".encode(), tmp_path / "id.pub")


def test_verify_refuses_a_private_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rk").write_text(PRIVATE)
    assert cli.main(["verify", str(tmp_path), "--key", str(tmp_path / "rk")]) == 2
    assert f"rk is a private key; name its public half: {tmp_path / 'rk'}.pub" in capsys.readouterr().err


def test_the_boards_configuration_arrives(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Through the command line, which takes every --config for a file of options."""
    assert cli.main(["flash", "--l4t", str(bench.tegra), "--board", "orin-nano", "--board-config", "my-carrier",
                     "--dry-run"]) == 2  # fmt: skip
    assert "my-carrier.conf is not in" in capsys.readouterr().out
    (bench.tegra / "my-carrier.conf").touch()
    bench.flash("--dry-run --board-config my-carrier")
    assert "--network usb0 my-carrier internal" in capsys.readouterr().out


def test_the_old_name_of_the_boards_configuration_is_no_file_of_options(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["flash", "--l4t", str(bench.tegra), "--config", "my-carrier"]) == 2
    assert "--config" in (said := capsys.readouterr().err)
    assert "TOML" not in said


WIFI = {
    "--wifi 'a\nb'": r"the network's name 'a\nb' has characters that cannot be shown",
    "--wifi 'a\x1b[31mb'": r"the network's name 'a\x1b[31mb' has characters that cannot be shown",
    "--wifi ''": "the network's name '' has 0 bytes; wanted 1 to 32",
    "--wifi home --wifi home": "the network 'home' is named 2 times; leave out all but one",
    "--wifi-password-file x --hostname kitchen": "a file of a network's password, and no network; name it: --wifi SSID",
    "--wifi a --wifi b --wifi-password-file x": "--wifi stands 2 times and --wifi-password-file once; wanted a file",
}


@pytest.mark.parametrize("words", WIFI)
def test_a_networks_name_can_be_shown(bench: Bench, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(bench, words)
    assert WIFI[words] in said
    shown = capsys.readouterr().out
    assert "\x1b[31m" not in said + shown
    assert "a\nb" not in said + shown
    if "home" not in words:
        assert "to be typed" not in shown


def test_networks_of_other_scripts_are_taken(bench: Bench) -> None:
    assert bench.flash("--dry-run --wifi 'Küche; 5G' --wifi '家 🏠'") == 0


def test_a_module_of_another_board_is_told_with_those_of_this_one(bench: Bench) -> None:
    said = refused(bench, "--image-only --board orin-nx --module p3701-0005")
    assert said == "p3701-0005 is no module of orin-nx; wanted one of p3767-0000, p3767-0001, p3767-0002"
    said = refused(bench, "--image-only --module p3701-0009")
    assert "no module of " in said
    assert "p3701-0009" not in said.partition("wanted one of")[2]


def test_sdk_manager_is_not_asked_for_a_jetpack_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["flash", "--sdkmanager", "--jetpack", "99", "--dry-run"]) == 2
    assert "--jetpack 99 is not known; wanted one of 6.1, 6.2, 6.2.1, 6.2.2, 7.0, 7.1, 7.2" in capsys.readouterr().err


def test_a_locale_is_one_that_the_root_has_made(bench: Bench) -> None:
    said = refused(bench, "--locale xx_YY")
    assert said.startswith("the root file system has no locale xx_YY; it has C.UTF-8, POSIX, C, en_US.UTF-8; take one")
    assert "no locale de_DE.UTF-8" in refused(bench, "--locale de_DE.UTF-8"), "its line is a comment"
    for folder in ("usr/lib/locale/fr_FR.utf8", "var/lib/locales/supported.d"):
        (bench.tegra / "rootfs" / folder).mkdir(parents=True)
    (bench.tegra / "rootfs/var/lib/locales/supported.d/it").write_text("it_IT.UTF-8 UTF-8\n")
    # As localedef writes it: names one after the other, amid tables.
    (bench.tegra / "rootfs/usr/lib/locale/locale-archive").write_bytes(b"\x09\x01\0\0nl_NL.utf8\0sv_SE\0\x07\0")
    for name in ("C.UTF-8", "C", "POSIX", "en_US.UTF-8", "fr_FR.UTF-8", "it_IT.UTF-8", "nl_NL.UTF-8"):
        assert bench.flash(f"--dry-run --locale {name}") == 0


NANO, NX = ("p3767-0005", "p3767-0003"), ("p3767-0000", "p3767-0001")


def no_mode(root: Path, name: str, modules: tuple[str, ...]) -> str:
    with Rootfs(root, write=False) as read:
        (said,) = prepare.impossible(read, Settings(power_mode=name, modules=modules))
    return said


def test_why_there_is_no_such_power_mode(tmp_path: Path) -> None:
    root = l4t.root(tmp_path / "root")
    file = root / "etc/nvpmodel/nvpmodel_p3767_0003_super.conf"
    said = no_mode(root, "FOO", NANO)
    assert said.endswith(f"'FOO' for this board; it has 15W, 25W, MAXN_SUPER ({file.name})")
    said = no_mode(root, "25W", NX)
    assert "no file in the root file system's /etc/nvpmodel is for a module of this board (p3767-0000, p376" in said
    assert said.endswith(f"it has nvpmodel_p3701_0005.conf, {file.name}")
    assert no_mode(root, "FOO", ()).endswith("name the board to know its own: --board NAME")
    file.write_text(file.read_text().partition("# mandatory")[0])
    assert no_mode(root, "25W", NANO).endswith(f"is in {file.name}, which has no PM_CONFIG DEFAULT to set it by")
    for path in file.parent.iterdir():
        path.unlink()
    assert "has no file of power modes" in no_mode(root, "25W", NANO)


def test_everything_that_is_wrong_with_what_talks_is_told_at_once(bench: Bench, made_counter: Path) -> None:
    empty, none = bench.folder / "empty", bench.folder / "none.toml"
    empty.mkdir()
    said = refused(bench, f"--bundle {made_counter} --wheels {empty} --settings {none}")
    for part in (f"{empty} holds no wheel of edge_streamer", f"{none}", "name one: --user NAME", "golden units"):
        assert said.count(part) == 1, part
    assert "PyAudio" not in said, "of wheels that are none the root is asked nothing"
