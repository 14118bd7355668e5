"""The process that drives a screen, by SDL.

Receives {"where", "height", "width", "title"} and PICTURES messages; shows each picture at its time and hands on when
it was seen, and what the user presses in the window.

    PICTURES   time: when the first is due; one: how many; two: nanoseconds between two; payload: RGB
               [n, height, width, 3]
    SEEN       time: when it was due; one: when it was seen; two: how many were skipped so far
    KEY        payload: mute, talk down, talk up, leave
    TYPED      payload: a line

Of several pictures that are due the newest is shown; the others are counted. Where there is no desktop, SDL's KMSDRM
driver takes the console; which drivers SDL has depends on how it was built, so its own words are passed on where it
finds none.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_streamer.devices.live.process.wire import ALIVE, CLOSE, OPENED, Wire
from edge_streamer.devices.live.process.worker import Unopened
from edge_streamer.devices.live.screen.names import WORDS, desktop
from edge_streamer.runtime.extras import needed

PICTURES, SEEN, KEY, TYPED = 16, 17, 18, 19

EARLY_SECONDS = 0.004
"""A picture may be shown this much too early: half a refresh at 120 a second."""

LOOK_SECONDS = 0.004
"""Between two looks at keys and messages while nothing is due."""

MOST_WAITING = 64
"""Pictures: 2.5 s. What is older than that is skipped."""

UNSEEN = ("offscreen", "dummy")
"""SDL's drivers that show nothing."""

LARGEST_WINDOW = 640
"""A window is the picture enlarged by a whole factor up to about this height."""

TEXT_HEIGHT = 28
ALIVE_SECONDS = 1.0

Picture = tuple[int, np.ndarray[Any, np.dtype[np.uint8]]]
"""When it is due, in nanoseconds; RGB [height, width, 3]."""


def work(wire: Wire, options: Mapping[str, Any]) -> None:
    """Drive one screen until the loop wants no more, or the user closes it. Raises Unopened."""
    if options["where"] not in WORDS:
        raise Unopened(
            f"--display {options['where']!r}; wanted {', '.join(WORDS)}, the name of an .mp4 file, or none",
            hopeless=True,
        )
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        import pygame
    except ImportError:
        raise Unopened(
            f"{needed('a screen', 'live', ['pygame'])}, or use --display none or FILE.mp4",
            hopeless=True,
        ) from None
    window = _Window(pygame, options)
    wire.tell(OPENED, **window.facts)
    _Screen(wire, window).run()


