"""What ships inside the package: the demo's bundle, the float32 one that it was quantized from, and media for it."""

from __future__ import annotations

from pathlib import Path

from edge_streamer.runtime.errors import BundleError

EMBEDDED = Path(__file__).parents[1] / "embedded"
MEDIA = EMBEDDED / "media"
SHIPPED = frozenset(
    {
        "0a1b6c74b0e6786ae053c04046be907f486c8fe1a212f073166c6dc9f3a632a0",
        "1589d0356aa4938629bdfe57fc9c612e9f020471550ce4f33c3d09cd12ee0460",
    }
)
"""SHA-256 of the manifests of both bundles, which hold those of all their files: a device with keys takes what the
package ships without a signature of its own."""
VOICES = (
    "it understands the voices of espeak-ng, which it was trained on (0.97 of commands), and no humans yet: of a "
    "human's 8 prompts none was understood, of 40 commands by flite's voices 12"
)
"""What was measured of the demo's hearing; see docs/model-card.md."""


def bundle_path(floats: bool = False) -> Path:
    """The folder of the embedded bundle, or of the float32 one that it was quantized from. BundleError where this
    package was built without it."""
    path = EMBEDDED / ("demo-float" if floats else "demo")
    if not (path / "manifest.json").is_file():
        raise BundleError(f"this edge-streamer ships no demo bundle ({path} is missing); name a BUNDLE")
    return path


def is_demo(path: Path) -> bool:
    """Whether ``path`` is one of the two bundles that ship."""
    return path.resolve() in (EMBEDDED.resolve() / "demo", EMBEDDED.resolve() / "demo-float")
