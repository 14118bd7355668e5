"""A deployment from its first look to the verdict: each step says what it does; what is done already is passed over.

Receives a :class:`~.device.Device`, a payload and wishes; hands on a :class:`Result`. The release that talks is left
alone until `releases activate`, which goes back by itself where the new one does not hold.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_streamer.devices.jetson.deploy import sending
from edge_streamer.devices.jetson.deploy.device import Device, Ended, Reply
from edge_streamer.devices.jetson.deploy.payload import SILENT, SOUND, Payload, fits
from edge_streamer.devices.jetson.deploy.wheels import Goal, lacking
from edge_streamer.devices.jetson.releases.adding import BUNDLE
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import size_text

UNPACKED = 3
"""An environment takes some three times the bytes of its wheels."""
SPARE_BYTES = 64_000_000
LOOK_SECONDS = 1.0
CONFIRMED, ON_TRIAL, CURRENT, GONE_BACK, REFUSED, WOULD_SEND, ABSENT, ILL = (
    "confirmed", "on trial", "current", "gone back from", "not switched to", "would send", "not live", "not healthy"
)  # fmt: skip
GOOD = (CONFIRMED, CURRENT, WOULD_SEND)


@dataclass(frozen=True)
class Wishes:
    """What the person asked for."""

    name: str
    engine: str = ""
    check: bool = True
    profile_units: int = 50
    """0: no profile."""
    budget: str = ""
    """The text of a budget's file."""
    service: bool = True
    system: bool = False
    terms: tuple[str, ...] = ()
    """Words for `releases activate`."""
    downgrade: bool = False
    wait: float = 0.0
    """Seconds for the verdict, where the service is somebody else's."""
    dry_run: bool = False
    sound: bool = False
    """Whether it takes a microphone or speaker there."""
    serial: str = ""
    """Of the board that is meant; empty: whichever answers."""
    verify: bool = False
    """Change nothing: is it live there, and its run healthy?"""


@dataclass
class Result:
    """What became of it, as JSON has it."""

    host: str
    root: str = ""
    release: str = ""
    state: str = ""
    reason: str = ""
    changed: bool = False
    """Whether something there is another now; or, of a dry run, would be."""
    files: int = 0
    sent: int = 0
    """Bytes of files; or, of a dry run, those that would go."""
    device: dict[str, Any] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return self.state in GOOD


