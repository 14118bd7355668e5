"""A device with keys uses what they signed, as it was signed, for it, and no older than before: nothing else is run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_streamer.runtime.bundle import checksums
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import SHIPPED, bundle_path
from edge_streamer.runtime.errors import EdgeStreamerError, TrustError
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.session.snapshot import load_snapshot
from edge_streamer.runtime.trust import gate, seen
from edge_streamer.runtime.trust.gate import signature_of
from edge_streamer.runtime.trust.here import Here
from edge_streamer.runtime.trust.opening import open_bundle
from edge_streamer.runtime.trust.statement import Targets
from tests.bundles import rewrite
from tests.runtime.trust.conftest import HERE, Device


def refused(path: Path, says: str) -> str:
    """What a session says of ``path``, which is not opened."""
    with pytest.raises(EdgeStreamerError) as caught:
        open_session(path, engine="cpu")
    text = str(caught.value)
    assert says in text
    assert "\n" not in text
    assert caught.value.exit_status == 2
    return text


def test_without_keys_nothing_is_asked(device: Device, counter: Path) -> None:
    open_session(counter, engine="cpu").close()
    (signature_of(counter)).write_text("rubbish")
    open_session(counter, engine="cpu").close()
    assert not device.versions.exists()


def test_what_is_signed_opens_and_what_is_not_does_not(trusting: Device, counter: Path) -> None:
    text = refused(counter, "counter is not signed")
    assert (
        "on the machine that has the private key: edge-streamer sign counter --key FILE; then copy counter.sig" in text
    )
    trusting.sign(counter)
    session = open_session(counter, engine="cpu")
    assert session.bundle.manifest.name == "counter"
    session.close()


def test_what_the_package_ships_is_known_by_its_sum(trusting: Device) -> None:
    for floats in (False, True):
        assert Bundle.open(bundle_path(floats)).hash in SHIPPED
    open_bundle(bundle_path())
    assert not trusting.versions.exists()


@pytest.mark.parametrize("name", ["manifest.json", "graphs/first.onnx", "graphs/second.onnx", "signature"])
def test_a_byte_changed_anywhere_is_refused(trusting: Device, counter: Path, name: str) -> None:
    signature = trusting.sign(counter)
    path = signature if name == "signature" else counter / name
    whole = path.read_bytes()
    open_bundle(counter)
    for at in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        refused(counter, "")
    for spoiled in (whole[:-1], whole[: len(whole) // 2], whole + b" ", b""):
        path.write_bytes(spoiled)
        refused(counter, "")
    path.write_bytes(whole)
    open_bundle(counter)


def test_a_file_more_or_less_is_refused(trusting: Device, counter: Path) -> None:
    trusting.sign(counter)
    (counter / "more").write_text("more")
    refused(counter, "is not listed in manifest.json")
    (counter / "more").unlink()
    (counter / "graphs/first.onnx").unlink()
    refused(counter, "is missing")


def test_another_key_is_refused_also_under_the_name_of_the_right_one(trusting: Device, counter: Path) -> None:
    signature = trusting.sign(counter)
    right = signature.read_bytes()
    trusting.sign(counter, "stranger")
    wrong = signature.read_bytes()
    refused(counter, "signed by a key that this device does not trust")
    names = [text.split(b'"keyid":"')[1].split(b'"')[0] for text in (right, wrong)]
    signature.write_bytes(wrong.replace(names[1], names[0]))
    refused(counter, "damaged or forged: its signature is not by the key 'key' that it names")
    trusting.sign(counter, "stranger", "key")  # while keys change, a thing is signed by both
    open_bundle(counter)


def test_the_key_file_of_the_device_swapped_for_another_refuses_what_the_first_signed(
    trusting: Device, counter: Path
) -> None:
    trusting.sign(counter)
    open_bundle(counter)
    (trusting.system / "key.pub").write_bytes(trusting.public("stranger").read_bytes())
    refused(counter, "signed by a key that this device does not trust")


def test_the_signature_of_another_bundle_or_of_another_kind_is_refused(
    trusting: Device, counter: Path, ring: Path
) -> None:
    shutil.copyfile(trusting.sign(ring), signature_of(counter))
    refused(counter, "is not what was signed")
    manifest = counter.parent / "state.npz"  # a snapshot's statement over the very content of the bundle
    shutil.copyfile(counter / "manifest.json", manifest)
    shutil.copyfile(trusting.sign(manifest), signature_of(counter))
    refused(counter, "signs a snapshot; ")


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (
            Targets(boards=("p3767-0000", "p3701-0005")),
            "is for the board orin-nx-16gb (p3767-0000) or agx-orin-64gb (p3701-0005); this one is orin-nano-8gb (",
        ),
        (Targets(boards=("p3767-0000",)), "sign it anew with --board orin-nano-8gb beside what it has, or no --board"),
        (Targets(architectures=("x86_64",)), "with --architecture aarch64 beside what it has, or no --architecture"),
        (Targets(boards=("3767-0005",)), "for the board 3767-0005; this one is"),
        (Targets(boards=("p3767-000",)), "for the board"),
        (Targets(architectures=("x86_64",)), "is for x86_64; this machine is aarch64"),
        (Targets(l4t_from="36.5"), "is for Jetson Linux 36.5 to any newer; here is 36.4.3"),
        (Targets(l4t_to="36.4.0"), "is for Jetson Linux any to 36.4.0; here is 36.4.3"),
        (Targets(boards=("p3767-0005",)), ""),
        (Targets(boards=("p3767",), architectures=("aarch64", "x86_64"), l4t_from="36.4", l4t_to="36.4"), ""),
        (Targets(boards=("tegra234",)), ""),
    ],
)
def test_what_is_for_another_machine_is_refused(trusting: Device, counter: Path, targets: Targets, says: str) -> None:
    trusting.sign(counter, targets=targets)
    if says:
        refused(counter, says)
    else:
        open_bundle(counter)


def test_a_machine_that_says_nothing_of_itself_is_not_the_one_that_is_wanted(
    trusting: Device, counter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "read_here", lambda: Here("aarch64", "", ""))
    trusting.sign(counter, targets=Targets(boards=("p3767-0005",)))
    refused(counter, "none that says its name; to use it here too, sign it anew with no --board, for every machine")
    trusting.sign(counter, targets=Targets(l4t_from="36.4"))
    refused(counter, "here is none")


def test_a_time_that_has_not_come_is_refused(trusting: Device, counter: Path) -> None:
    trusting.sign(counter, not_before="2999-01-01T00:00:00Z")
    refused(counter, "may be used from 2999-01-01T00:00:00Z on")
    trusting.sign(counter, not_before="2020-01-01T00:00:00Z")
    open_bundle(counter)


def versions(counter: Path, trusting: Device) -> dict[int, tuple[Path, Path]]:
    """(bundle, its signature) of versions 1 and 2, which differ."""
    made = {}
    for number in (1, 2):
        folder = counter.parent / f"v{number}"
        shutil.copytree(counter, folder)
        rewrite(folder, lambda m, number=number: m["provenance"].update(preset=f"v{number}"))
        made[number] = folder, trusting.sign(folder, version=number)
    return made


def test_an_older_version_rightly_signed_does_not_come_back(trusting: Device, counter: Path) -> None:
    made = versions(counter, trusting)
    for number in (1, 1, 2, 2):
        open_bundle(made[number][0])
    text = refused(made[1][0], "is version 1 of bundle 'counter'; this device has used version 2")
    assert "--allow-downgrade" in text
    open_bundle(made[1][0], allow_downgrade=True)
    open_bundle(made[1][0])  # from now on it counts
    open_bundle(made[2][0])
    refused(made[1][0], "this device has used version 2")


def test_one_version_of_two_contents_is_refused(trusting: Device, counter: Path, ring: Path) -> None:
    trusting.sign(counter, name="one", version=3)
    open_bundle(counter)
    trusting.sign(ring, name="one", version=3)
    refused(ring, "is version 3 of bundle 'one', and so was something else")
    trusting.sign(ring, name="two", version=3)
    open_bundle(ring)  # versions are counted by name


def test_a_version_counts_only_once_all_of_it_was_whole(trusting: Device, counter: Path) -> None:
    made = versions(counter, trusting)
    (made[2][0] / "graphs/first.onnx").write_bytes(b"cut")
    refused(made[2][0], "bytes; manifest.json says")
    open_bundle(made[1][0])


def test_what_was_seen_survives_and_is_not_forgotten_when_it_is_damaged(trusting: Device, counter: Path) -> None:
    trusting.sign(counter, version=5)
    open_bundle(counter)
    path = seen.own_file()
    whole = path.read_bytes()
    for spoiled in (b"", b"{", whole[:-2], b"[]", whole.replace(b"5", b"-5"), bytes(200), b"[" * 100_000):
        path.write_bytes(spoiled)
        refused(counter, "nobody knows which versions this device has seen")
    path.write_bytes(whole)
    open_bundle(counter)


def test_a_version_that_cannot_be_remembered_is_not_used(
    trusting: Device, counter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting.sign(counter, version=5)
    blocked = trusting.folder / "file"
    blocked.write_text("in the way")
    monkeypatch.setattr(seen, "own_file", lambda: blocked / "versions.json")
    monkeypatch.setattr(seen, "_read", lambda path: {})
    refused(counter, "is new here and cannot be remembered")


def test_a_snapshot_is_asked_too_before_it_is_looked_into(trusting: Device, counter: Path) -> None:
    trusting.sign(counter)
    path = counter.parent / "state.npz"
    with open_session(counter, engine="cpu") as session:
        session.snapshot().save(path)
        with pytest.raises(TrustError, match=r"state\.npz is not signed"):
            load_snapshot(path)
        trusting.sign(path)
        session.restore(load_snapshot(path))
    whole = path.read_bytes()
    for at in range(0, len(whole), 37):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(TrustError, match="is not what was signed"):
            load_snapshot(path)


def test_a_snapshot_that_is_replaced_after_it_was_checked_is_not_the_one_that_is_read(
    trusting: Device, counter: Path
) -> None:
    trusting.sign(counter)
    path = counter.parent / "state.npz"
    with open_session(counter, engine="cpu") as session:
        session.snapshot().save(path)
        trusting.sign(path)
        loaded = load_snapshot(path)
        os.replace(counter / "manifest.json", path)
        assert set(loaded.arrays) == {"carry/sum"}


def test_a_manifest_that_changes_between_check_and_use_is_refused(trusting: Device, counter: Path) -> None:
    admit = gate.admission("bundle", counter)
    assert admit is not None
    trusting.sign(counter)
    admit(Bundle.open(counter).hash)
    with pytest.raises(TrustError, match="changed while it was read"):
        admit("0" * 64)


SWAPS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file": (lambda b: (b / "graphs/first.onnx").chmod(0o666), "first.onnx can be written to by others"),
    "the folder": (lambda b: b.chmod(0o777), "can be written to by others"),
    "a folder in it": (lambda b: (b / "graphs").chmod(0o757), "graphs can be written to by others"),
    "the folder above": (lambda b: b.parent.chmod(0o777), "can be written to by others"),
}


@pytest.mark.parametrize("case", SWAPS)
def test_what_others_may_change_after_the_check_is_refused(trusting: Device, counter: Path, case: str) -> None:
    spoil, says = SWAPS[case]
    trusting.sign(counter)
    spoil(counter)
    assert "chmod -R go-w" in refused(counter, says)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away, which root alone can")
def test_what_belongs_to_another_user_is_refused(trusting: Device, counter: Path) -> None:
    trusting.sign(counter)
    os.chown(counter / "graphs/first.onnx", 12345, 0)
    refused(counter, "belongs to another user (12345)")


def test_nothing_is_hashed_twice(trusting: Device, counter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusting.sign(counter)
    monkeypatch.setattr(checksums, "REMEMBERED_BYTES", 1)
    monkeypatch.setattr(checksums, "SETTLED_NANOSECONDS", -(10**18))
    hashed: list[str] = []
    digest = checksums.digest
    monkeypatch.setattr(checksums, "digest", lambda path: hashed.append(path.name) or digest(path))
    open_bundle(counter)
    open_bundle(counter)
    assert sorted(hashed) == ["first.onnx", "second.onnx"]


def test_the_signature_stands_beside_whatever_the_path_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundle").mkdir()
    monkeypatch.chdir(tmp_path / "bundle")
    assert signature_of(Path("a/bundle/")) == Path("a/bundle.sig")
    assert signature_of(Path("bundle.tar.gz")) == Path("bundle.tar.gz.sig")
    assert signature_of(Path(".")) == tmp_path / "bundle.sig"
    assert signature_of(Path("..")) == tmp_path.with_name(f"{tmp_path.name}.sig")


def test_this_machine_is_read_below_a_root(tmp_path: Path) -> None:
    from edge_streamer.devices.jetson import known
    from edge_streamer.runtime.trust.here import read_here

    line = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan 8 2025"
    for name, text in (
        ("etc/nv_tegra_release", line),
        ("proc/device-tree/compatible", "nvidia,p3767-0005\0tegra234\0"),
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    here = read_here(tmp_path)
    assert (here.compatible, here.l4t) == ("nvidia,p3767-0005 tegra234", known.l4t_of(line))
    assert read_here(tmp_path / "nothing")[1:] == ("", "")
    assert HERE.l4t == here.l4t


def test_boards_are_called_as_elsewhere() -> None:
    from edge_streamer.devices.jetson import known
    from edge_streamer.runtime.trust.here import NAMES, in_words

    assert {part: module.board for part, module in known.MODULES.items()} == NAMES
    several = Targets(boards=("p3767-0003", "p3767-0005", "raspberrypi"), l4t_from="36.4", l4t_to="36.4")
    assert in_words(several) == "for the board orin-nano-8gb (p3767-0003, p3767-0005) or raspberrypi, Jetson Linux 36.4"
    assert in_words(Targets(architectures=("aarch64",), l4t_to="36.5")) == "for aarch64, Jetson Linux any to 36.5"
    assert in_words(Targets()) == "for every machine"
