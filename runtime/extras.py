"""What the base install leaves out: which module belongs to which extra, and how to install it.

Receives names of modules; hands on one line that names everything that is missing at once, Debian's packages too. The
command is right for an installed wheel as for a checkout: pip asks the installed package for its extra.
"""

from __future__ import annotations

from importlib.util import find_spec

EXTRAS: dict[str, dict[str, str]] = {
    "live": {"pyaudio": "PyAudio", "pywebrtc_audio": "pywebrtc-audio", "pygame": "pygame-ce"},
    "camera": {"picamera2": "picamera2"},
    "trust": {"cryptography": "cryptography"},
    "quantize": {"onnx": "onnx", "onnx_ir": "onnx-ir", "ml_dtypes": "ml-dtypes"},
    "export": {
        "torch": "torch", "onnx": "onnx", "onnx_ir": "onnx-ir", "onnxscript": "onnxscript",
        "safetensors": "safetensors",
    },
    "dev": {"transformers": "transformers"},
}  # fmt: skip
"""Extra -> its modules, and the packages that bring them."""
DEBIAN = {"pyaudio": "portaudio19-dev gcc python3-dev libasound2-plugins"}
"""Module -> what it is built with on Debian; PortAudio reaches PulseAudio and PipeWire through the last."""


def missing(extra: str) -> list[str]:
    """The modules of ``extra`` that are not installed."""
    return [module for module in EXTRAS[extra] if not installed(module)]


def installed(module: str) -> bool:
    """Whether ``module`` can be imported, without importing it."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a finder that refuses; a module that is being imported
        return False


def needed(who: str, extra: str, modules: list[str]) -> str:
    """``who`` needs ``modules`` of ``extra``: what to install, and how."""
    names = [EXTRAS[extra][module] for module in modules]
    which = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    debian = " ".join(DEBIAN[module] for module in modules if module in DEBIAN)
    first = f"sudo apt-get install {debian}, then " if debian else ""
    return (
        f"{who} needs {which}, which {'is' if len(names) == 1 else 'are'} not installed; run: {first}"
        f"pip install 'edge-streamer[{extra}]' (in this project's folder: pip install '.[{extra}]')"
    )
