"""A flash from beginning to end: its steps, in their order, each done once.

Receives what was decided; hands on the commands that will run, and runs them. The root file system is prepared first
and whole; then NVIDIA's one command makes the images and writes them. As soon as it has said that the images are made,
that is remembered: where the writing fails, the next run writes the same images and makes none.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from edge_streamer.devices.jetson.flash import prepare, progress, routes, run, watch
from edge_streamer.devices.jetson.flash.rootfs import Owners, Rootfs
from edge_streamer.devices.jetson.flash.routes import Command, Route, Wish
from edge_streamer.devices.jetson.flash.settings import Settings
from edge_streamer.devices.jetson.flash.tree import Tree
from edge_streamer.runtime.errors import InputError

SETTLE_SECONDS = 30.0
"""After its EEPROM was read a board starts again; NVIDIA's own script waits as long for its USB."""

Told = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What is to be done."""

    tree: Tree
    row: Route
    wish: Wish
    settings: Settings | None = None
    """None where the root file system stays as it is."""
    images_only: bool = False
    identify: bool = False
    """Whether the board's EEPROM is read first."""
    ports: tuple[str, ...] = ()
    """Boards in recovery mode."""
    product: str = ""
    """What they show as, or would: images for one module are no other's."""
    patience: float = 1.0
    owners: Owners = field(default_factory=Owners)


class Outcome(NamedTuple):
    """How it went for one board."""

    port: str
    good: bool
    said: str


def commands(job: Job, kept: bool) -> list[tuple[str, Command]]:
    """Every command of NVIDIA's that will run, each with its title. ``kept``: images of the same wish are there."""
    found = [("identify", Command(routes.IDENTIFY))] if job.identify else []
    several = bool(job.wish.massflash)
    if not kept and (several or job.images_only):
        found.append(("images", routes.images(job.row, job.wish)))
    if not job.images_only:
        only = kept or several
        found.append(("flash", (routes.flashing if only else routes.whole)(job.row, job.wish)))
    return found


def kept(job: Job) -> bool:
    """Whether the images of this very wish are made already, from the root file system as it will be."""
    with Rootfs(job.tree.rootfs, write=False) as rootfs:
        now = prepare.whole(rootfs)
        if prepare.half(rootfs) or (job.settings is not None and now != job.settings.fingerprint()):
            return False
    state = progress.Progress(job.tree.path)
    return _images_there(job) and state.done(progress.IMAGES, _wanted(job, now))


def check(job: Job) -> None:
    """Raises InputError for what is wanted of the root file system and cannot be, without writing."""
    with Rootfs(job.tree.rootfs, write=False) as rootfs:
        if job.settings is not None:
            prepare.possible(rootfs, job.settings)
        elif prepare.half(rootfs):
            raise InputError(f"{job.tree.rootfs} is half prepared: it was interrupted; run the same command again, "
                             "with what it was to be prepared with")  # fmt: skip


def do(job: Job, state: progress.Progress, told: Told) -> list[Outcome]:
    """All of it. Raises InputError where a step fails; where boards fail, their outcomes say so."""
    state.begin()
    with state.alone():
        state.check_running()
        fingerprint = _prepare(job, state, told)
        there = kept(job)
        if there:
            told("images: as they were made before")
        for title, command in commands(job, there):
            told(f"{title}: {command}")
            log = state.logs / f"{title}.log"
            if title in ("images", "flash") and not there:
                state.forget(progress.IMAGES)

            def on_stage(stage: str) -> None:
                if stage == watch.IMAGES_MADE:
                    state.finish(progress.IMAGES, fingerprint)

            begun = time.time()
            ran = run.run(command, job.tree.path, log, told, patience=job.patience, on_stage=on_stage,
                          begun=state.running)  # fmt: skip
            if title == "identify":
                _identified(job, ran)
                time.sleep(SETTLE_SECONDS * min(1.0, job.patience))
            elif title == "images" and ran.done:
                state.finish(progress.IMAGES, fingerprint)
            elif title == "images":
                raise InputError(f"the images were not made: {ran.why()}")
            else:
                return _outcomes(job, state, ran, fingerprint, begun)
            there = there or title == "images"
    return []


