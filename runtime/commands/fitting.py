"""Whether a run asks of a bundle what the bundle has: sound, pictures and text, each way.

Receives a plan and an open session; hands on the plan without the devices that nobody asked for and that would have
nothing to do, or an InputError that names the option.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.loop.request import DEFAULT, IF_THERE, LivePlan, Plan
from edge_streamer.runtime.session.session import Session

AnyPlan = TypeVar("AnyPlan", Plan, LivePlan)

UNASKED = {"mic": DEFAULT, "speaker": DEFAULT, "camera": IF_THERE, "display": IF_THERE}
"""What stands in a live plan where nobody named a device."""


def fitted(plan: AnyPlan, session: Session) -> AnyPlan:
    """The plan as the bundle can follow it. InputError where it cannot."""
    if takes := session.program.takes():
        names = ", ".join(sorted(takes))
        raise InputError(f"the bundle takes arrays in every unit ({names}); no device gives them: step it from Python")
    lacks = _lacking(session)
    if isinstance(plan, LivePlan):
        off = {name: None for name, word in UNASKED.items() if name in lacks and getattr(plan, name) == word}
        plan = replace(plan, **off)  # type: ignore[arg-type]
        if plan.record and (why := lacks.get("mic") or lacks.get("camera")):
            raise InputError(f"--record {plan.record} keeps sound and pictures for a replay; {why}; leave --record out")
    for field, (option, why) in _options(plan).items():
        if why in lacks and getattr(plan, field) is not None:
            raise InputError(f"{option} {getattr(plan, field)}: {lacks[why]}; leave {option} out")
    return plan


def _lacking(session: Session) -> dict[str, str]:
    """What a device of this kind would be for -> why there is nothing for it."""
    name, media = session.bundle.manifest.name, session.media
    parts = {
        "mic": (media.sound_in, "hears nothing"), "speaker": (media.sound_out, "says nothing"),
        "camera": (media.pictures_in, "sees nothing"), "display": (media.pictures_out, "shows nothing"),
        "text": (media.text_in, "reads no text"), "transcript": (media.text_out, "writes no text"),
    }  # fmt: skip
    return {kind: f"bundle {name!r} {words}" for kind, (part, words) in parts.items() if part is None}


def _options(plan: Plan | LivePlan) -> dict[str, tuple[str, str]]:
    """Field of the plan -> (its option, the kind of device)."""
    found = {
        "mic": ("--mic", "mic"), "camera": ("--camera", "camera"), "voice": ("--speaker", "speaker"),
        "film": ("--display", "display"), "side_by_side": ("--side-by-side", "display"),
        "transcript": ("--transcript", "transcript"),
    }  # fmt: skip
    if isinstance(plan, LivePlan):
        return found | {"speaker": ("--speaker", "speaker"), "display": ("--display", "display")}
    return found | {"text": ("--text", "text")}