class _Window:
    """SDL's window."""

    def __init__(self, pygame: Any, options: Mapping[str, Any]) -> None:
        self.pygame = pygame
        self._size = (options["width"], options["height"])
        self._typing: str | None = None
        self._full = options["where"] == "fullscreen" or (options["where"] == "default" and not desktop(os.environ))
        if "SDL_VIDEODRIVER" not in os.environ and not desktop(os.environ):
            os.environ["SDL_VIDEODRIVER"] = "kmsdrm"
        try:
            pygame.display.init()
            pygame.font.init()
            self._surface = self._open()
        except pygame.error as error:
            raise Unopened(
                f"no screen can be opened ({error}); use --display none or FILE.mp4", hopeless=True
            ) from None
        self._refuse_unseen()
        pygame.display.set_caption(options["title"])
        pygame.display.set_allow_screensaver(False)
        pygame.mouse.set_visible(not self._full)
        width, height = self._surface.get_size()
        self.facts = {"name": f"{pygame.display.get_driver()} {width}x{height}", "full": self._full}
        self._font = pygame.font.Font(None, TEXT_HEIGHT)
        self._last: Any = None

    def _refuse_unseen(self) -> None:
        """Where the desktop is not running SDL takes a driver that shows nothing, and says nothing."""
        driver = self.pygame.display.get_driver()
        if driver in UNSEEN and driver not in os.environ.get("SDL_VIDEODRIVER", ""):
            raise Unopened(
                f"no screen can be opened: nothing answers on the desktop {desktop(os.environ)}; start it, or use "
                "--display none or FILE.mp4", hopeless=True
            )  # fmt: skip

    def _open(self) -> Any:
        """On the desktop's graphics hardware where there is some."""
        if self._full:
            return self.pygame.display.set_mode((0, 0), self.pygame.FULLSCREEN)
        factor = max(1, LARGEST_WINDOW // self._size[1])
        size = (self._size[0] * factor, self._size[1] * factor)
        return self.pygame.display.set_mode(size, self.pygame.RESIZABLE)

    def turn_full(self) -> None:
        """From the whole screen to a window, or back."""
        self._full = not self._full
        self._surface = self._open()
        self.pygame.mouse.set_visible(not self._full)
        self.draw()

    def show(self, rgb: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        """[height, width, 3]"""
        height, width = rgb.shape[:2]
        self._last = self.pygame.image.frombuffer(rgb.tobytes(), (width, height), "RGB")
        self.draw()

    def draw(self) -> None:
        """The last picture as large as fits, and what is being typed."""
        surface = self._surface = self.pygame.display.get_surface()
        width, height = surface.get_size()
        surface.fill((0, 0, 0))
        if self._last is not None:
            scale = min(width / self._size[0], height / self._size[1])
            size = (max(round(self._size[0] * scale), 1), max(round(self._size[1] * scale), 1))
            place = ((width - size[0]) // 2, (height - size[1]) // 2)
            surface.blit(self.pygame.transform.smoothscale(self._last, size), place)
        if self._typing is not None:
            text = self._font.render(f"> {self._typing}_", True, (255, 255, 255), (0, 0, 0))
            surface.blit(text, (8, height - TEXT_HEIGHT - 4))
        self.pygame.display.flip()

    def pressed(self) -> list[tuple[int, str]]:
        """What was pressed since the last call, as (KEY or TYPED, what)."""
        found: list[tuple[int, str]] = []
        for event in self.pygame.event.get():
            if event.type == self.pygame.QUIT:
                found.append((KEY, "leave"))
            elif event.type == self.pygame.KEYDOWN and self._typing is not None:
                found += self._type(event)
            elif event.type in (self.pygame.KEYDOWN, self.pygame.KEYUP):
                found += self._press(event)
        return found

    def _type(self, event: Any) -> list[tuple[int, str]]:
        assert self._typing is not None
        line = self._typing
        if event.key in (self.pygame.K_RETURN, self.pygame.K_KP_ENTER, self.pygame.K_ESCAPE):
            self._typing = None
            self.draw()
            return [(TYPED, line)] if event.key != self.pygame.K_ESCAPE and line else []
        self._typing = line[:-1] if event.key == self.pygame.K_BACKSPACE else line + event.unicode
        self.draw()
        return []

    def _press(self, event: Any) -> list[tuple[int, str]]:
        pygame, down = self.pygame, event.type == self.pygame.KEYDOWN
        if event.key == pygame.K_SPACE:
            return [(KEY, "talk down" if down else "talk up")]
        if not down:
            return []
        if event.key in (pygame.K_RETURN, pygame.K_KP_ENTER):
            self._typing = ""
            self.draw()
        elif event.key == pygame.K_f:
            self.turn_full()
        words = {pygame.K_m: "mute", pygame.K_q: "leave", pygame.K_ESCAPE: "leave"}
        return [(KEY, words[event.key])] if event.key in words else []


class _Screen:
    """Pictures on the clock."""

    def __init__(self, wire: Wire, window: _Window) -> None:
        self._wire, self._window = wire, window
        self._waiting: deque[Picture] = deque()
        self._skipped = 0
        self._told = time.monotonic()

    def run(self) -> None:
        """Until CLOSE."""
        while self._hear():
            self._show_due()
            for kind, what in self._window.pressed():
                self._wire.send(kind, payload=what.encode())
            if time.monotonic() - self._told > ALIVE_SECONDS:
                self._told = time.monotonic()
                self._wire.send(ALIVE)

    def _hear(self) -> bool:
        """Take all messages that came; wait a little where there is none. False where it is to end."""
        wait = LOOK_SECONDS
        if self._waiting:
            wait = min(max(self._waiting[0][0] * 1e-9 - EARLY_SECONDS - time.monotonic(), 0.0), LOOK_SECONDS)
        while (message := self._wire.receive(wait)) is not None:
            wait = 0.0
            if message.kind == CLOSE:
                return False
            if message.kind == PICTURES:
                width, height = self._window._size
                pictures = np.frombuffer(message.payload, np.uint8).reshape(message.one, height, width, 3)
                for index, picture in enumerate(pictures):
                    self._waiting.append((message.time_ns + index * message.two, picture))
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self._skipped += 1
        return True

    def _show_due(self) -> None:
        """The newest picture that is due, if one is."""
        now = time.monotonic_ns() + int(1e9 * EARLY_SECONDS)
        due: Picture | None = None
        while self._waiting and self._waiting[0][0] <= now:
            self._skipped += due is not None
            due = self._waiting.popleft()
        if due is not None:
            self._window.show(due[1])
            self._wire.send(SEEN, due[0], time.monotonic_ns(), self._skipped)
