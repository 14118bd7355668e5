"""Keys: made for their owner alone, trusted by rules that a user cannot weaken, and a new one only by an old one."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import stat
from pathlib import Path

import pytest

from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.commands import cli, passphrase
from edge_streamer.runtime.errors import InputError, TrustError
from edge_streamer.runtime.trust import ed25519
from edge_streamer.runtime.trust.gate import signature_of
from edge_streamer.runtime.trust.keyring import has_keys, read_keyring, read_public
from edge_streamer.runtime.trust.opening import open_bundle
from edge_streamer.runtime.trust.signing import make_key, read_private
from tests.runtime.trust.conftest import Device

Say = pytest.CaptureFixture[str]


def says(capsys: Say, status: int, *words: str) -> str:
    """What a command prints, in the one line of an error where it fails."""
    capsys.readouterr()
    assert cli.main(list(words)) == status
    told = capsys.readouterr()
    if status:
        assert told.err.count("\n") == 1
        assert told.err.startswith("edge-streamer: ")
    return told.err if status else told.out


def test_from_a_key_to_a_signed_bundle_by_commands_alone(
    device: Device, counter: Path, tmp_path: Path, capsys: Say
) -> None:
    key = str(tmp_path / "mine")
    assert "runs what is not signed too" in says(capsys, 0, "keys", "list")
    assert "keep it off every device" in says(capsys, 0, "keys", "make", key)
    assert "has no keys to verify with" in says(capsys, 2, "verify", str(counter))
    said = says(capsys, 2, "verify", str(counter), "--key", f"{key}.pub")
    assert "is not signed" in said
    assert "this device" not in said
    assert "bundle 'counter', version 2" in says(capsys, 0, "sign", str(counter), "--key", key)
    assert "good, bundle 'counter'" in says(capsys, 0, "verify", str(counter), "--key", f"{key}.pub")
    assert "is trusted; what this device's keys did not sign is refused" in says(
        capsys, 0, "keys", "trust", f"{key}.pub"
    )
    stated = json.loads(says(capsys, 0, "verify", str(counter), "--json"))
    listed = json.loads(says(capsys, 0, "keys", "list", "--json"))
    assert [(entry["name"], entry["state"], entry["fingerprint"]) for entry in listed] == [
        ("mine", "trusted", stated["signed_by"])
    ]
    says(capsys, 0, "pack", str(counter), "--out", str(tmp_path / "counter.tar"))
    assert "good, bundle 'counter'" in says(capsys, 0, "verify", str(tmp_path / "counter.tar"))
    signature_of(counter).unlink()
    assert "is not signed" in says(capsys, 2, "check", str(counter))
    out, snapshot = str(tmp_path / "out"), str(tmp_path / "p.npz")
    for command in ("build", f"profile --out {out}", f"prefix --text a --out {snapshot}", f"eval --out {out}",
                    "run --mic none --speaker none --seconds 1", f"quantize --scheme int8 --out {out}"):  # fmt: skip
        name, *options = command.split()
        assert "is not signed" in says(capsys, 2, name, str(counter), *options)
    assert not (tmp_path / "out").exists()
    says(capsys, 0, "inspect", str(counter))  # looks, and runs nothing


def test_going_back_by_commands(trusting: Device, counter: Path, capsys: Say) -> None:
    key = str(trusting.public().with_suffix(""))
    for number in ("7", "6"):
        says(capsys, 0, "sign", str(counter), "--key", key, "--number", number)
        if number == "7":
            open_bundle(counter)
    assert "takes no older one" in says(capsys, 2, "verify", str(counter))
    assert "takes no older one" in says(capsys, 2, "check", str(counter))
    assert "golden" in says(capsys, 2, "check", str(counter), "--allow-downgrade")  # it has none; but it was admitted
    assert "version 6" in says(capsys, 0, "verify", str(counter))


def test_a_private_key_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    before = os.umask(0)
    try:
        make_key(path, None)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["key", "key.pub"]
    with pytest.raises(InputError, match="a key is never written over"):
        make_key(path, None)
    path.chmod(0o640)
    with pytest.raises(InputError, match=r"may be read by others \(mode 640\), as no private key may; run: chmod 600"):
        read_private(path)


def test_what_is_no_private_key_is_told_before_its_mode(
    device: Device, counter: Path, tmp_path: Path, capsys: Say
) -> None:
    public = device.public()
    private = public.with_suffix("")
    said = says(capsys, 2, "sign", str(counter), "--key", str(public))
    assert f"is a public key, which signs nothing; name the private one: --key {private}\n" in said
    alone, words = tmp_path / "alone.pub", tmp_path / "words.txt"
    alone.write_bytes(public.read_bytes())
    words.write_text("words\n")
    assert "name the private one that was made with it" in says(capsys, 2, "sign", str(counter), "--key", str(alone))
    for text in ("words\n", ""):
        words.write_text(text)
        said = says(capsys, 2, "sign", str(counter), "--key", str(words))
        assert "words.txt is no private key; wanted one by 'edge-streamer keys make'" in said
    private.chmod(0o644)
    assert "run: chmod 600" in says(capsys, 2, "sign", str(counter), "--key", str(private))


def test_a_passphrase_comes_from_a_file_or_a_terminal_and_is_wanted(
    device: Device, counter: Path, tmp_path: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, secret = str(tmp_path / "key"), tmp_path / "secret"
    secret.write_text("correct horse\nsecond line\n")
    assert "encrypted" in says(capsys, 0, "keys", "make", key, "--passphrase-file", str(secret))
    assert b"ENCRYPTED" in Path(key).read_bytes()
    sign = ("sign", str(counter), "--key", key)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "nobody is there to type it; name a --passphrase-file" in says(capsys, 2, *sign)
    says(capsys, 0, *sign, "--passphrase-file", str(secret))
    monkeypatch.setattr(passphrase, "asked", lambda what, twice=False: b"wrong")
    monkeypatch.setattr("edge_streamer.runtime.commands.sign.asked", lambda what: b"wrong")
    assert "no private key that can be read" in says(capsys, 2, *sign)
    secret.write_text("\n")
    assert "its first line is empty" in says(capsys, 2, *sign, "--passphrase-file", str(secret))


def test_the_fingerprint_is_what_openssh_shows() -> None:
    line = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILSGPUC62sMSj0g9unjrR5i4wrOjgvinsMqdoNDCzTaY release-key"
    public = ed25519.load_public(line, "key")
    assert ed25519.fingerprint(public) == "SHA256:EAYnoe9R/RvKbtGkK/TnU1pw7o/1ylkDpISHTDwTuog"
    assert ed25519.public_line(public, "release-key") == line + b"\n"


def test_a_public_key_in_pem_is_taken_and_another_kind_of_key_is_not(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    shape = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    right, wrong = Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "key.pub"
    path.write_bytes(right.public_key().public_bytes(*shape))
    assert read_public(path).public == ed25519.public_of(right)
    path.write_bytes(wrong.public_key().public_bytes(*shape))
    with pytest.raises(InputError, match="a key of another kind"):
        read_public(path)
    for rubbish in (
        b"",
        b"ssh-ed25519",
        b"ssh-ed25519 AAAA x",
        b"-----BEGIN PUBLIC KEY-----\n",
        b"\xff" * 50,
        bytes(50),
    ):
        path.write_bytes(rubbish)
        with pytest.raises(InputError, match="is no public key"):
            read_public(path)


def test_a_new_key_is_taken_only_with_a_signature_by_an_old_one(trusting: Device, capsys: Say) -> None:
    new, name = trusting.public("new"), str(trusting.public("new"))
    assert "is not signed" in says(capsys, 2, "keys", "trust", name)
    trusting.sign(new, "new")
    assert "does not trust" in says(capsys, 2, "keys", "trust", name)  # not by itself
    trusting.sign(trusting.public("other"))
    signature_of(new).write_bytes(signature_of(trusting.public("other")).read_bytes())
    assert "is not what was signed" in says(capsys, 2, "keys", "trust", name)
    trusting.sign(new)
    if os.geteuid() == 0:  # else root's folder is not this user's to write to
        says(capsys, 0, "keys", "trust", name)
        assert "is trusted already" in says(capsys, 0, "keys", "trust", name)


def test_a_revoked_key_is_never_trusted_again(device: Device, counter: Path, capsys: Say) -> None:
    for name in ("key", "new"):
        device.trust(name, device.user)
    device.sign(counter)
    open_bundle(counter)
    print_ = read_public(device.public()).fingerprint
    said = says(capsys, 0, "keys", "revoke", print_)
    assert "cannot be trusted here again" in said
    with pytest.raises(TrustError, match="signed by a key that was revoked here"):
        open_bundle(counter)
    assert "was revoked here" in says(capsys, 2, "keys", "trust", str(device.public()))
    device.trust("key", device.user)  # nor by putting its file back
    with pytest.raises(TrustError, match="revoked"):
        open_bundle(counter)
    says(capsys, 0, "keys", "revoke", "new")
    assert has_keys()
    with pytest.raises(TrustError, match="all its keys were revoked"):  # not: everything goes
        open_bundle(counter)


def test_a_user_cannot_weaken_what_root_has_set(
    trusting: Device, counter: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting.sign(counter, "users")
    trusting.trust("users", trusting.user)
    with pytest.raises(TrustError, match="does not trust"):
        open_bundle(counter)
    listed = {entry["name"]: entry["state"] for entry in json.loads(says(capsys, 0, "keys", "list", "--json"))}
    assert listed == {"key": "trusted", "users": "ignored"}
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    new = trusting.public("third")
    trusting.sign(new)
    assert "root has set the keys" in says(capsys, 2, "keys", "trust", str(new))
    trusting.sign(counter)
    open_bundle(counter)
    says(capsys, 0, "keys", "revoke", "key")  # but may ask for more
    assert list(trusting.user.glob("*.revoked"))
    with pytest.raises(TrustError, match="revoked"):
        open_bundle(counter)


@pytest.mark.parametrize("name", ["README", "key.pem", "key.pub~", "key"])
def test_a_folder_of_keys_with_anything_else_in_it_refuses_everything(
    trusting: Device, counter: Path, name: str
) -> None:
    trusting.sign(counter)
    (trusting.system / name).write_text("x")
    with pytest.raises(TrustError, match=r"is no key \(wanted NAME\.pub or NAME\.revoked\)"):
        open_bundle(counter)


def test_a_folder_of_keys_that_cannot_be_believed_refuses_everything(trusting: Device, counter: Path) -> None:
    trusting.sign(counter)
    (trusting.system / "broken.pub").write_text("ssh-ed25519 AAAA")
    with pytest.raises(TrustError, match="until then nothing is trusted"):
        open_bundle(counter)
    (trusting.system / "broken.pub").unlink()
    trusting.system.chmod(0o777)
    with pytest.raises(TrustError, match="can be written to by others"):
        open_bundle(counter)
    trusting.system.chmod(0o755)
    (trusting.system / "key.pub").chmod(0o666)
    with pytest.raises(TrustError, match="can be written to by others"):
        open_bundle(counter)
    (trusting.system / "key.pub").chmod(0o644)
    assert read_keyring() is not None
    open_bundle(counter)


def test_a_file_in_place_of_the_folder_of_keys_is_not_passed_over(device: Device, counter: Path) -> None:
    device.system.parent.mkdir(parents=True)
    device.system.write_text("")
    with pytest.raises(TrustError, match="cannot be read"):
        open_bundle(counter)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--number", "0"], "wanted a whole number from 1"),
        (["--number", "9" * 30], "wanted a whole number from 1"),
        (["--not-before", "tomorrow"], "wanted a time in UTC"),
        (["--not-before", "2026-13-01T00:00:00Z"], "wanted a time in UTC"),
        (["--l4t", "abc"], "wanted a release of Jetson Linux or two"),
        (["--jetpack", "5"], "wanted one of 6.1, 6.2"),
        (["--jetpack", "6.2", "--l4t", "36.4"], "say the same"),
        (["--board", "a board"], "is no name of a board"),
        (
            ["--board", "moon"],
            "'moon' is no name of a board; wanted one of orin-nano-4gb, orin-nano-8gb, orin-nx-8gb, ",
        ),
        (["--board", "orin-nx-16g"], "'orin-nx-16g' is no name of a board (did you mean orin-nx-16gb?); wanted one of"),
        (["--board", "p3767-00"], "or a module's number (p3767-0000)"),
        (["--architecture", "arm64"], "'arm64' is no name of an architecture (did you mean aarch64?)"),
        (["--architecture", "moon"], "'moon' is no name of an architecture; wanted aarch64 or x86_64"),
        (["--name", "a/b"], "give --name"),
        (["--release", "a/b"], "--release 'a/b'"),
    ],
)
def test_what_cannot_be_stated_is_one_line(
    device: Device, counter: Path, capsys: Say, words: list[str], said: str
) -> None:
    key = str(device.public().with_suffix(""))
    assert said in says(capsys, 2, "sign", str(counter), "--key", key, *words)
    assert not signature_of(counter).exists()


def test_targets_by_name(device: Device, counter: Path, capsys: Say) -> None:
    key = str(device.public().with_suffix(""))
    said = says(capsys, 0, "sign", str(counter), "--key", key, "--board", "orin-nano-8gb", "--board", "raspberrypi",
                "--jetpack", "6.2.1", "--architecture", "aarch64", "--not-before", "2020-01-01T00:00:00Z")  # fmt: skip
    words = (
        "for aarch64, the board orin-nano-8gb (p3767-0003, p3767-0005) or raspberrypi, Jetson Linux 36.4.4 to 36.4.7"
    )
    assert f", {words}, from 2020-01-01T00:00:00Z on, SHA-256 " in said
    assert f", {words}, signed by SHA256:" in says(capsys, 0, "verify", str(counter), "--key", f"{key}.pub")
    said = says(capsys, 0, "verify", str(counter), "--key", f"{key}.pub", "--json")
    assert json.loads(said)["targets"] == {
        "architectures": ["aarch64"], "boards": ["p3767-0003", "p3767-0005", "raspberrypi"],
        "l4t_from": "36.4.4", "l4t_to": "36.4.7",
    }  # fmt: skip


def test_a_signature_of_what_ships_is_told_too(trusting: Device, tmp_path: Path, capsys: Say) -> None:
    demo = Path(shutil.copytree(bundle_path(), tmp_path / "my"))
    said = says(capsys, 0, "verify", str(demo))
    assert "my: good, it ships with this package, bundle 'wan-streamer-demo', without a signature, and it needs" in said
    assert json.loads(says(capsys, 0, "verify", str(demo), "--json"))["ships"] is True
    trusting.sign(demo, version=7)
    said = says(capsys, 0, "verify", str(demo))
    assert "it ships with this package, and it is signed: bundle 'wan-streamer-demo', version 7, of " in said
    assert f", for every machine, signed by {read_public(trusting.public()).fingerprint}\n" in said
    stated = json.loads(says(capsys, 0, "verify", str(demo), "--json"))
    assert (stated["version"], stated["ships"]) == (7, True)
    trusting.sign(demo, "other")
    said = says(capsys, 0, "verify", str(demo))
    assert "the signature beside it, which it does not need, is not good: " in said
    assert "this device does not trust" in said


@pytest.mark.parametrize("thing", ["nothing", "empty", "file.txt", "both"])
def test_what_is_nothing_that_is_signed_is_said(device: Device, tmp_path: Path, capsys: Say, thing: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "both").mkdir()
    for name in ("manifest.json", "release.json"):
        (tmp_path / "both" / name).write_text("{}")
    key = str(device.public().with_suffix(""))
    said = says(capsys, 2, "sign", str(tmp_path / thing), "--key", key)
    assert re.search("no file or folder|make a release of it|nothing that is signed|has a manifest", said)


def test_every_command_that_runs_a_bundle_asks_for_its_signature() -> None:
    """Who else opens one only looks at it."""
    root = Path(__file__).parents[3]
    files = [path for top in ("runtime", "quantization", "devices") for path in (root / top).rglob("*.py")]
    found = {path.relative_to(root).as_posix() for path in files if "Bundle.open(" in path.read_text("utf-8")}
    assert found == {
        "runtime/bundle/reader.py", "runtime/trust/opening.py", "runtime/trust/thing.py",
        "runtime/commands/inspect.py", "runtime/commands/pack.py", "runtime/commands/plan.py",
        "runtime/commands/deploy.py", "runtime/commands/deploy_fleet.py",
        "runtime/commands/flash_app.py",  # what a board is given, which asks itself
        "quantization/lint/command.py",
        "quantization/command.py",  # what it has just written itself
    }  # fmt: skip