class Deployment:
    """One. ``signature`` is what stands beside the release, where it is signed."""

    def __init__(
        self, device: Device, host: str, payload: Payload, wishes: Wishes, say: Callable[[str], object],
        tell: sending.Tell, signature: bytes = b"",
    ) -> None:  # fmt: skip
        self._device, self._payload, self._wishes, self._say, self._tell = device, payload, wishes, say, tell
        self._signature = base64.b64encode(signature).decode()
        self.result = Result(host)

    def run(self) -> Result:
        """All of it. InputError where it cannot be done."""
        facts, result = self._look(), self.result
        plan = self._payload.plan(facts["python"])
        found = facts["added"].get(plan, "")
        if self._wishes.verify:
            return self._verify(facts, found)
        if found in facts["releases"]:
            result.release = found
            self._say(f"the release {found} is on the device already")
            standing, _ = _standing(facts, found, 0.0)
            if standing == CONFIRMED:
                result.state = CONFIRMED
                return result
            if standing == ON_TRIAL and not self._wishes.dry_run:
                return self._await(found, facts["time"])
            result.changed = standing != ON_TRIAL
        elif not self._send(facts, plan):
            return result
        if self._wishes.dry_run:
            result.state = WOULD_SEND
            return result
        release = found or self._add(plan)
        result.release = release
        if why := self._prove(release):
            result.state, result.reason = REFUSED, why
            return result
        return self._switch(release)

    def _look(self) -> Reply:
        facts = self._device.ask("look", system=self._wishes.system)
        self.result.root = self._device.root
        self.result.device = {
            name: facts[name] for name in ("architecture", "python", "glibc", "l4t", "serial", "free", "current")
        }
        l4t = f", {facts['l4t']}" if facts["l4t"] else ""
        runs = f"{facts['current']} of {len(facts['releases'])} releases is current" if facts["current"] else (
            "no release is current")  # fmt: skip
        self._say(f"{facts['architecture']}, Python {facts['python']}{l4t}; {size_text(facts['free'])} free below "
                  f"{self._device.root}; {runs}")  # fmt: skip
        wanted = self._wishes.serial
        if wanted and facts["serial"] != wanted:
            has = f"has the serial number {facts['serial']}" if facts["serial"] else "tells no serial number"
            raise InputError(f"the board at {self.result.host} {has}; wanted the one with {wanted}; nothing was sent: "
                             "look for the board's address")  # fmt: skip
        if not facts["writable"]:
            raise InputError(f"nothing can be written to {facts['there']} on the device; name a place that is this "
                             "user's: --root DIR")  # fmt: skip
        self._check_payload(facts)
        if self._wishes.service and not self._wishes.verify and not facts["systemd"]:
            raise InputError("no systemd runs on the device, which is what starts the service; without one: "
                             "--no-service")  # fmt: skip
        return facts

    def _check_payload(self, facts: Reply) -> None:
        """That what goes can be installed there, and can hear and speak where it is to. InputError."""
        make = (f"edge-streamer deploy --make-wheels DIR --python {facts['python']} --architecture "
                f"{facts['architecture']}")  # fmt: skip
        there = facts["architecture"], facts["python"], facts["glibc"]
        names = [file.path.rpartition("/")[2] for file in self._payload.wheels]
        wrong = [name for name in names if not fits(name, *there)]
        if wrong:
            raise InputError(f"{wrong[0]}{f' and {len(wrong) - 1} more' if len(wrong) > 1 else ''} cannot be installed "
                             f"there ({facts['architecture']}, Python {facts['python']}, glibc {facts['glibc']}); make "
                             f"the wheels for it: {make}")  # fmt: skip
        if less := lacking(self._payload.wheel_paths, Goal(facts["python"], facts["architecture"], ())):
            raise InputError(f"the wheels lack {', '.join(less)}, without which nothing starts there; complete them: "
                             f"{make}")  # fmt: skip
        if not self._wishes.sound:
            return
        if not facts["sound"] and not self._payload.brings(SOUND):
            raise InputError("the board could neither hear nor speak: neither the wheels nor its Python have PyAudio; "
                             "once, there: sudo apt-get install -y portaudio19-dev gcc python3-dev python3-pip && pip3 "
                             f"wheel {SOUND}, and the wheel into the folder; {SILENT}")  # fmt: skip
        if not facts["portaudio"]:
            raise InputError("the board could neither hear nor speak: it has no libportaudio2, which PyAudio loads; "
                             f"once, there: sudo apt-get install -y libportaudio2; {SILENT}")  # fmt: skip

    def _send(self, facts: Reply, plan: str) -> bool:
        """Whether to go on."""
        payload, result = self._payload, self.result
        lacks = sending.missing(self._device, payload)
        self._say(f"{lacks.files} of {len(payload.files)} files are to be sent, {size_text(lacks.size)} of "
                  f"{size_text(payload.size)}")  # fmt: skip
        wheels = sum(file.size for file in payload.wheels if file.sha256 in lacks.offsets)
        needed = lacks.size + UNPACKED * wheels + SPARE_BYTES
        result.files, result.sent, result.changed = lacks.files, lacks.size, True
        if facts["free"] < needed:
            raise InputError(f"the device has {size_text(facts['free'])} free below {self._device.root}; wanted "
                             f"{size_text(needed)}; make room there (edge-streamer releases prune), or name another "
                             "place: --root DIR")  # fmt: skip
        if self._wishes.dry_run:
            result.state = WOULD_SEND
            return False
        result.sent = sending.send(self._device, payload, self._tell)
        return True

    def _add(self, plan: str) -> str:
        device, payload = self._device, self._payload
        folder = device.ask("compose", plan=plan, signature=self._signature,
                            files=[[file.path, file.sha256] for file in payload.files])["folder"]  # fmt: skip
        named = hashlib.sha256("".join(payload.tools).encode()).hexdigest()[:16]
        tools = device.ask("tools", name=named, wheels=payload.tools)["folder"]
        self._say("making the release there: environment, sums, disk; minutes on a card")
        words = [device.python, "-B", "-m", "edge_streamer", "releases", "add", folder, "--root", device.root,
                 "--name", self._wishes.name, "--python", device.python, "--json"]  # fmt: skip
        words += ["--allow-downgrade"] if self._wishes.downgrade else []
        done = device.step("add", words, env={"PYTHONPATH": tools}, tell=self._say)
        if done.status and not self._signature and "release.json cannot be read" in _why(done):
            raise InputError("the device has keys, and the release is not signed; sign it by one of them: --key FILE")
        if done.status:
            raise InputError(_why(done))
        release = str(json.loads(done.out)["id"])
        if not re.fullmatch("[0-9a-f]{16}", release):
            raise InputError(f"the device calls the release {release[:50]!r}; wanted 16 digits")
        device.ask("settle", id=release, plan=plan, keep=[file.sha256 for file in payload.files])
        return release

    def _ours(self, release: str, *words: str) -> list[str]:
        """A command of the release itself."""
        return [f"{self._device.root}/releases/{release}/env/bin/python", "-B", "-m", "edge_streamer", *words]

    def _prove(self, release: str) -> str:
        """Doctor, engines, golden units, a short profile. Why it is not switched to; empty where it may be."""
        wishes, step = self._wishes, self._device.step
        bundle = f"{self._device.root}/releases/{release}/{BUNDLE}"
        older = ["--allow-downgrade"] if wishes.downgrade else []
        engine = ["--engine", wishes.engine] if wishes.engine else []
        self._say("doctor")
        self._tell_doctor(step("doctor", self._ours(release, "doctor", "--json")))
        if wishes.engine == "tensorrt":
            self._say("building engines there; minutes for a large bundle")
            if why := _failed(step("build", self._ours(release, "build", bundle), tell=self._say)):
                return f"engines: {why}"
        if wishes.check:
            self._say("golden units")
            done = step("check", self._ours(release, "check", bundle, *engine, *older))
            if why := _failed(done):
                return f"golden units: {why}"
        if wishes.profile_units:
            self._say(f"profile of {wishes.profile_units} units")
            words = ["profile", bundle, "--out", "report", "--units", str(wishes.profile_units), "--json", *engine]
            words += ["--budget", "budget.toml"] if wishes.budget else []
            done = step("profile", self._ours(release, *words), files={"budget.toml": wishes.budget})
            if why := _failed(done):
                over = [line for line in done.said.splitlines() if line.startswith("over budget: ")]
                return f"profile: {'; '.join(over) or why}"
            self._tell_profile(done)
        return ""

    def _tell_doctor(self, done: Ended) -> None:
        try:
            lines = json.loads(done.out)["lines"]
        except (ValueError, KeyError, TypeError):
            raise InputError(f"doctor does not run there: {_why(done)}") from None
        for line in lines:
            if line["state"] == "fail":
                self._say(f"fail: {line['name']}: {line['found']}{'; ' + line['mend'] if line['mend'] else ''}")

    def _tell_profile(self, done: Ended) -> None:
        found = json.loads(done.out)
        unit = found.get("unit") or {}
        self.result.profile = {"unit": unit, "deadline_ms": found.get("deadline_ms")}
        if isinstance(unit, dict) and "p99" in unit:
            self._say(f"a unit takes p50 {unit['p50']:.1f} and p99 {unit['p99']:.1f} ms of {found['deadline_ms']:g} ms")

    def _switch(self, release: str) -> Result:
        wishes, device = self._wishes, self._device
        if wishes.service:
            self._say("service")
            words = self._ours(release, "service", "install", "--root", device.root)
            done = device.step("service", [*words, *(["--system"] if wishes.system else [])])
            if done.status:
                raise InputError(f"the service was not installed: {_why(done)}")
            for line in done.out.splitlines():
                self._say(line)
        since = device.ask("look")["time"]
        self._say(f"switching to {release}")
        words = self._ours(release, "releases", "activate", release, "--root", device.root, "--no-check", *wishes.terms)
        words += ["--allow-downgrade"] if wishes.downgrade else []
        words += [] if wishes.service else ["--no-restart"]
        done = device.step("activate", words, tell=self._say)
        result = self._await(release, since)
        if result.state == REFUSED and not result.reason:
            if done.status == InputError.exit_status:
                raise InputError(f"the device did not switch: {_why(done)}")
            result.reason = _why(done)
        return result

    def _verify(self, facts: Reply, release: str) -> Result:
        """Whether a release is live, and what its run tells of itself there."""
        result, wishes = self.result, self._wishes
        if release not in facts["releases"]:
            result.state, result.reason = ABSENT, "it is not on the device"
            return result
        result.release = release
        result.state, result.reason = _standing(facts, release, 0.0)
        if result.state != GONE_BACK and facts["current"] != release:
            result.state, result.reason = ABSENT, f"{facts['current'] or 'no release'} is current"
        elif result.state == ON_TRIAL and not wishes.service:
            result.state = CURRENT
        elif result.state == CONFIRMED and wishes.service:
            place = f"{facts['run']}/edge-streamer/health.json"
            done = self._device.step("health", self._ours(release, "health", place, "--devices"))
            if done.status:
                result.state, result.reason = ILL, _why(done)
        return result

    def _await(self, release: str, since: float) -> Result:
        """What becomes of the trial."""
        result, ends = self.result, time.monotonic() + self._wishes.wait
        if self._wishes.wait:
            self._say("on trial; Ctrl-C only ends the waiting")
        while True:
            result.state, result.reason = _standing(self._device.ask("look"), release, since)
            if result.state != ON_TRIAL or time.monotonic() >= ends:
                break
            time.sleep(LOOK_SECONDS)
        if result.state == ON_TRIAL and not self._wishes.service and not self._wishes.wait:
            result.state = CURRENT
            result.reason = "on trial from the next start of whatever runs it"
        if result.state == GONE_BACK and self._wishes.service:
            result.log = self._device.ask("log", system=self._wishes.system)["lines"]
        return result


def _standing(facts: Reply, release: str, since: float) -> tuple[str, str]:
    """How a release stands, and why it was gone back from since then."""
    state = facts["state"]
    trial, rollback = state.get("trial") or {}, state.get("rollback") or {}
    if trial.get("id") == release:
        return ON_TRIAL, ""
    if facts["current"] == release and release in state.get("good", ()):
        return CONFIRMED, ""
    if rollback.get("source") == release and rollback.get("time", 0.0) >= since:
        return GONE_BACK, str(rollback.get("reason", ""))
    return REFUSED, ""


def _failed(done: Ended) -> str:
    """Why a step did not pass; InputError where it cannot be done at all."""
    if done.status == InputError.exit_status:
        raise InputError(f"on the device: {_why(done)}")
    return _why(done) if done.status else ""


def _why(done: Ended) -> str:
    """The last line that a command said."""
    said = [line.strip() for text in (done.said, done.out) for line in text.splitlines() if line.strip()]
    ours = [line for line in said if line.startswith("edge-streamer: ")]
    lines: Sequence[str] = ours or said
    return lines[-1].removeprefix("edge-streamer: ")[:400] if lines else f"it ended with status {done.status}"
