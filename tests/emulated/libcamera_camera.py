"""python -m tests.emulated.libcamera_camera: the picamera2 back end on a real libcamera, in .ci/libcamera's machine.

The kernel's virtual camera (vimc) shows eight bars; they must arrive in their colours, 25 times, at times that pass.
"""

from __future__ import annotations

import sys
import time
from itertools import pairwise

from edge_streamer.devices.live.camera.back_ends import Need, picamera2

BARS = ["111", "110", "011", "010", "101", "100", "001", "000"]
"""White, yellow, cyan, green, magenta, red, blue, black."""


def main() -> int:
    source = picamera2.open_source("0", Need(48, 80, 25))
    print(source.facts)
    frames, times, right = source.frames(), [], 0
    for _ in range(25):
        seconds, frame = next(frames)
        times.append(seconds)
        age = time.monotonic() - seconds
        row = frame.to_ndarray(format="rgb24")[-4]
        bars = [row[(2 * index + 1) * len(row) // 16] > 95 for index in range(8)]
        right += ["".join(str(int(value)) for value in bar) for bar in bars] == BARS and 0 <= age < 1
    source.close()
    rising = all(later > earlier for earlier, later in pairwise(times))
    print(f"{right} of 25 pictures right, {24 / (times[-1] - times[0]):.1f} a second, newest {1000 * age:.0f} ms old")
    return 0 if right == 25 and rising else 1


if __name__ == "__main__":
    sys.exit(main())
