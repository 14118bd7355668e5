"""The commands are NVIDIA's, word for word: one list here, written by hand from the documents."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from edge_streamer.devices.jetson.flash import preflight, routes
from edge_streamer.devices.jetson.flash.routes import BOARDS, ROUTES, Command, Wish, route
from edge_streamer.devices.jetson.flash.usb import MODULES, PARTS, product_of
from edge_streamer.runtime.commands import flash_options
from edge_streamer.runtime.errors import InputError

INITRD = "./tools/kernel_flash/l4t_initrd_flash.sh"
QSPI = "-p '-c bootloader/generic/cfg/flash_t234_qspi.xml'"
T234 = "-c tools/kernel_flash/flash_l4t_t234_nvme.xml"

DOCUMENTED = {
    ("orin-nano", "nvme", 36): f"{INITRD} --external-device nvme0n1p1 {T234} {QSPI} --showlogs --network usb0 "
    "jetson-orin-nano-devkit internal",
    ("orin-nano", "sd", 36): f"{INITRD} --external-device mmcblk0p1 {T234} {QSPI} --showlogs --network usb0 "
    "jetson-orin-nano-devkit internal",
    ("orin-nx", "nvme", 36): f"{INITRD} --external-device nvme0n1p1 {T234} {QSPI} --showlogs --network usb0 "
    "jetson-orin-nano-devkit internal",
    ("agx-orin", "emmc", 36): "./flash.sh jetson-agx-orin-devkit internal",
    ("agx-orin", "nvme", 36): f"{INITRD} --external-device nvme0n1p1 {T234} --showlogs --network usb0 "
    "jetson-agx-orin-devkit external",
    ("thor", "nvme", 38): "./l4t_initrd_flash.sh jetson-agx-thor-devkit internal",
    ("thor-t4000", "nvme", 38): "./l4t_initrd_flash.sh jetson-agx-thor-t4000 internal",
    ("orin-nano", "nvme", 39): "./l4t_initrd_flash.sh jetson-orin-nano-devkit internal",
    ("orin-nano", "sd", 39): "./l4t_initrd_flash.sh --external-device mmcblk0p1 jetson-orin-nano-devkit internal",
    ("orin-nx", "nvme", 39): "./l4t_initrd_flash.sh jetson-orin-nano-devkit internal",
    ("agx-orin", "emmc", 39): "./l4t_initrd_flash.sh jetson-agx-orin-devkit internal",
    (
        "agx-orin",
        "nvme",
        39,
    ): f"./l4t_initrd_flash.sh --external-device nvme0n1p1 {T234} jetson-agx-orin-devkit external",
    ("thor", "nvme", 39): "./l4t_initrd_flash.sh jetson-agx-thor-devkit internal",
    ("thor-t4000", "nvme", 39): "./l4t_initrd_flash.sh jetson-agx-thor-t4000 internal",
}


def wish(board: str, **more: object) -> Wish:
    return Wish(BOARDS[board].config, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", DOCUMENTED)
def test_the_command_is_nvidias(key: tuple[str, str, int]) -> None:
    row = route(*key)
    assert str(routes.whole(row, wish(key[0]))) == f"sudo {DOCUMENTED[key]}"
    assert row.document


def test_every_row_is_documented_here() -> None:
    assert {(row.board, row.storage, row.series) for row in ROUTES} == set(DOCUMENTED)


@pytest.mark.parametrize("key", DOCUMENTED)
def test_the_page_has_the_command(key: tuple[str, str, int]) -> None:
    page = (Path(__file__).parents[4] / "docs/flash.md").read_text("utf-8")
    row = next(line for line in page.splitlines() if f"`{DOCUMENTED[key]}`" in line and f"R{key[2]}" in line)
    assert row.endswith(f"| {'read' if route(*key).read else 'copies'} |")


def test_images_alone_and_flashing_alone() -> None:
    row = route("orin-nano", "nvme", 36)
    assert str(routes.images(row, wish("orin-nano", module=(("BOARDID", "3767"), ("BOARDSKU", "0005"))))) == (
        f"sudo BOARDID=3767 BOARDSKU=0005 {INITRD} --no-flash --external-device nvme0n1p1 {T234} {QSPI} --showlogs "
        "--network usb0 jetson-orin-nano-devkit internal"
    )
    assert str(routes.flashing(row, wish("orin-nano"))) == (
        f"sudo {INITRD} --flash-only --showlogs --network usb0 jetson-orin-nano-devkit internal"
    )
    emmc = route("agx-orin", "emmc", 36)
    assert str(routes.flashing(emmc, wish("agx-orin"))) == "sudo ./flash.sh -r jetson-agx-orin-devkit internal"
    assert str(routes.images(emmc, wish("agx-orin"))) == "sudo ./flash.sh --no-flash jetson-agx-orin-devkit internal"


def test_several_boards_at_once() -> None:
    """README_initrd_flash.txt, Workflow 6, with the options of Workflow 3."""
    row = route("orin-nx", "nvme", 36)
    assert str(routes.images(row, wish("orin-nx", massflash=5))) == (
        f"sudo {INITRD} --no-flash --massflash 5 --network usb0 --external-device nvme0n1p1 {T234} {QSPI} "
        "jetson-orin-nano-devkit internal"
    )
    assert str(routes.flashing(row, wish("orin-nx", massflash=5))) == (
        f"sudo {INITRD} --flash-only --massflash 5 --network usb0 jetson-orin-nano-devkit internal"
    )
    emmc = route("agx-orin", "emmc", 36)
    assert str(routes.images(emmc, wish("agx-orin", massflash=5))) == (
        f"sudo {INITRD} --no-flash --massflash 5 --network usb0 jetson-agx-orin-devkit mmcblk0p1"
    )


def test_everything_is_erased_only_where_it_is_asked_for() -> None:
    row = route("orin-nano", "nvme", 39)
    assert "--erase-all" not in routes.whole(row, wish("orin-nano")).words
    assert str(routes.whole(row, Wish("jetson-orin-nano-devkit-super", erase=True))) == (
        "sudo ./l4t_initrd_flash.sh --erase-all jetson-orin-nano-devkit-super internal"
    )
    assert "--erase-all" not in routes.whole(route("agx-orin", "emmc", 36), wish("agx-orin", erase=True)).words


def test_what_nvidia_does_not_document_is_refused() -> None:
    with pytest.raises(InputError, match="Orin NX is not flashed to the module's eMMC with R36; name one of: nvme"):
        route("orin-nx", "emmc", 36)
    with pytest.raises(InputError, match=r"Thor is not flashed with R36; unpack one of: R38 .*R39 "):
        route("thor", "nvme", 36)
    with pytest.raises(InputError, match="Orin Nano is not flashed with R38"):
        route("orin-nano", "nvme", 38)


def test_a_command_is_shown_as_one_would_type_it() -> None:
    command = Command(("./a", "-p", "-c x"), (("B", "c d"),))
    assert shlex.split(str(command)) == ["sudo", "B=c d", "./a", "-p", "-c x"]


def test_names_are_one_word_everywhere() -> None:
    assert tuple(BOARDS) == flash_options.BOARDS
    assert tuple(routes.STORAGES) == flash_options.STORAGES
    assert preflight.ALLOWED == flash_options.ALLOWED
    assert sorted(product for board in BOARDS.values() for product in board.products) == sorted(MODULES)
    for board in BOARDS.values():
        for part in board.modules:
            assert product_of(part) in board.products
    assert {part for parts in PARTS.values() for part in parts} == {
        p for board in BOARDS.values() for p in board.modules
    }