def _prepare(job: Job, state: progress.Progress, told: Told) -> str:
    """The root file system, whole; the fingerprint of what is flashed from it."""
    with Rootfs(job.tree.rootfs, job.owners, write=job.settings is not None) as rootfs:
        if job.settings is not None:
            if prepare.whole(rootfs) == job.settings.fingerprint():
                told("root file system: as it was prepared before")
            else:
                state.forget(progress.IMAGES)
                prepare.prepare(rootfs, job.settings, lambda what: told(f"root file system: {what}"))
        if prepare.half(rootfs):
            raise InputError(f"{job.tree.rootfs} is half prepared; prepare it first")
        return _wanted(job, prepare.whole(rootfs))


def _wanted(job: Job, prepared: str) -> str:
    """Stands for the images: what they are made from, and how."""
    said = "\n".join((job.tree.release, prepared, str(routes.whole(job.row, job.wish._replace(erase=False))),
                      str(job.wish.massflash), job.product))  # fmt: skip
    return hashlib.sha256(said.encode("utf-8", "surrogateescape")).hexdigest()


def _images_there(job: Job) -> bool:
    if job.row.words[0] == routes.FLASH and not job.wish.massflash:
        return (job.tree.path / "bootloader/system.img").exists()
    return (job.tree.path / "tools/kernel_flash/initrdflashparam.txt").exists()


def _identified(job: Job, ran: run.Ran) -> None:
    """Does the board's EEPROM name what is to be flashed? An empty field is one of a board that was never labelled."""
    if not ran.done:
        raise InputError(f"the board does not say what it is: {ran.why()}")
    text = "\n".join(ran.lines)
    part = [found[1] if (found := re.search(rf"board {name} \((\w*)\)", text)) else "" for name in ("ID", "SKU")]
    module = f"p{part[0]}-{part[1]}" if all(part) else ""
    board = routes.BOARDS[job.row.board]
    if module and module not in board.modules:
        raise InputError(f"the board says that it is a {module}, which is no {board.title}; name the right --board")


def _outcomes(job: Job, state: progress.Progress, ran: run.Ran, fingerprint: str, begun: float) -> list[Outcome]:
    if job.wish.massflash:
        found = [_outcome(job, port, ran, begun) for port in job.ports]
    elif ran.done:
        unsaid = watch.WRITTEN not in ran.stages
        said = f"ended well, but did not say that the board was written; see {ran.log}" if unsaid else "written"
        found = [Outcome(job.ports[0] if job.ports else "?", True, said)]
    else:
        found = [Outcome(job.ports[0] if job.ports else "?", False, ran.why())]
    state.finish(progress.FLASHED, fingerprint, boards={one.port: one.said for one in found})
    return found


def _outcome(job: Job, port: str, ran: run.Ran, begun: float) -> Outcome:
    """Of one board of several, by its own log: the script's exit status is of all together."""
    logs = [log for log in job.tree.path.glob(f"initrdlog/flash_{port}_*_*.log") if log.stat().st_mtime >= begun - 2]
    log = max(logs, key=lambda log: log.stat().st_mtime, default=None)
    if log is None:
        return Outcome(port, False, f"it was not begun: {ran.why()}")
    lines = _tail(log)
    if any(watch.written(line) for line in lines):
        return Outcome(port, True, "written")
    advice = watch.advice_for(lines) or f"see {log}"
    return Outcome(port, False, f"{watch.complaint(lines) or 'it said nothing'}; {advice}")


def _tail(log: Path, most: int = 512 * 1024) -> Sequence[str]:
    with open(log, "rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - most))
        return [watch.plain(line) for line in file.read().decode("utf-8", "replace").splitlines()]
