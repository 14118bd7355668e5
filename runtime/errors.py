"""What can go wrong, drawn once.

    EdgeStreamerError
    ├── InputError            what the user gave is wrong: one clear line, exit status 2
    │   ├── BundleError       a bundle that is damaged, unknown or contradicts itself
    │   ├── MediaError        a sound, picture, text or snapshot file that cannot be used
    │   └── TrustError        not signed by a key of this device, or not for this device
    ├── EngineError           the engine library refused to open, bind or run a graph
    │   └── DeviceLost        the device answers no more: its sessions are over
    └── StepError             a unit failed (NaN, infinity, engine fault); its state was rolled back

Receives nothing. Hands on the only exceptions that leave this project's public functions on purpose;
exceptions of other libraries are mapped to these at the file that drives the library. Programmer mistakes
stay ``ValueError`` and ``TypeError``.
"""

from __future__ import annotations


class EdgeStreamerError(Exception):
    """The root. Its text says what came, what was wanted and what to do."""

    exit_status = 1


class InputError(EdgeStreamerError):
    """The user's input cannot be used as it is; the command ends with exit status 2."""

    exit_status = 2


class BundleError(InputError):
    """The bundle is damaged, newer than this reader, or contradicts itself."""


class MediaError(InputError):
    """A media, text or snapshot file is missing, empty, truncated or of another kind."""


class TrustError(InputError):
    """The device has keys, and what it was given is not signed by one of them, altered, older than what it has seen, or
    made for another device."""


class EngineError(EdgeStreamerError):
    """The engine could not open, bind or run a graph."""


class DeviceLost(EngineError):
    """The device that an engine computes on answers no more, and what lay in its memory is gone: the session is over; a
    new one can go on from the last snapshot."""


class StepError(EdgeStreamerError):
    """A unit failed and was rolled back: the session stands as it did before the step."""


def one_line(error: Exception) -> str:
    """Its text, which other libraries break into lines, in one."""
    return " ".join(str(error).split())


def reason(error: Exception) -> str:
    """What to tell of it: its text where it is one of these, and its name before it where nobody foresaw it."""
    return str(error) if isinstance(error, EdgeStreamerError) else f"{type(error).__name__}: {error}"
