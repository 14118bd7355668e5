"""Lists the packages: src/edge_streamer, and below it four folders of the root.

pyproject.toml says everything else; a list there would have to name each of some thirty packages. The links beside
src/edge_streamer/__init__.py are for type checkers, which know nothing of this: a build, an editable install and the
tests do without them, so that an archive that was unpacked where there are no links (a zip) is as good.
"""

from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = ("devices", "export", "quantization", "runtime")
ROOT = Path(__file__).parent

packages = ["edge_streamer"]
for folder in FOLDERS:
    packages += [f"edge_streamer.{name}" for name in (folder, *(f"{folder}.{p}" for p in find_packages(ROOT / folder)))]
setup(packages=packages, package_dir={"": "src", **{f"edge_streamer.{folder}": folder for folder in FOLDERS}})
