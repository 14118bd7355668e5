"""Stills in HEIF boxes for tests, as phones write them: HEIC and AVIF, whole and in tiles."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

PLAIN = (1, 13, 6)
"""BT.709, sRGB, BT.601: (primaries, transfer, matrix) of most phones' stills."""

CODECS = {".heic": ("libx265", b"hvcC", b"hvc1"), ".avif": ("libsvtav1", b"av1C", b"av01")}
ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"


def write_heif(
    path: Path,
    tiles: Sequence[Sequence[NDArray[np.uint8]]],
    size: tuple[int, int] | None = None,
    properties: Sequence[tuple[bytes, bytes]] = (),
    colours: tuple[int, int, int] = PLAIN,
    alpha: NDArray[np.uint8] | None = None,
    form: str = "yuv420p",
) -> Path:
    """Rows of ``tiles`` [height, width, 3] cut to ``size`` (height, width), with ``properties`` of the whole picture.

    ``alpha`` [height, width] goes beside it. The suffix of ``path`` says how the tiles are compressed.
    """
    codec, name, kind = CODECS[path.suffix]
    flat = [tile for row in tiles for tile in row]
    # In a thread of its own: run by root, the AV1 encoder gives the thread that opens it the highest real-time
    # priority.
    with ThreadPoolExecutor(1) as aside:
        data = list(aside.map(lambda tile: _encoded(path, codec, name, tile, form), flat))
        if alpha is not None:
            data.append(aside.submit(_encoded, path, codec, name, alpha, "yuv420p").result())
    height, width = size or (len(tiles) * flat[0].shape[0], len(tiles[0]) * flat[0].shape[1])
    whole = len(data) + 1  # a grid's number; one tile alone is the picture itself
    primary = whole if len(flat) > 1 else 1
    nclx = _box(b"colr", b"nclx" + struct.pack(">HHHB", *colours, 0))
    seen = [_box(*one) for one in properties]

    ipco, of = list[bytes](), dict[int, list[int]]()
    for number, (setup, _) in enumerate(data, start=1):
        tile = flat[number - 1] if number <= len(flat) else alpha
        assert tile is not None
        ipco += [_box(name, setup), _full(b"ispe", struct.pack(">II", tile.shape[1], tile.shape[0]))]
        of[number] = [0x80 | len(ipco) - 1, len(ipco)]  # 0x80: a reader must know it
    if alpha is not None:
        ipco.append(_full(b"auxC", ALPHA))
        of[len(data)].append(len(ipco))
    if primary == whole:
        ipco.append(_full(b"ispe", struct.pack(">II", width, height)))
        of[whole] = [len(ipco)]
    ipco += [nclx, *seen]
    of[primary] += [len(ipco) - len(seen), *(0x80 | index + 1 for index in range(len(ipco) - len(seen), len(ipco)))]

    kinds = {number: kind for number in range(1, whole)} | ({whole: b"grid"} if primary == whole else {})
    infe = b"".join(_full(b"infe", struct.pack(">HH4s", n, 0, k) + b"\0", version=2) for n, k in kinds.items())
    references = b""
    if primary == whole:
        references += _box(b"dimg", struct.pack(f">HH{len(flat)}H", whole, len(flat), *range(1, len(flat) + 1)))
    if alpha is not None:
        references += _box(b"auxl", struct.pack(">HHH", len(data), 1, primary))
    grid = struct.pack(">BBBBHH", 0, 0, len(tiles) - 1, len(tiles[0]) - 1, width, height)
    ipma = struct.pack(">I", len(of)) + b"".join(struct.pack(">HB", n, len(i)) + bytes(i) for n, i in of.items())
    ftyp = _box(b"ftyp", (b"avif" if kind == b"av01" else b"heic") + bytes(4) + b"mif1miaf")

    def meta(start: int) -> bytes:
        places, at = b"", start
        for number, (_, content) in enumerate(data, start=1):
            places += struct.pack(">HHHHII", number, 0, 0, 1, at, len(content))
            at += len(content)
        if primary == whole:
            places += struct.pack(">HHHHII", whole, 1, 0, 1, 0, len(grid))
        iloc = _full(b"iloc", struct.pack(">BBH", 0x44, 0, len(kinds)) + places, version=1)
        parts = [
            _full(b"hdlr", bytes(4) + b"pict" + bytes(13)), _full(b"pitm", struct.pack(">H", primary)), iloc,
            _full(b"iinf", struct.pack(">H", len(kinds)) + infe), _full(b"iref", references),
            _box(b"iprp", _box(b"ipco", b"".join(ipco)) + _full(b"ipma", ipma)), _box(b"idat", grid),
        ]  # fmt: skip
        return _full(b"meta", b"".join(parts))

    start = len(ftyp) + len(meta(0)) + 8
    path.write_bytes(ftyp + meta(start) + _box(b"mdat", b"".join(content for _, content in data)))
    return path


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def _full(name: bytes, content: bytes, version: int = 0) -> bytes:
    return _box(name, bytes([version, 0, 0, 0]) + content)


def _encoded(path: Path, codec: str, name: bytes, tile: NDArray[np.uint8], form: str) -> tuple[bytes, bytes]:
    """(what sets up the decoder, the compressed picture), by way of a film of one frame."""
    film = path.with_suffix(".tile.mp4")
    quality = {"qp": "4", "preset": "12"}
    if codec == "libx265":
        alone = "pools=none:frame-threads=1:wpp=0:bframes=0"  # threads cost more than they save
        quality = {"preset": "ultrafast", "x265-params": f"log-level=none:qp=4:{alone}"}
    with av.open(str(film), "w") as container:
        stream = container.add_stream(codec, rate=25, options=quality)
        stream.height, stream.width, stream.pix_fmt = *tile.shape[:2], form
        frame = av.VideoFrame.from_ndarray(tile, format="gray" if tile.ndim == 2 else "rgb24").reformat(format=form)
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(film)) as container:
        content = b"".join(bytes(packet) for packet in container.demux(video=0))
    data = film.read_bytes()
    at = data.index(name)
    film.unlink()
    return data[at + 4 : at - 4 + struct.unpack(">I", data[at - 4 : at])[0]], content
