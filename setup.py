"""Refuses to build a wheel without code.

pyproject.toml says everything else. The package's folders under src/edge_streamer are links to the four folders of the
root; where an archive was unpacked, or a repository cloned, without symbolic links, each is a text file instead, and
setuptools would find nothing to pack and say nothing of it.
"""

from pathlib import Path

from setuptools import setup

PACKAGE = Path(__file__).parent / "src" / "edge_streamer"
FOLDERS = ("devices", "export", "quantization", "runtime")
missing = [name for name in FOLDERS if not (PACKAGE / name / "__init__.py").is_file()]
if missing:
    raise SystemExit(
        f"edge-streamer cannot be built: {', '.join(f'src/edge_streamer/{name}' for name in missing)} should be links "
        "to the folders of the same names and are not; unpack or clone again where symbolic links are kept (unzip, "
        "tar, or git with core.symlinks=true), or make them: "
        f"cd src/edge_streamer && ln -sfn {' '.join(f'../../{name}' for name in missing)} ."
    )
setup()
