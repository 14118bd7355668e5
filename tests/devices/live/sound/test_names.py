"""Devices by name: what a word means among what PortAudio lists, and what is said where it means nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_streamer.devices.live.sound.names import NoSuchDevice, SoundDevice, choose, explained, read_cards

CARDS = {"APE": 1, "Headset": 2, "Array": 3}


def device(index: int, name: str, inputs: int, outputs: int, default: str = "") -> SoundDevice:
    return SoundDevice(index, name, "ALSA", inputs, outputs, 48000, 0.01, 0.01, "i" in default, "o" in default)


DEVICES = [
    device(0, "NVIDIA Jetson HDA: HDMI 0 (hw:0,3)", 0, 2),
    device(1, "tegra APE: - (hw:1,0)", 16, 16),
    device(2, "Jabra: USB Audio (hw:2,0)", 1, 2),
    device(3, "ReSpeaker: USB Audio (hw:3,0)", 6, 2),
    device(4, "pulse", 32, 32),
    device(5, "default", 32, 32, "io"),
]


@pytest.mark.parametrize(
    ("word", "direction", "index"),
    [("default", "in", 5), ("default", "out", 5), ("jabra", "in", 2), ("HDMI", "out", 0), ("Headset", "in", 2),
     ("Array", "out", 3), ("APE", "in", 1), ("pulse", "out", 4), ("hw:3,0", "in", 3),
     ("ReSpeaker: USB Audio", "in", 3)],
)  # fmt: skip
def test_a_word_means_one_device(word: str, direction: str, index: int) -> None:
    assert choose(word, direction, DEVICES, CARDS).index == index  # type: ignore[arg-type]


def test_the_order_of_cards_does_not_matter() -> None:
    shuffled = [device(9 - d.index, d.name, d.inputs, d.outputs) for d in DEVICES[::-1]]
    assert choose("jabra", "in", shuffled, CARDS).name == "Jabra: USB Audio (hw:2,0)"


@pytest.mark.parametrize(
    ("word", "direction", "why"),
    [
        ("Umbrella", "in", "no microphone is named 'Umbrella'; there are: 'tegra APE: - (hw:1,0)', 'Jabra"),
        ("HDMI", "in", "no microphone is named 'HDMI'"),  # it only plays
        ("USB Audio", "out", "is the name of several speakers: 'Jabra: USB Audio (hw:2,0)', 'ReSpeaker"),
    ],
)
def test_a_word_that_means_none_or_several_is_refused_with_the_names(word: str, direction: str, why: str) -> None:
    with pytest.raises(NoSuchDevice) as refused:
        choose(word, direction, DEVICES, CARDS)  # type: ignore[arg-type]
    assert why in str(refused.value)


def test_no_device_at_all() -> None:
    with pytest.raises(
        NoSuchDevice, match="there is no speaker; plug one in, start the sound server, or use --speaker none"
    ):
        choose("default", "out", [device(0, "mic", 1, 0)], {})
    aborted = "its process ended: python: pa_linux_alsa.c:1454: BuildDeviceList: Assertion `devIdx < n' failed."
    assert explained(aborted, "in").startswith("there is no microphone")
    assert explained("busy", "in") == "busy"


def test_where_no_default_is_named_the_first_is_taken() -> None:
    assert choose("default", "in", DEVICES[:4], {}).index == 1


def test_cards_are_read_from_the_kernels_list(tmp_path: Path) -> None:
    file = tmp_path / "cards"
    file.write_text(
        " 0 [HDA            ]: tegra-hda - NVIDIA Jetson HDA\n                      NVIDIA Jetson HDA at 0x3510000\n"
        " 2 [Headset        ]: USB-Audio - Jabra\n"
    )
    assert read_cards(file) == {"HDA": 0, "Headset": 2}
    assert read_cards(tmp_path / "none") == {}
